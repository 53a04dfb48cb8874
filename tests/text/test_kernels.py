"""What every cleaning kernel holds, whatever the text."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text.lines import PASSAGE_LABEL

from .documents import Inside

MARKER = "Paraphrased Text:"
KERNELS: dict[str, tuple[str, ...]] = {
    "remove_markdown": (),
    "remove_quotation": (),
    "slice_after_marker": (MARKER,),
    "remove_lines": (PASSAGE_LABEL,),
    "normalize_bullets": (),
    "strip": (),
}
"""Each cleaning kernel, and what else than texts it is given here."""

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


Kernel = Callable[[list[str | None]], list[str | None]]


@pytest.fixture(params=KERNELS, ids=list(KERNELS), scope="module")
def kernel(request: pytest.FixtureRequest, kernels) -> Kernel:
    """Each kernel in turn."""
    return lambda rows: getattr(kernels, request.param)(rows, *KERNELS[request.param])


@given(rows=ROWS)
@settings(max_examples=150, deadline=None)
def test_every_kernel_settles_shortens_and_keeps_nulls(kernel: Kernel, rows: list[str | None]) -> None:
    """One row comes out per row, no longer than it was, null where it was null, and final at the first go."""
    result = kernel(rows)
    assert kernel(result) == result
    for before, after in zip(rows, result, strict=True):
        assert (before is None) == (after is None)
        assert before is None or len(after) <= len(before)


@given(rows=ROWS)
@settings(max_examples=50, deadline=None)
def test_rows_do_not_see_their_neighbours(kernel: Kernel, rows: list[str | None]) -> None:
    """A row alone, in company and in a slice of an array gives the same."""
    together = kernel(rows)
    assert together == [kernel([row])[0] for row in rows]
    assert kernel(Inside(rows)) == together


def test_zero_rows(kernel: Kernel) -> None:
    """No rows in, no rows out, of the same type."""
    assert kernel([]) == []


@pytest.mark.parametrize("name", [name for name in KERNELS if name != "normalize_bullets"])
def test_prose_is_left_alone(kernels, name: str) -> None:
    """A text that has nothing to clean comes out as it went in."""
    assert getattr(kernels, name)([PROSE], *KERNELS[name]) == [PROSE]
