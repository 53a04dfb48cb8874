"""Lines that only announce a passage go; all others stay."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import SettingError
from nemocc_dask.text.lines import PASSAGE_LABEL, remove_lines
from nemocc_dask.text.patterns import SPACE


@pytest.mark.parametrize(
    "line",
    [
        "Passage:",
        "Passage 3:",
        "**Passage 1:**",
        "## Passage 2",
        "PASSAGE #4",
        "  passage 12 : ",
        "**passage**:",
        "Passage.",
    ],
)
def test_passage_labels_go(kernels, line: str) -> None:
    """A line that only announces a passage goes, and so does the blank line it leaves at the start."""
    assert kernels.remove_lines([f"{line}\n\nIron rusts.", f"a\r\n{line}\r\nb"], PASSAGE_LABEL) == [
        "Iron rusts.",
        "a\r\nb",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Passage 1: Iron rusts.",
        "The passage:",
        "Passages:",
        " a \n\n b \n",
        "\n\na",
        "",
        "Passage of time",
        "Passage 1 2",
    ],
)
def test_rows_without_a_label_line_stay_byte_for_byte(kernels, text: str) -> None:
    """Words after the label, or other words, make it text; white space of untouched rows is not tidied."""
    assert kernels.remove_lines([text], PASSAGE_LABEL) == [text]


def test_only_ends_are_tidied(kernels) -> None:
    """Where a line goes, blank lines go at both ends; other lines keep their white space."""
    text = "Passage 1:\n\n  a \n\n\n b  \n\nPassage 2:\n"
    assert kernels.remove_lines([text, "Passage 1:\n \t"], PASSAGE_LABEL) == ["  a \n\n\n b  ", ""]


def test_any_pattern_matches_whole_lines(kernels) -> None:
    """Alternatives in the pattern are anchored as a whole."""
    assert kernels.remove_lines(["a\nab\nb\ncb"], "a|b") == ["ab\ncb"]


@pytest.mark.parametrize("rows", [[], [None], ["a"]])
def test_an_unreadable_pattern_is_a_setting_error(kernels, rows: list[str | None]) -> None:
    """The message names the pattern, even where there is no row to try it on."""
    with pytest.raises(SettingError, match=re.escape("'(unclosed'")):
        kernels.remove_lines(rows, "(unclosed")


@given(
    st.lists(
        st.lists(st.sampled_from(["xx", "\n", "\nxx\n", " ", "\xa0", "a", "\t\n", "\r\n"]), max_size=9).map("".join)
    )
)
@settings(max_examples=200, deadline=None)
def test_blank_ends_go_where_a_line_went(rows: list[str]) -> None:
    """Lines are taken out as by a pattern over whole texts, row by row."""
    assert remove_lines(pa.array(rows, pa.large_string()), "xx").to_pylist() == [without_xx(row) for row in rows]


def without_xx(row: str) -> str:
    lines = row.split("\n")
    kept = "\n".join(line for line in lines if line.strip() != "xx")
    return row if len(kept) == len(row) else re.sub(rf"^[{SPACE}]*\n|\n[{SPACE}]*\Z|^[{SPACE}]+\Z", "", kept)
