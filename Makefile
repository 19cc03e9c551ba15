# Two promises, on a fresh machine with Python 3.11 or newer: `make run` and `make test`.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST := $(BIN)/pytest -n 2 --dist loadgroup

.PHONY: help run test test-all test-rest check docs bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-9s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/ready-dev: $(VENV)/ready
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

run: $(VENV)/ready ## set up, run FedQS on the bundled digits, write a report
	$(BIN)/fedqs run examples/digits.toml --report

test: $(VENV)/ready-dev ## set up, run the tests (8 minutes on two cores)
	$(PYTEST) -m "not full"

test-all: test test-rest ## all tests: also Flower, the cluster, chaos, the documentation's commands, other releases of Ray

test-rest: $(VENV)/ready-dev
	$(PYTEST) -m "full or hypothesis" --hypothesis-profile full

check: $(VENV)/ready-dev ## lint, formatting, types, rooms
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

docs: $(VENV)/ready-dev ## build the documentation into build/site, which opens without a network
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict
	@echo "open build/site/index.html"

bench: $(VENV)/ready ## rerun speed, scale and memory; says which targets were missed (half an hour, quiet machine)
	$(BIN)/python benchmarks/overhead.py
	$(BIN)/python benchmarks/scale.py
	$(BIN)/python benchmarks/sketch.py
	$(BIN)/python benchmarks/memory.py
	$(BIN)/python benchmarks/cold_start.py
	$(BIN)/python benchmarks/convolutions.py
	@echo "against Flower, APPFL, FLGo and pfl-research (installs them): $(BIN)/python benchmarks/against_peers.py"

clean: ## remove the virtual environment and caches
	rm -rf $(VENV) build .mypy_cache .ruff_cache .pytest_cache
