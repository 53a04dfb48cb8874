# Each target makes its own virtual environment and installs what it needs; nothing has to be there but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVERS_VENV := .venv-servers
CONSTRAINTS ?= constraints.txt
TEST_PROCESSES ?= 3

.PHONY: demo test test-servers lint bench clean

demo: $(VENV)/.core
	$(BIN)/nemocc-dask demo

# Most tests wait more than they work, so several run at once.
test: $(VENV)/.test
	$(BIN)/pytest --numprocesses $(TEST_PROCESSES) $(PYTEST_ARGS)

# Against `transformers serve`; torch and what it brings along take 5.5 GB.
test-servers: $(SERVERS_VENV)/.servers
	$(SERVERS_VENV)/bin/pytest tests/servers $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

$(VENV)/.core: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable .
	touch $@

$(VENV)/.test: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test]'
	touch $(VENV)/.core $@

$(SERVERS_VENV)/.servers: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(SERVERS_VENV)
	$(SERVERS_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test,servers]'
	touch $@

clean:
	rm -rf $(VENV) $(SERVERS_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
