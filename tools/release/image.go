package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

const (
	// nobody is the user and group of a container: by number, so that Kubernetes can see that it is not root.
	nobody = 65532
	// home is where a container works, and its dataDir.
	home = "var/lib/postern"
)

// An edition is an image for one platform: its layers, from the bottom.
type edition struct {
	arch   string
	layers [][]file
}

// ground is the lowest layer of every image: what a static program needs besides itself.
func ground(authorities []byte) []file {
	return []file{
		text("etc/ssl/certs/ca-certificates.crt", authorities),
		text("etc/passwd", fmt.Appendf(nil, "nonroot:x:%d:%d:nonroot:/%s:/sbin/nologin\n", nobody, nobody, home)),
		text("etc/group", fmt.Appendf(nil, "nonroot:x:%d:\n", nobody)),
		{name: home, mode: 0o700, dir: true, owner: nobody},
		{name: "tmp", mode: 0o1777, dir: true},
	}
}

// An album is one image for several platforms, about to be written.
type album struct {
	version  string
	labels   map[string]string // org.opencontainers.image.…
	command  []string          // what postern is told where nobody says
	ports    []string          // "9090/tcp"
	env      []string          // NAME=value, beside what all have
	when     time.Time
	editions []edition
}

// write makes the album an OCI layout in a tar. Source: OCI image layout specification, 1.1.
func (a album) write(target string) error {
	var index v1.ImageIndex = mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, e := range a.editions {
		image, err := a.image(e)
		if err != nil {
			return fmt.Errorf("%s for %s: %w", filepath.Base(target), e.arch, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: plain{image}, Descriptor: v1.Descriptor{
			MediaType: types.OCIManifestSchema1, Platform: &v1.Platform{OS: "linux", Architecture: e.arch},
		}})
	}
	index = mutate.Annotations(index, a.labels).(v1.ImageIndex)

	folder, err := os.MkdirTemp(filepath.Dir(target), ".image")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(folder) }()
	if err := a.layout(folder, index); err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(target), err)
	}
	files, err := readFolder(folder)
	if err != nil {
		return err
	}
	for i := range files {
		files[i].mode = 0o644 // why: else the umask of whoever builds would be in it
	}
	content, err := packed(files, a.when)
	if err != nil {
		return err
	}
	return os.WriteFile(target, content, 0o644)
}

// plain is an image that says it is no artifact of another kind: the library else calls it one in the index, after the
// media type of its configuration.
type plain struct{ v1.Image }

func (plain) ArtifactType() (string, error) { return "", nil }

// layout writes the index into a folder, and has what lies there then validated: sizes, digests, platforms.
func (a album) layout(folder string, index v1.ImageIndex) error {
	path, err := layout.Write(folder, empty.Index)
	if err != nil {
		return err
	}
	name := map[string]string{"org.opencontainers.image.ref.name": a.version}
	if err := path.AppendIndex(index, layout.WithAnnotations(name)); err != nil {
		return err
	}
	written, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		return err
	}
	return validate.Index(written)
}

// image puts an edition's layers on an empty base.
func (a album) image(e edition) (v1.Image, error) {
	ports := map[string]struct{}{}
	for _, port := range a.ports {
		ports[port] = struct{}{}
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: e.arch, Created: v1.Time{Time: a.when}, RootFS: v1.RootFS{Type: "layers"},
		Config: v1.Config{
			User:         fmt.Sprintf("%d:%d", nobody, nobody),
			WorkingDir:   "/" + home,
			Volumes:      map[string]struct{}{"/" + home: {}},
			Env:          append([]string{"PATH=/usr/local/bin", "POSTERN_DATA_DIR=/" + home}, a.env...),
			ExposedPorts: ports,
			Entrypoint:   []string{"/usr/local/bin/postern"},
			Cmd:          a.command,
			Labels:       a.labels,
		},
	})
	if err != nil {
		return nil, err
	}
	for _, files := range e.layers {
		layer, err := a.layer(files)
		if err != nil {
			return nil, err
		}
		if image, err = mutate.Append(image, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: a.when}, CreatedBy: "make release"}}); err != nil {
			return nil, err
		}
	}
	return image, nil
}

// layer is a gzipped tar of files.
func (a album) layer(files []file) (v1.Layer, error) {
	content, err := archive(files, a.when)
	if err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil },
		tarball.WithMediaType(types.OCILayer))
}
