# Postern. `make` prints what there is to make.

SHELL := /bin/sh
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DEFAULT_GOAL := help

# why: the machine's own Go is the pinned one; a toolchain fetched behind one's back would be another
export GOTOOLCHAIN := local
# why: `git describe` names the version; asking git once more fails in checkouts that another user owns
export GOFLAGS ?= -buildvcs=false
# what is fetched for this checkout alone comes first
export PATH := $(CURDIR)/.tools/bin:$(PATH)

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GO_TOOL := go tool -modfile=tools/go.mod
GO_FILES = $(shell git ls-files --cached --others --exclude-standard '*.go' | grep -v -e '\.pb\.go$$' -e '\.gen\.go$$')
FUZZ_SECONDS ?= 30
# which images a release has: all | services | none. Those with Envoy need Debian's apt
IMAGES ?= all

.PHONY: help
help: ## what there is to make
	@awk 'BEGIN { FS = ":.*## "; print "Postern: an API microgateway over Envoy. Start with `make run`.\n" } \
		/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: build .tools/envoy ## build, get Envoy, serve the example petstore, print lines to paste
	@scripts/need.sh curl
	@python3 scripts/run.py

.PHONY: build
build: go ## bin/postern, and bin/example-backend, the service behind the examples
	@go build -ldflags '-X main.version=$(VERSION)' -o bin/postern ./cmd/postern
	@go build -o bin/example-backend ./examples/backend

.PHONY: test
test: go .tools/envoy .tools/kubectl ## everything: unit, golden, real Envoy, race detector, docs, attacks, 30 s of fuzzing
	@scripts/need.sh gcc git wrk h2load redis-server
	@scripts/test.sh
	@scripts/fuzz.sh $(FUZZ_SECONDS)

.PHONY: test-short
test-short: go ## what needs no server, in under a minute
	@go test -short ./...
	@go test -C tools ./...

.PHONY: lint
lint: go .tools/buf .tools/hadolint ## go vet, staticcheck, gofumpt, buf, hadolint, manifests, shell and Python syntax
	@scripts/lint.sh $(GO_FILES)

.PHONY: generate
generate: go .tools/buf ## generated code, reference pages, list of licences
	@buf generate
	@$(GO_TOOL) oapi-codegen -config adapter/rest/api/config.yaml adapter/rest/openapi.yaml
	@go run ./internal/docgen
	@python3 scripts/licenses.py docs/reference/licenses.md

.PHONY: fuzz
fuzz: go ## ten minutes of fuzzing, spread over all fuzz targets
	@scripts/fuzz.sh 600

.PHONY: bench
bench: build .tools/envoy ## how fast it is, against baselines in the same run (BENCH=-list prints the rows)
	@scripts/need.sh wrk h2load redis-server
	@go run ./test/bench $(BENCH)

.PHONY: images
images: ## container images of this checkout: postern:local, postern-envoy:local and two for compose
	@python3 scripts/images.py

.PHONY: skew-test
skew-test: go .tools/envoy ## every part with the version before it (test/skew/previous); needs the history of this checkout
	@go test -count=1 -timeout 15m ./test/skew

.PHONY: release
release: go ## archives, images, checksums and lists of what is in them, into dist/ (IMAGES=services|none)
	@[ "$(IMAGES)" != all ] || python3 scripts/image_parts.py
	@go run -C tools ./release -root .. -out ../dist -images $(IMAGES)

.PHONY: release-test
release-test: go ## makes the release twice, apart, and compares and examines it
	@[ "$(IMAGES)" != all ] || python3 scripts/image_parts.py
	@scripts/need.sh git skopeo
	@python3 test/release/release_test.py $(IMAGES)

.PHONY: compose-up
compose-up: ## everything apart, in containers: builds the images, starts docker-compose.yaml, prints lines to paste
	@python3 scripts/compose_up.py

.PHONY: compose-test
compose-test: go .tools/envoy ## build the images, bring docker-compose.yaml up, break each part in turn under load
	@scripts/need.sh curl
	@python3 scripts/compose_test.py

.PHONY: licenses
licenses: go ## the list of dependencies and their licences
	@python3 scripts/licenses.py docs/reference/licenses.md

.PHONY: tools
tools: .tools/envoy .tools/buf .tools/hadolint .tools/kubectl ## the pinned Envoy and linters, into .tools/bin

.PHONY: ci
ci: ## what CI runs: lint, generated code, all tests
	@bash .ci/run

.PHONY: clean
clean: ## remove what was built or fetched here
	rm -rf bin dist .postern .tools

.PHONY: go
go:
	@scripts/go.sh

.PHONY: .tools/envoy .tools/buf .tools/hadolint .tools/kubectl
.tools/envoy .tools/buf .tools/hadolint .tools/kubectl:
	@python3 scripts/tools.py $(@F)
