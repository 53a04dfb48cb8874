"""White space is found and taken off as Python would."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text.blanks import strip
from nemocc_dask.text.patterns import SPACES

from .documents import either_place

SPACED = st.text(st.sampled_from([*SPACES, "a", "é", "文", "\u200b", "\u200d", "\ufeff", "\x00"]), max_size=8)


def strings(*rows: str | None) -> pa.LargeStringArray:
    """The rows as an Arrow array."""
    return pa.array(rows, pa.large_string())


def test_blank(kernels) -> None:
    """Null, empty and white space of any kind are blank; a zero-width joiner is something."""
    rows = [None, "", " \t\r\n\xa0\u3000", "a", "\u200d"]
    assert kernels.is_blank(rows) == [True, True, True, False, False]


@either_place
@given(rows=st.lists(st.none() | SPACED, max_size=6))
@settings(max_examples=150, deadline=None)
def test_stripping_is_that_of_plain_python(kernels, place, rows: list[str | None]) -> None:
    """Each row is what str.strip makes of it, in a slice of an array too, and nulls stay."""
    assert kernels.strip(place(rows)) == [None if row is None else row.strip() for row in rows]


@pytest.mark.parametrize("space", SPACES)
def test_every_white_space_goes(kernels, space: str) -> None:
    """No kind of white space stays at either end, and none goes from the middle."""
    assert kernels.strip([space, f"{space}a{space}b{space}{space}"]) == ["", f"a{space}b"]


@pytest.mark.parametrize("rows", [[], [None], ["", None], ["a b", None, "c"]])
def test_where_nothing_is_stripped_nothing_is_copied(rows: list[str | None]) -> None:
    """The very same array comes back where no row has white space at its ends."""
    texts = strings(*rows)
    assert strip(texts) is texts


def test_bytes_beneath_a_null_are_not_stripped() -> None:
    """What Arrow's buffer holds beneath a null is no text, and does not count as a change."""
    offsets, validity = pa.py_buffer(np.array([0, 1, 4, 5])), pa.py_buffer(b"\x05")
    texts = pa.LargeStringArray.from_buffers(3, offsets, pa.py_buffer(b"a   b"), validity)
    assert strip(texts) is texts
