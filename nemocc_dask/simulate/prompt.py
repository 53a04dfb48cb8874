"""Reads a chat as a model would: what is asked for, and the document it is asked about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_OPENS, _CLOSES = "\n<document>\n", "\n</document>\n"
_TEMPLATE_CLOSES = "\n</document>"
"""In a rendered chat template what closes the message may stand on the same line."""


@dataclass(frozen=True)
class Message:
    """One message of a chat."""

    role: str
    content: str


@dataclass(frozen=True)
class Prompt:
    """The instructions (all messages, without the document) and the document."""

    instructions: str
    document: str


def read_prompt(messages: Sequence[Message]) -> Prompt:
    """What is asked for, and the document that is asked about.

    The document stands in the last user message between a line `<document>` and the last line `</document>`.
    Where those lines are missing the whole user message is the document, and instructions as well.

    >>> read_prompt([Message("user", "Shorten:\\n<document>\\nA. B.\\n</document>")])
    Prompt(instructions='Shorten:\\n', document='A. B.')
    """
    asked = next((message for message in reversed(messages) if message.role == "user"), messages[-1])
    before, document, after = _around_document(asked.content, _CLOSES)
    others = [message.content for message in messages if message is not asked]
    return Prompt(instructions="\n".join([*others, before, after]), document=document)


def read_text_prompt(text: str) -> Prompt:
    """The same of a plain text, such as a chat that its client rendered with the model's template.

    >>> read_text_prompt("<s>Shorten:\\n<document>\\nA. B.\\n</document></s>")
    Prompt(instructions='<s>Shorten:</s>', document='A. B.')
    """
    before, document, after = _around_document(text, _TEMPLATE_CLOSES)
    return Prompt(instructions=before + after, document=document)


def _around_document(content: str, closing: str) -> tuple[str, str, str]:
    framed = f"\n{content}\n"
    opens, closes = framed.find(_OPENS), framed.rfind(closing)
    if opens < 0 or closes < opens:
        return content, content, ""
    document = framed[opens + len(_OPENS) : closes] if closes >= opens + len(_OPENS) else ""
    return framed[1:opens], document, framed[closes + len(closing) : -1]
