# `make demo` for a look, `make test` before a change is handed in. All of it runs as root or with sudo.

SHELL := /bin/bash
CARGO ?= cargo
TARGET_DIR := $(or $(CARGO_TARGET_DIR),target)
# How long each fuzz target runs.
FUZZ_SECONDS ?= 600
# The binary the black-box tests drive.
SKIFF_BIN ?= $(abspath $(TARGET_DIR))/debug/skiff
# The version the suite is run with; an older toolchain may need an older one.
NEXTEST_VERSION ?= 0.9.143
CARGO_DEB_VERSION ?= 3.8.0
FUZZ_TARGETS = $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

# Network namespaces, raw sockets and tap devices need root; builds do not.
ifneq ($(shell id -u),0)
AS_ROOT := sudo
endif
VM_IMAGE ?= $(abspath $(TARGET_DIR))/vm/skiff.qcow2

# How nextest starts a test program, so that only the tests themselves run as root.
ROOT_RUNNER = CARGO_TARGET_$(shell rustc -vV | sed -n 's/^host: //p' | tr 'a-z-' 'A-Z_')_RUNNER="$(AS_ROOT) env SKIFF_BIN=$(SKIFF_BIN) SKIFF_VM_IMAGE=$(VM_IMAGE)"

.PHONY: build release demo test unit blackbox bench fuzz fmt clippy clean nextest deb test-deb test-docker vm-image test-vm

build:
	scripts/install-deps.sh build
	$(CARGO) build --workspace

release:
	scripts/install-deps.sh build
	$(CARGO) build --release -p skiff-control

demo:
	scripts/install-deps.sh demo
	$(CARGO) build --release -p skiff-control
	$(AS_ROOT) $(TARGET_DIR)/release/skiff demo

# Cheap checks first. Every step after clippy reuses one set of build products.
test: nextest
	scripts/install-deps.sh test
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	$(MAKE) unit
	$(CARGO) test --workspace --doc
	$(MAKE) blackbox

# One process a test: EAL can be initialised once in a process.
unit:
	$(CARGO) nextest run --workspace --exclude skiff-tests

# One test: make blackbox TESTS='-E "test(pings)"'
blackbox:
	$(CARGO) build -p skiff-control --bin skiff
	$(ROOT_RUNNER) $(CARGO) nextest run -p skiff-tests $(TESTS)

# The default features but self-update, unoptimised: half the time of a plain `cargo install`.
nextest:
	@$(CARGO) nextest --version >/dev/null 2>&1 || $(CARGO) install cargo-nextest --locked --debug \
	    --version $(NEXTEST_VERSION) --no-default-features --features default-no-update

bench: release
	scripts/install-deps.sh bench
	benches/compare/run.sh

fuzz:
	scripts/install-deps.sh fuzz
	@$(CARGO) fuzz --version >/dev/null 2>&1 || $(CARGO) install cargo-fuzz --locked
	set -e; for target in $(FUZZ_TARGETS); do \
	    SKIFF_DPDK_LINK=shared $(CARGO) +nightly fuzz run $$target -- -max_total_time=$(FUZZ_SECONDS) -max_len=2048; \
	done

# What `skiff generate` writes for the package.
GENERATED = $(TARGET_DIR)/release/package

deb:
	scripts/install-deps.sh package
	@$(CARGO) deb --version >/dev/null 2>&1 || $(CARGO) install cargo-deb --locked --debug \
	    --version $(CARGO_DEB_VERSION)
	$(CARGO) build --release -p skiff-control
	rm -rf $(GENERATED)
	$(TARGET_DIR)/release/skiff generate man $(GENERATED)/man
	$(TARGET_DIR)/release/skiff generate completions $(GENERATED)/completions
	gzip -9n $(GENERATED)/man/*.1
	$(CARGO) deb --no-build --dbgsym -p skiff-control

# In a clean Debian made for it: install, start, reload, stop, purge.
test-deb: deb
	scripts/install-deps.sh package-test
	$(AS_ROOT) scripts/test-deb.sh $(TARGET_DIR)/debian/skiff_*.deb

# Two containers, the router between them and Prometheus beside it.
test-docker: deb
	scripts/install-deps.sh docker
	$(AS_ROOT) scripts/test-docker.sh $(TARGET_DIR)/debian/skiff_*.deb

# A disk image that boots into a router: docs/vm.md.
vm-image: deb
	scripts/install-deps.sh vm
	$(AS_ROOT) env VM_WORK=$(dir $(VM_IMAGE)) docker/vm/build.sh $(TARGET_DIR)/debian/skiff_*.deb $(VM_IMAGE)

# Boots the image once for each model of NIC. One model: make test-vm TESTS=igb
test-vm: nextest
	scripts/install-deps.sh vm
	[ -f $(VM_IMAGE) ] || $(MAKE) vm-image
	$(ROOT_RUNNER) $(CARGO) nextest run -p skiff-tests --test vm --run-ignored only --no-capture $(TESTS)

fmt:
	$(CARGO) fmt --all

clippy:
	$(CARGO) clippy --workspace --all-targets -- -D warnings

clean:
	$(CARGO) clean
