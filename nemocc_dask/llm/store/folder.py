"""What the two kinds of folders have in common, and the names of the files in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple, Protocol

LINES, SIDECAR = ".jsonl", ".index"
"""What names of files end in. They begin with the name of their attempt, which has no dot in it."""

GAP_BYTES = 2**16
"""Lines that are nearer than this are read in one go."""

SPAN_BYTES = 2**22
"""About as much is read in one go at most."""


class Span(NamedTuple):
    """Bytes of a file to be read in one go, and the lines in them as pairs of offset and length."""

    file: str
    start: int
    end: int
    lines: tuple[tuple[int, int], ...]


class Written(NamedTuple):
    """Where a line went.

    trouble: why the job has to stop though this line is safe; None where it has not to.
    """

    file: str
    offset: int
    trouble: str | None = None


class Writer(Protocol):
    """Writes the lines of one attempt. `append` is called on one thread, the others on any."""

    def append(self, line: bytes) -> Written:
        """Write a line. Raises `JobError` where it is not stored."""

    def sync(self) -> None:
        """Make what is written outlive the machine."""

    def close(self) -> None:
        """Sync, and end."""


class Folder(Protocol):
    """A folder of files on some file system.

    url: its address. readers: threads that suit the reading of many of its files.

    Raises `JobError` where something cannot be read or written, `FileNotFoundError` for a file that is not there; what
    `open` gives raises what the system raises.
    """

    url: str
    readers: int

    def path(self, name: str) -> str:
        """Address of a file, as a person would name it."""

    def sizes(self) -> dict[str, int]:
        """Name → bytes of each file; nothing where there is no folder."""

    def open(self, name: str, start: int = 0) -> BinaryIO:
        """A file to be read from a byte on."""

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """The bytes of each span; fewer, or none, where there are not so many."""

    def write(self, name: str, content: bytes) -> None:
        """Write a file whole."""

    def writer(self, attempt: str) -> Writer:
        """For the lines of a new attempt."""


def attempt_of(name: str) -> str:
    """The attempt that a file belongs to.

    >>> attempt_of("a-part-00000.00012.jsonl"), attempt_of("a-part-00000.index")
    ('a-part-00000', 'a-part-00000')
    """
    return name.partition(".")[0]


def files_by_attempt(sizes: Mapping[str, int]) -> dict[str, dict[str, int]]:
    """Attempt → name → bytes of its files of lines, in order of their names.

    >>> files_by_attempt({"a.00001.jsonl": 2, "a.00000.jsonl": 1, "a.index": 3, "notes.txt": 4})
    {'a': {'a.00000.jsonl': 1, 'a.00001.jsonl': 2}}
    """
    attempts: dict[str, dict[str, int]] = {}
    for name in sorted(sizes):
        if name.endswith(LINES):
            attempts.setdefault(attempt_of(name), {})[name] = sizes[name]
    return attempts


def spans_of(file: str, lines: Sequence[tuple[int, int]]) -> Iterator[Span]:
    """What to read to get lines, given in order of their offsets: neighbours in one go.

    >>> [span[1:3] for span in spans_of("a.jsonl", [(0, 10), (20, 10), (10**6, 10)])]
    [(0, 30), (1000000, 1000010)]
    """
    gathered: list[tuple[int, int]] = []
    for offset, length in lines:
        if gathered:
            start, end = gathered[0][0], sum(gathered[-1])
            if offset - end > GAP_BYTES or offset + length - start > SPAN_BYTES:
                yield Span(file, start, end, tuple(gathered))
                gathered = []
        gathered.append((offset, length))
    if gathered:
        yield Span(file, gathered[0][0], sum(gathered[-1]), tuple(gathered))
