"""From what was asked to the answers a model gives: the body, the reasoning before it, and where it ends."""

from __future__ import annotations

from collections.abc import Callable

from nemocc_dask.simulate.answers import answer_to, format_of
from nemocc_dask.simulate.asked import Asked
from nemocc_dask.simulate.dice import Dice, digest
from nemocc_dask.simulate.knobs import CONTENT, NONE, THINK
from nemocc_dask.simulate.prompt import Prompt
from nemocc_dask.simulate.reasoning import taken_apart, thought, with_thought
from nemocc_dask.simulate.wire import Choice, limited

TRIES_TO_DIFFER = 4
"""How often an answer that equals an earlier one is drawn again: a short document holds few answers."""
JSON = "json"
"""The name of answers that are JSON, beside those of the formats."""


def answers(asked: Asked, *, seed: int, count: int, reasoning: str) -> tuple[str, list[Choice]]:
    """The name of the format, and `count` answers in it, drawn from what was sent, seed and their number.

    reasoning: the knob. A plain completion has no field for it, so there it stands in the text, within its tags.
    """
    where = THINK if asked.plain and reasoning == CONTENT else reasoning
    prompt, key = asked.prompt(), digest(asked.text(), b"%d" % seed)
    name, compose = _composer(asked, prompt)
    bodies = _different(compose, key, count)
    return name, [_choice(asked, prompt, body, where, key + b"%d" % at) for at, body in enumerate(bodies)]


def _composer(asked: Asked, prompt: Prompt) -> tuple[str, Callable[[Dice], str]]:
    wanted_json = asked.json
    if wanted_json is not None:
        return JSON, lambda dice: wanted_json.answer(prompt.document, dice)
    wanted = format_of(prompt.instructions)
    return wanted.name, lambda dice: answer_to(prompt, wanted, dice)


def _different(compose: Callable[[Dice], str], key: bytes, count: int) -> list[str]:
    """So many answers; they differ where the document allows it."""
    bodies: list[str] = []
    for index in range(count):
        for again in range(TRIES_TO_DIFFER):
            body = compose(Dice(digest(key, b"%d.%d" % (index, again))))
            if body not in bodies:
                break
        bodies.append(body)
    return bodies


def _choice(asked: Asked, prompt: Prompt, body: str, where: str, key: bytes) -> Choice:
    """One answer; stop strings and the bound on its tokens look at all that is written, reasoning included."""
    written = body if where == NONE else with_thought(body, thought(prompt.document, Dice(key)), where)
    kept, reason = limited(written, stop=asked.stop, max_tokens=asked.max_tokens)
    content, reasoning = taken_apart(kept, where)
    return Choice(content, reason, reasoning)
