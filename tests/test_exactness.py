"""The check of exactness: a small run of it finds nothing, and finds what there is to find."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "exactness.py"
TIMEOUT_S = 120


def run(*options: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(SCRIPT), *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


def rows(printed: str) -> list[dict[str, str]]:
    lines = [line for line in printed.splitlines() if line.startswith("| ")]
    headings, *cells = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return [dict(zip(headings, each, strict=True)) for each in cells]


def test_a_small_run_finds_every_count_exact(chat_tokenizer_directory: Path, tmp_path: Path) -> None:
    """Random documents through five tasks: prompts there are, and none over budget, and no count that differs."""
    done = run("--small", "--tokenizer", chat_tokenizer_directory, "--results", tmp_path / "RESULTS.md")
    assert done.returncode == 0, done.stdout + done.stderr
    found = rows(done.stdout)
    assert len(found) == 5 and all(int(row["prompts"].replace(",", "")) > 50 for row in found)
    assert {row[name] for row in found for name in row if name.startswith(("over", "differing"))} == {"0"}
    assert rows((tmp_path / "RESULTS.md").read_text(encoding="utf-8")) == found


@pytest.fixture
def untold(chat_tokenizer_directory: Path, monkeypatch: pytest.MonkeyPatch):
    """The check's functions, as another benchmark would import them, and the small tokenizer."""
    monkeypatch.syspath_prepend(str(SCRIPT.parent))
    import exactness

    return exactness, PreTrainedTokenizerFast.from_pretrained(chat_tokenizer_directory)


def test_prompts_over_budget_and_wrong_counts_are_found(untold) -> None:
    """A counter of another tokenizer, one that takes digits for less, is caught in prompts, segments and documents."""
    exactness, tokenizer = untold
    documents = exactness.random_documents(12, seed=1)
    task = exactness.DOCUMENT_TASKS[0]
    exact = exactness.checked(task, documents, exactness.TokenCounter(tokenizer), exactness.HuggingFace(tokenizer))
    other = exactness.checked(task, documents, exactness.TokenCounter(), exactness.HuggingFace(tokenizer))
    assert exact.prompts and not any((exact.over_budget, exact.differing_segments, exact.differing_documents))
    assert other.over_budget and other.differing_segments and other.differing_documents
