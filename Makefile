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
DOCS    = contrib/man/vsrun.8
DATE    = $(shell git log -1 --format=%cs 2>/dev/null || date +%F)
IMPORT  = contrib/vserver2oci/vserver2oci
BINDIR  = $(PREFIX)/sbin
SHARE   = $(DESTDIR)$(PREFIX)/share
UNITDIR = $(PREFIX)/lib/systemd/system
SOURCES := $(shell find main.go spec hooks libvserver -name '*.go' ! -name '*_test.go' 2>/dev/null)
ARGS    ?=
LOAD_TIME ?= 5m
LOAD_CYCLES ?= 10000
SUITE   ?=
OUT     ?=
FILES   ?=
export VM_COMMAND := $(value CMD)

# Code runs once here, and most of its cost is to bring it into memory: without inlining there is a fifth less of it.
GCFLAGS = -gcflags=github.com/vsrun/vsrun/...=-l

# The kernel keeps what is written at once in large folios, where the filesystem can. The first 2 MiB, nearly all of the
# code, become one that a fault maps whole, by one entry of the page tables; the rest, of which a start needs some places
# here and there, becomes folios of 64 KiB, since what is mapped counts as memory. The linker's own pages lie one by one.
place = dd if=$(1) of=$(2).new bs=2M count=1 status=none && dd if=$(1) of=$(2).new bs=64K skip=32 seek=32 conv=notrunc status=none && \
	chmod 755 $(2).new && mv -f $(2).new $(2)

.DELETE_ON_ERROR:
.PHONY: all docs deb run test test-engines test-vm vm-run vm-shell vm-image conformance cve lint bench bench-unify install uninstall clean help FORCE

all: vsrun docs $(IMPORT) ## build ./vsrun, static, and its manual pages and shell completions

# What needs libseccomp, D-Bus or the cgroups library is a program of its own,
# embedded in vsrun and started only when needed, so the hot path has none of it.
$(HELPER): $(wildcard libvserver/helper/cmd/*.go libvserver/cgroup/job/*.go libvserver/netcontext/*.go libvserver/netcontext/job/*.go libvserver/bpf/*.go libvserver/criu/job/*.go libvserver/criu/proto/*.go libvserver/unify/*.go libvserver/unify/*/*.go libvserver/host/*.go libvserver/seccomp/wire/*.go) go.mod go.sum Makefile
	@contrib/need go gcc libc pkg-config libseccomp
	CGO_ENABLED=1 go build -trimpath -tags $(TAGS) -ldflags '-s -w -linkmode external -extldflags -static' -o $@ ./libvserver/helper/cmd

vsrun: $(HELPER) $(SOURCES) go.mod go.sum Makefile
	@contrib/need go
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) $(GCFLAGS) -ldflags '$(LDFLAGS) $(ENTRY)' -o $@.linked .
	$(call place,$@.linked,$@) && rm $@.linked

docs: $(DOCS)

$(IMPORT): $(wildcard contrib/vserver2oci/*.go) $(filter spec/%,$(SOURCES))
	@contrib/need go
	CGO_ENABLED=0 go build -trimpath -tags $(TAGS) -ldflags '-s -w' -o $@ ./contrib/vserver2oci

# Of the same definitions of the commands as the help.
$(DOCS): $(HELPER) $(filter libvserver/cli/%,$(SOURCES)) $(wildcard contrib/gendocs/*.go)
	@contrib/need go
	rm -rf contrib/man contrib/completion
	GOOS= GOARCH= CGO_ENABLED=0 go run -tags $(TAGS) ./contrib/gendocs contrib $(DATE)

run: vsrun ## show a container's life, from create to delete, as root
	@contrib/need busybox
	@contrib/demo

test: vsrun ## run all tests: unit, golden and integration (RUNTIME=runc tests another runtime; ARGS='-run X')
	@contrib/need busybox unshare
	@contrib/need uidmap iproute2 nginx dnsmasq || echo 'test: going on without what is missing' >&2
	@go run ./tests/cmd/report -also tests/conformance -count=1 -timeout 20m $(ARGS) ./...

lint: $(HELPER) ## gofmt, go vet, staticcheck, shell syntax
	@contrib/need go
	@bad=$$(gofmt -l $$(git ls-files -co --exclude-standard '*.go')); test -z "$$bad" || { echo "gofmt: $$bad" >&2; exit 1; }
	@for f in contrib/need contrib/demo contrib/deb/build contrib/deb/p* .ci/run tests/engines/*.sh; do sh -n $$f || exit 1; done
	go vet -tags $(TAGS) ./...
	go test -run Paths ./tests/arch
	go run $(STATICCHECK) -tags $(TAGS) ./...
	cd tests/conformance && go vet ./... && go run $(STATICCHECK) ./...

bench: vsrun ## compare with runc, crun and unshare, and unify with hardlink, jdupes and rdfind, side by side (ARGS='-n 50 NAME=PATH')
	@contrib/need busybox unshare gcc libc iproute2
	@contrib/need runc crun || echo 'bench: going on without what is missing' >&2
	@go run ./tests/bench $(ARGS)
	@go run ./tests/bench/net
	@contrib/need hardlink jdupes rdfind mmdebstrap || echo 'bench: going on without what is missing' >&2
	@go run ./tests/bench/unify -small -n 3

bench-unify: vsrun ## compare vsrun unify with hardlink, jdupes and rdfind: 12 GB, minutes (ARGS='-n 3 -base DIR')
	@contrib/need hardlink jdupes rdfind mmdebstrap || echo 'bench-unify: going on without what is missing' >&2
	@go run ./tests/bench/unify $(ARGS)

install: vsrun docs $(IMPORT) ## install below $(DESTDIR)$(PREFIX): the binary, its helper, manual pages, completions, systemd units, examples
	install -d $(DESTDIR)$(BINDIR)
	$(call place,vsrun,$(DESTDIR)$(BINDIR)/vsrun)
	install -D -m 755 $(HELPER) $(DESTDIR)$(PREFIX)/libexec/vsrun/vsrun-helper
	install -D -m 755 contrib/seal $(DESTDIR)$(PREFIX)/libexec/vsrun/seal
	install -m 755 $(IMPORT) $(DESTDIR)$(PREFIX)/libexec/vsrun/vserver2oci
	test -n "$(DESTDIR)" || contrib/seal $(BINDIR)/vsrun
	install -D -m 644 contrib/completion/vsrun.bash $(SHARE)/bash-completion/completions/vsrun
	install -D -m 644 contrib/completion/_vsrun $(SHARE)/zsh/vendor-completions/_vsrun
	install -D -m 644 contrib/completion/vsrun.fish $(SHARE)/fish/vendor_completions.d/vsrun.fish
	install -d $(SHARE)/man/man8 $(DESTDIR)$(UNITDIR) $(SHARE)/vsrun $(SHARE)/doc/vsrun
	install -m 644 contrib/man/*.8 $(SHARE)/man/man8
	for f in contrib/systemd/*; do sed 's|@sbindir@|$(BINDIR)|' $$f >$(DESTDIR)$(UNITDIR)/$${f##*/} || exit 1; done
	install -m 644 README.md $(SHARE)/doc/vsrun
	for f in contrib/engines/* contrib/kubernetes/*; do sed 's|/usr/local/sbin/vsrun|$(BINDIR)/vsrun|g' $$f >$(SHARE)/vsrun/$${f##*/} || exit 1; done

uninstall: ## remove what install installed
	rm -f $(DESTDIR)$(BINDIR)/vsrun $(SHARE)/bash-completion/completions/vsrun $(SHARE)/zsh/vendor-completions/_vsrun
	rm -f $(SHARE)/fish/vendor_completions.d/vsrun.fish $(SHARE)/man/man8/vsrun.8 $(SHARE)/man/man8/vsrun-*.8
	rm -rf $(DESTDIR)$(PREFIX)/libexec/vsrun $(SHARE)/doc/vsrun $(SHARE)/vsrun
	rm -f $(patsubst contrib/systemd/%,$(DESTDIR)$(UNITDIR)/%,$(wildcard contrib/systemd/*))

deb: all ## build vsrun_VERSION_ARCH.deb, with all that install installs
	@contrib/need dpkg-deb
	rm -f vsrun_*.deb
	VERSION='$(VERSION)' contrib/deb/build

clean: ## remove what was built
	rm -f vsrun $(HELPER) $(IMPORT) vsrun_*.deb
	rm -rf tests/conformance/bin contrib/man contrib/completion

help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | while IFS="$$(printf '\t')" read -r t d; do printf '  make %-12s %s\n' "$$t" "$$d"; done

conformance: vsrun ## run the OCI validation suite alone, and print its table (RUNTIME=runc compares)
	@contrib/need unshare
	@cd tests/conformance && go test -count=1 -timeout 30m -run TestSuite $(ARGS) -table

cve: vsrun ## try the known attacks on OCI runtimes, and print a table (RUNTIME=runc tries another runtime)
	@contrib/need busybox unshare
	@cd tests/cve && go test -count=1 -timeout 15m $(ARGS) -table

cve-bites: vsrun ## prove that the attacks bite, on builds of vsrun that lack one defence each (ARGS='-run TestBites/NAME')
	@contrib/need busybox unshare
	@cd tests/cve && go test -count=1 -timeout 40m -run 'TestBites|TestWeakened' $(ARGS) -bites

faults: vsrun ## stop vsrun at every step, point and system call, and look at what is left (VSRUN_TEST_FAULTS=N samples; ARGS='-run X')
	@contrib/need busybox
	@VSRUN_TEST_FAULTS=$${VSRUN_TEST_FAULTS:-all} go test -count=1 -timeout 0 -v $(ARGS) ./tests/faults
	@VSRUN_TEST_FAULTS=$${VSRUN_TEST_FAULTS:-all} VSRUN_TEST_CGROUP=v2 go test -count=1 -timeout 0 -v $(ARGS) ./tests/faults

load: vsrun ## 64 containers against a model, thousands of cycles, hosts that have run out (LOAD_TIME=5m LOAD_CYCLES=10000)
	@contrib/need busybox
	@VSRUN_LOAD_TIME=$(LOAD_TIME) VSRUN_LOAD_CYCLES=$(LOAD_CYCLES) go test -count=1 -timeout 0 -v $(ARGS) ./tests/load

test-engines: vsrun ## real Podman, containerd and Docker, those that are installed (RUNTIME=runc compares; ENGINES=podman)
	@RUNTIME=$${RUNTIME:-./vsrun} tests/engines/run.sh $(ENGINES)

VM = contrib/need qemu mmdebstrap cpio xz mke2fs unshare && go run ./tests/vm

test-vm: vsrun deb ## the suites of real engines in a Debian 13 machine under qemu (SUITE=podman; RUNTIME=crun compares)
	@$(VM) test $(ARGS) $(SUITE)

vm-run: vsrun ## one command in such a machine, in /work: CMD='integration.test -test.run TestLive' (OUT=DIR FILES='A B')
	@$(VM) run -out '$(OUT)' -files '$(FILES)' $(ARGS) "$$VM_COMMAND"

vm-shell: vsrun ## a prompt in such a machine
	@$(VM) shell $(ARGS)

vm-image: ## build the machine's disks, and print where they are
	@$(VM) build
