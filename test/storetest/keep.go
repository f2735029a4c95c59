package storetest

import (
	"context"
	"strings"
	"testing"

	"github.com/postern-gateway/postern/adapter/store"
)

// keep keeps this content of a path.
func keep(ctx context.Context, s Store, path, content string) error {
	c := Of(path, content)
	return s.Keep(ctx, path, c.Digest, c.Archive)
}

// holds: this content is kept of a path; "" is nothing.
func holds(t *testing.T, s Store, path, content string) store.Kept {
	t.Helper()
	k, there, err := s.Kept(t.Context(), path)
	is(t, err, nil)
	digest, err := s.KeptDigest(t.Context(), path)
	is(t, err, nil)
	if content == "" {
		same(t, []any{there, digest, k}, []any{false, "", store.Kept{}})
		return k
	}
	same(t, []any{there, digest, string(k.Archive)}, []any{true, Of("", content).Digest, content})
	return k
}

func keeps(t *testing.T, s Store) {
	ctx := t.Context()
	const shop, other = "/srv/shop", "/srv/other"
	big := strings.Repeat("0123456789abcde\n", 20_000) // some chunks
	holds(t, s, shop, "")
	is(t, s.Forget(ctx, shop), nil)
	is(t, keep(ctx, s, shop, "one"), nil)
	first := holds(t, s, shop, "one")
	is(t, keep(ctx, s, shop, "one"), nil)
	same(t, holds(t, s, shop, "one").At, first.At) // nothing was written
	is(t, keep(ctx, s, other, big), nil)
	is(t, keep(ctx, s, shop, big), nil)
	_, err := s.Archive(ctx, first.Digest)
	is(t, err, store.ErrUnknown)
	paths, err := s.KeptPaths(ctx)
	is(t, err, nil)
	same(t, paths, []string{other, shop})

	// Archives are shared with what is pushed.
	c := Of("pushed", big, "default /pushed")
	commit(t, s, c)
	is(t, s.Forget(ctx, shop), nil)
	is(t, s.Forget(ctx, other), nil)
	holds(t, s, shop, "")
	_, err = s.Archive(ctx, c.Digest)
	is(t, err, nil)
	is(t, keep(ctx, s, shop, big), nil)
	for range History {
		commit(t, s, Of("pushed", "x", "default /pushed"))
	}
	holds(t, s, shop, big)
	is(t, s.Forget(ctx, shop), nil)
	_, err = s.Archive(ctx, c.Digest)
	is(t, err, store.ErrUnknown)

	wrong := Of("shop", "one")
	for _, no := range []error{
		s.Keep(ctx, "", wrong.Digest, wrong.Archive), s.Keep(ctx, shop, wrong.Digest, []byte("two")),
		s.Keep(ctx, strings.Repeat("x", 100_000), wrong.Digest, wrong.Archive), s.Keep(ctx, shop, "", nil),
	} {
		if no == nil {
			t.Error("it is kept")
		}
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	is(t, keep(ended, s, shop, "one"), context.Canceled)
	paths, err = s.KeptPaths(ctx)
	is(t, err, nil)
	same(t, len(paths), 0)
}
