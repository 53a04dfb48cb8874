"""Drops rows from a frame, and keeps each dropped one with its reason."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome, StageCount
from nemocc_dask.text.engine import Frame, Mask, frames_of


class Sieve:
    """One stage's frame while rows are being dropped from it.

    frame: what is left so far. Rows leave by `reject` (of no use) or `fail` (no answer came), each under a reason.
    passed: rows of the stage that go on without being in the frame.

    >>> import numpy as np
    >>> import pandas as pd
    >>> sieve = Sieve(pd.DataFrame({"id": [1, 2]}), stage="read", unit="documents")
    >>> sieve.reject(np.array([True, False]), "null_text")
    >>> sieve.outcome().stages[0].rejected
    {'null_text': 1}
    """

    def __init__(self, frame: Frame, *, stage: str, unit: str, passed: int = 0) -> None:
        self.frame = frame
        self._stage, self._unit, self._passed, self._rows_in = stage, unit, passed, passed + len(frame)
        self._dropped: list[Frame] = []
        self._counts: dict[str, dict[str, int]] = {"rejected": {}, "failed": {}}

    def reject(self, doomed: Mask, reason: str, *, detail: pa.Array | None = None) -> None:
        """Drop the rows where `doomed`, a bool array as long as the frame now is, is True; `detail` is text as long."""
        self._drop(doomed, reason, "rejected", {} if detail is None else {columns.DETAIL: detail})

    def fail(self, doomed: Mask, reason: str, *, status: pa.Array, detail: pa.Array) -> None:
        """Drop rows that got no answer; `status` (int64) and `detail` (text) are as long as the frame now is."""
        self._drop(doomed, reason, "failed", {columns.STATUS: status, columns.DETAIL: detail})

    def outcome(self, **notes: int) -> Outcome:
        """What is left, what was dropped, and the count of the stage."""
        count = StageCount(
            stage=self._stage,
            unit=self._unit,
            rows_in=self._rows_in,
            rows_out=self._passed + len(self.frame),
            notes=notes,
            **self._counts,
        )
        return Outcome(self.frame, tuple(self._dropped), (count,))

    def _drop(self, doomed: Mask, reason: str, kind: str, why: dict[str, pa.Array]) -> None:
        number = int(doomed.sum())
        if number == 0:
            return
        frames = frames_of(self.frame)
        self._counts[kind][reason] = self._counts[kind].get(reason, 0) + number
        kept_why = {name: values.filter(pa.array(doomed)) for name, values in why.items()}
        self._dropped.append(_explained(frames.keep(self.frame, doomed), self._stage, reason, kept_why))
        self.frame = frames.keep(self.frame, ~doomed)


def _explained(frame: Frame, stage: str, reason: str, why: dict[str, Any]) -> Frame:
    rows = len(frame)
    explanation = {
        columns.STAGE: pa.repeat(pa.scalar(stage, pa.large_string()), rows),
        columns.REASON: pa.repeat(pa.scalar(reason, pa.large_string()), rows),
        columns.STATUS: pa.nulls(rows, pa.int64()),
        columns.DETAIL: pa.nulls(rows, pa.large_string()),
    }
    return frames_of(frame).attach(frame, explanation | why)
