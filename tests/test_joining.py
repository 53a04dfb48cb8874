"""A document's segments meet again: in order, costs added up, never over a gap or with another document."""

from __future__ import annotations

import dataclasses

import pandas as pd
import pytest
from books import assert_accounted, assert_same_kind, reasons
from corpora import count, of_tokens
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.postprocess import postprocess
from nemocc_dask.tasks import TASKS

PARAPHRASE = TASKS["wikipedia_paraphrasing"]
FREE = dataclasses.replace(PARAPHRASE, min_result_tokens=0)
MARKER = "Here is a paraphrased version:\n"


def answered(*rows, **more):
    """Rows (id, segment_id, sample, result) as `generate` leaves them."""
    frame = pd.DataFrame(rows, columns=["id", "segment_id", "sample", "rephrased"])
    costs = {
        "text": [f"source {segment}" for segment in frame["segment_id"]],
        "segment_token_count": 2,
        "request_id": [f"r{position}" for position in range(len(frame))],
        "finish_reason": "stop",
        "prompt_tokens": pd.array([10] * len(frame), dtype="Int64"),
        "completion_tokens": pd.array([5] * len(frame), dtype="Int64"),
        "attempts": 1,
        "latency_s": 0.25,
    }
    return frame.assign(**costs | {"rephrased": MARKER + frame["rephrased"]} | more)


def results(frame, tokenizer, task=FREE):
    """(id, segment_id, result) of every row that comes out."""
    kept = postprocess(frame, task, tokenizer=tokenizer).kept
    return list(zip(kept["id"], kept["segment_id"], kept["rephrased"], strict=True))


def test_segments_are_joined_in_order(tokenizer):
    """One row per document comes out: source and result of its segments by line breaks, in their order."""
    kept = postprocess(answered((7, 0, 0, "A."), (7, 1, 0, "B."), (8, 0, 0, "C.")), FREE, tokenizer=tokenizer).kept
    assert kept["rephrased"].tolist() == ["A.\nB.", "C."]
    assert kept["text"].tolist() == ["source 0\nsource 1", "source 0"]
    assert kept["id"].tolist() == [7, 8] and kept["segment_id"].tolist() == [0, 0]


def test_costs_are_added_up(tokenizer):
    """Tokens, attempts and seconds of a joined row are sums, request ids a list, and counts those of the whole."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B."), (7, 2, 0, "C."))
    (row,) = postprocess(frame, FREE, tokenizer=tokenizer).kept.itertuples()
    assert (row.prompt_tokens, row.completion_tokens, row.attempts, row.latency_s) == (30, 15, 3, 0.75)
    assert row.request_id == "r0,r1,r2"
    assert row.rephrased_segment_token_count == sum(count(answer, tokenizer) for answer in frame["rephrased"])
    assert row.rephrased_document_token_count == count("A.\nB.\nC.", tokenizer)
    assert row.segment_token_count == count(row.text, tokenizer)


def test_a_count_that_is_a_sum_gives_way_to_the_true_one(tokenizer):
    """A segment that stands alone is counted too: joined by hand, it came with the sum of its parts."""
    kept = postprocess(answered((7, 0, 0, "A."), segment_token_count=99), FREE, tokenizer=tokenizer).kept
    assert kept["segment_token_count"].tolist() == [count("source 0", tokenizer)]


def test_tokens_that_nobody_told_stay_missing(tokenizer):
    """A sum leaves out what is missing, and is missing where everything is."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B."), (8, 0, 0, "C."))
    frame = frame.assign(prompt_tokens=pd.array([10, None, None], dtype="Int64"))
    kept = postprocess(frame, FREE, tokenizer=tokenizer).kept
    assert kept["prompt_tokens"].tolist() == [10, pd.NA] and str(kept["prompt_tokens"].dtype) == "Int64"


def test_nothing_is_joined_over_a_gap(tokenizer):
    """A segment that was lost on the way leaves two rows, told apart by the segment they begin with."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B."), (7, 3, 0, "D."), (7, 4, 0, "E."))
    assert results(frame, tokenizer) == [(7, 0, "A.\nB."), (7, 3, "D.\nE.")]


def test_an_answer_that_is_rejected_leaves_a_gap(tokenizer):
    """A segment whose answer lacks its marker is rejected, and its neighbours are not joined as if adjacent."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B."), (7, 2, 0, "C."))
    frame.loc[1, "rephrased"] = "I cannot do that."
    assert results(frame, tokenizer) == [(7, 0, "A."), (7, 2, "C.")]


def test_samples_are_documents_of_their_own(tokenizer):
    """Of two answers to each segment, the first ones make one text and the second ones another."""
    frame = answered((7, 0, 0, "A."), (7, 0, 1, "a."), (7, 1, 0, "B."), (7, 1, 1, "b."))
    assert sorted(results(frame, tokenizer)) == [(7, 0, "A.\nB."), (7, 0, "a.\nb.")]


def test_two_documents_of_one_id_stay_two(tokenizer):
    """Where numbers begin again a new document begins, whatever its id."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B."), (7, 0, 0, "C."), (7, 1, 0, "D."))
    assert results(frame, tokenizer) == [(7, 0, "A.\nB."), (7, 0, "C.\nD.")]


def test_the_shortest_result_is_meant_per_document(tokenizer):
    """Two results of 25 tokens make a document of 50, which is kept; alone each would have been too short."""
    half = of_tokens(25, tokenizer)
    (row,) = results(answered((7, 0, 0, half), (7, 1, 0, half), (8, 0, 0, half)), tokenizer, PARAPHRASE)
    assert row[0] == 7
    outcome = postprocess(answered((8, 0, 0, half)), PARAPHRASE, tokenizer=tokenizer)
    assert reasons(outcome) == {"filter_results": {"result_too_short": 1}}


@given(lengths=st.lists(st.integers(1, 6), max_size=5), samples=st.integers(1, 3), lost=st.sets(st.integers(0, 89)))
@settings(max_examples=60, deadline=None)
def test_whatever_is_lost_runs_of_neighbours_are_joined(tokenizer, lengths, samples, lost):
    """For any documents, samples and losses, results are the maximal runs of neighbours, and the books balance."""
    rows = [
        (document, segment, sample, f"{document}.{segment}.{sample}")
        for document, length in enumerate(lengths)
        for segment in range(length)
        for sample in range(samples)
    ]
    left = [row for position, row in enumerate(rows) if position not in lost]
    frame = answered(*left) if left else answered((0, 0, 0, "x"))[:0]
    outcome = postprocess(frame, FREE, tokenizer=tokenizer)
    assert sorted(outcome.kept["rephrased"]) == sorted(by_hand(left))
    assert_accounted(outcome, len(left))


def by_hand(rows):
    """The runs of neighbouring segments of each document and sample, joined."""
    runs = []
    for document, segment, sample, words in sorted(rows, key=lambda row: (row[0], row[2], row[1])):
        if runs and runs[-1][0] == (document, segment - 1, sample):
            runs[-1] = ((document, segment, sample), f"{runs[-1][1]}\n{words}")
        else:
            runs.append(((document, segment, sample), words))
    return [words for _, words in runs]


def test_a_frame_without_numbers_joins_nothing(tokenizer):
    """Rows that say neither segment nor sample are taken for documents of one segment each."""
    frame = answered((7, 0, 0, "A."), (8, 0, 0, "B.")).drop(columns=["segment_id", "sample"])
    assert postprocess(frame, FREE, tokenizer=tokenizer).kept["rephrased"].tolist() == ["A.", "B."]


@pytest.mark.parametrize("missing", ["request_id", "prompt_tokens", "latency_s", "attempts"])
def test_a_frame_without_a_ledger_is_joined_too(missing, tokenizer):
    """Answers from elsewhere, without some or any of the ledger, meet again all the same."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B.")).drop(columns=missing)
    assert results(frame, tokenizer) == [(7, 0, "A.\nB.")]


def test_no_rows_are_legal(tokenizer):
    """Zero answers are joined to zero results of the same columns and dtypes."""
    frame = answered((7, 0, 0, "A."), (7, 1, 0, "B."))
    none = postprocess(frame[:0], FREE, tokenizer=tokenizer).kept
    assert_same_kind(none, postprocess(frame, FREE, tokenizer=tokenizer).kept)
