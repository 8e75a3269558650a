# Everything runs in .venv, which is made by itself; nothing is needed but make and Python 3.10 or newer.
PYTHON ?= python3
PYTEST_ARGS ?=
BENCH_ARGS ?=

EXTRAS := build,cluster,sign,http,s3,site,service

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.made-from-pyproject
COLLECTION := distributor/ansible/ansible_collections/venvoy/venvoy
BENCH_STAMP := $(VENV)/.made-for-bench
# As an installed package is; an editable one might be compiled at every start.
COMPILE := $(BIN)/python -m compileall -q venvoy.py manifests builder distributor service

# An activated venv or a path of the caller's must not leak in.
unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV

.DEFAULT_GOAL := help
.PHONY: collection demo test test-all lint format bench clean help

demo: $(STAMP) ## Lock, build, publish, install, move and interrupt keystone, all below var/
	@$(BIN)/python -m demo.run

test: $(STAMP) ## Run the tests but for the slow ones
	@$(COMPILE)
	@$(BIN)/python -m tests.parallel -m "not slow" $(PYTEST_ARGS)

test-all: $(STAMP) ## Run every test
	@$(COMPILE)
	@$(BIN)/python -m tests.parallel $(PYTEST_ARGS)

lint: $(STAMP) ## Check style, format and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

format: $(STAMP) ## Format the code, and correct what can be corrected
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

bench: $(BENCH_STAMP) ## Measure building and installing
	@$(COMPILE)
	@$(BIN)/python -m benchmarks $(BENCH_ARGS)

collection: $(STAMP) ## Build the Ansible collection: dist/venvoy-venvoy-VERSION.tar.gz
	@$(BIN)/python -c 'import ansible' 2>/dev/null || { \
	    echo "make: building the collection needs ansible-core, and that Python 3.11 or newer" >&2; exit 1; }
	@$(BIN)/ansible-galaxy collection build --force --output-path dist $(COLLECTION)

clean: ## Remove .venv, caches, and what demo and builds made
	rm -rf $(VENV) var build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo
	@echo "  PYTHON=$(PYTHON) makes .venv (after 'make clean', another one may);"
	@echo "  PYTEST_ARGS='-k trust -x' go to pytest, BENCH_ARGS=--quick to the benchmarks."

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { \
	    echo "make: '$(PYTHON)' is not Python 3.10 or newer; name one: make PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	    echo "make: '$(PYTHON)' cannot make virtual environments: apt install python3-venv" >&2; exit 1; }
	@$(BIN)/python -c pass 2>/dev/null || { \
	    echo "making $(VENV) with $$($(PYTHON) --version) ..."; $(PYTHON) -m venv --clear $(VENV); }
	@# uv takes seconds where pip takes a minute. Where it cannot be had, pip does it all.
	@$(BIN)/uv --version >/dev/null 2>&1 || $(BIN)/python -m pip install -qq --disable-pip-version-check uv || true
	@# Compiled once, here: else, where .pyc files are not to be written, each command of the tests does it anew.
	@$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python "pip>=25.1" --editable '.[$(EXTRAS)]' --group dev || { \
	    $(BIN)/python -m pip install -qq --disable-pip-version-check --upgrade "pip>=25.1" && \
	    $(BIN)/python -m pip install -qq --disable-pip-version-check --editable '.[$(EXTRAS)]' --group dev; }
	@touch $@

$(BENCH_STAMP): $(STAMP)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --group bench
	@touch $@
