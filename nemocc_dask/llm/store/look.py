"""What there is in the folder of a store: attempts that have ended tell by their sidecars, others by their lines."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from nemocc_dask.llm.store.folder import SIDECAR, Folder, files_by_attempt
from nemocc_dask.llm.store.lines import Lines, find_lines, paid_for, whole_lines
from nemocc_dask.llm.store.sidecar import Origin, Sealed, unseal
from nemocc_dask.llm.store.spent import Spent, add_up
from nemocc_dask.llm.store.trouble import cannot_read

Sizes = Mapping[str, int]
"""Name of a file → its bytes."""


class Found(NamedTuple):
    """Lines of a file that were not known before."""

    file: str
    lines: Lines


class Lookout:
    """Looks at a folder again and again, and each time finds what has come since.

    Nothing is written: attempts that were killed leave no more than what was under way, so their lines are soon looked
    through, and whether one is still alive need not be known.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._seen: dict[str, int] = {}

    def look(self, own: Collection[str]) -> Iterator[Found]:
        """What is new, but for the attempts of this process; new again next time, unless it was asked for to its end.

        Raises `JobError` where something cannot be read.
        """
        sizes = self._folder.sizes()
        fresh = [
            (attempt, files)
            for attempt, files in files_by_attempt(sizes).items()
            if attempt not in own and any(self._seen.get(name) != size for name, size in files.items())
        ]
        seen: dict[str, int] = {}
        with ThreadPoolExecutor(self._folder.readers) as readers:
            for news in readers.map(lambda attempt: self._look_at(attempt[0], attempt[1], sizes), fresh):
                yield from news
                seen.update((found.file, found.lines.end) for found in news)
        self._seen |= seen

    def _look_at(self, attempt: str, files: Sizes, sizes: Sizes) -> list[Found]:
        sealed = None if self._seen.keys() & files else sealed_attempt(self._folder, attempt, files, sizes)
        if sealed is not None:
            return list(_of_sealed(sealed))
        return [Found(name, self._scan(name, size)) for name, size in files.items() if self._seen.get(name) != size]

    def _scan(self, name: str, size: int) -> Lines:
        seen = self._seen.get(name, 0)
        start = seen if seen <= size else 0  # somebody has cut it
        try:
            with self._folder.open(name, start) as file:
                return find_lines(file, start)
        except FileNotFoundError:  # somebody has removed it since the folder was listed
            return Lines.none(size)
        except OSError as error:
            raise cannot_read(self._folder.path(name), error) from None


def _of_sealed(sealed: Sealed) -> Iterator[Found]:
    ends = np.cumsum([file.lines for file in sealed.files])
    for file, end in zip(sealed.files, ends, strict=True):
        own = slice(end - file.lines, end)
        yield Found(file.name, Lines(sealed.keys[own], sealed.offsets[own], sealed.lengths[own], file.size, 0))


def sealed_attempt(folder: Folder, attempt: str, files: Sizes, sizes: Sizes) -> Sealed | None:
    """What the sidecar of an attempt says, where it is there, whole, and right about the attempt's files."""
    name = f"{attempt}{SIDECAR}"
    if name not in sizes:
        return None
    try:
        with folder.open(name) as file:
            sealed = unseal(file.read())
    except OSError:  # then the lines tell, or why they cannot be read
        return None
    return sealed if sealed is not None and sealed.is_right_about(files) else None


def spent_by_attempt(folder: Folder, prefix: str, besides: Collection[str]) -> Iterator[dict[Origin, Spent]]:
    """What each attempt cost whose name begins so, but those named, by label and recipe."""
    sizes = folder.sizes()
    attempts = [
        (attempt, files)
        for attempt, files in files_by_attempt(sizes).items()
        if attempt.startswith(prefix) and attempt not in besides
    ]
    with ThreadPoolExecutor(folder.readers) as readers:
        yield from readers.map(lambda attempt: _spent(folder, attempt[0], attempt[1], sizes), attempts)


def _spent(folder: Folder, attempt: str, files: Sizes, sizes: Sizes) -> dict[Origin, Spent]:
    sealed = sealed_attempt(folder, attempt, files, sizes)
    if sealed is not None:
        return sealed.spent
    return add_up(cost for name in files for cost in _costs(folder, name))


def _costs(folder: Folder, name: str) -> Iterator[tuple[Origin, Spent]]:
    try:
        with folder.open(name) as file:
            for block in whole_lines(file):
                yield from (cost for line in block.split(b"\n") if (cost := paid_for(line)) is not None)
    except FileNotFoundError:  # somebody has removed it since the folder was listed
        return
    except OSError as error:
        raise cannot_read(folder.path(name), error) from None
