package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"
)

var day = time.Unix(1_790_000_000, 0).UTC()

// sample stands for what a build makes: a program, papers, a folder of its own owner, a link.
func sample() []file {
	return []file{
		program("usr/local/bin/postern", bytes.Repeat([]byte("static"), 10_000)),
		text("usr/share/doc/postern/LICENSE", []byte("Apache")),
		{name: "var/lib/postern", mode: 0o700, dir: true, owner: nobody},
		{name: "lib64/ld.so", mode: 0o777, link: "../lib/ld.so"},
	}
}

func TestArchiveIsTheSameInAnyOrder(t *testing.T) {
	t.Parallel()
	files := sample()
	once, err := archive(files, day)
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(files)
	again, err := archive(files, day)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(once, again) {
		t.Error("the order in which files are given shows")
	}
	want := []string{
		"lib64/ 755 0", "lib64/ld.so 777 0", "usr/ 755 0", "usr/local/ 755 0", "usr/local/bin/ 755 0", "usr/local/bin/postern 755 0",
		"usr/share/ 755 0", "usr/share/doc/ 755 0", "usr/share/doc/postern/ 755 0", "usr/share/doc/postern/LICENSE 644 0",
		"var/ 755 0", "var/lib/ 755 0", "var/lib/postern/ 700 65532",
	}
	if got := entries(t, once); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// entries lists an archive: name, mode and owner of each.
func entries(t *testing.T, content []byte) []string {
	t.Helper()
	plain, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for r := tar.NewReader(plain); ; {
		header, err := r.Next()
		if err == io.EOF {
			return found
		}
		if err != nil {
			t.Fatal(err)
		}
		if !header.ModTime.Equal(day) || header.Uname != "" {
			t.Errorf("%s is of %v and %q", header.Name, header.ModTime, header.Uname)
		}
		found = append(found, fmt.Sprintf("%s %o %d", header.Name, header.Mode, header.Uid))
	}
}

// TestImageIsTheSame writes an image twice, in different folders, and reads one back with the library's reader.
func TestImageIsTheSame(t *testing.T) {
	t.Parallel()
	a := album{version: "1.2.3", when: day, labels: map[string]string{"org.opencontainers.image.version": "1.2.3"}, editions: []edition{
		{"amd64", [][]file{ground([]byte("authorities")), sample()}}, {"arm64", [][]file{ground([]byte("authorities")), sample()}},
	}}
	var written [2][]byte
	for i := range written {
		target := filepath.Join(t.TempDir(), "image.tar")
		if err := a.write(target); err != nil {
			t.Fatal(err)
		}
		var err error
		if written[i], err = os.ReadFile(target); err != nil {
			t.Fatal(err)
		}
		if left, _ := filepath.Glob(filepath.Join(filepath.Dir(target), ".image*")); len(left) > 0 {
			t.Errorf("left behind: %v", left)
		}
	}
	if !bytes.Equal(written[0], written[1]) {
		t.Error("two images of the same differ")
	}
	folder := t.TempDir()
	unpack(t, written[0], folder)
	index, err := layout.ImageIndexFromPath(folder)
	if err != nil {
		t.Fatal(err)
	}
	top, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Manifests) != 1 || top.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.2.3" {
		t.Fatalf("the layout names %v", top.Manifests)
	}
	inner, err := index.ImageIndex(top.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	platforms, err := inner.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		one := platforms.Manifests[i]
		if one.Platform.Architecture != arch || one.ArtifactType != "" {
			t.Errorf("image %d is for %v, of type %q", i, one.Platform, one.ArtifactType)
		}
		image, err := inner.Image(one.Digest)
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != "65532:65532" || config.Architecture != arch || !config.Created.Equal(day) {
			t.Errorf("the image runs as %q, is for %s, of %v", config.Config.User, config.Architecture, config.Created)
		}
	}
}

func unpack(t *testing.T, content []byte, folder string) {
	t.Helper()
	for r := tar.NewReader(bytes.NewReader(content)); ; {
		header, err := r.Next()
		if err == io.EOF {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(folder, filepath.FromSlash(header.Name))
		if header.Typeflag == tar.TypeDir {
			err = os.MkdirAll(name, 0o755)
		} else {
			var content []byte
			if content, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, content, 0o644)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestAuthorities(t *testing.T) {
	t.Parallel()
	once, err := authorities()
	if err != nil {
		t.Fatal(err)
	}
	again, _ := authorities()
	if !bytes.Equal(once, again) {
		t.Error("two bundles of authorities differ")
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(once) || bytes.Count(once, []byte("BEGIN CERTIFICATE")) < 100 {
		t.Errorf("%d authorities, of Mozilla's more than 100", bytes.Count(once, []byte("BEGIN CERTIFICATE")))
	}
}

func TestBillOfMaterials(t *testing.T) {
	t.Parallel()
	parts := union([]component{{name: "b", version: "v1", licence: "MIT", purl: "pkg:golang/b@v1"}}, []component{
		{name: "a", version: "v2", licence: "ISC", purl: "pkg:golang/a@v2"}, {name: "b", version: "v1", licence: "MIT", purl: "pkg:golang/b@v1"},
	})
	once, err := billOf("postern", "1.2.3", day, parts)
	if err != nil {
		t.Fatal(err)
	}
	again, _ := billOf("postern", "1.2.3", day, parts)
	other, _ := billOf("postern", "1.2.4", day, parts)
	if !bytes.Equal(once, again) || bytes.Equal(once, other) {
		t.Error("a bill follows from its content, and from nothing else")
	}
	var b bill
	if err := json.Unmarshal(once, &b); err != nil {
		t.Fatal(err)
	}
	if len(b.Components) != 2 || b.Components[0].Name != "a" || len(b.Dependencies[0].DependsOn) != 2 {
		t.Errorf("the bill is\n%s", once)
	}
	var another bill
	if err := json.Unmarshal(other, &another); err != nil || another.SerialNumber == b.SerialNumber {
		t.Errorf("two versions have the serial number %s", b.SerialNumber)
	}
}

// TestClearedKeepsWhatIsNotOurs: a folder that holds something else is not emptied.
func TestClearedKeepsWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"postern-0.9-linux-amd64.tar.gz", sums} {
		if err := os.WriteFile(filepath.Join(folder, name), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := cleared(folder); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(folder); len(left) != 0 {
		t.Errorf("%v are left of an earlier release", left)
	}
	mine := filepath.Join(folder, "thesis.tex")
	if err := os.WriteFile(mine, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := cleared(folder); err == nil || !strings.Contains(err.Error(), "thesis.tex") {
		t.Errorf("cleared a folder that holds a thesis: %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

func TestLicenceTexts(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	for _, name := range []string{"NOTICE", "license.go", "README.md"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(name), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := licenceTexts(folder); err == nil {
		t.Error("a module without a licence was taken")
	}
	if err := os.WriteFile(filepath.Join(folder, "LICENSE.txt"), []byte("MIT"), 0o600); err != nil {
		t.Fatal(err)
	}
	texts, err := licenceTexts(folder)
	if err != nil || len(texts) != 2 {
		t.Errorf("got %v, %v; want licence and notice", texts, err)
	}
}
