# Everything a fresh machine needs is Python >= 3.11 and make. `make` alone lists the targets.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: test-installs completion docs help setup demo test check fmt proto proto-release proto-clients clients bench bench-clients bench-postgres bench-peers torture torture-disks torture-processes torture-requests torture-watches torture-postgres mutations mutants schema-check test-newest test-lowest test-pooled test-proxies picture sbom clean
PROTO_TOOLS := $(VENV)/proto-tools

help: ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | awk -F '\t' '{printf "  %-18s %s\n", $$1, $$2}'

$(VENV)/.base: pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "flujo needs Python 3.11 or newer; name one: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "this Python cannot make virtual environments; on Debian: apt install python3-venv"; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/.dev: $(VENV)/.base
	$(BIN)/pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@

# The generator of the contract's code is older than what runs it (proto/requirements.txt), so it lives by itself.
$(PROTO_TOOLS)/.ready: proto/requirements.txt $(VENV)/.base
	$(PYTHON) -m venv $(PROTO_TOOLS)
	$(PROTO_TOOLS)/bin/pip install --quiet --disable-pip-version-check -r proto/requirements.txt
	@touch $@

setup: $(VENV)/.dev ## make the virtual environment with the test and check tools

demo: $(VENV)/.base ## run the example workflow on this repository and show its report
	$(BIN)/flujoctl run examples/repo-report.yaml

TESTS ?=
ARGS ?=
test: $(VENV)/.dev ## run the tests, or some: make test TESTS=tests/kernel ARGS='-k cancel'
	$(BIN)/python tests/suite.py $(ARGS) $(TESTS)

check: $(VENV)/.dev $(PROTO_TOOLS)/.ready ## lint, formatting, types, import rules, the contract, docs freshness
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python docs/generate.py --check
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code
	$(BIN)/buf breaking --against proto/released.binpb
	PATH="$(PROTO_TOOLS)/bin:$$PATH" $(PROTO_TOOLS)/bin/python proto/generate.py --check

fmt: $(VENV)/.dev ## format the code, apply safe fixes and refresh generated docs
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/python docs/generate.py

proto: $(VENV)/.dev $(PROTO_TOOLS)/.ready ## format the contract and generate its code, that of clients whose tools are here, and its reference
	$(BIN)/buf format --write
	PATH="$(PROTO_TOOLS)/bin:$$PATH" $(PROTO_TOOLS)/bin/python proto/generate.py
	$(BIN)/python clients/generate.py

proto-release: $(VENV)/.dev ## make the contract as it is now the one that later changes may not break
	$(BIN)/buf build --exclude-source-info -o proto/released.binpb

proto-clients: $(VENV)/.dev ## generate the code of the clients whose tools are here (ARGS=--check: only say whether it is fresh)
	$(BIN)/python clients/generate.py $(ARGS)

bench-clients: $(VENV)/.dev ## measure how long clients take to follow 5,000 stored events, beside a bare stream (ARGS=go: one of them)
	$(BIN)/python clients/build.py --measure $(ARGS)

clients: $(VENV)/.dev ## build, check and try the clients in all languages, or: make clients ARGS='go --over unix'
	$(BIN)/python clients/build.py $(ARGS)

bench: $(VENV)/.dev ## measure everything in about six minutes, and write it to docs/performance.md; or: make bench ARGS=throughput
	$(BIN)/pip install --quiet --disable-pip-version-check uvloop
	$(BIN)/python bench/everything.py $(ARGS)

bench-postgres: $(VENV)/.dev ## the same on PostgreSQL: throughput, what looks and listings cost beside a million runs, and pruning
	$(BIN)/python bench/postgres.py
	$(BIN)/python bench/postgres_history.py
	$(BIN)/python bench/postgres_pruning.py

bench-peers: $(VENV)/.dev ## do the same work on flujo and on other engines, from the package index: make bench-peers ARGS='--rounds 5'
	$(BIN)/python bench/peers.py $(ARGS)

CRASHES ?= 300000
SEED ?= 1
JOBS ?= 2
torture: $(VENV)/.dev ## live through simulated crashes: make torture CRASHES=300000 SEED=1 JOBS=2
	mkdir -p build
	$(BIN)/python tests/simulation/torture.py --crashes $(CRASHES) --seed $(SEED) --jobs $(JOBS) --result build/torture.json
	$(MAKE) torture-disks torture-processes torture-requests torture-watches torture-postgres

KILLS ?= 300
CUTS ?= 300
INJECTIONS ?= 1
torture-disks: $(VENV)/.dev ## the same with real processes and disks, as root: make torture-disks KILLS=300 CUTS=300
	mkdir -p build
	$(BIN)/python tests/faults/campaign.py --kills $(KILLS) --cuts $(CUTS) --injections $(INJECTIONS) --seed $(SEED) --result build/disks.json

ROUNDS ?= 20
torture-processes: $(VENV)/.dev ## end attempts whose processes hide, in every way: make torture-processes ROUNDS=20
	ROUNDS=$(ROUNDS) $(BIN)/python tests/suite.py -q -x tests/kernel/execution/test_leftovers.py

REQUESTS ?= 200000
torture-requests: $(VENV)/.dev ## send a server requests that nobody would send, and more than anybody: make torture-requests REQUESTS=200000 SEED=1
	PYTHONPATH=tests $(BIN)/python tests/server/fuzzing.py --requests $(REQUESTS) --seed $(SEED)
	PYTHONPATH=tests $(BIN)/python tests/server/loads.py

torture-watches: $(VENV)/.dev ## cut 50 watchers of 20 runs off twenty times each, and end their server 600 times under 16 clients
	WATCHERS=50 RUNS=20 CUTS=20 $(BIN)/pytest -q tests/server/test_reconnects.py
	KILLS=500 CLIENTS=16 $(BIN)/pytest -q tests/server/test_kills.py

TAKEOVERS ?= 1000
LARGE = RUNS=60 KILLS=10 LEASE=4 FILLINGS=5 DEATHS=10 CUTS=5 STRIDE=1 TAKEOVERS=$(TAKEOVERS)
torture-postgres: $(VENV)/.dev ## let everything befall a fleet on PostgreSQL, many times, as root: make torture-postgres TAKEOVERS=1000
	$(LARGE) $(BIN)/pytest -q --timeout 3600 tests/backends/test_postgres_faults.py
	SERVED=300 $(BIN)/pytest -q --timeout 3600 tests/cli/test_postgres.py -k submitted_to_one

MUTATIONS ?= 20000
mutations: $(VENV)/.dev ## try definitions with something changed: make mutations MUTATIONS=20000
	MUTATIONS=$(MUTATIONS) $(BIN)/python tests/suite.py --timeout 3600 tests/cli/test_mutated_definitions.py tests/workflows/test_mutations.py

N ?= 120
MUTANTS = --count $(N) --seed $(SEED) --jobs $(JOBS) $(if $(WITHIN),--within $(WITHIN)) $(if $(NEAR),--near) $(if $(RECORD),--record)
mutants: $(VENV)/.dev ## try whether the tests notice small changes: make mutants N=120 SEED=1 JOBS=2 WITHIN=kernel/ NEAR=1
	$(BIN)/python tests/mutation/mutants.py $(MUTANTS) --result build/mutants.json

schema-check: $(VENV)/.dev ## ask a real YAML language server, from npm, about the schema of workflows
	npm install --silent --no-fund --no-audit --prefix build/language-server yaml-language-server@1
	$(BIN)/flujoctl schema > build/flujo.schema.json
	$(BIN)/python tests/environments/language_server.py

test-newest: ## run the tests on the newest Python and SQLite, in a Debian tree under build/, as root
	tests/environments/newest.sh $(ARGS) $(TESTS)

POOLED = tests/backends/test_conformance.py tests/backends/test_postgres.py tests/backends/test_postgres_fleet.py tests/backends/test_postgres_faults.py \
	tests/backends/test_postgres_limits.py tests/cli/test_postgres.py
test-pooled: $(VENV)/.dev ## run the tests of the postgres backend through PgBouncer, which has to be installed
	FLUJO_PGBOUNCER=$$(command -v pgbouncer) $(BIN)/python tests/suite.py -k postgres $(POOLED)

test-proxies: $(VENV)/.dev ## try docs/behind-a-proxy.md with the real nginx and HAProxy
	PYTHONPATH=tests $(BIN)/python tests/environments/proxies.py

test-lowest: $(VENV)/.dev ## run the tests with the lowest versions that pyproject.toml allows
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/lowest
	$(BIN)/uv pip install --quiet --python build/lowest --resolution lowest-direct -e '.[test]'
	build/lowest/bin/python tests/suite.py $(ARGS) $(TESTS)

test-installs: ## install by pip, pipx, uv and from the wheel, each into an empty environment, and run the workflow of init
	PYTHON=$(PYTHON) tests/environments/installs.sh

completion: $(VENV)/.dev ## try the completion in real shells: bash, zsh and fish have to be installed
	REAL_SHELLS=1 $(BIN)/pytest -q tests/cli/test_real_shells.py

DOCS := build/docs-venv

$(DOCS)/.ready: docs/requirements.txt
	$(PYTHON) -m venv $(DOCS)
	$(DOCS)/bin/pip install --quiet --disable-pip-version-check -r docs/requirements.txt
	@touch $@

docs: $(DOCS)/.ready ## build the site of the documentation in build/site; a link that leads nowhere is an error
	$(DOCS)/bin/python docs/site.py
	NO_MKDOCS_2_WARNING=1 $(DOCS)/bin/mkdocs build --strict --quiet

picture: $(VENV)/.dev ## take the picture of a run on a terminal that the README shows
	$(BIN)/python docs/picture.py docs/live-view.svg

sbom: $(VENV)/.dev ## list what is installed for use, as CycloneDX, in build/sbom.cdx.json
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python build/use
	$(BIN)/uv pip install --quiet --python build/use '.[trio,grpc]'
	$(BIN)/cyclonedx-py environment --pyproject pyproject.toml --mc-type library --output-reproducible --validate \
		--output-file build/sbom.cdx.json build/use

clean: ## remove the virtual environment and caches (never a store)
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build dist
