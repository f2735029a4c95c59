package model

import (
	"fmt"
	"strings"
)

// Origin is the place in a project's files that something comes from. Line and Column count from 1; 0 is unknown.
type Origin struct {
	File    string `yaml:"file,omitempty" json:"file,omitempty"` // relative to the project's root, with "/"
	Line    int    `yaml:"line,omitempty" json:"line,omitempty"`
	Column  int    `yaml:"column,omitempty" json:"column,omitempty"`
	Pointer string `yaml:"pointer,omitempty" json:"pointer,omitempty"` // JSON Pointer (RFC 6901)
}

// String is "file:line:column pointer", as far as it is known.
func (o Origin) String() string {
	var b strings.Builder
	b.WriteString(o.File)
	if o.Line > 0 {
		fmt.Fprintf(&b, ":%d", o.Line)
		if o.Column > 0 {
			fmt.Fprintf(&b, ":%d", o.Column)
		}
	}
	if o.Pointer != "" {
		b.WriteString(" " + o.Pointer)
	}
	return strings.TrimSpace(b.String())
}

// Severity tells a refusal from a hint. The zero value refuses.
type Severity int

// What a problem does to its project.
const (
	Refused Severity = iota // the project is not served
	Warning                 // it is served; somebody should look
)

// String is "error" or "warning".
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText lets problems be printed as JSON and YAML.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads what MarshalText wrote.
func (s *Severity) UnmarshalText(text []byte) error {
	switch string(text) {
	case Refused.String():
		*s = Refused
	case Warning.String():
		*s = Warning
	default:
		return fmt.Errorf("%q is no severity", text)
	}
	return nil
}

// Problem is one finding about a project: where, which (a stable code), and in a sentence what to do about it.
type Problem struct {
	Origin   `yaml:",inline"`
	Severity Severity `yaml:"severity" json:"severity"`
	Code     string   `yaml:"code" json:"code"` // kebab-case: "unknown-tier"
	Message  string   `yaml:"message" json:"message"`
}

// Error is the line a person reads: "file:line:column pointer: message [code]".
func (p Problem) Error() string {
	place := p.Origin.String()
	if place != "" {
		place += ": "
	}
	return place + p.Message + " [" + p.Code + "]"
}

// Refusing says whether any of the problems keeps its project from being served.
func Refusing(problems []Problem) bool {
	for _, p := range problems {
		if p.Severity == Refused {
			return true
		}
	}
	return false
}
