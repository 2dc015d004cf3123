# Everything the project does, by name; `make` lists it. CI runs these same targets.

ENV ?= dev

# The first of these that is new enough; name another with make PYTHON=/path/to/python.
PYTHON ?= $(firstword $(foreach p,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(p) -I -c 'import sys; sys.version_info >= (3, 11) and print("$(p)")' 2>/dev/null)) python3)

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export CDK_DISABLE_CLI_TELEMETRY := true
# These could change what is installed or run. make itself still sees PYTHON and ENV.
unexport VIRTUAL_ENV NODE_ENV NODE_OPTIONS $(filter PYTHON%,$(.VARIABLES))
# Under LC_ALL=C, Python fails in a folder whose name is not ASCII.
export LC_ALL := C.UTF-8

.DEFAULT_GOAL := help
.PHONY: help setup demo test unit check bench format synth lock clean
# Set-up first, then one target after the other: they share one machine.
.NOTPARALLEL:

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## /{printf "  make %-8s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

setup: ## install everything into this folder (the other targets do so by themselves)
	@$(PYTHON) tools/setup.py

demo: setup ## run the whole pipeline on this machine: no AWS account, no Docker
	@python -m local demo

test: setup ## run all tests, the end-to-end ones on the local stack included
	@python -m pytest -n 3

unit: setup ## run the tests that need neither the local stack nor sockets
	@python -m pytest -n 2 tests/unit tests/infra

check: setup ## lint, types, imports, formatting
	ruff check
	ruff format --check
	mypy
	lint-imports --no-cache

bench: setup ## measure against baselines, and write .bench/
	@uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements-bench.txt
	@python -m tests.bench.parser
	@python -m tests.bench.publishing
	@python -m tests.bench.history

format: setup ## put every file into the project's format
	ruff format
	ruff check --fix

synth: setup ## synthesize one environment's template: make synth ENV=dev|stage|prod
	@cdk synth --quiet --no-notices -c "env=$(ENV)"
	@echo "cdk.out holds the template of $(ENV)"

LOCK := uv pip compile --quiet --universal --generate-hashes --python-version 3.11 \
	--no-emit-index-url --no-annotate --no-header --upgrade

lock: setup ## bring every locked requirement up to date, then run make test
	$(LOCK) lambda/parser/requirements.in -o lambda/parser/requirements.txt
	$(LOCK) lambda/rebuild/requirements.in -c lambda/parser/requirements.txt -o lambda/rebuild/requirements.txt
	$(LOCK) requirements.in -c lambda/rebuild/requirements.txt -o requirements.txt
	$(LOCK) requirements-dev.in -c requirements.txt -o requirements-dev.txt
	$(LOCK) requirements-bench.in -c requirements-dev.txt -o requirements-bench.txt
	$(LOCK) requirements-uv.in -o requirements-uv.txt
	npm update --package-lock-only --no-audit --no-fund

clean: ## remove what the other targets made; certs/ and the local stack's data stay
	@test ! -x .venv/bin/python || python -m local down --quiet
	rm -rf .venv node_modules .build .bench cdk.out .mypy_cache .ruff_cache .pytest_cache .hypothesis
	rm -rf lambda/*/*.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
