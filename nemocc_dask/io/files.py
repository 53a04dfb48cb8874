"""Which files the input is, and how one is opened: paths, folders, globs and fsspec URLs, packed or not."""

from __future__ import annotations

import glob
import io
import lzma
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import pyarrow as pa

from nemocc_dask.errors import InputError
from nemocc_dask.filesystems import AddressError, cause_of, is_local, is_on_disk, located

PARQUET, JSONL = "parquet", "jsonl"
_FORMATS = {".parquet": PARQUET, ".pq": PARQUET, ".jsonl": JSONL, ".ndjson": JSONL, ".json": JSONL}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_HIDDEN = ("_", ".")

SMALL_BYTES = 1 << 20
"""A file of no more is got whole from an object store, where a request costs more than its bytes."""

BLOCK_BYTES = 8 << 20
"""Of a larger one, as much is asked for at once."""

LOCAL_READERS, REMOTE_READERS = 4, 32
"""Threads that read many files: of a local one they work most of the time, of a remote one they wait."""

T = TypeVar("T")
U = TypeVar("U")

_DAMAGE = (OSError, EOFError, ImportError, ValueError, lzma.LZMAError, zlib.error)
"""What opening, unpacking and reading a file raise; Arrow's own errors are some of these."""


def find_files(inputs: Sequence[str]) -> tuple[str, ...]:
    """The data files behind paths, folders, globs and fsspec URLs, each once, in order.

    Raises `InputError` for what names no file, and for a file of an unknown format.
    """
    found = [path for given in inputs for path in _expanded(given)]
    files = tuple(dict.fromkeys(found))
    for path in files:
        format_of(path)
    return files


def _expanded(given: str) -> list[str]:
    return named(given, lambda: _found(given))


def _found(given: str) -> list[str]:
    filesystem, path = _located(given)
    if filesystem.isdir(path):
        return _in_folder(filesystem, path, given)
    matches = [path] if filesystem.exists(path) else sorted(filesystem.glob(path)) if glob.has_magic(path) else []
    if not matches:
        raise InputError(f"There is no file {given!r}. Give a file, a folder, a glob or an fsspec URL.")
    return [filesystem.unstrip_protocol(match) if "://" in given else match for match in matches]


def _in_folder(filesystem: Any, path: str, given: str) -> list[str]:
    data = [name for name in sorted(filesystem.find(path)) if not _is_hidden(name, path) and _format_or_none(name)]
    if not data:
        raise InputError(f"The folder {given!r} holds no Parquet or JSONL file.")
    return [filesystem.unstrip_protocol(name) if "://" in given else name for name in data]


def _is_hidden(name: str, folder: str) -> bool:
    """True for bookkeeping such as `_SUCCESS` or `_delta_log/0.json`: a name below the folder begins so."""
    below = name.removeprefix(folder.rstrip("/")).strip("/").split("/")
    return any(part.startswith(_HIDDEN) for part in below)


def _located(path: str) -> tuple[Any, str]:
    try:
        return located(path)
    except AddressError as error:
        raise InputError(f"The address {path!r} cannot be opened: {error}.") from None


def format_of(path: str) -> str:
    """`parquet` or `jsonl`, by the file's ending. Raises `InputError`."""
    found = _format_or_none(path)
    if found is None:
        raise InputError(
            f"The file {path!r} is of no known format. Known endings: {', '.join(_FORMATS)}, and for JSONL any of them "
            f"followed by {', '.join(_COMPRESSIONS)}."
        )
    return found


def _format_or_none(path: str) -> str | None:
    compressed = next((ending for ending in _COMPRESSIONS if path.endswith(ending)), "")
    stem = path.removesuffix(compressed)
    found = next((kind for ending, kind in _FORMATS.items() if stem.endswith(ending)), None)
    return None if compressed and found == PARQUET else found


def compression_of(path: str) -> str | None:
    """Name of the compression that the file's ending tells; None where it is read as it is."""
    return next((name for ending, name in _COMPRESSIONS.items() if path.endswith(ending)), None)


def file_size(path: str) -> int:
    """Bytes of a file, as it is stored. Raises `InputError`."""
    filesystem, inner = _located(path)
    return int(named(path, lambda: filesystem.size(inner)))


def file_sizes(paths: Sequence[str]) -> list[int]:
    """Bytes of each file, as they are stored. Raises `InputError`."""
    if all(map(is_on_disk, paths)):  # threads would take longer
        return list(map(file_size, paths))
    return list(each_of(file_size, paths, REMOTE_READERS))


def version_of(path: str) -> str:
    """A word that differs when the file does, as far as its size, its time or its tag tell. Raises `InputError`."""
    filesystem, inner = _located(path)
    return str(named(path, lambda: filesystem.ukey(inner)))


# --- opening ----------------------------------------------------------------------------------------------------------


def opened(path: str) -> Any:
    """The file open for reading bytes from its front on, unpacked where it is compressed."""
    filesystem, inner = _located(path)
    compression = compression_of(path)
    if compression == "zstd":  # Arrow brings its own; fsspec needs another package for it
        return pa.CompressedInputStream(pa.PythonFile(_stored(filesystem, inner), mode="r"), compression)
    return _stored(filesystem, inner, compression=compression)


def _stored(filesystem: Any, inner: str, **how: Any) -> Any:
    """The file's bytes; `how` is fsspec's."""
    block = {} if is_local(filesystem) else {"block_size": BLOCK_BYTES}
    return filesystem.open(inner, "rb", **block, **how)


def opened_whole(path: str) -> Any:
    """A small file, got by one request where it is on an object store. It is no compressed one."""
    filesystem, inner = _located(path)
    if is_local(filesystem):
        return filesystem.open(inner, "rb")
    return io.BytesIO(filesystem.cat_file(inner, start=0))  # without a start, s3fs would ask for the size first


def opened_for_ranges(path: str) -> Any:
    """The file open for reading here and there, with nothing read ahead: who reads has buffers of his own."""
    filesystem, inner = _located(path)
    # Others than those that are made for it know no such word, and read ahead as they will.
    is_buffered = getattr(filesystem, "async_impl", False)
    return filesystem.open(inner, "rb", **({"cache_type": "none"} if is_buffered else {}))


def readers_for(paths: Iterable[str]) -> int:
    """Threads that suit the reading of these files."""
    return LOCAL_READERS if all(map(is_on_disk, paths)) else REMOTE_READERS


def each_of(look: Callable[[T], U], things: Iterable[T], readers: int) -> Iterator[U]:
    """What `look` makes of each thing, in order, in so many threads."""
    with ThreadPoolExecutor(readers) as pool:
        yield from pool.map(look, things)


def look_into(path: str, look: Callable[[Any], T], opened: Callable[[str], Any] = opened) -> T:
    """What `look` makes of the open file, unpacked where it is compressed. Raises `InputError`.

    opened: how it is opened.
    """

    def open_and_look() -> T:
        with opened(path) as file:
            return look(file)

    return named(path, open_and_look)


def named(path: str, read: Callable[[], T]) -> T:
    """What `read` returns; what it raises because of the file becomes an `InputError` that names the file."""
    try:
        return read()
    except InputError:
        raise
    except Exception as error:
        if is_on_disk(path) and not isinstance(error, _DAMAGE):
            raise
        raise unreadable(path, cause_of(error)) from None


def unreadable(path: str, reason: str) -> InputError:
    """The error of a file that is no use."""
    return InputError(f"The file {path!r} cannot be used: {reason.rstrip('.')}. Mend it, or leave it out of --input.")
