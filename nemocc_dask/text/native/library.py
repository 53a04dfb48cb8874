"""Opens the library, and takes columns of text in and out of it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nemocc_dask.text.layout import bytes_of, offsets_of

PATH = Path(__file__).with_name("_native.so")
"""One name on every system: it is opened by its path, and nothing else looks for it."""
INTERFACE = 1
"""Changes with what the functions take; `interface.c` says the same."""


def _opened(path: Path, interface: int) -> ctypes.CDLL:
    """The library. Raises ImportError where it is not there, of another system, or built from other sources."""
    remedy = "Install nemocc-dask again (`pip install --force-reinstall --no-deps`, `--editable .` in a checkout)."
    try:
        library = ctypes.CDLL(str(path))
        built: int = library.nemocc_interface()
    except (OSError, AttributeError) as error:
        raise ImportError(f"The compiled part of nemocc-dask cannot be used: {error}. {remedy}") from None
    if built != interface:
        raise ImportError(f"{path} was built from other sources than these. {remedy}")
    return library


_LIBRARY = _opened(PATH, INTERFACE)


def shortened(name: str, texts: pa.LargeStringArray, *others: NDArray[Any]) -> pa.LargeStringArray:
    """The texts as a function of the library makes them, none of them longer; nulls stay null.

    name: of a function that takes the texts' bytes, their offsets and how many they are, the same for what it makes,
    and `others`. It gives 0, or what is not 0 where there is no memory, which raises MemoryError.
    """
    data, offsets = bytes_of(texts), offsets_of(texts) - offsets_of(texts)[0]
    made, bounds = np.empty(len(data), np.uint8), np.empty(len(offsets), np.int64)
    arrays = (data, offsets, made, bounds, *others)
    data_at, offsets_at, made_at, bounds_at, *others_at = (ctypes.c_void_p(each.ctypes.data) for each in arrays)
    rows = ctypes.c_int64(len(texts))
    if getattr(_LIBRARY, name)(data_at, offsets_at, rows, made_at, bounds_at, *others_at):
        raise MemoryError(f"There is no memory for {len(data)} bytes of text and as much beside it.")
    if bounds[-1] == len(data):
        return texts
    short = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds), pa.py_buffer(made[: bounds[-1]]))
    return short if not texts.null_count else pc.if_else(texts.is_valid(), short, texts)
