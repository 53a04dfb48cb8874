"""Files larger than memory should be: what is read, what is kept, and what is left open while parts are taken."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import os
import sys
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar, Self

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import InputError
from nemocc_dask.io import jsonl
from nemocc_dask.io.jsonl import Lines
from nemocc_dask.io.parts import Part, Piece, plan_parts
from nemocc_dask.io.read import read_part, schema_of
from nemocc_dask.io.scan import find_columns, find_repeated_ids
from nemocc_dask.io.streams import STREAMS, close_streams

ID_AND_TEXT = pa.schema([("id", pa.int64()), ("text", pa.string())])
PACK: dict[str, Callable[[bytes], bytes]] = {
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": lambda content: pa.compress(content, "zstd", asbytes=True),
}
LARGE_ROWS, LARGE_MB = 10_000, 40


@pytest.fixture(autouse=True)
def _nothing_is_left_open() -> Iterator[None]:
    yield
    close_streams()


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with one row group of 40 MB, which no compression makes smaller."""
    path = tmp_path_factory.mktemp("large") / "large.parquet"
    texts = [os.urandom(2000).hex() for _ in range(LARGE_ROWS)]
    table = pa.table({"id": range(LARGE_ROWS), "text": texts})
    pq.write_table(table, path, row_group_size=LARGE_ROWS, compression="none", use_dictionary=False)
    return str(path)


class Memory:
    """Bytes that Arrow and Python take within a block: the most at once, and what is kept when it is asked for."""

    _pools: ClassVar[list[pa.MemoryPool]] = []
    """None may go before what was taken from it."""

    def __enter__(self) -> Self:
        self._usual = pa.default_memory_pool()
        self._pool = pa.proxy_memory_pool(self._usual)
        self._pools.append(self._pool)
        pa.set_memory_pool(self._pool)
        tracemalloc.start()
        return self

    def __exit__(self, *error: object) -> None:
        tracemalloc.stop()
        pa.set_memory_pool(self._usual)

    @property
    def most(self) -> int:
        return int(self._pool.max_memory()) + tracemalloc.get_traced_memory()[1]

    @property
    def kept(self) -> int:
        return int(self._pool.bytes_allocated()) + tracemalloc.get_traced_memory()[0]


def bytes_read() -> int:
    """Bytes that this process has read from files and everything else."""
    return int(psutil.Process().io_counters().read_chars)


def is_open(path: str) -> bool:
    return any(file.path == path for file in psutil.Process().open_files())


counts_reading = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux counts what is read")


# --- Parquet ----------------------------------------------------------------------------------------------------------


@counts_reading
def test_a_large_row_group_is_read_once(large):
    """All parts of one row group, in order, read the file about once, and leave nothing open."""
    before = bytes_read()
    parts = plan_parts([large], rows_per_partition=200)
    ids = [row for part in parts for row in read_part(part, ID_AND_TEXT).column("id").to_pylist()]
    assert ids == list(range(LARGE_ROWS)) and len(parts) == 50
    assert bytes_read() - before < 1.2 * LARGE_MB * 1e6
    assert not is_open(large)


def test_a_large_row_group_takes_little_memory(large):
    """A part takes its own size and some pieces of the row group, by far not all of it; what it keeps is its own."""
    parts = plan_parts([large], rows_per_partition=200)
    with Memory() as memory:
        kept = read_part(parts[25], ID_AND_TEXT)
        close_streams()
        assert memory.most < 0.5 * LARGE_MB * 1e6
        assert memory.kept < 1.5 * kept.nbytes


def test_large_rows_are_decoded_by_few(tmp_path):
    """Of a row group of large documents, no more are decoded at once than some megabytes hold."""
    path = str(tmp_path / "a.parquet")
    table = pa.table({"id": range(400), "text": [os.urandom(50_000).hex() for _ in range(400)]})
    pq.write_table(table, path, compression="none", use_dictionary=False, write_batch_size=10)  # rows of a page
    with Memory() as memory:
        assert len(read_part(Part(0, (Piece(path, "parquet", 100, 110),)), ID_AND_TEXT)) == 10
        assert memory.most < 0.5 * table.nbytes


@counts_reading
def test_ids_are_looked_through_without_texts(large):
    """The look for repeated ids reads the ids alone, and leaves nothing open."""
    parts = plan_parts([large], rows_per_partition=200)
    found = find_columns(parts, id_field="id", text_field="text", score_field=None, carried=None, reserved=frozenset())
    before = bytes_read()
    assert not any(len(positions) for positions in find_repeated_ids(parts, found).values())
    assert bytes_read() - before < 0.1 * LARGE_MB * 1e6
    assert not is_open(large) and not len(STREAMS)


def test_what_is_kept_open_can_be_closed(large):
    """Between two parts the file stays open; `close_streams` closes it, and the next part is read all the same."""
    first, second, *_ = plan_parts([large], rows_per_partition=200)
    read_part(first, ID_AND_TEXT)
    assert is_open(large)
    close_streams()
    assert not is_open(large)
    assert read_part(second, ID_AND_TEXT).column("id").to_pylist() == list(range(200, 400))


def test_a_file_that_was_replaced_is_read_anew(tmp_path):
    """Where a file is written anew between two parts, the second is of the new one."""
    path = str(tmp_path / "a.parquet")
    for first in (0, 100):
        pq.write_table(pa.table({"id": range(first, first + 10), "text": ["a" * (1 + first)] * 10}), path)
        parts = plan_parts([path], rows_per_partition=2)
        assert read_part(parts[first // 100], ID_AND_TEXT).column("id")[0].as_py() == first + 2 * (first // 100)


NESTED = pa.table(
    {
        "id": range(60),
        "kind": pa.array([f"kind {number % 7}" for number in range(60)]).dictionary_encode(),
        "tags": [[f"{number}", None] if number % 3 else None for number in range(60)],
        "about": [{"n": number, "who": {"name": f"{number}"}} for number in range(60)],
    }
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 59), max_size=8, unique=True), st.integers(1, 60), st.randoms(use_true_random=False))
def test_any_ranges_in_any_order(cuts, row_group_size, shuffled):
    """Whatever the row groups, the ranges and their order, each part has its rows, of columns of every kind."""
    bounds = sorted([0, *cuts, 60])
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.parquet"
        pq.write_table(NESTED, path, row_group_size=row_group_size)
        parts = [Part(at, (Piece(path, "parquet", *bounds[at : at + 2]),)) for at in range(len(bounds) - 1)]
        shuffled.shuffle(parts)
        for part in parts:
            assert (
                read_part(part, NESTED.schema).to_pylist()
                == NESTED.slice(bounds[part.index], bounds[part.index + 1] - bounds[part.index]).to_pylist()
            )
        close_streams()


# --- compressed JSONL -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", PACK)
def test_compressed_lines_are_cut(tmp_path, ending):
    """A compressed JSONL file is cut into parts of about as many lines as told, which hold each line once."""
    lines = [{"id": number, "text": os.urandom(20).hex()} for number in range(100)]
    path = tmp_path / f"a.jsonl{ending}"
    path.write_bytes(PACK[ending]("\n".join(map(json.dumps, lines)).encode()))
    parts = plan_parts([str(path)], rows_per_partition=10)
    read = [read_part(part, ID_AND_TEXT).to_pylist() for part in parts]
    assert [row for rows in read for row in rows] == lines
    assert len(parts) == 10 and all(8 <= len(rows) <= 12 for rows in read)
    assert not len(STREAMS)


@pytest.mark.parametrize("ending", PACK)
def test_a_torn_file_is_named(tmp_path, ending):
    """A compressed file whose end is missing is refused by name before anything of it is used."""
    path = tmp_path / f"torn.jsonl{ending}"
    content = b"".join(b'{"id": %d, "text": "%s"}\n' % (i, os.urandom(20).hex().encode()) for i in range(100))
    path.write_bytes(PACK[ending](content)[:-100])
    with pytest.raises(InputError, match=r"torn\.jsonl"):
        plan_parts([str(path)], rows_per_partition=10)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12), st.data())
def test_each_compressed_line_is_in_one_part(lengths, data):
    """However the unpacked bytes are cut, and in whatever order the parts are read, each line is in one of them."""
    rows = [{"id": number, "text": "x" * length} for number, length in enumerate(lengths)]
    content = "\n".join(map(json.dumps, rows)).encode() + b"\n" * data.draw(st.integers(0, 2))
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=8).map(sorted))
    bounds = [0, *cuts, len(content)]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl.gz"
        path.write_bytes(gzip.compress(content, 1))
        parts = [Part(at, (Piece(str(path), "jsonl", *bounds[at : at + 2]),)) for at in range(len(bounds) - 1)]
        order = data.draw(st.permutations(parts))
        read = {part.index: read_part(part, ID_AND_TEXT).to_pylist() for part in order}
        close_streams()
    assert [row for index in sorted(read) for row in read[index]] == rows


def test_a_bad_line_of_a_compressed_file_is_named_by_number(tmp_path):
    """The number of a bad line counts from the head of the file, in whichever part it is."""
    path = tmp_path / "a.jsonl.gz"
    good = b'{"id": 1, "text": "a"}\n'
    path.write_bytes(gzip.compress(good * 50 + b"no json\n" + good * 9))
    with pytest.raises(InputError, match=r"a\.jsonl\.gz.*line 51: "):
        [read_part(part, ID_AND_TEXT) for part in plan_parts([str(path)], rows_per_partition=7)]


# --- long lines -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_a_line_longer_than_the_bound_is_named(tmp_path, monkeypatch, ending):
    """A line longer than any that is read is named by file and number; one that just fits is read."""
    monkeypatch.setattr(jsonl, "LONGEST_LINE", 2000)
    lines = [json.dumps({"id": number, "text": "a" * (1900 if number == 3 else 5)}) for number in range(9)]
    content = "\n".join(lines)

    def read_all(name: str, words: str) -> int:
        path = tmp_path / f"{name}.jsonl{ending}"
        path.write_bytes(PACK[ending](words.encode()) if ending else words.encode())
        parts = plan_parts([str(path)], rows_per_partition=1)
        return sum(len(read_part(part, ID_AND_TEXT)) for part in parts)

    assert read_all("fits", content) == 9
    with pytest.raises(InputError, match=r"long\.jsonl.*line 4: it is longer than 2,000 bytes"):
        read_all("long", content.replace("aaaaaa", "bbbbbbb"))


def test_within_a_long_line_little_is_read(tmp_path):
    """A part that lies within a line has no rows, and does not read on to the end of that line."""
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"id": 1, "text": "x" * 4_000_000}))
    with path.open("rb") as file:
        assert Lines.of_range(file, 1000).take(1000, 2000) == b""
        assert file.tell() < 100_000
    assert len(read_part(Part(0, (Piece(str(path), "jsonl", 1000, 2000),)), ID_AND_TEXT)) == 0


@pytest.mark.parametrize("name", ["a.parquet", "a.jsonl", "a.jsonl.gz"])
def test_a_huge_document_takes_a_few_times_its_size(tmp_path, name):
    """A document of 20 MB among small ones is read whole, and reading it takes about four times its size at most."""
    path = str(tmp_path / name)
    texts = [f"small {number}" for number in range(50)] + [os.urandom(10_000_000).hex()] + ["small"] * 49
    if name == "a.parquet":
        pq.write_table(pa.table({"id": range(100), "text": texts}), path, compression="none")
    else:
        content = "\n".join(json.dumps({"id": number, "text": text}) for number, text in enumerate(texts)).encode()
        Path(path).write_bytes(gzip.compress(content, 1) if name.endswith("gz") else content)
    parts = plan_parts([path], rows_per_partition=10**6)
    with Memory() as memory:
        tables = [read_part(part, ID_AND_TEXT) for part in parts]
        assert memory.most < 4.3 * 20_000_000
    assert [text for table in tables for text in table.column("text").to_pylist()] == texts


def test_schemas_are_looked_up_in_parts(tmp_path):
    """Of a compressed file, the columns that only its last lines have are found, and nothing is left open."""
    path = tmp_path / "a.jsonl.gz"
    lines: list[dict[str, Any]] = [{"id": number, "text": "a" * 50} for number in range(100)]
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, [*lines, {"topic": "t"}])).encode()))
    parts = plan_parts([str(path)], rows_per_partition=10)
    assert len(parts) > 5 and schema_of(parts[-1].pieces[0]).names[-1] == "topic"
    found = find_columns(parts, id_field="id", text_field="text", score_field=None, carried=None, reserved=frozenset())
    assert found.carried == ("topic",) and not len(STREAMS)
