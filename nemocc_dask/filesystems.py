"""Which file system an address is on, and what it says when it fails: local folders, and whatever fsspec knows."""

from __future__ import annotations

import errno
import os
from typing import Any

import fsspec

EXTRAS = {"s3": "s3", "s3a": "s3"}
"""Scheme of an address → the extra of this package that brings its file system."""

OBJECT_STORES = {"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oci", "oss"}
"""Schemes of file systems without folders. What fsspec calls making a folder makes a bucket there, if need be."""

NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Errors that end when room is made."""

_SHARED: dict[tuple[object, ...], Any] = {}


class AddressError(ValueError):
    """An address that names no file system; its words say why. Whoever was given it tells whose address it is."""


def located(url: str) -> tuple[Any, str]:
    """The file system of a path or URL, and the path on it. Raises `AddressError`.

    All threads of a process share it: fsspec would make one for each, with connections of its own.

    >>> filesystem, path = located("memory://folder/a.parquet")
    >>> filesystem is located("memory://b")[0], path
    (True, '/folder/a.parquet')
    """
    try:
        filesystem, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        extra = EXTRAS.get(url.partition("://")[0])
        raise AddressError(f"pip install 'nemocc-dask[{extra}]'" if extra else str(error).rstrip(".")) from None
    except ValueError as error:
        raise AddressError(str(error).rstrip(".")) from None
    settings = sorted(filesystem.storage_options.items())
    key = (os.getpid(), type(filesystem), repr(filesystem.storage_args), repr(settings))
    return _SHARED.setdefault(key, filesystem), path


def is_local(filesystem: Any) -> bool:
    """Whether files can be locked, appended to and moved there: a local or a network file system."""
    return "file" in _schemes(filesystem)


def has_folders(filesystem: Any) -> bool:
    """Whether a folder has to be made before there can be a file in it."""
    return not OBJECT_STORES.intersection(_schemes(filesystem))


def _schemes(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)


def is_on_disk(url: str) -> bool:
    """Whether an address is local, as far as its words tell."""
    return "://" not in url or url.startswith(("file://", "local://"))


def cause_of(error: BaseException) -> str:
    """The system's words, on one line and without a full stop."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split()).rstrip(".")


def remedy_for(error: BaseException) -> str:
    """What to do before the job goes on."""
    return "Make room" if getattr(error, "errno", None) in NO_ROOM else "Mend that"
