"""Questions and answers about sentences: six kinds, each a question that its sentence really answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from nemocc_dask.simulate.dice import Dice
from nemocc_dask.simulate.extract import clipped, numbers, words

MOST_PAIRS = 8
_LETTERS = "ABCD"


class Spot(NamedTuple):
    """A sentence somewhere in a document, and the one after it (after the last one comes the first)."""

    sentence: str
    next: str

    @classmethod
    def of(cls, document: Sequence[str], place: int) -> Spot:
        """The sentence at this place of the document."""
        return cls(clipped(document[place]), clipped(document[(place + 1) % len(document)]))


Pair = tuple[str, str]
Kind = Callable[[Spot, Dice], Pair]


def yes_or_no(spot: Spot, dice: Dice) -> Pair:
    """Asks whether something is said; it is."""
    if dice.chance(0.5):
        return f"Does the text say the following: {spot.sentence}", "Yes, it does."
    return f"Is the text silent about “{dice.pick(words(spot.sentence))}”?", f"No. It says: {spot.sentence}"


def open_ended(spot: Spot, dice: Dice) -> Pair:
    """Asks what is said about a word of the sentence."""
    return f"What does the text say about “{dice.pick(words(spot.sentence))}”?", spot.sentence


def multiple_choice(spot: Spot, dice: Dice) -> Pair:
    """Asks for a missing word; the wrong options stand elsewhere in the document and not in the sentence."""
    missing = dice.pick(words(spot.sentence))
    wrong = sorted({word for word in words(spot.next) if word not in spot.sentence})
    options = dice.shuffled([missing, *dice.some(wrong, len(_LETTERS) - 1)])
    listed = " ".join(f"{letter}) {option}" for letter, option in zip(_LETTERS, options, strict=False))
    question = f"Which word fills the gap in “{spot.sentence.replace(missing, '____', 1)}” {listed}"
    return question, f"{_LETTERS[options.index(missing)]}) {missing}"


def comparison(spot: Spot, dice: Dice) -> Pair:
    """Asks how two things compare; the answer is what is said about each."""
    one, other = dice.pick(words(spot.sentence)), dice.pick(words(spot.next))
    question = f"How does what the text says about “{one}” compare with what it says about “{other}”?"
    return question, f"On the one it says: {spot.sentence} On the other it says: {spot.next}"


def reading_comprehension(spot: Spot, dice: Dice) -> Pair:
    """Asks for the sentence that begins with a few words."""
    start = " ".join(spot.sentence.split()[: 4 + dice.below(3)])
    return f"Which whole sentence of the text begins with “{start}”?", spot.sentence


def problem_solving(spot: Spot, dice: Dice) -> Pair:
    """Arithmetic where the sentence has a number, otherwise a search."""
    found = numbers(spot.sentence)
    if not found:
        return (
            f"Which sentence helps a reader who looks for “{dice.pick(words(spot.sentence))}”?",
            spot.sentence,
        )
    number, factor = dice.pick(found), 2 + dice.below(4)
    return (
        f"The text has the figure {number}. What is {factor} times as much?",
        f"{factor} × {number} = {factor * number}",
    )


KINDS: tuple[Kind, ...] = (
    yes_or_no,
    open_ended,
    multiple_choice,
    comparison,
    reading_comprehension,
    problem_solving,
)


def pairs(document: Sequence[str], dice: Dice) -> list[Pair]:
    """Up to `MOST_PAIRS` pairs, each about another sentence, the kinds taking turns from a random order."""
    count = min(MOST_PAIRS, max(1, len(document) * 2 // 3))
    places, kinds = dice.some(range(len(document)), count), dice.shuffled(KINDS)
    return [kinds[turn % len(kinds)](Spot.of(document, place), dice) for turn, place in enumerate(places)]
