"""Lines that only announce a passage go; all others stay."""

from __future__ import annotations

import re

import pyarrow as pa
import pytest

from nemocc_dask.errors import SettingError
from nemocc_dask.text.lines import PASSAGE_LABEL, remove_lines


def strings(*rows: str | None) -> pa.LargeStringArray:
    """The rows as an Arrow array."""
    return pa.array(rows, pa.large_string())


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
def test_passage_labels_go(line: str) -> None:
    """A line that only announces a passage goes, and so does the blank line it leaves at the start."""
    assert remove_lines(strings(f"{line}\n\nIron rusts.", f"a\r\n{line}\r\nb"), PASSAGE_LABEL).to_pylist() == [
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
def test_rows_without_a_label_line_stay_byte_for_byte(text: str) -> None:
    """Words after the label, or other words, make it text; white space of untouched rows is not tidied."""
    assert remove_lines(strings(text), PASSAGE_LABEL).to_pylist() == [text]


def test_only_ends_are_tidied() -> None:
    """Where a line goes, blank lines go at both ends; other lines keep their white space."""
    text = "Passage 1:\n\n  a \n\n\n b  \n\nPassage 2:\n"
    assert remove_lines(strings(text, "Passage 1:\n \t"), PASSAGE_LABEL).to_pylist() == ["  a \n\n\n b  ", ""]


def test_any_pattern_matches_whole_lines() -> None:
    """Alternatives in the pattern are anchored as a whole."""
    assert remove_lines(strings("a\nab\nb\ncb"), "a|b").to_pylist() == ["ab\ncb"]


@pytest.mark.parametrize("rows", [[], [None], ["a"]])
def test_an_unreadable_pattern_is_a_setting_error(rows: list[str | None]) -> None:
    """The message names the pattern, even where there is no row to try it on."""
    with pytest.raises(SettingError, match=re.escape("'(unclosed'")):
        remove_lines(strings(*rows), "(unclosed")
