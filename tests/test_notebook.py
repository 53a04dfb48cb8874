"""The notebook: it runs from top to bottom, and is kept without outputs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "first_steps.ipynb"
CELL_TIMEOUT_S = 60

# Warnings in this process are those of the client that talks to the kernel; the kernel's own arrive as its stderr.
pytestmark = pytest.mark.filterwarnings("default")

SURROUNDINGS = ("TqdmWarning", "from .autonotebook import tqdm")
"""Remarks on what is not installed beside the notebook (ipywidgets), none of its doing."""


@pytest.fixture(scope="module")
def stored() -> Any:
    notebook = nbformat.read(NOTEBOOK, as_version=nbformat.NO_CONVERT)
    nbformat.validate(notebook)
    return notebook


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    folder = str(tmp_path_factory.mktemp("notebook"))
    client = NotebookClient(notebook, timeout=CELL_TIMEOUT_S, resources={"metadata": {"path": folder}})
    return client.execute()


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _output(notebook: Any, cell_id: str) -> str:
    """What a cell shows, as text."""
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "\n".join(output.get("text") or output["data"]["text/plain"] for output in cell.outputs)


def test_it_is_kept_without_outputs(stored: Any) -> None:
    """No cell of the file holds an output or a number of execution, so a difference shows what was written."""
    assert [(cell.outputs, cell.execution_count) for cell in _code(stored)] == [([], None)] * len(_code(stored))


def test_every_cell_has_an_id_of_its_own(stored: Any) -> None:
    """Cells are told apart by their ids, not by their places."""
    ids = [cell.id for cell in stored.cells]
    assert len(set(ids)) == len(ids)


def test_it_runs_from_top_to_bottom_without_complaint(executed: Any) -> None:
    """Every cell runs in a fresh kernel, and none writes a warning."""
    lines = [
        line
        for cell in _code(executed)
        for output in cell.outputs
        if output.get("name") == "stderr"
        for line in output["text"].splitlines()
    ]
    assert [line for line in lines if line.strip() and not any(each in line for each in SURROUNDINGS)] == []


def test_it_shows_questions_with_their_answers(executed: Any) -> None:
    """What the chain is for can be seen: pairs after their segment, and as a table."""
    assert "\nAnswer: " in _output(executed, "postprocess")
    assert "question" in _output(executed, "pairs") and "answer" in _output(executed, "pairs")


def test_it_shows_how_far_it_is(executed: Any) -> None:
    """A cell with `progress` shows one line, which ends with all rows."""
    (line,) = [line for line in _output(executed, "synthesize").splitlines() if " rows so far, " in line]
    done, of, *_ = line.split()[::2]
    assert done == of != "0"


def test_its_job_is_done_and_sends_nothing_again(executed: Any) -> None:
    """The job at its end finishes, and run again finds all of it done."""
    assert "done" in _output(executed, "job")
    assert _output(executed, "job-again").strip() == "0 requests sent"
