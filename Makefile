# `make` alone says what can be done. Everything here works on a machine with python3, make and git.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

PYTHON ?= python3
BIN := .venv/bin
LOCKS := runtime embedded demo dev
LOCK_FILES := $(LOCKS:%=requirements/%.txt)
APPS := cdp tenants loyalty profiles campaigns
CATALOGUES := $(wildcard locale/*/LC_MESSAGES/*.po)
# Passed on as they are: `make demo ARGS=--no-serve`, `make test ARGS="-k ledger -x"`.
ARGS ?=

# Runs a command and then stops the PostgreSQL and Valkey that it started, unless somebody else still uses them.
WITH_SERVERS := $(BIN)/python -m cdp.embedded run --
# The same with a second pair, fast and careless about power cuts: what tests and checks need.
WITH_TEST_SERVERS := CDP_EMBEDDED_UNSAFE=1 $(WITH_SERVERS)

.PHONY: help setup demo run stop test test-slow test-faults bench-intake bench-till bench-ledger bench-matching bench-resolve bench-simulate check format messages browser lock clean reset

help:  ## Say what can be done (this list).
	@sed -nE 's/^([a-z-]+):.*  ## (.*)/\1\t\2/p' $(MAKEFILE_LIST) | while IFS=$$'\t' read -r name what; \
		do printf '  make %-14s %s\n' "$$name" "$$what"; done

# Bytecode beforehand, for neither uv writes any, nor does Python where it is told not to: a process that compiles all
# that it loads takes four times as long to start.
setup: .venv/stamp $(CATALOGUES:.po=.mo)  ## Install what the locks name into .venv and compile the translations.
	@$(BIN)/python -m compileall -q $(APPS)

.venv/stamp: requirements/tooling.txt $(LOCK_FILES)
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tooling.txt
	@$(BIN)/uv pip sync --quiet --compile-bytecode --python $(BIN)/python --require-hashes \
		requirements/tooling.txt $(LOCK_FILES)
	@touch $@

%.mo: %.po | .venv/stamp
	@$(BIN)/pybabel --quiet compile --input-file $< --output-file $@

demo: setup  ## Play a brand's life from end to end and serve it (ARGS=--no-serve: play it and leave).
	@$(WITH_SERVERS) $(BIN)/python manage.py demo $(ARGS)

run: setup  ## Serve the platform: web, worker and timetable, until Ctrl-C.
	@$(WITH_SERVERS) $(BIN)/python manage.py serve $(ARGS)

stop:  ## Stop whatever is still running from this folder.
	@if test -x $(BIN)/python; then \
		$(BIN)/python -m cdp.embedded stop; CDP_EMBEDDED_UNSAFE=1 $(BIN)/python -m cdp.embedded stop; fi

test: setup  ## Run the quick tests on all cores (ARGS="-k ledger").
	@$(WITH_TEST_SERVERS) $(BIN)/pytest -m "not slow and not faults" -n auto --dist loadfile $(ARGS)

# pytest's exit code 5 says that no test was selected.
test-slow: setup  ## Run the slow tests (ARGS as above).
	@$(WITH_TEST_SERVERS) $(BIN)/pytest -m slow -n auto --dist loadfile $(ARGS) || test $$? -eq 5

# With servers of their own, which are killed; Django's settings need an address all the same.
test-faults: setup  ## Prove the till under faults: killed databases and workers, cut wires (ARGS="--times 5" for longer).
	@DATABASE_URL=postgres://nobody@127.0.0.1:1/test_none $(BIN)/pytest -m faults tests/faults $(ARGS)

bench-intake: setup  ## Measure taking in: files, events, tickets, search (ARGS=100000 for fewer rows than a million).
	@$(WITH_SERVERS) $(BIN)/python -m benchmarks.intake $(ARGS)

bench-till: setup  ## Measure the till's API against the database itself and a stock DRF view (ARGS=1 for one round).
	@$(WITH_SERVERS) $(BIN)/python -m benchmarks.till $(ARGS)

bench-ledger: setup  ## Measure posting against a bare function, and the proof (ARGS=100000 for fewer postings than a million).
	@$(WITH_SERVERS) $(BIN)/python -m benchmarks.ledger $(ARGS)

bench-resolve: setup  ## Measure recognising people on PostgreSQL, with 100,000 records and a million (ARGS=100000 for the first alone).
	@$(WITH_SERVERS) $(BIN)/python -m benchmarks.resolve $(ARGS)

bench-simulate: setup  ## Measure replaying tickets under a draft of the rules (ARGS=200000 for more than fifty thousand).
	@$(WITH_SERVERS) $(BIN)/python -m benchmarks.simulate $(ARGS)

bench-matching: setup .venv-bench/stamp  ## Measure identity resolution against Splink's (ARGS="febrl4", EVAL=… for more sets).
	@$(BIN)/python -m benchmarks.matching $(ARGS)

# What is compared with has an environment of its own: the product never sees it.
.venv-bench/stamp: requirements/bench.txt | .venv/stamp
	@$(BIN)/uv venv --quiet --allow-existing --python $(BIN)/python .venv-bench
	@$(BIN)/uv pip sync --quiet --python .venv-bench/bin/python --require-hashes $<
	@touch $@

check: setup  ## Everything that needs no test: lint, format, import order, types, missing migrations.
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check --quiet . || { echo 'not formatted: make format' >&2; exit 1; }
	@$(BIN)/lint-imports --no-logo
	@$(WITH_TEST_SERVERS) $(SHELL) -euc '$(BIN)/mypy; $(BIN)/python manage.py makemigrations --check'

format: setup  ## Format the code, and mend what lint can mend itself.
	@$(BIN)/ruff format .
	@$(BIN)/ruff check --fix .

messages: .venv/stamp  ## Bring the translations up to date with what the code says; list what waits for one.
	@$(BIN)/python -m tests.catalogue

browser:  ## Install Chromium for the browser tests (root on Debian or Ubuntu; elsewhere install it yourself).
	@command -v chromium chromium-browser google-chrome >/dev/null || { \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive \
		apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core >/dev/null; }

lock: .venv/stamp  ## Compile requirements/*.in into locks with hashes (ARGS=--upgrade for newer versions).
	@for lock in tooling $(LOCKS) bench; do \
		no_deps=; if test $$lock = demo; then no_deps=--no-deps; fi; \
		$(BIN)/uv pip compile --quiet --universal --python-version 3.11 $$no_deps $(ARGS) \
			--generate-hashes --no-annotate --no-header requirements/$$lock.in -o requirements/$$lock.txt; \
	done

clean: stop  ## Remove what was installed and cached. The data in var/ stay.
	@rm -rf .venv .venv-bench .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache

reset: stop  ## Empty var/: every brand and customer of this folder is lost (asks first; ARGS=--yes does not).
	@if test -x $(BIN)/python; then $(BIN)/python -m cdp.embedded forget $(ARGS); else echo 'make setup first' >&2; exit 1; fi
