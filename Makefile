# Two commands matter: `make demo` does the main job, `make test` runs the test suite.
# Each installs what it needs into .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test check format nightly bench distill lock generate vectors clean

demo: $(VENV)/.demo
	$(BIN)/engram demo

# Two processes, since most tests wait for a server, a disk or a child; the tests of one file stay together.
test: $(VENV)/.dev
	$(BIN)/python -m pytest -m "not nightly" --numprocesses 2 --dist loadfile

nightly: $(VENV)/.dev
	$(BIN)/python -m pytest -m nightly

# What the recurrent tiers of `engram distill` need besides; with it, `make test` runs their tests too.
distill: $(VENV)/.distill

check: $(VENV)/.dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint
	$(BIN)/python proto/generate.py --check

format: $(VENV)/.dev
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(VENV)/.dev
	$(BIN)/python bench/all.py

generate: $(VENV)/.dev
	$(BIN)/python proto/generate.py

vectors: $(VENV)/.dev
	$(BIN)/python archive_format/vectors/make.py

# The lock files pin every package by hash; `uv` resolves them for every Python from 3.11 on.
lock: $(VENV)/.dev
	$(PIP) install uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --extra demo --extra dev --output-file requirements-dev.lock pyproject.toml
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	  --no-emit-index-url --no-emit-find-links --extra demo --constraint requirements-dev.lock \
	  --output-file requirements.lock pyproject.toml .ci/build-system.in

$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.demo: requirements.lock pyproject.toml | $(VENV)/.made
	$(PIP) install --require-hashes --no-deps -r requirements.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@

$(VENV)/.dev: requirements-dev.lock pyproject.toml | $(VENV)/.made
	$(PIP) install --require-hashes --no-deps -r requirements-dev.lock
	$(PIP) install --no-deps --no-build-isolation --editable .
	touch $@ $(VENV)/.demo

$(VENV)/.distill: requirements-distill.lock | $(VENV)/.dev
	$(PIP) install -r requirements-distill.lock
	touch $@

clean:
	rm -rf $(VENV) dist
