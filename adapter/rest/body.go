package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
)

// archive reads a body that is a zip archive.
func (c *call) archive() ([]byte, error) {
	if err := c.wantType("application/zip"); err != nil {
		return nil, err
	}
	return c.body(c.Limits.Archive)
}

// object reads a body that is JSON of this shape.
func (c *call) object(into any) error {
	if err := c.wantType("application/json"); err != nil {
		return err
	}
	text, err := c.body(c.Limits.JSON)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badRequest("the body is not as it should be: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body has more than one JSON value")
	}
	return nil
}

func (c *call) wantType(want string) error {
	if coding := c.r.Header.Get("Content-Encoding"); coding != "" && !strings.EqualFold(coding, "identity") {
		return refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "the body is sent as %s; send it as it is", coding)
	}
	said := c.r.Header.Get("Content-Type")
	have, _, err := mime.ParseMediaType(said)
	if err != nil || have != want {
		return refuse(http.StatusUnsupportedMediaType, "unsupported-media-type", "the body's Content-Type is %q, and %s is taken here", said, want)
	}
	return nil
}

// body reads the whole body, once, into memory that was there to be had. It must arrive in time.
func (c *call) body(limit int64) ([]byte, error) {
	length := c.r.ContentLength
	if length > limit {
		return nil, tooLarge(limit)
	}
	if err := c.reserve(length, limit); err != nil {
		return nil, err
	}
	text, err := readAll(c.r.Body, length, limit)
	switch {
	case err != nil:
		return nil, c.unread(err)
	case int64(len(text)) > limit:
		return nil, tooLarge(limit)
	}
	c.bodyArrived()
	return text, nil
}

// awaitBody ends a body that does not arrive in time, also one that nobody reads: net/http does before it answers.
func (c *call) awaitBody() {
	if c.r.ContentLength != 0 {
		_ = http.NewResponseController(c.w.ResponseWriter).SetReadDeadline(time.Now().Add(c.Limits.Body)) // where there is a connection
	}
}

// bodyArrived calls that off: the answer may take longer.
func (c *call) bodyArrived() {
	_ = http.NewResponseController(c.w.ResponseWriter).SetReadDeadline(time.Time{})
}

// unread is why a body could not be read. What is left of it is not waited for.
func (c *call) unread(err error) error {
	c.w.Header().Set("Connection", "close")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return refuse(http.StatusRequestTimeout, "too-slow", "the body did not arrive within %s", c.Limits.Body)
	}
	return badRequest("the body did not arrive whole")
}

// reserve takes room for a body, until the call has ended.
func (c *call) reserve(length, limit int64) error {
	if length < 0 {
		length = limit // nobody has said
	}
	if !c.bodies.TryAcquire(length) {
		return refuse(http.StatusServiceUnavailable, "busy", "others are sending as much as can be taken at a time").after(1)
	}
	c.reserved += length
	return nil
}

func tooLarge(limit int64) error {
	return refuse(http.StatusRequestEntityTooLarge, "too-large", "the body has more than %d bytes", limit)
}

// readAll reads a body of this length, or of at most limit and a byte if it is not known.
func readAll(r io.Reader, length, limit int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(io.LimitReader(r, limit+1))
	}
	text := make([]byte, length)
	_, err := io.ReadFull(r, text)
	return text, err
}
