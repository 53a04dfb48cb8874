"""What stored answers cost: sums that can be added."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from typing import TypeVar

Group = TypeVar("Group")


@dataclass(frozen=True, slots=True)
class Spent:
    """Sums over stored answers.

    responses: answers. prompt_tokens, completion_tokens: as billed; an unknown one counts as 0.
    http_requests: attempts of all answers. without_usage: answers of which either number of tokens is unknown.

    >>> Spent.of(7, None, 2) + Spent.of(7, 11, 1)
    Spent(responses=2, prompt_tokens=14, completion_tokens=11, http_requests=3, without_usage=1)
    """

    responses: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    http_requests: int = 0
    without_usage: int = 0

    @classmethod
    def of(cls, prompt_tokens: int | None, completion_tokens: int | None, attempts: int) -> Spent:
        """What one answer cost."""
        unknown = prompt_tokens is None or completion_tokens is None
        return cls(1, prompt_tokens or 0, completion_tokens or 0, attempts, int(unknown))

    def __add__(self, other: Spent) -> Spent:
        return Spent(*(one + another for one, another in zip(astuple(self), astuple(other), strict=True)))


def add_up(each: Iterable[tuple[Group, Spent]]) -> dict[Group, Spent]:
    """Sums by group.

    >>> add_up([("distill", Spent.of(7, 11, 1)), ("distill", Spent.of(7, 11, 1))])["distill"].responses
    2
    """
    sums: dict[Group, Spent] = {}
    for group, spent in each:
        sums[group] = sums[group] + spent if group in sums else spent
    return sums
