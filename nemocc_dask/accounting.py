"""What became of every row: counts per stage whose sums must agree, and the rows that were dropped, with reasons."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple, Self

from nemocc_dask.errors import AccountingError

Reasons = Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class StageCount:
    """Rows of one stage, in one unit: rows_in = rows_out + Σ rejected + Σ failed, exactly.

    stage: name of the stage. unit: what a row is there (documents, lines, segments, answers, results).
    rejected, failed: reason → rows. notes: further counts that are no part of the identity.

    >>> StageCount(stage="read", unit="documents", rows_in=3, rows_out=2, rejected={"null_text": 1}).missing
    0
    """

    stage: str
    unit: str
    rows_in: int
    rows_out: int
    rejected: Reasons = field(default_factory=dict)
    failed: Reasons = field(default_factory=dict)
    notes: Reasons = field(default_factory=dict)

    @property
    def missing(self) -> int:
        """Rows that nothing accounts for; zero unless there is a defect."""
        return self.rows_in - self.rows_out - sum(self.rejected.values()) - sum(self.failed.values())

    def __add__(self, other: Self) -> Self:
        if (self.stage, self.unit) != (other.stage, other.unit):
            raise AccountingError(f"Stage {self.stage!r} cannot be added to stage {other.stage!r}.")
        return type(self)(
            stage=self.stage,
            unit=self.unit,
            rows_in=self.rows_in + other.rows_in,
            rows_out=self.rows_out + other.rows_out,
            rejected=_summed(self.rejected, other.rejected),
            failed=_summed(self.failed, other.failed),
            notes=_summed(self.notes, other.notes),
        )

    def as_record(self) -> dict[str, Any]:
        """Plain values, as `run.json` holds them."""
        return {each.name: _plain(getattr(self, each.name)) for each in fields(self)}


class Outcome(NamedTuple):
    """What a phase returns: the rows that go on, those that do not, and the counts of its stages.

    kept: frame. rejected: frames with the columns of `columns.REJECT` beside their own. stages: in order.
    """

    kept: Any
    rejected: tuple[Any, ...]
    stages: tuple[StageCount, ...]


def chained(*outcomes: Outcome) -> Outcome:
    """Phases one after another as one outcome: what the last kept, and what all of them dropped and counted."""
    rejected = tuple(frame for outcome in outcomes for frame in outcome.rejected)
    stages = tuple(count for outcome in outcomes for count in outcome.stages)
    return Outcome(outcomes[-1].kept, rejected, stages)


def add_stages(parts: Iterable[Iterable[StageCount]]) -> tuple[StageCount, ...]:
    """Stage by stage sums over partitions, in the order in which stages first appear."""
    sums: dict[str, StageCount] = {}
    for stages in parts:
        for count in stages:
            sums[count.stage] = sums[count.stage] + count if count.stage in sums else count
    return tuple(sums.values())


def _summed(one: Reasons, other: Reasons) -> Reasons:
    return dict(Counter(one) + Counter(other))


def _plain(value: Any) -> Any:
    return {key: int(number) for key, number in value.items()} if isinstance(value, Mapping) else value
