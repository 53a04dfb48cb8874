"""The benchmark of cuDF: it tells what it takes, and where there is no GPU it says so in one line."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from nemocc_dask.devices import cuda_devices

BENCHMARK = Path(__file__).resolve().parents[1] / "benchmarks" / "gpu.py"
RESULTS = BENCHMARK.with_name("RESULTS.md")
TIMEOUT_S = 60


def _run(*options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(BENCHMARK), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def test_help_tells_what_it_takes() -> None:
    """--help names the amount of text and where figures are kept."""
    done = _run("--help")
    assert done.returncode == 0 and "--megabytes" in done.stdout and "--results" in done.stdout


@pytest.mark.skipif(cuda_devices() > 0, reason="there is a CUDA device")
def test_without_a_gpu_it_says_so_and_keeps_nothing() -> None:
    """One line says that nothing was measured; the exit code is not 0, and no figure is written."""
    before = RESULTS.read_bytes()
    done = _run("--megabytes", "1")
    assert done.returncode != 0 and done.stdout == ""
    assert done.stderr.count("\n") == 1 and "there is no CUDA device" in done.stderr
    assert RESULTS.read_bytes() == before


@pytest.mark.skipif(cuda_devices() == 0, reason="there is no CUDA device")
def test_every_kernel_has_its_row() -> None:
    """On a GPU, a small run prints the table with a row for each kernel."""
    done = _run("--megabytes", "1", "--repeats", "1", "--no-append")
    assert done.returncode == 0, done.stderr
    assert all(f"| {name} " in done.stdout for name in ("split", "join", "pack", "remove_lines", "normalize_bullets"))
