"""Where each answer of a store stands, for all threads of a process."""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from time import monotonic

import numpy as np

from nemocc_dask.llm.results import Answer, Flaw
from nemocc_dask.llm.store.folder import Folder, Span, spans_of
from nemocc_dask.llm.store.lines import Stored, part_of_key, read_line
from nemocc_dask.llm.store.look import Lookout
from nemocc_dask.llm.store.places import Place, Places, Sorted, Unsorted
from nemocc_dask.logs import event

log = logging.getLogger("nemocc_dask")

LOOK_EVERY_S = 1.0
"""So often it is looked at most for what other processes have written meanwhile."""

LOOKING_SHARE = 0.05
"""Of the time goes into looking at most, but for the look with which an attempt begins."""

PACK_ABOVE = 4096
"""Places kept in a dictionary, 300 bytes each, before they are packed into arrays."""

BATCH_SPANS, BATCH_BYTES = 256, 2**25
"""So much is read at once at most."""

KEPT_INDEXES = 4
"""Stores that a process remembers: it may live long, and serve many runs."""


class Index:
    """Knows the places of the answers in a folder: those it finds there, and those this process appends.

    `find` looks at the folder now and then. `add` never waits for that, nor for the packing.
    """

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self._lookout = Lookout(folder)
        self._looking = threading.Lock()
        self._look_again_at, self._look_at_once = float("-inf"), True
        self._lock = threading.Lock()  # held for moments
        self._own: set[str] = set()
        self._files: list[str] = []
        self._numbers: dict[str, int] = {}
        self._recent: dict[int, tuple[Place, ...]] = {}
        self._in_packing: dict[int, tuple[Place, ...]] = {}
        self._packing = threading.Lock()
        self.packed = Sorted()
        self._warned = False

    # --- what this process appends ------------------------------------------------------------------------------------

    def own(self, attempt: str) -> None:
        """This process will add what the attempt appends, so nobody has to look.

        Who begins an attempt may take over from a process that has just died, so the next look does not wait at all:
        what that one stored last would be asked, and paid for, once more.
        """
        self._own.add(attempt)
        self._look_at_once = True

    def add(self, part: int, file: str, offset: int, length: int) -> None:
        """An answer was appended. part: see `part_of_key`."""
        with self._lock:
            self._recent[part] = (*self._recent.get(part, ()), (self._number(file), offset, length))

    def pack(self, above: int = 0) -> None:
        """Put what was added into arrays, where it is more than so much."""
        with self._packing:
            with self._lock:
                if len(self._recent) <= above:
                    return
                self._in_packing, self._recent = self._recent, {}
            self.packed.add(_packed(self._in_packing))
            with self._lock:  # for a moment it was in both, and never in neither
                self._in_packing = {}

    def _number(self, file: str) -> int:
        number = self._numbers.setdefault(file, len(self._files))
        if number == len(self._files):
            self._files.append(file)
        return number

    # --- finding ------------------------------------------------------------------------------------------------------

    def find(self, keys: Sequence[str], unless: Collection[Flaw]) -> dict[str, Answer]:
        """See `Store.find`."""
        wanted = {key: part_of_key(key) for key in keys}
        if not wanted:
            return {}
        self.look()
        self.pack(PACK_ABOVE)
        best: dict[str, Stored] = {}
        for stored in self._stored(self._places(set(wanted.values()))):
            if stored.key in wanted and stored.answer.flaw not in unless:
                best[stored.key] = max(stored, best.get(stored.key, stored), key=_worth)
        return {key: stored.answer for key, stored in best.items()}

    def look(self) -> None:
        """Read what is new in the folder, unless that was done just now. Raises `JobError` where it cannot be read."""
        with self._looking:
            began = monotonic()
            if began < self._look_again_at and not self._look_at_once:
                return
            self._look_at_once = False  # before the look: an attempt that begins during it wants another
            places, unreadable = Unsorted(), 0
            for file, lines in self._lookout.look(self._own):
                with self._lock:
                    number = self._number(file)
                places.add(lines.keys, number, lines.offsets, lines.lengths)
                unreadable += lines.unreadable
            if places:
                with self._packing:
                    self.packed.add(places.sorted())
            self._warn_of(unreadable)
            ended = monotonic()
            self._look_again_at = ended + max(LOOK_EVERY_S, (ended - began) / LOOKING_SHARE)

    def _places(self, parts: set[int]) -> list[Place]:
        """The places of all answers whose keys begin so, file after file, in order of their offsets."""
        with self._lock:
            recent, in_packing, runs = self._recent, self._in_packing, self.packed.runs
        keys = np.sort(np.fromiter(parts, dtype=np.uint64, count=len(parts)))
        places = {place for run in runs for place in run.at(keys)}
        for part in parts:
            places.update(recent.get(part, ()), in_packing.get(part, ()))
        return sorted(places)

    def _stored(self, places: Iterable[Place]) -> Iterator[Stored]:
        unreadable = 0
        for batch in _batches(self._spans(places)):
            for span, content in zip(batch, self.folder.read(batch), strict=True):
                for offset, length in span.lines:
                    stored = read_line(content[offset - span.start : offset - span.start + length])
                    unreadable += stored is None
                    if stored is not None:
                        yield stored
        self._warn_of(unreadable)

    def _spans(self, places: Iterable[Place]) -> Iterator[Span]:
        for number, group in groupby(places, key=lambda place: place[0]):
            yield from spans_of(self._files[number], [place[1:] for place in group])

    def _warn_of(self, unreadable: int) -> None:
        """Once a process: what is damaged stays so."""
        if unreadable and not self._warned:
            self._warned = True
            log.warning(
                "Of the store %s, %d lines or more cannot be read: what they answered is asked for again.",
                self.folder.url, unreadable, extra=event("store_trouble", store=self.folder.url, lines=unreadable),
            )  # fmt: skip


def _worth(stored: Stored) -> tuple[bool, float]:
    """An answer of use is better than one with a flaw, a later one better than an earlier one."""
    return stored.answer.flaw is None, stored.at


def _packed(places: Mapping[int, Sequence[Place]]) -> Places:
    unsorted = Unsorted()
    rows = ((number, part, offset, length) for part, each in places.items() for number, offset, length in each)
    for number, group in groupby(sorted(rows), key=itemgetter(0)):
        _, *columns = (np.array(column, np.uint64) for column in zip(*group, strict=True))
        unsorted.add(columns[0], number, columns[1], columns[2])
    return unsorted.sorted()


def _batches(spans: Iterable[Span]) -> Iterator[list[Span]]:
    batch: list[Span] = []
    for span in spans:
        batch.append(span)
        if len(batch) >= BATCH_SPANS or sum(each.end - each.start for each in batch) >= BATCH_BYTES:
            yield batch
            batch = []
    yield batch


# --- one index a store and process ------------------------------------------------------------------------------------

_lock = threading.Lock()
_indexes: OrderedDict[str, Index] = OrderedDict()


def index_of(url: str, folder: Folder) -> Index:
    """This process's index of a store; the folder is the index's own from then on."""
    with _lock:
        index = _indexes.setdefault(url, Index(folder))
        _indexes.move_to_end(url)
        while len(_indexes) > KEPT_INDEXES:
            _indexes.popitem(last=False)
        return index


def forget_indexes() -> None:
    """As in a new process. In a forked child, too: what the parent appends from then on is not told to it."""
    global _lock
    _lock = threading.Lock()
    _indexes.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=forget_indexes)
