"""Lines of a JSONL file, by ranges of its bytes; of a compressed one, of the bytes that come out of it."""

from __future__ import annotations

import re
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.json as pj

from nemocc_dask.errors import InputError
from nemocc_dask.io.files import (
    compression_of,
    file_size,
    look_into,
    named,
    opened,
    opened_for_ranges,
    unreadable,
    version_of,
)
from nemocc_dask.io.streams import STREAMS

LONGEST_LINE = 512 << 20
"""Bytes of a line beyond which a file is refused."""

_SAMPLE_BYTES = 1 << 16
_PIECE_BYTES = 1 << 20

_CHANGED_TYPE = r"^Column\(/(.*)\) changed from (\w+) to (\w+)"
"""Arrow's words for a field whose type differs from line to line."""


# --- how much there is ------------------------------------------------------------------------------------------------


def bytes_and_bytes_per_line(path: str) -> tuple[int, float]:
    """Bytes of the file, unpacked, and the mean of its lines; 0 bytes where all are blank.

    A compressed file is unpacked once for that; of others the first lines tell. Raises `InputError`.
    """
    is_packed = compression_of(path) is not None
    sample = look_into(path, lambda file: bytes(file.read(_SAMPLE_BYTES)), opened if is_packed else opened_for_ranges)
    if not sample:
        raise unreadable(path, "it is empty")
    if not sample.strip() and len(sample) < _SAMPLE_BYTES:
        return 0, 1.0
    if not is_packed:
        unended = len(sample) < _SAMPLE_BYTES and not sample.endswith(b"\n")  # all of the file, and its last line
        return file_size(path), len(sample) / max(1, sample.count(b"\n") + unended)
    size, lines = look_into(path, _count)
    return size, size / max(1, lines)


def _count(file: Any) -> tuple[int, int]:
    """Bytes and lines of all that is left."""
    size, breaks, last = 0, 0, b""
    while piece := file.read(_PIECE_BYTES):
        size, breaks, last = size + len(piece), breaks + piece.count(b"\n"), piece
    return size, breaks + (not last.endswith(b"\n"))


# --- reading ----------------------------------------------------------------------------------------------------------


def read_lines(path: str, start: int, stop: int, wanted: pa.Schema | None) -> pa.Table:
    """The lines that begin in a range of bytes, under the wanted schema, or for None under the one that they have.

    Raises `InputError` that names the line which cannot be read.
    """
    content = _lines(path, start, stop)
    if not content.strip():
        return wanted.empty_table() if wanted is not None else pa.schema([]).empty_table()
    try:
        return _parsed(content, wanted)
    except pa.ArrowInvalid:
        bad, reason = _first_bad_line(bytes(content), wanted)
    raise _bad_line(path, start, bad, reason) from None


def _parsed(content: bytes | bytearray, wanted: pa.Schema | None) -> pa.Table:
    reading = pj.ReadOptions(block_size=len(content) + 1, use_threads=False)
    unexpected = "infer" if wanted is None else "ignore"
    parsing = pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior=unexpected)
    table = pj.read_json(pa.BufferReader(pa.py_buffer(content)), read_options=reading, parse_options=parsing)
    table.validate(full=True)  # text may not be UTF-8
    return table


def _lines(path: str, start: int, stop: int) -> bytearray:
    try:
        if compression_of(path) is None:
            return look_into(path, lambda file: Lines.of_range(file, start).take(start, stop), opened_for_ranges)
        key = (path, version_of(path))
        return named(path, lambda: STREAMS.take(key, partial(_unpacked, path), start, stop))
    except _OverlongLineError as error:
        raise _bad_line(path, start, error.number, f"it is longer than {LONGEST_LINE:,} bytes") from None


def _unpacked(path: str) -> Lines:
    return Lines(opened(path))


class Lines:
    """The lines of an open file, by ranges of bytes, from its front on.

    position: of the file's next byte.
    """

    def __init__(self, file: Any, position: int = 0) -> None:
        self.at = position
        self._file = file
        self._position = position
        self._ahead = b""
        self._a_line_begins = position == 0

    @classmethod
    def of_range(cls, file: Any, start: int) -> Lines:
        """At the byte before a range, which tells whether a line begins at its first byte."""
        file.seek(max(0, start - 1))
        return cls(file, max(0, start - 1))

    @property
    def is_over(self) -> bool:
        """Whether the file has no more bytes, for which it may have to be read on."""
        self._ahead = self._ahead or self._file.read(_PIECE_BYTES)
        return not self._ahead

    def take(self, start: int, stop: int) -> bytearray:
        """The lines that begin in a range which does not begin before `at`, the last one to its end.

        >>> import io
        >>> lines = Lines(io.BytesIO(b"one\\ntwo\\nthree"))
        >>> bytes(lines.take(0, 5)), bytes(lines.take(5, 7)), bytes(lines.take(7, 13))
        (b'one\\ntwo\\n', b'', b'three')
        """
        while self._position < start and self._next(start - self._position):
            pass
        while not self._a_line_begins and self._position < stop and self._next(stop - self._position, of_line=True):
            pass
        content = bytearray()
        if self._a_line_begins:
            while self._position < stop and (piece := self._next(stop - self._position)):
                content += piece
            self._end_line(content)
        self.at = stop
        return content

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _end_line(self, content: bytearray) -> None:
        begin, most = content.rfind(b"\n") + 1, _SAMPLE_BYTES  # most lines end soon
        while not self._a_line_begins and (piece := self._next(most, of_line=True)):
            content += piece
            most = _PIECE_BYTES
            if len(content) - begin > LONGEST_LINE:
                raise _OverlongLineError(content.count(b"\n", 0, begin) + 1)

    def _next(self, most: int, *, of_line: bool = False) -> bytes:
        """Up to so many bytes, with `of_line` none beyond the end of the line; nothing at the end of the file."""
        ahead = self._ahead or self._file.read(min(max(most, _SAMPLE_BYTES), _PIECE_BYTES))
        line = ahead.find(b"\n", 0, most) + 1 if of_line else 0
        piece, self._ahead = ahead[: line or most], ahead[line or most :]
        self._position += len(piece)
        self._a_line_begins = piece.endswith(b"\n") if piece else self._a_line_begins
        return piece


class _OverlongLineError(Exception):
    """A line longer than any that is read; number: which of those that were asked for, from 1 on."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


# --- what is wrong ----------------------------------------------------------------------------------------------------


def _first_bad_line(content: bytes, wanted: pa.Schema | None) -> tuple[int, str]:
    """Number of the first line that cannot be read after those before it, and why."""
    lines = content.split(b"\n")
    good, bad, reason = 0, len(lines), _complaint(lines, wanted)
    while bad - good > 1:
        middle = (good + bad) // 2
        complaint = _complaint(lines[:middle], wanted)
        good, bad, reason = (good, middle, complaint) if complaint else (middle, bad, reason)
    return bad, reason


def _complaint(lines: list[bytes], wanted: pa.Schema | None) -> str:
    content = b"\n".join(lines)
    try:
        _parsed(content, wanted) if content.strip() else None
    except pa.ArrowInvalid as error:
        words = re.sub(r"^JSON parse error: |\.? in row \d+$", "", str(error).strip())
        return re.sub(_CHANGED_TYPE, r"the field '\1' is a \3 here, and was a \2 before", words)
    return ""


def _bad_line(path: str, start: int, number: int, reason: str) -> InputError:
    return unreadable(path, f"line {_lines_before(path, start) + number}: {reason}")


def _lines_before(path: str, start: int) -> int:
    """Lines of the file before the first that begins in a range: those that end before it, and the one it cuts."""
    return look_into(path, lambda file: _line_breaks(file, start - 1)) + 1 if start else 0


def _line_breaks(file: Any, stop: int) -> int:
    starts = range(0, stop, _SAMPLE_BYTES)
    return sum(file.read(min(_SAMPLE_BYTES, stop - start)).count(b"\n") for start in starts)
