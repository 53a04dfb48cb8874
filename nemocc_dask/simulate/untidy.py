"""Habits by which real models spoil an answer's form: what cleaning has to put up with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from nemocc_dask.simulate.dice import Dice

UNTIDY_SHARE = 0.2
"""About one answer in five shows one of its format's habits."""


@dataclass(frozen=True)
class Draft:
    """An answer in its parts: what comes before, the line the prompt asked for, and the rest."""

    body: str
    marker: str = ""
    before: str = ""

    def text(self) -> str:
        """The parts put together."""
        return self.before + (f"{self.marker}\n" if self.marker else "") + self.body


Habit = Callable[[Draft], Draft]


def leading_blank_line(draft: Draft) -> Draft:
    """Begins with an empty line."""
    return replace(draft, before="\n")


def bold_marker(draft: Draft) -> Draft:
    """Prints the marker in bold."""
    return replace(draft, marker=f"**{draft.marker}**")


def quoted(draft: Draft) -> Draft:
    """Puts straight quotes round the whole."""
    return _enclosed(draft, '""')


def curly_quoted(draft: Draft) -> Draft:
    """Puts curly quotes round the whole."""
    return _enclosed(draft, "“”")


def eager_preamble(draft: Draft) -> Draft:
    """Says what it is about to do."""
    return replace(draft, before="Sure! Here is what you asked for:\n\n")


def numbered(draft: Draft) -> Draft:
    """Numbers the items of a list."""
    lines = draft.body.split("\n")
    return replace(draft, body="\n".join(f"{at}. {line.removeprefix('- ')}" for at, line in enumerate(lines, 1)))


def starred(draft: Draft) -> Draft:
    """Begins the items of a list with a star."""
    return replace(draft, body="\n".join(f"* {line.removeprefix('- ')}" for line in draft.body.split("\n")))


def _enclosed(draft: Draft, marks: str) -> Draft:
    """Leaves a body alone that has such marks inside: nobody could tell whether one pair encloses it."""
    if any(mark in draft.body for mark in marks):
        return draft
    return replace(draft, body=f"{marks[0]}{draft.body}{marks[1]}")


def perhaps_untidy(draft: Draft, habits: tuple[Habit, ...], dice: Dice) -> Draft:
    """The draft, in `UNTIDY_SHARE` of the cases with one of the habits applied."""
    return dice.pick(habits)(draft) if dice.chance(UNTIDY_SHARE) else draft
