"""Which rows of a run that is over are to be asked for once more, as its books tell; no shard is opened for it."""

from __future__ import annotations

from typing import Any, NamedTuple

from nemocc_dask.io.accounts import GENERATE
from nemocc_dask.io.manifest import PartRecord
from nemocc_dask.llm import Flaw
from nemocc_dask.settings import Job

Record = dict[str, Any]


class Again(NamedTuple):
    """failed: ask again for rows without an answer. flaws: and for those whose answer came with one of these.

    >>> Again(failed=True).rows({"tasks": {"distill": {"failed": {"timeout": 3}, "rejected": {}}}})
    3
    """

    failed: bool = False
    flaws: frozenset[Flaw] = frozenset()

    @classmethod
    def of(cls, job: Job) -> Again:
        """What a job asks for."""
        wanted: dict[Flaw, bool] = {"empty": job.retry_empty, "truncated": job.retry_truncated}
        return cls(job.retry_failed, frozenset(flaw for flaw, is_wanted in wanted.items() if is_wanted))

    @property
    def is_wanted(self) -> bool:
        """Whether anything is."""
        return self.failed or bool(self.flaws)

    def rows(self, books: Record) -> int:
        """How many rows of a run these are."""
        accounts = books["tasks"].values()
        failed = sum(sum(account["failed"].values()) for account in accounts) if self.failed else 0
        flawed = (account["rejected"].get(GENERATE, {}).get(flaw, 0) for account in accounts for flaw in self.flaws)
        return int(failed + sum(flawed))

    def are_in(self, record: PartRecord) -> bool:
        """Whether a partition has such rows."""
        asked = [count for stages in record.tasks.values() for count in stages if count.stage == GENERATE]
        return any((self.failed and count.failed) or self.flaws & count.rejected.keys() for count in asked)
