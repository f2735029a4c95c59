package model

import "regexp"

var label = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// ValidLabel says whether gateways and projects may have the label.
func ValidLabel(s string) bool { return label.MatchString(s) }

// Lifecycle is the state an API's author wants it in.
type Lifecycle string

// The states of an API. The zero value is Deployed.
const (
	Deployed   Lifecycle = "deployed"
	Prototyped Lifecycle = "prototyped"
	Blocked    Lifecycle = "blocked" // 503, code 700700
	Retired    Lifecycle = "retired" // 410, code 900410
)
