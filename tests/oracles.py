"""The slow, obvious way of doing what the package does fast."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

BUDGETS = (435, 655, 1171, 1792)
"""Tokens of a segment in the published pipelines, of the four budgets they have."""


class Segment(NamedTuple):
    """A segment: its document, its number there, its text, and the tokens it was packed by."""

    document: object
    segment_id: int
    text: str
    tokens: int


def packed(documents: Iterable[tuple[object, str]], count: Callable[[str], int], max_tokens: int) -> list[Segment]:
    """Next-fit: the lines of each document, put together while their tokens and one for each line break fit."""
    lines = (_packed_lines(document, text, count, max_tokens) for document, text in documents)
    return [segment for segments in lines for segment in segments]


def _packed_lines(document: object, text: str, count: Callable[[str], int], max_tokens: int) -> list[Segment]:
    segments: list[Segment] = []
    for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n"):
        tokens = count(line)
        assert tokens <= max_tokens, "the oracle knows no over-long line"
        if segments and segments[-1].tokens + 1 + tokens <= max_tokens:
            last = segments.pop()
            segments.append(last._replace(text=f"{last.text}\n{line}", tokens=last.tokens + 1 + tokens))
        else:
            segments.append(Segment(document, len(segments), line, tokens))
    return segments
