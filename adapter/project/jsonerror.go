package project

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
)

// jsonError points at the mistake that keeps data from being JSON and says what to do about it. The decoder's own words
// are about characters, and its place is behind the comma that is one too many.
func jsonError(file string, data []byte, err error) error {
	m := jsonMistake{data: data}
	if m.document() {
		m.words = err.Error() // the decoder is right, whatever it is
	}
	at := (&jsonReader{file: file, data: data}).origin(m.offset)
	return refusal(at, "syntax", "this is not JSON: %s", m.words)
}

// jsonMistake reads JSON up to its first mistake, to which offset points then. Its methods say whether all was well.
type jsonMistake struct {
	data   []byte
	offset int
	words  string
	depth  int
}

func (m *jsonMistake) fail(offset int, format string, args ...any) bool {
	m.offset, m.words = offset, fmt.Sprintf(format, args...)
	return false
}

// peek is the next character behind blanks; 0 at the end.
func (m *jsonMistake) peek() byte {
	for m.offset < len(m.data) && bytes.IndexByte([]byte(" \t\r\n"), m.data[m.offset]) >= 0 {
		m.offset++
	}
	if m.offset == len(m.data) {
		return 0
	}
	return max(m.data[m.offset], 1) // why: a NUL is not the end, and as wrong as any other control character
}

func (m *jsonMistake) document() bool {
	if m.peek() == 0 {
		return m.fail(m.offset, "there is nothing in it")
	}
	if !m.value("a value") {
		return false
	}
	switch c := m.peek(); c {
	case 0:
		return true
	case '}', ']':
		return m.fail(m.offset, "%q closes nothing that is open; remove it", c)
	}
	return m.fail(m.offset, "something follows the document's end; remove it")
}

func (m *jsonMistake) value(what string) bool {
	if m.depth++; m.depth > maxDepth+1 {
		return true // refused by the reader, in other words
	}
	defer func() { m.depth-- }()
	switch c := m.peek(); {
	case c == 0:
		return m.fail(m.offset, "the document ends where %s should stand", what)
	case c == '{':
		return m.members()
	case c == '[':
		return m.items()
	case c == '"':
		return m.text()
	case strings.IndexByte(",:]}", c) >= 0:
		return m.fail(m.offset, "%s is missing before %q", what, c)
	}
	return m.bare(what)
}

func (m *jsonMistake) members() bool {
	open := m.offset
	m.offset++
	comma := -1
	for {
		switch c := m.peek(); {
		case c == '}' && comma >= 0:
			return m.fail(comma, `nothing follows this comma before "}"; remove the comma`)
		case c == '}':
			m.offset++
			return true
		case c == 0:
			return m.unclosed(open)
		case c == ',':
			return m.fail(m.offset, "there is one comma too many; remove it")
		case c != '"':
			return m.key(c, open)
		}
		if !m.text() {
			return false
		}
		if end := m.offset; m.peek() != ':' {
			return m.fail(end, "a colon is missing between a key and its value; add it")
		}
		m.offset++
		if !m.value("a value") {
			return false
		}
		more := false
		if comma, more = m.separator('}', open); !more {
			return m.words == ""
		}
	}
}

// key says what is wrong with a key that begins with c.
func (m *jsonMistake) key(c byte, open int) bool {
	switch {
	case c == '\'':
		return m.fail(m.offset, "a key stands in double quotes, not in single ones")
	case c == '/' || c == '#':
		return m.fail(m.offset, "JSON has no comments; remove this one")
	case c == ']':
		return m.wrongEnd(c, open)
	case c == '{' || c == '[':
		return m.fail(m.offset, `a key is missing before %q; write "name": before it`, c)
	}
	return m.fail(m.offset, "a key stands in double quotes; write %q", shortened(m.run()))
}

func (m *jsonMistake) items() bool {
	open := m.offset
	m.offset++
	comma := -1
	for {
		switch c := m.peek(); {
		case c == ']' && comma >= 0:
			return m.fail(comma, `nothing follows this comma before "]"; remove the comma`)
		case c == ']':
			m.offset++
			return true
		case c == 0:
			return m.unclosed(open)
		case c == ',':
			return m.fail(m.offset, "there is one comma too many; remove it")
		case c == '}':
			return m.wrongEnd(c, open)
		}
		if !m.value("an item") {
			return false
		}
		more := false
		if comma, more = m.separator(']', open); !more {
			return m.words == ""
		}
	}
}

// separator reads what follows a member or an item: a comma, which it returns the place of, or the end.
func (m *jsonMistake) separator(end byte, open int) (comma int, more bool) {
	behind := m.offset
	switch c := m.peek(); {
	case c == ',':
		m.offset++
		return m.offset - 1, true
	case c == end:
		m.offset++
	case c == 0:
		m.unclosed(open)
	case c == '}' || c == ']':
		m.wrongEnd(c, open)
	case c == ':':
		m.fail(m.offset, "a colon follows keys only, and a key stands in an object; remove it, or write { } around key and value")
	case c == '/' || c == '#':
		m.fail(m.offset, "JSON has no comments; remove this one")
	default:
		m.fail(behind, "a comma is missing here, before what follows; add it")
	}
	return 0, false
}

func (m *jsonMistake) unclosed(open int) bool {
	return m.fail(len(m.data), "the document ends, but %q of %s is not closed; add %q", m.data[open], m.place(open), closing(m.data[open]))
}

func (m *jsonMistake) wrongEnd(c byte, open int) bool {
	return m.fail(m.offset, "%q stands here, but what is open is %q of %s; write %q", c, m.data[open], m.place(open), closing(m.data[open]))
}

func closing(open byte) byte {
	if open == '{' {
		return '}'
	}
	return ']'
}

// place is line and column, as people name them in a sentence.
func (m *jsonMistake) place(offset int) string {
	at := (&jsonReader{data: m.data}).origin(offset)
	return fmt.Sprintf("line %d, column %d", at.Line, at.Column)
}

func (m *jsonMistake) text() bool {
	open := m.offset
	for m.offset++; m.offset < len(m.data); m.offset++ {
		switch c := m.data[m.offset]; {
		case c == '"':
			m.offset++
			return true
		case c == '\n' || c == '\r':
			return m.fail(open, "the string that begins here is not closed in its line; add the quote, and write \\n for a line break")
		case c == '\t':
			return m.fail(m.offset, "a tab stands in a string; write \\t")
		case c < ' ':
			return m.fail(m.offset, "a control character stands in a string; write \\u%04x", c)
		case c == '\\' && !m.escape():
			return m.fail(m.offset, "a backslash begins no escape here; write \\\\ for the character itself")
		}
	}
	return m.fail(open, "the string that begins here is not closed; add the quote")
}

// escape skips what follows a backslash, up to its last character.
func (m *jsonMistake) escape() bool {
	rest := m.data[m.offset+1:]
	if len(rest) == 0 || strings.IndexByte(`"\/bfnrtu`, rest[0]) < 0 {
		return false
	}
	m.offset++
	if rest[0] != 'u' {
		return true
	}
	if len(rest) < 5 || !json.Valid([]byte(`"\`+string(rest[:5])+`"`)) {
		m.offset--
		return false
	}
	m.offset += 4
	return true
}

// bare reads what stands there without quotes: a number, true, false or null.
func (m *jsonMistake) bare(what string) bool {
	run := m.run()
	switch c := run[0]; {
	case json.Valid([]byte(run)):
		m.offset += len(run)
		return true
	case c == '\'':
		return m.fail(m.offset, "a string stands in double quotes, not in single ones")
	case c == '/' || c == '#':
		return m.fail(m.offset, "JSON has no comments; remove this one")
	case c == '-' || c == '+' || c == '.' || '0' <= c && c <= '9':
		return m.fail(m.offset, "%s is not a number as JSON writes them; put it into double quotes if it is a string", shortened(run))
	case m.depth == 1:
		return m.fail(m.offset, "it begins with %q where \"{\" should stand; if it is YAML, name the file .yaml", shortened(run))
	}
	return m.fail(m.offset, "%s stands where %s should: true, false, null, a number, or a string in double quotes", shortened(run), what)
}

// run is the next word: up to a blank or a character that means something.
func (m *jsonMistake) run() string {
	rest := m.data[m.offset:]
	if end := bytes.IndexAny(rest, " \t\r\n,:[]{}\""); end >= 0 {
		rest = rest[:max(end, 1)]
	}
	return string(rest)
}

// shortened is a word as far as it can be shown.
func shortened(word string) string {
	word = strings.ToValidUTF8(word, "\ufffd")
	if letters := []rune(word); len(letters) > 40 {
		return string(letters[:40]) + "…"
	}
	return word
}
