#!/bin/sh
# Lints everything and reports all of it before failing. Arguments: the Go files whose format is checked.
set -u
cd "$(dirname "$0")/.."
failed=0

# step NAME COMMAND...: runs it, says its name if it fails
step() {
	name=$1
	shift
	"$@" || {
		echo "lint: $name failed" >&2
		failed=1
	}
}

formatted() {
	unformatted=$(go tool -modfile=tools/go.mod gofumpt -l "$@") || return 1
	[ -z "$unformatted" ] || {
		echo "not formatted (go tool -modfile=tools/go.mod gofumpt -w FILE):" >&2
		echo "$unformatted" >&2
		return 1
	}
}

shells_parse() {
	for script in scripts/*.sh; do
		sh -n "$script" || return 1
	done
	bash -n .ci/run
}

# why: ast.parse leaves no compiled files behind, as py_compile would
python_parses() {
	python3 -c 'import ast, sys; [ast.parse(open(f).read(), f) for f in sys.argv[1:]]' scripts/*.py test/*/*.py
}

step gofumpt formatted "$@"
step "go vet" go vet ./...
step staticcheck go tool -modfile=tools/go.mod staticcheck ./...
step "go vet in tools" go vet -C tools ./...
step "staticcheck in tools" go tool -C tools staticcheck ./...
step "buf lint" buf lint
step hadolint hadolint deploy/docker/Dockerfile
step "go vet of the tests with an engine" go vet -tags compose ./test/compose ./test/docs
step "Kubernetes manifests" python3 scripts/manifests.py
step "shell syntax" shells_parse
step "Python syntax" python_parses
exit $failed
