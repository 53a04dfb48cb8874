"""What becomes of single answers: cut, emptied, filtered, or not the JSON that was asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from nemocc_dask.simulate.asked import Asked
from nemocc_dask.simulate.dice import Dice, digest
from nemocc_dask.simulate.faults import Faults
from nemocc_dask.simulate.wire import Choice, tokens

BAD_JSON = "bad_json"


def _emptied(choice: Choice) -> Choice:
    return replace(choice, content="", finish_reason="stop")


def _lost(choice: Choice) -> Choice:
    return replace(choice, content=None, finish_reason="stop", lost_tokens=tokens(choice.content or ""))


def _half(choice: Choice, reason: str) -> Choice:
    content = choice.content or ""
    return replace(choice, content=content[: len(content) // 2], finish_reason=reason)


SPOILS: Mapping[str, Callable[[Choice], Choice]] = {
    "empty": _emptied,
    "truncate": lambda choice: _half(choice, "length"),
    "null": _lost,
    "content_filter": lambda choice: _half(choice, "content_filter"),
}
"""What may happen to an answer, in the order in which it is tried (bad JSON last); knob `<name>_rate` is the rate."""


def spoilt(
    choices: Sequence[Choice], asked: Asked, faults: Faults, body: bytes, attempt: int
) -> tuple[list[Choice], str | None]:
    """The choices, some of them spoilt as the knobs say, and what happened last."""
    kept, happened = list(choices), None
    if faults.none:
        return kept, None
    for at, choice in enumerate(choices):
        fault = next((name for name in SPOILS if faults.strikes(name, body, attempt, at)), None)
        if fault is not None:
            kept[at], happened = SPOILS[fault](choice), fault
        elif asked.json is not None and faults.strikes(BAD_JSON, body, attempt, at):
            dice = Dice(digest(b"bad_json", body, b"%d.%d" % (attempt, at)))
            content = broken_json(choice.content or "", dice, any_object=asked.json.any_object)
            kept[at], happened = replace(choice, content=content), BAD_JSON
    return kept, happened


def broken_json(content: str, dice: Dice, *, any_object: bool = False) -> str:
    """An answer that fails whoever wanted that JSON object: none at all, a part of it, or one of another shape.

    any_object: whether any object would have done. What is no JSON already stays as it is.

    >>> sorted({broken_json('{"a": "b"}', Dice(b"%d" % key)) for key in range(50)})
    ['Sure! Here it is:\\n\\n{"a": "b"}', '[{"a": "b"}]', '{"a":', '{"a": [[["b"]]]}']
    """
    try:
        document = json.loads(content)
    except ValueError:
        return content
    return dice.pick(BREAKS[:-1] if any_object else BREAKS)(content, document)


def _of_another_kind(_: str, document: dict[str, Any]) -> str:
    """Lists in lists are what no usual schema of a value allows."""
    first = next(iter(document), "answer")
    return json.dumps({**document, first: [[[document.get(first)]]]}, ensure_ascii=False)


BREAKS: tuple[Callable[[str, Any], str], ...] = (
    lambda content, _: f"Sure! Here it is:\n\n{content}",
    lambda content, _: f"[{content}]",
    lambda content, _: content[: len(content) // 2],
    _of_another_kind,
)
"""Ways to miss a schema; the last one is an object all the same."""
