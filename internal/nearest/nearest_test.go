package nearest_test

import (
	"strings"
	"testing"

	"github.com/postern-gateway/postern/internal/nearest"
)

func TestOf(t *testing.T) {
	t.Parallel()
	known := []string{"wait", "require", "dry-run"}
	for word, want := range map[string]string{
		"wiat": "wait", "Wait": "wait", "dryrun": "dry-run", "dry_run": "dry-run", "requires": "require", "": "", "token": "",
		strings.Repeat("wait", 1000): "",
	} {
		if got := nearest.Of(word, known); got != want {
			t.Errorf("%.20q: got %q, want %q", word, got, want)
		}
	}
}
