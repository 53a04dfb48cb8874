"""Columns of text that are `cudf.Series`, their memory on a GPU. Written for RAPIDS 26.10.

What cuDF's `.str` does not offer, or does by way of what pandas would say, is asked of pylibcudf, which is what `.str`
is made of. Columns of less than 2**31 bytes and longer ones are alike; parts of rows are 2**31 at most.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cudf
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pylibcudf as plc

from nemocc_dask.text.device.patterns import for_cudf
from nemocc_dask.text.layout import Flags, Integers
from nemocc_dask.text.patterns import SPACES

Series = Any
"""A `cudf.Series` of str. Its index is of no matter, and those made here are numbered from 0."""


class _Cudf:
    """`device.columns.Columns` says what each operation does."""

    def from_host(self, texts: pa.LargeStringArray) -> Series:
        return cudf.Series.from_arrow(texts)

    def to_host(self, texts: Series) -> pa.LargeStringArray:
        array = texts.to_arrow()
        return array if pa.types.is_large_string(array.type) else array.cast(pa.large_string())

    def is_null(self, texts: Series) -> Flags:
        column = _column(texts)
        return _flags(plc.unary.is_null(column)) if column.null_count() else np.zeros(len(texts), np.bool_)

    def matches(self, texts: Series, pattern: str) -> Flags:
        return _flags(plc.strings.contains.contains_re(_column(texts), program(pattern)))

    def contains(self, texts: Series, words: str) -> Flags:
        return _flags(plc.strings.find.contains(_column(texts), _scalar(words)))

    def replace(self, texts: Series, words: str, by: str) -> Series:
        return _series(plc.strings.replace.replace(_column(texts), _scalar(words), _scalar(by)))

    def remove(self, texts: Series, pattern: str) -> Series:
        return _series(plc.strings.replace_re.replace_re(_column(texts), program(pattern), _scalar("")))

    def strip(self, texts: Series) -> Series:
        both = plc.strings.side_type.SideType.BOTH
        return _series(plc.strings.strip.strip(_column(texts), both, _scalar(SPACES)))

    def inner(self, texts: Series) -> Series:
        return texts.str.slice(1, -1)

    def take(self, texts: Series, positions: Integers) -> Series:
        rows = _positions(positions)
        return _only(plc.copying.gather(plc.Table([_column(texts)]), rows, plc.copying.OutOfBoundsPolicy.DONT_CHECK))

    def filter(self, texts: Series, flags: Flags) -> Series:
        mask = plc.Column.from_arrow(pa.array(flags))
        return _only(plc.stream_compaction.apply_boolean_mask(plc.Table([_column(texts)]), mask))

    def put(self, texts: Series, flags: Flags, replacements: Series) -> Series:
        source, target = plc.Table([_column(replacements)]), plc.Table([_column(texts)])
        return _only(plc.copying.scatter(source, _positions(np.flatnonzero(flags)), target))

    def stack(self, several: Sequence[Series]) -> Series:
        return _series(plc.concatenate.concatenate([_column(texts) for texts in several]))

    def split(self, texts: Series, separator: str) -> tuple[Series, Integers]:
        if not len(texts):  # what an empty list column has for children is not said
            return texts, np.zeros(0, np.int64)
        lists = plc.strings.split.split.split_record(_column(texts), _scalar(separator), -1).list_view()
        offsets = lists.offsets().to_arrow().to_numpy()
        return _series(lists.child()), np.diff(offsets).astype(np.int64)

    def joined(self, parts: Series, bounds: Integers, separator: str) -> Series:
        rows = len(bounds) - 1
        if not rows or not len(parts):
            return self.from_host(pa.array([""] * rows, pa.large_string()))
        offsets, leaves = plc.Column.from_arrow(pa.array(bounds, pa.int32())), _column(parts)
        lists = plc.Column(plc.DataType(plc.TypeId.LIST), rows, None, None, 0, 0, [offsets, leaves])
        combine, nothing = plc.strings.combine, _scalar("")
        separate, empty = combine.SeparatorOnNulls.YES, combine.OutputIfEmptyList.EMPTY_STRING
        return _series(combine.join_list_elements(lists, _scalar(separator), nothing, nothing, separate, empty))


CUDF = _Cudf()


def program(pattern: str) -> Any:
    """A pattern of ours, compiled for the device; this needs none. Raises RuntimeError where cuDF cannot read it."""
    flags = plc.strings.regex_flags.RegexFlags.DEFAULT
    return plc.strings.regex_program.RegexProgram.create(for_cudf(pattern), flags)


def byte_counts(texts: Series) -> Integers:
    """int64 (n,): the UTF-8 bytes of each row, 0 where it is null."""
    counts = plc.strings.attributes.count_bytes(_column(texts)).to_arrow()
    return np.asarray(pc.fill_null(counts, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def is_text(series: Series) -> bool:
    """Whether a column of a frame holds text, whatever pandas calls its dtype."""
    column, _ = series.to_pylibcudf()
    return bool(column.type().id() == plc.TypeId.STRING)


def _column(texts: Series) -> Any:
    """The series' own memory, not copied, unless it is a part of a longer one: a list's parts must begin at 0."""
    column, _ = texts.to_pylibcudf()
    return column.copy() if column.offset() else column


def _series(column: Any) -> Series:
    return cudf.Series.from_pylibcudf(column)


def _only(table: Any) -> Series:
    (column,) = table.columns()
    return _series(column)


def _scalar(words: str) -> Any:
    return plc.Scalar.from_py(words, plc.DataType(plc.TypeId.STRING))


def _positions(positions: Integers) -> Any:
    return plc.Column.from_arrow(pa.array(positions, pa.int32()))


def _flags(booleans: Any) -> Flags:
    """A column of booleans in host memory, False where null."""
    return np.asarray(pc.fill_null(booleans.to_arrow(), False).to_numpy(zero_copy_only=False), dtype=np.bool_)
