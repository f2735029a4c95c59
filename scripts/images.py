#!/usr/bin/env python3
"""Builds the images of deploy/docker/Dockerfile with the engine that `docker` speaks to: `make images` calls it.

    scripts/images.py [--standins] [postern] [envoy] [keys] [backend]

Where no image registry answers, or with --standins, local stand-ins for the base images are made first (scripts/standins.py).
GO_IMAGE, PYTHON_IMAGE and GLIBC_IMAGE in the environment name other bases.
"""

import os
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import standins  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
NAMES = {"postern": "postern:local", "envoy": "postern-envoy:local", "keys": "postern-keys:local", "backend": "postern-backend:local"}

# What the engine says when there is no way to a registry; anything else it says about an image is our mistake.
UNREACHABLE = re.compile(r"no such host|dial tcp|i/o timeout|connection refused|network is unreachable|TLS handshake|deadline exceeded", re.I)


def output(*command):
    """What a command prints, and whether it ended well; a program that is not there has not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except OSError as problem:
        return str(problem), False
    return (done.stdout + done.stderr).strip(), done.returncode == 0


def builder():
    """How to build with BuildKit: by the plugin of a newer docker, or by an older docker that has it inside."""
    if output("docker", "buildx", "version")[1]:
        return ["docker", "buildx", "build", "--load"]
    for docker in ("docker", "/usr/bin/docker"):
        version, there = output(docker, "version", "--format", "{{.Client.Version}}")
        if there and 19 <= int(version.split(".")[0]) < 23:
            return [docker, "build"]
    sys.exit("images: the Dockerfile needs BuildKit: install docker's plugin buildx")


def bases(forced):
    """The build arguments that name the base images: those of the environment, none at all, or stand-ins."""
    named = {name: os.environ[name] for name in standins.ARGUMENTS if os.environ.get(name)}
    if named:
        return named
    if forced:
        return standins.make()
    pinned = re.search(r"^ARG GLIBC_IMAGE=(\S+)$", DOCKERFILE.read_text(), re.M).group(1)
    words, there = output("docker", "pull", "--quiet", pinned)
    if there:
        return {}
    if not UNREACHABLE.search(words):
        sys.exit(f"images: {pinned}: {words}")
    print("images: no image registry answers; making local stand-ins for the base images", file=sys.stderr)
    return standins.make()


def version():
    words, known = output("git", "-C", str(ROOT), "describe", "--tags", "--always", "--dirty")
    return words if known else "unknown"


def revision():
    words, known = output("git", "-C", str(ROOT), "rev-parse", "HEAD")
    return words if known else "unknown"


def when():
    """The time that images say they are from: that of the commit."""
    words, known = output("git", "-C", str(ROOT), "log", "-1", "--format=%ct")
    return words if known else "0"


def build(target, arguments, *more):
    """Builds one target. Returns its image's name."""
    flags = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    subprocess.run([*builder(), "--file", str(DOCKERFILE), "--target", target, "--tag", NAMES[target], *flags, *more, str(ROOT)],
                   check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env=os.environ | {"DOCKER_BUILDKIT": "1"})
    return NAMES[target]


def arguments(forced=False):
    """The build arguments of all targets."""
    return bases(forced) | {"VERSION": version(), "REVISION": revision(), "SOURCE_DATE_EPOCH": os.environ.get("SOURCE_DATE_EPOCH", when())}


def main(words):
    forced = "--standins" in words
    targets = [w for w in words if w != "--standins"] or list(NAMES)
    if unknown := [t for t in targets if t not in NAMES]:
        sys.exit(f"images: no target {' '.join(unknown)}; there are {' '.join(NAMES)}")
    given = arguments(forced)
    for target in targets:
        print("images: built", build(target, given), file=sys.stderr)


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except subprocess.CalledProcessError as failed:
        sys.exit(f"images: {' '.join(failed.cmd[:3])} failed")
