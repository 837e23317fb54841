# What a contributor runs is what CI runs. `make demo` and `make test` set up everything they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
UV_VERSION := 0.13.9
JOBS ?= 2
ONLY ?=
# What needs a broker of its own.
KAFKA := tests/broker tests/crash/test_drain_kill.py

.PHONY: help demo check test test-kafka test-deep bench docs constraints clean
.DEFAULT_GOAL := help

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-12s %s\n", $$1, $$2}'

$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "headwater needs Python 3.11 or newer: make PYTHON=python3.12 …" >&2; exit 3; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --constraint constraints.txt --editable '.[dev]'
	@touch $(READY)

demo: $(READY) ## run a real pipeline twice and ask where its models came from
	@$(BIN)/headwater demo

check: $(READY) ## formatting, lint, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check --no-fix .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: $(READY) ## the tests (PostgreSQL: HEADWATER_TEST_POSTGRES, local binaries, or a wheel)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "not deep" $(KAFKA:%=--ignore=%)

test-kafka: $(READY) ## the tests on a real Kafka (HEADWATER_TEST_KAFKA, or Java 17 and Maven)
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m "not deep" $(KAFKA)

test-deep: $(READY) ## the long legs: more kills, more universes
	$(BIN)/python -m pytest -n $(JOBS) --dist loadscope -m deep --timeout 1200

bench: $(READY) ## the benchmarks, each beside its peer; ONLY=emit runs one
	$(BIN)/python -m bench $(ONLY)

docs: $(READY) ## build the documentation into site/
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

constraints: $(READY) ## resolve the pinned versions anew
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --strip-extras --no-annotate --no-header \
	  --python-version 3.11 --upgrade --quiet --output-file constraints.txt

clean: ## remove what the other targets made
	rm -rf $(VENV) .headwater site bench/.cache .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
