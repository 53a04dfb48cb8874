"""`to_gpu` and `to_host`: a graph is built where no GPU is, and what was on one comes back as it would have been."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import dask.dataframe as dd
import pandas as pd
import pytest
from chains import READING, chain
from corpora import corpus
from dask.dataframe.dask_expr._expr import MapPartitions
from kinds import skip_without_a_gpu
from pandas.testing import assert_frame_equal

from nemocc_dask.accessor import accessor_of
from nemocc_dask.devices import cuda_devices
from nemocc_dask.errors import FrameError, SettingError

needs_cudf = pytest.mark.skipif(importlib.util.find_spec("cudf") is None, reason="cudf is not installed")
without_gpu = pytest.mark.skipif(cuda_devices() > 0, reason="there is a CUDA device")


@pytest.fixture
def on_a_gpu():
    """Skips where there is none."""
    skip_without_a_gpu()


def documents(rows=6, partitions=3):
    frame = corpus(rows).assign(n=pd.array([None, *range(1, rows)], "Int64"), kind=pd.Categorical(["a"] * rows))
    return dd.from_pandas(frame, npartitions=partitions, sort=False)


POSTPROCESS = "postprocess-wikipedia-paraphrasing-nemocc"


def steps(frame):
    """The names of what is applied to partitions, the last one first."""
    return [expr.operand("token") for expr in frame.expr.walk() if isinstance(expr, MapPartitions)]


# --- without one ------------------------------------------------------------------------------------------------------


def test_a_graph_is_built_where_no_gpu_is(tokenizer):
    """The client needs none: columns, dtypes and names are those of the same methods on pandas frames, every time."""
    plain = documents().nemocc.preprocess("distill", tokenizer=tokenizer)
    moved = [documents().nemocc.to_gpu().nemocc.preprocess("distill", tokenizer=tokenizer) for _ in range(2)]
    back = [frame.nemocc.to_host() for frame in moved]
    assert [frame.dtypes.to_dict() for frame in (*moved, *back)] == [plain.dtypes.to_dict()] * 4
    assert type(back[0]._meta) is pd.DataFrame
    assert moved[0]._name == moved[1]._name and back[0]._name == back[1]._name != moved[0]._name


@without_gpu
@pytest.mark.parametrize("frame", [corpus(2), documents()], ids=["pandas", "dask"])
def test_a_gpu_that_is_not_there_is_told_by_who_needs_it(frame):
    """A frame in memory is refused at once, one of Dask's when it is computed; either way it says what to do."""
    with pytest.raises(SettingError, match="A GPU is asked for"):
        frame.nemocc.to_gpu().compute()


@without_gpu
def test_partitions_without_rows_need_no_gpu():
    """Where nothing is left of the documents, nothing goes anywhere."""
    nothing = documents().nemocc.filter_quality(above=99).nemocc.to_gpu().nemocc.split_documents().nemocc.to_host()
    computed = nothing.compute()
    assert len(computed) == 0 and computed.dtypes.to_dict() == nothing.dtypes.to_dict()


def test_what_is_on_the_host_stays_as_it_is():
    """`to_host` gives a pandas frame back itself, and leaves a Dask frame's rows, index and dtypes alone."""
    frame = corpus(3)
    assert frame.nemocc.to_host() is frame
    assert_frame_equal(documents().nemocc.to_host().compute(), documents().compute())


def test_rows_move_between_partitions_as_pandas_frames():
    """Segments that a join has to bring together are shuffled on the host; where they are together nothing moves."""
    answers = documents().assign(segment_id=0, sample=0, rephrased="a", segment_token_count=1)
    moved = steps(answers.nemocc.to_gpu().nemocc.postprocess("wikipedia_paraphrasing"))
    assert moved.index(POSTPROCESS) < moved.index("tohost-nemocc") < moved.index("togpu-nemocc")
    together = answers.nemocc.to_gpu().nemocc.split_documents().nemocc.postprocess("wikipedia_paraphrasing")
    assert steps(together) == [POSTPROCESS, "split-documents-nemocc", "togpu-nemocc"]


def test_kinds_of_frames_that_are_served_are_named():
    """A frame of another library is refused with the kinds that partitions may be."""
    with pytest.raises(FrameError, match="partitions are pandas or cuDF dataframes"):
        accessor_of([])


@needs_cudf
@pytest.mark.parametrize("first", ["nemocc_dask", "cudf"])
def test_cudf_has_the_accessor_whichever_is_imported_first(first):
    """cuDF's frames and dask_cudf's have it, and importing this package, or using it on pandas, imports no cuDF."""
    script = f"""
import sys, {first}
if {first!r} == "nemocc_dask":
    import pandas as pd, nemocc_dask.accessor
    pd.DataFrame({{"text": ["a"]}}).nemocc.split_documents()
    assert "cudf" not in sys.modules
import cudf, nemocc_dask, dask.dataframe as dd, dask_cudf
assert type(object.__new__(cudf.DataFrame).nemocc).__name__ == "Nemocc"
assert issubclass(dask_cudf.DataFrame, dd.DataFrame) and "nemocc" in dask_cudf.DataFrame._accessors
assert dask_cudf.DataFrame.nemocc is dd.DataFrame.nemocc is cudf.DataFrame.nemocc
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr


# --- with one ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("on_a_gpu")
@pytest.mark.parametrize("partitions", [1, 3])
@pytest.mark.parametrize("task", READING)
def test_results_are_those_of_pandas_frames(task, partitions, tokenizer, endpoint):
    """The whole chain on the GPU and back gives the rows, order and dtypes of the same chain on the host."""
    expected = chain(documents(partitions=partitions), task, tokenizer, endpoint).compute()
    there = chain(documents(partitions=partitions).nemocc.to_gpu(), task, tokenizer, endpoint)
    assert_frame_equal(there.nemocc.to_host().compute().drop(columns="latency_s"), expected.drop(columns="latency_s"))


@pytest.mark.usefixtures("on_a_gpu")
def test_what_was_on_a_gpu_comes_back_as_it_was():
    """Rows, index and dtypes are the same after having been there; a cuDF frame stays itself when sent again."""
    frame = documents().compute()
    there = frame.nemocc.to_gpu()
    assert there.nemocc.to_gpu() is there and type(there).__module__.startswith("cudf")
    assert_frame_equal(documents().nemocc.to_gpu().nemocc.to_host().compute(), frame)
    assert_frame_equal(there.nemocc.to_host(), frame)


@pytest.mark.usefixtures("on_a_gpu")
def test_dask_frames_of_cudf_are_served():
    """Their partitions are cuDF's anyway; back on the host, integers are nullable in all of them."""
    collection = documents().to_backend("cudf")
    lines = collection.nemocc.to_gpu().nemocc.split_documents()
    assert type(lines._meta).__module__.startswith("cudf")
    back = lines.nemocc.to_host()
    expected = documents().nemocc.split_documents().compute()
    assert str(back.dtypes["segment_id"]) == "Int64" and type(back._meta) is pd.DataFrame
    computed = back.compute()
    assert computed.dtypes.to_dict() == back.dtypes.to_dict()
    assert computed["text"].tolist() == expected["text"].tolist() and computed["id"].tolist() == expected["id"].tolist()
