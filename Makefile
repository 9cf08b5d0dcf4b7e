# Two commands for a newcomer: `make demo` and `make test`. Each sets up what it needs by itself.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=

.PHONY: demo test test-full live lint fuzz bench docs screenshots lock clean

demo: $(VENV)/.ready
	$(BIN)/python -m bot.demo $(ARGS)

test: $(VENV)/.ready
	PYTHON=$(BIN)/python sh tests/run.sh

test-full: $(VENV)/.ready
	PYTHON=$(BIN)/python sh tests/run.sh --full

# Asks every provider whose key is set; costs cents.
live: $(VENV)/.ready
	ORCHESTRATOR_LIVE=1 $(BIN)/python -m pytest -q tests/live

lint: $(VENV)/.ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

# Hostile input for every parser, with coverage: `make fuzz ARGS="command spec --seconds 600"`.
fuzz: $(VENV)/.ready
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements-fuzz.txt
	$(BIN)/python -m tests.fuzz $(ARGS)

# All of them, or some: `make bench ARGS="load soak"`.
bench: $(VENV)/.ready
	$(BIN)/python -m benchmarks $(ARGS)

# The generated tables of the documents, the public API and the codes as data, and the schema of the report.
docs: $(VENV)/.ready
	$(BIN)/python -m docs.generate

# The pictures of the documents; needs Debian's chromium and fonts-noto-color-emoji.
screenshots: $(VENV)/.ready
	$(BIN)/python -m docs.screenshots

# The requirements with hashes that the image, the Action and the virtual environment are installed from.
lock: $(VENV)/.ready
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 pyproject.toml -o requirements.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --group dev pyproject.toml -o requirements-dev.txt
	$(BIN)/uv pip compile --quiet --universal --generate-hashes --no-header --no-annotate \
		--python-version 3.11 --group pyproject.toml:fuzz -o requirements-fuzz.txt

$(VENV)/.ready: requirements-dev.txt pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --no-compile --no-deps --require-hashes \
		-r requirements-dev.txt
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
