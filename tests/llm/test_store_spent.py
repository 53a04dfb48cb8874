"""What was paid for is what the lines of the store say."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from stored import answer_of, begin_and_end, key_of, left_open, lines_of

from nemocc_dask.llm.store import Spent, Store

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


@pytest.fixture
def filled(tmp_path) -> Store:
    """Attempts of two runs, sealed and not, of two labels and three recipes, with and without usage."""
    store = Store(str(tmp_path))
    for name in ("one-part-0", "one-part-1", "two-part-0"):
        attempt = left_open(store.attempt(name))
        for number in range(30):
            usage = {"prompt_tokens": None if number % 5 == 0 else number, "completion_tokens": 2 * number}
            origin = {"label": "distill" if number % 3 else 'qa,"reasoning":', "recipe": f"r{number % 2}"}
            attempt.append(key_of(number % 20), answer_of(attempts=1 + number % 4, **usage), **origin)
        if name != "one-part-1":
            attempt.close()
    return store


def summed(store: Store, *attempts: str) -> dict[str, Spent]:
    """The sums, line by line."""
    sums: dict[str, Spent] = {}
    for name in attempts:
        for line in (Path(store.url) / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
            each = json.loads(line)
            spent = Spent(
                1,
                each["prompt_tokens"] or 0,
                each["completion_tokens"],
                each["attempts"],
                each["prompt_tokens"] is None,
            )
            sums[each["label"]] = sums.get(each["label"], Spent()) + spent
    return sums


@pytest.mark.parametrize("sidecars", [True, False], ids=["sidecars", "none"])
def test_what_was_spent_is_what_the_lines_say(filled, sidecars):
    """Sums are those of all lines, also of keys that were answered twice, of the attempts that are asked for."""
    if not sidecars:
        for file in Path(filled.url).glob("*.index"):
            file.unlink()
    assert filled.spent("one") == summed(filled, "one-part-0", "one-part-1")
    assert filled.spent("one", besides=["one-part-1"]) == summed(filled, "one-part-0")
    assert filled.spent("one-part-1") == summed(filled, "one-part-1")
    assert filled.spent("") == summed(filled, "one-part-0", "one-part-1", "two-part-0")
    assert filled.spent("", besides=["one-part-0", "one-part-1", "two-part-0"]) == {} == filled.spent("part-0")


@pytest.mark.parametrize("sidecars", [True, False], ids=["sidecars", "none"])
def test_answers_are_counted_by_label_and_recipe(filled, sidecars):
    """The store remembers of each label and recipe as many answers as there are lines of it."""
    if not sidecars:
        for file in Path(filled.url).glob("*.index"):
            file.unlink()
    counts: dict[tuple[str, str], int] = {}
    for line in map(json.loads, lines_of(Path(filled.url))):
        origin = (line["label"], line["recipe"])
        counts[origin] = counts.get(origin, 0) + 1
    assert filled.remembers() == counts and len(counts) == 4
