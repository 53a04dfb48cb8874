"""Whole files or none: what is read back is what was meant to be written, whenever the writer died."""

from __future__ import annotations

import base64
import io
import json
import math
import os
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import date, time, timedelta
from decimal import Decimal
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from nemocc_dask.errors import JobError, OutputError
from nemocc_dask.llm.store.trouble import cause_of, remedy_for

BOOKS = "_nemocc"
"""Folder of the run's own files, beside the shards."""

UNFINISHED = f"{BOOKS}/unfinished"
"""Folder of files that are being written."""


class Output:
    """The folder a run writes to: a local path, or any fsspec URL.

    Local and network file systems: written beside, synced, moved into place. Object stores: one put.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._filesystem, self._root = fsspec.core.url_to_fs(url)

    def __reduce__(self) -> tuple[type[Output], tuple[str]]:
        # A relative path means something in this process alone; a worker may stand in another folder.
        return (Output, (self._root if self.is_local else self.url,))

    @property
    def is_local(self) -> bool:
        """Whether it is a folder of this machine's file systems, those of networks among them."""
        protocol = self._filesystem.protocol
        return "file" in ((protocol,) if isinstance(protocol, str) else protocol)

    def path(self, name: str) -> str:
        """Address of a file in the folder, as a person or a reader would name it."""
        return f"{self.url.rstrip('/')}/{name}"

    def holds(self, file: str) -> bool:
        """Whether a file, by its path or URL, stands in the folder."""
        filesystem, inner = fsspec.core.url_to_fs(file)
        return type(filesystem) is type(self._filesystem) and inner.startswith(self._inner(""))

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
        """Whether the file is there now."""
        self._filesystem.invalidate_cache(self._inner(name).rsplit("/", 1)[0])
        return bool(self._filesystem.exists(self._inner(name)))

    def names(self) -> list[str]:
        """Names of what stands in the folder itself; empty where there is no folder."""
        if not self._filesystem.exists(self._root):
            return []
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in self._filesystem.ls(self._root, detail=False)]

    def below(self, folder: str) -> list[str]:
        """Names of all files in a folder of this one and in its folders; none where it is not there."""
        root = self._inner("")
        self._filesystem.invalidate_cache(self._inner(folder))
        return sorted(path.removeprefix(root) for path in self._filesystem.find(self._inner(folder)))

    def remove(self, names: Iterable[str]) -> None:
        """Remove files, where they are there. Raises `JobError` where that is not possible."""
        for name in names:
            try:
                self._filesystem.rm_file(self._inner(name))
            except FileNotFoundError:
                continue
            except OSError as error:
                raise JobError(
                    f"The file {self.path(name)} cannot be removed: {error}. Mend that and run the same command again."
                ) from None

    def remove_unfinished(self) -> None:
        """Remove what a process that was killed has left behind, while nobody writes to the folder."""
        self.remove(self.below(UNFINISHED))

    def remove_empty(self, folder: str) -> None:
        """Remove a folder of this one where nothing is in it; object stores have none."""
        if self.is_local:
            with suppress(OSError):  # it is not empty, or not there
                os.rmdir(self._inner(folder))

    def read_text(self, name: str) -> str:
        """The file's text."""
        return str(self._filesystem.cat_file(self._inner(name)).decode("utf-8"))

    def write_text(self, name: str, text: str) -> None:
        """Write the file whole. Raises `JobError` where that is not possible."""
        self._write(name, text.encode("utf-8"))

    def write_table(self, name: str, table: pa.Table, format: str) -> None:
        """Write the table whole, as `parquet` or `jsonl`. Raises `JobError` where that is not possible."""
        self._write(name, _parquet(table) if format == "parquet" else _json_lines(table))

    def _inner(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write(self, name: str, content: bytes) -> None:
        try:
            self._put(name, content)
        except OSError as error:
            raise JobError(
                f"The file {self.path(name)} cannot be written: {cause_of(error)}. {remedy_for(error)} and run the "
                "same command again: what is finished stays."
            ) from None

    def _put(self, name: str, content: bytes) -> None:
        if self.is_local:
            _write_beside(self._inner(f"{UNFINISHED}/{uuid.uuid4().hex}"), self._inner(name), content)
        else:
            self._filesystem.pipe_file(self._inner(name), content)


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
