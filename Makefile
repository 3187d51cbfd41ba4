# Everything a person or CI runs. `make help` lists it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
CARGO ?= cargo
# Where cargo builds; a caller's own choice wins.
export CARGO_TARGET_DIR ?= $(CURDIR)/target
# Where what is built once is kept, outside the checkout.
CACHE := $(or $(BASCULE_CACHE),$(or $(XDG_CACHE_HOME),$(HOME)/.cache)/bascule-sandbox)
CRATES := bascule-boundary bascule-core bascule-crds bascule-engine bascule-adapters bascule-guard bascule-sim bascule bascule-image bascule-charts bascule-e2e bascule-fuzz
# Programs that run in containers and sites are linked statically.
TARGET := $(shell uname -m)-unknown-linux-gnu
STATIC := RUSTFLAGS="-C target-feature=+crt-static" $(CARGO) build --locked --target $(TARGET)
STATIC_BIN := $(CARGO_TARGET_DIR)/$(TARGET)/demo
SUDO := $(if $(filter 0,$(shell id -u)),,sudo -E env "PATH=$$PATH")
# The real API server and etcd of the tests, once `make prepare` has built them: a folder for each set of versions.
SERVERS = $(CACHE)/servers-$(shell cat e2e/servers/go.mod e2e/servers/go.sum | sha256sum | cut -c1-12)
HELM = $(CACHE)/helm-$(shell cat e2e/helm/go.mod e2e/helm/go.sum | sha256sum | cut -c1-12)/helm
TEST_ENV = KUBEBUILDER_ASSETS="$(SERVERS)" BASCULE_ETCD="$(SERVERS)/etcd" BASCULE_HELM="$(HELM)"

.PHONY: help demo sandbox binaries image test test-unit stories test-world test-client test-story test-quickstart test-gateway e2e-nodes e2e-versions test-scenarios test-torture torture test-boundaries killable sim sim-all sim-explore mutants mutants-core sim-small bench-sim bench-scale fuzz fuzz-build fuzz-keep lint deny crds chart docs test-chart chart-golden bench bench-page prepare packages

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: binaries ## Two real clusters, a real failover, from a git push (needs root; a quarter of an hour the first time, a minute later)
	$(BINARIES) $(SUDO) $(STATIC_BIN)/bascule-demo

sandbox: binaries ## The same world to play in: builds target/…/bascule-sandbox and prints how to use it
	@echo "Now: export $(BINARIES)"; echo "and: $(SUDO) $(STATIC_BIN)/bascule-sandbox up"

# What `make test` consists of.
TESTS ?= test-unit test-world test-client test-story test-quickstart test-scenarios

test: prepare ## Every test, on real servers and real clusters (needs root; 50 minutes the first time); TESTS="targets" chooses
	@$(MAKE) --no-print-directory $(TESTS)

test-unit: ## The tests of each crate: rules, and adapters on real API servers, etcd, PostgreSQL, Knot, Exim and git
	$(TEST_ENV) $(CARGO) test --locked --tests $(patsubst %,-p %,$(filter-out bascule-e2e,$(CRATES)))

test-world: prepare ## The sandbox's own tests: two real clusters, faults, what is left behind (nothing)
	$(TEST_ENV) $(CARGO) test --locked -p bascule-e2e --lib --bins --test world -- --test-threads 1

# What runs in the sandbox's sites and containers, for the targets below.
BINARIES = BASCULE_BIN=$(STATIC_BIN)/bascule BASCULE_WEB_BIN=$(STATIC_BIN)/demo-web BASCULE_DYNAMIC_BIN=$(STATIC_BIN)/bascule-dynamic

# Where clocks are held the same program is linked dynamically, of the same parts: one more link, which the wrapper makes.
binaries: packages
	RUSTC_WRAPPER=$(CURDIR)/e2e/clock/rustc $(STATIC) --profile demo -p bascule -p bascule-e2e -p bascule-sim -p bascule-dynamic

# What is published is built with all optimizations: IMAGE_PROFILE=demo is quicker to build.
IMAGE_PROFILE ?= release
IMAGE := $(CARGO_TARGET_DIR)/image

image: packages ## The container image and its list of parts, without a container daemon, in target/image
	$(STATIC) --profile $(IMAGE_PROFILE) -p bascule
	$(CARGO) run --locked -q -p bascule-image -- $(CARGO_TARGET_DIR)/$(TARGET)/$(IMAGE_PROFILE)/bascule $(IMAGE)

test-client: prepare binaries ## The client that judges the scenarios, against the demo's web application in both sites
	$(BINARIES) $(CARGO) test --locked -p bascule-e2e --test client -- --nocapture

test-story: prepare binaries ## The demo's story as a test
	$(BINARIES) $(CARGO) test --locked -p bascule-e2e --test story -- --nocapture

test-quickstart: prepare binaries ## docs/quickstart.md, command by command, in the sandbox (needs root)
	$(BINARIES) $(CARGO) test --locked -p bascule-e2e --test quickstart -- --nocapture

e2e-nodes: prepare binaries ## Operators as pods: the real helm installs the chart, the story is told, then upgrade, rollback, uninstallation
	$(BINARIES) $(CARGO) test --locked -p bascule-e2e --test nodes -- --nocapture

# The version that the other site runs, and what is played with it at each site in turn.
OLDER ?= $(shell cat e2e/older-version)
OLDER_SCENARIOS ?= a_switchover_loses_nothing the_active_site_dies the_old_site_returns a_killed_server_is_offered
OLDER_FOLDER = $(CARGO_TARGET_DIR)/older/$(OLDER)
OLDER_BIN = $(OLDER_FOLDER)/build/$(TARGET)/demo/bascule

e2e-versions: prepare binaries ## An older version's operator and guard at one site, the other site, each in turn: OLDER=a-commit, OLDER_SCENARIOS="words"
	mkdir -p $(OLDER_FOLDER)/source
	git archive $(OLDER) | tar -x -C $(OLDER_FOLDER)/source
	cd $(OLDER_FOLDER)/source && CARGO_TARGET_DIR=$(OLDER_FOLDER)/build $(STATIC) --profile demo -p bascule
	for at in paris lyon; do $(BINARIES) BASCULE_OLDER_BIN=$(OLDER_BIN) BASCULE_OLDER_AT=$$at \
	  $(CARGO) test --locked -p bascule-e2e --test scenarios -- $(OLDER_SCENARIOS); done

test-gateway: packages ## Requests through Envoy Gateway and Envoy while two operators change its routes: the split, and writes in a hold (needs root)
	$(TEST_ENV) $(CARGO) test --locked -p bascule-e2e --test gateway

test-scenarios: prepare binaries ## Faults on real parts, judged by a client's record; SCENARIOS="words 1/3" chooses by name and share
	$(BINARIES) $(CARGO) test --locked -p bascule-e2e --test scenarios -- $(SCENARIOS)

torture: binaries ## Random schedules of faults on real parts for TORTURE_MINUTES=10, from TORTURE_SEED on; TORTURE_KEPT=1: those that are kept first (needs root)
	$(SUDO) env $(BINARIES) TORTURE_MINUTES=$(or $(TORTURE_MINUTES),10) $(STATIC_BIN)/bascule-torture random $(addprefix --seed ,$(TORTURE_SEED)) \
	  $(if $(TORTURE_KEPT),--kept)

test-torture: binaries ## Every schedule that is kept in e2e/torture/kept (needs root)
	$(SUDO) env $(BINARIES) $(STATIC_BIN)/bascule-torture kept

# The same programs, and the one that can be killed at a boundary under a name of its own: the next `make binaries` puts the
# plain one back.
KILLABLE := $(STATIC_BIN)/bascule-killable

killable: packages
	$(STATIC) --profile demo -p bascule -p bascule-e2e -p bascule-sim --features bascule/boundaries
	cp -f $(STATIC_BIN)/bascule $(KILLABLE)

test-boundaries: killable ## Operators and guards killed at every boundary of what they do (hours; needs root): BOUNDARIES="switchover guard 1/4" chooses by words and share, BOUNDARIES_MINUTES=30
	$(SUDO) env BASCULE_BIN=$(KILLABLE) BASCULE_WEB_BIN=$(STATIC_BIN)/demo-web $(STATIC_BIN)/bascule-boundaries $(BOUNDARIES)

# What `make mutants-core` runs.
MUTANTS_VERSION := 27.1.0
MUTANTS_TOOL := $(CACHE)/cargo-mutants-$(MUTANTS_VERSION)

# The simulator's search. It is built with the static programs, so that nothing is compiled twice.
SIM = $(STATIC_BIN)/bascule-sim

sim: binaries ## The rules in a simulated world: the kept cases, and every fault at every boundary of every flow (FLOWS="…": of these)
	$(SIM) corpus operator/sim/corpus.jsonl
	$(SIM) singles $(FLOWS)

sim-explore: binaries ## Random flows, seeds and faults; SECONDS=600 NUMBER=1 CASES=8000 choose how long and which
	$(SIM) explore $(or $(SECONDS),600) $(or $(NUMBER),$(shell date +%s)) $(CASES)

sim-small: binaries ## Every order of steps of the core in small worlds, each flow with one fault (a few CPU-minutes)
	$(SIM) small silence operator guard loss restore
	$(SIM) small planned operator loss
	$(SIM) small planned guard
	$(SIM) small offered operator
	$(SIM) small silence freeze states=1000000
	$(SIM) small silence operator guard loss most=2 states=1000000

sim-all: binaries ## Every pair of faults in every flow (half an hour on two cores); EVERYWHERE=everywhere: at every boundary (half a day), EVERYWHERE="everywhere 0/40" a share of that; FLOWS="switchover" chooses
	$(SIM) pairs $(EVERYWHERE) $(FLOWS)

stories: ## Write the stories under operator/sim/stories anew: the simulator's own words, compared by the tests
	BASCULE_STORIES=write $(CARGO) test --locked -q -p bascule-sim --test stories

mutants: packages ## Every rule left out once: the simulator's judge, or the story of its row in the model's table, must notice
	$(CARGO) run --locked -q --profile demo -p bascule-sim --features mutants --bin bascule-mutants -- operator/sim/mutants.jsonl
	$(CARGO) test --locked -q --profile demo -p bascule-sim --features mutants --test model

# The same cases for every mutant. MUTANTS="-f operator/core/src/ballot/claim.rs" chooses by file; what a run found lies in
# target/mutants-core/mutants.out.
mutants-core: ## Every small change of the core, one at a time: its tests must notice (hours; MUTANTS="--shard 0/8" chooses)
	@test -x $(MUTANTS_TOOL)/bin/cargo-mutants || CARGO_TARGET_DIR=$(MUTANTS_TOOL)/build \
	  $(CARGO) install --locked --root $(MUTANTS_TOOL) cargo-mutants@$(MUTANTS_VERSION)
	mkdir -p $(CARGO_TARGET_DIR)/mutants-core
	PATH="$(MUTANTS_TOOL)/bin:$$PATH" PROPTEST_CASES=48 PROPTEST_RNG_SEED=20261122 \
	  $(CARGO) mutants -p bascule-core -o $(CARGO_TARGET_DIR)/mutants-core $(MUTANTS)

# Every target, or those of FUZZ="intake dns". What a search finds is kept in target/fuzz/corpus, what hurts in fuzz/artifacts.
FUZZ ?= $(shell awk -F '"' '/^\[\[bin/ { getline; print $$2 }' fuzz/Cargo.toml)
FUZZ_SECONDS ?= 60
FUZZ_DIR = $(CARGO_TARGET_DIR)/fuzz
FUZZ_BIN = $(FUZZ_DIR)/$(TARGET)/release
# Coverage works on the stable toolchain; a sanitizer, which needs a nightly one, would watch C that nobody feeds here.
# Little optimisation and many units: three hundred crates are built for it.
CARGO_FUZZ = CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_STRIP=none \
  PATH="$(CACHE)/cargo-fuzz/bin:$$PATH" $(CARGO) fuzz

# libFuzzer is C++.
fuzz-build: MORE_PACKAGES := g++
fuzz-build: packages
	@test -x "$(CACHE)/cargo-fuzz/bin/cargo-fuzz" || env -u CARGO_TARGET_DIR $(CARGO) install --locked --root "$(CACHE)/cargo-fuzz" cargo-fuzz@0.13.2
	$(CARGO_FUZZ) build -s none --codegen-units 16 --target-dir "$(FUZZ_DIR)"

# The words of what is kept help to make others like it. The limit of the address space, in KiB, ends who asks for more
# at once than there is, though he does not use it.
fuzz: fuzz-build ## Search for bad input that hurts, FUZZ_SECONDS=60 for each target; FUZZ="intake dns" chooses
	@for t in $(FUZZ); do echo "== $$t"; mkdir -p "$(FUZZ_DIR)/corpus/$$t" fuzz/artifacts/$$t; \
	  cat fuzz/corpus/$$t/* | LC_ALL=C grep -aoE '[A-Za-z_]{3,40}' | sort -u | sed 's/.*/"&"/' > "$(FUZZ_DIR)/$$t.words"; \
	  ( ulimit -v 4000000; "$(FUZZ_BIN)/$$t" -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 -max_len=65536 \
	    -dict="$(FUZZ_DIR)/$$t.words" -artifact_prefix=fuzz/artifacts/$$t/ -print_final_stats=1 \
	    "$(FUZZ_DIR)/corpus/$$t" fuzz/corpus/$$t 2>&1 | grep -avE '^#.* (NEW|REDUCE|RELOAD) |NEW_FUNC|^".*" # Uses' ); done

# Of each target the smallest inputs that reach together what all of them reach; the named ones stay.
fuzz-keep: fuzz-build ## Keep in fuzz/corpus what a search has found that reaches more code than what is kept
	@for t in $(FUZZ); do rm -rf "$(FUZZ_DIR)/keep"; mkdir -p "$(FUZZ_DIR)/keep/out" "$(FUZZ_DIR)/corpus/$$t"; \
	  for f in fuzz/corpus/$$t/*; do case $$f in */found-*) mv $$f "$(FUZZ_DIR)/corpus/$$t/";; *) cp $$f "$(FUZZ_DIR)/keep/out/";; esac; done; \
	  "$(FUZZ_BIN)/$$t" -set_cover_merge=1 -use_counters=0 -max_len=1024 "$(FUZZ_DIR)/keep/out" "$(FUZZ_DIR)/corpus/$$t" > "$(FUZZ_DIR)/keep/log" 2>&1; \
	  find "$(FUZZ_DIR)/keep/out" -type f | while read -r f; do n=$${f##*/}; case $$n in found-*) to=$$n;; *) to=found-$${n:0:12};; esac; \
	    test -e "fuzz/corpus/$$t/$$n" || mv "$$f" "fuzz/corpus/$$t/$$to"; done; \
	  echo "$$t: $$(find fuzz/corpus/$$t -type f | wc -l) inputs, $$(du -sb fuzz/corpus/$$t | cut -f1) bytes"; done

bench-sim: binaries ## How many scenarios the simulator plays in a CPU-minute; writes target/bench/sim.json
	mkdir -p target/bench
	$(SIM) bench target/bench/sim.json

# How many policies, one fleet after the other; the page is written by the whole series only.
BENCH_SCALE_ALL := 10,100,1000,10000
BENCH_SCALE_N ?= $(BENCH_SCALE_ALL)

bench-scale: binaries ## How an operator grows with its policies; writes target/bench/scale.json and docs/scale.md (needs root, half an hour; BENCH_SCALE_N=10,100 is shorter, without the page)
	$(SUDO) $(STATIC_BIN)/bascule-scale -n $(BENCH_SCALE_N) $(if $(filter $(BENCH_SCALE_ALL),$(BENCH_SCALE_N)),--page docs/scale.md)

prepare: packages ## Install and build what the tests and the sandbox need, cached outside the checkout (needs root)
	$(CARGO) run --locked -q -p bascule-e2e --bin bascule-sandbox -- prepare --no-binaries

packages: ## Install the Debian packages that building needs (needs root where one is missing)
	@missing=""; for p in protobuf-compiler libprotobuf-dev pkg-config perl make gcc libc6-dev git curl ca-certificates $(MORE_PACKAGES); do \
	  dpkg -s $$p >/dev/null 2>&1 || missing="$$missing $$p"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; export DEBIAN_FRONTEND=noninteractive; \
	  $(SUDO) apt-get update -q; $(SUDO) apt-get install -y -q --no-install-recommends $$missing; fi

lint: packages ## Formatting, each crate's lints alone, generated files
	$(CARGO) fmt --all --check
	@# rustdoc would read every crate once more for them: `make test-unit` takes --tests.
	@awk 'FNR == 1 { open = 0 } /^ *\/\/[\/!] ```/ { open = !open; if (open && !/```text$$/) { bad = 1; \
	  print FILENAME ":" FNR ": an example in a comment, which no test runs: make a test of it, or mark it as text" } } \
	  END { exit bad }' $$(find crds charts image operator e2e fuzz -name '*.rs')
	@for c in $(filter-out bascule-e2e,$(CRATES)); do echo "clippy $$c"; $(CARGO) clippy --locked -q -p $$c --all-targets -- -D warnings; done
	@# One line over a part of what bascule-e2e is made of: alone all of it would be checked once more.
	@echo "clippy bascule-e2e bascule-dynamic"; $(CARGO) clippy --locked -q -p bascule-e2e -p bascule-dynamic --all-targets -- -D warnings
	$(CARGO) run --locked -q -p bascule-crds --bin crdgen -- --check
	$(CARGO) run --locked -q -p bascule-charts --bin chartgen -- --check

deny: ## Licences, bans and sources of the dependencies
	@command -v cargo-deny >/dev/null || CARGO_TARGET_DIR=$(CACHE)/cargo-deny $(CARGO) install --locked cargo-deny@0.20.2
	$(CARGO) deny --locked --all-features check bans licenses sources

crds: ## Write crds/generated/ and docs/reference/ from the Rust types
	$(CARGO) run --locked -q -p bascule-crds --bin crdgen

chart: crds ## Write the generated parts of the charts and docs/rbac.md
	$(CARGO) run --locked -q -p bascule-charts --bin chartgen

# What `make docs` runs.
MDBOOK_VERSION := 0.5.4
MDBOOK := $(CACHE)/mdbook

docs: ## The book of docs/, in target/book (installs mdbook once)
	@test -x $(MDBOOK)/bin/mdbook || CARGO_TARGET_DIR=$(MDBOOK)/build $(CARGO) install --locked --root $(MDBOOK) mdbook@$(MDBOOK_VERSION)
	$(MDBOOK)/bin/mdbook build

test-chart: ## What the real helm makes of the charts, and says of values that are wrong
	$(TEST_ENV) $(CARGO) test --locked -p bascule-charts

chart-golden: ## Write charts/tests/golden anew: what helm renders and refuses, compared by the tests
	$(TEST_ENV) BASCULE_GOLDEN=write $(CARGO) test --locked -q -p bascule-charts --test helm --test arbiter --test witness

bench: binaries ## Measure failovers beside Patroni and by hand (needs root): BENCH="planned patroni-planned" chooses, BENCH_N=30 samples, BENCH_MINUTES=60; goes on where docs/benchmarks.jsonl ends
	$(SUDO) env $(BINARIES) $(STATIC_BIN)/bascule-bench -n $(or $(BENCH_N),30) -m $(or $(BENCH_MINUTES),60) $(BENCH)

bench-page: ## Write docs/benchmarks.md from docs/benchmarks.jsonl
	$(CARGO) run --locked -q -p bascule-e2e --bin bascule-bench -- --page
