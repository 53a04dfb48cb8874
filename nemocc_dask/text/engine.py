"""The one place that knows one kind of frame from another: which kernels serve it, and how its columns are reached.

A phase asks `frames_of(frame)` for the engine of the frame it was given and from then on speaks only to that engine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from nemocc_dask.errors import ColumnNotFoundError, FrameError
from nemocc_dask.text import arrow

Frame = Any
"""A pandas (later cuDF) dataframe: one partition."""

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]


class Frames(Protocol):
    """What a phase may ask of the engine of its frame. No method changes the frame it is given."""

    kernels: ModuleType

    def texts(self, frame: Frame, column: str) -> pa.LargeStringArray:
        """A column of text as the kernels take it, nulls where values are missing."""

    def numbers(self, frame: Frame, column: str) -> npt.NDArray[np.float64]:
        """A numeric column as float64, NaN where values are missing."""

    def values(self, frame: Frame, column: str) -> list[Any]:
        """A column of any type as Python values."""

    def is_null(self, frame: Frame, column: str) -> Mask:
        """True where a value is missing."""

    def codes(self, frame: Frame, column: str) -> Positions:
        """A column of any type as small integers: equal where values are equal, -1 where missing."""

    def keep(self, frame: Frame, mask: Mask) -> Frame:
        """The rows where the mask is True."""

    def take(self, frame: Frame, positions: Positions, replacing: Mapping[str, Any] | None = None) -> Frame:
        """The rows at these positions, in this order, repeated as often as they are named.

        replacing: columns added or replaced; the old ones are not copied, which matters for text cut into many rows.
        """

    def attach(self, frame: Frame, columns: Mapping[str, Any]) -> Frame:
        """The frame with these columns added or replaced."""

    def concat(self, several: Sequence[Frame]) -> Frame:
        """The rows of all frames, one after another; a column that some lack is missing in their rows."""

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        """A frame of these columns, rows numbered from 0."""

    def from_table(self, table: pa.Table) -> Frame:
        """A frame of an Arrow table, rows numbered from 0; integers that may be missing stay integers."""

    def mask(self, flags: Any) -> Mask:
        """A kernel's column of truth values as a bool array."""

    def drop(self, frame: Frame, columns: tuple[str, ...]) -> Frame:
        """The frame without these columns; those it does not have are no matter."""


def frames_of(frame: Frame) -> Frames:
    """The engine that serves a frame. Raises `FrameError` where none does.

    >>> frames_of(pd.DataFrame({"text": ["a", None]})).texts(pd.DataFrame({"text": ["a", None]}), "text").null_count
    1
    """
    if isinstance(frame, pd.DataFrame):
        return PANDAS
    raise FrameError.of(frame)


class _Pandas:
    kernels: ModuleType = arrow

    def texts(self, frame: pd.DataFrame, column: str) -> pa.LargeStringArray:
        series = self._column(frame, column)
        try:
            array = pa.array(series, type=pa.large_string(), from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            raise FrameError.not_text(column, series.dtype) from None
        return _one_chunk(array) if isinstance(array, pa.ChunkedArray) else array

    def numbers(self, frame: pd.DataFrame, column: str) -> npt.NDArray[np.float64]:
        series = self._column(frame, column)
        if not pd.api.types.is_numeric_dtype(series.dtype) and len(series.dropna()):
            raise FrameError.not_numeric(column, series.dtype)
        return series.to_numpy(dtype=np.float64, na_value=np.nan)

    def values(self, frame: pd.DataFrame, column: str) -> list[Any]:
        return self._column(frame, column).tolist()

    def is_null(self, frame: pd.DataFrame, column: str) -> Mask:
        return self._column(frame, column).isna().to_numpy(dtype=np.bool_)

    def codes(self, frame: pd.DataFrame, column: str) -> Positions:
        series = self._column(frame, column)
        try:
            return pd.factorize(series)[0].astype(np.int64, copy=False)
        except TypeError:
            raise FrameError.not_comparable(column, series.dtype) from None

    def keep(self, frame: pd.DataFrame, mask: Mask) -> pd.DataFrame:
        return frame if mask.all() else frame.loc[mask]

    def take(
        self, frame: pd.DataFrame, positions: Positions, replacing: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        if not replacing:
            return frame.take(positions)
        order = [*frame.columns, *(name for name in replacing if name not in frame.columns)]
        taken = frame.drop(columns=[name for name in replacing if name in frame.columns]).take(positions)
        return self.attach(taken, replacing)[order]

    def attach(self, frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
        return frame.assign(**{name: _as_column(values, frame.index) for name, values in columns.items()})

    def concat(self, several: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(several)

    def from_columns(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        rows = len(next(iter(columns.values())))
        return self.attach(pd.DataFrame(index=range(rows)), columns)

    def from_table(self, table: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE)
        return frame

    def mask(self, flags: pa.BooleanArray) -> Mask:
        return np.asarray(flags.to_numpy(zero_copy_only=False), dtype=np.bool_)

    def drop(self, frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
        return frame.drop(columns=[name for name in columns if name in frame.columns])

    def _column(self, frame: pd.DataFrame, column: str) -> pd.Series[Any]:
        if column not in frame.columns:
            raise ColumnNotFoundError.of(
                column, frame.columns, where="the frame", remedy="Rename a column, or name another."
            )
        return frame[column]


PANDAS: Frames = _Pandas()

_TEXT = pd.StringDtype(storage="pyarrow", na_value=np.nan)
"""`str`, as pandas 3 itself makes it, whatever Dask's settings are."""


def _one_chunk(chunked: pa.ChunkedArray) -> pa.LargeStringArray:
    # Chunk by chunk, because an empty column of pandas 3.0 can hold a chunk of another type than its own.
    chunks = [chunk.cast(pa.large_string()) for chunk in chunked.chunks]
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays([*chunks, pa.array([], pa.large_string())])


_NULLABLE = {
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}.get  # fmt: skip


def _as_column(values: Any, index: pd.Index[Any]) -> pd.Series[Any]:
    """Arrow text becomes `str`, Arrow integers `Int64`, which can be missing; numpy stays what it is."""
    if isinstance(values, pa.Array):
        dtype: Any = pd.Int64Dtype() if pa.types.is_integer(values.type) else _TEXT
        values = dtype.__from_arrow__(values)
    return pd.Series(values, index=index)
