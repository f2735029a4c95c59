package client

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// next is the query of the next page, which a Link header names (RFC 8288). Its address is not looked at: pages are
// where the list is.
func next(header http.Header) (query url.Values, more bool, err error) {
	for _, link := range header.Values("Link") {
		for part := range strings.SplitSeq(link, ",") {
			address, parameters, _ := strings.Cut(part, ";")
			if !strings.Contains(parameters, `rel="next"`) {
				continue
			}
			address = strings.Trim(strings.TrimSpace(address), "<>")
			u, err := url.Parse(address)
			if err != nil {
				return nil, false, fmt.Errorf("the link to the next page cannot be read: %w", err)
			}
			return u.Query(), true, nil
		}
	}
	return nil, false, nil
}
