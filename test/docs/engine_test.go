//go:build compose

package docs

import "testing"

// TestEnginePages does what the pages say that need a container engine, one after the other: they publish the well-known
// ports. The last block of such a page takes away what it made.
func TestEnginePages(t *testing.T) {
	asWritten := func(_ *testing.T, port string) string { return port }
	for _, page := range pages(t) {
		blocks := read(t, page)
		if !needsEngine(blocks) {
			continue
		}
		t.Run(page, func(t *testing.T) {
			r := newReader(t, asWritten)
			defer func() {
				if t.Failed() {
					r.shell("set +e\n" + blocks[len(blocks)-1].text)
				}
			}()
			follow(t, r, page, blocks)
		})
	}
}
