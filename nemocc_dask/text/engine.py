"""The one place that knows one kind of frame from another: which kernels serve it, and how its columns are reached.

A phase asks `frames_of(frame)` for the engine of the frame it was given and from then on speaks only to that engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from nemocc_dask.errors import FrameError
from nemocc_dask.text import pandas_frames

Frame = Any
"""A pandas or cuDF dataframe: one partition."""

Texts = Any
"""A column of text as the kernels of one engine take it: Arrow's or cuDF's. Nothing else is on a device."""

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


class Frames(Protocol):
    """What a phase may ask of the engine of its frame. No method changes the frame it is given."""

    kernels: ModuleType

    def texts(self, frame: Frame, column: str) -> Texts:
        """A column of text as the kernels take it, nulls where values are missing."""

    def host(self, texts: Texts) -> pa.LargeStringArray:
        """A column of text in host memory, for what runs there: token counts, requests, formats that are parsed."""

    def from_host(self, texts: pa.LargeStringArray) -> Texts:
        """A column of text from host memory, as the kernels take it."""

    def pick(self, texts: Texts, positions: Positions) -> Texts:
        """The rows of a column of text at these positions, in this order."""

    def stack(self, several: Sequence[Texts]) -> Texts:
        """The rows of several columns of text, one after another; there has to be one."""

    def byte_counts(self, texts: Texts) -> Positions:
        """UTF-8 bytes of each row of a column of text, 0 where it is missing."""

    def numbers(self, frame: Frame, column: str) -> npt.NDArray[np.float64]:
        """A numeric column as float64, NaN where values are missing."""

    def values(self, frame: Frame, column: str) -> list[Any]:
        """A column of any type as Python values."""

    def is_null(self, frame: Frame, column: str) -> Mask:
        """True where a value is missing."""

    def codes(self, frame: Frame, column: str) -> Positions:
        """A column of any type as small integers: equal where values are equal, -1 where missing."""

    def array(self, frame: Frame, column: str, kind: pa.DataType) -> Any:
        """A column of any type as Arrow's of this one, in one or several chunks. Raises Arrow's own errors."""

    def positions(self, frame: Frame) -> Positions:
        """The index of a frame whose rows were numbered."""

    def keep(self, frame: Frame, mask: Mask) -> Frame:
        """The rows where the mask is True."""

    def take(self, frame: Frame, positions: Positions, replacing: Mapping[str, Any] | None = None) -> Frame:
        """The rows at these positions, in this order, repeated as often as they are named.

        replacing: columns added or replaced; the old ones are not copied, which matters for text cut into many rows.
        """

    def attach(self, frame: Frame, columns: Mapping[str, Any]) -> Frame:
        """The frame with these columns added or replaced: Arrow's, numpy's, or the engine's own columns of text."""

    def concat(self, several: Sequence[Frame]) -> Frame:
        """The rows of all frames, one after another; a column that some lack is missing in their rows."""

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        """A frame of these columns, rows numbered from 0."""

    def from_table(self, table: pa.Table) -> Frame:
        """A frame of an Arrow table, rows numbered from 0; integers that may be missing stay integers."""

    def from_pandas(self, frame: pd.DataFrame) -> Frame:
        """A pandas frame as one of this engine's, rows under the index they had. Raises `FrameError`."""

    def to_pandas(self, frame: Frame, dtypes: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """A frame as pandas', rows under the index they had; one that is pandas' already is given back as it is.

        dtypes: pandas' own, for every column; without them integers are what numpy has where none is missing.
        """

    def pandas_dtypes(self, frame: Frame) -> dict[str, Any]:
        """The dtypes of a frame's columns in pandas that hold them whatever its rows, missing values included."""

    def mask(self, flags: Any) -> Mask:
        """A kernel's column of truth values as a bool array."""

    def drop(self, frame: Frame, columns: tuple[str, ...]) -> Frame:
        """The frame without these columns; those it does not have are no matter."""


PANDAS: Frames = pandas_frames.PANDAS


def frames_of(frame: Frame) -> Frames:
    """The engine that serves a frame. Raises `FrameError` where none does.

    >>> frames_of(pd.DataFrame({"text": ["a", None]})).texts(pd.DataFrame({"text": ["a", None]}), "text").null_count
    1
    """
    if isinstance(frame, pd.DataFrame):
        return PANDAS
    if is_cudf(frame):
        return frames_on(gpu=True)
    raise FrameError.of(frame)


def frames_on(*, gpu: bool) -> Frames:
    """The engine that keeps text on the GPU, or the one that keeps it in host memory.

    >>> frames_on(gpu=False) is PANDAS
    True
    """
    if not gpu:
        return PANDAS
    # Imported where it is needed first: importing cuDF takes seconds, and most machines have none.
    cudf_frames: Frames = import_module("nemocc_dask.text.cudf_frames").CUDF
    return cudf_frames


def is_cudf(frame: Frame) -> bool:
    """Whether a frame is cuDF's, told by its type's name, so that cuDF need not be there.

    >>> is_cudf(pd.DataFrame())
    False
    """
    kinds = (f"{kind.__module__}.{kind.__qualname__}" for kind in type(frame).__mro__)
    return any(kind.startswith("cudf.") and kind.endswith(".DataFrame") for kind in kinds)
