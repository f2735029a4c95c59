package rest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
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
func (c *call) object(into any) error { return c.objectWithin(into, c.Limits.JSON) }

func (c *call) objectWithin(into any, limit int64) error {
	if err := c.wantType("application/json"); err != nil {
		return err
	}
	text, err := c.body(limit)
	if err != nil {
		return err
	}
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return badRequest("%s", mistakeOf(err))
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return badRequest("the body has more than one JSON value")
	}
	return nil
}

// mistakeOf says in JSON's words, and not in Go's, what is wrong with a body.
func mistakeOf(err error) string {
	wrong, broken := new(json.UnmarshalTypeError), new(json.SyntaxError)
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return "the body must be " + expected(wrong.Type)
	case errors.As(err, &wrong):
		have, _, _ := strings.Cut(wrong.Value, " ")
		if have == "number" && expected(wrong.Type) == aWhole {
			have = strings.TrimPrefix(wrong.Value, "number ")
		}
		return fmt.Sprintf("%s in the body is %.40s, and must be %s", wrong.Field, have, expected(wrong.Type))
	case errors.As(err, &broken):
		return fmt.Sprintf("the body is not JSON: after %d bytes: %s", broken.Offset, broken.Error())
	case errors.Is(err, io.EOF):
		return "the body is empty where a JSON object is expected"
	case errors.Is(err, io.ErrUnexpectedEOF):
		return "the body is not JSON: it ends too early"
	}
	if field, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok { // it has no type
		return "the body has the field " + field + ", which is not known here"
	}
	return "the body is not as the OpenAPI document says"
}

const aWhole = "a whole number from 0 to 18446744073709551615"

// expected is a Go type as JSON has it.
func expected(t reflect.Type) string {
	switch t.Kind() { //nolint:exhaustive // the others are of no body
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Uint64, reflect.Uint32, reflect.Uint:
		return aWhole
	case reflect.Float64, reflect.Int, reflect.Int64:
		return "a number"
	case reflect.Slice, reflect.Array:
		return "a list"
	}
	return "an object"
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

// reserve takes room for a body, until the call has ended; one caller does not get all of it.
func (c *call) reserve(length, limit int64) error {
	if length < 0 {
		length = limit // nobody has said
	}
	key, shared := c.share()
	if shared && !c.bodiesOf.take(key, length) {
		return refuse(http.StatusServiceUnavailable, "busy", "you are sending and taking as much as one caller may at a time").after(1)
	}
	if !c.bodies.TryAcquire(length) {
		if shared {
			c.bodiesOf.give(key, length)
		}
		return refuse(http.StatusServiceUnavailable, "busy", "others are sending as much as can be taken at a time").after(1)
	}
	c.reserved += length
	if shared {
		c.giveBack = append(c.giveBack, func() { c.bodiesOf.give(key, length) })
	}
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
