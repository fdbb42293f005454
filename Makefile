# Needs nothing but make and Python 3.11 or newer. Each stamp in .venv says that a step is done; a change of
# pyproject.toml repeats the installs.

PYTHON ?= python3
JOBS ?= 2

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
PYTEST := $(BIN)/python -m pytest

# the emulator compiles the kernels for the CPU: without a compiler on the PATH, the one in the ziglang wheel does it
COMPILER := $(shell command -v c++ || command -v g++ || command -v clang++)
comma := ,
TEST_EXTRAS := test$(comma)nvrtc$(comma)nvrtc12$(comma)static$(if $(COMPILER),,$(comma)zig)

.PHONY: test test-all check static demo mutants planner-mutants

test: $(VENV)/.test $(VENV)/.browser
	$(PYTEST) -n $(JOBS)

test-all: $(VENV)/.test $(VENV)/.browser
	$(PYTEST) -n $(JOBS) -m "not gpu"

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(PYTEST) -q tests/test_imports.py

static: $(VENV)/.test
	$(BIN)/python -m tests.static

demo: $(VENV)/.package
	$(BIN)/gpunet plan vgg16 --batch 64
	$(BIN)/gpunet train vgg_digits

mutants: $(VENV)/.test
	$(BIN)/python tests/mutants.py $(NAME)

planner-mutants: $(VENV)/.test
	$(BIN)/python -m tests.planner_mutants $(NAME)

$(VENV)/.created:
	$(PYTHON) -c "import sys; sys.version_info < (3, 11) and sys.exit('gpunet needs Python 3.11 or newer, this is ' + sys.version.split()[0] + ': make PYTHON=python3.12')"
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.package: pyproject.toml $(VENV)/.created
	$(PIP) -e .
	touch $@

$(VENV)/.test: $(VENV)/.package
	$(PIP) -e ".[$(TEST_EXTRAS)]"
	touch $@

# pages are tested in a browser, too: Debian's, fetched where this is Debian, we may install and there is none
$(VENV)/.browser: $(VENV)/.test
	@command -v chromium >/dev/null || { grep -qs '^ID=debian' /etc/os-release && [ "$$(id -u)" = 0 ] \
	  && { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends chromium; } >/dev/null 2>&1; } \
	  || echo "there is no chromium, and none could be installed: the tests of pages in a browser are skipped"
	touch $@

$(VENV)/.dev: $(VENV)/.test
	$(PIP) -e ".[dev]"
	touch $@
