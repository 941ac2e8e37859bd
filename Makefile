# Two commands for a fresh machine: `make demo` runs the whole pipeline on synthetic scans, `make test` runs the tests.
# Both set up what they need: in the active virtual environment, or in .venv where none is active.

PYTHON ?= python3
ENVIRONMENT := $(if $(VIRTUAL_ENV),$(VIRTUAL_ENV),.venv)
BIN := $(ENVIRONMENT)/bin
INSTALLED := $(ENVIRONMENT)/.nnunet-genesis-installed
DEMO_OUTPUT ?= demo_report

# Releases of nnU-Net that `make test-versions` runs the tests against, each in an environment of its own (6 GB each).
NNUNET_VERSIONS ?= 2.6.4 newest

# In CI the versions of requirements.lock are installed, each with its checksum; elsewhere the newest that fit.
LOCKED ?=

.PHONY: demo test test-slow torture test-versions lint lock format bench

demo: $(INSTALLED)
	$(BIN)/genesis demo --output $(DEMO_OUTPUT)

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-slow: $(INSTALLED)
	$(BIN)/python -m pytest -m slow

torture: $(INSTALLED)
	$(BIN)/python -m pytest tests/reliability --torture -m "slow or not slow"

test-versions:
	@set -e; for version in $(NNUNET_VERSIONS); do \
		environment=".venv-nnunetv2-$$version"; echo "== nnunetv2 $$version, in $$environment"; \
		case "$$version" in newest) package=nnunetv2;; *) package="nnunetv2==$$version";; esac; \
		test -x "$$environment/bin/python" || $(PYTHON) -m venv "$$environment"; \
		"$$environment/bin/python" -m pip install --quiet --upgrade "$$package" --editable ".[dev]"; \
		"$$environment/bin/python" -m pip list 2>/dev/null | grep -i -E "^(nnunetv2|torch) "; \
		"$$environment/bin/python" -m pytest tests/test_upstream.py tests/test_discovery.py tests/trainers tests/integration -m "slow or not slow"; \
	done

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python .ci/audit.py requirements.lock

# The versions that CI installs, for all systems and Pythons from 3.10 on, from the public index alone.
lock: $(INSTALLED)
	$(BIN)/uv pip compile pyproject.toml --extra dev --universal --python-version 3.10 --generate-hashes --upgrade \
		--no-config --default-index https://pypi.org/simple --no-annotate --quiet \
		--custom-compile-command "make lock" --output-file requirements.lock

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.pairs --save
	$(BIN)/python -m benchmarks.elastic --save
	$(BIN)/python -m benchmarks.scaling --save
	$(BIN)/python -m benchmarks.reading --save
	$(BIN)/python -m benchmarks.loader_memory --save
	$(BIN)/python -m benchmarks.feeding --save feeding

$(INSTALLED): pyproject.toml $(if $(LOCKED),requirements.lock)
	test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT)
	@echo "Installing nnU-Net, torch and this package into $(ENVIRONMENT): about 3 minutes and 6 GB the first time."
ifeq ($(LOCKED),)
	$(BIN)/python -m pip install --quiet --editable ".[dev]"
else
	@# An index that does not have a version (a mirror of another day) is no reason to test nothing; a wrong checksum is.
	@if said=$$($(BIN)/python -m pip install --quiet --require-hashes --requirement requirements.lock 2>&1); \
	then $(BIN)/python -m pip install --quiet --no-deps --editable .; \
	elif echo "$$said" | grep -q "No matching distribution found"; then echo "$$said" | tail -3; \
		echo "*** NOT LOCKED: this index lacks a version of requirements.lock. Installing the newest that fit."; \
		$(BIN)/python -m pip install --quiet --editable ".[dev]"; \
	else echo "$$said"; exit 1; fi
endif
	touch $@
