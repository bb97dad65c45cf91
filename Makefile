# Every target does its own set-up: the virtual environment is made on first use and again only when
# pyproject.toml has changed.
#
#   make demo                     install, make a sample scene, segment it
#   make test                     install with the development tools, then every check
#   make test VENV=/tmp/fresh     the same in another virtual environment
#   make demo PYTHON=python3.12   with another interpreter (3.11 or newer)

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
SOURCES := $(shell find geounet cli -type f -not -path '*/__pycache__/*')

# Compiling every module of torch and its kin in advance takes longer than all else in the install;
# Python compiles the few that are used when they are first imported.
PIP := $(BIN)/python -m pip install --disable-pip-version-check --no-compile

# An environment with the development tools holds the package already (as an editable install).
READY := $(if $(wildcard $(VENV)/.dev),$(VENV)/.dev,$(VENV)/.installed)

.PHONY: demo test lint bench clean

demo: $(READY)
	$(BIN)/python examples/01_make_sample_scene.py demo/town.tif
	$(BIN)/geounet segment demo/town.tif -o demo --overwrite

# Two processes: most tests wait for a process, a disk or one thread. Tests of a file stay together.
test: lint
	$(BIN)/python -m pytest -n 2 --dist loadfile

lint: $(VENV)/.dev
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/.dev
	$(BIN)/python -m pytest -s tests/benchmarks

clean:
	rm -rf .venv demo build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache \
		.hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml $(SOURCES) | $(BIN)/python
	$(PIP) .
	touch $@

$(VENV)/.dev: pyproject.toml | $(BIN)/python
	$(PIP) -e ".[dev]"
	touch $@

$(BIN)/python:
	@$(PYTHON) -c 'import sys; sys.exit(f"geounet needs Python 3.11 or newer, this is {sys.version.split()[0]}; name another: make PYTHON=python3.12" if sys.version_info < (3, 11) else 0)'
	$(PYTHON) -m venv $(VENV)
