# Two commands for a fresh machine: `make demo` runs the whole pipeline on synthetic scans, `make test` runs the tests.
# Both set up what they need: in the active virtual environment, or in .venv where none is active.

PYTHON ?= python3
ENVIRONMENT := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(ENVIRONMENT)/bin
INSTALLED := $(ENVIRONMENT)/.nnunet-genesis-installed
DEMO_OUTPUT ?= demo_report

.PHONY: demo test lint format bench

demo: $(INSTALLED)
	$(BIN)/genesis demo --output $(DEMO_OUTPUT)

test: $(INSTALLED)
	$(BIN)/python -m pytest

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.pairs --save
	$(BIN)/python -m benchmarks.scaling --save
	$(BIN)/python -m benchmarks.reading --save
	$(BIN)/python -m benchmarks.loader_memory --save
	$(BIN)/python -m benchmarks.feeding --save feeding

$(INSTALLED): pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT)
	@echo "Installing nnU-Net, torch and this package into $(ENVIRONMENT): about 3 minutes and 6 GB the first time."
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
	touch $@
