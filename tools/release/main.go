// Command release makes what anyone can install, the same bytes each time: archives with a static binary, images as OCI
// layouts, lists of what is in them, checksums. `make release` calls it. It must not import the gateway: it builds it.
package main

import (
	"context"
	"crypto/sha256"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
)

// platforms are what there are archives for; images are for those of them that are Linux.
var platforms = []platform{{"linux", "amd64"}, {"linux", "arm64"}, {"darwin", "amd64"}, {"darwin", "arm64"}}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("release", flag.ContinueOnError)
	root := flags.String("root", "..", "the checkout")
	out := flags.String("out", "../dist", "the folder to write to; what an earlier run left there goes")
	version := flags.String("version", "", "what to call it; else what `git describe` says")
	images := flags.String("images", "all", "all | services (leave the image with Envoy out: it needs scripts/image_parts.py) | none")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *images != "all" && *images != "services" && *images != "none" {
		return fmt.Errorf("-images is %q: expected all, services or none", *images)
	}
	s, err := open(ctx, *root, *version)
	if err != nil {
		return err
	}
	target, err := cleared(*out)
	if err != nil {
		return err
	}
	r := release{source: s, target: target, binaries: map[platform]binary{}}
	return r.make(ctx, *images)
}

// cleared makes a folder that holds nothing, with care: one that something else lies in is not cleared.
func cleared(name string) (string, error) {
	target, err := filepath.Abs(name)
	if err != nil {
		return "", err
	}
	entries, err := os.ReadDir(target)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", err
	}
	for _, entry := range entries {
		if !strings.HasPrefix(entry.Name(), "postern-") && entry.Name() != sums {
			return "", fmt.Errorf("%s holds %s, which is not of a release: name another folder", target, entry.Name())
		}
	}
	for _, entry := range entries {
		if err := os.RemoveAll(filepath.Join(target, entry.Name())); err != nil {
			return "", err
		}
	}
	return target, os.MkdirAll(target, 0o755)
}

// sums is the file of checksums, in the form that sha256sum -c reads.
const sums = "SHA256SUMS"

// A binary is postern for one platform, and what it is made of.
type binary struct {
	content []byte
	parts   []component
}

// A release is being made.
type release struct {
	source
	target   string
	binaries map[platform]binary
	written  []string
}

func (r *release) make(ctx context.Context, images string) error {
	steps := []func(context.Context) error{r.compileAll, r.archives, r.bill}
	switch images {
	case "services":
		steps = append(steps, r.services)
	case "all":
		steps = append(steps, r.services, r.withEnvoy)
	}
	for _, step := range steps {
		if err := step(ctx); err != nil {
			return err
		}
	}
	var lines []byte
	for _, name := range r.written {
		content, err := os.ReadFile(filepath.Join(r.target, name))
		if err != nil {
			return err
		}
		lines = fmt.Appendf(lines, "%x  %s\n", sha256.Sum256(content), name)
	}
	return os.WriteFile(filepath.Join(r.target, sums), lines, 0o644)
}

// path is where a file of the release goes; what is asked for is in the checksums.
func (r *release) path(name string) string {
	r.written = append(r.written, name)
	fmt.Fprintln(os.Stderr, "release:", name)
	return filepath.Join(r.target, name)
}

// compileAll builds the binary for every platform.
func (r *release) compileAll(ctx context.Context) error {
	folder, err := os.MkdirTemp("", "postern-release")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	for _, p := range platforms {
		name, err := r.compile(ctx, p, folder)
		if err != nil {
			return err
		}
		var b binary
		if b.parts, err = r.components(ctx, name); err != nil {
			return err
		}
		if b.content, err = os.ReadFile(name); err != nil {
			return err
		}
		r.binaries[p] = b
	}
	return nil
}

// papers are what goes with every copy of the binary.
func (r *release) papers(parts []component) ([]file, error) {
	files := licenceFolder(parts)
	for _, name := range []string{"LICENSE", "NOTICE"} {
		page, err := r.page(name)
		if err != nil {
			return nil, err
		}
		files = append(files, page)
	}
	list, err := r.page(licencePage)
	list.name = "licenses/README.md"
	return append(files, list), err
}

// archives writes a tar.gz for each platform.
func (r *release) archives(ctx context.Context) error {
	shared, err := r.completions(ctx)
	if err != nil {
		return err
	}
	for _, name := range []string{"README.md", "CHANGELOG.md"} {
		page, err := r.page(name)
		if err != nil {
			return err
		}
		shared = append(shared, page)
	}
	for _, p := range platforms {
		b := r.binaries[p]
		files, err := r.papers(b.parts)
		if err != nil {
			return err
		}
		files = append(append(files, shared...), program("postern", b.content))
		name := "postern-" + r.version + "-" + p.String()
		content, err := archive(under(name, files), r.when)
		if err != nil {
			return err
		}
		if err := os.WriteFile(r.path(name+".tar.gz"), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// bill writes what the binaries are made of.
func (r *release) bill(context.Context) error {
	return r.writeBill("postern", r.allParts())
}

func (r *release) writeBill(product string, parts []component) error {
	content, err := billOf(product, r.version, r.when, parts)
	if err != nil {
		return err
	}
	return os.WriteFile(r.path(product+"-"+r.version+".cdx.json"), content, 0o644)
}

func (r *release) allParts() []component {
	var all []component
	for _, p := range platforms {
		all = union(all, r.binaries[p].parts)
	}
	return all
}
