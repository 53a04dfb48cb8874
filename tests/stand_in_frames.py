"""Frames that stand in for cuDF's: they offer no more than their engine, and their text is in Python lists.

So a phase that reaches past the engine, or takes text of a device for Arrow's, fails where no GPU is. Nothing of cuDF
itself is tried by them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from text.stand_in import Lists, Texts

from nemocc_dask.text.engine import PANDAS
from nemocc_dask.text.pandas_frames import frame_of, table_of


class DataFrame:
    """A frame, told for one of cuDF by its name, as those are."""

    __module__ = "cudf.stand_in"

    def __init__(self, rows: pd.DataFrame) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def columns(self) -> list[str]:
        """Names of the columns."""
        return list(self._rows.columns)


class Engine:
    """`engine.Frames` says what each method does. made: frames made of tables so far, as a job makes its own."""

    def __init__(self, kernels: ModuleType) -> None:
        self.kernels, self.made = kernels, 0

    def texts(self, frame: DataFrame, column: str) -> Texts:
        return Lists().from_host(PANDAS.texts(frame._rows, column))

    def host(self, texts: Texts | pa.Array) -> pa.LargeStringArray:
        return texts if isinstance(texts, pa.Array) else Lists().to_host(texts)

    def from_host(self, texts: pa.LargeStringArray) -> Texts:
        return Lists().from_host(texts)

    def pick(self, texts: Texts, positions: Any) -> Texts:
        return Lists().take(texts, positions)

    def stack(self, several: Sequence[Texts]) -> Texts:
        return Lists().stack(several)

    def byte_counts(self, texts: Texts) -> Any:
        return np.array([len((text or "").encode()) for text in texts], np.int64)

    def keep(self, frame: DataFrame, mask: Any) -> DataFrame:
        return frame if mask.all() else DataFrame(PANDAS.keep(frame._rows, mask))

    def take(self, frame: DataFrame, positions: Any, replacing: Mapping[str, Any] | None = None) -> DataFrame:
        return DataFrame(PANDAS.take(frame._rows, positions, _columns(replacing or {})))

    def attach(self, frame: DataFrame, columns: Mapping[str, Any]) -> DataFrame:
        return DataFrame(PANDAS.attach(frame._rows, _columns(columns)))

    def concat(self, several: Sequence[DataFrame]) -> DataFrame:
        return DataFrame(PANDAS.concat([frame._rows for frame in several]))

    def from_columns(self, columns: Mapping[str, Any]) -> DataFrame:
        return DataFrame(PANDAS.from_columns(_columns(columns)))

    def from_table(self, table: pa.Table) -> DataFrame:
        self.made += 1
        return DataFrame(PANDAS.from_table(table))

    def from_pandas(self, frame: pd.DataFrame) -> DataFrame:
        return DataFrame(frame_of(table_of(frame), frame.index))

    def to_pandas(self, frame: DataFrame, dtypes: Mapping[str, Any] | None = None) -> pd.DataFrame:
        return frame_of(table_of(frame._rows), frame._rows.index, dtypes)

    def mask(self, flags: Any) -> Any:
        assert isinstance(flags, np.ndarray), "flags of a device's kernels are numpy's"
        return flags

    def __getattr__(self, name: str) -> Any:
        """What is read of a frame, or dropped, as pandas has it."""
        method = getattr(PANDAS, name)

        def of_rows(frame: DataFrame, *settings: Any) -> Any:
            result = method(frame._rows, *settings)
            return DataFrame(result) if isinstance(result, pd.DataFrame) else result

        return of_rows


def _columns(columns: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Lists().to_host(each) if isinstance(each, list) else each for name, each in columns.items()}


def stand_in(patch: pytest.MonkeyPatch) -> Engine:
    """Have these frames take the place of cuDF's, under the GPU's own arithmetic, until the patch is undone."""
    patch.setitem(sys.modules, "nemocc_dask.text.on_cudf", SimpleNamespace(CUDF=Lists()))
    patch.delitem(sys.modules, "nemocc_dask.text.gpu", raising=False)
    engine = Engine(import_module("nemocc_dask.text.gpu"))
    patch.delitem(sys.modules, "nemocc_dask.text.gpu")
    patch.setitem(sys.modules, "nemocc_dask.text.cudf_frames", SimpleNamespace(CUDF=engine))
    patch.setattr("nemocc_dask.chain.check_gpu", lambda: None)
    return engine
