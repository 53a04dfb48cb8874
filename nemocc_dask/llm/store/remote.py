"""A folder on an object store, which knows no appending: lines are gathered, and put again and again as they grow."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO

from nemocc_dask.errors import JobError
from nemocc_dask.filesystems import has_folders
from nemocc_dask.llm.store.folder import LINES, Span, Written
from nemocc_dask.llm.store.trouble import cannot_read, cannot_write

PUT_S = 1.0
"""A segment that has grown is put again after so many seconds: what a killed process loses is of no more.

A put is billed: 0.000005 dollars at large vendors in 2026, at most one a second for each partition in hand. Answers
that are lost are paid for twice, and one of 500 tokens costs fifty times as much where a million cost half a dollar."""

SEGMENT_BYTES = 2**20
"""A segment that is as large as this is put for the last time, and another begun, ..."""

SEGMENT_S = 30.0
"""... or after so many seconds: what is put again is bounded, and so is the number of files."""


class RemoteFolder:
    """A folder of an fsspec file system; see `Folder`.

    waiting: segments that are not put for the last time yet, by name. This process reads them from here.
    """

    readers = 32  # a file takes tens of milliseconds, most of them waiting

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        self.url = url
        self._filesystem, self._root = filesystem, root.rstrip("/")
        self._made = False
        self.waiting: dict[str, bytearray] = {}

    def path(self, name: str) -> str:
        """Address of a file."""
        return f"{self.url.rstrip('/')}/{name}"

    def sizes(self) -> dict[str, int]:
        """Name → bytes, past what the file system remembers of an earlier look."""
        try:
            with _reading(self.url):
                self._filesystem.invalidate_cache(self._root)
                entries = self._filesystem.ls(self._root, detail=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rsplit("/", 1)[-1]: entry["size"] for entry in entries if entry["type"] == "file"}

    def open(self, name: str, start: int = 0) -> BinaryIO:
        """Get a file; segments are small."""
        with _reading(self.path(name)):
            return io.BytesIO(self._filesystem.cat_file(self._inner(name), start=start or None))

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Get all spans at once, as far as the file system can."""
        waiting = {span: self.waiting.get(span.file) for span in spans}
        put = [span for span, lines in waiting.items() if lines is None]
        got = dict(zip(put, self._ranges(put), strict=True))
        for span, lines in waiting.items():
            yield got[span] if lines is None else bytes(lines[span.start : span.end])

    def write(self, name: str, content: bytes) -> None:
        """Put a file whole."""
        try:
            if not self._made and has_folders(self._filesystem):
                self._filesystem.makedirs(self._root, exist_ok=True)
                self._made = True
            self._filesystem.pipe_file(self._inner(name), content)
        except Exception as error:  # noqa: BLE001 - each of fsspec's file systems has errors of its own
            self._made = False
            raise cannot_write(self.path(name), error) from None

    def writer(self, attempt: str) -> Segments:
        """Segments of one attempt."""
        return Segments(self, attempt)

    def _inner(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _ranges(self, spans: Sequence[Span]) -> Iterator[bytes]:
        if not spans:
            return
        paths = [self._inner(span.file) for span in spans]
        starts, ends = [span.start for span in spans], [span.end for span in spans]
        with _reading(self.url):
            contents = self._filesystem.cat_ranges(paths, starts, ends, on_error="return")
        for span, content in zip(spans, contents, strict=True):
            if isinstance(content, BaseException) and not isinstance(content, FileNotFoundError):
                raise cannot_read(self.path(span.file), content)
            yield b"" if isinstance(content, FileNotFoundError) else content


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except Exception as error:  # noqa: BLE001 - each of fsspec's file systems has errors of its own
        raise cannot_read(path, error) from None


class Segments:
    """Lines gathered in memory, and put by a thread of its own.

    A file grows by being put again whole, which object stores do at one moment: whoever reads it finds the lines of
    before, or these and more. A process that is killed loses what it has gathered since the last put began: the answers
    of up to `PUT_S` seconds, and of the time that a put takes; `sync` and `close` put all there is. Where a put fails,
    what was to be put is kept and tried again with the next; until one succeeds each `append` has trouble to tell, and
    `sync` and `close` raise.
    """

    def __init__(self, folder: RemoteFolder, attempt: str) -> None:
        self._folder, self._attempt = folder, attempt
        self._lock = threading.Lock()  # held for moments
        self._putting = threading.Lock()  # held while a segment is put
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._closed = False
        self._begun = 0
        self._begun_at = 0.0
        self._filling: str | None = None
        self._put: dict[str, int] = {}  # those that wait, oldest first, and how many bytes of each have been put
        self._trouble: str | None = None

    def append(self, line: bytes) -> Written:
        """Gather a line; takes no time."""
        with self._lock:
            name = self._filling = self._filling or self._begin()
            lines = self._folder.waiting[name]
            written = Written(name, len(lines), self._trouble)
            lines += line
            is_full = len(lines) >= SEGMENT_BYTES
            if is_full:
                self._filling = None
                self._wake.set()
        return written

    def sync(self) -> None:
        """Put what there is. Others may append meanwhile."""
        with self._putting:
            try:
                self._put_all()
            except JobError as error:
                self._trouble = str(error)
                raise
            self._trouble = None

    def close(self) -> None:
        """Put what there is, and end the thread. Where that fails it may be called again."""
        self._closed = True
        self._wake.set()
        with self._lock:
            self._filling = None
        self.sync()
        if self._thread is not None:
            self._thread.join()

    def _begin(self) -> str:
        if self._thread is None:
            name = f"nemocc-store-{self._attempt}"
            self._thread = threading.Thread(target=self._put_now_and_then, name=name, daemon=True)
            self._thread.start()
        name = f"{self._attempt}.{self._begun:05d}{LINES}"
        self._begun += 1
        self._begun_at, self._put[name] = time.monotonic(), 0
        self._folder.waiting[name] = bytearray()
        return name

    def _put_all(self) -> None:
        with self._lock:
            if time.monotonic() - self._begun_at >= SEGMENT_S:
                self._filling = None
            names = list(self._put)
        for name in names:
            with self._lock:
                content = bytes(self._folder.waiting[name])
            if len(content) > self._put[name]:
                self._folder.write(name, content)
            with self._lock:
                self._put[name] = len(content)
                if name != self._filling and len(content) == len(self._folder.waiting[name]):
                    del self._put[name], self._folder.waiting[name]

    def _put_now_and_then(self) -> None:
        while not self._closed:
            self._wake.wait(PUT_S)
            self._wake.clear()
            with suppress(JobError):  # the next append, sync or close tells
                self.sync()
