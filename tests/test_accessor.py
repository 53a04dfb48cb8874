"""The accessor: a chain reads as the pipeline does, alike on every kind of frame."""

from __future__ import annotations

import logging

import pytest
from chains import METHODS, READING, chain
from corpora import corpus, count, text
from pandas.testing import assert_frame_equal
from scripted import error

from nemocc_dask.accessor import accessor_of
from nemocc_dask.errors import FrameError
from nemocc_dask.route import Route
from nemocc_dask.tasks import TASKS

ANSWERS = {"id": [1, 2], "answer": ["**Answer:** “yes”", "no"]}


def scores(*values):
    return {"id": range(len(values)), "text": "a", "quality_score": list(values)}


# --- step by step, on every kind of frame -----------------------------------------------------------------------------


def test_filter_quality_keeps_what_lies_between(frames):
    """Scores above one bound and at most another are kept; rows without a score go."""
    frame = frames.make(scores(10, 11, 12, None, 15, 19))
    assert frames.rows(frame.nemocc.filter_quality(above=11))["quality_score"].tolist() == [12, 15, 19]
    assert frames.rows(frame.nemocc.filter_quality(at_most=11))["quality_score"].tolist() == [10, 11]
    assert frames.rows(frame.nemocc.filter_quality(above=11, at_most=15))["quality_score"].tolist() == [12, 15]


def test_filter_tokens_counts_and_keeps_what_fits(frames, tokenizer):
    """Counts go into the column named, int64, and rows at the bounds are kept."""
    frame = frames.make({"id": range(4), "text": ["a", "a a", "a a a", None]})
    kept = frames.rows(frame.nemocc.filter_tokens(min_tokens=1, max_tokens=2, tokenizer=tokenizer, count_field="n"))
    assert kept["n"].tolist() == [1, 2] and str(kept["n"].dtype) == "int64"
    every = frames.rows(frame.nemocc.filter_tokens(tokenizer=tokenizer))
    assert every["document_token_count"].tolist() == [1, 2, 3, 0]


def test_split_documents_numbers_the_parts(frames):
    r"""Each line is a row with its number in its document, whether lines end in \n, \r\n or \r."""
    lines = frames.rows(frames.make({"id": [7, 8], "text": ["a\r\nb\rc", "d\n"]}).nemocc.split_documents())
    assert lines[["id", "text", "segment_id"]].values.tolist() == [
        [7, "a", 0],
        [7, "b", 1],
        [7, "c", 2],
        [8, "d", 0],
        [8, "", 1],
    ]


def test_cleaning_steps_work_by_themselves(frames):
    """Each step of cleaning works on any column, and leaves the others alone."""
    cleaned = frames.make(ANSWERS).nemocc.remove_markdown(field="answer")
    assert frames.rows(cleaned)["answer"].tolist() == ["Answer: “yes”", "no"]
    prefixed = cleaned.nemocc.keep_prefixed("Answer:", field="answer")
    assert frames.rows(prefixed)["id"].tolist() == [1]
    sliced = prefixed.nemocc.slice_after("answer:", field="answer").nemocc.remove_quotation(field="answer")
    assert frames.rows(sliced)["answer"].tolist() == ["yes"]
    lines = frames.make({"id": [1], "text": ["Passage 1:\nIron."]}).nemocc.remove_lines("Passage [0-9]+:")
    assert frames.rows(lines)["text"].tolist() == ["Iron."]


@pytest.mark.parametrize("task", TASKS)
def test_the_three_phases_make_results(task, frames, tokenizer, endpoint):
    """Preprocess, generate and postprocess by name give the same results on every kind of frame."""
    frame, whole = frames.make(corpus(6)), corpus(6)
    if TASKS[task].makes_documents:
        frame, whole = (each.assign(language="Italian") for each in (frame, whole))
    results = frames.rows(chain(frame, task, tokenizer, endpoint))
    expected = chain(whole, task, tokenizer, endpoint).reset_index(drop=True)
    assert len(results) == len(expected) > 3
    assert results["id"].tolist() == expected["id"].tolist()
    assert results[TASKS[task].output_field].tolist() == expected[TASKS[task].output_field].tolist()


def test_all_at_once_is_what_the_phases_are(frames, tokenizer, endpoint):
    """`synthesize` gives what the three phases give, for each task of each route, with the task's name in the row."""
    rows = frames.rows(frames.make(corpus(8)).nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer))
    assert set(rows["task"]) == set(READING)
    for name, results in rows.groupby("task"):
        rule = {"at_most": 11} if name == "wikipedia_paraphrasing" else {"above": 11}
        by_hand = chain(corpus(8).nemocc.filter_quality(**rule), name, tokenizer, endpoint)
        field = TASKS[name].output_field
        assert sorted(results[field]) == sorted(by_hand[field])


def test_synthesize_takes_a_task_several_or_routes(frames, tokenizer, endpoint):
    """A name, a record, a route or a list of them may be given; one task gets every document."""
    documents = frames.make(corpus(4).drop(columns="quality_score"))
    for what in ("distill", TASKS["distill"], Route(("distill",)), ["distill"]):
        rows = frames.rows(documents.nemocc.synthesize(what, endpoint=endpoint, tokenizer=tokenizer))
        assert sorted(set(rows["id"])) == [100, 101, 102, 103] and set(rows["task"]) == {"distill"}
    rows = frames.rows(
        documents.nemocc.synthesize(["distill", "knowledge_list"], endpoint=endpoint, tokenizer=tokenizer)
    )
    assert set(rows["task"]) == {"distill", "knowledge_list"}


def test_bad_rows_are_left_out(frames, tokenizer):
    """Documents without an id or a text go, and counts that were there, of whatever kind, are made anew."""
    frame = frames.make(
        {"id": [1, None, 3, 4], "text": [text(1), text(2), None, text(4)], "document_token_count": [0, 0, 0, 0]}
    )
    kept = frames.rows(frame.nemocc.preprocess("distill", tokenizer=tokenizer))
    assert kept["id"].tolist() == [1, 4] and kept["document_token_count"].tolist() == [
        count(text(seed), tokenizer) for seed in (1, 4)
    ]


def test_the_given_frame_is_not_changed(frames, tokenizer, endpoint):
    """No method changes the frame it is called on."""
    given_rows = corpus(3)
    frame = frames.make(given_rows)
    before = frames.rows(frame).copy(deep=True)
    for method in METHODS.values():
        frames.rows(method(frame, tokenizer, endpoint))
    assert_frame_equal(frames.rows(frame), before)
    assert_frame_equal(given_rows, corpus(3))


# --- what is refused, and what is said --------------------------------------------------------------------------------


def test_only_frames_have_steps():
    """A frame of a library that is not served is refused with what to do."""
    with pytest.raises(FrameError, match=r"builtins\.dict cannot be worked on"):
        accessor_of({})


def test_what_is_dropped_is_logged(caplog, scripted, tokenizer):
    """Rows that a method drops are counted in the log, failures as warnings."""
    caplog.set_level(logging.INFO, logger="nemocc_dask")
    scripted.reply = lambda body: error(400)
    documents = corpus(2)
    documents.nemocc.filter_quality(above=25)
    documents.nemocc.generate("distill", endpoint=scripted.endpoint())
    assert "route: 2 of 2 rows rejected: {'no_route': 2}" in caplog.text
    assert "generate: 2 of 2 rows failed: {'http_400': 2}" in caplog.text


def test_what_is_dropped_on_the_way_is_logged_too(caplog, scripted, tokenizer):
    """So it is where all phases run at once: with the task, and what goes before any task."""
    caplog.set_level(logging.INFO, logger="nemocc_dask")
    scripted.reply = lambda body: error(400)
    documents = corpus(3).assign(text=[text(1), text(2), None])
    assert documents.nemocc.synthesize("distill", endpoint=scripted.endpoint(), tokenizer=tokenizer).empty
    [failed] = [record for record in caplog.records if record.levelname == "WARNING"]
    assert failed.getMessage() == "distill, generate: 2 of 2 rows failed: {'http_400': 2}"
    assert "1 of 3 rows rejected: {'null_text': 1}" in caplog.text
