"""What every outcome of a phase has to hold."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome


def reasons(outcome: Outcome) -> dict[str, dict[str, int]]:
    """Stage → reason → rows, of rejected and failed rows together; stages that dropped none are left out."""
    dropped = {count.stage: {**count.rejected, **count.failed} for count in outcome.stages}
    return {stage: rows for stage, rows in dropped.items() if rows}


def rejects(outcome: Outcome) -> pd.DataFrame:
    """All rows that an outcome dropped, as one frame."""
    return pd.concat(outcome.rejected) if outcome.rejected else pd.DataFrame({columns.REASON: [], columns.STAGE: []})


def assert_accounted(outcome: Outcome, rows_in: int) -> None:
    """Rows in = rows out + rejected + failed at every stage, counts are those of the rows, stages follow on."""
    assert outcome.stages[0].rows_in == rows_in
    assert outcome.stages[-1].rows_out == len(outcome.kept)
    for count in outcome.stages:
        assert count.missing == 0, count
        assert all(number > 0 for number in (*count.rejected.values(), *count.failed.values()))
    for before, after in zip(outcome.stages, outcome.stages[1:], strict=False):
        assert before.rows_out == after.rows_in or before.unit != after.unit
    found = Counter(zip(rejects(outcome)[columns.STAGE], rejects(outcome)[columns.REASON], strict=True))
    counted = {(stage, reason): rows for stage, dropped in reasons(outcome).items() for reason, rows in dropped.items()}
    assert found == counted


def assert_same_kind(empty: pd.DataFrame, full: pd.DataFrame) -> None:
    """No rows, and the columns and dtypes of a frame with rows."""
    assert len(empty) == 0 and len(full) > 0
    assert empty.dtypes.to_dict() == full.dtypes.to_dict()
    assert list(empty.columns) == list(full.columns)
