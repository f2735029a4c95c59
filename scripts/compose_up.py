#!/usr/bin/env python3
"""Builds the images, brings docker-compose.yaml up and prints lines to paste: `make compose-up` calls it.

`docker compose up --build --wait` does the same, where docker has its plugins and reaches an image registry.
"""

import os
import pathlib
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import images  # noqa: E402
import standins  # noqa: E402

LINES = """
DEVELOPMENT: this gateway believes tokens that whoever may use this Docker can sign. deploy/compose/postern.yaml says how to change that.

  READER=$(docker compose run --rm --no-TTY token --sub ann --scope read:pets)

  curl -i {url}/pet/1 -H "Authorization: Bearer $READER"            # 200
  curl -i {url}/pet/1                                               # 401, no token
  curl -i {url}/pet/1 -X DELETE -H "Authorization: Bearer $READER"  # 403, a scope is missing
  curl -i {url}/nothing                                             # 404
  curl -i {url}/pet/1 -X PATCH                                      # 405, and what is allowed
  for i in $(seq 11); do curl -i {url}/store/inventory; done        # 429, after ten in a minute

  docker compose cp adapter:/etc/postern/https/ca.crt ca.crt
  curl -i --cacert ca.crt {secure}/pet/1 -H "Authorization: Bearer $READER"  # 200, over HTTPS

  docker compose stop backend; curl -i {url}/pet/1 -H "Authorization: Bearer $READER"  # 503, the backend is gone

docker compose down stops everything, and with --volumes forgets its keys and certificates.
"""


def main():
    given = images.arguments()
    for target in images.NAMES:
        print("compose-up: built", images.build(target, given), file=sys.stderr)
    environment = dict(os.environ)
    if given.get("GO_IMAGE") == standins.TOOLS:
        environment.setdefault("REDIS_IMAGE", standins.TOOLS)
    subprocess.run(["docker", "compose", "up", "--no-build", "--detach", "--wait", "--wait-timeout", "120"],
                   cwd=images.ROOT, check=True, env=environment, stdin=subprocess.DEVNULL)
    plain = os.environ.get("PUBLISH_HTTP", "127.0.0.1:9090")
    secure = os.environ.get("PUBLISH_HTTPS", "127.0.0.1:9095")
    print(LINES.format(url=f"http://{plain}/petstore/1.0.0", secure=f"https://{secure}/petstore/1.0.0"))


if __name__ == "__main__":
    try:
        main()
    except subprocess.CalledProcessError as failed:
        sys.exit(f"compose-up: {' '.join(map(str, failed.cmd[:3]))} failed; `docker compose ps --all` and `docker compose logs` say more")
