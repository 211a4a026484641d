# Requires Python 3.11 or newer and a package registry; creates a virtual environment in .venv.
#
#   make demo    distills the included teacher; writes ./demo-run
#   make test    ruff, mypy, the documentation (strict), pytest
#   make wheel-test   builds wheel and sdist, tests the installed wheel outside of the checkout; slow
#   make bench   measures all speeds, ours and those of peers, into ./results/bench.json and bench.md; slow
#
# `make PYTHON=/path/to/python3.12 ...` picks another interpreter for a new environment.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin

# 3 hides TensorFlow's messages at start-up, such as a missing GPU.
export TF_CPP_MIN_LOG_LEVEL := 3

.PHONY: help venv demo test wheel-test bench lint types docs unit format clean

help:
	@sed -n '/^#/!q; s/^# \{0,1\}//p' Makefile

# Stamp files: an environment is updated when the list of its packages has changed.
$(VENV)/.installed: setup.cfg pyproject.toml
	@test -n "$(PYTHON)" || { echo "make needs python3.11 or python3 on the PATH" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "make needs Python 3.11 or newer, found $$("$(PYTHON)" --version)" >&2; exit 1; }
	"$(PYTHON)" -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[demo]'
	touch $@

$(VENV)/.installed-tools: $(VENV)/.installed
	$(BIN)/python -m pip install --disable-pip-version-check --quiet --editable '.[test,lint,docs]'
	touch $@

# A peer that cannot be installed is recorded as not installed; the others are measured.
$(VENV)/.installed-peers: $(VENV)/.installed benchmarks/requirements.txt
	$(BIN)/python -m pip install --disable-pip-version-check --quiet -r benchmarks/requirements.txt \
	    && touch $@ || echo "make bench continues without the peers that could not be installed" >&2

venv: $(VENV)/.installed

demo: $(VENV)/.installed
	rm -rf demo-run
	$(BIN)/keras-zskd demo --output_dir=demo-run

# BENCH="--only=synthesis_lenet5 --redo" measures a part, or again what is in results/bench.json.
bench: $(VENV)/.installed-peers
	$(BIN)/python -m benchmarks.bench $(BENCH)

# pytest comes last, so that its summary closes the output.
test: lint types docs unit

# WHEEL_TESTS="tests/core tests/test_command.py" runs a part of the tests.
wheel-test:
	PYTHON="$(PYTHON)" .ci/wheel-test $(WHEEL_TESTS)

lint: $(VENV)/.installed-tools
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/.installed-tools
	$(BIN)/mypy

docs: $(VENV)/.installed-tools
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -b html docs docs/_build/html

unit: $(VENV)/.installed-tools
	$(BIN)/python -m pytest -n 2 --dist=loadfile --no-loadscope-reorder

format: $(VENV)/.installed-tools
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) demo-run build dist docs/_build .mypy_cache .pytest_cache .ruff_cache *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
