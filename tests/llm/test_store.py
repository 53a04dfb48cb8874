"""What is put into the store is found again as it was, and the best where there is a choice."""

from __future__ import annotations

import json
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
from stored import ORIGIN, answer_of, begin_and_end, fill, key_of, lines_of, texts, texts_afresh

from nemocc_dask.errors import CallerError
from nemocc_dask.llm.results import Answer
from nemocc_dask.llm.store import Store
from nemocc_dask.llm.store.index import forget_indexes

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "responses"))


# --- lines ------------------------------------------------------------------------------------------------------------

ODD = 'a "quoted" \\ back\\slash\nline\r\nline\x00\x1f\x7f \u2028 \x85 ü 日本 👩‍🚀 \ufffd {"key":"' + "0" * 32

WHOLE = Answer(ODD, "stop", f"org/model {ODD}", 7, 11, 3, 0.1 + 0.2, 2, f"Hm. {ODD}", 5)
BARE = Answer(None, None, "", None, None, 0, 0.0, 0)


@pytest.mark.parametrize("answer", [WHOLE, BARE, replace(BARE, text=""), replace(WHOLE, latency_s=1e-7)])
@pytest.mark.parametrize("afresh", [False, True], ids=["same process", "afresh"])
def test_every_field_of_an_answer_comes_back(store, answer, afresh):
    """An answer is found as it was appended, whatever is in its texts, but for `reused`, which is set."""
    with store.attempt("a") as attempt:
        attempt.append(key_of(1), answer, label=ODD, recipe=ODD)
        if afresh:
            forget_indexes()
        assert store.find([key_of(1)]) == {key_of(1): replace(answer, reused=True)}
    assert list(store.remembers()) == [(ODD, ODD)]


def test_no_field_of_an_answer_is_forgotten(store):
    """Where an answer gets a further field, the test above has one that is neither stored nor usual."""
    usual = Answer("", None, "", None, None, 0, 0.0, 0)
    same = [field.name for field in fields(Answer) if getattr(WHOLE, field.name) == getattr(usual, field.name)]
    assert same == ["reused"]


def test_a_line_is_plain_json(store):
    """Each line is one JSON object in UTF-8 with letters as they are: key, origin and time, then the answer."""
    before = time.time()
    with store.attempt("a") as attempt:
        attempt.append(key_of(1), answer_of("Grüße\n👋", reasoning="Hm."), label="distill", recipe="0123")
    [line] = lines_of(Path(store.url))
    fields = json.loads(line)
    assert "Grüße\\n👋".encode() in line
    assert before - 1e-6 <= fields.pop("at") <= time.time()
    assert fields == {
        "key": key_of(1), "label": "distill", "recipe": "0123", "finish_reason": "stop", "model": "m",
        "prompt_tokens": 7, "completion_tokens": 11, "reasoning_tokens": None, "attempts": 1, "latency_s": 0.25,
        "sample": 0, "reasoning": "Hm.", "text": "Grüße\n👋",
    }  # fmt: skip


@pytest.mark.parametrize("key", ["", "0" * 31, "0" * 33, "0" * 31 + "A", "0" * 31 + "\n", "../" + "0" * 29])
def test_what_is_no_key_is_refused(store, key):
    """A key that `request_key` would not make is refused, before it is stored or looked for."""
    with store.attempt("a") as attempt, pytest.raises(CallerError, match="is no key of a stored answer"):
        attempt.append(key, answer_of(), **ORIGIN)
    with pytest.raises(CallerError, match="is no key of a stored answer"):
        store.find([key])
    assert not Path(store.url).exists()


# --- which answer -----------------------------------------------------------------------------------------------------


def test_what_is_missing_is_left_out(store):
    """Found are those that are there; of no keys, and in no folder, none."""
    assert store.find([]) == {} and texts(store, range(3)) == {} and store.spent("") == {} and store.remembers() == {}
    with store.attempt("a") as attempt:
        fill(attempt, range(0, 10, 2))
    assert texts(store, range(4)) == {0: "0", 2: "2"}
    assert not (Path(store.url) / "b.jsonl").exists()


FLAWED = {
    "truncated": {"finish_reason": "length"},
    "content_filtered": {"finish_reason": "content_filter"},
    "empty": {"text": " "},
}


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_flawed_answer_is_found_unless_it_is_not_wanted(store, flaw):
    """An answer of no use was paid for, so it is found; who asks for it again says so, of this flaw alone."""
    with store.attempt("a") as attempt:
        attempt.append(key_of(1), replace(answer_of(), **FLAWED[flaw]), **ORIGIN)
    assert store.find([key_of(1)])[key_of(1)].flaw == flaw
    assert store.find([key_of(1)], unless=FLAWED.keys() - {flaw})
    assert store.find([key_of(1)], unless=[flaw]) == {}


@pytest.mark.parametrize("afresh", [False, True], ids=["same process", "afresh"])
@pytest.mark.parametrize("one_file", [True, False], ids=["one attempt", "several"])
def test_the_best_of_several_answers(store, one_file, afresh):
    """An answer without a flaw beats one with, and a later one beats an earlier one."""
    said = [("first", "stop"), ("second", "stop"), ("cut off", "length")]
    attempts = [store.attempt(f"{9 - number}") for number in range(1 if one_file else 3)]
    for number, (text, ending) in enumerate(said):
        attempts[number % len(attempts)].append(key_of(1), answer_of(text, finish_reason=ending), **ORIGIN)
    if afresh:
        forget_indexes()
    assert texts(store, [1]) == {1: "second"}
    for attempt in attempts:
        attempt.close()
    assert texts(store, [1]) == {1: "second"}
    assert texts_afresh(store.url, [1]) == {1: "second"}
