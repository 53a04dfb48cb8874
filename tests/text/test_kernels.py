"""What every cleaning kernel holds, whatever the text."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text.blanks import strip
from nemocc_dask.text.bullets import normalize_bullets
from nemocc_dask.text.lines import PASSAGE_LABEL, remove_lines
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
    "strip": strip,
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
