"""The index that an attempt leaves beside its lines, so that nobody has to look through them again.

A check sum, a line of JSON, and three arrays, little-endian. It is believed only where the check sum is right and the
files are as long as it says.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from nemocc_dask.llm.store.spent import Spent

VERSION = 1

_COLUMNS = ("<u8", "<u8", "<u4")
_LINE_BYTES = sum(np.dtype(kind).itemsize for kind in _COLUMNS)
_CHECK_DIGITS = 8

Origin = tuple[str, str]
"""Label and recipe."""


class SealedFile(NamedTuple):
    """A file that is finished: its name, its bytes, and how many lines of the arrays are its."""

    name: str
    size: int
    lines: int


class Sealed(NamedTuple):
    """All about a finished attempt.

    spent: sums by label and recipe. keys, offsets, lengths: as in `Lines`, file after file, as they were written.
    """

    files: list[SealedFile]
    spent: dict[Origin, Spent]
    keys: npt.NDArray[np.uint64]
    offsets: npt.NDArray[np.uint64]
    lengths: npt.NDArray[np.uint32]

    def is_right_about(self, sizes: Mapping[str, int]) -> bool:
        """Whether these are all the files of the attempt, byte for byte as long."""
        return {file.name: file.size for file in self.files} == dict(sizes)


def seal(sealed: Sealed) -> bytes:
    """As it is written."""
    fields = {
        "version": VERSION,
        "files": sealed.files,
        "spent": [[*origin, *astuple(spent)] for origin, spent in sealed.spent.items()],
    }
    columns: tuple[Any, ...] = (sealed.keys, sealed.offsets, sealed.lengths)
    arrays = (column.astype(kind).tobytes() for column, kind in zip(columns, _COLUMNS, strict=True))
    body = b"".join((json.dumps(fields).encode(), b"\n", *arrays))
    return f"{zlib.crc32(body):0{_CHECK_DIGITS}x}".encode() + body


def unseal(content: bytes) -> Sealed | None:
    """What was written; None where it is torn, damaged, or of another version."""
    check, body = content[:_CHECK_DIGITS], content[_CHECK_DIGITS:]
    if check != f"{zlib.crc32(body):0{_CHECK_DIGITS}x}".encode():
        return None
    head, _, arrays = body.partition(b"\n")
    fields = json.loads(head)
    if fields["version"] != VERSION:
        return None
    files = [SealedFile(*file) for file in fields["files"]]
    spent = {(label, recipe): Spent(*sums) for label, recipe, *sums in fields["spent"]}
    return Sealed(files, spent, *_split(arrays))


def _split(arrays: bytes) -> list[Any]:
    lines, at = len(arrays) // _LINE_BYTES, 0
    columns: list[Any] = []
    for kind in _COLUMNS:
        columns.append(np.frombuffer(arrays, dtype=kind, count=lines, offset=at))
        at += columns[-1].nbytes
    return columns
