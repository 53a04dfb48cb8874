"""The compiled part: opened where it fits, refused with a way out where it does not, and at home on many threads."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text import arrow
from nemocc_dask.text.layout import offsets_of
from nemocc_dask.text.native import library

from .unmarked import SAMPLES

KERNELS: tuple[Callable[[pa.LargeStringArray], pa.LargeStringArray], ...] = (
    arrow.remove_markdown,
    arrow.normalize_bullets,
    arrow.remove_quotation,
    partial(arrow.slice_after_marker, marker="Paraphrased Text:"),
)


def test_a_missing_library_says_what_to_do(tmp_path: Path) -> None:
    """Where nothing was built, or for another machine, the error names the file and how to build it."""
    (tmp_path / "other.so").write_bytes(b"\x7fELF of another machine")
    for name in ("none.so", "other.so"):
        with pytest.raises(ImportError, match=rf"{name}.*pip install .*--no-deps \."):
            library._opened(tmp_path / name, library.INTERFACE)


def test_a_library_of_other_sources_is_refused() -> None:
    """One that was built before what it is called with changed is not called at all."""
    with pytest.raises(ImportError, match=r"built from other sources.*pip install"):
        library._opened(library.PATH, library.INTERFACE + 1)


@pytest.mark.parametrize("kernel", KERNELS)
@given(rows=st.lists(st.binary(max_size=12) | st.sampled_from([b"*a\xe2", b"\x80\x80", b"- \xf0\x9f", b"\xe2\x80"])))
@settings(max_examples=100, deadline=None)
def test_bytes_that_are_no_text_do_no_harm(
    kernel: Callable[[pa.LargeStringArray], pa.LargeStringArray], rows: list[bytes]
) -> None:
    """Whatever broken file they are from, they come out as so many rows, none of them longer."""
    bounds = np.cumsum([0, *map(len, rows)])
    texts = pa.LargeStringArray.from_buffers(len(rows), pa.py_buffer(bounds), pa.py_buffer(b"".join(rows)))
    made = np.diff(offsets_of(kernel(texts)))
    assert len(made) == len(rows)
    assert (made >= 0).all()
    assert (made <= np.diff(bounds)).all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_threads_do_not_disturb_each_other(kernel: Callable[[pa.LargeStringArray], pa.LargeStringArray]) -> None:
    """Many columns at once come out as one after another: nothing is shared between calls."""
    texts = [f"Paraphrased text: “*{sample}* [a](b.c)”\n- **x**\n1. y" for sample in SAMPLES.values()]
    columns = [pa.array([*texts[at:], *texts[:at]] * 20, pa.large_string()) for at in range(len(texts))]
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(kernel, columns)) == [kernel(column) for column in columns]
