"""Why two results differ: the fewest known habits of Curator that turn ours into Curator's, found by trying them.

A difference is never named by how it looks. A model makes our result, and with a habit put on what that habit makes of
it; only where the model with some habits gives to the letter what Curator gave are these habits the reason. So a habit
that is alleged and does not do it leaves its differences unexplained.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

Texts = tuple[str, ...]
"""What became of a unit (a document, an answer): the texts that were kept, none where it was dropped."""
Habits = frozenset[str]


class Habit(NamedTuple):
    """Something that Curator does otherwise.

    entry: number in the list of known mistakes, or what else it is.
    does: what it does, in words.
    """

    entry: str
    does: str


Model = Callable[[Habits, Collection[Any]], Mapping[Any, Texts]]
"""(habits put on, units asked for) → what becomes of each."""


class Difference(NamedTuple):
    """A unit with two results; `habits` is None where no habits explain it."""

    key: Any
    ours: Texts
    theirs: Texts
    habits: Habits | None


class Reason(NamedTuple):
    """A habit and its differences.

    units: those it takes part in. alone: those it explains by itself. example: what it does to one, others being on.
    """

    habit: str
    units: int
    alone: int
    example: str


class Comparison(NamedTuple):
    """What came of a comparison.

    compared: units that either side kept something of.
    unlike_model: those of which the model without any habit does not make what this package makes, so that nothing it
        says of them counts.
    """

    compared: int
    unlike_model: int
    differences: Sequence[Difference]
    reasons: Sequence[Reason]

    @property
    def unexplained(self) -> list[Difference]:
        """Differences for which no reason was found."""
        return [difference for difference in self.differences if difference.habits is None]


def compare(
    ours: Mapping[Any, Texts], theirs: Mapping[Any, Texts], model: Model, habits: Collection[str]
) -> Comparison:
    """Every unit that differs, with the smallest set of habits that makes Curator's result of ours."""
    keys = sorted({*ours, *theirs}, key=str)
    faithful = model(frozenset(), keys)
    unlike = {key for key in keys if faithful.get(key, ()) != ours.get(key, ())}
    differing = [key for key in keys if ours.get(key, ()) != theirs.get(key, ())]
    worn = _worn([key for key in differing if key not in unlike], theirs, model, habits)
    found = [Difference(key, ours.get(key, ()), theirs.get(key, ()), worn.get(key)) for key in differing]
    return Comparison(len(keys), len(unlike), found, list(_reasons(found, model)))


def _worn(
    differing: list[Any], theirs: Mapping[Any, Texts], model: Model, habits: Collection[str]
) -> dict[Any, Habits]:
    """The habits of each unit that some explain."""
    found: dict[Any, Habits] = {}
    for some in _from_fewest(habits):
        left = [key for key in differing if key not in found]
        if not left:
            break
        made = model(some, left)
        found |= {key: some for key in left if made.get(key, ()) == theirs.get(key, ())}
    return found


def _from_fewest(habits: Collection[str]) -> Iterator[Habits]:
    names = sorted(habits)
    return (frozenset(some) for size in range(1, len(names) + 1) for some in combinations(names, size))


def _reasons(differences: Sequence[Difference], model: Model) -> Iterator[Reason]:
    worn = [difference.habits for difference in differences if difference.habits is not None]
    for name in sorted({name for habits in worn for name in habits}):
        units = [habits for habits in worn if name in habits]
        plainest = _plainest(differences, name)
        habits = plainest.habits or frozenset()
        without = model(habits - {name}, [plainest.key]).get(plainest.key, ())
        yield Reason(name, len(units), units.count(frozenset({name})), example(without, plainest.theirs))


def _plainest(differences: Sequence[Difference], name: str) -> Difference:
    """One that this habit explains, with as few others, and as little text, as there is."""
    having = [difference for difference in differences if difference.habits and name in difference.habits]
    return min(
        having, key=lambda one: (len(one.habits or ()), not (one.ours and one.theirs), sum(map(len, one.theirs)))
    )


SHOWN = 24
"""Characters of an example from where the two results part."""


def example(ours: Texts, theirs: Texts) -> str:
    """Where two results part.

    >>> example(("Iron my_rusts.",), ("Iron myrusts.",))
    '`Iron my_rusts.` → `Iron myrusts.`'
    """
    one, other = "\n".join(ours), "\n".join(theirs)
    part = next((at for at, (left, right) in enumerate(zip(one, other, strict=False)) if left != right), None)
    start = max(0, (min(len(one), len(other)) if part is None else part) - SHOWN // 3)
    return " → ".join(_excerpt(text, start) if text else "(dropped)" for text in (one, other))


def _excerpt(text: str, start: int) -> str:
    shown = text[start : start + SHOWN].replace("\n", "⏎").replace("\r", "␍").replace("|", "¦").replace("`", "´")
    return f"`{'…' * (start > 0)}{shown}{'…' * (start + SHOWN < len(text))}`"
