# Two commands do everything on a fresh Debian 12 machine with Rust, as root: `make demo` and `make test`.
# Other distributions: `make packages` names what is needed; README.md has the names for rpm-based ones.

CARGO  ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=

# What building needs, and what the tests and the demo call. Debian's names.
PACKAGES := gcc libc6-dev make pkg-config libmnl-dev libnftnl-dev libudev-dev \
	iproute2 iptables iputils-ping nftables time util-linux

.PHONY: all build packages demo test lint deny install uninstall clean help

all: build

help:
	@echo 'make demo     install what is missing, build, and show the router at work on a VPC of namespaces'
	@echo 'make test     install what is missing, and run every test and check'
	@echo 'make build    build the command, target/release/kylin-vr'
	@echo 'make install  install it (PREFIX=$(PREFIX), DESTDIR=)'
	@echo 'make lint     formatting and clippy, warnings as errors'
	@echo 'make deny     licences, duplicates and sources of dependencies'

# Installs only what dpkg does not have: a second run needs neither network nor root.
packages:
	@command -v $(CARGO) >/dev/null || { echo 'cargo is missing: install Rust 1.89 or later' >&2; exit 1; }
	@command -v dpkg-query >/dev/null || { echo 'not a Debian: these packages must be there: $(PACKAGES)'; exit 0; }; \
	missing=; for package in $(PACKAGES); do \
		dpkg-query -W -f='$${Status}\n' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
	done; \
	if [ -n "$$missing" ]; then \
		[ "$$(id -u)" = 0 ] || { echo "missing packages, to be installed as root:$$missing" >&2; exit 1; }; \
		echo "installing:$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null; \
	fi

build: packages
	$(CARGO) build --release --locked

demo: packages
	@$(CARGO) build --release --locked --workspace --bins
	@target/release/demo target/release/kylin-vr

# Without root, tests that need namespaces are left out, and counted as ignored or filtered out.
test: packages lint deny
	@if [ "$$(id -u)" = 0 ]; then \
		set -x; $(CARGO) test --workspace --locked --no-fail-fast; \
	else \
		echo 'not root: the tests on a real kernel are left out'; \
		set -x; $(CARGO) test --locked --no-fail-fast -- --skip kernel::nftables::tests; \
	fi

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings

# Without the advisories, which are a download. The tool is kept in target/tools.
deny: packages
	@command -v cargo-deny >/dev/null || [ -x target/tools/bin/cargo-deny ] || \
		$(CARGO) install --quiet --locked --root target/tools cargo-deny@0.20.2
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deny --offline --log-level error check bans licenses sources

install: build
	install -D -m 0755 target/release/kylin-vr $(DESTDIR)$(PREFIX)/sbin/kylin-vr
	install -D -m 0644 examples/vpc.yaml $(DESTDIR)$(PREFIX)/share/doc/kylin-vr/vpc.yaml
	install -d -m 0755 $(DESTDIR)/etc/kylin-vr
	[ -e $(DESTDIR)/etc/kylin-vr/kylin-vr.yaml ] || install -m 0600 /dev/null $(DESTDIR)/etc/kylin-vr/kylin-vr.yaml

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/sbin/kylin-vr $(DESTDIR)$(PREFIX)/share/doc/kylin-vr/vpc.yaml

clean:
	$(CARGO) clean
