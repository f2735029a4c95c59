#!/bin/sh
# Says what to do when Go is missing or too old; go.mod names the version needed.
set -eu
cd "$(dirname "$0")/.."

wanted=$(awk '$1 == "go" { print $2; exit }' go.mod)
if ! command -v go >/dev/null 2>&1; then
	echo "Postern is written in Go and needs $wanted or newer: https://go.dev/doc/install" >&2
	exit 1
fi
current=$(go env GOVERSION)
current=${current#go}
oldest=$(printf '%s\n%s\n' "$wanted" "${current%%[!0-9.]*}" | sort -V | head -n 1)
if [ "$oldest" != "$wanted" ]; then
	echo "Postern needs Go $wanted or newer; this is $current: https://go.dev/doc/install" >&2
	exit 1
fi
