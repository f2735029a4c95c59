#!/usr/bin/env python3
"""Serves examples/petstore with bin/postern, in front of bin/example-backend, until Ctrl-C. `make run` calls it.

Other ports: POSTERN_LISTEN_HTTP, POSTERN_MANAGEMENT_LISTEN, POSTERN_VAR_PETS (the backend). Other sockets: POSTERN_DATA_DIR.
"""

import os
import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
GATEWAY = os.environ.get("POSTERN_LISTEN_HTTP", "127.0.0.1:9090")
MANAGEMENT = os.environ.get("POSTERN_MANAGEMENT_LISTEN", "127.0.0.1:9843")

LINES = """
Paste into another terminal:

  READER={reader}
  WRITER={writer}

  curl -i {url}/pet/1 -H "Authorization: Bearer $READER"            # 200
  curl -i {url}/pet/1                                               # 401, no token
  curl -i {url}/pet/1 -X DELETE -H "Authorization: Bearer $READER"  # 403, a scope is missing
  curl -i {url}/pet/3 -X DELETE -H "Authorization: Bearer $WRITER"  # 204
  curl -i {url}/nothing                                             # 404
  curl -i {url}/pet/1 -X PATCH                                      # 405, and what is allowed
  for i in $(seq 11); do curl -i {url}/store/inventory; done        # 429, after ten in a minute
  kill {backend}; curl -i {url}/pet/1 -H "Authorization: Bearer $READER"  # 503, the backend is gone

Ctrl-C stops everything.
"""


def start(*command):
    """Starts a program that does not hear this terminal's Ctrl-C: it is told once, by stop."""
    return subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)


def ready():
    """Does Envoy serve everything?"""
    try:
        with urllib.request.urlopen(f"http://{MANAGEMENT}/readyz", timeout=1) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


def token(subject, scopes):
    made = subprocess.run(["bin/postern", "token", "--sub", subject, "--scope", scopes],
                          cwd=ROOT, check=True, capture_output=True, text=True)
    return made.stdout.strip()


def serve(postern, backend):
    """Waits until all is served, says how to call it, and waits for the end. Returns the exit code."""
    while not ready():
        for program in (postern, backend):
            if program.poll() is not None:
                return program.returncode or 1  # it has said why
        time.sleep(0.05)
    print(LINES.format(url=f"http://{GATEWAY}/petstore/1.0.0", backend=backend.pid,
                       reader=token("ann", "read:pets"), writer=token("bob", "read:pets write:pets")), flush=True)
    return postern.wait()


def stop(program):
    """Ends a program and waits for it; another Ctrl-C meanwhile is handed on, and hurries it."""
    if program.poll() is None:
        program.send_signal(signal.SIGTERM)
    while program.poll() is None:
        try:
            program.wait()
        except KeyboardInterrupt:
            program.send_signal(signal.SIGTERM)


def main():
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    programs = []
    try:
        programs.append(start("bin/example-backend"))
        programs.append(start("bin/postern", "run", "--dev", "examples/petstore"))
        return serve(programs[1], programs[0])
    except KeyboardInterrupt:
        return 0
    finally:
        for program in reversed(programs):
            stop(program)


if __name__ == "__main__":
    sys.exit(main())
