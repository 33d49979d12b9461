# Two commands: `make demo` fine-tunes a real model and reports; `make test` checks the project.
# Both set the virtual environment up first, and again whenever the dependencies change.

VENV  := .venv
BIN   := $(VENV)/bin
STAMP := $(VENV)/.installed
# what `make bench-train` measures against, in an environment of its own; TRL_PYTHON=... names one that is there
TRL        := $(VENV)/trl
TRL_PYTHON ?= $(TRL)/bin/python

.PHONY: demo test faults lint setup fetch bench-train clean
.DEFAULT_GOAL := demo
.NOTPARALLEL:

demo: setup fetch
	$(BIN)/assay run recipes/bard/experiment.yaml

test: setup fetch lint
	$(BIN)/pytest

# Every planted fault with its healthy twin, and how many were caught; some ten minutes.
faults: setup fetch
	$(BIN)/pytest tests/faults -m ""

lint: setup
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy

# Training against TRL, on an otherwise idle machine; BENCH="--kinds lora --text frankenstein.txt" adds options.
bench-train: setup fetch $(TRL_PYTHON)
	$(BIN)/python benchmarks/train_vs_trl.py --trl-python $(TRL_PYTHON) $(BENCH)

$(TRL)/bin/python: | $(STAMP)
	$(BIN)/python -m venv $(TRL)
	$@ -m pip install --quiet --constraint constraints.txt torch transformers peft datasets trl==1.16.0 || (rm -rf $(TRL); exit 1)

setup: $(STAMP)

# The embedded base model and text, downloaded once into the user's cache.
fetch: setup
	$(BIN)/python -m assay.fetch

$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3 python3.12 python3.13; do \
	    if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	        echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); \
	    fi; \
	done; \
	echo "Assay needs Python 3.11 or newer, and found none: install it, or name it with make PYTHON=/path/to/python" >&2; \
	exit 1

$(STAMP): pyproject.toml constraints.txt | $(BIN)/python
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +
