# Everything a person or CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# Where cargo builds; a caller's own choice wins.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Where what is built once is kept, outside the checkout.
CACHE := $(or $(BASCULE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bascule-sandbox)
CRATES := bascule-core bascule-crds bascule-engine bascule-adapters bascule-guard bascule bascule-e2e
# Programs that run in containers and sites are linked statically.
STATIC := RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --profile demo --target x86_64-unknown-linux-gnu
STATIC_BIN := $(CARGO_TARGET_DIR)/x86_64-unknown-linux-gnu/demo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")
# The real API server and etcd of the tests, once `make prepare` has built them.
SERVERS = $(firstword $(wildcard $(CACHE)/servers-*))
TEST_ENV = KUBEBUILDER_ASSETS="$(SERVERS)" BASCULE_ETCD="$(SERVERS)/etcd"

.PHONY: help demo sandbox test test-unit test-world test-client lint deny crds bench prepare packages

# need FILE,NAME: fails clearly when the file is not there.
need = if [ ! -e "$(1)" ]; then echo "$(2) is not part of this checkout yet (looked for $(1))" >&2; exit 1; fi

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages ## Two real clusters, a real failover, from a git push (needs root; 20 minutes the first time, 2 later)
	@$(call need,e2e/src/bin/bascule-demo.rs,the demo)
	$(STATIC) -p bascule -p bascule-e2e
	BASCULE_BIN=$(STATIC_BIN)/bascule BASCULE_WEB_BIN=$(STATIC_BIN)/demo-web $(SUDO) $(STATIC_BIN)/bascule-demo

sandbox: packages ## The same world to play in: builds target/…/bascule-sandbox and prints how to use it
	$(STATIC) -p bascule -p bascule-e2e
	@echo "Now: $(SUDO) $(STATIC_BIN)/bascule-sandbox up"

test: prepare ## The tests of every crate, on real servers (needs root)
	@$(MAKE) --no-print-directory test-unit

test-unit: ## The tests of each crate: rules, and adapters on real API servers, etcd, PostgreSQL, Knot and git
	$(TEST_ENV) $(CARGO) test --locked $(patsubst %,-p %,$(filter-out bascule-e2e,$(CRATES)))

test-world: ## The tests on two real clusters
	$(TEST_ENV) $(CARGO) test --locked -p bascule-e2e --lib --bins --test world -- --test-threads 1

test-client: prepare ## The client against the demo's web application in both sites; builds static binaries first
	$(CARGO) test --locked -p bascule-e2e --test client -- --nocapture

prepare: packages ## Install and build what the tests and the sandbox need, cached outside the checkout (needs root)
	$(CARGO) run --locked -q -p bascule-e2e --bin bascule-sandbox -- prepare --no-binaries

packages: ## Install the Debian packages that building needs (needs root where one is missing)
	@missing=""; for p in protobuf-compiler libprotobuf-dev pkg-config perl make gcc libc6-dev git curl ca-certificates; do \
	  dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	  $(SUDO) apt-get update -q; $(SUDO) apt-get install -y -q --no-install-recommends $$missing; fi

lint: packages ## Formatting, each crate's lints alone, generated files
	$(CARGO) fmt --all --check
	@for c in $(CRATES); do echo "clippy $$c"; $(CARGO) clippy --locked -q -p $$c --all-targets -- -D warnings; done
	$(CARGO) run --locked -q -p bascule-crds --bin crdgen -- --check

deny: ## Licences, bans and sources of the dependencies
	@command -v cargo-deny >/dev/null || CARGO_TARGET_DIR=$(CACHE)/cargo-deny $(CARGO) install --locked cargo-deny@0.20.2
	$(CARGO) deny --locked --all-features check bans licenses sources

crds: ## Write crds/generated/ from the Rust types
	$(CARGO) run --locked -q -p bascule-crds --bin crdgen

bench: packages ## Measure failovers and write target/bench/failover.json (needs root)
	@$(call need,e2e/src/bin/bascule-bench.rs,the bench)
	$(STATIC) -p bascule -p bascule-e2e
	BASCULE_BIN=$(STATIC_BIN)/bascule BASCULE_WEB_BIN=$(STATIC_BIN)/demo-web $(SUDO) $(STATIC_BIN)/bascule-bench
