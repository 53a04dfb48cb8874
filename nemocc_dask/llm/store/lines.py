"""One stored answer is one line of JSON; where the lines of a file stand is found without reading them as JSON."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from nemocc_dask.errors import CallerError
from nemocc_dask.llm.body import REQUEST_KEY_CHARACTERS
from nemocc_dask.llm.reply import from_json
from nemocc_dask.llm.results import Answer
from nemocc_dask.llm.store.spent import Spent

START = b'{"key":"'
"""How each line begins; the key follows at once, so that it is found without parsing."""

LONG_FIELDS = b',"reasoning":'
"""The first of the two long fields. They stand last: what answers cost is read off the part before them."""

BLOCK_BYTES = 2**18
"""A file is looked through in blocks of this size, which the caches of a processor hold."""

MAX_LINE_BYTES = 2**32 - 1

_KEY = re.compile(f"[0-9a-f]{{{REQUEST_KEY_CHARACTERS}}}")
_KEY_AT = slice(len(START), len(START) + REQUEST_KEY_CHARACTERS)
_HEAD_BYTES = _KEY_AT.stop + 1
_PART_CHARACTERS = 16

_NOT_HEX = 255
_DIGITS = np.full(256, _NOT_HEX, dtype=np.uint8)
_DIGITS[np.frombuffer(b"0123456789abcdef", dtype=np.uint8)] = np.arange(16)

_TEXT, _COUNT = (str, type(None)), (int, type(None))
_TYPES: dict[str, tuple[type, ...]] = {
    "finish_reason": _TEXT, "model": (str,), "prompt_tokens": _COUNT, "completion_tokens": _COUNT,
    "reasoning_tokens": _COUNT, "attempts": (int,), "latency_s": (float, int), "sample": (int,), "reasoning": _TEXT,
    "text": _TEXT,
}  # fmt: skip
"""The fields of an answer that are stored: all but `reused`."""

_encode = json.JSONEncoder(ensure_ascii=False).encode


def part_of_key(key: str) -> int:
    """The first 64 bits of a key, by which it is looked up; the line itself tells whether it is the right one.

    Raises `CallerError` for what is no key.

    >>> part_of_key("00000000000000ff" + "0" * 16)
    255
    """
    if not _KEY.fullmatch(key):
        raise CallerError(
            f"{key!r} is no key of a stored answer: {REQUEST_KEY_CHARACTERS} characters of 0-9 and a-f, as request_key "
            "makes them."
        )
    return int(key[:_PART_CHARACTERS], 16)


# --- a line -----------------------------------------------------------------------------------------------------------


def names_of(label: str, recipe: str) -> str:
    """What `line_of` says of the origin of an answer; the same for many lines, so it is made once."""
    return f'"label":{_encode(label)},"recipe":{_encode(recipe)}'


def line_of(key: str, names: str, answer: Answer, at: float) -> bytes:
    """An answer as a line, in UTF-8. Put together by hand: `json.dumps` takes twice as long.

    >>> answer = Answer("Hi", "stop", "m", 7, 11, 1, 0.25, 0)
    >>> line_of("0" * 32, names_of("distill", "r"), answer, 1.0).decode()
    '{"key":"000...000","label":"distill","recipe":"r","at":1.000000,"finish_reason":"stop",...,"text":"Hi"}\\n'
    """
    return (
        f'{{"key":"{key}",{names},"at":{at:.6f},"finish_reason":{_text(answer.finish_reason)},'
        f'"model":{_encode(answer.model)},"prompt_tokens":{_count(answer.prompt_tokens)},'
        f'"completion_tokens":{_count(answer.completion_tokens)},"reasoning_tokens":{_count(answer.reasoning_tokens)},'
        f'"attempts":{answer.attempts},"latency_s":{answer.latency_s},"sample":{answer.sample},'
        f'"reasoning":{_text(answer.reasoning)},"text":{_text(answer.text)}}}\n'
    ).encode("utf-8", "replace")


def _text(value: str | None) -> str:
    return "null" if value is None else _encode(value)


def _count(value: int | None) -> str:
    return "null" if value is None else str(value)


class Stored(NamedTuple):
    """What a line says: the key, the answer, and when it was stored, in seconds since 1970."""

    key: str
    at: float
    answer: Answer


def read_line(line: bytes) -> Stored | None:
    """The answer of a line, with `reused` set; None where it cannot be read."""
    fields = _fields(line)
    values: dict[str, Any] = {name: fields.get(name) for name in _TYPES}
    if not all(type(values[name]) in types for name, types in _TYPES.items()):
        return None
    if b"\\u" in line and not _encodes(values):
        return None
    key, at = fields.get("key"), fields.get("at")
    if not isinstance(key, str) or not isinstance(at, float | int):
        return None
    return Stored(key, at, Answer(**values, reused=True))


def paid_for(line: bytes) -> tuple[tuple[str, str], Spent] | None:
    """Label and recipe of a line and what it cost, read off its short fields; None where they cannot be read."""
    fields = _fields(line[: max(0, line.find(LONG_FIELDS))] + b"}")
    origin = fields.get("label"), fields.get("recipe")
    cost = [fields.get(name) for name in ("prompt_tokens", "completion_tokens", "attempts")]
    if not all(isinstance(each, str) for each in origin) or not all(type(each) in _COUNT for each in cost):
        return None
    return origin, Spent.of(cost[0], cost[1], cost[2] or 0)  # type: ignore[return-value]


def _fields(line: bytes) -> dict[str, Any]:
    fields = from_json(line)
    return fields if isinstance(fields, dict) else {}


def _encodes(values: dict[str, Any]) -> bool:
    """Whether no text holds half a surrogate pair, which nothing stored here does, but an edited line may."""
    try:
        for value in values.values():
            if isinstance(value, str):
                value.encode()
    except UnicodeEncodeError:
        return False
    return True


# --- the lines of a file ----------------------------------------------------------------------------------------------


class Lines(NamedTuple):
    """Where lines stand in a file: first 64 bits of their keys, uint64; offsets, uint64; lengths, uint32; all (n,).

    end: where the last whole line ends. unreadable: whole lines that do not look like stored answers.
    """

    keys: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]
    end: int
    unreadable: int

    @classmethod
    def none(cls, end: int) -> Lines:
        """No lines up to there."""
        return cls(np.zeros(0, np.uint64), np.zeros(0, np.uint64), np.zeros(0, np.uint32), end, 0)


def find_lines(file: BinaryIO, start: int = 0) -> Lines:
    """Where the whole lines of an open file stand, from the byte it is at, which is number `start` of the file.

    Looks only at how a line begins. What follows the last line break is left out: torn, or being written.
    """
    found, end = [Lines.none(start)], start
    for block in whole_lines(file):
        found.append(_lines_of(block, end))
        end += len(block)
    return Lines(
        np.concatenate([each.keys for each in found]),
        np.concatenate([each.offsets for each in found]),
        np.concatenate([each.lengths for each in found]),
        end,
        sum(each.unreadable for each in found),
    )


def whole_lines(file: BinaryIO) -> Iterator[bytes]:
    """The rest of a file in blocks of whole lines; what follows its last line break is left out."""
    rest = b""
    # A line longer than a block is read in pieces that double, so that it is not copied many times.
    while block := file.read(max(BLOCK_BYTES, len(rest))):
        block = rest + block
        end = block.rfind(b"\n") + 1
        rest = block[end:]
        if end:
            yield block[:end]


def _lines_of(block: bytes, start: int) -> Lines:
    content = np.frombuffer(block, dtype=np.uint8)
    breaks = np.flatnonzero(content == ord("\n"))
    begins = np.concatenate([[0], breaks[:-1] + 1])[: len(breaks)].astype(np.int64)
    lengths = breaks + 1 - begins
    fits = (lengths > _HEAD_BYTES) & (lengths <= MAX_LINE_BYTES)
    begins, lengths = begins[fits], lengths[fits]
    heads = content[begins[:, None] + np.arange(_HEAD_BYTES)]
    digits = _DIGITS[heads[:, _KEY_AT]]
    good = (heads[:, : len(START)] == np.frombuffer(START, dtype=np.uint8)).all(axis=1)
    good &= (digits != _NOT_HEX).all(axis=1) & (heads[:, -1] == ord('"'))
    pairs = digits[good, :_PART_CHARACTERS]
    keys = (pairs[:, 0::2] << 4 | pairs[:, 1::2]).reshape(-1, 8).copy().view(">u8").reshape(-1).astype(np.uint64)
    offsets = (begins[good] + start).astype(np.uint64)
    return Lines(keys, offsets, lengths[good].astype(np.uint32), start + len(block), len(breaks) - len(keys))
