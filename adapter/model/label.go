package model

import "regexp"

var label = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$`)

// ValidLabel says whether gateways and projects may have the label.
func ValidLabel(s string) bool { return label.MatchString(s) }
