"""Preprocessing: documents become segments that fit the prompt; nothing is lost unsaid or joined over a gap."""

from __future__ import annotations

import dataclasses
import random

import numpy as np
import pandas as pd
import pytest
from books import assert_accounted, assert_same_kind, reasons, rejects
from corpora import corpus, count, of_tokens, text
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import packed
from pandas.testing import assert_frame_equal

from nemocc_dask.errors import ColumnNotFoundError, TaskError
from nemocc_dask.preprocess import counted_documents, join_segments, max_segment_tokens, preprocess, split_documents
from nemocc_dask.tasks import TASKS, Task

READING = tuple(task for task in TASKS.values() if not task.makes_documents)
SMALL = Task(
    name="small", output_field="made", prompt="{document}", max_input_tokens=43, max_output_tokens=50,
    min_document_tokens=5, min_segment_tokens=3,
)  # fmt: skip
"""A task whose prompt is the document alone: 43 tokens less one BOS less 2 leave 40 for a segment."""


def documents(*texts, **more):
    return pd.DataFrame({"id": range(len(texts)), "text": list(texts)} | more)


def lines_of(*tokens):
    """A document with a line of so many tokens each."""
    return "\n".join(" ".join(["a"] * number) for number in tokens)


def segments(frame, task=SMALL, **settings):
    """Rows of the kept segments: id, segment_id, tokens."""
    kept = preprocess(frame, task, **settings).kept
    return list(zip(kept["id"], kept["segment_id"], kept["segment_token_count"], strict=True))


# --- the budget -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("template", [False, True])
@pytest.mark.parametrize("task", READING, ids=lambda task: task.name)
def test_a_prompt_never_exceeds_its_input(task, template, tokenizer, chat_tokenizer):
    """Every prompt, with system words, chat template and segment, stays within the task's max input tokens."""
    counter = chat_tokenizer if template else tokenizer
    kept = preprocess(corpus(8, lines=70), task, tokenizer=counter).kept
    prompts = [counter.count_prompt(task.messages(document=segment)) for segment in kept["text"]]
    assert len(prompts) > 8 and max(prompts) <= task.max_input_tokens
    assert max(prompts) > task.max_input_tokens - 80  # and segments are as long as lines allow


def test_the_budget_is_what_the_empty_prompt_leaves(tokenizer, chat_tokenizer):
    """A segment may have the input's tokens, less the prompt with an empty document, less 2."""
    task = TASKS["distill"]
    for counter in (tokenizer, chat_tokenizer):
        assert max_segment_tokens(task, counter) == 2000 - counter.count_prompt(task.messages(document="")) - 2
    assert max_segment_tokens(task, chat_tokenizer) < max_segment_tokens(task, tokenizer)
    assert max_segment_tokens(SMALL, tokenizer) == 40


def test_a_prompt_that_leaves_no_room_is_told_before_anything(tokenizer):
    """A task whose prompt alone fills its input raises, even on zero rows."""
    full = dataclasses.replace(TASKS["distill"], max_input_tokens=50)
    with pytest.raises(TaskError, match="Raise max_input_tokens"):
        preprocess(corpus(3)[:0], full, tokenizer=tokenizer)


# --- packing ----------------------------------------------------------------------------------------------------------


def test_lines_are_packed_next_fit_with_a_token_for_each_break(tokenizer):
    """20+1+19 tokens fit into 40; one more does not; a later short line does not go back into an earlier segment."""
    assert segments(documents(lines_of(20, 19, 40, 5, 3)), tokenizer=tokenizer) == [(0, 0, 40), (0, 1, 40), (0, 2, 9)]
    assert segments(documents(lines_of(20, 20, 19)), tokenizer=tokenizer) == [(0, 0, 20), (0, 1, 40)]


short_lines = st.lists(st.integers(0, 40), max_size=12)


@given(rows=st.lists(short_lines, min_size=1, max_size=6))
@settings(max_examples=40, deadline=None)
def test_segments_are_those_of_the_obvious_way(tokenizer, rows):
    """Whatever the lines, segments are those of a next-fit done by hand, less those that are too short."""
    frame = documents(*(lines_of(*row) for row in rows))
    outcome = preprocess(frame, dataclasses.replace(SMALL, min_document_tokens=0), tokenizer=tokenizer)
    by_hand = packed(zip(frame["id"], frame["text"], strict=True), lambda line: count(line, tokenizer), 40)
    expected = [(one.document, one.segment_id, one.text) for one in by_hand if count(one.text, tokenizer) >= 3]
    kept = outcome.kept
    assert list(zip(kept["id"], kept["segment_id"], kept["text"], strict=True)) == expected
    assert_accounted(outcome, len(rows))


def test_counts_are_true(tokenizer):
    """Both counts of a kept segment are what the tokenizer says of the document and of the segment, and int64."""
    kept = preprocess(corpus(5, lines=30), TASKS["wikipedia_paraphrasing"], tokenizer=tokenizer).kept
    originals = corpus(5, lines=30).set_index("id")["text"]
    for row in kept.itertuples():
        assert row.document_token_count == count(originals[row.id], tokenizer)
        assert row.segment_token_count == count(row.text, tokenizer)
    assert kept["segment_token_count"].dtype == kept["document_token_count"].dtype == np.int64


def test_nothing_but_line_breaks_is_lost(tokenizer):
    """The segments of a document, put together in order, are the document."""
    frame = corpus(5, lines=60)
    kept = preprocess(frame, TASKS["wikipedia_paraphrasing"], tokenizer=tokenizer).kept
    again = kept.sort_values(["id", "segment_id"]).groupby("id")["text"].agg("\n".join)
    assert again.tolist() == frame["text"].tolist()


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_short_documents_and_segments_are_rejected_at_the_bound(tokenizer):
    """Bounds are inclusive: 5 tokens stay where 5 are asked for; dropped rows say at which stage and why."""
    frame = documents(lines_of(4), lines_of(5), lines_of(40, 2), lines_of(40, 3))
    outcome = preprocess(frame, SMALL, tokenizer=tokenizer)
    assert outcome.kept["id"].tolist() == [1, 2, 3, 3]
    assert reasons(outcome) == {
        "filter_documents": {"document_too_short": 1},
        "filter_segments": {"segment_too_short": 1},
    }
    assert rejects(outcome)["segment_token_count"].dropna().tolist() == [2]
    assert_accounted(outcome, 4)


@pytest.mark.parametrize("task", READING, ids=lambda task: task.name)
def test_each_task_has_its_own_shortest_document(task, tokenizer):
    """A document of exactly the task's minimum passes, one of a token less does not."""
    shortest = max(task.min_document_tokens, task.min_segment_tokens)
    frame = documents(of_tokens(shortest, tokenizer), of_tokens(task.min_document_tokens - 1, tokenizer))
    assert preprocess(frame, task, tokenizer=tokenizer).kept["id"].tolist() == [0]


def test_a_document_of_blank_lines_makes_no_request(tokenizer):
    """Segments without a token are dropped even where the task names no minimum."""
    free = dataclasses.replace(SMALL, min_document_tokens=0, min_segment_tokens=0)
    assert segments(documents("", "a"), free, tokenizer=tokenizer) == [(1, 0, 1)]


# --- over-long lines --------------------------------------------------------------------------------------------------

OVERLONG = lines_of(10, 95, 10)


def test_an_overlong_line_is_split(tokenizer):
    """A line over the budget becomes pieces that fit, in their place, and every word is still there."""
    outcome = preprocess(documents(OVERLONG), SMALL, tokenizer=tokenizer)
    kept = outcome.kept
    assert kept["segment_token_count"].max() <= 40
    assert " ".join(kept["text"]).split() == OVERLONG.split()
    assert kept["segment_id"].tolist() == [*range(len(kept))] and reasons(outcome) == {}
    assert {count.stage: dict(count.notes) for count in outcome.stages}["filter_lines"] == {"overlong_lines": 1}


def test_dropping_an_overlong_line_stays_a_choice(tokenizer):
    """Dropped instead, it is rejected as too long, and a number is missing between its neighbours."""
    outcome = preprocess(documents(OVERLONG), SMALL, tokenizer=tokenizer, overlong="drop")
    assert outcome.kept["segment_id"].tolist() == [0, 2]
    assert reasons(outcome) == {"filter_lines": {"line_too_long": 1}}
    assert rejects(outcome)["text"].tolist() == [lines_of(95)]
    assert_accounted(outcome, 1)


mixed_lines = st.lists(st.integers(0, 130), max_size=10)


@pytest.mark.parametrize("overlong", ["split", "drop"])
@given(rows=st.lists(mixed_lines, max_size=5))
@settings(max_examples=40, deadline=None)
def test_whatever_the_lines_the_books_balance(tokenizer, overlong, rows):
    """With over-long lines among others, every row is accounted for, segments fit, and numbers rise in a document."""
    frame = documents(*(lines_of(*row) for row in rows)) if rows else documents("a")[:0]
    outcome = preprocess(frame, SMALL, tokenizer=tokenizer, overlong=overlong)
    assert_accounted(outcome, len(rows))
    assert (outcome.kept["segment_token_count"] <= 40).all()
    assert (
        outcome.kept.groupby("id")["segment_id"].apply(lambda ids: ids.is_monotonic_increasing and ids.is_unique).all()
    )


# --- rows -------------------------------------------------------------------------------------------------------------


def test_columns_of_the_input_are_carried_along(tokenizer):
    """Every segment carries its document's own columns."""
    kept = preprocess(documents(lines_of(40, 40), lines_of(9), url=["u", "v"]), SMALL, tokenizer=tokenizer).kept
    assert kept["url"].tolist() == ["u", "u", "v"]


@pytest.mark.pandas_alone("what comes back from the device is never the frame that was given")
def test_counts_that_are_there_are_not_made_again(tokenizer):
    """A document that was counted before is taken by its count, and its text as it is."""
    counted = counted_documents(documents("a\r\nb"), tokenizer)
    assert counted["text"].tolist() == ["a\nb"] and counted_documents(counted, tokenizer) is counted
    claimed = documents(lines_of(9), document_token_count=[4])
    assert reasons(preprocess(claimed, SMALL, tokenizer=tokenizer)) == {"filter_documents": {"document_too_short": 1}}


def test_neighbouring_documents_of_one_id_stay_two(tokenizer):
    """Documents are told apart where their lines begin again, even under one id."""
    frame = documents(lines_of(9, 9), lines_of(8, 8)).assign(id=7)
    assert segments(frame, tokenizer=tokenizer) == [(7, 0, 19), (7, 0, 17)]


def test_rows_may_share_their_index(tokenizer):
    """The index of a frame says nothing: rows under one index value are as many documents."""
    frame = documents(lines_of(9), lines_of(8)).set_index(pd.Index([0, 0]))
    assert segments(frame, tokenizer=tokenizer) == [(0, 0, 9), (1, 0, 8)]


@pytest.mark.parametrize("task", READING, ids=lambda task: task.name)
def test_partitions_do_not_matter(task, tokenizer):
    """Documents preprocessed one by one, by threes, or together give the same segments."""
    frame = corpus(9, lines=25)
    together = preprocess(frame, task, tokenizer=tokenizer).kept.reset_index(drop=True)
    for size in (1, 3):
        parts = [preprocess(frame[at : at + size], task, tokenizer=tokenizer).kept for at in range(0, 9, size)]
        assert_frame_equal(pd.concat(parts).reset_index(drop=True), together)


@pytest.mark.parametrize("overlong", ["split", "drop"])
def test_the_given_frame_is_not_changed(tokenizer, overlong):
    """Preprocessing leaves the frame it was given as it was, with and without counts in it."""
    frame = documents(OVERLONG, "a\r\nb", url=["u", "v"])
    for given_frame in (frame, counted_documents(frame, tokenizer)):
        before = given_frame.copy(deep=True)
        preprocess(given_frame, SMALL, tokenizer=tokenizer, overlong=overlong)
        assert_frame_equal(given_frame, before)


@pytest.mark.parametrize("overlong", ["split", "drop"])
@pytest.mark.parametrize("task", [*READING, SMALL], ids=lambda task: task.name)
def test_no_documents_are_legal(task, overlong, tokenizer):
    """Zero documents, and documents of which none survives, give zero segments of the same columns and dtypes."""
    frame = documents(*(text(seed) for seed in range(4)), lines_of(40))
    some = preprocess(frame, task, tokenizer=tokenizer, overlong=overlong)
    none = preprocess(frame[:0], task, tokenizer=tokenizer, overlong=overlong)
    all_short = preprocess(frame.assign(text="a"), task, tokenizer=tokenizer, overlong=overlong)
    assert_same_kind(none.kept, some.kept)
    assert_same_kind(all_short.kept, some.kept)
    assert_accounted(none, 0)
    assert_accounted(all_short, 5)


def test_a_missing_column_is_named(tokenizer):
    """Without text, or without ids, the caller learns which is missing."""
    with pytest.raises(ColumnNotFoundError, match="'text'"):
        preprocess(pd.DataFrame({"id": [1]}), SMALL, tokenizer=tokenizer)
    with pytest.raises(ColumnNotFoundError, match="'id'"):
        preprocess(pd.DataFrame({"text": [lines_of(9)]}), SMALL, tokenizer=tokenizer)


# --- the steps by themselves ------------------------------------------------------------------------------------------


def test_splitting_numbers_the_parts_of_each_document():
    """Parts count from 0 in each document, blank ones among them, and a null text has none."""
    split = split_documents(documents("a\n\nb", None, "", "c"))
    assert split["text"].tolist() == ["a", "", "b", "", "c"]
    assert split["id"].tolist() == [0, 0, 0, 2, 3] and split["segment_id"].tolist() == [0, 1, 2, 0, 0]


def test_another_separator_cuts_and_joins():
    """Documents may be cut at any text, and are joined again by it with as many tokens as it is said to have."""
    split = split_documents(documents("a || b || c"), separator=" || ").assign(segment_token_count=1)
    joined = join_segments(split, max_tokens=4, separator=" || ", separator_tokens=2)
    assert joined["text"].tolist() == ["a || b", "c"] and joined["segment_token_count"].tolist() == [4, 1]


def test_joining_knows_no_neighbour_over_a_gap():
    """Segments whose numbers differ by more than one are not joined, and the new numbers skip one there."""
    parts = pd.DataFrame({"id": 7, "text": list("abde"), "segment_id": [0, 1, 3, 4], "segment_token_count": 1})
    joined = join_segments(parts, max_tokens=100)
    assert joined["text"].tolist() == ["a\nb", "d\ne"] and joined["segment_id"].tolist() == [0, 2]


def test_joining_twice_is_joining_once():
    """Joined again under the same budget, next-fit segments stay as they are."""
    draw = random.Random(0)
    frame = documents(*(text(seed, lines=20) for seed in range(3)))
    parts = split_documents(frame)
    once = join_segments(
        parts.assign(segment_token_count=[draw.randrange(30) for _ in range(len(parts))]), max_tokens=50
    )
    assert_frame_equal(join_segments(once, max_tokens=50), once)
