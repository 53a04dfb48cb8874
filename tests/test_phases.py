"""What has the tests of phases run on a GPU: every phase that they import goes there with its frames, and comes back.

A device that copies frames, and knows its own, stands in for one here.
"""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import Any

import pandas as pd
import phases
import pytest
from kinds import chosen_kinds
from pandas.testing import assert_frame_equal

from nemocc_dask.admit import admit
from nemocc_dask.preprocess import split_documents
from nemocc_dask.route import quality_routes, route

HERE = Path(__file__).parent
WITHOUT_FRAMES = {
    "Route", "Routed", "quality_routes", "check_tokenizer", "recipe_of", "language_rows", "Requests", "Cleaning",
    "CLEANING", "HIGH_QUALITY_TASKS", "LOW_QUALITY_TASKS", "max_segment_tokens", "Recipe", "Hooks", "routes_of",
}  # fmt: skip
"""What tests may import of the phases' rooms that is given no frame, and so runs nowhere else."""


class Elsewhere(pd.DataFrame):
    """A frame on the device. What pandas makes of one is still one."""

    @property
    def _constructor(self) -> type[Elsewhere]:
        return Elsewhere


class Copies:
    """A device whose frames are copies, and that notes what comes and goes."""

    def __init__(self) -> None:
        self.put_there: list[int] = []
        self.came_back: list[int] = []

    def put(self, frame: pd.DataFrame) -> Elsewhere:
        self.put_there.append(len(frame))
        return Elsewhere(frame.copy(deep=True))

    def back(self, frame: pd.DataFrame) -> pd.DataFrame:
        self.came_back.append(len(frame))
        return pd.DataFrame(frame.copy(deep=True))


def files() -> dict[str, list[str]]:
    """Test file → the names that it imports from the rooms of phases."""
    rooms = {room.__name__ for room in phases.ROOMS}
    trees = {str(path.relative_to(HERE)): ast.parse(path.read_text("utf-8")) for path in sorted(HERE.rglob("*.py"))}
    return {
        name: [
            alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module in rooms
            for alias in node.names
        ]
        for name, tree in trees.items()
    }


IMPORTED = {file: names for file, names in files().items() if names}


@pytest.mark.parametrize("file", IMPORTED)
def test_no_phase_is_left_behind(file: str) -> None:
    """What a test file imports from the rooms of phases is a phase that is moved, or is known to take no frame."""
    moved = {phase.__name__ for phase in phases.PHASES}
    assert set(IMPORTED[file]) <= moved | WITHOUT_FRAMES
    assert not moved & WITHOUT_FRAMES


@pytest.mark.parametrize("file", ["test_admit", "test_route", "test_preprocess", "test_segmenting", "test_generate",
                                  "test_postprocess", "test_joining", "test_known_mistakes_in_texts"])  # fmt: skip
def test_the_phases_of_a_test_file_are_moved_and_put_back(file: str) -> None:
    """Each phase in the namespace of a file of tests is replaced by one that moves frames, and is itself afterwards."""
    module = importlib.import_module(file)
    before = phases.imported_by(module)
    assert {name for name in IMPORTED[f"{file}.py"] if name not in WITHOUT_FRAMES} == set(before) != set()
    with pytest.MonkeyPatch.context() as patch:
        phases.move(module, Copies(), patch)
        assert phases.imported_by(module) == {}
        assert {name: inspect.unwrap(getattr(module, name)) for name in before} == before
    assert phases.imported_by(module) == before


DOCUMENTS = pd.DataFrame({"id": [1, 1, 2], "text": ["a", "b", "c\nd"], "quality_score": [3, 4, 15]}, index=[5, 6, 7])


def test_frames_go_there_and_come_back() -> None:
    """Each frame that is given goes to the device once, all frames of a result come back, and rows are the same."""
    device = Copies()
    outcome = phases.on(device, admit)(DOCUMENTS)
    assert device.put_there == [3] and device.came_back == [2, 1]
    assert {type(frame) for frame in (outcome.kept, *outcome.rejected)} == {pd.DataFrame}
    assert_frame_equal(outcome.kept, admit(DOCUMENTS).kept)
    assert_frame_equal(outcome.rejected[0], admit(DOCUMENTS).rejected[0])

    routed = phases.on(device, route)(frame=DOCUMENTS, routes=quality_routes())
    expected = route(DOCUMENTS, quality_routes())
    assert [(task, type(frame), len(frame)) for task, frame in routed.by_task] == [
        (task, pd.DataFrame, len(frame)) for task, frame in expected.by_task
    ]


def test_the_phase_sees_the_frame_of_the_device() -> None:
    """What runs is the phase itself, on the device's frame and not on the test's."""
    seen: list[Any] = []

    def phase(frame: Any, other: str) -> Any:
        seen.append(frame)
        return [frame, other]

    frame, other = phases.on(Copies(), phase)(DOCUMENTS, other="as it is")
    assert type(seen[0]) is Elsewhere and type(frame) is pd.DataFrame and other == "as it is"


class Nullable(Copies):
    """A device on which every integer may be missing, as on a GPU."""

    def back(self, frame: pd.DataFrame) -> pd.DataFrame:
        back = super().back(frame)
        return back.astype({name: "Int64" for name in back if pd.api.types.is_integer_dtype(back[name].dtype)})


def test_columns_come_back_as_they_were() -> None:
    """Columns that were given have their dtypes again, and those that may miss a number are nullable everywhere."""
    lines = phases.on(Nullable(), split_documents)(DOCUMENTS)
    assert lines.dtypes[DOCUMENTS.columns].to_dict() == DOCUMENTS.dtypes.to_dict()
    rejected = phases.on(Copies(), lambda frame: frame.assign(status=1))(DOCUMENTS)
    assert str(rejected["status"].dtype) == "Int64"


def test_this_run_moves_phases_where_it_says_so(request: pytest.FixtureRequest) -> None:
    """This file imports phases: they are pandas' own, or moved where `--frames` names cuDF."""
    moved = getattr(request.node, "callspec", None) is not None
    assert moved == bool({"cudf", "lists"} & {*chosen_kinds(request.config)})
    assert (admit in phases.PHASES) == (not moved or request.node.callspec.params["where_phases_run"] == "pandas")
