# Everything from a fresh clone: needs Python 3.11 with its headers, a C++ compiler and make.
# PYTHON=… chooses the interpreter, TORCH_INDEX=… another package index for torch,
# ARGS=… goes to the command behind a target.

SHELL := /bin/bash
BIN := .venv/bin
export PYTHON TORCH_INDEX

.DEFAULT_GOAL := help
.PHONY: help setup build demo test lint pytest exhaustive bench faults soak clean distclean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):[^#]*## /\1\t/' | expand -t 12

setup: ## install everything into .venv from the pinned requirements
	@scripts/setup.sh --no-build

build: ## setup, and build the ROS package into install/
	@scripts/setup.sh

demo: build ## play a recorded drive through the real node and watch it reason
	@$(BIN)/rsd demo $(ARGS)

test: build ## linters, types, import layers and the tests
	@$(MAKE) --no-print-directory lint
	@$(MAKE) --no-print-directory pytest

lint: ## ruff, mypy and import-linter (after make setup)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

pytest: ## the tests alone (after make build); ARGS="-k name" chooses
	$(BIN)/python -m pytest $(ARGS)
	@echo 'Longer soaks and rarer cases were left out: make exhaustive runs them.'

exhaustive: build ## the tests that make test leaves out: longer soaks, rarer cases
	$(BIN)/python -m pytest -m exhaustive $(ARGS)

bench: build ## drafters and outside baselines on the same work: tables and a page
	@$(BIN)/rsd bench --controls --sparsely 5 --costs --html out/bench/report.html \
	  --json out/bench/rows.json $(ARGS)

faults: build ## hurt a node in twenty ways and time what it does; JSON=FILE writes the rows
	@$(BIN)/rsd faults $(if $(JSON),--json $(JSON)) $(ARGS)

soak: build ## an hour without a fault, watched for leaks and false alarms; MINUTES=n, JSON=FILE
	@$(BIN)/rsd soak $(if $(MINUTES),--minutes $(MINUTES)) $(if $(JSON),--json $(JSON)) $(ARGS)

clean: ## remove what was built, keep .venv
	rm -rf build install log out .mypy_cache .ruff_cache .pytest_cache .hypothesis \
	  .import_linter_cache .venv/stamps/build

distclean: clean ## remove .venv too
	rm -rf .venv
