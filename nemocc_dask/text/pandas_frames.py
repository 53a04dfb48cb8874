"""Frames of pandas: text as Arrow arrays, without a copy where pandas holds it so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nemocc_dask.errors import ColumnNotFoundError, FrameError
from nemocc_dask.text import arrow
from nemocc_dask.text.layout import Flags, Integers


class _Pandas:
    kernels: ModuleType = arrow

    def texts(self, frame: pd.DataFrame, column: str) -> pa.LargeStringArray:
        series = self._column(frame, column)
        try:
            array = pa.array(series, type=pa.large_string(), from_pandas=True)
        except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
            raise FrameError.not_text(column, series.dtype) from None
        return _one_chunk(array) if isinstance(array, pa.ChunkedArray) else array

    def host(self, texts: pa.LargeStringArray) -> pa.LargeStringArray:
        return texts

    def from_host(self, texts: pa.LargeStringArray) -> pa.LargeStringArray:
        return texts

    def pick(self, texts: pa.LargeStringArray, positions: Integers) -> pa.LargeStringArray:
        return texts.take(pa.array(positions))

    def stack(self, several: Sequence[pa.LargeStringArray]) -> pa.LargeStringArray:
        return pa.concat_arrays(several)

    def byte_counts(self, texts: pa.LargeStringArray) -> Integers:
        return np.asarray(pc.fill_null(pc.binary_length(texts), 0).to_numpy(), dtype=np.int64)

    def numbers(self, frame: pd.DataFrame, column: str) -> NDArray[np.float64]:
        series = self._column(frame, column)
        if not pd.api.types.is_numeric_dtype(series.dtype) and len(series.dropna()):
            raise FrameError.not_numeric(column, series.dtype)
        return series.to_numpy(dtype=np.float64, na_value=np.nan)

    def values(self, frame: pd.DataFrame, column: str) -> list[Any]:
        return self._column(frame, column).tolist()

    def is_null(self, frame: pd.DataFrame, column: str) -> Flags:
        return self._column(frame, column).isna().to_numpy(dtype=np.bool_)

    def codes(self, frame: pd.DataFrame, column: str) -> Integers:
        series = self._column(frame, column)
        try:
            return pd.factorize(series)[0].astype(np.int64, copy=False)
        except TypeError:
            raise FrameError.not_comparable(column, series.dtype) from None

    def positions(self, frame: pd.DataFrame) -> Integers:
        return frame.index.to_numpy(dtype=np.int64)

    def keep(self, frame: pd.DataFrame, mask: Flags) -> pd.DataFrame:
        if mask.all():
            return frame
        return frame.take(np.flatnonzero(mask))  # faster than by the mask

    def take(
        self, frame: pd.DataFrame, positions: Integers, replacing: Mapping[str, Any] | None = None
    ) -> pd.DataFrame:
        if not replacing:
            return frame.take(positions)
        carried = frame.drop(columns=[name for name in replacing if name in frame.columns]).take(positions)
        made = {name: _as_column(values, carried.index) for name, values in replacing.items()}
        # In one go: as many columns one by one, and then in their order, take longer.
        every = {name: made[name] if name in made else carried[name] for name in (*frame.columns, *replacing)}
        return pd.DataFrame(every, carried.index, copy=False)

    def attach(self, frame: pd.DataFrame, columns: Mapping[str, Any]) -> pd.DataFrame:
        made = frame.copy(deep=False)
        series = {name: _as_column(values, frame.index) for name, values in columns.items()}
        new = {name: series.pop(name) for name in columns if name not in frame.columns}
        for name, values in series.items():
            made[name] = values
        # All new ones at once: each by itself takes half of what this takes.
        return pd.concat([made, pd.DataFrame(new, frame.index, copy=False)], axis=1) if new else made

    def array(self, frame: pd.DataFrame, column: str, kind: pa.DataType) -> Any:
        return pa.array(self._column(frame, column), type=kind, from_pandas=True)

    def concat(self, several: Sequence[pd.DataFrame]) -> pd.DataFrame:
        return pd.concat(several)

    def from_columns(self, columns: Mapping[str, Any]) -> pd.DataFrame:
        rows = len(next(iter(columns.values())))
        return self.attach(pd.DataFrame(index=range(rows)), columns)

    def from_table(self, table: pa.Table) -> pd.DataFrame:
        frame: pd.DataFrame = table.to_pandas(types_mapper=_INTEGERS.get)
        return frame

    def from_pandas(self, frame: pd.DataFrame) -> pd.DataFrame:
        return frame

    def to_pandas(self, frame: pd.DataFrame, dtypes: Mapping[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        return frame

    def pandas_dtypes(self, frame: pd.DataFrame) -> dict[str, Any]:
        return {str(name): dtype for name, dtype in frame.dtypes.items()}

    def mask(self, flags: pa.BooleanArray) -> Flags:
        return np.asarray(flags.to_numpy(zero_copy_only=False), dtype=np.bool_)

    def drop(self, frame: pd.DataFrame, columns: tuple[str, ...]) -> pd.DataFrame:
        return frame.drop(columns=[name for name in columns if name in frame.columns])

    def _column(self, frame: pd.DataFrame, column: str) -> pd.Series[Any]:
        if column not in frame.columns:
            raise ColumnNotFoundError.of(
                column, frame.columns, where="the frame", remedy="Rename a column, or name another."
            )
        return frame[column]


PANDAS = _Pandas()

_TEXT = pd.StringDtype(storage="pyarrow", na_value=np.nan)
"""`str`, as pandas 3 itself makes it, whatever Dask's settings are."""


def _one_chunk(chunked: pa.ChunkedArray) -> pa.LargeStringArray:
    # Chunk by chunk, because an empty column of pandas 3.0 can hold a chunk of another type than its own.
    chunks = [chunk.cast(pa.large_string()) for chunk in chunked.chunks]
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays([*chunks, pa.array([], pa.large_string())])


def table_of(frame: pd.DataFrame) -> pa.Table:
    """The columns of a frame as Arrow's, without its index. Raises `FrameError` for one that Arrow cannot hold."""
    return pa.table({str(name): _as_array(frame[name]) for name in frame.columns})


def _as_array(series: pd.Series[Any]) -> Any:
    try:
        return pa.array(series, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, UnicodeEncodeError):
        raise FrameError.not_text(str(series.name), series.dtype) from None


def frame_of(table: pa.Table, index: pd.Index[Any], dtypes: Mapping[str, Any] | None = None) -> pd.DataFrame:
    """A frame of an Arrow table under an index; `engine.Frames.to_pandas` says of what dtypes."""
    frame = PANDAS.from_table(table).set_axis(index)
    return frame.astype(_narrowed(frame) if dtypes is None else {name: _castable(to) for name, to in dtypes.items()})


def _narrowed(frame: pd.DataFrame) -> dict[str, Any]:
    """numpy's dtypes for the integers of which none is missing."""
    integers = {str(name): dtype for name, dtype in frame.dtypes.items() if dtype in _INTEGERS.values()}
    return {name: dtype.numpy_dtype for name, dtype in integers.items() if frame[name].notna().all()}


def _castable(dtype: Any) -> Any:
    """The dtype itself, or `category` for one of categories: those of Dask's metadata may stand for unknown ones."""
    return "category" if isinstance(dtype, pd.CategoricalDtype) else dtype


_INTEGERS: dict[pa.DataType, Any] = {
    pa.int8(): pd.Int8Dtype(), pa.int16(): pd.Int16Dtype(), pa.int32(): pd.Int32Dtype(), pa.int64(): pd.Int64Dtype(),
    pa.uint8(): pd.UInt8Dtype(), pa.uint16(): pd.UInt16Dtype(), pa.uint32(): pd.UInt32Dtype(),
    pa.uint64(): pd.UInt64Dtype(),
}  # fmt: skip


def _as_column(values: Any, index: pd.Index[Any]) -> pd.Series[Any]:
    """Arrow text becomes `str`, Arrow integers `Int64`, which can be missing; numpy stays what it is."""
    if isinstance(values, pa.Array):
        dtype: Any = pd.Int64Dtype() if pa.types.is_integer(values.type) else _TEXT
        values = dtype.__from_arrow__(values)
    return pd.Series(values, index=index)
