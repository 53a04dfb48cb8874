"""Chance that repeats: a draw is a function of what it was made from, on every machine and Python version."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")

DIGEST_BYTES = 8
"""Enough that two of a million bodies share a digest with a chance of 3 in 100 million."""


def digest(*parts: bytes) -> bytes:
    """Eight bytes that stand for the parts and for their boundaries.

    >>> digest(b"ab", b"c") == digest(b"a", b"bc")
    False
    """
    together = b"".join([b"%d:%b" % (len(part), part) for part in parts])
    return hashlib.blake2b(together, digest_size=DIGEST_BYTES).digest()


def share(*parts: bytes) -> float:
    """A number in [0, 1), uniform over different parts."""
    return int.from_bytes(digest(*parts)) / 2.0 ** (8 * DIGEST_BYTES)


class Dice:
    """Choices drawn one after another from a key.

    Built on `random.random` alone, the one method of the generator that promises the same numbers for ever.

    >>> Dice(b"key").pick("abc") == Dice(b"key").pick("abc")
    True
    """

    def __init__(self, key: bytes) -> None:
        self._random = random.Random(int.from_bytes(key)).random

    def chance(self, rate: float) -> bool:
        """True in `rate` of the cases."""
        return self._random() < rate

    def below(self, bound: int) -> int:
        """A whole number from 0 to bound - 1."""
        return int(self._random() * bound)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items."""
        return items[self.below(len(items))]

    def some(self, items: Sequence[T], count: int) -> list[T]:
        """`count` of the items, each place once, in their own order; all of them if there are no more."""
        return [items[place] for place in sorted(self._places(len(items), count))]

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """All items in another order."""
        return [items[place] for place in self._places(len(items), len(items))]

    def _places(self, total: int, count: int) -> list[int]:
        """The first `count` steps of a Fisher-Yates shuffle; `below`, spelt out where most draws are made."""
        places, throw = list(range(total)), self._random
        for step in range(min(count, total)):
            other = step + int(throw() * (total - step))
            places[step], places[other] = places[other], places[step]
        return places[:count]
