"""What can keep a store from being written or read, as one line that says what to do."""

from __future__ import annotations

from nemocc_dask.errors import JobError
from nemocc_dask.filesystems import cause_of, remedy_for


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
