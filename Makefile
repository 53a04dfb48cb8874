# Each target makes its own virtual environment and installs what it needs; nothing has to be there but Python.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
SERVERS_VENV := .venv-servers
GPU_VENV := .venv-gpu
CONSTRAINTS ?= constraints.txt
OPERATOR := 'dask-kubernetes>=2026.3'
BUILT_FROM := pyproject.toml hatch_build.py $(wildcard nemocc_dask/text/native/*.[ch])
TEST_PROCESSES ?= 4
PHASE_TESTS := admit route preprocess segmenting generate postprocess joining known_mistakes_in_texts phases
GPU_TESTS := tests/text tests/job/test_gpu.py tests/test_accessor.py tests/test_on_gpus.py tests/test_benchmark_gpu.py $(PHASE_TESTS:%=tests/test_%.py)
ASK_FOR_A_GPU := from nemocc_dask.devices import cuda_devices; cuda_devices() or exit("There is no CUDA device here.")

.PHONY: demo test test-cluster test-servers test-gpu lint bench bench-gpu driver clean

demo: $(VENV)/.core
	$(BIN)/nemocc-dask demo

# Most tests wait more than they work, so several run at once; who is done takes over what another has still to do.
test: $(VENV)/.test $(VENV)/.kubernetes
	$(BIN)/pytest --numprocesses $(TEST_PROCESSES) --dist worksteal $(PYTEST_ARGS)

# Hosts as network namespaces with links that are cut, Slurm's runner, workers and schedulers that end: a minute each.
test-cluster: $(VENV)/.test
	$(BIN)/pytest -m cluster tests/cluster $(PYTEST_ARGS)

# Against `transformers serve`; torch and what it brings along take 5.5 GB.
test-servers: $(SERVERS_VENV)/.servers
	$(SERVERS_VENV)/bin/pytest tests/servers $(PYTEST_ARGS)

# The same tests of kernels, phases and methods, and a job, with text in the memory of a GPU; RAPIDS takes 4 GB.
test-gpu: driver $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python -c '$(ASK_FOR_A_GPU)'
	$(GPU_VENV)/bin/pytest --frames=cudf $(GPU_TESTS) $(PYTEST_ARGS)

lint: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror nemocc_dask/text/native/*.[ch]
	$(BIN)/mypy

bench: $(VENV)/.test
	$(BIN)/python benchmarks/bench.py $(BENCH_ARGS)

bench-gpu: driver $(GPU_VENV)/.gpu
	$(GPU_VENV)/bin/python benchmarks/gpu.py $(BENCH_ARGS)

# Before RAPIDS is installed for nothing.
driver:
	@$(PYTHON) -c 'import ctypes; ctypes.CDLL("libcuda.so.1")' 2>/dev/null || { echo "There is no CUDA driver here (libcuda.so.1): this needs an NVIDIA GPU." >&2; exit 1; }

$(VENV)/.core: $(BUILT_FROM) $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable .
	touch $@

$(VENV)/.test: $(BUILT_FROM) $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test]'
	touch $(VENV)/.core $@

# Of the Dask operator for Kubernetes its files alone, and apart: a recipe is checked against its schema.
$(VENV)/.kubernetes: $(VENV)/.test
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --upgrade --target $(VENV)/dask-kubernetes $(OPERATOR)
	touch $@

$(SERVERS_VENV)/.servers: $(BUILT_FROM) $(CONSTRAINTS)
	$(PYTHON) -m venv $(SERVERS_VENV)
	$(SERVERS_VENV)/bin/pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS) --editable '.[test,servers]'
	touch $@

# Without the constraints: RAPIDS says itself which versions it goes with.
$(GPU_VENV)/.gpu: $(BUILT_FROM)
	$(PYTHON) -m venv $(GPU_VENV)
	$(GPU_VENV)/bin/pip install --quiet --disable-pip-version-check --editable '.[test,gpu]'
	touch $@

clean:
	rm -rf $(VENV) $(SERVERS_VENV) $(GPU_VENV) build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis
