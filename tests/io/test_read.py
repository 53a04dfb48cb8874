"""Files become partitions: which files, which rows of them, and what is said of those that cannot be used."""

import gzip
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import InputError
from nemocc_dask.io.files import JSONL, find_files, format_of
from nemocc_dask.io.parts import Part, Piece, plan_parts
from nemocc_dask.io.read import read_part, schema_of

ID_AND_TEXT = pa.schema([("id", pa.int64()), ("text", pa.string())])
LINES = b'{"id": 1, "text": "a"}\n{"id": 2, "text": "b"}\n'

Write = Callable[[str, bytes | str], str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Puts bytes or text into a file of a folder of the test's own, and returns its path."""

    def put(name: str, content: bytes | str) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return str(path)

    return put


def rows(path: str, *, rows_per_partition: int = 500, wanted: pa.Schema | None = None) -> list[dict[str, Any]]:
    """All rows of a file, partition after partition."""
    parts = plan_parts([path], rows_per_partition=rows_per_partition)
    return [row for part in parts for row in read_part(part, wanted or schema_of(part.pieces[0])).to_pylist()]


def parquet(path: Path, table: pa.Table, **how: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table, path, **how)
    return str(path)


# --- Parquet ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rows_per_partition", [1, 7, 10, 33, 99, 100, 1000])
def test_row_ranges_cross_row_groups(tmp_path, rows_per_partition):
    """Ranges of rows that begin and end within row groups give every row of a Parquet file once and in order."""
    table = pa.table({"id": range(100), "text": [f"t{i}" for i in range(100)]})
    path = parquet(tmp_path / "a.parquet", table, row_group_size=10)
    assert rows(path, rows_per_partition=rows_per_partition) == table.to_pylist()


def test_parts_are_of_equal_size(tmp_path):
    """A file is cut into as few partitions as the bound allows, which differ by one row at most."""
    path = parquet(tmp_path / "a.pq", pa.table({"id": range(25)}))
    parts = plan_parts([path], rows_per_partition=10)
    assert [piece.stop - piece.start for part in parts for piece in part.pieces] == [8, 8, 9]
    assert [part.index for part in parts] == [0, 1, 2]


def test_only_wanted_columns_are_read_in_wanted_order(tmp_path):
    """A part has the columns that were asked for, in that order and of those types, whatever the file's are."""
    path = parquet(tmp_path / "a.parquet", pa.table({"text": ["a"], "more": [0.5], "id": pa.array([1], pa.int32())}))
    [part] = plan_parts([path], rows_per_partition=10)
    assert read_part(part, ID_AND_TEXT).schema == ID_AND_TEXT


def test_parquet_of_no_rows_adds_none(tmp_path):
    """A Parquet file without rows, as many tools leave them, adds no partition to those of the others."""
    empty = parquet(tmp_path / "a.parquet", ID_AND_TEXT.empty_table())
    full = parquet(tmp_path / "b.parquet", pa.table({"id": [1], "text": ["a"]}))
    [part] = plan_parts([empty, full], rows_per_partition=10)
    assert part.file == full


@pytest.mark.parametrize("content", [b"", b"PAR1 and no footer", LINES], ids=["empty", "torn", "no Parquet"])
def test_unreadable_parquet_is_named(write, content):
    """A file that ends like Parquet and is none stops the call with its name."""
    path = write("bad.parquet", content)
    with pytest.raises(InputError, match=r"bad\.parquet"):
        plan_parts([path], rows_per_partition=10)


def test_text_that_is_no_utf8_is_named(tmp_path):
    """A Parquet file whose strings are no UTF-8 is refused by name, not with a decoder's traceback."""
    broken = pa.StringArray.from_buffers(1, pa.py_buffer(b"\x00\x00\x00\x00\x02\x00\x00\x00"), pa.py_buffer(b"a\xff"))
    path = parquet(tmp_path / "a.parquet", pa.table({"id": [1], "text": broken}))
    with pytest.raises(InputError, match=r"a\.parquet.*UTF8"):
        rows(path, wanted=ID_AND_TEXT)


# --- JSONL ------------------------------------------------------------------------------------------------------------

LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\n\n", b"\n   \n", b"\r\n\r\n"])
TEXTS = st.text(st.characters(codec="utf-8"), max_size=30)


@st.composite
def jsonl(draw: st.DrawFn) -> tuple[list[str], bytes]:
    """Texts, and a file of a line for each, with or without blank lines and an end of the last line."""
    texts = draw(st.lists(TEXTS, min_size=1, max_size=8))
    lines = [json.dumps({"id": i, "text": text}, ensure_ascii=False).encode() for i, text in enumerate(texts)]
    content = b"".join(line + draw(LINE_ENDS) for line in lines)
    return texts, content if draw(st.booleans()) else content.rstrip()


@settings(max_examples=150, deadline=None)
@given(jsonl(), st.data())
def test_each_line_is_in_one_part_wherever_it_is_cut(file, data):
    """However a JSONL file's bytes are cut, the parts together hold each line once and in order."""
    texts, content = file
    cuts = data.draw(st.lists(st.integers(0, len(content)), max_size=6).map(sorted))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.jsonl"
        path.write_bytes(content)
        bounds = zip([0, *cuts], [*cuts, len(content)], strict=True)
        parts = [Part(index, (Piece(str(path), JSONL, *span),)) for index, span in enumerate(bounds)]
        found = [row for part in parts for row in read_part(part, ID_AND_TEXT).to_pylist()]
    assert found == [{"id": i, "text": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize("rows_per_partition", [1, 3, 1000])
def test_planned_parts_hold_every_line(write, rows_per_partition):
    """The planned partitions of a JSONL file hold each of its lines once, long lines and short."""
    lines = [{"id": i, "text": "x" * (i * 37 % 500)} for i in range(100)]
    path = write("a.jsonl", "\n".join(map(json.dumps, lines)))
    assert rows(path, rows_per_partition=rows_per_partition, wanted=ID_AND_TEXT) == lines


def test_no_compression_at_all(write):
    """A file that only ends as if it were compressed is refused by name."""
    path = write("a.jsonl.gz", LINES)
    with pytest.raises(InputError, match=r"a\.jsonl\.gz"):
        rows(path)


def test_byte_order_mark(write):
    """A byte order mark at the head of a file is no part of its first line."""
    assert rows(write("a.jsonl", b"\xef\xbb\xbf" + LINES))[0] == {"id": 1, "text": "a"}


def test_unicode_line_breaks_are_text(write):
    """Characters that Unicode calls line breaks do not end a line of JSONL."""
    text = "a\u2028b\u2029c\u0085d\u000be"
    assert rows(write("a.jsonl", json.dumps({"text": text}, ensure_ascii=False))) == [{"text": text}]


def test_column_missing_in_some_lines(write):
    """A column that some lines lack is null in them, in whichever part they are."""
    path = write("a.jsonl", '{"id": 1}\n{"text": "b", "id": 2}\n{}\n')
    assert rows(path, wanted=ID_AND_TEXT, rows_per_partition=1) == [
        {"id": 1, "text": None},
        {"id": 2, "text": "b"},
        {"id": None, "text": None},
    ]


def test_what_looks_like_a_date_is_text(write):
    """Text of digits and dashes stays the text that it is, also within lists and objects."""
    line = {"text": "2024-01-01", "tags": ["2024-01-01"], "about": {"made": "2024-01-01T10:00:00Z"}}
    assert rows(write("a.jsonl", json.dumps(line))) == [line]


def test_nested_columns(write):
    """Lists and objects within lines are kept as such, with nulls where a line lacks something."""
    path = write("a.jsonl", '{"tags": ["a"], "about": {"n": 1}}\n{"tags": [], "about": {"who": "b"}}\n{}\n')
    assert rows(path) == [
        {"tags": ["a"], "about": {"n": 1, "who": None}},
        {"tags": [], "about": {"n": None, "who": "b"}},
        {"tags": None, "about": None},
    ]


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (b'{"id": 3, "text": "c"', "Missing a comma"),
        (b"no json", "Invalid value"),
        (b"[1, 2]", "from object to array"),
        (b'{"id": 3, "text": "c\xff"}', "UTF8"),
        (b'{"id": 3, "id": 4}', "twice"),
    ],
    ids=["torn", "words", "array", "bytes", "twice"],
)
@pytest.mark.parametrize("rows_per_partition", [1, 100])
def test_a_bad_line_is_named_by_number(write, bad, why, rows_per_partition):
    """The message names file and line, counted from the head of the file, blank lines included, and what is wrong."""
    path = write("a.jsonl", LINES + b"   \n\n" + bad + b"\n" + LINES)
    with pytest.raises(InputError, match=rf"a\.jsonl.*line 5: .*{why}"):
        rows(path, rows_per_partition=rows_per_partition)


def test_a_type_that_changes_is_named_by_line(write):
    """Where a column holds a number on one line and text on a later one, the message names that line and the column."""
    path = write("a.jsonl", LINES + b'{"id": "three", "text": "c"}\n')
    with pytest.raises(InputError, match=r"a\.jsonl.*line 3: the field 'id' is a string here, and was a number before"):
        rows(path)


def test_a_file_of_no_bytes_is_named(write):
    """A file of no bytes looks like one that was torn, so it is refused even among others."""
    empty, full = write("empty.jsonl", b""), write("full.jsonl", LINES)
    with pytest.raises(InputError, match=r"empty\.jsonl.*empty"):
        plan_parts([full, empty], rows_per_partition=10)


@pytest.mark.parametrize("name", ["blank.jsonl", "blank.jsonl.gz"])
def test_a_file_of_blank_lines_adds_none(write, name):
    """A JSONL file of blank lines has no rows: it adds none to the others', and is named where there are no others."""
    content = b"\n  \n"
    blank = write(name, gzip.compress(content) if name.endswith("gz") else content)
    full = write("full.jsonl", LINES)
    assert {part.file for part in plan_parts([blank, full], rows_per_partition=10)} == {full}
    with pytest.raises(InputError, match=r"no rows.*blank\.jsonl"):
        plan_parts([blank], rows_per_partition=10)


# --- which files ------------------------------------------------------------------------------------------------------


def test_files_folders_and_globs(write, tmp_path):
    """Files, folders with what is below them, and globs are found once each, folders and globs in order."""
    b, a, deep = write("in/b.jsonl", LINES), write("in/a.jsonl.gz", b""), write("in/deep/c.parquet", b"")
    assert find_files([str(tmp_path / "in")]) == (a, b, deep)
    assert find_files([str(tmp_path / "in" / "*.jsonl*")]) == (a, b)
    assert find_files([b, str(tmp_path / "in" / "**" / "*.*")]) == (b, a, deep)


def test_bookkeeping_in_folders_is_left_alone(write, tmp_path):
    """Names below a folder that begin with an underscore or a dot are bookkeeping, folders of such names included."""
    data = write("in/a.jsonl", LINES)
    for name in ("_SUCCESS", ".a.jsonl.crc", "_delta_log/0.json", "_nemocc/run.json", ".cache/b.jsonl", "readme.md"):
        write(f"in/{name}", "{}")
    assert find_files([str(tmp_path / "in")]) == (data,)
    inside = write("_data/a.jsonl", LINES)
    assert find_files([str(tmp_path / "_data")]) == (inside,)


def test_a_name_with_brackets_is_a_name(write):
    """A file whose name holds a glob's signs is that file."""
    path = write("in/a[1].jsonl", LINES)
    assert find_files([path]) == (path,)


@pytest.mark.parametrize(
    "missing", ["none.jsonl", "none/*.jsonl", "none/", "memory://none/a.jsonl", "nosuch://a.jsonl"]
)
def test_what_is_not_there_is_named(tmp_path, missing):
    """A path, glob, folder or address that leads to nothing is named."""
    given = missing if "://" in missing else f"{tmp_path}/{missing}"
    with pytest.raises(InputError, match=missing.replace("*", r"\*")):
        find_files([given])


def test_a_folder_without_data_is_named(write, tmp_path):
    """A folder that holds no data file is named."""
    write("in/readme.md", "words")
    with pytest.raises(InputError, match=r"in.*no Parquet or JSONL"):
        find_files([str(tmp_path / "in")])


@pytest.mark.parametrize("name", ["a.csv", "a", "a.parquet.gz", "a.jsonl.rar"])
def test_unknown_endings_are_named_with_the_known(write, name):
    """A file of another format is named, and the endings that can be read are listed."""
    with pytest.raises(InputError, match=rf"{name}.*\.parquet.*\.jsonl.*\.gz"):
        find_files([write(name, LINES)])


@pytest.mark.parametrize(
    ("name", "format"),
    [
        ("a.parquet", "parquet"),
        ("a.pq", "parquet"),
        ("a.jsonl", "jsonl"),
        ("a.ndjson.zst", "jsonl"),
        ("a.json", "jsonl"),
    ],
)
def test_formats_by_ending(name, format):
    """The ending of a file tells its format."""
    assert format_of(name) == format


def test_any_fsspec_address():
    """Files of an fsspec address are found by folder and by glob, and their ranges read."""
    memory = fsspec.filesystem("memory")
    memory.pipe("/corpus/a.jsonl", LINES)
    with memory.open("/corpus/b.parquet", "wb") as file:
        pd.DataFrame({"id": [3, 4], "text": ["c", "d"]}).to_parquet(file)
    try:
        files = find_files(["memory://corpus"])
        assert files == find_files(["memory://corpus/*"]) == ("memory:///corpus/a.jsonl", "memory:///corpus/b.parquet")
        parts = plan_parts(files, rows_per_partition=1)
        assert [row["id"] for part in parts for row in read_part(part, ID_AND_TEXT).to_pylist()] == [1, 2, 3, 4]
    finally:
        memory.rm("/corpus", recursive=True)


def test_samples_come_after_the_files(write):
    """Rows made from nothing are partitions of their own, numbered on after those of the files."""
    parts = plan_parts([write("a.jsonl", LINES)], rows_per_partition=10, samples=25)
    assert [(part.index, bool(each.file), each.start, each.stop) for part in parts for each in part.pieces] == [
        (0, True, 0, len(LINES)),
        (1, False, 0, 8),
        (2, False, 8, 16),
        (3, False, 16, 25),
    ]
