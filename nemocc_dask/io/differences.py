"""What differs between the job that a folder holds and the one that is to run, in words."""

from __future__ import annotations

import json
from typing import Any

Record = dict[str, Any]

TOLD = 3
"""Differences that are told one by one."""

SHOWN_CHARACTERS = 120


def differences(earlier: Record, now: Record) -> list[str]:
    """Names of what decides a job's results and differs, with both values; none where both are the same job.

    >>> differences({"model": "m", "sampling": {"seed": 0, "n": 1}}, {"model": "m", "sampling": {"seed": 7, "n": 1}})
    ['sampling.seed (0 there, 7 here)']
    """
    before, after = _flat(earlier), _flat(as_read_back(now))
    changed = [name for name in sorted(before.keys() | after.keys()) if before.get(name) != after.get(name)]
    return [_told(name, before.get(name), after.get(name)) for name in changed]


def some(told: list[str]) -> str:
    """The first few of several, and how many more there are.

    >>> some(["a", "b", "c", "d"])
    'a; b; c; and 1 more'
    """
    return "; ".join(told[:TOLD] + ([f"and {len(told) - TOLD} more"] if len(told) > TOLD else []))


def as_read_back(record: Record) -> Record:
    """The record as it would be read from a file: tuples are lists."""
    return dict(json.loads(json.dumps(record)))


def _flat(record: Any, name: str = "") -> Record:
    """Every leaf under its dotted name, so that a difference names the one thing that differs."""
    if not isinstance(record, dict) or not record:
        return {name: record}
    flat = (_flat(value, f"{name}.{key}" if name else key) for key, value in record.items())
    return {leaf: value for each in flat for leaf, value in each.items()}


def _told(name: str, before: Any, after: Any) -> str:
    if isinstance(before, list) and isinstance(after, list):
        # Of long lists, such as those of files, what both have in common says nothing.
        left, come = _besides(before, after), _besides(after, before)
        if left or come:
            return f"{name} ({_short(left)} there, {_short(come)} here)"
        return f"{name} (in another order)"
    return f"{name} ({_short(before)} there, {_short(after)} here)"


def _besides(some: list[Any], others: list[Any]) -> list[Any]:
    """Those of some that are none of the others; there may be 100,000 of both."""
    known = {json.dumps(each) for each in others}
    return [each for each in some if json.dumps(each) not in known]


def _short(value: Any) -> str:
    text = json.dumps(value[:SHOWN_CHARACTERS] if isinstance(value, list) else value, ensure_ascii=False)
    return text if len(text) <= SHOWN_CHARACTERS else f"{text[: SHOWN_CHARACTERS - 3]}..."
