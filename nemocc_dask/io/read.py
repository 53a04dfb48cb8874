"""Files become partitions whose identity is data: a file and a range of it, whatever Dask calls the task."""

from __future__ import annotations

import glob
import io
import lzma
import math
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.json as pj
import pyarrow.parquet as pq

from nemocc_dask.errors import InputError

PARQUET, JSONL = "parquet", "jsonl"
_FORMATS = {".parquet": PARQUET, ".pq": PARQUET, ".jsonl": JSONL, ".ndjson": JSONL, ".json": JSONL}
_COMPRESSIONS = {".gz": "gzip", ".bz2": "bz2", ".xz": "xz", ".zst": "zstd"}
_HIDDEN = ("_", ".")
_SAMPLE_BYTES = 1 << 16

_DAMAGE = (OSError, EOFError, ImportError, ValueError, lzma.LZMAError, zlib.error)
"""What opening, unpacking and reading a file raise; Arrow's own errors are some of these."""


_CHANGED_TYPE = r"^Column\(/(.*)\) changed from (\w+) to (\w+)"
"""Arrow's words for a field whose type differs from line to line."""


@dataclass(frozen=True)
class Part:
    """One partition of the input.

    index: its number among all partitions, which names its shards. file, format: what it is read from; "" for rows
    made from nothing. start, stop: range of rows of a Parquet file, of bytes of a JSONL file (the lines that begin
    there), or of sample numbers.
    """

    index: int
    file: str
    format: str
    start: int
    stop: int


# --- which files ------------------------------------------------------------------------------------------------------


def find_files(inputs: Sequence[str]) -> tuple[str, ...]:
    """The data files behind paths, folders, globs and fsspec URLs, each once, in order.

    Raises `InputError` for what names no file, and for a file of an unknown format.
    """
    found = [path for given in inputs for path in _expanded(given)]
    files = tuple(dict.fromkeys(found))
    for path in files:
        format_of(path)
    return files


def _expanded(given: str) -> list[str]:
    filesystem, path = _located(given)
    if filesystem.isdir(path):
        return _in_folder(filesystem, path, given)
    matches = [path] if filesystem.exists(path) else sorted(filesystem.glob(path)) if glob.has_magic(path) else []
    if not matches:
        raise InputError(f"There is no file {given!r}. Give a file, a folder, a glob or an fsspec URL.")
    return [filesystem.unstrip_protocol(match) if "://" in given else match for match in matches]


def _in_folder(filesystem: Any, path: str, given: str) -> list[str]:
    data = [name for name in sorted(filesystem.find(path)) if not _is_hidden(name, path) and _format_or_none(name)]
    if not data:
        raise InputError(f"The folder {given!r} holds no Parquet or JSONL file.")
    return [filesystem.unstrip_protocol(name) if "://" in given else name for name in data]


def _is_hidden(name: str, folder: str) -> bool:
    """True for bookkeeping such as `_SUCCESS` or `_delta_log/0.json`: a name below the folder begins so."""
    below = name.removeprefix(folder.rstrip("/")).strip("/").split("/")
    return any(part.startswith(_HIDDEN) for part in below)


def _located(path: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        raise InputError(f"The address {path!r} cannot be opened: {error}.") from None


def format_of(path: str) -> str:
    """`parquet` or `jsonl`, by the file's ending. Raises `InputError`."""
    found = _format_or_none(path)
    if found is None:
        raise InputError(
            f"The file {path!r} is of no known format. Known endings: {', '.join(_FORMATS)}, and for JSONL any of them "
            f"followed by {', '.join(_COMPRESSIONS)}."
        )
    return found


def _format_or_none(path: str) -> str | None:
    compressed = next((ending for ending in _COMPRESSIONS if path.endswith(ending)), "")
    stem = path.removesuffix(compressed)
    found = next((kind for ending, kind in _FORMATS.items() if stem.endswith(ending)), None)
    return None if compressed and found == PARQUET else found


# --- which partitions -------------------------------------------------------------------------------------------------


def plan_parts(files: Sequence[str], *, rows_per_partition: int, samples: int = 0) -> tuple[Part, ...]:
    """Cut files into partitions of equal size, about `rows_per_partition` rows, then `samples` rows made from nothing.

    A file without rows adds none. Raises `InputError` for a file that is torn or cannot be read, and where no file has
    rows.
    """
    ranges = [(path, format_of(path), *span) for path in files for span in _spans(path, rows_per_partition)]
    if files and not ranges:
        raise InputError(f"There are no rows in the input: {', '.join(files[:3])}{', ...' if files[3:] else ''}.")
    ranges += [("", "", *span) for span in _even_spans(samples, rows_per_partition)]
    return tuple(Part(index, *each) for index, each in enumerate(ranges))


def _spans(path: str, rows_per_partition: int) -> list[tuple[int, int]]:
    if format_of(path) == PARQUET:
        return _even_spans(_parquet(path, lambda file: file.metadata.num_rows), rows_per_partition)
    sample, size = _beginning(path), file_size(path)
    if not sample.strip() and len(sample) < _SAMPLE_BYTES:
        return []
    if _compression(path):
        return [(0, 0)]
    bytes_per_row = len(sample) / max(1, sample.count(b"\n"))
    return _even_spans(size, math.ceil(rows_per_partition * bytes_per_row))


def _beginning(path: str) -> bytes:
    sample: bytes = _read(path, lambda file: file.read(_SAMPLE_BYTES))
    if not sample:
        raise _unreadable(path, "it is empty")
    return sample


def _even_spans(length: int, most: int) -> list[tuple[int, int]]:
    number = -(-length // most)
    return [(length * index // number, length * (index + 1) // number) for index in range(number)]


def _parquet(path: str, look: Callable[[pq.ParquetFile], Any]) -> Any:
    return _read(path, lambda file: look(pq.ParquetFile(file)))


def _read(path: str, look: Callable[[Any], Any]) -> Any:
    """What `look` makes of the open file, unpacked where it is compressed. Raises `InputError`."""
    try:
        with _opened(path) as file:
            return look(file)
    except _DAMAGE as error:
        raise _unreadable(path, str(error) or type(error).__name__) from None


def _opened(path: str) -> Any:
    compression = _compression(path)
    if compression == "zstd":  # Arrow brings its own; fsspec needs another package for it
        return pa.CompressedInputStream(pa.PythonFile(fsspec.open(path, "rb").open(), mode="r"), compression)
    return fsspec.open(path, "rb", compression=compression).open()


def _compression(path: str) -> str | None:
    return next((name for ending, name in _COMPRESSIONS.items() if path.endswith(ending)), None)


def file_size(path: str) -> int:
    """Bytes of a file."""
    filesystem, inner = _located(path)
    return int(filesystem.size(inner))


def _unreadable(path: str, reason: str) -> InputError:
    return InputError(f"The file {path!r} cannot be used: {reason.rstrip('.')}. Mend it, or leave it out of --input.")


# --- what is in them --------------------------------------------------------------------------------------------------


def schema_of(part: Part) -> pa.Schema:
    """Arrow schema of a part's file, or of its lines."""
    if part.format == PARQUET:
        return _parquet(part.file, lambda file: file.schema_arrow).remove_metadata()
    return pa.schema([_without_dates(field) for field in _read_jsonl(part, None).schema])


def _without_dates(field: pa.Field) -> pa.Field:
    """The field, where what Arrow took for dates is text: JSON has no dates, and another part's text may be no date."""
    if pa.types.is_timestamp(field.type):
        return field.with_type(pa.string())
    if pa.types.is_list(field.type):
        return field.with_type(pa.list_(_without_dates(field.type.value_field)))
    if pa.types.is_struct(field.type):
        return field.with_type(pa.struct([_without_dates(inner) for inner in field.type]))
    return field


def read_part(part: Part, wanted: pa.Schema) -> pa.Table:
    """The wanted columns of a part, in its rows' order, in the wanted types. Raises `InputError`."""
    if part.format == PARQUET:
        table = _with_nulls(_parquet(part.file, lambda file: _rows(file, part, wanted.names)), wanted)
    else:
        table = _read_jsonl(part, wanted)
    try:
        cast = table.select(wanted.names).cast(wanted)
        cast.validate(full=True)  # text may not be UTF-8, which nobody else looks at
    except pa.ArrowInvalid as error:
        raise _unreadable(part.file, str(error)) from None
    return cast


def _with_nulls(table: pa.Table, wanted: pa.Schema) -> pa.Table:
    """The table with a column of nulls for each that other files have and this one has not."""
    for name in set(wanted.names) - set(table.column_names):
        table = table.append_column(wanted.field(name), pa.nulls(len(table), wanted.field(name).type))
    return table


def _rows(file: pq.ParquetFile, part: Part, names: list[str]) -> pa.Table:
    """Rows start to stop: only the row groups that hold some of them are read."""
    lengths = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    ends = list(accumulate(lengths))
    groups = [group for group, end in enumerate(ends) if end > part.start and end - lengths[group] < part.stop]
    before = ends[groups[0]] - lengths[groups[0]]
    return file.read_row_groups(groups, columns=names).slice(part.start - before, part.stop - part.start)


def _read_jsonl(part: Part, wanted: pa.Schema | None) -> pa.Table:
    content: bytes = _read(part.file, lambda file: _lines(file, part))
    if not content.strip():
        return wanted.empty_table() if wanted is not None else pa.schema([]).empty_table()
    try:
        return _parsed(content, wanted)
    except pa.ArrowInvalid:
        raise _unreadable(part.file, _first_bad_line(part, content, wanted)) from None


def _parsed(content: bytes, wanted: pa.Schema | None) -> pa.Table:
    reading = pj.ReadOptions(block_size=len(content) + 1, use_threads=False)
    unexpected = "infer" if wanted is None else "ignore"
    parsing = pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior=unexpected)
    table = pj.read_json(io.BytesIO(content), read_options=reading, parse_options=parsing)
    table.validate(full=True)
    return table


def _lines(file: Any, part: Part) -> bytes:
    """The lines that begin in the part's range of bytes; all of a compressed file's."""
    if _compression(part.file):
        return bytes(file.read())
    # The byte before the range tells whether a line begins at its first byte.
    file.seek(max(0, part.start - 1))
    begin = part.start + (len(file.readline()) - 1 if part.start else 0)
    if begin >= part.stop:
        return b""
    file.seek(begin)
    content: bytes = file.read(part.stop - begin)
    return content if content.endswith(b"\n") else content + file.readline()


def _first_bad_line(part: Part, content: bytes, wanted: pa.Schema | None) -> str:
    """Number of the first line that cannot be read after those before it, and why."""
    lines = content.split(b"\n")
    good, bad, reason = 0, len(lines), _complaint(lines, wanted)
    while bad - good > 1:
        middle = (good + bad) // 2
        complaint = _complaint(lines[:middle], wanted)
        good, bad, reason = (good, middle, complaint) if complaint else (middle, bad, reason)
    return f"line {_lines_before(part) + bad}: {reason}"


def _complaint(lines: list[bytes], wanted: pa.Schema | None) -> str:
    content = b"\n".join(lines)
    try:
        _parsed(content, wanted) if content.strip() else None
    except pa.ArrowInvalid as error:
        words = re.sub(r"^JSON parse error: |\.? in row \d+$", "", str(error).strip())
        return re.sub(_CHANGED_TYPE, r"the field '\1' is a \3 here, and was a \2 before", words)
    return ""


def _lines_before(part: Part) -> int:
    """Lines of the file before the first that begins in the part: those that end before it, and the one it cuts."""
    return int(_read(part.file, lambda file: _line_breaks(file, part.start - 1))) + 1 if part.start else 0


def _line_breaks(file: Any, stop: int) -> int:
    starts = range(0, stop, _SAMPLE_BYTES)
    return sum(file.read(min(_SAMPLE_BYTES, stop - start)).count(b"\n") for start in starts)
