"""Drops rows from a frame, stage by stage, and keeps each dropped one with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, StageCount
from nemocc_dask.text.engine import Frame, Frames, Mask, Positions, Texts, frames_of


class Sieve:
    """A frame while rows are being dropped from it. No row is copied before somebody asks for the frame.

    Rows leave by `reject` (of no use) or `fail` (no answer came), each under a reason.
    passed: rows of the stage that go on without being in the frame.

    >>> import pandas as pd
    >>> sieve = Sieve(pd.DataFrame({"id": [1, 2]}), stage="read", unit="documents")
    >>> sieve.reject(np.array([True, False]), "null_text")
    >>> sieve.frame["id"].tolist(), sieve.outcome().stages[0].rejected
    ([2], {'null_text': 1})
    """

    def __init__(self, frame: Frame, *, stage: str, unit: str, passed: int = 0) -> None:
        self._whole, self._made = frame, frame
        self._left: Positions = np.arange(len(frame))
        self._new: dict[str, _Column] = {}
        self._dropped: list[_Dropped] = []
        self._stages: list[StageCount] = []
        self._begin(stage, unit, passed)

    @property
    def frame(self) -> Frame:
        """The rows that are left, with the columns that were put."""
        if self._made is None:
            left = self._whole if len(self._left) == len(self._whole) else self.frames.take(self._whole, self._left)
            self._made = self.frames.attach(left, self._columns_of(self._left)) if self._new else left
        return self._made

    def put(self, column: str, values: Any) -> None:
        """Give the rows that are left a column, or another in its place: text as kernels take it, or a numpy array."""
        self._new[column], self._made = _Column(values, self._left), None

    def texts(self, column: str) -> Texts:
        """A column of text of the rows that are left, as kernels take it."""
        put = self._new.get(column)
        return put.of(self._left, self.frames) if put else self.frames.texts(self.frame, column)

    def reject(self, doomed: Mask, reason: str, *, detail: pa.Array | None = None) -> None:
        """Drop the rows where `doomed`, a bool array as long as what is left, is True; `detail` is text as long."""
        self._drop(doomed, reason, "rejected", {} if detail is None else {columns.DETAIL: detail})

    def fail(self, doomed: Mask, reason: str, *, status: pa.Array, detail: pa.Array) -> None:
        """Drop rows that got no answer; `status` (int64) and `detail` (text) are as long as what is left."""
        self._drop(doomed, reason, "failed", {columns.STATUS: status, columns.DETAIL: detail})

    def next_stage(self, stage: str, unit: str, **notes: int) -> None:
        """End the stage, of which the notes tell, and begin another with what is left."""
        self._end(notes)
        self._begin(stage, unit, 0)

    def outcome(self, **notes: int) -> Outcome:
        """What is left, what was dropped, and the counts of all stages; the notes tell of the last one."""
        self._end(notes)
        # Rows that had other columns put when they went cannot stand in one frame.
        alike = groupby(self._dropped, key=lambda dropped: dropped.new.keys())
        return Outcome(self.frame, tuple(self._explained(list(some)) for _, some in alike), tuple(self._stages))

    def _begin(self, stage: str, unit: str, passed: int) -> None:
        self._stage, self._unit, self._passed, self._rows_in = stage, unit, passed, passed + len(self._left)
        self._counts: dict[str, dict[str, int]] = {"rejected": {}, "failed": {}}

    def _end(self, notes: Mapping[str, int]) -> None:
        count = StageCount(
            stage=self._stage,
            unit=self._unit,
            rows_in=self._rows_in,
            rows_out=self._passed + len(self._left),
            notes=notes,
            **self._counts,
        )
        self._stages.append(count)

    def _drop(self, doomed: Mask, reason: str, kind: str, why: dict[str, pa.Array]) -> None:
        number = int(doomed.sum())
        if number == 0:
            return
        self._counts[kind][reason] = self._counts[kind].get(reason, 0) + number
        gone = self._left[doomed]
        kept_why = {name: values.filter(pa.array(doomed)) for name, values in why.items()}
        self._dropped.append(_Dropped(gone, self._stage, reason, kept_why, self._columns_of(gone)))
        self._left, self._made = self._left[~doomed], None

    @property
    def frames(self) -> Frames:
        """The engine of the frame."""
        return frames_of(self._whole)

    def _columns_of(self, rows: Positions) -> dict[str, Any]:
        """What was put, for these rows of the whole frame; only those are copied."""
        return {name: column.of(rows, self.frames) for name, column in self._new.items()}

    def _explained(self, several: list[_Dropped]) -> Frame:
        """Rows that went, of which each had the same columns put, under what they went for."""
        frame = self.frames.take(self._whole, np.concatenate([dropped.rows for dropped in several]))
        new = {name: _stacked([dropped.new[name] for dropped in several], self.frames) for name in several[0].new}
        why = {
            columns.STAGE: pa.concat_arrays(dropped.each(dropped.stage) for dropped in several),
            columns.REASON: pa.concat_arrays(dropped.each(dropped.reason) for dropped in several),
            columns.STATUS: pa.concat_arrays(dropped.told(columns.STATUS, pa.int64()) for dropped in several),
            columns.DETAIL: pa.concat_arrays(dropped.told(columns.DETAIL, pa.large_string()) for dropped in several),
        }
        return self.frames.attach(frame, new | why)


class _Column(NamedTuple):
    """Values of a column, and the rows of the whole frame that they belong to, rising."""

    values: Any
    rows: Positions

    def of(self, rows: Positions, frames: Frames) -> Any:
        if rows is self.rows:
            return self.values
        places = np.searchsorted(self.rows, rows)
        return self.values[places] if isinstance(self.values, np.ndarray) else frames.pick(self.values, places)


class _Dropped(NamedTuple):
    """Rows of the whole frame that went for one reason, what was told of it, and the columns that had been put."""

    rows: Positions
    stage: str
    reason: str
    why: Mapping[str, pa.Array]
    new: Mapping[str, Any]

    def each(self, words: str) -> pa.Array:
        return pa.repeat(pa.scalar(words, pa.large_string()), len(self.rows))

    def told(self, column: str, kind: pa.DataType) -> pa.Array:
        return self.why[column].cast(kind) if column in self.why else pa.nulls(len(self.rows), kind)


def _stacked(several: Sequence[Any], frames: Frames) -> Any:
    return np.concatenate(several) if isinstance(several[0], np.ndarray) else frames.stack(several)
