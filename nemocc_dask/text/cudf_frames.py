"""Frames of cuDF: text stays on the device; whatever else a phase reads comes to the host by way of Arrow.

Missing values are nulls whatever the type, so integers stay integers. Columns are put in by way of Arrow too, which
makes NaN a null, as a missing number is in pandas.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import cudf
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from nemocc_dask.errors import ColumnNotFoundError, FrameError
from nemocc_dask.text import gpu
from nemocc_dask.text.layout import Flags, Integers
from nemocc_dask.text.on_cudf import CUDF as COLUMNS
from nemocc_dask.text.on_cudf import byte_counts, is_text
from nemocc_dask.text.pandas_frames import PANDAS, frame_of, table_of

Frame = Any
"""A `cudf.DataFrame`."""
Series = Any
"""A `cudf.Series`."""


class _Cudf:
    """`engine.Frames` says what each method does."""

    kernels: ModuleType = gpu

    def texts(self, frame: Frame, column: str) -> Series:
        series = self._column(frame, column)
        if isinstance(series.dtype, cudf.CategoricalDtype):
            series = series.astype(series.dtype.categories.dtype)
        if is_text(series):
            return series
        if series.isna().all():
            return COLUMNS.from_host(pa.nulls(len(series), pa.large_string()))
        raise FrameError.not_text(column, series.dtype)

    def host(self, texts: Series | pa.LargeStringArray) -> pa.LargeStringArray:
        return texts if isinstance(texts, pa.Array) else COLUMNS.to_host(texts)

    def from_host(self, texts: pa.LargeStringArray) -> Series:
        return COLUMNS.from_host(texts)

    def pick(self, texts: Series, positions: Integers) -> Series:
        return COLUMNS.take(texts, positions)

    def stack(self, several: Sequence[Series]) -> Series:
        return COLUMNS.stack(several)

    def byte_counts(self, texts: Series) -> Integers:
        return byte_counts(texts)

    def numbers(self, frame: Frame, column: str) -> NDArray[np.float64]:
        series = self._column(frame, column)
        array = _on_the_host(series)
        if is_text(series) or pa.types.is_nested(array.type) or pa.types.is_temporal(array.type):
            if array.null_count < len(array):
                raise FrameError.not_numeric(column, series.dtype)
            return np.full(len(array), np.nan)
        return np.asarray(array.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)

    def values(self, frame: Frame, column: str) -> list[Any]:
        values: list[Any] = _on_the_host(self._column(frame, column)).to_pylist()
        return values

    def is_null(self, frame: Frame, column: str) -> Flags:
        return self.mask(self._column(frame, column).isna().to_arrow())

    def codes(self, frame: Frame, column: str) -> Integers:
        series = self._column(frame, column)
        array = _on_the_host(series)
        known = pc.if_else(pc.is_null(array, nan_is_null=True), pa.scalar(None, array.type), array)
        try:
            indices = pc.dictionary_encode(known).indices
        except pa.ArrowNotImplementedError:
            raise FrameError.not_comparable(column, series.dtype) from None
        return np.asarray(pc.fill_null(indices, -1).to_numpy(zero_copy_only=False), dtype=np.int64)

    def array(self, frame: Frame, column: str, kind: pa.DataType) -> pa.Array:
        return _on_the_host(self._column(frame, column)).cast(kind)

    def positions(self, frame: Frame) -> Integers:
        return np.asarray(frame.index.to_numpy(), dtype=np.int64)

    def keep(self, frame: Frame, mask: Flags) -> Frame:
        return frame if mask.all() else frame.take(np.flatnonzero(mask))

    def take(self, frame: Frame, positions: Integers, replacing: Mapping[str, Any] | None = None) -> Frame:
        if not replacing:
            return frame.take(positions)
        order = [*frame.columns, *(name for name in replacing if name not in frame.columns)]
        taken = self.drop(frame, tuple(replacing)).take(positions)
        return self.attach(taken, replacing)[order]

    def attach(self, frame: Frame, columns: Mapping[str, Any]) -> Frame:
        return frame.assign(**{name: _as_column(values, frame.index) for name, values in columns.items()})

    def concat(self, several: Sequence[Frame]) -> Frame:
        return cudf.concat(list(several))

    def from_columns(self, columns: Mapping[str, Any]) -> Frame:
        rows = len(next(iter(columns.values())))
        return self.attach(cudf.DataFrame(index=cudf.RangeIndex(rows)), columns)

    def from_table(self, table: pa.Table) -> Frame:
        return cudf.DataFrame.from_arrow(table.replace_schema_metadata(None))

    def from_pandas(self, frame: Any) -> Frame:
        moved = self.from_table(table_of(frame))
        moved.index = cudf.from_pandas(frame.index)
        return moved

    def to_pandas(self, frame: Frame, dtypes: Mapping[str, Any] | None = None) -> Any:
        table = pa.table({name: frame[name].to_arrow() for name in frame.columns})
        return frame_of(table, frame.index.to_pandas(), dtypes)

    def pandas_dtypes(self, frame: Frame) -> dict[str, Any]:
        any_rows = self.to_pandas(frame).convert_dtypes(convert_string=False, convert_floating=False)
        return PANDAS.pandas_dtypes(any_rows)

    def mask(self, flags: Any) -> Flags:
        if isinstance(flags, pa.Array):
            flags = flags.to_numpy(zero_copy_only=False)
        return np.asarray(flags, dtype=np.bool_)

    def drop(self, frame: Frame, columns: tuple[str, ...]) -> Frame:
        return frame.drop(columns=[name for name in columns if name in frame.columns])

    def _column(self, frame: Frame, column: str) -> Series:
        if column not in frame.columns:
            raise ColumnNotFoundError.of(
                column, frame.columns, where="the frame", remedy="Rename a column, or name another."
            )
        return frame[column]


CUDF = _Cudf()


def _on_the_host(series: Series) -> pa.Array:
    array = series.to_arrow()
    return array.dictionary_decode() if pa.types.is_dictionary(array.type) else array


def _as_column(values: Any, index: Any) -> Series:
    """The values under the frame's own index: cuDF puts a series in by its index, not in its order."""
    if not isinstance(values, cudf.Series):
        array = values if isinstance(values, pa.Array) else pa.array(values, from_pandas=True)
        values = cudf.Series.from_arrow(array)
    column, _ = values.to_pylibcudf()
    return cudf.Series.from_pylibcudf(column, {"index": index})
