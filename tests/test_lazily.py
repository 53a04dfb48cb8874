"""On Dask: building a graph does nothing, its promises are kept, and results do not depend on the partitions."""

from __future__ import annotations

import dataclasses
import gc
import weakref

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from chains import METHODS, READING, chain
from corpora import corpus

import nemocc_dask as ncc
from nemocc_dask.errors import ColumnNotFoundError, SettingError, TaskError, UnknownTaskError
from nemocc_dask.settings import GenerationConfig
from nemocc_dask.tasks import TASKS


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
    lazy = dd.from_pandas(corpus(3), npartitions=1).nemocc.filter_tokens(
        min_tokens=1, tokenizer=tmp_path / "later.json"
    )
    assert "document_token_count" in lazy.columns


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
    """Dask keeps the accessor on the frame: it must not hold the frame in turn, or persisted partitions stay."""
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
        lazy.compute()
        .reset_index(drop=True)[list(whole.columns)]
        .drop(columns="latency_s")
        .astype(whole.dtypes.drop("latency_s")),
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


def test_mistakes_are_told_before_anything_is_computed(tokenizer, endpoint):
    """A missing column, a wrong name and a prompt without room raise while the graph is built."""
    calls: list[int] = []
    frame = watched(calls)
    with pytest.raises(ColumnNotFoundError, match="'text'"):
        frame.drop(columns="text").nemocc.preprocess("distill", tokenizer=tokenizer)
    with pytest.raises(UnknownTaskError, match="'destill'"):
        frame.nemocc.generate("destill", endpoint=endpoint)
    with pytest.raises(TaskError, match="leaves"):
        frame.nemocc.preprocess(
            TASKS["distill"].__class__(**vars(TASKS["distill"]) | {"max_input_tokens": 9}), tokenizer=tokenizer
        )
    with pytest.raises(SettingError, match="pattern"):
        frame.nemocc.remove_lines("(")
    assert calls == []


def test_longer_answers_are_kept_where_they_were_asked_for(frames, endpoint, tokenizer):
    """With `max_tokens` above the task's own, answers of that length are no longer too long."""
    own = dataclasses.replace(TASKS["extract_knowledge"], max_output_tokens=20, min_result_tokens=0)
    docs = frames.make({"id": [1], "text": ["Water boils at a hundred degrees. Ice melts at none. " * 8]})
    config = GenerationConfig(max_tokens=500)
    longer = frames.rows(docs.nemocc.synthesize(own, endpoint=endpoint, config=config, tokenizer=tokenizer))
    assert len(longer) == 1
    assert longer["rephrased_segment_token_count"].iloc[0] > own.max_answer_tokens
