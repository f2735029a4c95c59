#!/usr/bin/env python3
"""Checks deploy/kubernetes offline: kustomize builds each folder, and every resource fits Kubernetes' own schemas, of the oldest
and of the newest version that they are for. `make lint` calls it. What it needs goes into a virtual environment under .tools.

Whether the commands, settings and ports in them are those of the gateway is asked by the tests of cmd/postern.
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

import tools

# The schemas.
PACKAGE, VERSION = "kubernetes-validate", "1.37.0"
# The oldest has preStop.sleep and sidecars switched on.
VERSIONS = ["1.30", "1.37"]

VENV = tools.TOOLS / f"{PACKAGE}-{VERSION}"
FOLDERS = tools.ROOT / "deploy" / "kubernetes"


def environment():
    """The folder with the program that knows the schemas, got if it is not there."""
    programs = VENV / "bin"
    if (VENV / "complete").exists():
        return programs
    shutil.rmtree(VENV, ignore_errors=True)
    if not tools.make_venv(VENV):
        subprocess.run([str(tools.ROOT / "scripts" / "need.sh"), "pip"], check=True)
        if not tools.make_venv(VENV):
            sys.exit("manifests: Python cannot make a virtual environment: install python3-venv, then run this again")
    tools.say("manifests: getting", PACKAGE, VERSION)
    subprocess.run([programs / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", f"{PACKAGE}=={VERSION}"],
                   check=True, stdout=sys.stderr, stdin=subprocess.DEVNULL)
    (VENV / "complete").touch()
    return programs


def main():
    tools.TOOLS.mkdir(exist_ok=True)
    tools.main(["kubectl"])
    programs, failed = environment(), False
    for kustomization in sorted(FOLDERS.glob("*/kustomization.yaml")):
        folder = kustomization.parent
        built = subprocess.run([tools.TOOLS / "bin" / "kubectl", "kustomize", folder], capture_output=True, text=True)
        if built.returncode != 0:
            tools.say(f"manifests: {folder.relative_to(tools.ROOT)}: {built.stderr.strip()}")
            failed = True
            continue
        with tempfile.TemporaryDirectory() as temporary:
            file = pathlib.Path(temporary) / f"{folder.name}.yaml"
            file.write_text(built.stdout)
            for version in VERSIONS:
                checked = subprocess.run([programs / "kubernetes-validate", "--strict", "--quiet", "-k", version, file],
                                         capture_output=True, text=True)
                if checked.returncode != 0:
                    tools.say(f"manifests: {folder.relative_to(tools.ROOT)} does not fit Kubernetes {version}:\n{checked.stdout}{checked.stderr}".rstrip())
                    failed = True
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
