"""The steps of cleaning that a task may list, by name. What each does stands in `nemocc_dask.postprocess`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from nemocc_dask.errors import TaskError

STEP_OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "remove_markdown": (),
        "remove_quotation": (),
        "remove_lines": ("pattern",),
        "keep_prefixed": ("prefix",),
        "slice_after": ("marker",),
        "normalize_bullets": (),
        "keep_language_code": (),
        "keep_pairs": ("max_pairs",),
    }
)
"""Name of each step → the options it needs."""


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

    @classmethod
    def from_table(cls, table: Mapping[str, Any]) -> Step:
        """A step from its TOML table ``{step = NAME, OPTION = VALUE}``."""
        options = dict(table)
        return cls(options.pop("step", "(no key 'step')"), options)

    def as_table(self) -> dict[str, Any]:
        """The inverse of `from_table`."""
        return {"step": self.name, **self.options}
