"""The accessor: a chain reads as the pipeline does, alike on every kind of frame, lazily where the frame is lazy."""

from __future__ import annotations

import gc
import logging
import weakref

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from corpora import corpus, count, text
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import BUDGETS, Segment, packed
from pandas.testing import assert_frame_equal

import nemocc_dask as ncc
from nemocc_dask.accessor import accessor_of
from nemocc_dask.errors import ColumnNotFoundError, FrameError, SettingError, TaskError, UnknownTaskError
from nemocc_dask.route import Route
from nemocc_dask.settings import GenerationConfig
from nemocc_dask.tasks import TASKS

READING = tuple(name for name, task in TASKS.items() if not task.makes_documents)
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


def chain(frame, task, tokenizer, endpoint, config=GenerationConfig()):  # noqa: B008 - frozen
    if not TASKS[task].makes_documents:
        frame = frame.nemocc.preprocess(task, tokenizer=tokenizer)
    return frame.nemocc.generate(task, endpoint=endpoint, config=config).nemocc.postprocess(task, tokenizer=tokenizer)


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
    rows = frames.rows(documents.nemocc.synthesize(["distill", "knowledge_list"], endpoint=endpoint, tokenizer=tokenizer))
    assert set(rows["task"]) == {"distill", "knowledge_list"}


def test_bad_rows_are_left_out(frames, tokenizer):
    """Documents without an id, a text, or with an id that was there before, go; counts of another kind are made anew."""
    frame = frames.make(
        {"id": [1, None, 3, 4], "text": [text(1), text(2), None, text(4)], "document_token_count": [0, 0, 0, 0]}
    )
    kept = frames.rows(frame.nemocc.preprocess("distill", tokenizer=tokenizer))
    assert kept["id"].tolist() == [1, 4] and kept["document_token_count"].tolist() == [
        count(text(seed), tokenizer) for seed in (1, 4)
    ]


# --- the steps chained by hand ----------------------------------------------------------------------------------------


def by_hand(frame, frames, tokenizer, max_tokens):
    joined = (
        frame.nemocc.split_documents(separator="\n")
        .nemocc.filter_tokens(max_tokens=max_tokens, tokenizer=tokenizer, count_field="segment_token_count")
        .nemocc.join_segments(max_tokens=max_tokens)
    )
    rows = frames.rows(joined)[["id", "segment_id", "text", "segment_token_count"]]
    return [Segment(*row) for row in rows.itertuples(index=False)]


@pytest.mark.parametrize("max_tokens", BUDGETS)
def test_steps_by_hand_are_the_obvious_next_fit(max_tokens, frames, tokenizer):
    """Forty documents of many lengths, split, filtered and joined, give exactly the segments of a next-fit by hand."""
    documents = pd.concat(
        [corpus(20, lines=40), corpus(20, lines=9, sentences_per_line=6).assign(id=range(200, 220))], ignore_index=True
    )
    expected = packed(
        zip(documents["id"], documents["text"], strict=True), lambda line: count(line, tokenizer), max_tokens
    )
    assert len(expected) > 40 and max(segment.tokens for segment in expected) > max_tokens - 70
    assert by_hand(frames.make(documents), frames, tokenizer, max_tokens) == expected


lines = st.integers(0, 430).map(lambda tokens: " ".join(["a"] * tokens)) | st.sampled_from(text(0, lines=9).split("\n"))
documents = st.lists(st.tuples(st.lists(lines, max_size=14), st.sampled_from(["\n", "\r\n", "\r"])), min_size=1, max_size=5)


@pytest.mark.parametrize("max_tokens", BUDGETS)
@given(rows=documents)
@settings(max_examples=15, deadline=None)
def test_steps_by_hand_are_the_obvious_next_fit_on_any_text(max_tokens, frames, tokenizer, rows):
    """The same holds of documents drawn at random, blank lines and all kinds of line breaks among them."""
    frame = pd.DataFrame({"id": range(len(rows)), "text": [end.join(found) for found, end in rows]})
    known: dict[str, int] = {}
    expected = packed(
        zip(frame["id"], frame["text"], strict=True),
        lambda line: known.setdefault(line, len(line.split())) if line[:2] == "a " else count(line, tokenizer),
        max_tokens,
    )
    assert by_hand(frames.make(frame), frames, tokenizer, max_tokens) == expected


# --- laziness ---------------------------------------------------------------------------------------------------------


def watched(calls, rows=6, partitions=3):
    """A Dask frame whose partitions note that they were made."""
    frame = corpus(rows)
    size = -(-rows // partitions)

    def part(start):
        calls.append(start)
        return frame[start : start + size]

    return dd.from_map(part, [*range(0, rows, size)], meta=frame[:0])


def test_building_a_graph_computes_nothing_and_sends_nothing(simulator, endpoint, tokenizer):
    """The whole chain, of every task, and the lot at once, are built without a partition made or a request sent."""
    calls: list[int] = []
    frame = watched(calls)
    steps = (
        frame.nemocc.filter_quality(above=5)
        .nemocc.filter_tokens(min_tokens=30, tokenizer=tokenizer)
        .nemocc.split_documents()
        .nemocc.filter_tokens(max_tokens=655, tokenizer=tokenizer, count_field="segment_token_count")
        .nemocc.join_segments(max_tokens=655)
        .nemocc.generate("diverse_qa", endpoint=endpoint)
        .nemocc.postprocess("diverse_qa", tokenizer=tokenizer)
        .nemocc.remove_markdown(field="diverse_qa")
    )
    chains = [steps, *(chain(frame, task, tokenizer, endpoint) for task in READING)]
    chains.append(frame.nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer))
    for built in chains:
        assert len(built.columns) > 10 and repr(built)
        built.optimize().__dask_graph__()
    assert calls == [] and simulator.stats()["requests"] == 0
    assert len(steps.compute()) > 0 and len(calls) > 0 and simulator.stats()["requests"] > 0


def test_a_graph_is_built_without_its_tokenizer(tmp_path, endpoint):
    """Columns and types of steps are known before the tokenizer is needed: it is read where the work is done."""
    lazy = dd.from_pandas(corpus(3), npartitions=1).nemocc.filter_tokens(min_tokens=1, tokenizer=tmp_path / "later.json")
    assert "document_token_count" in lazy.columns


METHODS = {
    "filter_quality": lambda frame, *_: frame.nemocc.filter_quality(above=3),
    "filter_tokens": lambda frame, tokenizer, _: frame.nemocc.filter_tokens(min_tokens=1, tokenizer=tokenizer),
    "split_documents": lambda frame, *_: frame.nemocc.split_documents(),
    "join_segments": lambda frame, *_: frame.assign(segment_id=0, segment_token_count=5).nemocc.join_segments(max_tokens=9),
    "remove_quotation": lambda frame, *_: frame.nemocc.remove_quotation(),
    "keep_prefixed": lambda frame, *_: frame.nemocc.keep_prefixed(text(0)[:20]),
    "synthesize": lambda frame, tokenizer, endpoint: frame.nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer),
    **{
        task: lambda frame, tokenizer, endpoint, task=task: chain(
            frame.assign(language="Spanish") if TASKS[task].makes_documents else frame, task, tokenizer, endpoint
        )
        for task in TASKS
    },
}


@pytest.mark.parametrize("convert_string", [True, False])
@pytest.mark.parametrize("method", METHODS)
def test_what_is_promised_is_what_is_computed(method, convert_string, tokenizer, endpoint):
    """Columns and dtypes that the graph promises are those of every partition, with and without rows in it."""
    with dask.config.set({"dataframe.convert-string": convert_string}):
        frame = dd.from_pandas(corpus(4), npartitions=2)
        promised = METHODS[method](frame, tokenizer, endpoint)._meta.dtypes.to_dict()
        none = METHODS[method](frame[frame["id"] < 0], tokenizer, endpoint).compute()
        some = METHODS[method](frame, tokenizer, endpoint).compute()
    assert len(none) == 0 and none.dtypes.to_dict() == promised
    assert len(some) > 0 and some.dtypes.to_dict() == promised


def test_the_accessor_keeps_no_frame_alive():
    """Dask keeps the accessor on the frame: it must not hold the frame in turn, or persisted partitions stay for ever."""
    frame = dd.from_pandas(corpus(3), npartitions=1)
    assert frame.nemocc is frame.nemocc
    gone = weakref.ref(frame)
    gc.disable()
    try:
        del frame
        assert gone() is None
    finally:
        gc.enable()


# --- partitions -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("partitions", [1, 2, 5])
@pytest.mark.parametrize("task", READING)
def test_partitions_do_not_matter(task, partitions, tokenizer, endpoint):
    """Results, chosen pairs included, are the same however many partitions there are."""
    frame = corpus(5, lines=20)
    whole = chain(frame, task, tokenizer, endpoint, GenerationConfig(n=2)).reset_index(drop=True)
    lazy = chain(dd.from_pandas(frame, npartitions=partitions), task, tokenizer, endpoint, GenerationConfig(n=2))
    pd.testing.assert_frame_equal(
        lazy.compute().reset_index(drop=True)[list(whole.columns)].drop(columns="latency_s").astype(whole.dtypes.drop("latency_s")),
        whole.drop(columns="latency_s"),
    )


@pytest.mark.parametrize("partitions", [1, 3, 11])
def test_languages_do_not_depend_on_partitions(partitions, endpoint):
    """Rows made from nothing have the same languages and answers in any number of partitions."""
    rows = ncc.from_nothing(samples=22, rows_per_partition=-(-22 // partitions))
    assert rows.npartitions == partitions
    results = rows.nemocc.generate("multilingual_qa", endpoint=endpoint).compute().reset_index(drop=True)
    whole = ncc.from_nothing(samples=22).nemocc.generate("multilingual_qa", endpoint=endpoint).compute()
    assert results[["id", "language", "text"]].values.tolist() == whole[["id", "language", "text"]].values.tolist()


@pytest.mark.parametrize("after", ["preprocess", "generate"])
def test_segments_meet_again_after_a_repartition(after, tokenizer, endpoint):
    """A user who repartitions between the phases of paraphrasing still gets one row per document."""
    task, frame = "wikipedia_paraphrasing", corpus(4, lines=30)
    whole = chain(frame, task, tokenizer, endpoint)
    # Without divisions Dask cuts at any row; with them it happens to cut between documents.
    segments = dd.from_pandas(frame, npartitions=1).clear_divisions().nemocc.preprocess(task, tokenizer=tokenizer)
    if after == "preprocess":
        segments = segments.repartition(npartitions=3)
    answers = segments.nemocc.generate(task, endpoint=endpoint)
    if after == "generate":
        answers = answers.repartition(npartitions=3)
    results = answers.nemocc.postprocess(task, tokenizer=tokenizer).compute()
    assert sorted(results["rephrased"]) == sorted(whole["rephrased"])


@pytest.mark.parametrize("between", ["preprocess", "generate"])
def test_segments_meet_again_after_they_were_split_apart(between, tokenizer, endpoint):
    """Even where one document's segments were put into different partitions, they are joined in order."""
    task, frame = "wikipedia_paraphrasing", corpus(3, lines=60)
    segments = frame.nemocc.preprocess(task, tokenizer=tokenizer)
    answers = segments.nemocc.generate(task, endpoint=endpoint)
    assert len(segments) > 9
    if between == "preprocess":
        lazy = dd.from_pandas(segments.reset_index(drop=True), npartitions=5).nemocc.generate(task, endpoint=endpoint)
    else:
        lazy = dd.from_pandas(answers.reset_index(drop=True), npartitions=5)
    results = lazy.nemocc.postprocess(task, tokenizer=tokenizer).compute()
    whole = answers.nemocc.postprocess(task, tokenizer=tokenizer)
    assert sorted(results["rephrased"]) == sorted(whole["rephrased"])


# --- what is refused, and what is said --------------------------------------------------------------------------------


def test_the_given_frame_is_not_changed(frames, tokenizer, endpoint):
    """No method changes the frame it is called on."""
    given_rows = corpus(3)
    frame = frames.make(given_rows)
    before = frames.rows(frame).copy(deep=True)
    for method in METHODS.values():
        frames.rows(method(frame, tokenizer, endpoint))
    assert_frame_equal(frames.rows(frame), before)
    assert_frame_equal(given_rows, corpus(3))


def test_mistakes_are_told_before_anything_is_computed(tokenizer, endpoint):
    """A missing column, a wrong name and a prompt without room raise while the graph is built."""
    calls: list[int] = []
    frame = watched(calls)
    with pytest.raises(ColumnNotFoundError, match="'text'"):
        frame.drop(columns="text").nemocc.preprocess("distill", tokenizer=tokenizer)
    with pytest.raises(UnknownTaskError, match="'destill'"):
        frame.nemocc.generate("destill", endpoint=endpoint)
    with pytest.raises(TaskError, match="leaves"):
        frame.nemocc.preprocess(TASKS["distill"].__class__(**vars(TASKS["distill"]) | {"max_input_tokens": 9}), tokenizer=tokenizer)
    with pytest.raises(SettingError, match="pattern"):
        frame.nemocc.remove_lines("(")
    assert calls == []


def test_a_store_is_not_promised(endpoint):
    """A store of responses is refused in words for as long as there is none."""
    for method in ("generate", "synthesize"):
        with pytest.raises(SettingError, match="store"):
            getattr(corpus(1).nemocc, method)("distill", endpoint=endpoint, store="responses/")


def test_only_frames_have_steps():
    """A frame of a library that is not served is refused with what to do."""
    with pytest.raises(FrameError, match=r"builtins\.dict cannot be worked on"):
        accessor_of({})


def test_what_is_dropped_is_logged(caplog, scripted, tokenizer):
    """Rows that a method drops are counted in the log, failures as warnings."""
    from scripted import error

    caplog.set_level(logging.INFO, logger="nemocc_dask")
    scripted.reply = lambda body: error(400)
    documents = corpus(2)
    documents.nemocc.filter_quality(above=25)
    documents.nemocc.generate("distill", endpoint=scripted.endpoint())
    assert "route: 2 of 2 rows rejected: {'no_route': 2}" in caplog.text
    assert "generate: 2 of 2 rows failed: {'http_400': 2}" in caplog.text
