"""Whole files or none: what is read back is what was meant to be written, whenever the writer died."""

from __future__ import annotations

import io
import os
import uuid
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from nemocc_dask.text.engine import PANDAS

BOOKS = "_nemocc"
"""Folder of the run's own files, beside the shards."""


class Output:
    """The folder a run writes to: a local path, or any fsspec URL.

    Local and network file systems: written beside, synced, moved into place. Object stores: one put.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._filesystem, self._root = fsspec.core.url_to_fs(url)

    def __reduce__(self) -> tuple[type[Output], tuple[str]]:
        return (Output, (self.url,))

    def path(self, name: str) -> str:
        """Address of a file in the folder, as a person or a reader would name it."""
        return f"{self.url.rstrip('/')}/{name}"

    def exists(self, name: str) -> bool:
        """Whether the file is there."""
        return bool(self._filesystem.exists(self._inner(name)))

    def names(self) -> list[str]:
        """Names of what stands in the folder itself; empty where there is no folder."""
        if not self._filesystem.exists(self._root):
            return []
        return [path.rstrip("/").rsplit("/", 1)[-1] for path in self._filesystem.ls(self._root, detail=False)]

    def read_text(self, name: str) -> str:
        """The file's text."""
        return str(self._filesystem.cat_file(self._inner(name)).decode("utf-8"))

    def write_text(self, name: str, text: str) -> None:
        """Write the file whole."""
        self._write(name, text.encode("utf-8"))

    def write_table(self, name: str, table: pa.Table, format: str) -> None:
        """Write the table whole, as `parquet` or `jsonl`."""
        buffer = io.BytesIO()
        if format == "parquet":
            pq.write_table(table, buffer)
        else:
            PANDAS.from_table(table).to_json(buffer, orient="records", lines=True, force_ascii=False)
        self._write(name, buffer.getvalue())

    def _inner(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}"

    def _write(self, name: str, content: bytes) -> None:
        if "file" not in _protocols(self._filesystem):
            self._filesystem.pipe_file(self._inner(name), content)
            return
        _write_beside(self._inner(f"{BOOKS}/unfinished/{uuid.uuid4().hex}"), self._inner(name), content)


def _write_beside(beside: str, final: str, content: bytes) -> None:
    os.makedirs(os.path.dirname(beside), exist_ok=True)
    os.makedirs(os.path.dirname(final), exist_ok=True)
    with open(beside, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    os.replace(beside, final)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    return (filesystem.protocol,) if isinstance(filesystem.protocol, str) else tuple(filesystem.protocol)
