#!/usr/bin/env bash
# Pushes a project to every end that a push can come to, and expects the exit code that design §3.1 gives it. What is said
# of each is left in files beside, which exits_test.go reads. Expects the projects good, invalid, conflicting, rejected and
# silent in the working directory, and a gateway at $POSTERN_SERVER that takes $POSTERN_TOKEN.
set -uo pipefail

failed=0
expect() {
	local want=$1 name=$2
	shift 2
	"$@" >"$name.out" 2>&1 </dev/null
	local code=$?
	if [[ $code != "$want" ]]; then
		echo "$name: exit $code, want $want:" >&2
		cat "$name.out" >&2
		failed=1
	fi
}

deploy() { postern deploy "$1" --server "$POSTERN_SERVER" --wait "${2:-10s}"; }

expect 0 good deploy good
expect 1 invalid deploy invalid
expect 1 conflicting deploy conflicting
expect 4 rejected deploy rejected
expect 4 silent deploy silent 2s
expect 0 again deploy good
exit "$failed"
