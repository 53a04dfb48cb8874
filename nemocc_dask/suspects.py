"""Finds the documents that end the process which works on them, and has their partition done without them.

A bug in a library, or a text that takes all memory, takes the whole worker along, and what else that has in hand. So a
partition over which workers have died is looked into first, by a process of its own: it goes through the documents in
ranges, and the range in which it dies is cut into smaller ones, down to single documents.
"""

from __future__ import annotations

import logging
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import IO, Any, Self

import psutil
from distributed import get_worker

from nemocc_dask.errors import JobError
from nemocc_dask.partition import Plan, Work, rehearse, run_partition

log = logging.getLogger("nemocc_dask")

PIECES = 8
"""A range in which a process has died is cut into so many: a new process costs two seconds, so few should die."""

LONGEST_S = 600.0
"""What takes longer than this counts as having died."""

WATCH_EVERY_S = 0.2

NOTHING = range(0)
"""Of a partition: it is read, and that is all."""


def run_suspect(work: Work, plan: Plan) -> str:
    """`run_partition` without the documents that would end this process; they are rejected as `poison`.

    Raises `JobError` where the partition cannot even be read without that.
    """
    if plan.columns is None or not work.part.file:
        return run_partition(work, plan)  # made from nothing: there are no documents to blame
    deadly = deadly_rows(work, plan)
    log.warning("Of partition %d (%s), %d documents end the process that works on them.", work.part.index,
                work.part.file, len(deadly))  # fmt: skip
    return run_partition(replace(work, deadly=(*work.deadly, *deadly)), plan)


def deadly_rows(work: Work, plan: Plan) -> list[int]:
    """Positions of the documents in a partition that end the process which works on them."""
    found: list[int] = []
    left = [NOTHING]
    while left:
        with _Rehearsal(work, plan) as rehearsal:
            while left and (rows := rehearsal.goes_through(left[0])) is not None:
                left = _cut(range(rows)) if left[0] == NOTHING else left[1:]
        if not left:
            break
        if left[0] == NOTHING:
            raise JobError(
                f"To read partition {work.part.index} ({work.part.file}) ends the process that does: "
                f"{rehearsal.last_words}. Mend the file, or leave it out of --input."
            )
        if len(left[0]) == 1:
            found.append(left.pop(0).start)
        else:
            left = [*_cut(left[0]), *left[1:]]
    return found


def _cut(rows: range) -> list[range]:
    """Into some ranges of equal length, none of them empty.

    >>> _cut(range(0, 5)), _cut(range(10, 30))[:2]
    ([range(0, 1), range(1, 2), range(2, 3), range(3, 4), range(4, 5)], [range(10, 12), range(12, 15)])
    """
    cuts = [rows.start + len(rows) * piece // PIECES for piece in range(PIECES + 1)]
    return [range(start, stop) for start, stop in pairwise(cuts) if start < stop]


class _Rehearsal:
    """A process that goes through ranges of a partition's rows, until it dies. Used in a `with` block.

    last_words: what it said before.
    """

    def __init__(self, work: Work, plan: Plan) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nemocc_dask.suspects"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.last_words = ""
        self._errors: list[bytes] = []
        self._reader = threading.Thread(target=self._hear_errors, daemon=True)
        self._reader.start()
        self._watcher = threading.Thread(target=self._watch, args=(_memory_limit(),), daemon=True)
        self._watcher.start()
        self._tell(work, plan)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        self._watcher.join()
        self.last_words = b"".join(self._errors).decode(errors="replace").strip().rsplit("\n", 1)[-1]
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            try:
                pipe and pipe.close()
            except BrokenPipeError:
                continue  # it has died: nobody wants what is left in there

    def goes_through(self, rows: range) -> int | None:
        """How many rows the whole partition has; None where the process has died over these."""
        if not self._tell(rows):
            return None
        assert self._process.stdout is not None
        answer = self._process.stdout.readline()
        return int(answer) if answer else None

    def _tell(self, *said: Any) -> bool:
        assert self._process.stdin is not None
        try:
            pickle.dump(said, self._process.stdin)
            self._process.stdin.flush()
        except BrokenPipeError:
            return False
        self._told_at = time.monotonic()
        return True

    def _hear_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors = [*self._errors[-20:], line]

    def _watch(self, memory_limit: int | None) -> None:
        """Ends it where a worker would be ended by its nanny, and where it hangs."""
        self._told_at = time.monotonic()
        process = psutil.Process(self._process.pid)
        while self._process.poll() is None:
            try:
                is_too_large = memory_limit is not None and process.memory_info().rss > memory_limit
            except psutil.NoSuchProcess:
                return
            if is_too_large or time.monotonic() - self._told_at > LONGEST_S:
                self._process.kill()
            time.sleep(WATCH_EVERY_S)


def _memory_limit() -> int | None:
    """Bytes that a worker may take; None where there is no limit."""
    try:
        return get_worker().memory_manager.memory_limit or None
    except ValueError:  # this is no worker
        return None


def _rehearse() -> None:
    """What the process does: a partition and its plan come first, then ranges of rows."""
    said, told = sys.stdout.buffer, sys.stdin.buffer
    sys.stdout = sys.stderr  # whatever else is printed is no answer
    work, plan = pickle.load(told)
    for rows in _told(told):
        said.write(b"%d\n" % rehearse(work, plan, rows))
        said.flush()


def _told(pipe: IO[bytes]) -> Iterator[range]:
    while True:
        try:
            (rows,) = pickle.load(pipe)
        except EOFError:
            return
        yield rows


if __name__ == "__main__":
    _rehearse()
