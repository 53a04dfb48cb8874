"""Removing lines; and what every cleaning kernel holds, whatever the text."""

from __future__ import annotations

import re
from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import SettingError
from nemocc_dask.text.bullets import normalize_bullets
from nemocc_dask.text.lines import PASSAGE_LABEL, SPACE, SPACES, any_case, is_blank, remove_lines, trimmed
from nemocc_dask.text.markdown import remove_markdown
from nemocc_dask.text.markers import remove_quotation, slice_after_marker

Kernel = Callable[[pa.LargeStringArray], pa.LargeStringArray]

MARKER = "Paraphrased Text:"
KERNELS: dict[str, Kernel] = {
    "remove_markdown": remove_markdown,
    "remove_quotation": remove_quotation,
    "slice_after_marker": lambda texts: slice_after_marker(texts, MARKER),
    "remove_lines": lambda texts: remove_lines(texts, PASSAGE_LABEL),
    "normalize_bullets": normalize_bullets,
    "trimmed": trimmed,
}
PIECES = (
    *(
        "*",
        "**",
        "***",
        "_",
        "__",
        "`",
        "```",
        "~~~",
        "$",
        "\\",
        "[",
        "]",
        "](",
        "(",
        ")",
        "http://x.y/",
        "/",
        "#",
        "## ",
    ),
    *(
        "- ",
        "-",
        "• ",
        "•",
        "1. ",
        "1)",
        "(1) ",
        "\t",
        "    ",
        " ",
        "\n",
        "\n\n",
        "\r\n",
        "\xa0",
        ":",
        ".",
        "!",
        "?",
    ),
    *(
        '"',
        "“",
        "”",
        "„",
        "«",
        "»",
        "「",
        "」",
        "'",
        "a",
        "word",
        "5",
        "é",
        "文",
        "Here is",
        "Sure",
        "Dates:",
    ),
    *("Passage 1:", "passage", "Paraphrased Text:", "paraphrased  text :", "\x1f", "\u2028", "\x00", "İ"),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=14).map("".join) | st.text(max_size=20)
ROWS = st.lists(st.none() | TEXTS, max_size=5)
PROSE = "A plain text, 5 of 7 (or so); it's as it was.\n\nIts second paragraph – with $5 – ends here"


def strings(*rows: str | None) -> pa.LargeStringArray:
    """The rows as an Arrow array."""
    return pa.array(rows, pa.large_string())


@pytest.fixture(params=KERNELS, ids=list(KERNELS), scope="module")
def kernel(request: pytest.FixtureRequest) -> Kernel:
    """Each kernel in turn."""
    return KERNELS[request.param]


@given(rows=ROWS)
@settings(max_examples=150, deadline=None)
def test_every_kernel_settles_shortens_and_keeps_nulls(kernel: Kernel, rows: list[str | None]) -> None:
    """One row comes out per row, no longer than it was, null where it was null, and final at the first go."""
    result = kernel(strings(*rows))
    assert result.type == pa.large_string()
    assert kernel(result).equals(result)
    for before, after in zip(rows, result.to_pylist(), strict=True):
        assert (before is None) == (after is None)
        assert before is None or len(after) <= len(before)


@given(rows=ROWS, start=st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_rows_do_not_see_their_neighbours(kernel: Kernel, rows: list[str | None], start: int) -> None:
    """A row alone, in company and in a slice of an array gives the same."""
    together = kernel(strings(*rows)).to_pylist()
    assert together == [kernel(strings(row)).to_pylist()[0] for row in rows]
    assert kernel(strings(*rows).slice(start)).to_pylist() == together[start:]


def test_zero_rows(kernel: Kernel) -> None:
    """No rows in, no rows out, of the same type."""
    assert kernel(strings()).equals(strings())


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "normalize_bullets"])
def test_prose_is_left_alone(name: str) -> None:
    """A text that has nothing to clean comes out as it went in."""
    assert KERNELS[name](strings(PROSE)).to_pylist() == [PROSE]


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


def test_blank() -> None:
    """Null, empty and white space of any kind are blank; a zero-width joiner is something."""
    rows = strings(None, "", " \t\r\n\xa0\u3000", "a", "\u200d")
    assert is_blank(rows).to_pylist() == [True, True, True, False, False]


def test_white_space_is_that_of_python() -> None:
    """The class for patterns and the characters for trimming are those that `str.strip` takes off."""
    assert all(re.fullmatch(f"[{SPACE}]", space) for space in SPACES)
    everything = "".join(map(chr, range(0xD800)))
    assert set(re.findall(f"[{SPACE}]", everything)) == set(SPACES)


@pytest.mark.parametrize("text", ["straße 5 (a+b)?", "STRASSE", "İstanbul", "x.y"])
def test_any_case_matches_its_own_words(text: str) -> None:
    """Signs are literal, and letters without a one-letter counterpart match themselves."""
    assert re.fullmatch(any_case(text), text)
