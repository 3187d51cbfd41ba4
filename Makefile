# Bascule. `make help` lists what there is.
SHELL := /bin/bash
CARGO ?= cargo
# Where cargo builds; a caller's own choice wins.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Programs that run in containers and sites are linked statically.
STATIC := RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --profile demo --target x86_64-unknown-linux-gnu
STATIC_BIN := $(CARGO_TARGET_DIR)/x86_64-unknown-linux-gnu/demo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")

.PHONY: help demo sandbox test lint crds bench

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: ## Two real clusters, a real failover, from a git push (needs root; 20 minutes the first time, 2 later)
	@$(call need,e2e/src/bin/demo.rs,the demo)
	$(STATIC) -p bascule -p bascule-e2e
	BASCULE_BIN=$(STATIC_BIN)/bascule BASCULE_WEB_BIN=$(STATIC_BIN)/demo-web $(SUDO) $(STATIC_BIN)/demo

sandbox: ## The same world to play in: builds target/…/bascule-sandbox and prints how to use it
	$(STATIC) -p bascule -p bascule-e2e
	@echo "Now: $(SUDO) $(STATIC_BIN)/bascule-sandbox up"

test: ## All tests; those of the sandbox need root and install what they need
	$(CARGO) test --locked --workspace

lint: ## Formatting, clippy, licences and advisories where cargo-deny is installed
	$(CARGO) fmt --all --check
	$(CARGO) clippy --locked --workspace --all-targets -- -D warnings
	@if [ -e deny.toml ] && $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny check; \
	else echo "cargo deny is not installed here: licences and advisories were not checked"; fi

crds: ## Write crds/generated/ from the Rust types
	@$(call need,crds/src/bin/crdgen.rs crds/src/crdgen.rs,the generator of CRDs)
	$(CARGO) run --locked -q -p bascule-crds --bin crdgen

bench: ## Measure failovers and write target/bench/failover.json (needs root)
	@$(call need,e2e/src/bin/bench.rs,the bench)
	$(STATIC) -p bascule -p bascule-e2e
	BASCULE_BIN=$(STATIC_BIN)/bascule BASCULE_WEB_BIN=$(STATIC_BIN)/demo-web $(SUDO) $(STATIC_BIN)/bench

# need FILES,NAME: fails clearly when none of the files is there.
need = if [ -z "$(wildcard $(1))" ]; then echo "$(2) is not part of this checkout yet (looked for $(1))" >&2; exit 1; fi
