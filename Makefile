# Two commands do all the set-up: `make demo` and `make test`. Both need Python 3.11+, make and git.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin

# The first Python that runs and is new enough; PYTHON=... overrides.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# DVC's stages call `python`: ours.
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONPATH PYTHONHOME

.PHONY: help demo test browser lint docs constraints clean
help:
	@echo "make demo         install, then run the whole pipeline offline on a small drawn world"
	@echo "make test         install, then lint, check types and run every test"
	@echo "make docs         write docs/reference.md from the code"
	@echo "make browser      install the Chromium that tests of the pages drive, where this user may"
	@echo "make lint         format and fix what can be fixed"
	@echo "make constraints  write constraints.txt from what is installed"
	@echo "make clean        remove the virtual environment and caches (never data)"

demo: $(VENV)/installed
	kalai demo

test: $(VENV)/installed-test browser
	ruff check
	ruff format --check
	mypy
	pytest -n 2 --dist loadfile --no-loadscope-reorder

# The pages are tested in a real Chromium: Debian's, where this user may install it.
browser:
	@command -v chromium chromium-browser google-chrome > /dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "== installing Chromium for the tests of the pages"; \
		apt-get -qq update > /dev/null; \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium > /dev/null && exit 0; \
	fi; \
	echo "note: no Chromium, so what tests the pages in a browser is skipped; on Debian: sudo apt-get install chromium"

lint: $(VENV)/installed-test
	ruff check --fix
	ruff format

docs: $(VENV)/installed
	python -m docs.reference

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; install one, or say make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "== a virtual environment with $$($(PYTHON) --version) in $(VENV)"
	$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing what is pinned in constraints.txt: about 6 GB and 3 minutes, most of it torch"
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[test]'
	@touch $@

constraints: $(VENV)/installed-test
	{ echo "# Versions that were tested together; pip install -c constraints.txt. Rewritten by \`make constraints\`."; \
	  $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt.part
	mv constraints.txt.part constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
