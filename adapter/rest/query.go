package rest

import (
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/postern-gateway/postern/adapter/publish"
	"github.com/postern-gateway/postern/internal/nearest"
)

// readQuery takes the parameters that the operation knows, each once. A misspelt one would otherwise be a wish that nobody
// hears.
func (c *call) readQuery(known []string) error {
	values, err := url.ParseQuery(c.r.URL.RawQuery)
	if err != nil {
		return badRequest("the query cannot be read")
	}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			hint := ""
			if other := nearest.Of(name, known); other != "" {
				hint = "; did you mean " + other + "?"
			}
			r := badRequest("there is no parameter %.64q here%s", name, hint)
			r.Code = "unknown-parameter"
			return r
		case len(all) > 1:
			return badRequest("the parameter %s is there %d times", name, len(all))
		}
	}
	c.query = values
	return nil
}

// most is how many items an answer may list, and usual how many it does.
const most, usual = 1000, 100

func (c *call) limit() (int, error) {
	text := c.query.Get("limit")
	if !c.query.Has("limit") {
		return usual, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		return 0, badRequest("limit is %.20q, and must be from 1 to %d", text, most)
	}
	return n, nil
}

// flag reads a parameter that is true or false; one without a value is true.
func (c *call) flag(name string) (bool, error) {
	switch text := c.query.Get(name); text {
	case "true":
		return true, nil
	case "":
		return c.query.Has(name), nil
	case "false":
		return false, nil
	default:
		return false, badRequest("%s is %.20q, and must be true or false", name, text)
	}
}

// breaking reads whether consumers may be broken, whatever pushes.breaking says.
func (c *call) breaking() (bool, error) {
	if text := c.query.Get("breaking"); c.query.Has("breaking") && text != "allow" {
		return false, badRequest("breaking is %.20q, and can only be allow", text)
	}
	return c.query.Has("breaking"), nil
}

// LongestWait is how long a caller may wait for a push.
const LongestWait = 10 * time.Minute

// wait reads for how long to wait; background: not at all. 0 is the gateway's own.
func (c *call) wait() (wait time.Duration, background bool, err error) {
	if !c.query.Has("wait") {
		return 0, false, nil
	}
	text := c.query.Get("wait")
	wait, err = time.ParseDuration(text)
	if err != nil || wait < 0 || wait > LongestWait {
		return 0, false, badRequest("wait is %.20q, and must be a time like 30s, at most %s", text, LongestWait)
	}
	return wait, wait == 0, nil
}

// requirement reads who must serve a push.
func (c *call) requirement() (publish.Require, error) {
	text := c.query.Get("require")
	if !c.query.Has("require") {
		return publish.Require{}, nil
	}
	if text == "all" {
		return publish.All, nil
	}
	number, isPercent := strings.CutPrefix(text, "percent:")
	if n, err := strconv.Atoi(number); isPercent && err == nil && n >= 1 && n <= 100 {
		return publish.Require{Percent: n}, nil
	}
	return publish.Require{}, badRequest("require is %.20q, and must be all or percent:N with N from 1 to 100", text)
}

// number reads a revision.
func (c *call) number(name string) (uint64, error) {
	if !c.query.Has(name) {
		return 0, nil
	}
	n, err := strconv.ParseUint(c.query.Get(name), 10, 64)
	if err != nil || n == 0 {
		return 0, badRequest("%s is %.20q, and must be a number from 1", name, c.query.Get(name))
	}
	return n, nil
}

// next is the Link to what comes after the last item of a list (RFC 8288).
func (c *call) next(after string) {
	query := url.Values{}
	for name := range c.query {
		query.Set(name, c.query.Get(name))
	}
	query.Set("after", after)
	c.w.Header().Set("Link", "<"+c.r.URL.EscapedPath()+"?"+query.Encode()+`>; rel="next"`)
}
