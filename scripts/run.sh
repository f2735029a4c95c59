#!/bin/sh
# Serves examples/petstore with bin/postern, in front of bin/example-backend, until Ctrl-C. `make run` calls it.
# Other ports: POSTERN_LISTEN_HTTP, POSTERN_MANAGEMENT_LISTEN, POSTERN_VAR_PETS (the backend), POSTERN_DATA_DIR.
set -eu
cd "$(dirname "$0")/.."
gateway=${POSTERN_LISTEN_HTTP:-127.0.0.1:9090}
management=${POSTERN_MANAGEMENT_LISTEN:-127.0.0.1:9843}
pets=${POSTERN_VAR_PETS:-127.0.0.1:9091}

backend= postern=
# why: both hear Ctrl-C from the terminal themselves; what is sent here is for a plain kill of this script
end() {
	trap '' INT TERM
	for child in $postern $backend; do
		kill "$child" 2>/dev/null || true
	done
	wait
}
trap end EXIT
trap 'exit 0' INT TERM

bin/example-backend -listen "$pets" &
backend=$!
bin/postern run --dev examples/petstore &
postern=$!

# ready: does Envoy serve everything?
ready() {
	curl -s -o /dev/null --max-time 1 -f "http://$management/readyz"
}
until ready; do
	for child in $postern $backend; do
		kill -0 "$child" 2>/dev/null || exit 1 # it has said why
	done
	sleep 0.1
done

reader=$(bin/postern token --sub ann --scope "read:pets")
writer=$(bin/postern token --sub bob --scope "read:pets write:pets")
url=http://$gateway/petstore/1.0.0
cat <<EOF

The petstore is served at $url. Paste into another terminal:

  READER=$reader
  WRITER=$writer

  curl -i $url/pet/1 -H "Authorization: Bearer \$READER"                # 200
  curl -i $url/pet/1                                                    # 401 no token
  curl -i $url/pet/1 -X DELETE -H "Authorization: Bearer \$READER"      # 403 a scope is missing
  curl -i $url/pet/3 -X DELETE -H "Authorization: Bearer \$WRITER"      # 204
  curl -i $url/nothing                                                  # 404
  curl -i $url/pet/1 -X PATCH                                           # 405 and what is allowed
  for i in \$(seq 11); do curl -si $url/store/inventory; echo; done      # 200 ten times a minute, then 429
  kill $backend; curl -i $url/pet/1 -H "Authorization: Bearer \$READER"  # 503 the backend is gone

Ctrl-C stops everything.

EOF
wait $postern
