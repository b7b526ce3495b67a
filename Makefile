# Two commands do everything on a fresh Debian 12 machine with Rust, as root: `make demo` and `make test`.
# Other distributions: `make packages` names what is needed; README.md has the names for rpm-based ones.

CARGO  ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
TARGET := $(or $(CARGO_TARGET_DIR),target)
DOCS   := $(TARGET)/docs
ARCH   ?= $(shell dpkg --print-architecture 2>/dev/null)

# What building needs, and what the tests and the demo call. Debian's names.
PACKAGES := gcc g++ libc6-dev make pkg-config libmnl-dev libnftnl-dev libudev-dev \
	curl dnsmasq-base iproute2 iptables iputils-ping isc-dhcp-client nftables openvswitch-switch python3 qemu-guest-agent \
	time util-linux

# What the guests of the tests need beside these, and the packages.
VM_PACKAGES := qemu-system-x86 qemu-utils mmdebstrap e2fsprogs

.PHONY: all build packages demo pictures documents bench test test-vm test-arm soak fuzz fuzz-short lint deny promtool alerts docs install uninstall deb rpm test-packages clean help

all: build

help:
	@echo 'make demo     install what is missing, build, and show the router at work on a VPC of namespaces'
	@echo 'make test     install what is missing, and run every test and check'
	@echo 'make bench    measure, beside what others do (QUICK=1: two minutes; KEEP=1: into benches/README.md)'
	@echo 'make build    build the command, target/release/kylin-vr'
	@echo 'make install  install it (PREFIX=$(PREFIX), DESTDIR=)'
	@echo 'make deb      the Debian package, target/deb (ARCH= and BINARY= for one that was built elsewhere)'
	@echo 'make rpm      the rpm packages, target/rpm'
	@echo 'make test-packages  build both, and check what is in them'
	@echo 'make test-vm  run the package in real VMs, of three kernels (QEMU; a quarter of an hour)'
	@echo 'make test-arm the same on aarch64, cross-built and emulated (half an hour)'
	@echo 'make soak     what is tried by chance, for MINUTES=$(MINUTES) each: packets, faults, properties, bytes from outside'
	@echo 'make fuzz     fuzz what reads bytes from outside, MINUTES=$(MINUTES) for each target; see fuzz/README.md'
	@echo 'make lint     formatting and clippy, warnings as errors'
	@echo 'make documents  write what the command prints into the documents anew, and docs/pictures (make pictures)'
	@echo 'make alerts   the alert rules for Prometheus, and their tests'
	@echo 'make deny     licences, duplicates and sources of dependencies'

# Installs only what dpkg does not have: a second run needs neither network nor root. Twice, since a package from backports
# can be in the way of another one (a newer qemu-utils of qemu-system-x86): apt removes it, and it comes back as the release's.
packages:
	@command -v $(CARGO) >/dev/null || { echo 'cargo is missing: install Rust 1.89 or later' >&2; exit 1; }
	@command -v dpkg-query >/dev/null || { echo 'not a Debian: these packages must be there: $(PACKAGES)'; exit 0; }; \
	for round in 1 2; do \
		missing=; for package in $(PACKAGES); do \
			dpkg-query -W -f='$${Status}\n' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; \
		done; \
		[ -n "$$missing" ] || break; \
		[ "$$(id -u)" = 0 ] || { echo "missing packages, to be installed as root:$$missing" >&2; exit 1; }; \
		echo "installing:$$missing"; \
		export DEBIAN_FRONTEND=noninteractive; \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends $$missing >/dev/null || exit 1; \
	done

build: packages
	$(CARGO) build --release --locked

demo: packages
	@$(CARGO) build --release --locked --workspace --bins
	@target/release/demo target/release/kylin-vr

# Real runs in the VPC of the lab, in 80 and 160 columns, into docs/pictures; as root.
pictures: packages
	@$(CARGO) build --locked --workspace --bins
	@$(TARGET)/debug/pictures $(TARGET)/debug/kylin-vr $(TARGET)/debug/demo docs/pictures

# What is printed goes into the documents, and what is shown into docs/pictures: after a change of either. As root.
documents: pictures
	UPDATE_DOCUMENTS=1 $(CARGO) test --locked --test documents

# Ratios, each with the bound that it must keep; nothing fails if one does not. Best on a machine that does nothing else.
# As root: 20 to 25 minutes on two cores, two minutes with QUICK=1. With KEEP=1 benches/README.md gets the table.
bench: PACKAGES += conntrack
bench: packages
	$(CARGO) bench --locked --bench pure -- $(if $(filter-out 0,$(QUICK)),--quick)
	QUICK='$(QUICK)' KEEP='$(KEEP)' $(CARGO) bench --locked --bench system

# Everything but aarch64, cheapest first; what fails does not keep the rest from being run. Without root, tests that
# need namespaces are left out, and counted as ignored or filtered out. The rpm takes the command that the Debian package
# has: building it once more, from vendored crates, is `make rpm`.
test: PACKAGES += $(VM_PACKAGES) rpm systemd
test: packages lint deny alerts deb
	@$(MAKE) --no-print-directory rpm BINARY=$(TARGET)/release/kylin-vr
	@export PATH="$(CURDIR)/target/tools/bin:$$PATH"; failed=; run() { echo "+ $$*"; "$$@" || failed="$$failed ($$*)"; }; \
	if [ "$$(id -u)" = 0 ]; then \
		run $(CARGO) test --workspace --locked --no-fail-fast; \
		run fuzz/run.sh 10; \
		run tests/packages/run.sh target/deb target/rpm; \
		run $(CARGO) test --locked --test vm; \
	else \
		echo 'not root: the tests on a real kernel are left out'; \
		run $(CARGO) test --locked --no-fail-fast -- --skip kernel::nftables::tests; \
		run fuzz/run.sh 10; \
	fi; \
	[ -z "$$failed" ] || { cat $(TARGET)/fuzz/failed 2>/dev/null; echo "FAILED:$$failed"; exit 1; }; \
	echo 'all tests passed'

# The package, installed in a Debian guest of its own, on the network of the lab. The image is built once and kept
# (target/vm). The processor is emulated, KYLIN_VR_TEST_KVM=1 has KVM do it.
test-vm: PACKAGES += $(VM_PACKAGES)
test-vm: packages deb
	$(CARGO) test --locked --test vm

# The package for aarch64, cross-built, in a guest that is emulated; both are built once and kept. Half an hour.
test-arm: PACKAGES += $(VM_PACKAGES) qemu-system-arm qemu-user-static binfmt-support arch-test
test-arm: packages
	packaging/cross/build
	$(MAKE) deb ARCH=arm64 BINARY=target/cross/aarch64-unknown-linux-gnu/release/kylin-vr
	tests/vm/image/emulate-aarch64.sh
	$(CARGO) test --locked --test vm -- --ignored aarch64

MINUTES ?= 10

# What `make test` tries a little of, by chance and for MINUTES each: packets against the model, faults at every step of a
# change, properties on the kernel in memory, and bytes from outside. A failure prints the seed and the case.
soak: packages
	KYLIN_VR_SOAK_MINUTES=$(MINUTES) $(CARGO) test --locked --test differential
	KYLIN_VR_SOAK_MINUTES=$(MINUTES) $(CARGO) test --locked --test netns -- faults --nocapture
	PROPTEST_CASES=$$(($(MINUTES) * 500)) $(CARGO) test --locked --test properties
	CARGO='$(CARGO)' fuzz/run.sh $$(($(MINUTES) * 60 / 3))

# What reads bytes from outside, with bytes by chance. MINUTES for each target; TARGETS='file push': some of them only.
fuzz: packages
	CARGO='$(CARGO)' fuzz/run.sh $$(($(MINUTES) * 60)) $(TARGETS)

# The corpora, and a few seconds by chance.
fuzz-short: packages
	CARGO='$(CARGO)' fuzz/run.sh 10 $(TARGETS)

lint: packages
	$(CARGO) fmt --all --check
	$(CARGO) fmt --manifest-path fuzz/Cargo.toml --check
	$(CARGO) clippy --workspace --all-targets --locked --quiet -- -D warnings
	$(CARGO) clippy --test vm --locked --quiet -- -D warnings

# Without the advisories, which are a download; the sources of other platforms' crates are fetched, once. The tool is kept in target/tools; unoptimised, since building it takes
# longer than all it ever does.
deny: packages
	@command -v cargo-deny >/dev/null || [ -x target/tools/bin/cargo-deny ] || \
		CARGO_PROFILE_DEV_DEBUG=0 $(CARGO) install --quiet --locked --debug --root target/tools cargo-deny@0.20.2
	$(CARGO) fetch --quiet --locked
	PATH="$(CURDIR)/target/tools/bin:$$PATH" $(CARGO) deny --offline --log-level error check bans licenses sources

# Prometheus' own checker, out of Debian's package, which would also start a server. Kept in target/tools.
promtool: packages
	@command -v promtool >/dev/null || [ -x target/tools/bin/promtool ] || { \
		mkdir -p target/tools/bin target/tools/prometheus && cd target/tools/prometheus && \
		apt-get update -qq && apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb . && \
		mv usr/bin/promtool ../bin/ && cd .. && rm -r prometheus; \
	} || echo 'promtool cannot be had here: alerts and metrics are not checked by it'

# The alert rules, and their tests.
alerts: promtool
	@export PATH="$(CURDIR)/target/tools/bin:$$PATH"; ! command -v promtool >/dev/null || { cd packaging/monitoring && \
		promtool check rules alerts.yaml && promtool test rules test.yaml; }

# Manual pages, completions and the file's schema, from the command's own definition. A program of this machine, also in a cross build.
docs:
	$(CARGO) run --quiet --release --locked --package docs -- $(DOCS)

# Where things lie; packagers set PREFIX=/usr. systemd, udev and the like look below /usr/local/lib too. OF is what the
# package is for: debian or redhat (only the guest agent's settings differ).
SBIN  := $(PREFIX)/sbin
LIB   := $(PREFIX)/lib
SHARE := $(PREFIX)/share
OF    ?= $(if $(wildcard /etc/debian_version),debian,redhat)
# A command that was built elsewhere; without it, it is built here.
BINARY ?=
COMMAND := $(or $(BINARY),$(TARGET)/release/kylin-vr)

# Only puts files in place: what a package does at installation (units enabled, SELinux told) is in packaging/.
install: $(if $(BINARY),,build) docs
	install -D -m 0755 $(COMMAND) $(DESTDIR)$(SBIN)/kylin-vr
	install -d -m 0755 $(DESTDIR)$(LIB)/systemd/system/qemu-guest-agent.service.d $(DESTDIR)$(LIB)/udev/rules.d
	for unit in systemd/*.service systemd/*.socket; do \
		sed 's|/usr/sbin/kylin-vr|$(SBIN)/kylin-vr|' $$unit >$(DESTDIR)$(LIB)/systemd/system/$${unit##*/} || exit 1; \
		chmod 0644 $(DESTDIR)$(LIB)/systemd/system/$${unit##*/}; \
	done
	install -D -m 0644 systemd/kylin-vr.tmpfiles $(DESTDIR)$(LIB)/tmpfiles.d/kylin-vr.conf
	install -D -m 0644 systemd/kylin-vr.preset $(DESTDIR)$(LIB)/systemd/system-preset/80-kylin-vr.preset
	install -m 0644 udev/80-kylin-vr.rules $(DESTDIR)$(LIB)/udev/rules.d/80-kylin-vr.rules
	install -D -m 0644 packaging/sysctl.conf $(DESTDIR)$(LIB)/sysctl.d/50-kylin-vr.conf
	sed 's|/usr/share|$(SHARE)|' packaging/qemu-ga/$(OF).conf \
		>$(DESTDIR)$(LIB)/systemd/system/qemu-guest-agent.service.d/kylin-vr.conf
	chmod 0644 $(DESTDIR)$(LIB)/systemd/system/qemu-guest-agent.service.d/kylin-vr.conf
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/kylin-vr packaging/qemu-ga/qemu-ga.conf $(DOCS)/kylin-vr.schema.json
	[ $(OF) = debian ] || install -m 0644 -t $(DESTDIR)$(SHARE)/kylin-vr packaging/qemu-ga/qemu-ga.env
	install -d -m 0755 $(DESTDIR)$(SHARE)/man/man5 $(DESTDIR)$(SHARE)/man/man8
	gzip -9nc $(DOCS)/kylin-vr.yaml.5 >$(DESTDIR)$(SHARE)/man/man5/kylin-vr.yaml.5.gz
	for page in $(DOCS)/*.8; do gzip -9nc $$page >$(DESTDIR)$(SHARE)/man/man8/$${page##*/}.gz || exit 1; done
	chmod 0644 $(DESTDIR)$(SHARE)/man/man[58]/kylin-vr*
	install -D -m 0644 $(DOCS)/kylin-vr.bash $(DESTDIR)$(SHARE)/bash-completion/completions/kylin-vr
	install -D -m 0644 $(DOCS)/_kylin-vr $(DESTDIR)$(SHARE)/zsh/site-functions/_kylin-vr
	install -D -m 0644 $(DOCS)/kylin-vr.fish $(DESTDIR)$(SHARE)/fish/vendor_completions.d/kylin-vr.fish
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/kylin-vr README.md CHANGELOG.md
	install -m 0644 packaging/README.md $(DESTDIR)$(SHARE)/doc/kylin-vr/packages.md
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/kylin-vr/docs docs/*.md
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/kylin-vr/docs/pictures docs/pictures/*.svg
	install -D -m 0644 -t $(DESTDIR)$(SHARE)/doc/kylin-vr/examples examples/*.yaml
	install -D -m 0644 packaging/cloud.cfg $(DESTDIR)/etc/cloud/cloud.cfg.d/99-kylin-vr.cfg
	install -d -m 0700 $(DESTDIR)/etc/kylin-vr
	[ -e $(DESTDIR)/etc/kylin-vr/kylin-vr.yaml ] || install -m 0600 /dev/null $(DESTDIR)/etc/kylin-vr/kylin-vr.yaml

# The configuration stays, as it does when a package is removed.
uninstall:
	rm -f $(DESTDIR)$(SBIN)/kylin-vr
	cd $(DESTDIR)$(LIB) && rm -f systemd/system/kylin-vr.service systemd/system/kylin-vr-monitor.service systemd/system/kylin-vr-metrics.socket \
		systemd/system/kylin-vr-dnsmasq.service systemd/system/kylin-vr-reload@.service systemd/system/qemu-guest-agent.service.d/kylin-vr.conf \
		systemd/system-preset/80-kylin-vr.preset tmpfiles.d/kylin-vr.conf udev/rules.d/80-kylin-vr.rules \
		sysctl.d/50-kylin-vr.conf
	cd $(DESTDIR)$(SHARE) && rm -f man/man5/kylin-vr.yaml.5.gz man/man8/kylin-vr.8.gz man/man8/kylin-vr-*.8.gz bash-completion/completions/kylin-vr \
		zsh/site-functions/_kylin-vr fish/vendor_completions.d/kylin-vr.fish
	rm -rf $(DESTDIR)$(SHARE)/kylin-vr $(DESTDIR)$(SHARE)/doc/kylin-vr
	rm -f $(DESTDIR)/etc/cloud/cloud.cfg.d/99-kylin-vr.cfg
	rmdir --ignore-fail-on-non-empty $(DESTDIR)$(LIB)/systemd/system/qemu-guest-agent.service.d

# Into target/deb. A binary that was built elsewhere: make deb ARCH=arm64 BINARY=path
deb: $(if $(BINARY),,build) docs
	MAKE='$(MAKE)' BINARY='$(COMMAND)' ARCH='$(ARCH)' packaging/deb/build.sh target/deb

# Of another architecture: make rpm RPM_ARCH=aarch64 BINARY=path
# Into target/rpm: the source package and the package of this machine's architecture, built offline from vendored crates.
rpm: PACKAGES += rpm
rpm: packages
	CARGO='$(CARGO)' RPM_ARCH='$(RPM_ARCH)' RUST_TARGET='$(RUST_TARGET)' BINARY='$(BINARY)' packaging/rpm/build.sh target/rpm

# Builds both packages, and compares what is in them, and what installing and removing them does, with what it should be.
test-packages: deb rpm
	tests/packages/run.sh target/deb target/rpm

clean:
	$(CARGO) clean
