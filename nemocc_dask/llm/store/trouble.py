"""What can keep a store from being written or read, as one line that says what to do."""

from __future__ import annotations

import errno

from nemocc_dask.errors import JobError

NO_ROOM = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}
"""Errors that end when room is made."""


def cannot_write(path: str, error: BaseException) -> JobError:
    """The file, the cause and the remedy, where an answer cannot be stored."""
    return JobError(
        f"The store's file {path} cannot be written: {cause_of(error)}. {remedy_for(error)} and run the same command "
        "again: nothing that is stored is asked for again."
    )


def cannot_read(path: str, error: BaseException) -> JobError:
    """The file or folder, the cause and the remedy, where stored answers cannot be read."""
    return JobError(
        f"The store's {path} cannot be read: {cause_of(error)}. Mend that and run the same command again: to go on "
        "without it would be to pay again for what is stored there."
    )


def remedy_for(error: BaseException) -> str:
    """What to do before the job goes on."""
    return "Make room" if getattr(error, "errno", None) in NO_ROOM else "Mend that"


def cause_of(error: BaseException) -> str:
    """The system's words, on one line and without a full stop."""
    words = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return " ".join(str(words).split()).rstrip(".")
