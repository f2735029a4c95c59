package rest

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/postern-gateway/postern/adapter"
	"github.com/postern-gateway/postern/adapter/rest/api"
)

// refusal is an answer that says why a call came to nothing.
type refusal struct {
	api.Refusal
	header [][2]string
}

func (r *refusal) Error() string { return r.Detail }

// with adds a header.
func (r *refusal) with(name, value string) *refusal {
	r.header = append(r.header, [2]string{name, value})
	return r
}

// after says in how many seconds to try again.
func (r *refusal) after(seconds int) *refusal { return r.with("Retry-After", strconv.Itoa(seconds)) }

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{Refusal: api.Refusal{
		Type: "about:blank", Title: http.StatusText(status), Status: status, Code: code, Detail: fmt.Sprintf(format, args...),
	}}
}

func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, "bad-request", format, args...)
}

// answers are the statuses of why a push came to nothing, and after how many seconds it is worth another try.
var answers = map[adapter.Reason]struct{ status, after int }{
	adapter.Invalid:     {http.StatusUnprocessableEntity, 0},
	adapter.Conflict:    {http.StatusConflict, 0},
	adapter.Outdated:    {http.StatusPreconditionFailed, 0},
	adapter.Breaking:    {http.StatusConflict, 0},
	adapter.Refused:     {http.StatusBadGateway, 0},
	adapter.ProbeFailed: {http.StatusBadGateway, 0},
	adapter.Silent:      {http.StatusGatewayTimeout, 0},
	adapter.Busy:        {http.StatusServiceUnavailable, 5},
	adapter.Unknown:     {http.StatusNotFound, 0},
	adapter.Unavailable: {http.StatusServiceUnavailable, 5},
}

// refusalOf is what a caller is told about an error.
func refusalOf(err error) *refusal {
	if r := new(refusal); errors.As(err, &r) {
		return r
	}
	p := new(adapter.PushError)
	if !errors.As(err, &p) {
		return refuse(http.StatusServiceUnavailable, string(adapter.Unavailable), "the adapter cannot do it now; its log says why").after(5)
	}
	answer, known := answers[p.Reason]
	if !known {
		answer.status = http.StatusServiceUnavailable
	}
	r := refuse(answer.status, string(p.Reason), "%s", wordsOf(p))
	r.Project, r.Rollout, r.Revision, r.RolledBack = p.Outcome.Project, p.Outcome.Rollout, p.Outcome.Revision, p.Outcome.RolledBack
	r.Problems, r.Gateways = problemsOf(p.Problems), verdictsOf(p.Outcome.Gateways)
	if answer.after > 0 {
		r.after(answer.after)
	}
	if p.Reason == adapter.Outdated && p.Outcome.Revision > 0 {
		r.with("ETag", etag(p.Outcome.Revision))
	}
	return r
}

// wordsOf is the detail of a failed push: its own words, or what its problems come to.
func wordsOf(p *adapter.PushError) string {
	if p.Words != "" {
		return p.Words
	}
	switch n := len(p.Problems); n {
	case 0:
		return "the push came to nothing: " + string(p.Reason)
	case 1:
		return p.Problems[0].Error()
	default:
		return fmt.Sprintf("there are %d problems, the first of them: %s", n, p.Problems[0].Error())
	}
}

// newInstance is a random UUID (RFC 9562 §5.4).
func newInstance() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return "urn:uuid:" + h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// Starting answers a call that comes before there is an adapter to make it of.
func Starting(w http.ResponseWriter) {
	r := refuse(http.StatusServiceUnavailable, string(adapter.Unavailable), "the adapter is starting; try again").after(1)
	r.Instance = newInstance()
	body, _ := json.Marshal(r.Refusal) // our own type
	w.Header().Set("Content-Type", "application/problem+json")
	for _, h := range r.header {
		w.Header().Set(h[0], h[1])
	}
	w.WriteHeader(r.Status)
	_, _ = w.Write(append(body, '\n'))
}
