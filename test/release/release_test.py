#!/usr/bin/env python3
"""Makes the release twice, in two places, compares the bytes, and examines them with readers that have no code in common with
what wrote them: this script, sha256sum's format, skopeo. `make release-test` calls it; it takes as long as building everything twice.

    test/release/release_test.py all|services|none
"""

import gzip
import hashlib
import io
import json
import os
import pathlib
import platform
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
IMAGES = "all"
VERSION = "1.2.3-test"
EPOCH = "1790000000"
PLATFORMS = [("linux", "amd64"), ("linux", "arm64"), ("darwin", "amd64"), ("darwin", "arm64")]


def make(checkout, out, **environment):
    """Makes the release of a checkout."""
    subprocess.run(["go", "run", "-C", "tools", "./release", "-root", "..", "-out", str(out), "-version", VERSION, "-images", IMAGES],
                   cwd=checkout, check=True, env={**os.environ, "SOURCE_DATE_EPOCH": EPOCH, **environment})


def copy_checkout(target):
    """What git would put into a clone, and what is not yet committed."""
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, check=True, capture_output=True).stdout
    for name in filter(None, names.decode().split("\0")):
        if (ROOT / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    (target / ".tools").symlink_to(ROOT / ".tools")


def read_tar(content):
    """name → (tar entry, content)"""
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        return {m.name: (m, archive.extractfile(m).read() if m.isfile() else b"") for m in archive.getmembers()}


def is_static(program):
    """Does an ELF file ask for no loader?"""
    assert program[:5] == b"\x7fELF\x02", "not a 64-bit ELF file"
    offset, = struct.unpack_from("<Q", program, 32)
    size, count = struct.unpack_from("<HH", program, 54)
    kinds = [struct.unpack_from("<I", program, offset + i * size)[0] for i in range(count)]
    return 3 not in kinds  # PT_INTERP


def this_machine():
    return platform.system().lower(), {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class Release(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.temporary = tempfile.TemporaryDirectory()
        place = pathlib.Path(cls.temporary.name)
        cls.dist = place / "dist"
        make(ROOT, cls.dist)
        cls.again = place / "a-folder-with-a-longer-name" / "dist"
        checkout = place / "a-folder-with-a-longer-name" / "checkout"
        checkout.mkdir(parents=True)
        copy_checkout(checkout)
        old = os.umask(0o077)
        try:
            make(checkout, cls.again, GOCACHE=str(place / "cache"), TZ="Pacific/Kiritimati", LANG="C", USER="somebody", GOFLAGS="-tags=other")
        finally:
            os.umask(old)

    @classmethod
    def tearDownClass(cls):
        cls.temporary.cleanup()

    def read(self, name):
        return (self.dist / name).read_bytes()

    def test_twice_the_same_bytes(self):
        names = sorted(p.name for p in self.dist.iterdir())
        self.assertEqual(names, sorted(p.name for p in self.again.iterdir()))
        self.assertEqual([], [name for name in names if self.read(name) != (self.again / name).read_bytes()])

    def test_checksums(self):
        listed = dict(reversed(line.split("  ")) for line in self.read("SHA256SUMS").decode().splitlines())
        self.assertEqual(sorted([*listed, "SHA256SUMS"]), sorted(p.name for p in self.dist.iterdir()))
        for name, digest in listed.items():
            self.assertEqual(digest, hashlib.sha256(self.read(name)).hexdigest(), name)

    def test_archives(self):
        for system, machine in PLATFORMS:
            top = f"postern-{VERSION}-{system}-{machine}"
            files = read_tar(gzip.decompress(self.read(top + ".tar.gz")))
            for name in ("LICENSE", "NOTICE", "README.md", "licenses/README.md", "completions/postern.bash", "completions/_postern",
                         "completions/postern.fish", "completions/postern.ps1"):
                self.assertGreater(len(files[f"{top}/{name}"][1]), 100, name)
            entry, program = files[f"{top}/postern"]
            self.assertEqual(entry.mode, 0o755)
            self.assertEqual({(m.uid, m.gid, m.uname, m.mtime) for m, _ in files.values()}, {(0, 0, "", int(EPOCH))})
            for place in (str(ROOT), self.temporary.name):
                self.assertNotIn(place.encode(), program, "a path of the machine is in the program")
            if system == "linux":
                self.assertTrue(is_static(program), top)
            else:
                self.assertEqual(program[:4], b"\xcf\xfa\xed\xfe", top)  # Mach-O, 64 bits
            if (system, machine) == this_machine():
                self.check_version(program)

    def check_version(self, program):
        path = pathlib.Path(self.temporary.name) / "postern"
        path.write_bytes(program)
        path.chmod(0o755)
        said = json.loads(subprocess.run([path, "version", "--output", "json"], check=True, capture_output=True, cwd=self.temporary.name).stdout)
        self.assertEqual(said["postern"], VERSION)

    def test_the_guide_installs(self):
        """What docs/guides/install.md says of the program, done in a home of its own."""
        page = (ROOT / "docs" / "guides" / "install.md").read_text()
        script = page.split("```sh\n")[1].split("```")[0]
        self.assertIn("sha256sum", script)
        system, machine = this_machine()
        home = pathlib.Path(self.temporary.name) / "home"
        shutil.copytree(self.dist, home / "dist")
        said = subprocess.run(["bash", "-euc", script.replace("1.0.0", VERSION).replace("linux-amd64", f"{system}-{machine}")],
                              cwd=home / "dist", env={**os.environ, "HOME": str(home)}, check=True, capture_output=True, text=True).stdout
        self.assertIn(f"postern  {VERSION} ", said)

    def test_bill_of_materials_and_licences_agree(self):
        bill = json.loads(self.read(f"postern-{VERSION}.cdx.json"))
        self.assertEqual((bill["bomFormat"], bill["specVersion"], bill["metadata"]["component"]["version"]), ("CycloneDX", "1.6", VERSION))
        parts = {f"{c['name']}@{c['version']}" for c in bill["components"]}
        self.assertIn("std", {c["name"] for c in bill["components"]})
        with_text = set()
        for system, machine in PLATFORMS:
            top = f"postern-{VERSION}-{system}-{machine}/licenses/"
            for name in read_tar(gzip.decompress(self.read(f"postern-{VERSION}-{system}-{machine}.tar.gz"))):
                folder, _, file = name.removeprefix(top).rpartition("/")
                if name.startswith(top) and file.lower().startswith(("licen", "copying")):
                    with_text.add(folder)
        self.assertEqual(parts, with_text)

    def images(self):
        """name → architecture → (configuration, files of all layers)"""
        found = {}
        for name in {"all": ["postern", "postern-envoy"], "services": ["postern"], "none": []}[IMAGES]:
            blobs = read_tar(self.read(f"{name}-{VERSION}-image.tar"))
            self.assertEqual(json.loads(blobs["oci-layout"][1]), {"imageLayoutVersion": "1.0.0"})

            def blob(descriptor):
                content = blobs["blobs/" + descriptor["digest"].replace(":", "/")][1]
                self.assertEqual(descriptor["digest"], "sha256:" + hashlib.sha256(content).hexdigest())
                self.assertEqual(descriptor["size"], len(content))
                return content

            [top] = json.loads(blobs["index.json"][1])["manifests"]
            self.assertEqual(top["annotations"]["org.opencontainers.image.ref.name"], VERSION)
            for entry in json.loads(blob(top))["manifests"]:
                manifest = json.loads(blob(entry))
                config, files = json.loads(blob(manifest["config"])), {}
                for layer, diff in zip(manifest["layers"], config["rootfs"]["diff_ids"], strict=True):
                    plain = gzip.decompress(blob(layer))
                    self.assertEqual(diff, "sha256:" + hashlib.sha256(plain).hexdigest())
                    files.update(read_tar(plain))
                self.assertEqual(entry["platform"], {"os": config["os"], "architecture": config["architecture"]})
                found.setdefault(name, {})[config["architecture"]] = (config, files)
        return found

    def test_images(self):
        for name, editions in self.images().items():
            self.assertEqual(sorted(editions), ["amd64", "arm64"])
            for machine, (config, files) in editions.items():
                self.assertEqual(config["config"]["User"], "65532:65532")
                self.assertEqual(config["config"]["Entrypoint"], ["/usr/local/bin/postern"])
                home = files[config["config"]["WorkingDir"].strip("/")][0]
                self.assertEqual((home.uid, home.mode & 0o777), (65532, 0o700))
                self.assertGreater(files["etc/ssl/certs/ca-certificates.crt"][1].count(b"BEGIN CERTIFICATE"), 100)
                self.assertTrue(is_static(files["usr/local/bin/postern"][1]))
                self.assertIn("usr/share/doc/postern/NOTICE", files)
                archive = read_tar(gzip.decompress(self.read(f"postern-{VERSION}-linux-{machine}.tar.gz")))
                self.assertEqual(files["usr/local/bin/postern"][1], archive[f"postern-{VERSION}-linux-{machine}/postern"][1])
                self.assertEqual("usr/local/bin/envoy" in files, name == "postern-envoy")

    def test_images_start_as_those_of_the_dockerfile(self):
        stages, stage = {}, None
        for line in (ROOT / "deploy" / "docker" / "Dockerfile").read_text().splitlines():
            word, _, rest = line.partition(" ")
            if word == "FROM":
                stage = stages.setdefault(rest.split()[-1], {})
            elif stage is not None:
                stage.setdefault(word, []).append(rest)
        for name, editions in self.images().items():
            stage = stages[name.removeprefix("postern-")]
            for config in (config["config"] for config, _ in editions.values()):
                self.assertEqual([config["User"]], stage["USER"])
                self.assertEqual([config["WorkingDir"]], stage["WORKDIR"])
                self.assertEqual(list(config["Volumes"]), stage["VOLUME"])
                self.assertEqual(config["Entrypoint"], json.loads(stage["ENTRYPOINT"][0]))
                self.assertEqual(config["Cmd"], json.loads(stage["CMD"][0]))
                self.assertEqual({p.removesuffix("/tcp") for p in config.get("ExposedPorts", {})}, set(" ".join(stage.get("EXPOSE", [])).split()))
                self.assertEqual({"PATH=/usr/local/bin", *config["Env"]}, {"PATH=/usr/local/bin", *" ".join(stage["ENV"]).split()})

    def test_envoy_starts_with_the_libraries_of_its_image(self):
        system, machine = this_machine()
        if IMAGES != "all" or system != "linux":
            return
        _, files = self.images()["postern-envoy"][machine]
        root = pathlib.Path(self.temporary.name) / "root"
        for name, (entry, content) in files.items():
            if entry.isfile() and name.startswith(("lib", "usr/local/bin/")):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                (root / name).write_bytes(content)
                (root / name).chmod(entry.mode)
        [libraries] = (root / "lib").glob("*-linux-gnu")
        [loader] = libraries.glob("ld-linux-*")
        ran = subprocess.run([loader, "--library-path", libraries, root / "usr/local/bin/envoy", "--version"], capture_output=True, text=True, check=True)
        self.assertIn("/" + (ROOT / "envoy" / "VERSION").read_text().strip() + "/", ran.stdout)

    def test_skopeo_reads_the_images(self):
        for name, editions in self.images().items():
            for machine in editions:
                target = pathlib.Path(self.temporary.name) / f"{name}-{machine}"
                subprocess.run(["skopeo", "copy", "--quiet", "--override-os", "linux", "--override-arch", machine, "--insecure-policy",
                                f"oci-archive:{self.dist}/{name}-{VERSION}-image.tar:{VERSION}", f"dir:{target}"], check=True)
                self.assertTrue((target / "manifest.json").exists())


if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in ("all", "services", "none"):
        sys.exit(__doc__)
    IMAGES = sys.argv.pop()
    unittest.main(verbosity=2)
