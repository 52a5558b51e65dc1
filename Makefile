# `make` alone says what can be done. Everything here works on a machine with python3, make and git.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
LOCKS := runtime embedded demo dev
LOCK_FILES := $(LOCKS:%=requirements/%.txt)
CATALOGUES := $(wildcard locale/*/LC_MESSAGES/*.po)
# Passed on as they are: `make demo ARGS=--no-serve`, `make test ARGS="-k ledger -x"`.
ARGS ?=

.PHONY: help setup demo run stop test test-slow check lock clean

help:  ## Say what can be done (this list).
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; \
		do printf '  make %-10s %s\n' "$$name" "$$what"; done

setup: .venv/stamp $(CATALOGUES:.po=.mo)  ## Install what the locks name into .venv and compile the translations.

.venv/stamp: requirements/tooling.txt $(LOCK_FILES)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tooling.txt
	@$(BIN)/uv pip sync --quiet --python $(BIN)/python --require-hashes requirements/tooling.txt $(LOCK_FILES)
	@touch $@

%.mo: %.po | .venv/stamp
	@$(BIN)/pybabel --quiet compile --input-file $< --output-file $@

