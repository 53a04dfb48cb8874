"""The steps of cleaning that a task may list, by name. What each does stands in `nemocc_dask.postprocess`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import pyarrow as pa

from nemocc_dask.errors import SettingError, TaskError
from nemocc_dask.text.lines import remove_lines
from nemocc_dask.text.markers import starts_with_marker

_NO_TEXTS = pa.array([], pa.large_string())


def _is_pattern(value: Any) -> None:
    _is_text(value)
    remove_lines(_NO_TEXTS, value)


def _is_marker(value: Any) -> None:
    _is_text(value)
    starts_with_marker(_NO_TEXTS, value)


def _is_text(value: Any) -> None:
    if not isinstance(value, str):
        raise SettingError(f"{value!r} is no text.")


def _is_positive(value: Any) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingError(f"{value!r} is no whole number above zero.")


STEP_OPTIONS: Mapping[str, Mapping[str, Callable[[Any], None]]] = MappingProxyType(
    {
        "remove_markdown": {},
        "remove_quotation": {},
        "remove_lines": {"pattern": _is_pattern},
        "keep_prefixed": {"prefix": _is_marker},
        "slice_after": {"marker": _is_marker},
        "normalize_bullets": {},
        "keep_language_code": {},
        "keep_pairs": {"max_pairs": _is_positive},
    }
)
"""Name of each step → the options it needs, each with what raises `SettingError` for a value that cannot be."""


@dataclass(frozen=True)
class Step:
    """One step of cleaning: the name of an operation and its options.

    Raises `TaskError` for a name or an option there is not, or an option that is missing.

    >>> Step("keep_prefixed", {"prefix": "Paraphrased Text:"}).as_table()
    {'step': 'keep_prefixed', 'prefix': 'Paraphrased Text:'}
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in STEP_OPTIONS:
            raise TaskError(f"There is no step {self.name!r}. The steps are: {', '.join(STEP_OPTIONS)}.")
        if set(self.options) != set(STEP_OPTIONS[self.name]):
            needed = ", ".join(STEP_OPTIONS[self.name]) or "none"
            raise TaskError(f"Step {self.name!r} was given the options {sorted(self.options)}; it takes: {needed}.")
        for option, check in STEP_OPTIONS[self.name].items():
            try:
                check(self.options[option])
            except SettingError as error:
                raise TaskError(f"Step {self.name!r}, option {option!r}: {error}") from None

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Step:
        """A step from its TOML table ``{step = NAME, OPTION = VALUE}``."""
        if not isinstance(table, Mapping):
            raise TaskError(f"A step is a table such as {{step = 'remove_markdown'}}, not {table!r}.")
        options = dict(table)
        return cls(options.pop("step", "(no key 'step')"), options)

    def as_table(self) -> dict[str, Any]:
        """The inverse of `from_table`."""
        return {"step": self.name, **self.options}
