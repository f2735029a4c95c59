package main

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// services writes the image of postern alone: adapter, enforcer and ratelimiter need nothing else. What images are
// called, where things lie in them and how they start is as deploy/docker/Dockerfile has it.
func (r *release) services(context.Context) error {
	a, err := r.album("postern", "Apache-2.0")
	if err != nil {
		return err
	}
	a.command = []string{"--help"}
	return a.write(r.path("postern-" + r.version + "-image.tar"))
}

// withEnvoy writes the image of postern and Envoy, for `postern envoy` and `postern run`.
func (r *release) withEnvoy(context.Context) error {
	a, err := r.album("postern-envoy", "Apache-2.0 AND LGPL-2.1-or-later")
	if err != nil {
		return err
	}
	a.command, a.ports, a.env = []string{"envoy"}, []string{"9090/tcp", "9095/tcp"}, []string{"POSTERN_ENVOY_PATH=/usr/local/bin/envoy"}
	parts := r.allParts()
	for i, e := range a.editions {
		files, theirs, err := r.imageParts("linux-" + e.arch)
		if err != nil {
			return err
		}
		parts = union(parts, theirs)
		// why: below postern, which changes with every release
		theirLayer := append(files, under("usr/share/doc/postern", licenceFolder(theirs))...)
		a.editions[i].layers = slices.Insert(e.layers, 1, theirLayer)
	}
	if err := a.write(r.path("postern-envoy-" + r.version + "-image.tar")); err != nil {
		return err
	}
	return r.writeBill("postern-envoy", parts)
}

// album is an image that holds postern, on an empty base.
func (r *release) album(title, licences string) (album, error) {
	trusted, err := authorities()
	if err != nil {
		return album{}, err
	}
	a := album{version: r.version, when: r.when, labels: map[string]string{
		"org.opencontainers.image.title":    title,
		"org.opencontainers.image.version":  r.version,
		"org.opencontainers.image.created":  r.when.Format(time.RFC3339),
		"org.opencontainers.image.licenses": licences,
	}}
	for _, p := range platforms {
		if p.os != "linux" {
			continue
		}
		papers, err := r.papers(r.binaries[p].parts)
		if err != nil {
			return album{}, err
		}
		files := append(under("usr/share/doc/postern", papers), program("usr/local/bin/postern", r.binaries[p].content))
		a.editions = append(a.editions, edition{arch: p.arch, layers: [][]file{ground(trusted), files}})
	}
	return a, nil
}

//go:embed LGPL-2.1.txt
var lgpl []byte

// imageParts reads what scripts/image_parts.py got for a platform: Envoy and the C library it is linked to.
func (r *release) imageParts(platform string) ([]file, []component, error) {
	folder := filepath.Join(r.root, ".tools", "image", platform)
	stamp, err := os.ReadFile(filepath.Join(folder, "stamp"))
	if err != nil {
		return nil, nil, fmt.Errorf("%w\nscripts/image_parts.py gets what the image with Envoy needs; -images services leaves it out", err)
	}
	versions := map[string]string{}
	for line := range strings.Lines(string(stamp)) {
		words := strings.Fields(line)
		versions[words[0]] = words[1]
	}
	libc, err := readFolder(filepath.Join(folder, "libc"))
	if err != nil {
		return nil, nil, err
	}
	envoy, err := os.ReadFile(filepath.Join(folder, "envoy"))
	if err != nil {
		return nil, nil, err
	}
	apache, err := r.page("LICENSE")
	if err != nil {
		return nil, nil, err
	}
	copyright, err := os.ReadFile(filepath.Join(folder, "libc", "usr", "share", "doc", "libc6", "copyright"))
	if err != nil {
		return nil, nil, err
	}
	return append(libc, program("usr/local/bin/envoy", envoy)), []component{
		{
			name: "envoy", version: versions["envoy"], licence: "Apache-2.0",
			purl: "pkg:github/envoyproxy/envoy@v" + versions["envoy"], texts: []file{apache},
		},
		{
			name: "libc6", version: versions["libc6"], licence: "LGPL-2.1-or-later",
			purl:  "pkg:deb/debian/libc6@" + versions["libc6"] + "?distro=bookworm",
			texts: []file{text("copyright", copyright), text("LGPL-2.1.txt", lgpl)},
		},
	}, nil
}
