package initproject

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path"
	"regexp"
	"strings"
	"time"
)

// What a definition may be at most, and how long it may take to fetch.
const (
	maxBytes = 16 << 20
	patience = 30 * time.Second
)

func isURL(source string) bool {
	return strings.HasPrefix(source, "http://") || strings.HasPrefix(source, "https://")
}

// shown is a source as it may be printed: a URL without its password.
func shown(source string) string {
	if u, err := url.Parse(source); err == nil && isURL(source) {
		return u.Redacted()
	}
	return source
}

// read reads a definition from its file or URL.
func read(ctx context.Context, client *http.Client, source string) ([]byte, error) {
	if isURL(source) {
		return fetch(ctx, client, source)
	}
	return readFile(source)
}

func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // it was only read
	return limited(name, f)
}

func limited(name string, r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if len(data) > maxBytes {
		return nil, fmt.Errorf("%s is larger than %d MiB; split it", name, maxBytes>>20)
	}
	return data, nil
}

func fetch(ctx context.Context, client *http.Client, source string) ([]byte, error) {
	u, err := url.Parse(source)
	if err != nil {
		return nil, fmt.Errorf("the URL of a definition cannot be read; write http://host/path or https://host/path")
	}
	if client == nil {
		client = &http.Client{}
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, source, nil)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", u.Redacted(), err)
	}
	request.Header.Set("Accept", "application/yaml, application/json, */*;q=0.5")
	response, err := client.Do(request)
	if err != nil {
		return nil, err // it names the URL, without a password
	}
	defer response.Body.Close() //nolint:errcheck // it was only read
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answered %s", u.Redacted(), response.Status)
	}
	return limited(u.Redacted(), response.Body)
}

var notFileName = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// baseName is what the file of a definition is called: the source's own name, with an ending that fits.
func baseName(source string, data []byte) string {
	if u, err := url.Parse(source); err == nil && isURL(source) {
		source = u.Path
	}
	base := path.Base(strings.ReplaceAll(source, `\`, "/"))
	base = strings.Trim(notFileName.ReplaceAllString(base, "-"), ".-")
	extension := strings.ToLower(path.Ext(base))
	switch extension {
	case ".yaml", ".yml", ".json":
		base = strings.TrimSuffix(base, path.Ext(base))
	default:
		extension = ".yaml"
		if bytes.HasPrefix(bytes.TrimLeft(data, " \t\r\n\ufeff"), []byte("{")) {
			extension = ".json"
		}
	}
	if base == "" {
		base = "openapi"
	}
	return base + extension
}
