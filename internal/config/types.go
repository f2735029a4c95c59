package config

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// Secret is a value that nobody may see: it prints and marshals as "[redacted]".
type Secret string

const redacted = "[redacted]"

// String never tells the secret. Reveal does.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString keeps %#v from telling it.
func (s Secret) GoString() string { return s.String() }

// MarshalJSON never tells the secret.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// MarshalYAML never tells the secret.
func (s Secret) MarshalYAML() (any, error) { return s.String(), nil }

// Reveal is the secret itself, for the one place that uses it.
func (s Secret) Reveal() string { return string(s) }

// Bytes is a size, written as a number of bytes or with a unit: 512, 60KiB, 10MiB, 1GB.
type Bytes uint64

// units are tried longest first, so that "KiB" is not taken for "B".
var units = []struct {
	suffix string
	factor uint64
}{
	{"KiB", 1 << 10},
	{"MiB", 1 << 20},
	{"GiB", 1 << 30},
	{"kB", 1e3},
	{"KB", 1e3},
	{"MB", 1e6},
	{"GB", 1e9},
	{"B", 1},
	{"", 1},
}

// ParseBytes reads a size.
func ParseBytes(text string) (Bytes, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSpace(number), 10, 64)
		if err != nil || n > (1<<62)/u.factor {
			break
		}
		return Bytes(n * u.factor), nil
	}
	return 0, fmt.Errorf("not a size; write a number of bytes, or one with a unit like 60KiB or 10MiB")
}
