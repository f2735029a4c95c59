package project

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

var hostLabel = regexp.MustCompile(`^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$`)

// hostName says whether s is a DNS name or an IP address, lower case, without a port.
func hostName(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	for _, l := range labels {
		if !hostLabel.MatchString(l) {
			return false
		}
	}
	// What ends in a number is an IPv4 address or nothing (URL standard, host parsing): "2130706433" and "0x7f.1" are
	// ways to write 127.0.0.1 that some resolvers believe.
	last := labels[len(labels)-1]
	return !allDigits(last) && !strings.HasPrefix(last, "0x")
}

func allDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

// hosts reads the hosts an API answers to: lower case, sorted, each once. None means any.
func (r *report) hosts(n *node) []string {
	var out []string
	for _, item := range n.items() {
		host := strings.ToLower(item.text())
		name, _ := strings.CutPrefix(host, "*.")
		switch {
		case host == "": // of another type, and refused as such
		case host == "*":
			r.refuse(item.at(), "bad-host", `"*" is not a host; leave hosts empty to answer to any`)
		case strings.Contains(strings.Trim(name, "[]"), ":") && !hostName(strings.Trim(name, "[]")):
			r.refuse(item.at(), "bad-host", "%q has a port or a scheme; hosts are plain names such as api.example.com", item.value)
		case !hostName(strings.Trim(name, "[]")) || strings.Contains(name, "*"):
			r.refuse(item.at(), "bad-host", "%q is not a host; write a name such as api.example.com, or *.example.com for all names below one", item.value)
		default:
			if a, err := netip.ParseAddr(host); err == nil && a.Is6() {
				host = "[" + host + "]" // as it stands in a Host header
			}
			out = append(out, host)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
