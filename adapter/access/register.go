package access

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/postern-gateway/postern/internal/mtls"
)

// Register is the tokens file as it is now. What it was last stays in use while the file cannot be read. It is safe for
// concurrent use.
type Register struct {
	path string
	log  *slog.Logger
	now  func() time.Time
	held atomic.Pointer[table]
	bad  atomic.Pointer[string] // why the file cannot be read; nil: it can
	seen [sha256.Size]byte      // the hash of the text that is held
}

// table is the file, by what callers present.
type table struct {
	tokens       map[string]Token // by hash
	certificates map[string]Certificate
}

// Open reads the file; an error is one that nobody can be admitted by.
func Open(path string, log *slog.Logger, now func() time.Time) (*Register, error) {
	r := &Register{path: path, log: log, now: now}
	if r.now == nil {
		r.now = time.Now
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	t, err := r.read(text)
	if err != nil {
		return nil, err
	}
	r.seen = sha256.Sum256(text)
	r.held.Store(t)
	return r, nil
}

func (r *Register) read(text []byte) (*table, error) {
	f, err := Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", r.path, err)
	}
	t := &table{tokens: map[string]Token{}, certificates: map[string]Certificate{}}
	for _, token := range f.Tokens {
		t.tokens[token.SHA256] = token
	}
	for _, c := range f.Certificates {
		t.certificates[c.Name] = c
	}
	return t, nil
}

// Follow uses the file as it is whenever it has changed since it was opened, until ctx is done. It reads it each second:
// its time and size may be the same where a token is another.
func (r *Register) Follow(ctx context.Context) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	told := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		var t *table
		text, err := os.ReadFile(r.path)
		now := sha256.Sum256(text)
		if err == nil && now == r.seen {
			told = ""
			r.bad.Store(nil) // it may have been put back
			continue
		}
		if err == nil {
			t, err = r.read(text)
		}
		if err != nil {
			if told != err.Error() {
				told = err.Error()
				words := told // why: told changes
				r.bad.Store(&words)
				r.log.Error("the tokens file has changed and is rejected; who was admitted before still is", "err", err)
			}
			continue
		}
		r.seen, told = now, ""
		r.bad.Store(nil)
		r.held.Store(t)
		r.log.Info("the tokens file has changed", "tokens", len(t.tokens), "certificates", len(t.certificates))
	}
}

// Stale is why the file, as it is now, cannot be read, so that an earlier one is in use and nobody is revoked; "" is no reason.
func (r *Register) Stale() string {
	if words := r.bad.Load(); words != nil {
		return *words
	}
	return ""
}

// Token is whom a token proves; false: nobody. The look-up is by the hash of what was presented: how long it takes tells
// nothing about the tokens there are.
func (r *Register) Token(token string) (Caller, bool) {
	t, known := r.held.Load().tokens[Hash(token)]
	if !known || t.Expired(r.now()) {
		return Caller{}, false
	}
	return Caller{Name: t.Name, By: ByToken, Grants: t.Roles, Expires: t.Expires}, true
}

// Certificate is whom a client certificate proves; one that is not listed proves nobody. One that is limited to labels has
// its roles for those alone.
func (r *Register) Certificate(i mtls.Identity) (Caller, bool) {
	c, known := r.held.Load().certificates[i.Name]
	if i.Role != mtls.RoleClient || !known {
		return Caller{}, false
	}
	grants := c.Roles
	if len(i.Labels) > 0 {
		grants = grants.Within(i.Labels)
	}
	return Caller{Name: i.String(), By: ByCertificate, Grants: grants}, true
}
