# `make up` and `make test` are all a newcomer needs; every target makes .venv first when it has to.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: setup up test check bench compat chaos soak lock

setup: $(STAMP)

$(STAMP): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Pointsman needs Python 3.11 or newer; name one with: make PYTHON=python3.12 $(MAKECMDGOALS)")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

up: setup
	@$(BIN)/pointsman up

test: setup
	@$(BIN)/pytest

check: setup
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/pyright
	@$(BIN)/pytest -q tests/architecture

bench: setup
	@$(BIN)/python -m benchmarks

# The real client of LiteLLM, in an environment of its own: it is no dependency of this project.
COMPAT ?= .compat
compat: setup
	@test -x $(COMPAT)/bin/litellm-proxy || { $(PYTHON) -m venv $(COMPAT) && $(COMPAT)/bin/pip install --quiet --disable-pip-version-check -r tests/compat/requirements.txt && $(COMPAT)/bin/pip install --quiet --disable-pip-version-check --no-deps litellm==1.109.1; }
	@$(BIN)/python -m tests.compat.official_client $(COMPAT)/bin

# Breaks a real Pointsman for a while, then says what came of it.
chaos: setup
	@$(BIN)/python -m tests.chaos --seconds 300

soak: setup
	@$(BIN)/python -m tests.chaos --seconds 86400

# One for development, and for the embedded stack; and the part of it that an image needs.
COMPILE := $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-header --no-annotate --no-emit-index-url --quiet
lock: setup
	@$(COMPILE) --extra embedded --group dev --output-file requirements.lock
	@sed -n 's/^\([a-z0-9][^ ]*\).*/\1/p' requirements.lock > $(VENV)/versions
	@$(COMPILE) --constraint $(VENV)/versions --output-file requirements.production.lock
