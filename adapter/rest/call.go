package rest

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"time"

	"github.com/postern-gateway/postern/adapter/access"
	"github.com/postern-gateway/postern/adapter/audit"
)

// call is one request on its way to an answer.
type call struct {
	*Server
	w     *writer
	r     *http.Request
	route route // the zero value until it is found

	caller access.Caller
	params map[string]string // of the path
	query  url.Values        // those of the route, each once

	began    time.Time
	instance string
	note     audit.Entry // what the audit log is told
	quiet    bool        // … or not
	reserved int64       // bytes of the body, of those that all bodies may have
	giveBack []func()    // of the caller's own share
}

func (s *Server) begin(w http.ResponseWriter, r *http.Request) *call {
	return &call{Server: s, w: &writer{ResponseWriter: w, patience: s.Limits.Answer}, r: r, began: s.Now(), instance: newInstance()}
}

// end gives back what the call had, and notes what became of it.
func (c *call) end() {
	c.bodies.Release(c.reserved)
	for _, give := range c.giveBack {
		give()
	}
	c.w.calm()
	name := c.route.name
	if name == "" {
		name = "none"
	}
	status := c.w.status
	if status == 0 { // it has panicked: net/http closes the connection
		status = http.StatusInternalServerError
	}
	c.answered.WithLabelValues(name, strconv.Itoa(status)).Inc()
	refused := status == http.StatusUnauthorized || status == http.StatusForbidden || status == http.StatusTooManyRequests
	if c.Audit == nil || c.quiet || !c.route.changes && !refused {
		return
	}
	c.note = c.entry()
	c.note.Status, c.note.Seconds = status, c.Now().Sub(c.began).Seconds()
	c.Audit.Write(c.note)
}

// entry is what the audit log is told, but for how the call ended.
func (c *call) entry() audit.Entry {
	n := c.note
	n.Time, n.ID, n.Who, n.By, n.From = c.began.UTC(), c.instance, c.caller.Name, string(c.caller.By), c.from()
	n.Method, n.Path, n.What = c.r.Method, c.r.URL.Path, c.route.name
	if n.Project == "" {
		n.Project = c.params["name"]
	}
	return n
}

// survive answers a call that has panicked, and tells the log: net/http alone would close the connection without a word.
func (c *call) survive() {
	fault := recover()
	if fault == nil {
		return
	}
	if fault == http.ErrAbortHandler { //nolint:errorlint // it is this very value
		panic(fault)
	}
	c.Log.Error("a call of the management API has panicked; this is a bug of ours",
		"operation", c.route.name, "instance", c.instance, "panic", fault, "stack", string(debug.Stack()))
	c.fail(refuse(http.StatusInternalServerError, "fault", "the adapter has made a mistake; its log has it under %s", c.instance))
}

// fail answers with why the call came to nothing.
func (c *call) fail(err error) {
	r := refusalOf(err)
	if r.Status == http.StatusServiceUnavailable {
		c.Log.Warn("management call failed", "operation", c.route.name, "instance", c.instance, "err", err)
	}
	r.Instance = c.instance
	c.note.Code, c.note.Detail = r.Code, r.Detail
	if r.Rollout != "" {
		c.note.Rollout = r.Rollout
	}
	for _, h := range r.header {
		c.w.Header().Set(h[0], h[1])
	}
	if c.w.status != 0 {
		panic(http.ErrAbortHandler) // why: a part of the answer is out, and the caller must not take it for the whole
	}
	if legacy(c.r.URL.Path) {
		c.failLegacy(r)
		return
	}
	c.write(r.Status, "application/problem+json", r.Refusal)
}

// answer sends JSON.
func (c *call) answer(status int, value any) error {
	c.write(status, "application/json", value)
	return nil
}

func (c *call) write(status int, contentType string, value any) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		panic(err) // our own types
	}
	c.send(status, contentType, b.Bytes())
}

func (c *call) send(status int, contentType string, body []byte) {
	h := c.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	c.w.WriteHeader(status)
	const part = 1 << 20 // why in parts: each may take as long as the caller has patience with
	for chunk := range slices.Chunk(body, part) {
		if _, err := c.w.Write(chunk); err != nil {
			return // the caller is gone
		}
	}
}

// writer knows which status was sent, and does not wait for ever for a caller who takes nothing.
type writer struct {
	http.ResponseWriter
	status   int
	patience time.Duration
}

func (w *writer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.hurry()
	w.ResponseWriter.WriteHeader(status)
}

func (w *writer) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	w.hurry()
	return w.ResponseWriter.Write(b)
}

func (w *writer) hurry() {
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.patience)) // where there is a connection
}

// calm sends what is left, and leaves the connection to the next call as it was: net/http would keep the deadline.
func (w *writer) calm() {
	control := http.NewResponseController(w.ResponseWriter)
	if w.status != 0 {
		_ = control.Flush() // else the caller is gone
	}
	_ = control.SetWriteDeadline(time.Time{})
}
