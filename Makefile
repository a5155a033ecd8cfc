# Everything happens in .venv; `make clean test PYTHON=python3.13` starts over with another Python.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

.PHONY: demo test lint clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/python examples/streaming_example.py $(ARGS)

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

clean:
	rm -rf $(VENV) build dist *.egg-info .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9) and \
		"cloudllm-sync needs Python 3.9 or newer, this is %d.%d: say make demo PYTHON=python3.X" \
		% sys.version_info[:2])'
	@echo "Creating $(VENV) ..."
	@$(PYTHON) -m venv --clear $(VENV)
	@touch $@

# Editable, so that a changed file needs no new installation; pip learned that for setup.cfg in 21.3.
$(VENV)/.installed: $(VENV)/.created setup.cfg pyproject.toml
	@echo "Installing cloudllm-sync ..."
	@$(PIP) install "pip>=21.3"
	@$(PIP) install --editable .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests need ..."
	@$(PIP) install --editable ".[test]"
	@touch $@
