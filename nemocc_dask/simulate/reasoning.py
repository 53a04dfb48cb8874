"""What a reasoning model writes before its answer, and the places where servers put it."""

from __future__ import annotations

from nemocc_dask.simulate.dice import Dice
from nemocc_dask.simulate.extract import clipped, sentences, telling
from nemocc_dask.simulate.knobs import CONTENT, NONE, THINK

OPENS, CLOSES = "<think>\n", "\n</think>\n\n"
FEWEST_QUOTED, MOST_QUOTED = 2, 4
"""How many sentences of the document a model thinks about."""


def thought(document: str, dice: Dice) -> str:
    """A few sentences about the document, some of them its own.

    >>> thought("It rains.", Dice(b""))
    'Sentences in the text: 1. It says: It rains. The answer has to keep to that.'
    """
    found = sentences(document)
    quoted = dice.some(telling(found), FEWEST_QUOTED + dice.below(1 + MOST_QUOTED - FEWEST_QUOTED))
    said = " ".join(f"It says: {clipped(sentence)}" for sentence in quoted)
    return f"Sentences in the text: {len(found)}. {said} The answer has to keep to that.".replace("think>", "")


def with_thought(answer: str, thought: str, where: str) -> str:
    """All that the model writes: its thoughts, then its answer.

    where: the knob `reasoning`. Only `think` writes the opening tag: for the others it came from the template,
    or is taken out by the server together with the closing one.

    >>> with_thought("Yes.", "Hm.", "think"), with_thought("Yes.", "Hm.", "open"), with_thought("Yes.", "Hm.", "none")
    ('<think>\\nHm.\\n</think>\\n\\nYes.', 'Hm.\\n</think>\\n\\nYes.', 'Yes.')
    """
    if where == NONE:
        return answer
    return (OPENS if where == THINK else "") + thought + CLOSES + answer


def taken_apart(written: str, where: str) -> tuple[str | None, str | None]:
    """The content and what is sent beside it, of what was written; no content where the thoughts never ended.

    >>> taken_apart("Hm.\\n</think>\\n\\nYes.", "content"), taken_apart("Hm", "content"), taken_apart("Yes.", "none")
    (('Yes.', 'Hm.'), (None, 'Hm'), ('Yes.', None))
    """
    if where != CONTENT:
        return written, None
    reasoning, closed, content = written.partition(CLOSES)
    return (content if closed else None), reasoning
