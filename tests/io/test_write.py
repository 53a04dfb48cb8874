"""Files appear whole or not at all, whenever their writer dies."""

import json
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from datetime import date, datetime, timedelta
from decimal import Decimal

import dask.dataframe as dd
import fsspec
import pandas as pd
import pyarrow as pa
import pytest

from nemocc_dask.errors import JobError, OutputError
from nemocc_dask.io.parts import plan_parts
from nemocc_dask.io.read import read_part, schema_of
from nemocc_dask.io.write import Output

TABLE = pa.table({"id": [1, 2], "text": ["a", "ü\n"]})

ROWS = 200_000

WRITER = f"""
    import random, sys, time
    import pyarrow as pa
    from nemocc_dask.io.write import Output

    output = Output(sys.argv[1])
    table = pa.table({{"id": [random.random() for _ in range({ROWS})]}})
    print("ready", flush=True)
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 100):
        output.write_table(f"distill/part-{{number:05d}}.parquet", table, "parquet")
        time.sleep(0.01)
"""


def test_a_killed_writer_leaves_whole_shards_only(tmp_path):
    """While a process writes shard after shard, and after it was killed, the folder reads as a whole dataset."""
    for first in (0, 100, 200):
        command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), str(first)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            try:
                assert writer.stdout.readline() == b"ready\n"
                reads, until = 0, time.monotonic() + 20
                while reads < 5 and time.monotonic() < until:
                    reads += _reads_whole(tmp_path / "distill")
                assert reads == 5
            finally:
                os.kill(writer.pid, signal.SIGKILL)
        assert _reads_whole(tmp_path / "distill")


def _reads_whole(folder) -> bool:
    """Whether there was something to read: every file among the shards is one, and has all of its rows."""
    names = os.listdir(folder) if folder.exists() else []
    assert all(name.startswith("part-") and name.endswith(".parquet") for name in names), names
    if names:
        assert len(dd.read_parquet(folder).compute(scheduler="sync")) % ROWS == 0
    return bool(names)


@pytest.mark.parametrize("scheme", ["", "file://", "memory://"])
def test_what_is_written_is_read_back(tmp_path, scheme):
    """Texts and tables of any address are found under their names, listed, and read back."""
    output = Output(f"{scheme}{tmp_path}/out")
    assert output.names() == [] and not output.exists("a/run.json")
    output.write_text("a/run.json", "ü")
    output.write_table("distill/part-00000.parquet", TABLE, "parquet")
    assert output.exists("a/run.json") and output.read_text("a/run.json") == "ü"
    assert sorted(set(output.names()) - {"_nemocc"}) == ["a", "distill"]
    assert dd.read_parquet(output.path("distill")).compute()["text"].tolist() == ["a", "ü\n"]


def test_an_object_store_gets_one_put():
    """Where files cannot be moved a file is put once, under its final name."""

    class Counted(type(fsspec.filesystem("memory"))):
        protocol = "counted"
        puts: list[str] = []  # noqa: RUF012 - of one test

        def pipe_file(self, path, value, **how):
            self.puts.append(self._strip_protocol(path))
            super().pipe_file(path, value, **how)

        def _open(self, path, mode="rb", **how):
            assert mode == "rb" or "data" in how, "nothing is written piece by piece"
            return super()._open(path, mode, **how)

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.replace("counted://", "memory://"))

    fsspec.register_implementation("counted", Counted)
    output = Output("counted://out")
    output.write_table("distill/part-00000.parquet", TABLE, "parquet")
    assert Counted.puts == ["/out/distill/part-00000.parquet"]
    assert output.names() == ["distill"]


def test_a_relative_folder_is_the_same_on_a_worker(tmp_path, monkeypatch):
    """An output that travels to a process in another folder still means the folder it meant where it was made."""
    (tmp_path / "here").mkdir()
    (tmp_path / "there").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    travelled = pickle.dumps(Output("out"))
    monkeypatch.chdir(tmp_path / "there")
    pickle.loads(travelled).write_text("a.txt", "a")
    assert (tmp_path / "here" / "out" / "a.txt").exists()


def test_what_cannot_be_written_is_named(tmp_path):
    """A file system that refuses stops the job with the file's name and the reason, not with a traceback."""
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "distill").write_text("a file where the folder of the shards would be")
    with pytest.raises(JobError, match=r"out/distill/part-00000\.parquet cannot be written: .*File exists"):
        Output(str(tmp_path / "out")).write_table("distill/part-00000.parquet", TABLE, "parquet")


# --- JSONL ------------------------------------------------------------------------------------------------------------


def test_lines_of_a_table(tmp_path):
    """A JSONL shard has a line for each row, letters as they are, and reads back as the same rows."""
    Output(str(tmp_path)).write_table("a.jsonl", TABLE, "jsonl")
    lines = (tmp_path / "a.jsonl").read_text(encoding="utf-8")
    assert lines == '{"id": 1, "text": "a"}\n{"id": 2, "text": "ü\\n"}\n'
    [part] = plan_parts([str(tmp_path / "a.jsonl")], rows_per_partition=10)
    assert read_part(part, schema_of(part.pieces[0])).to_pylist() == TABLE.to_pylist()


def test_what_json_has_no_word_for(tmp_path):
    """Dates are ISO 8601, decimals text, durations seconds, bytes base64; no number is null; integers stay exact."""
    row = {
        "whole": 2**64 - 1,
        "date": date(2020, 1, 1),
        "moment": datetime(2020, 1, 1, 2),
        "duration": timedelta(minutes=1),
        "decimal": Decimal("1.10"),
        "bytes": b"\xff",
        "nan": float("nan"),
        "nested": {"list": [1, None, float("inf")]},
    }
    types = {"whole": pa.uint64(), "nested": pa.struct({"list": pa.list_(pa.float64())})}
    table = pa.table({name: pa.array([value, None], types.get(name)) for name, value in row.items()})
    Output(str(tmp_path)).write_table("a.jsonl", table, "jsonl")
    first, second = map(json.loads, (tmp_path / "a.jsonl").read_text().splitlines())
    assert first == {
        "whole": 2**64 - 1,
        "date": "2020-01-01",
        "moment": "2020-01-01T02:00:00",
        "duration": 60.0,
        "decimal": "1.10",
        "bytes": "/w==",
        "nan": None,
        "nested": {"list": [1.0, None, None]},
    }
    assert set(second.values()) == {None}


def test_lines_of_no_rows(tmp_path):
    """A JSONL shard of no rows reads as no rows, by pandas and as the input of a next job."""
    Output(str(tmp_path)).write_table("a.jsonl", TABLE.slice(0, 0), "jsonl")
    Output(str(tmp_path)).write_table("b.jsonl", TABLE, "jsonl")
    assert len(pd.read_json(tmp_path / "a.jsonl", lines=True)) == 0
    [part] = plan_parts([str(tmp_path / "a.jsonl"), str(tmp_path / "b.jsonl")], rows_per_partition=10)
    assert part.file.endswith("b.jsonl")


def test_a_folder_is_written_by_one_run_at_a_time(tmp_path):
    """While one run writes to a folder, another is refused; once it has ended, the other may."""
    one, other = Output(str(tmp_path)), Output(f"file://{tmp_path}")
    with one.lock(), pytest.raises(OutputError, match="Another run is writing"), other.lock():
        pass
    with other.lock():
        pass


def test_a_folder_knows_its_own_files(tmp_path):
    """A run can tell what it has written itself from what was there before, by path or URL."""
    output = Output(str(tmp_path / "out"))
    assert output.holds(str(tmp_path / "out" / "distill" / "part-00000.parquet"))
    assert output.holds(f"file://{tmp_path}/out/part-00000.parquet")
    assert not output.holds(str(tmp_path / "output.parquet"))
    assert not output.holds("memory://out/part-00000.parquet")
