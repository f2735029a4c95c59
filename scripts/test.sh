#!/bin/sh
# Runs every test. Packages that start goroutines run under the race detector; the others, which are pure, do not:
# the detector would find nothing in them and cost a second build of what they import.
set -eu
cd "$(dirname "$0")/.."

# concurrent FOLDER: does a Go file of it start a goroutine, or hold what only goroutines need?
concurrent() {
	grep -lqE '^[[:space:]]*go (func\b|[a-zA-Z_.]+\()|errgroup\.|sync\.|atomic\.' "$1"/*.go 2>/dev/null
}

# why: what lies in test/ drives processes from outside, where the detector does not see. Instead the gateway that test/attack
# starts is built with it.
export TEST_BUILD_FLAGS=-race CGO_ENABLED=1

racy= plain=
for folder in $(go list -f '{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}' ./...); do
	package=./${folder#"$PWD"/}
	case $package in
	./test/skew) ;; # builds the version before from the repository's history, which a checkout need not have: make skew-test
	./test/*) plain="$plain $package" ;;
	*) if concurrent "$folder"; then racy="$racy $package"; else plain="$plain $package"; fi ;;
	esac
done

failed=0
# why: a module of its own, so that ./... does not reach it
go test -C tools -count=1 ./... || failed=1
# shellcheck disable=SC2086 # package paths hold no blanks
if [ -n "$plain" ]; then
	echo "== go test" >&2
	go test -count=1 -timeout 10m $plain || failed=1
fi
# shellcheck disable=SC2086
if [ -n "$racy" ]; then
	echo "== go test -race" >&2
	go test -race -count=1 -timeout 10m $racy || failed=1
fi
exit $failed
