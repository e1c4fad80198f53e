# One command for each thing that is done with this checkout. `make` alone lists them.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
COMPILE := --universal --generate-hashes --no-emit-index-url --no-annotate --python-version 3.11 --quiet
UV := build/uv/bin/uv

# For `make bench`, such as BENCH_ARGS="--help".
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help venv demo test test-all services services-stop check lint types unit bench docs lock clean

help: ## List what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# ---------------------------------------------------------------- setting up

# A stamp for each lock file: setting up happens once, and again when the lock or the project file changes.

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
	  || { echo "Python 3.11 or newer is needed, $(PYTHON) is $$($(PYTHON) -V). Name another: make PYTHON=python3.12" >&2; exit 2; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null \
	  || { echo "This Python cannot make virtual environments. On Debian and Ubuntu: apt-get install python3-venv" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV)

$(VENV)/.runtime: requirements.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV): this takes a minute or so, once"
	$(PIP) install --quiet --require-hashes --requirement requirements.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(BIN)/python
	@echo "Setting up $(VENV) for developing: this takes a minute or so, once"
	$(PIP) install --quiet --require-hashes --requirement requirements-dev.lock
	$(PIP) install --quiet --no-deps --no-build-isolation --editable .
	@touch $@ $(VENV)/.runtime

venv: $(VENV)/.dev ## Set up .venv with all that developing needs

# ---------------------------------------------------------------- seeing it work

demo: $(VENV)/.runtime ## Start a hub, feed it, ask it, and see the signed webhook arrive
	@$(BIN)/python -m hub.demo

# ---------------------------------------------------------------- proving it

test: $(VENV)/.dev ## Run all tests; what needs a server that is not there is skipped and listed
	$(BIN)/pytest

test-all: $(VENV)/.dev services ## Run all tests; a server that is not there is a failure
	AIME_REQUIRE_SERVICES=1 $(BIN)/pytest

services: ## Install and start the servers that integration tests talk to
	@tools/services start

services-stop: ## Stop those servers
	@tools/services stop

check: $(VENV)/.dev ## Lint, types, layers and unit tests, in less than 30 s once set up
	@$(MAKE) --no-print-directory --jobs=2 --output-sync=target types lint unit

lint: $(VENV)/.dev ## Style and layers: ruff and import-linter
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports --no-cache --no-logo

types: $(VENV)/.dev ## Types: mypy, strict
	$(BIN)/mypy

unit: $(VENV)/.dev ## The unit tests alone
	$(BIN)/pytest --quiet tests/unit

bench: $(VENV)/.dev ## Measure against the limits of this machine, into build/bench.json
	$(BIN)/python -m benchmarks $(BENCH_ARGS)

docs: $(VENV)/.dev ## Check the docs: links, commands, snippets, and that nothing is left undocumented
	$(BIN)/pytest --quiet tests/unit/test_docs.py tests/integration/test_docs_run.py

# ---------------------------------------------------------------- keeping it

lock: $(UV) ## Lock the newest versions that fit, with their hashes
	$(UV) pip compile $(COMPILE) --upgrade --all-extras --group build pyproject.toml --output-file requirements.lock
	$(UV) pip compile $(COMPILE) --upgrade --all-extras --group dev pyproject.toml --output-file requirements-dev.lock

$(UV):
	$(PYTHON) -m venv build/uv
	build/uv/bin/python -m pip install --quiet --disable-pip-version-check uv

clean: ## Remove all that was built, downloaded or measured; stores stay
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find core hub connectors tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +
