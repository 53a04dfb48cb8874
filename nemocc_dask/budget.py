"""What a run may take, and when it has: caps on money and tokens, and meters that count towards them."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from nemocc_dask.errors import BudgetReachedError
from nemocc_dask.settings import Job, Prices

CHARACTERS_PER_TOKEN = 4
"""For estimates, where an endpoint does not say what it bills: about what English texts have."""

CENTS = 6
"""Decimals of a cost: a short answer of a small model costs a hundred-thousandth of a dollar."""


class Tokens(NamedTuple):
    """Tokens of prompts and of answers.

    >>> Tokens(7, 11).plus(Tokens(1, 2))
    Tokens(prompt=8, completion=13)
    """

    prompt: int = 0
    completion: int = 0

    def plus(self, more: Tokens) -> Tokens:
        """Sums of both kinds."""
        return Tokens(self.prompt + more.prompt, self.completion + more.completion)

    def cost(self, prices: Prices | None) -> float | None:
        """What they cost, to a millionth; None where no price is known."""
        return None if prices is None else round(prices.cost(self.prompt, self.completion), CENTS)


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What a run may take in all; None is no bound.

    >>> Caps(max_tokens=100).reached_by(Tokens(60, 40))
    True
    """

    max_cost: float | None = None
    max_tokens: int | None = None
    prices: Prices | None = None

    @classmethod
    def of(cls, job: Job) -> Caps:
        """Those of a job."""
        return cls(max_cost=job.max_cost, max_tokens=job.max_tokens_total, prices=job.prices())

    def reached_by(self, tokens: Tokens) -> bool:
        """Whether so many tokens are as many as there may be, or cost as much."""
        return self._too_many(tokens) or self._too_dear(tokens)

    def error(self, tokens: Tokens) -> BudgetReachedError:
        """What to tell of a run that has taken so many tokens."""
        if self._too_many(tokens) or self.max_cost is None:
            return BudgetReachedError.of(f"has taken {sum(tokens):,} tokens", "max_tokens_total", self.max_tokens)
        return BudgetReachedError.of(f"has cost {tokens.cost(self.prices)}", "max_cost", self.max_cost)

    def _too_many(self, tokens: Tokens) -> bool:
        return self.max_tokens is not None and sum(tokens) >= self.max_tokens

    def _too_dear(self, tokens: Tokens) -> bool:
        cost = tokens.cost(self.prices)
        return self.max_cost is not None and cost is not None and cost >= self.max_cost


class Meter:
    """Counts the tokens of a run as they come in, from any thread.

    taken: those of the run so far.

    >>> meter = Meter(Caps(max_tokens=100), Tokens(50, 0))
    >>> meter.add({"prompt_tokens": 30, "completion_tokens": 10}), meter.add({"estimated_completion_tokens": 10})
    (False, True)
    """

    def __init__(self, caps: Caps, taken: Tokens) -> None:
        self._caps = caps
        self._lock = threading.Lock()
        self.taken = taken
        self.estimated = Tokens()

    def add(self, counts: Mapping[str, int]) -> bool:
        """Count on; True where a cap is reached. Other counts are no matter."""
        told, estimated = _tokens(counts, ""), _tokens(counts, "estimated_")
        with self._lock:
            self.estimated = self.estimated.plus(estimated)
            self.taken = self.taken.plus(told).plus(estimated)
            return self._caps.reached_by(self.taken)


def _tokens(counts: Mapping[str, int], kind: str) -> Tokens:
    return Tokens(counts.get(f"{kind}prompt_tokens", 0), counts.get(f"{kind}completion_tokens", 0))
