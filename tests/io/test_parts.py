"""Which partitions files are cut into: by rows, and by bytes where rows are large."""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpora import text
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask import Job, run_job
from nemocc_dask.errors import InputError
from nemocc_dask.io import parts as planning
from nemocc_dask.io.parts import PARTITION_BYTES, Part, plan_parts
from nemocc_dask.io.read import read_part

WANTED = pa.schema([("text", pa.string())])


def even(length: int, most: int) -> list[tuple[int, int]]:
    """Spans of equal length, as few as the bound allows."""
    number = -(-length // most)
    return [(length * index // number, length * (index + 1) // number) for index in range(number)]


def groups_file(path: Path, groups: list[tuple[int, int]]) -> str:
    """A file with row groups of so many rows of so many bytes each, which are not the same twice."""
    with pq.ParquetWriter(path, WANTED, compression="none", use_dictionary=False) as writer:
        for rows, size in groups:
            texts = [os.urandom(size // 2).hex() for _ in range(rows)]
            writer.write_table(pa.table({"text": texts}, schema=WANTED), row_group_size=max(1, rows))
    return str(path)


def spans(path: str, rows_per_partition: int) -> list[tuple[int, int]]:
    parts = plan_parts([path], rows_per_partition=rows_per_partition)
    return [(piece.start, piece.stop) for part in parts for piece in part.pieces]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.integers(1, 60))
def test_rows_of_usual_size_are_cut_by_number(tmp_path_factory, lengths, rows_per_partition):
    """Where no row is large, a Parquet file is cut evenly by rows alone, whatever its row groups."""
    path = groups_file(tmp_path_factory.mktemp("parts") / "a.parquet", [(rows, 10) for rows in lengths])
    assert spans(path, rows_per_partition) == even(sum(lengths), rows_per_partition)


@pytest.fixture
def small_bound(monkeypatch) -> int:
    """Partitions of 100 KB at most, so that rows of some kilobytes count as large."""
    monkeypatch.setattr(planning, "PARTITION_BYTES", 100_000)
    return 100_000


@pytest.mark.usefixtures("small_bound")
def test_large_rows_are_cut_by_bytes(tmp_path):
    """A file of large rows is cut into more partitions than its rows would make, of no more than the bound each."""
    found = spans(groups_file(tmp_path / "a.parquet", [(50, 10_000), (50, 10_000)]), 500)
    assert all(5 <= stop - start <= 10 for start, stop in found) and found[-1][1] == 100


@pytest.mark.usefixtures("small_bound")
def test_only_where_rows_are_large(tmp_path):
    """Row groups of large rows are cut further, those of small rows beside them are not."""
    found = spans(groups_file(tmp_path / "a.parquet", [(1000, 10), (20, 20_000), (1000, 10)]), 500)
    assert len([span for span in found if 1000 <= span[0] < 1020]) >= 4
    assert len([span for span in found if span[1] <= 1000]) <= 3


@pytest.mark.usefixtures("small_bound")
def test_a_row_is_never_cut(tmp_path):
    """Rows larger than the bound are partitions of their own."""
    assert spans(groups_file(tmp_path / "a.parquet", [(3, 150_000)]), 500) == [(0, 1), (1, 2), (2, 3)]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 12), st.sampled_from([2, 300, 5000, 40_000])), min_size=1, max_size=5),
    st.integers(1, 30),
)
def test_parts_hold_every_row_once(tmp_path_factory, groups, rows_per_partition):
    """Whatever the sizes of rows and row groups, partitions follow on each other, with no row lost, and none empty."""
    groups = [*groups, (1, 10)]
    path = groups_file(tmp_path_factory.mktemp("parts") / "a.parquet", groups)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planning, "PARTITION_BYTES", 20_000)
        found = spans(path, rows_per_partition)
    assert [start for start, _ in found] == [0, *(stop for _, stop in found[:-1])]
    assert found[-1][1] == sum(rows for rows, _ in groups)
    assert all(0 < stop - start <= rows_per_partition for start, stop in found)


@pytest.mark.usefixtures("small_bound")
@pytest.mark.parametrize("ending", ["", ".gz"])
def test_long_lines_are_cut_by_bytes(tmp_path, ending):
    """A JSONL file of long lines is cut into ranges of no more than the bound, packed or not."""
    rows = [{"text": os.urandom(5000).hex()} for _ in range(40)]
    path = tmp_path / f"a.jsonl{ending}"
    content = "\n".join(map(json.dumps, rows)).encode()
    path.write_bytes(pa.compress(content, "gzip", asbytes=True) if ending else content)
    found = plan_parts([str(path)], rows_per_partition=500)
    assert len(found) == -(-len(content) // 100_000) and found[-1].pieces[-1].stop == len(content)
    assert [row for part in found for row in read_part(part, WANTED).to_pylist()] == rows


# --- small files ------------------------------------------------------------------------------------------------------


def small_file(folder: Path, number: int, kind: str, rows: list[dict[str, Any]]) -> str:
    """A file of a few rows; those without any are of Parquet or of blank lines."""
    path = folder / f"{number:04d}.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema([("id", pa.int64()), *WANTED])), path)
    else:
        content = "\n".join(map(json.dumps, rows)) or "\n"
        path.write_bytes(gzip.compress(content.encode()) if kind.endswith("gz") else content.encode())
    return str(path)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["parquet", "jsonl", "jsonl.gz"])), min_size=1, max_size=25),
    st.integers(1, 12),
)
def test_small_files_go_together(tmp_path_factory, files, rows_per_partition):
    """Neighbouring files of whatever format share partitions of at most so many rows, in order, with no row lost; no
    two neighbours that are whole files would fit into one."""
    folder, begin, paths = tmp_path_factory.mktemp("parts"), 0, []
    for number, (rows, kind) in enumerate([*files, (1, "jsonl")]):
        made = [{"id": begin + at, "text": "four"} for at in range(rows)]
        paths, begin = [*paths, small_file(folder, number, kind, made)], begin + rows
    parts = plan_parts(paths, rows_per_partition=rows_per_partition)
    read = [read_part(part, pa.schema([("id", pa.int64()), *WANTED])).column("id").to_pylist() for part in parts]
    assert [row for rows in read for row in rows] == list(range(begin))
    assert all(len(part.pieces) == 1 or len(rows) <= rows_per_partition for part, rows in zip(parts, read, strict=True))
    cut = {path for path, n in Counter(piece.file for part in parts for piece in part.pieces).items() if n > 1}
    for (one, first), (other, second) in pairwise(zip(parts, read, strict=True)):
        if not cut & {one.file, other.file} and all(p.file.endswith("parquet") for p in (*one.pieces, *other.pieces)):
            assert len(first) + len(read_part(Part(0, other.pieces[:1]), WANTED)) > rows_per_partition, second


@pytest.mark.usefixtures("small_bound")
def test_small_files_of_large_rows_are_bounded_by_bytes(tmp_path):
    """Files of few large rows share a partition up to the bound in bytes."""
    paths = [groups_file(tmp_path / f"{number}.parquet", [(2, 15_000)]) for number in range(9)]
    assert [len(part.pieces) for part in plan_parts(paths, rows_per_partition=500)] == [3, 3, 3]


def test_rows_of_small_files_are_named(tmp_path, simulator, tokenizer_file):
    """Of a job on many small files, rejected rows are told by file and row, and ids repeat across files."""
    for number in range(12):
        rows = [{"id": 10 * number + at, "text": text(10 * number + at)} for at in range(3)]
        rows[1] |= {"id": 0} if number == 7 else {"text": None} if number == 8 else {}
        small_file(tmp_path, number, "parquet" if number % 2 else "jsonl", rows)
    job = Job(
        input=str(tmp_path / "*.*"), output=str(tmp_path / "out"), task="distill", base_url=simulator.base_url,
        model="simulated", tokenizer=str(tokenizer_file), rows_per_partition=15,
    )  # fmt: skip
    books = run_job(job)
    assert books["parts"]["all"] == 3 and books["documents"]["stages"][0]["rows_in"] == 36
    rejected = pq.read_table(tmp_path / "out" / "_nemocc" / "rejected" / "input").to_pydict()
    assert {
        (reason, words.rsplit("/", 1)[-1])
        for reason, words in zip(*map(rejected.get, ("reason", "detail")), strict=True)
    } == {
        ("duplicate_id", "0007.parquet, row 1"),
        ("null_text", "0008.jsonl, row 1"),
    }


def test_a_bad_line_among_small_files_is_named(tmp_path):
    """Of files that share a partition, the one with a bad line is named, with the line."""
    paths = [small_file(tmp_path, number, "jsonl", [{"id": number, "text": "a"}]) for number in range(5)]
    Path(paths[3]).write_text('{"id": 3, "text": "a"}\nno json\n')
    [part] = plan_parts(paths, rows_per_partition=10)
    with pytest.raises(InputError, match=r"0003\.jsonl.*line 2: "):
        read_part(part, WANTED)


def test_the_bound_leaves_usual_documents_alone():
    """A partition of the usual number of documents is not cut by bytes before they are 100 KB each."""
    assert PARTITION_BYTES / 500 > 100_000


def test_a_run_that_was_cut_otherwise_is_not_gone_on_with(tmp_path, simulator, tokenizer_file):
    """Where a version that cut files otherwise has begun a run, all shards are made anew, and nothing is paid twice."""
    source, output = tmp_path / "a.jsonl", tmp_path / "out"
    source.write_text("\n".join(json.dumps({"id": number, "text": text(number)}) for number in range(12)))
    job = Job(
        input=str(source), output=str(output), task="distill", base_url=simulator.base_url, model="simulated",
        tokenizer=str(tokenizer_file), rows_per_partition=5,
    )  # fmt: skip
    first = run_job(job)
    earlier = json.loads((output / "_nemocc" / "run.json").read_text())
    del earlier["identity"]["partition_bytes"]
    (output / "_nemocc" / "run.json").write_text(json.dumps(earlier))
    asked = simulator.stats()["requests"]
    again = run_job(job)
    assert again["run"] != first["run"] and again["identity"]["partition_bytes"] == PARTITION_BYTES
    assert again["tasks"]["distill"]["kept"] == first["tasks"]["distill"]["kept"] > 0
    assert simulator.stats()["requests"] == asked
