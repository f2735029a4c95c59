package git

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/pktline"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
)

type capabilities = *capability.List

// remote is a repository elsewhere. It is spoken to as git-upload-pack is, protocol version 0, which every server knows
// (gitprotocol-pack, gitprotocol-http). Both methods take no more from it than they have to.
type remote interface {
	advertise(ctx context.Context) (*packp.AdvRefs, error)
	// ask sends a request and returns what is answered, which is to be closed.
	ask(ctx context.Context, request []byte) (io.ReadCloser, error)
	// secrets are what no text may tell.
	secrets() []string
}

const (
	maxAdvertised = 16 << 20  // bytes of the list of branches and tags
	maxPacked     = 256 << 20 // bytes of the commit, packed, with everything in the repository
)

// request is what to fetch: a commit and those before it, as many as depth says, without what have has.
type request struct {
	want, have plumbing.Hash
	depth      int
}

// packed says a request in the protocol's words.
func (r request) packed(offers capabilities) *packp.UploadPackRequest {
	ask := packp.NewUploadPackRequest()
	ask.Wants = []plumbing.Hash{r.want}
	if !r.have.IsZero() {
		ask.Haves = []plumbing.Hash{r.have}
	}
	set := func(c capability.Capability) bool {
		ok := offers.Supports(c)
		if ok {
			_ = ask.Capabilities.Set(c) // of those here none has a value
		}
		return ok
	}
	if set(capability.Shallow) {
		ask.Depth = packp.DepthCommits(r.depth)
	}
	if !set(capability.Sideband64k) {
		set(capability.Sideband)
	}
	set(capability.OFSDelta)
	set(capability.NoProgress)
	if r.have.IsZero() {
		// why not beside a have: its many answers are of no use here. Some servers insist on it, and then give one.
		if !set(capability.MultiACKDetailed) {
			set(capability.MultiACK)
		}
	} else if set(capability.Filter) {
		ask.Filter = packp.FilterTreeDepth(0) // only commits matter
	}
	return ask
}

// encode is a request as it is sent.
func encode(ask *packp.UploadPackRequest) ([]byte, error) {
	var b bytes.Buffer
	if err := ask.Validate(); err != nil {
		return nil, err
	}
	if err := ask.UploadRequest.Encode(&b); err != nil {
		return nil, err
	}
	if err := ask.UploadHaves.Encode(&b, false); err != nil {
		return nil, err
	}
	err := pktline.NewEncoder(&b).EncodeString("done\n")
	return b.Bytes(), err
}

// fetch gets what is asked for, into a temporary file.
func (s *Source) fetch(ctx context.Context, offers capabilities, r request) (*pack, error) {
	ask := r.packed(offers)
	text, err := encode(ask)
	if err != nil {
		return nil, err
	}
	answer, err := s.remote.ask(ctx, text)
	if err != nil {
		return nil, err
	}
	defer answer.Close() //nolint:errcheck // it was only read
	response := packp.NewUploadPackResponse(ask)
	if err := response.Decode(io.NopCloser(answer)); err != nil {
		return nil, fmt.Errorf("the answer to a fetch cannot be read: %w", err)
	}
	var content io.Reader = response
	switch {
	case ask.Capabilities.Supports(capability.Sideband64k):
		content = sideband.NewDemuxer(sideband.Sideband64k, response)
	case ask.Capabilities.Supports(capability.Sideband):
		content = sideband.NewDemuxer(sideband.Sideband, response)
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	p, err := readPack(s.dir, content)
	if err != nil {
		return nil, err
	}
	p.cut = map[plumbing.Hash]bool{}
	for _, commit := range response.Shallows {
		p.cut[commit] = true
	}
	return p, nil
}

// bounded reads at most so many bytes, and says so if there are more.
type bounded struct {
	io.Reader
	left int64
	err  error
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, b.err
	}
	n, err := b.Reader.Read(p[:min(int64(len(p)), b.left)])
	b.left -= int64(n)
	return n, err
}
