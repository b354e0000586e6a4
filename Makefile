# Two commands do all the set-up: `make demo` and `make test`. Both need Python 3.11+, make and git.
SHELL := /bin/bash
VENV := .venv
BIN := $(VENV)/bin

# The first Python that runs and is new enough; PYTHON=... overrides it.
PYTHON ?= $(shell for python in python3 python3.13 python3.12 python3.11; do \
	$$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $$python && break; done)

# DVC's stages run `python`: PATH must lead to this one.
export PATH := $(CURDIR)/$(BIN):$(PATH)
unexport PYTHONPATH PYTHONHOME

# Install with pip: a dot for each package, and pip's own log only if it fails.
define install
@log=$$(mktemp); set -o pipefail; \
$(BIN)/python -m pip install --disable-pip-version-check --progress-bar off -c constraints.txt -e $(1) 2>&1 \
| tee $$log | while IFS= read -r line; do case $$line in \
	Collecting*) printf .;; "Installing collected"*) printf ' unpacking';; esac; done \
&& { echo " done"; rm $$log; } \
|| { echo " failed"; grep -v "^WARNING: Location" $$log; echo "error: pip failed; its log is above and in $$log"; exit 1; } >&2
endef

.PHONY: help demo test test-fast browser lint docs constraints clean
help:
	@echo "make demo         install, then run the whole pipeline offline on small synthetic data"
	@echo "make test         install, then run the linters, the type checker and all tests"
	@echo "make test-fast    install, then run the tests that need no browser and no full run"
	@echo "make lint         format the code and fix what the linter can fix"
	@echo "make docs         write docs/reference.md from the code"
	@echo "make browser      install Chromium for the tests of the pages, if this user may"
	@echo "make constraints  write constraints.txt from the installed versions"
	@echo "make clean        remove the virtual environment and caches (never data)"

demo: $(VENV)/installed
	@kalai demo

test: $(VENV)/installed-test browser
	ruff check
	ruff format --check
	mypy
	lint-imports --no-logo
	pytest -n 2

test-fast: $(VENV)/installed-test
	ruff check
	pytest -n 2 -m "not slow"

# Tests of the pages drive a real Chromium: Debian's, if this user may install it.
browser:
	@command -v chromium chromium-browser google-chrome > /dev/null && exit 0; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "== installing Chromium for the tests of the pages"; \
		apt-get -qq update > /dev/null; \
		DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium > /dev/null && exit 0; \
	fi; \
	echo "note: Chromium is not installed, so tests in a browser are skipped; on Debian: sudo apt-get install chromium"

lint: $(VENV)/installed-test
	ruff check --fix
	ruff format

docs: $(VENV)/installed
	python -m docs.reference

$(VENV)/bin/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.11 or newer found; install one, or run make PYTHON=/path/to/python" >&2; exit 1; }
	@echo "== creating a virtual environment with $$($(PYTHON) --version) in $(VENV)"
	@$(PYTHON) -m venv $(VENV)

$(VENV)/installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "== installing the versions in constraints.txt: about 6 GB and 3 minutes, most of it torch"
	$(call install,.)
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "== installing what the tests need: about a minute"
	$(call install,'.[test]')
	@touch $@

constraints: $(VENV)/installed-test
	{ echo "# Versions that were tested together; pip install -c constraints.txt. Rewritten by \`make constraints\`."; \
	  $(BIN)/python -m pip freeze --exclude-editable; } > constraints.txt.part
	mv constraints.txt.part constraints.txt

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
