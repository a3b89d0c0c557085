# make demo and make test are all that a newcomer needs; both make the environment first, and a second run reuses it.
# Only relative paths, and modules instead of scripts: the folder's own path may then hold a space.

VENV := .venv
PY := $(VENV)/bin/python
INSTALL := $(PY) -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable
WORKERS ?= 2
# every module of paper_figs draws one, but for the page that they share
FIGURES := $(filter-out __init__ page,$(basename $(notdir $(wildcard paper_figs/*.py))))

# the first Python on the path that is new enough; name another with: make PYTHON=/path/to/python test
PYTHON ?= $(shell for p in python3 python3.14 python3.13 python3.12 python3.11; do \
	$$p -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$p && break; done)

# one thread for each worker: two workers on two cores
export OMP_NUM_THREADS := 1
export OPENBLAS_NUM_THREADS := 1
export MKL_NUM_THREADS := 1
# pyright: the release that is installed, without asking for a newer one
export PYRIGHT_PYTHON_IGNORE_WARNINGS := 1

.PHONY: help demo test lint docs figures bench clean
.DELETE_ON_ERROR:

help: ## these lines
	@sed -n 's/^\([a-z]*\):.*## /  make \1	/p' Makefile

demo: $(VENV)/.core ## write a solver, verify it, sample with it, and make its report (no torch)
	@$(PY) -m diffode.cli demo

test: lint $(VENV)/.dev ## lint, types, layers, spelling, docs and all tests
	$(PY) -m pytest --numprocesses $(WORKERS) --dist worksteal

lint: $(VENV)/.dev ## ruff, pyright, import-linter, codespell
	$(PY) -m ruff check
	$(PY) -m ruff format --check
	$(PY) -m pyright
	$(PY) -c 'from importlinter.cli import lint_imports_command as lint; lint()' --no-logo
	$(PY) -m codespell_lib

docs: $(VENV)/.dev ## run what the README and docs/ show, and follow their links
	$(PY) -m pytest tests/test_docs.py

figures: $(VENV)/.core ## draw the figures of a paper into paper_figs/out
	@for figure in $(FIGURES); do $(PY) -m paper_figs.$$figure || exit 1; done

bench: $(VENV)/.bench ## time what diffode itself costs
	$(PY) benchmarks/overhead.py --fast --quiet

clean: ## remove the environment and all that can be made again
	rm -rf $(VENV) build dist .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# --- the environment -------------------------------------------------------------------------------------

$(PY):
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || \
	{ echo "diffode needs Python 3.11 or newer; name one: make PYTHON=/path/to/python" >&2; exit 1; }
	@"$(PYTHON)" -m venv $(VENV) || \
	{ rm -rf $(VENV); echo "no environment in $(VENV); on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(VENV)/.core: pyproject.toml constraints.txt | $(PY)
	@echo "installing diffode into $(VENV), once (a minute or two)"
	@$(INSTALL) '.[plot]'
	@touch $@

$(VENV)/.dev: pyproject.toml constraints.txt | $(PY)
	@echo "installing diffode and all that its tests need into $(VENV), once (a few minutes)"
	@$(INSTALL) '.[dev]'
	@touch $@ $(VENV)/.core

$(VENV)/.bench: pyproject.toml constraints.txt | $(PY)
	@$(INSTALL) '.[bench]'
	@touch $@
