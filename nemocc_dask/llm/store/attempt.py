"""One writer of a store: appends answers as they arrive, and leaves a sidecar when it ends."""

from __future__ import annotations

import logging
import os
import re
import threading
from array import array
from collections.abc import Collection, Sequence
from time import time
from types import TracebackType

import numpy as np

from nemocc_dask.errors import CallerError, JobError
from nemocc_dask.llm.results import Answer, Flaw
from nemocc_dask.llm.store.folder import SIDECAR
from nemocc_dask.llm.store.index import PACK_ABOVE, Index
from nemocc_dask.llm.store.lines import line_of, names_of, part_of_key
from nemocc_dask.llm.store.sidecar import Origin, Sealed, SealedFile, seal
from nemocc_dask.llm.store.spent import Spent
from nemocc_dask.logs import event

log = logging.getLogger("nemocc_dask")

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")


class Attempt:
    """One writer; its files are its own, and none is made before the first answer. Made by `Store.attempt`.

    Not to be pickled, nor used in a forked child: two writers would tear each other's lines.
    """

    def __init__(self, name: str, index: Index) -> None:
        if not _NAME.fullmatch(name):
            raise CallerError(
                f"An attempt of a store cannot be called {name!r}: use letters, digits, - and _, such as "
                "'run-part-00012-1f0c'."
            )
        self.name = name
        self._index = index
        index.own(name)
        self._writer = index.folder.writer(name)
        self._pid = os.getpid()
        self._closed = False
        self._closing = threading.Lock()
        self._origins: dict[Origin, tuple[str, list[int]]] = {}
        self._files: dict[str, int] = {}
        self._keys, self._offsets, self._lengths = array("Q"), array("Q"), array("Q")

    @property
    def url(self) -> str:
        """Address of the store."""
        return self._index.folder.url

    def __enter__(self) -> Attempt:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def find(self, keys: Sequence[str], *, unless: Collection[Flaw] = ()) -> dict[str, Answer]:
        """As `Store.find`; what this process has appended is among it."""
        return self._index.find(keys, unless)

    def append(self, key: str, answer: Answer, *, label: str, recipe: str) -> None:
        """Store an answer, in about 10 µs; on one thread.

        label, recipe: what it is counted under: name of the task, fingerprint of what else decides the answer.

        Raises `JobError` where the job has to stop, because room is short or a put has failed. What is under way may
        still be appended, and is stored as long as there is room: a later append raises only where there is trouble
        again.
        """
        part = part_of_key(key)
        if self._closed or os.getpid() != self._pid:
            raise CallerError(f"The attempt {self.name!r} is closed, or of another process. Make one of another name.")
        names, sums = self._origins.get((label, recipe)) or self._origin(label, recipe)
        line = line_of(key, names, answer, time())
        written = self._writer.append(line)
        self._count(part, written.file, written.offset, len(line))
        _add(sums, answer)
        if written.trouble is not None:
            raise JobError(written.trouble)

    def sync(self) -> None:
        """Make what was appended outlive the machine; on any thread, appending goes on. Raises `JobError`."""
        self._writer.sync()
        self._index.pack(PACK_ABOVE)

    def close(self) -> None:
        """Sync and end; another `close` does nothing, but for trying again where the first has failed.

        Raises `JobError` where not everything is stored.
        """
        with self._closing:
            if os.getpid() != self._pid:
                return
            self._closed = True
            self._writer.close()
            self._index.pack()
            if self._keys:
                self._seal()

    def _origin(self, label: str, recipe: str) -> tuple[str, list[int]]:
        return self._origins.setdefault((label, recipe), (names_of(label, recipe), [0, 0, 0, 0, 0]))

    def _count(self, part: int, file: str, offset: int, length: int) -> None:
        self._index.add(part, file, offset, length)
        self._files[file] = self._files.get(file, 0) + 1
        self._keys.append(part)
        self._offsets.append(offset)
        self._lengths.append(length)

    def _seal(self) -> None:
        """Write the sidecar. Without it, all is found as well."""
        keys, offsets, lengths = (
            np.frombuffer(each, dtype=np.uint64) for each in (self._keys, self._offsets, self._lengths)
        )
        last = np.cumsum(list(self._files.values())) - 1
        sizes = (offsets[last] + lengths[last]).tolist()
        files = [SealedFile(name, size, self._files[name]) for name, size in zip(self._files, sizes, strict=True)]
        spent = {origin: Spent(*sums) for origin, (_, sums) in self._origins.items()}
        sealed = Sealed(files, spent, keys, offsets, lengths.astype(np.uint32))
        try:
            self._index.folder.write(f"{self.name}{SIDECAR}", seal(sealed))
        except JobError as error:
            words = "%s Only an index is missing: it is made anew by whoever reads the store."
            log.warning(words, error, extra=event("store_trouble", store=self.url))
        self._keys, self._offsets, self._lengths = array("Q"), array("Q"), array("Q")


def _add(sums: list[int], answer: Answer) -> None:
    """`Spent.of` and its sum, in place: this is done for each answer."""
    sums[0] += 1
    sums[1] += answer.prompt_tokens or 0
    sums[2] += answer.completion_tokens or 0
    sums[3] += answer.attempts
    sums[4] += answer.prompt_tokens is None or answer.completion_tokens is None
