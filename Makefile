# make demo: from nothing to rows. make test: everything that CI runs. Both set up .venv/ first.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=
# Compiled once, and not by each of the thousands of processes that tests start.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help install demo dev test lint format bench clean

help: ## show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

install: $(VENV)/installed ## create .venv/ with all that demo and test need

$(VENV)/installed: pyproject.toml setup.py
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	@# setuptools warns of every editable installation, which reads like a failure of ours.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --editable '.[local,test,dev]'
	touch $@

demo: install ## start a local Kafka and PostgreSQL, produce events and load them
	$(BIN)/kafka-pg demo

dev: install ## the Dagster UI with schedule and sensor, on the local stack
	$(BIN)/kafka-pg dev

lint: install ## style, types and layers
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint ## lint, then the whole test suite on a real Kafka and a real PostgreSQL
	@# Each process has servers of its own; tests wait more than they work.
	$(BIN)/python -m pytest --numprocesses 2 --dist worksteal $(PYTEST_ARGS)

format: install ## rewrite the code in the house's format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: install ## rows per second beside reading alone, COPY alone, loops and other programs
	$(BIN)/python benchmarks/compare.py append

clean: ## remove .venv/ and build leftovers; .local/ keeps its data
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
