#!/usr/bin/env python3
"""Builds the images, brings docker-compose.yaml up and tests it: `make compose-test` calls it.

    scripts/compose_test.py [-run PATTERN]

Where no engine answers, one is started and stopped again, in a network namespace and a temporary folder of its own. It reaches no
network, so its base images are local stand-ins; an engine that was there before pulls the real ones if it can.
"""

import contextlib
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import images  # noqa: E402
import standins  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
LIMIT = "30m"  # for all tests together


def say(*words):
    print("compose-test:", *words, file=sys.stderr, flush=True)


def engine_answers():
    return images.output("docker", "info")[1]


@contextlib.contextmanager
def engine():
    """Yields the words that run a command where the published ports are: none if there is an engine already."""
    if engine_answers():
        yield []
        return
    if sys.platform != "linux" or os.geteuid() != 0:
        sys.exit("compose-test: no container engine answers; start Docker and run this again (root on Linux gets one of its own)")
    subprocess.run([ROOT / "scripts/need.sh", "dockerd", "ip"], check=True)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="postern-engine-"))
    try:
        with open(folder / "log", "w", encoding="utf-8") as log:
            # why exec: the process started here is then the engine itself; why --dns: names that no container has are denied at
            # once, as a name server does, which this network namespace cannot reach
            daemon = subprocess.Popen(
                ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec dockerd "$@"', "dockerd",
                 "--data-root", folder / "data", "--exec-root", folder / "run", "--pidfile", folder / "pid",
                 "--host", f"unix://{folder}/docker.sock", "--dns", "127.0.0.1"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        os.environ["DOCKER_HOST"] = f"unix://{folder}/docker.sock"
        try:
            wait_for(daemon, folder / "log")
            yield ["nsenter", "--target", str(daemon.pid), "--net", "--"]
        finally:
            daemon.terminate()
            daemon.wait()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for(daemon, log):
    say("starting an engine")
    deadline = time.monotonic() + 60
    while not engine_answers():
        if daemon.poll() is not None or time.monotonic() > deadline:
            sys.exit("compose-test: the engine does not start:\n" + "".join(log.read_text().splitlines(True)[-20:]))
        time.sleep(0.1)


@contextlib.contextmanager
def compose():
    """Makes sure that `docker compose` is there, by the pinned plugin if docker has none."""
    if images.output("docker", "compose", "version")[1]:
        yield
        return
    subprocess.run([sys.executable, ROOT / "scripts/tools.py", "docker-compose"], check=True)
    with tempfile.TemporaryDirectory(prefix="postern-docker-") as folder:
        plugins = pathlib.Path(folder) / "cli-plugins"
        plugins.mkdir()
        (plugins / "docker-compose").symlink_to((ROOT / ".tools/bin/docker-compose").resolve())
        os.environ["DOCKER_CONFIG"] = folder
        words, there = images.output("docker", "compose", "version")
        if not there:
            sys.exit(f"compose-test: docker compose does not run: {words}\n              Install docker's plugin compose.")
        yield


def layers(image):
    return images.output("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image)[0]


def same_again(target, given):
    """Builds a target without any cache, and says whether its layers are the same."""
    say("building again, without a cache", images.NAMES[target])
    before = layers(images.NAMES[target])
    after = layers(images.build(target, given, "--quiet", "--no-cache"))
    if before != after:
        say(f"{images.NAMES[target]} is not the same when it is built again:\n{before}\n{after}")
    return before == after


def main(words):
    with engine() as inside, compose():
        given = images.arguments(forced=bool(inside))
        for target in images.NAMES:
            say("building", images.build(target, given, "--quiet"))
        if given.get("GO_IMAGE") == standins.TOOLS:
            os.environ.update(standins.ARGUMENTS, REDIS_IMAGE=standins.TOOLS)
        with tempfile.TemporaryDirectory(prefix="postern-test-") as folder:
            for package in ("compose", "docs"):
                subprocess.run(["go", "test", "-tags", "compose", "-c", "-o", f"{folder}/{package}.test", f"./test/{package}"], cwd=ROOT, check=True)
            failed = 0 if same_again("envoy", given) else 1
            for package, more in (("compose", words), ("docs", ["-test.run", "TestEnginePages"])):
                say("testing", package)
                done = subprocess.run([*inside, f"{folder}/{package}.test", "-test.v", "-test.timeout", LIMIT, *more],
                                      cwd=ROOT / "test" / package, stdin=subprocess.DEVNULL)
                failed = done.returncode or failed
            return failed


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the engine ends as well
    try:
        sys.exit(main([f"-test.{w.lstrip('-')}" if w.startswith("-") else w for w in sys.argv[1:]]))
    except subprocess.CalledProcessError as wrong:
        sys.exit(f"compose-test: {' '.join(map(str, wrong.cmd[:3]))} failed")
    except KeyboardInterrupt:
        sys.exit(130)
