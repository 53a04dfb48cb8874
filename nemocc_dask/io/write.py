"""Whole files or none: what is read back is what was meant to be written, whenever the writer died."""

from __future__ import annotations

import base64
import glob
import io
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, time, timedelta
from decimal import Decimal
from itertools import islice
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from nemocc_dask.errors import JobError, OutputError
from nemocc_dask.filesystems import AddressError, cause_of, is_local, located, remedy_for
from nemocc_dask.io.files import LOCAL_READERS, REMOTE_READERS, each_of

BOOKS = "_nemocc"
"""Folder of the run's own files, beside the shards."""

MANY = 500
"""Files beyond which they are removed, or read, together."""

UNFINISHED = f"{BOOKS}/unfinished"
"""Folder of files that are being written."""


class Output:
    """The folder a run writes to: a local path, or any fsspec URL.

    Local and network file systems: written beside, synced, moved into place. Object stores: one put.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        try:
            self._filesystem, self._root = located(url)
        except AddressError as error:
            raise OutputError(f"The output {url!r} cannot be opened: {error}.") from None

    def __reduce__(self) -> tuple[type[Output], tuple[str]]:
        # A relative path means something in this process alone; a worker may stand in another folder.
        return (Output, (self._root if self.is_local else self.url,))

    @property
    def is_local(self) -> bool:
        """Whether it is a local or a network file system, and no object store."""
        return is_local(self._filesystem)

    def path(self, name: str) -> str:
        """Address of a file in the folder, as a person or a reader would name it."""
        return f"{self.url.rstrip('/')}/{name}"

    def holds(self, file: str) -> bool:
        """Whether a file, by its path or URL, stands in the folder."""
        filesystem, inner = located(file)
        return filesystem is self._filesystem and inner.startswith(self._inner(""))

    @contextmanager
    def lock(self, patience_s: float = 0.0) -> Iterator[None]:
        """Keep others from running into the folder meanwhile; the death of this process frees it.

        On a local or network file system only: object stores have no locks. patience_s: how long to wait for another.
        Raises `OutputError` where it is locked.
        """
        if not self.is_local:
            yield
            return
        lock = FileLock(self._inner(f"{BOOKS}/lock"), timeout=patience_s)
        try:
            os.makedirs(os.path.dirname(lock.lock_file), exist_ok=True)
            lock.acquire()
        except Timeout:
            raise OutputError(
                f"Another run is writing to {self.url!r}. Wait for it, or stop it, or name another --output."
            ) from None
        except OSError as error:
            raise OutputError(f"The folder {self.url!r} cannot be written: {error}. Name another --output.") from None
        try:
            yield
        finally:
            lock.release()

    def exists(self, name: str) -> bool:
        """Whether the file is there. Raises `JobError` where that cannot be seen."""
        path = self._inner(name)
        with self._looking(name):
            self._filesystem.invalidate_cache(path.rpartition("/")[0])  # others may have written since
            return bool(self._filesystem.exists(path))

    def names(self) -> list[str]:
        """Names of what stands in the folder itself; empty where there is no folder."""
        with self._looking(""):
            self._filesystem.invalidate_cache(self._root)
            if not self._filesystem.exists(self._root):
                return []
            return [path.rstrip("/").rsplit("/", 1)[-1] for path in self._filesystem.ls(self._root, detail=False)]

    def below(self, folder: str) -> list[str]:
        """Names of all files in a folder of this one and in its folders; none where it is not there."""
        root = self._inner("")
        with self._looking(folder):
            self._filesystem.invalidate_cache(self._inner(folder))
            return sorted(path.removeprefix(root) for path in self._filesystem.find(self._inner(folder)))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there. Raises `JobError` where that is not possible."""
        left = list(names)
        if len(left) > MANY and not self.is_local:
            left = self._left_of(left)
        if len(left) > MANY:
            list(each_of(self._remove, left, self._readers))
        else:
            list(map(self._remove, left))

    def remove_unfinished(self) -> None:
        """Remove what a process that was killed has left behind, while nobody writes to the folder."""
        self.remove(self.below(UNFINISHED))

    def remove_empty(self, folder: str) -> None:
        """Remove a folder of this one where nothing is in it; object stores have none."""
        if self.is_local:
            with suppress(OSError):  # it is not empty, or not there
                os.rmdir(self._inner(folder))

    def read_text(self, name: str) -> str:
        """The file's text. Raises `JobError` where it cannot be read, `UnicodeDecodeError` where it is no text."""
        with self._looking(name):
            content = self._filesystem.cat_file(self._inner(name))
        return str(content.decode("utf-8"))

    def read_texts(self, names: Iterable[str]) -> Iterator[str]:
        """The texts of many files, in order; only some of them are in memory at once."""
        for some in _batched(names):
            yield from each_of(self.read_text, some, self._readers)

    def write_text(self, name: str, text: str) -> None:
        """Write the file whole. Raises `JobError` where that is not possible."""
        self._write(name, text.encode("utf-8"))

    def write_table(self, name: str, table: pa.Table, format: str) -> None:
        """Write the table whole, as `parquet` or `jsonl`. Raises `JobError` where that is not possible."""
        self._write(name, _parquet(table) if format == "parquet" else _json_lines(table))

    def _inner(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    @property
    def _readers(self) -> int:
        return LOCAL_READERS if self.is_local else REMOTE_READERS

    @contextmanager
    def _looking(self, name: str) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # noqa: BLE001 - each of fsspec's file systems has errors of its own
            raise JobError(
                f"{self.path(name)} cannot be read: {cause_of(error)}. {remedy_for(error)} and run the same command "
                "again."
            ) from None

    def _remove(self, name: str) -> None:
        try:
            self._filesystem.rm_file(self._inner(name))
        except FileNotFoundError:
            return
        except Exception as error:  # noqa: BLE001 - each of fsspec's file systems has errors of its own
            raise JobError(
                f"The file {self.path(name)} cannot be removed: {cause_of(error)}. Mend that and run the same command "
                "again."
            ) from None

    def _left_of(self, names: list[str]) -> list[str]:
        """Remove files by the thousand, where an object store does that, which tells of none that it leaves."""
        if glob.has_magic(self._inner("")):  # fsspec would look for other names
            return names
        with suppress(Exception):  # what is left is removed one by one, and then it is told why not
            self._filesystem.rm([self._inner(name) for name in names])
        there = {name for folder in {name.rpartition("/")[0] for name in names} for name in self.below(folder)}
        return [name for name in names if name in there]

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._put(name, content)
        except Exception as error:  # noqa: BLE001 - each of fsspec's file systems has errors of its own
            raise JobError(
                f"The file {self.path(name)} cannot be written: {cause_of(error)}. {remedy_for(error)} and run the "
                "same command again: what is finished stays."
            ) from None

    def _put(self, name: str, content: bytes) -> None:
        if self.is_local:
            _write_beside(self._inner(f"{UNFINISHED}/{uuid.uuid4().hex}"), self._inner(name), content)
        else:
            self._filesystem.pipe_file(self._inner(name), content)


def _batched(names: Iterable[str]) -> Iterator[list[str]]:
    iterator = iter(names)
    while some := list(islice(iterator, MANY)):
        yield some


def _write_beside(beside: str, final: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(beside), exist_ok=True)
    os.makedirs(os.path.dirname(final), exist_ok=True)
    try:
        with open(beside, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, final)
    except OSError:
        with suppress(OSError):  # it was never made; else whoever goes on with the run removes it
            os.remove(beside)  # on a full disk, its room is what the others lack
        raise


# --- formats ----------------------------------------------------------------------------------------------------------


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    return buffer.getvalue()


def _json_lines(table: pa.Table) -> bytes:
    """One JSON object a line; of no rows a blank line, because an empty file looks like one that was torn."""
    lines = (json.dumps(_plain(row), ensure_ascii=False, allow_nan=False) for row in table.to_pylist())
    return ("\n".join(lines) + "\n").encode("utf-8")


def _plain(value: Any) -> Any:
    """What JSON has no word for: dates as ISO 8601, decimals as text, durations in seconds, bytes in base64, no NaN."""
    match value:
        case dict():
            return {key: _plain(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_plain(inner) for inner in value]
        case float():
            return value if math.isfinite(value) else None
        case date() | time():
            return value.isoformat()
        case timedelta():
            return value.total_seconds()
        case Decimal():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode("ascii")
    return value
