"""Knobs are checked when they are made."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from typing import Any

import pytest

from nemocc_dask.errors import SettingError
from nemocc_dask.simulate import Knobs
from nemocc_dask.simulate.faults import BAD_REQUEST, FAULTS
from nemocc_dask.simulate.spoiling import BAD_JSON, SPOILS

WRONG: list[dict[str, Any]] = [
    {"latency_s": -1},
    {"latency_s": float("inf")},
    {"latency_jitter_s": "1"},
    {"latency_sigma": 4.1},
    {"saturates_at": -1},
    {"slots": 2.5},
    {"requests_per_minute": "60"},
    {"tokens_per_minute": float("inf")},
    {"retry_after": "soon"},
    {"retry_after": None},
    {"reasoning": True},
    {"reasoning": "tags"},
    {"fails_after": -1},
    {"wants_max_completion_tokens": 0},
    {"refuses_n": "yes"},
    {"rate_limit_per_s": float("nan")},
    {"error_status": 200},
    {"error_status": 500.0},
    {"no_usage": 1},
    {"api_key": ""},
    {"model": None},
    {"max_n": -1},
    {"seed": 1.5},
    *({f"{fault}_rate": 1.1} for fault in (BAD_REQUEST, BAD_JSON, *FAULTS, *SPOILS)),
    {"error_rate": True},
]


@pytest.mark.parametrize("knobs", WRONG, ids=str)
def test_a_knob_without_meaning_is_named(knobs: dict[str, Any]) -> None:
    """A value that cannot be is refused at once, by the knob's name and with what it has to be."""
    (name,) = knobs
    with pytest.raises(SettingError, match=f"Knob {name} .* has to be "):
        Knobs(**knobs)


def test_every_rate_is_a_fault() -> None:
    """A knob that ends in `_rate` and the table of faults say the same: none is without effect, none without knob."""
    rates = {knob.name.removesuffix("_rate") for knob in fields(Knobs) if knob.name.endswith("_rate")}
    assert rates == {BAD_REQUEST, BAD_JSON, *FAULTS, *SPOILS}


def test_knobs_cannot_be_turned_afterwards() -> None:
    """A running endpoint's knobs stay as they were."""
    with pytest.raises(FrozenInstanceError):
        Knobs().seed = 1  # type: ignore[misc]


def test_a_key_is_not_shown() -> None:
    """The key that has to be sent does not appear where knobs are printed."""
    assert "secret" not in repr(Knobs(api_key="secret"))


def test_every_knob_explains_itself() -> None:
    """Each knob has a line of help from which a command line can be made."""
    assert all(knob.metadata["help"].endswith(".") for knob in fields(Knobs))
