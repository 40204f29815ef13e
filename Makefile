# make help lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
VERSION ?= $(shell git describe --tags --dirty --match 'v*' 2>/dev/null | sed 's/^v//' | grep . || echo 0.1.0-dev)
COMMIT  ?= $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2

TAGS    = netgo,osusergo
LIBSECCOMP ?= $(shell pkg-config --modversion libseccomp 2>/dev/null)
LDFLAGS = -s -w -X main.version=$(VERSION) -X main.commit=$(COMMIT) -X main.libseccomp=$(LIBSECCOMP)
# The executable's entry point protects the binary before Go starts: see libvserver/guard.
ENTRY   = $(if $(filter amd64 arm64,$(shell go env GOARCH)),-E github.com/vsrun/vsrun/libvserver/guard.entry)
HELPER  = libvserver/helper/bin/vsrun-helper
SOURCES := $(shell find main.go spec hooks libvserver -name '*.go' ! -name '*_test.go' 2>/dev/null)
ARGS    ?=

.DELETE_ON_ERROR:
.PHONY: all run test test-engines conformance cve lint bench install uninstall clean help FORCE

all: vsrun ## build ./vsrun, static

# What needs libseccomp, D-Bus or the cgroups library is a program of its own,
# embedded in vsrun and started only when needed, so the hot path has none of it.
$(HELPER): $(wildcard libvserver/helper/cmd/*.go libvserver/cgroup/job/*.go libvserver/criu/job/*.go libvserver/criu/proto/*.go libvserver/seccomp/wire/*.go) go.mod go.sum Makefile
	@contrib/need go gcc libc pkg-config libseccomp
	CGO_ENABLED=1 go build -trimpath -tags $(TAGS) -ldflags '-s -w -linkmode external -extldflags -static' -o $@ ./libvserver/helper/cmd

vsrun: $(HELPER) $(SOURCES) go.mod go.sum Makefile
	@contrib/need go
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags '$(LDFLAGS) $(ENTRY)' -o $@ .

run: vsrun ## show a container's life, from create to delete, as root
	@contrib/need busybox
	@contrib/demo

test: vsrun ## run all tests: unit, golden and integration (RUNTIME=runc tests another runtime; ARGS='-run X')
	@contrib/need busybox unshare
	@contrib/need uidmap || echo 'test: going on without what is missing' >&2
	@go run ./tests/cmd/report -also tests/conformance -count=1 -timeout 20m $(ARGS) ./...

lint: $(HELPER) ## gofmt, go vet, staticcheck, shell syntax
	@contrib/need go
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); test -z "$$bad" || { echo "gofmt: $$bad" >&2; exit 1; }
	@for f in contrib/need contrib/demo .ci/run tests/engines/*.sh; do sh -n $$f || exit 1; done
	go vet -tags $(TAGS) ./...
	go run $(STATICCHECK) -tags $(TAGS) ./...
	cd tests/conformance && go vet ./... && go run $(STATICCHECK) ./...

bench: vsrun ## compare with runc, crun and unshare, side by side (ARGS='-n 50 NAME=PATH')
	@contrib/need busybox unshare gcc libc
	@contrib/need runc crun || echo 'bench: going on without what is missing' >&2
	@go run ./tests/bench $(ARGS)

install: vsrun ## install into $(DESTDIR)$(PREFIX): the binary, its helper, the completion, the man pages
	install -D -m 755 vsrun $(DESTDIR)$(PREFIX)/sbin/vsrun
	install -D -m 755 $(HELPER) $(DESTDIR)$(PREFIX)/libexec/vsrun/vsrun-helper
	install -D -m 644 contrib/completion/vsrun.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vsrun
	@for m in contrib/man/*.[1-8]; do test -e "$$m" || continue; \
		install -v -D -m 644 "$$m" $(DESTDIR)$(PREFIX)/share/man/man$${m##*.}/$${m##*/}; done

uninstall: ## remove what install installed
	rm -f $(DESTDIR)$(PREFIX)/sbin/vsrun $(DESTDIR)$(PREFIX)/share/bash-completion/completions/vsrun
	rm -rf $(DESTDIR)$(PREFIX)/libexec/vsrun
	rm -f $(DESTDIR)$(PREFIX)/share/man/man8/vsrun*.8

clean: ## remove what was built
	rm -f vsrun $(HELPER)
	rm -rf tests/conformance/bin

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-12s %s\n' "$$t" "$$d"; done

conformance: vsrun ## run the OCI validation suite alone, and print its table (RUNTIME=runc compares)
	@contrib/need unshare
	@cd tests/conformance && go test -count=1 -timeout 30m -run TestSuite $(ARGS) -table

cve: vsrun ## try the known attacks on OCI runtimes, and print a table (RUNTIME=runc tries another runtime)
	@contrib/need busybox unshare
	@cd tests/cve && go test -count=1 -timeout 15m $(ARGS) -table

test-engines: vsrun ## real Podman, containerd and Docker, those that are installed (RUNTIME=runc compares; ENGINES=podman)
	@RUNTIME=$${RUNTIME:-./vsrun} tests/engines/run.sh $(ENGINES)
