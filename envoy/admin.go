package envoy

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// admin speaks to Envoy's admin interface.
type admin struct {
	client http.Client
	base   string
}

func newAdmin(address string) *admin {
	a := &admin{client: http.Client{Timeout: 2 * time.Second}, base: "http://" + address}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		a.base = "http://envoy"
		a.client.Transport = &http.Transport{
			DisableKeepAlives: true, // why: every restart is another server behind the same path
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return (&net.Dialer{}).DialContext(ctx, "unix", path)
			},
		}
	}
	return a
}

func (a *admin) call(ctx context.Context, method, path string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, method, a.base+path, nil)
	if err != nil {
		return "", err
	}
	response, err := a.client.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, path, response.Status, cut(string(body)))
	}
	return string(body), err
}

// live: the first clusters and listeners are there, it is not draining, and its workers accept connections, which they do
// a moment later.
func (a *admin) live(ctx context.Context) bool {
	if _, err := a.call(ctx, http.MethodGet, "/ready"); err != nil {
		return false
	}
	body, err := a.call(ctx, http.MethodGet, `/stats?filter=^listener_manager\.workers_started$`)
	return err == nil && strings.HasSuffix(strings.TrimSpace(body), ": 1")
}

// answers: it says anything at all; "draining" is an answer too.
func (a *admin) answers(ctx context.Context) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, a.base+"/ready", nil)
	if err != nil {
		return false
	}
	response, err := a.client.Do(request)
	if err != nil {
		return false
	}
	response.Body.Close()
	return true
}

// drain: health checks fail, every answer asks the client to close, and the ports close after --drain-time-s.
func (a *admin) drain(ctx context.Context) error {
	if _, err := a.call(ctx, http.MethodPost, "/healthcheck/fail"); err != nil {
		return err
	}
	_, err := a.call(ctx, http.MethodPost, "/drain_listeners?graceful")
	return err
}

// requests are those of clients in flight, and all there have been.
func (a *admin) requests(ctx context.Context) (active, total int64, err error) {
	body, err := a.call(ctx, http.MethodGet, `/stats?filter=^http\..*\.downstream_rq_(active|total)$`)
	if err != nil {
		return 0, 0, err
	}
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), ": ")
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil || strings.HasPrefix(name, "http.admin.") || strings.HasPrefix(name, "http.probe.") {
			continue
		}
		if strings.HasSuffix(name, "_active") {
			active += n
		} else {
			total += n
		}
	}
	return active, total, lines.Err()
}
