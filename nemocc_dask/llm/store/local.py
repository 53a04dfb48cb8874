"""A folder on a local or network file system: a line is with the kernel as soon as `append` is back."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from tempfile import TemporaryFile
from typing import IO, BinaryIO

from nemocc_dask.errors import CallerError
from nemocc_dask.llm.store.folder import LINES, SIDECAR, Span, Written
from nemocc_dask.llm.store.trouble import cannot_read, cannot_write

BALLAST_BYTES = 2**21
"""Room that an attempt keeps back for the answers under way when the disk gets full: 512 of 4 KB."""


class LocalFolder:
    """A folder by its absolute path; see `Folder`."""

    readers = 8  # on a network file system a file takes a millisecond, most of it waiting

    def __init__(self, root: str) -> None:
        self.url = root

    def path(self, name: str) -> str:
        """Path of a file."""
        return os.path.join(self.url, name)

    def sizes(self) -> dict[str, int]:
        """Name → bytes."""
        sizes: dict[str, int] = {}
        with _reading(self.url), suppress(FileNotFoundError), os.scandir(self.url) as entries:
            for entry in entries:
                if entry.name.endswith((LINES, SIDECAR)):
                    with suppress(FileNotFoundError):  # just removed: no reason to miss the others
                        sizes[entry.name] = entry.stat().st_size
        return sizes

    def open(self, name: str, start: int = 0) -> BinaryIO:
        """Open a file."""
        file = open(self.path(name), "rb")  # noqa: SIM115 - the caller closes it
        file.seek(start)
        return file

    def read(self, spans: Sequence[Span]) -> Iterator[bytes]:
        """Read span after span."""
        for span in spans:
            try:
                with _reading(self.path(span.file)), self.open(span.file, span.start) as file:
                    content = file.read(span.end - span.start)
            except FileNotFoundError:
                content = b""
            yield content

    def write(self, name: str, content: bytes) -> None:
        """Write beside, and move into place."""
        beside = self.path(f".{name}.{uuid.uuid4().hex}")
        try:
            try:
                with open(beside, "wb") as file:
                    file.write(content)
                os.replace(beside, self.path(name))
            except OSError as error:
                raise cannot_write(self.path(name), error) from None
        finally:
            with suppress(FileNotFoundError):  # it has been moved, or was never made
                os.remove(beside)

    def writer(self, attempt: str) -> AppendedFile:
        """One file an attempt."""
        return AppendedFile(self.url, f"{attempt}{LINES}")


@contextmanager
def _reading(path: str) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise
    except OSError as error:
        raise cannot_read(path, error) from None


class AppendedFile:
    """A file that grows by whole lines and has one writer; it is made with the first line.

    A process that is killed loses nothing that was appended. A machine that goes down loses what was appended since the
    last `sync`. So does a network file system that gets full, which may say so no sooner than at a `sync`.
    """

    def __init__(self, folder: str, name: str) -> None:
        self._folder, self._name = folder, name
        self._path = os.path.join(folder, name)
        self._lock = threading.Lock()  # held for single calls of the system, but never while syncing
        self._file: IO[bytes] | None = None
        self._end = 0
        self._torn = False
        self._ballast: IO[bytes] | None = None
        self._folder_synced = False

    def append(self, line: bytes) -> Written:
        """Write a line whole, or none of it.

        Where that fails the ballast is dropped and the line is written again. With room for it, the line is stored and
        there is trouble to tell; else `JobError` is raised. Either way the next line is tried as if nothing had been.
        """
        with self._lock:
            try:
                return Written(self._name, self._write(line))
            except OSError as error:
                trouble = cannot_write(self._path, error)
            if self._drop_ballast():
                with suppress(OSError):  # the ballast was not enough: told below
                    return Written(self._name, self._write(line), str(trouble))
            with suppress(OSError):  # else it is done before the next line, and readers skip what is torn
                self._mend()
            raise trouble

    def sync(self) -> None:
        """Wait until the disk has what was appended. Others may append meanwhile."""
        with self._lock:
            if self._file is None:
                return
            descriptor = os.dup(self._file.fileno())
        try:
            os.fsync(descriptor)
            self._sync_folder()
        except OSError as error:
            raise cannot_write(self._path, error) from None
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Sync, drop the ballast and close the file."""
        try:
            self.sync()
        finally:
            with self._lock:
                self._drop_ballast()
                if self._file is not None:
                    self._file.close()
                    self._file = None

    def _write(self, line: bytes) -> int:
        file = self._file or self._open()
        self._mend()
        offset, written, self._torn = self._end, 0, True
        while written < len(line):  # once, but where the disk is about full
            written += file.write(line[written:])
        self._torn = False
        self._end += len(line)
        return offset

    def _mend(self) -> None:
        """Cut off what is left of a line that could not be written whole."""
        if self._torn and self._file is not None:
            self._file.truncate(self._end)
            self._torn = False

    def _open(self) -> IO[bytes]:
        os.makedirs(self._folder, exist_ok=True)
        try:
            self._file = open(self._path, "ab", buffering=0, opener=_new)  # noqa: SIM115 - closed in close
        except FileExistsError:
            raise CallerError(
                f"There is a file {self._path} already. Give each attempt a name of its own: two writers on one file "
                "would tear each other's lines."
            ) from None
        self._ballast = _ballast(self._folder)
        return self._file

    def _drop_ballast(self) -> bool:
        """Whether there was any."""
        ballast, self._ballast = self._ballast, None
        if ballast is None:
            return False
        ballast.close()
        return True

    def _sync_folder(self) -> None:
        """So that the name of the file outlives the machine as well; Windows has no such thing."""
        if self._folder_synced or not hasattr(os, "O_DIRECTORY"):
            return
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        self._folder_synced = True


def _new(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL, 0o666)


def _ballast(folder: str) -> IO[bytes] | None:
    """A file without a name, which takes up room until it is closed or the process dies; None where that cannot be."""
    if not hasattr(os, "posix_fallocate"):
        return None
    try:
        file: IO[bytes] = TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115 - closed in _drop_ballast
    except OSError:
        return None  # the next line meets the same, and tells
    try:
        os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
    except OSError:  # as good as full already, or a file system that cannot do that
        file.close()
        return None
    return file
