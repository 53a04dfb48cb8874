"""Jobs on faulty endpoints, which run in processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))  # the cases are those of the benchmark

from fault_cases import NONE, Case, Endpoints, Ran, run, write_documents  # noqa: E402


@pytest.fixture(scope="session")
def endpoints() -> Iterator[Endpoints]:
    """A process of simulated endpoints."""
    with Endpoints() as running:
        yield running


@pytest.fixture(scope="session")
def run_case(
    endpoints: Endpoints, tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Case, int], Ran]:
    """Runs a job of so many rows on an endpoint with the case's faults; the sound endpoint's only once."""

    @cache
    def documents(rows: int) -> Path:
        path = tmp_path_factory.mktemp("documents") / "in.parquet"
        write_documents(path, rows)
        return path

    def fresh(case: Case, rows: int) -> Ran:
        output = tmp_path_factory.mktemp("output") / "out"
        return run(case, endpoints, documents(rows), output, str(tokenizer_file))

    sound = cache(lambda rows: fresh(NONE, rows))
    return lambda case, rows: sound(rows) if case is NONE else fresh(case, rows)
