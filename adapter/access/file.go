package access

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"time"

	"go.yaml.in/yaml/v3"
)

// Token is one entry of the tokens file: the hash of a token, and what it is good for.
type Token struct {
	Name    string    `yaml:"name" json:"name"`
	SHA256  string    `yaml:"sha256" json:"-"` // of the token, in hex digits
	Roles   Grants    `yaml:"roles" json:"roles"`
	Created time.Time `yaml:"created,omitempty" json:"created,omitzero"`
	Expires time.Time `yaml:"expires,omitempty" json:"expires,omitzero"`
}

// Expired says whether it is good no longer.
func (t Token) Expired(now time.Time) bool { return !t.Expires.IsZero() && !now.Before(t.Expires) }

// Certificate is one entry for a client certificate: the NAME of its URI postern://client/NAME, and what it is good for.
type Certificate struct {
	Name  string `yaml:"name" json:"name"`
	Roles Grants `yaml:"roles" json:"roles"`
}

// File is the tokens file.
type File struct {
	Tokens       []Token       `yaml:"tokens"`
	Certificates []Certificate `yaml:"certificates"`
}

// names are what a token may be called: it stands in logs and revisions.
var names = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._@-]{0,99}$`)

// Parse reads a tokens file. An unknown key, a double name and a role nobody knows are errors.
func Parse(text []byte) (File, error) {
	var f File
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&f); err != nil && !errors.Is(err, io.EOF) {
		return File{}, err
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return File{}, errors.New("more than one YAML document; only one is read")
	}
	seen, hashes := map[string]bool{}, map[string]bool{}
	for i, t := range f.Tokens {
		at := fmt.Sprintf("tokens[%d]", i)
		if err := checkEntry(at, t.Name, t.Roles, seen); err != nil {
			return File{}, err
		}
		if sum, err := hex.DecodeString(t.SHA256); err != nil || len(sum) != sha256.Size {
			return File{}, fmt.Errorf("%s (%s): sha256 is not a SHA-256 in hex digits; `postern tokens create` makes an entry", at, t.Name)
		}
		f.Tokens[i].SHA256 = hex.EncodeToString(mustDecode(t.SHA256))
		if hashes[f.Tokens[i].SHA256] {
			return File{}, fmt.Errorf("%s (%s): another entry has the same token", at, t.Name)
		}
		hashes[f.Tokens[i].SHA256] = true
	}
	clear(seen)
	for i, c := range f.Certificates {
		if err := checkEntry(fmt.Sprintf("certificates[%d]", i), c.Name, c.Roles, seen); err != nil {
			return File{}, err
		}
	}
	return f, nil
}

// mustDecode is for what was decoded before.
func mustDecode(text string) []byte {
	sum, _ := hex.DecodeString(text)
	return sum
}

func checkEntry(at, name string, roles Grants, seen map[string]bool) error {
	switch {
	case !names.MatchString(name):
		return fmt.Errorf("%s: %q cannot be a name; use up to 100 letters, digits and . _ @ -, a letter or digit first", at, name)
	case seen[name]:
		return fmt.Errorf("%s: the name %s stands in the list twice", at, name)
	case len(roles) == 0 || slices.Contains(roles, Grant{}):
		return fmt.Errorf("%s (%s): roles are missing; write viewer, deployer or admin, or one of them for a label: deployer/partner", at, name)
	}
	seen[name] = true
	return nil
}

// tokenPrefix begins every token, so that people and scanners of leaked secrets know one when they see it.
const tokenPrefix = "ptk_"

// Hash is what the file has of a token. A token is of high entropy: its plain hash tells nothing of it.
func Hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}
