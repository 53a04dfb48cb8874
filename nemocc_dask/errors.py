"""Every error this package raises on purpose.

::

    NemoccError
    ├── CallerError                      the call is wrong: nothing was sent, mend it and call again
    │   ├── SettingError (ValueError)        a setting has no meaning
    │   ├── TaskError (ValueError)           a task's record contradicts itself
    │   ├── UnknownTaskError (LookupError)   no task of that name
    │   ├── TokenizerError (ValueError)      no tokenizer can be made of what was named
    │   ├── ColumnNotFoundError (LookupError)  the frame or file lacks a column
    │   ├── FrameError (TypeError)           a frame or a column is of a kind that cannot be worked on
    │   ├── InputError (ValueError)          a file is missing, empty or unreadable
    │   └── OutputError (ValueError)         the output directory is not this job's to write to
    └── JobError                         the job cannot go on, whoever is to blame
        ├── EndpointUnreachableError (ConnectionError)  nobody answers there
        ├── EndpointRefusedError (PermissionError)      it answers, and will refuse every request
        ├── BudgetReachedError (RuntimeError)           the run has taken what it may take
        ├── JobCancelledError (InterruptedError)        somebody had it stopped
        ├── AccountingError (ArithmeticError)           rows in and rows out do not add up
        └── NotBuiltError (ImportError)                 the compiled part of the package is not there, or another

A row that failed is neither: it is a value with a reason (`nemocc_dask.llm.Failure`), so that it never takes its
neighbours along.

Each error carries one finished sentence, so it survives pickling between Dask processes as it is.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """A question to put into a message, where something known is spelt alike; else nothing.

    >>> did_you_mean("distil", ["distill", "diverse_qa"])
    " Did you mean 'distill'?"
    """
    alike = difflib.get_close_matches(given, list(known), n=1)
    return f" Did you mean {alike[0]!r}?" if alike else ""


class NemoccError(Exception):
    """Root of the tree; catches everything this package raises on purpose."""

    def __str__(self) -> str:
        """The sentence itself: `LookupError` and its kin would print it in quotes."""
        return str(self.args[0]) if self.args else ""


class CallerError(NemoccError):
    """The call is wrong (exit code 2). Nothing was sent to an endpoint."""


class JobError(NemoccError):
    """The job cannot go on (exit code 1). What was finished before stays on disk."""


class SettingError(CallerError, ValueError):
    """A setting has no meaning; the message names it."""


class TaskError(CallerError, ValueError):
    """A task's record contradicts itself; the message names task and field."""


class UnknownTaskError(CallerError, LookupError):
    """No task of that name."""

    @classmethod
    def of(cls, name: str, known: Iterable[str]) -> UnknownTaskError:
        """The name that was asked for and those there are."""
        names = list(known)
        own = "Your own is a Task, or comes from --task-file FILE.toml."
        return cls(f"There is no task {name!r}.{did_you_mean(name, names)} The tasks are: {', '.join(names)}. {own}")


class TokenizerError(CallerError, ValueError):
    """No tokenizer can be made of what was named."""


class ColumnNotFoundError(CallerError, LookupError):
    """A frame or file lacks a column."""

    @classmethod
    def of(cls, column: str, present: Iterable[str], *, where: str, remedy: str) -> ColumnNotFoundError:
        """The column, where it was looked for, the columns there are, and what to do."""
        return cls(
            f"There is no column {column!r} in {where}; its columns are: {', '.join(map(str, present))}. {remedy}"
        )


class FrameError(CallerError, TypeError):
    """A frame or a column is of a kind that cannot be worked on."""

    @classmethod
    def of(cls, frame: object) -> FrameError:
        """A frame of a library that has no engine."""
        kind = f"{type(frame).__module__}.{type(frame).__qualname__}"
        return cls(
            f"A {kind} cannot be worked on: partitions are pandas or cuDF dataframes. Convert it, such as with "
            ".to_pandas()."
        )

    @classmethod
    def not_text(cls, column: str, dtype: object) -> FrameError:
        """A column that has to hold text and does not."""
        return cls(
            f"The column {column!r} is of type {dtype} and has to hold text, in Unicode. Convert it, or name another."
        )

    @classmethod
    def not_comparable(cls, column: str, dtype: object) -> FrameError:
        """A column whose values cannot be told apart, such as lists."""
        return cls(
            f"The column {column!r} is of type {dtype} and holds values that cannot be compared. "
            "Make them text or numbers."
        )

    @classmethod
    def not_numeric(cls, column: str, dtype: object) -> FrameError:
        """A column that has to hold numbers and does not."""
        return cls(
            f"The column {column!r} is of type {dtype} and has to hold numbers. Convert it, or name another column."
        )


class InputError(CallerError, ValueError):
    """A file is missing, empty or unreadable; the message names it."""


class OutputError(CallerError, ValueError):
    """The output directory is not this job's to write to, or not without a yes; the message says what is there."""


class EndpointUnreachableError(JobError, ConnectionError):
    """Nobody answers at the endpoint's address."""

    @classmethod
    def of(cls, base_url: str, failure: object) -> EndpointUnreachableError:
        """Where nobody was reached, and what the first request met."""
        why = getattr(failure, "detail", failure)
        return cls(f"Nobody was reached at {base_url}: {why}. Start the endpoint, or mend its address, and go on.")


class EndpointRefusedError(JobError, PermissionError):
    """The endpoint answers, and would refuse every request alike: bad key, no such path, no such model."""


class BudgetReachedError(JobError, RuntimeError):
    """The run has taken what it may take of money or tokens; all that was paid for is kept."""

    @classmethod
    def of(cls, spent: str, setting: str, cap: object) -> BudgetReachedError:
        """What the run has spent, and the setting that it reached."""
        flag = f"--{setting.replace('_', '-')}"
        return cls(f"The run {spent}, which reaches {flag} {cap}. Raise it, and run the same command again to go on.")


class JobCancelledError(JobError, InterruptedError):
    """Somebody had the job stopped. What was finished stays, and it may go on later."""


class NotBuiltError(JobError, ImportError):
    """The compiled part of the package is not there, is broken, or was built from other sources."""

    @classmethod
    def of(cls, why: object) -> NotBuiltError:
        """What is wrong with it, and how it is built."""
        return cls(
            f"The compiled part of nemocc-dask cannot be used: {why}. Install the package again: `pip install "
            "--force-reinstall --no-deps .` in its sources, with `--editable .` where it was installed so."
        )


class AccountingError(JobError, ArithmeticError):
    """Rows in are not rows out + rejected + failed. A defect here, never the user's."""
