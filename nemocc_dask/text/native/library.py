"""Opens the library, and takes columns of text in and out of it."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nemocc_dask.errors import NotBuiltError
from nemocc_dask.text.layout import Bytes, bytes_of, offsets_of
from nemocc_dask.text.native.characters import TABLE

PATH = Path(__file__).with_name("_native.so")
"""One name on every system: it is opened by its path, and nothing else looks for it."""
INTERFACE = 1
"""Changes with what the functions take; `interface.c` says the same."""


def _opened(path: Path, interface: int) -> ctypes.CDLL:
    """The library. Raises `NotBuiltError` where it is not there, of another system, or built from other sources."""
    try:
        library = ctypes.CDLL(str(path))
        built: int = library.nemocc_interface()
    except (OSError, AttributeError) as error:
        raise NotBuiltError.of(error) from None
    if built != interface:
        raise NotBuiltError.of(f"{path} was built from other sources than these")
    return library


_LIBRARY = _opened(PATH, INTERFACE)


def shortened(name: str, texts: pa.LargeStringArray, *others: bytes | int) -> pa.LargeStringArray:
    """The texts as a function of the library makes them, none longer, and as long only if the same; nulls stay null.

    name: of a function that takes the bytes of all texts, their offsets, how many they are, where to put bytes and
    offsets of what it makes of them, the classes of characters, and the others. It gives 0, or something else where
    there is no memory, which raises MemoryError.
    """
    data, offsets = _readable(bytes_of(texts)), offsets_of(texts) - offsets_of(texts)[0]
    made, bounds = np.empty(len(data), np.uint8), np.empty(len(offsets), np.int64)
    given = (_at(data), _at(offsets), ctypes.c_int64(len(texts)), _at(made), _at(bounds), _at(TABLE))
    if getattr(_LIBRARY, name)(
        *given, *(other if isinstance(other, bytes) else ctypes.c_int64(other) for other in others)
    ):
        raise MemoryError(f"There is no memory for {len(data)} bytes of text and as much beside it.")
    if bounds[-1] == len(data):
        return texts
    short = pa.LargeStringArray.from_buffers(len(texts), pa.py_buffer(bounds), pa.py_buffer(made[: bounds[-1]]))
    return short if not texts.null_count else pc.if_else(texts.is_valid(), short, texts)


def _readable(data: Bytes) -> Bytes:
    """The same bytes; if they end within a character, as no text should, there are others behind that may be read."""
    is_whole = not len(data) or (data[-1] < 0xC0 and (len(data) == 1 or data[-2] < 0xE0))
    return data if is_whole else np.append(data, np.zeros(2, np.uint8))[: len(data)]


def _at(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)
