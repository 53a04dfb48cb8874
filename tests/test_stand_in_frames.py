"""All phases on frames that stand in for cuDF's: nothing but the engine is asked, and the same rows come out."""

from __future__ import annotations

import inspect

import dask.dataframe as dd
import pytest
from chains import READING, chain
from corpora import corpus
from pandas.testing import assert_frame_equal
from phases import Gpu, on
from stand_in_frames import DataFrame, Engine, stand_in

from nemocc_dask.accessor import accessor_of
from nemocc_dask.admit import admit
from nemocc_dask.text.engine import Frames, frames_of, is_cudf


@pytest.fixture
def engine():
    """Frames that stand in for cuDF's are served, and nothing asks for a GPU."""
    with pytest.MonkeyPatch.context() as patch:
        yield stand_in(patch)


def documents(partitions=3):
    return dd.from_pandas(corpus(6), npartitions=partitions, sort=False)


def test_they_are_taken_for_frames_of_cudf(engine):
    """A frame is told by its name and gets their engine, whose methods have the arguments of any other's."""
    frame = engine.from_pandas(corpus(1))
    assert is_cudf(frame) and frames_of(frame) is engine and not hasattr(frame, "loc")
    own = {name for name in vars(Engine) if not name.startswith("_")}
    for name in own:
        assert list(inspect.signature(getattr(Engine, name)).parameters) == list(
            inspect.signature(getattr(Frames, name)).parameters
        )


@pytest.mark.parametrize("task", READING)
def test_a_chain_on_them_gives_the_rows_of_pandas_frames(engine, task, tokenizer, endpoint):
    """From `to_gpu` to `to_host` through all phases: the rows, order, index and dtypes are those of the host alone."""
    seen = []
    moved = (
        documents()
        .nemocc.to_gpu()
        .map_partitions(lambda part: seen.append(type(part)) or part, meta=documents()._meta, enforce_metadata=False)
    )
    there = chain(moved, task, tokenizer, endpoint)
    results = there.nemocc.to_host().compute(scheduler="sync").drop(columns="latency_s")
    expected = chain(documents(), task, tokenizer, endpoint).compute(scheduler="sync").drop(columns="latency_s")
    assert seen == [DataFrame] * 3 and len(results) > 3
    assert_frame_equal(results, expected)


def test_a_frame_in_memory_has_steps_too(engine):
    """A frame of a device by itself is worked on at once, stays there, and is sent and brought back once."""
    there = corpus(2).nemocc.to_gpu()
    lines = accessor_of(there).split_documents()
    assert accessor_of(there).to_gpu() is there and type(lines) is DataFrame
    assert_frame_equal(accessor_of(lines).to_host(), corpus(2).nemocc.split_documents())


def test_segments_meet_again_on_the_host(engine, tokenizer, endpoint):
    """Where a join needs a shuffle, rows of any partition are found, though they were on the device."""
    name = "wikipedia_paraphrasing"
    answers = chain_to_answers(documents(1).compute(), name, tokenizer, endpoint)
    apart = dd.concat([dd.from_pandas(answers[at::2], npartitions=1) for at in range(2)])
    results = apart.nemocc.to_gpu().nemocc.postprocess(name, tokenizer=tokenizer).nemocc.to_host()
    expected = answers.nemocc.postprocess(name, tokenizer=tokenizer)
    assert sorted(results.compute(scheduler="sync")["rephrased"]) == sorted(expected["rephrased"])


def chain_to_answers(frame, task, tokenizer, endpoint):
    return frame.nemocc.preprocess(task, tokenizer=tokenizer).nemocc.generate(task, endpoint=endpoint)


def test_what_is_rejected_comes_back_too(engine):
    """Rejected rows have the columns, reasons and dtypes they have on the host."""
    frame = corpus(3).assign(id=[1, None, 1])
    there, here = on(Gpu(), admit)(frame), admit(frame)
    assert_frame_equal(there.kept, here.kept)
    for one, other in zip(there.rejected, here.rejected, strict=True):
        assert_frame_equal(one, other)
    assert there.stages == here.stages


def test_they_would_not_bear_what_cudf_does_not(engine):
    """A phase that takes their text for Arrow's, or reaches past the engine, fails: so this file can."""
    frame = engine.from_pandas(corpus(1))
    with pytest.raises(AttributeError):
        engine.texts(frame, "text").to_pylist()
    with pytest.raises(TypeError):
        frame["text"]
