"""The benchmark: a small run of it prints every table, and keeps them only where it should."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"
RESULTS = BENCHMARKS / "RESULTS.md"
TITLES = ("Counting the tokens of every document", "Preprocessing", "Postprocessing", "Requests", "Whole jobs")
TIMEOUT_S = 480
"""Far beyond what it takes: some twenty processes start, which a busy machine makes slow."""


def _bench(*options: str | Path) -> str:
    """What a small run prints."""
    command = [sys.executable, str(BENCHMARKS / "bench.py"), "--small", *map(str, options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def _rows(printed: str, title: str) -> list[list[str]]:
    """The cells of a table, headings first."""
    table = printed.partition(f"### {title}\n")[2].partition("###")[0]
    lines = [line for line in table.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture(scope="module")
def printed(tokenizer_file: Path) -> str:
    before = RESULTS.read_bytes()
    output = _bench("--no-append", "--tokenizer", tokenizer_file)
    assert RESULTS.read_bytes() == before
    return output


@pytest.mark.parametrize("title", TITLES)
def test_each_part_prints_a_table(printed: str, title: str) -> None:
    """Every part runs, and its rows have a cell for each heading."""
    headings, *rows = _rows(printed, title)
    assert rows and all(len(row) == len(headings) for row in rows)


def test_counts_agree_with_hugging_face(printed: str) -> None:
    """The benchmark compares counts of tokens that are the same."""
    assert "counts that differ from its own: 0 of" in printed


def test_a_job_sends_as_many_requests_as_it_needs(printed: str) -> None:
    """Without faults, nothing is sent twice."""
    headings, *jobs = _rows(printed, "Whole jobs")
    assert [job[headings.index("requests")] for job in jobs] == [job[headings.index("sent")] for job in jobs]


def test_it_names_the_machine_but_not_its_host_or_paths(printed: str) -> None:
    """What is kept can be published."""
    assert "cores" in printed and "Python" in printed
    assert str(BENCHMARKS.parent) not in printed and str(Path.home()) not in printed


def test_a_run_is_appended_to_the_file_of_results(tokenizer_file: Path, tmp_path: Path) -> None:
    """Figures are added at the end of the file; what was there stays."""
    kept = tmp_path / "RESULTS.md"
    kept.write_text("# Earlier\n", encoding="utf-8")
    printed = _bench("--part", "counting", "--tokenizer", tokenizer_file, "--results", kept, "--note", "A remark.")
    text = kept.read_text(encoding="utf-8")
    assert text.startswith("# Earlier\n") and "- A remark." in text
    assert _rows(text, TITLES[0]) == _rows(printed, TITLES[0])
