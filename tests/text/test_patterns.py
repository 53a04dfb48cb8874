"""Patterns that all engines read alike."""

from __future__ import annotations

import re

import pytest

from nemocc_dask.text.patterns import SPACE, SPACES, any_case


def test_white_space_is_that_of_python() -> None:
    """The class for patterns and the characters for trimming are those that `str.strip` takes off."""
    assert all(re.fullmatch(f"[{SPACE}]", space) for space in SPACES)
    everything = "".join(map(chr, range(0xD800)))
    assert set(re.findall(f"[{SPACE}]", everything)) == set(SPACES)


def test_white_space_is_what_python_takes_for_it():
    """The characters for trimming and cutting are those of str.isspace, all of it and nothing else."""
    every_character = map(chr, [*range(0xD800), *range(0xE000, 0x110000)])
    assert "".join(filter(str.isspace, every_character)) == SPACES


@pytest.mark.parametrize("text", ["straße 5 (a+b)?", "STRASSE", "İstanbul", "x.y"])
def test_any_case_matches_its_own_words(text: str) -> None:
    """Signs are literal, and letters without a one-letter counterpart match themselves."""
    assert re.fullmatch(any_case(text), text)
