# Everything happens in .venv; `make clean test PYTHON=python3.13` starts over with another Python.
PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
BENCH := .venv-bench
PIP = $(@D)/bin/python -m pip --disable-pip-version-check --quiet

.PHONY: demo chat test lint docs bench clean
.DELETE_ON_ERROR:

demo: $(VENV)/.installed
	@$(BIN)/python examples/streaming_example.py $(ARGS)

chat: $(VENV)/.installed
	@$(PIP) install flask
	@$(BIN)/python examples/flask_chat/app.py $(ARGS)

test: $(VENV)/.installed-test
	@$(BIN)/python -m pytest $(ARGS)

lint: $(VENV)/.installed-test
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy

docs: $(VENV)/.installed-docs
	@$(BIN)/sphinx-build -W --keep-going -q -b html docs build/docs $(ARGS)
	@echo "build/docs/index.html"

bench: $(BENCH)/.installed
	@$(BENCH)/bin/python benchmarks/bench.py --write $(ARGS)

clean:
	rm -rf $(VENV) $(BENCH) build dist *.egg-info .coverage .coverage.* \
		.mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.created $(BENCH)/.created:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 9) and \
		"cloudllm-sync needs Python 3.9 or newer, this is %d.%d: say make demo PYTHON=python3.X" \
		% sys.version_info[:2])'
	@echo "Creating $(@D) ..."
	@$(PYTHON) -m venv --clear $(@D)
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

$(VENV)/.installed-docs: $(VENV)/.installed
	@echo "Installing what the documentation needs ..."
	@$(PIP) install --editable ".[docs]"
	@touch $@

# One by one: what does not install is left out, by name.
$(BENCH)/.installed: $(BENCH)/.created setup.cfg pyproject.toml benchmarks/requirements.txt
	@echo "Installing cloudllm-sync and its peers ..."
	@$(PIP) install "pip>=21.3"
	@$(PIP) install --editable .
	@sed 's/#.*//' benchmarks/requirements.txt | while read -r peer; do \
		[ -z "$$peer" ] || $(PIP) install "$$peer" </dev/null || echo "$$peer: left out"; \
	done
	@touch $@
