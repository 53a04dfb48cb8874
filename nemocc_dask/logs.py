"""What happens to a run, as records of Python's `logging` under the logger ``nemocc_dask``, and as lines of JSON.

A message is words for a person; what a machine wants to know goes beside it, as an event with fields. Whatever is
logged within `about` carries the run it is about, in any formatter as ``%(run)s``. No secret and no text of a document
is logged.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from datetime import UTC, datetime
from functools import partial
from typing import Any, ParamSpec, TypeVar

from nemocc_dask.errors import SettingError

LOGGER = "nemocc_dask"

JSON = "json"
"""What Dask's setting `nemocc.log` may be; without it nothing is switched on."""

_FIELDS = "nemocc"
"""Attribute of a record that holds its event."""

P = ParamSpec("P")
T = TypeVar("T")

_about: ContextVar[dict[str, Any] | None] = ContextVar("nemocc_about", default=None)


def event(name: str, /, **fields: Any) -> dict[str, Any]:
    """What a record says to a machine, as the `extra` of a call of a logger.

    >>> event("endpoint_down", endpoint="http://localhost/v1")
    {'nemocc': {'event': 'endpoint_down', 'endpoint': 'http://localhost/v1'}}
    """
    return {_FIELDS: {"event": name, **fields}}


@contextmanager
def about(**fields: Any) -> Iterator[None]:
    """What is logged while the block runs is about this run, partition, worker: on this thread, on threads that are
    given functions `with_context`, and in what is handed to an event loop meanwhile."""
    token = _about.set({**(_about.get() or {}), **fields})
    try:
        yield
    finally:
        _about.reset(token)


def with_context(function: Callable[P, T], /) -> Callable[P, T]:
    """The function as it would log here, to be called once, on another thread.

    >>> with about(run="7f"):
    ...     asks = with_context(lambda: _about.get())
    >>> asks()
    {'run': '7f'}
    """
    return partial(copy_context().run, function)


class _Told(logging.Filter):
    """Puts what a record is about onto it; lets every record through."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.run = (_about.get() or {}).get("run", "")
        return True


class JsonLines(logging.Formatter):
    r"""One JSON object a line: `time` (UTC, ISO), `level`, `event`, `run` and what else it is about, `message`, fields.

    For a handler of your own. What is no event of a run, such as another warning of this package, is a "message".

    >>> record = logging.LogRecord("nemocc_dask", logging.INFO, "", 0, "%d rows", (3,), None)
    >>> json.loads(JsonLines().format(record))["message"]
    '3 rows'
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        fields = {"event": "message", **getattr(record, _FIELDS, {})}
        line = {"time": when.replace("+00:00", "Z"), "level": record.levelname.lower(), "event": fields.pop("event")}
        line |= {**(_about.get() or {}), "message": record.getMessage(), **fields}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


class _JsonToStderr(logging.StreamHandler[Any]):
    """The handler that `switch_on` adds."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.setFormatter(JsonLines())


def switch_on(how: str | None) -> None:
    """Write what this package logs, from level INFO on, to stderr in this form; None leaves all as it is.

    The lines are not handed on to other handlers: each stands there once. Raises `SettingError`.
    """
    if how is None:
        return
    if how != JSON:
        raise SettingError(
            f"Dask's setting nemocc.log (or the environment variable DASK_NEMOCC__LOG) is {how!r}. Make it {JSON!r}, "
            "or leave it out."
        )
    logger = logging.getLogger(LOGGER)
    if not any(isinstance(handler, _JsonToStderr) for handler in logger.handlers):
        logger.addHandler(_JsonToStderr())
        logger.setLevel(min(logger.level or logging.INFO, logging.INFO))
        logger.propagate = False


logging.getLogger(LOGGER).addFilter(_Told())
