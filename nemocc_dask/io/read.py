"""Files become partitions whose identity is data: a file and a range of it, whatever Dask calls the task."""

from __future__ import annotations

import glob
import io
import json
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
_COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
_SAMPLE_BYTES = 1 << 16


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
    matches = sorted(filesystem.glob(path)) if glob.has_magic(path) else [path] if filesystem.exists(path) else []
    if not matches:
        raise InputError(f"There is no file {given!r}. Give a file, a folder, a glob or an fsspec URL.")
    return [filesystem.unstrip_protocol(match) if "://" in given else match for match in matches]


def _in_folder(filesystem: Any, path: str, given: str) -> list[str]:
    hidden = ("_", ".")
    names = [name for name in sorted(filesystem.find(path)) if not name.rsplit("/", 1)[-1].startswith(hidden)]
    data = [name for name in names if _format_or_none(name)]
    if not data:
        raise InputError(f"The folder {given!r} holds no Parquet or JSONL file.")
    return [filesystem.unstrip_protocol(name) if "://" in given else name for name in data]


def _located(path: str) -> tuple[Any, str]:
    try:
        return fsspec.core.url_to_fs(path)  # type: ignore[no-any-return]
    except (ImportError, ValueError) as error:
        raise InputError(f"The address {path!r} cannot be opened: {error}.") from None


def format_of(path: str) -> str:
    """`parquet` or `jsonl`, by the file's ending. Raises `InputError`."""
    found = _format_or_none(path)
    if found is None:
        endings = ", ".join(_FORMATS)
        raise InputError(
            f"The file {path!r} is of no known format. Known endings: {endings}, JSONL also with {', '.join(_COMPRESSIONS)}."
        )
    return found


def _format_or_none(path: str) -> str | None:
    compressed = next((ending for ending in _COMPRESSIONS if path.endswith(ending)), "")
    stem = path.removesuffix(compressed)
    found = next((kind for ending, kind in _FORMATS.items() if stem.endswith(ending)), None)
    return None if compressed and found == PARQUET else found


# --- which partitions -------------------------------------------------------------------------------------------------


def plan_parts(files: Sequence[str], *, rows_per_partition: int, samples: int = 0) -> tuple[Part, ...]:
    """Cut files into partitions of about `rows_per_partition` rows of equal size, then `samples` rows made from nothing.

    Raises `InputError` for a file that is empty or cannot be read.
    """
    ranges = [(path, format_of(path), *span) for path in files for span in _spans(path, rows_per_partition)]
    ranges += [("", "", *span) for span in _even_spans(samples, rows_per_partition)]
    return tuple(Part(index, *each) for index, each in enumerate(ranges))


def _spans(path: str, rows_per_partition: int) -> list[tuple[int, int]]:
    if format_of(path) == PARQUET:
        return _even_spans(_parquet(path, lambda file: file.metadata.num_rows), rows_per_partition)
    with _opened(path) as file:
        sample = file.read(_SAMPLE_BYTES)
        _refuse_if(not sample.strip(), path, "it is empty")
        size = file_size(path)
    if path.endswith(_COMPRESSIONS):
        return [(0, 0)]
    bytes_per_row = len(sample) / max(1, sample.count(b"\n"))
    return _even_spans(size, int(rows_per_partition * bytes_per_row))


def _even_spans(length: int, most: int) -> list[tuple[int, int]]:
    number = -(-length // most)
    return [(length * index // number, length * (index + 1) // number) for index in range(number)]


def _parquet(path: str, look: Callable[[pq.ParquetFile], Any]) -> Any:
    with _opened(path) as file:
        try:
            parquet = pq.ParquetFile(file)
            _refuse_if(parquet.metadata.num_rows == 0, path, "it has no rows")
            return look(parquet)
        except (pa.ArrowInvalid, pa.ArrowIOError) as error:
            raise _unreadable(path, str(error)) from None


def _opened(path: str) -> Any:
    try:
        return fsspec.open(path, "rb", compression="infer").open()
    except (OSError, ImportError, ValueError) as error:
        raise _unreadable(path, str(error)) from None


def file_size(path: str) -> int:
    """Bytes of a file."""
    filesystem, inner = _located(path)
    return int(filesystem.size(inner))


def _refuse_if(refused: bool, path: str, reason: str) -> None:
    if refused:
        raise _unreadable(path, reason)


def _unreadable(path: str, reason: str) -> InputError:
    return InputError(f"The file {path!r} cannot be used: {reason.rstrip('.')}. Mend it, or leave it out of --input.")


# --- what is in them --------------------------------------------------------------------------------------------------


def schema_of(part: Part) -> pa.Schema:
    """Arrow schema of a part's file, or of its lines."""
    if part.format == PARQUET:
        return _parquet(part.file, lambda file: file.schema_arrow).remove_metadata()
    inferred = _read_jsonl(part, None).schema
    # Text that happens to look like a date is text: another part's may not.
    return pa.schema(
        [field.with_type(pa.string()) if pa.types.is_timestamp(field.type) else field for field in inferred]
    )


def read_part(part: Part, wanted: pa.Schema) -> pa.Table:
    """The wanted columns of a part, in its rows' order, in the wanted types. Raises `InputError`."""
    if part.format == PARQUET:
        table = _parquet(part.file, lambda file: _rows(file, part, wanted.names))
    else:
        table = _read_jsonl(part, wanted)
    return table.select(wanted.names).cast(wanted)


def _rows(file: pq.ParquetFile, part: Part, names: list[str]) -> pa.Table:
    """Rows start to stop: only the row groups that hold some of them are read."""
    lengths = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
    ends = list(accumulate(lengths))
    groups = [group for group, end in enumerate(ends) if end > part.start and end - lengths[group] < part.stop]
    before = ends[groups[0]] - lengths[groups[0]]
    return file.read_row_groups(groups, columns=names).slice(part.start - before, part.stop - part.start)


def _read_jsonl(part: Part, wanted: pa.Schema | None) -> pa.Table:
    content = _lines(part)
    if not content.strip():
        return wanted.empty_table() if wanted is not None else pa.schema([]).empty_table()
    reading = pj.ReadOptions(block_size=len(content) + 1, use_threads=False)
    unexpected = "infer" if wanted is None else "ignore"
    parsing = pj.ParseOptions(explicit_schema=wanted, unexpected_field_behavior=unexpected)
    try:
        return pj.read_json(io.BytesIO(content), read_options=reading, parse_options=parsing)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _unreadable(part.file, _first_bad_line(part, content) or str(error)) from None


def _lines(part: Part) -> bytes:
    """The lines that begin in the part's range of bytes; all of a compressed file's."""
    with _opened(part.file) as file:
        if part.file.endswith(_COMPRESSIONS):
            return bytes(file.read())
        # The byte before the range tells whether a line begins at its first byte.
        file.seek(max(0, part.start - 1))
        begin = part.start + (len(file.readline()) - 1 if part.start else 0)
        if begin >= part.stop:
            return b""
        file.seek(begin)
        content = file.read(part.stop - begin)
        return content if content.endswith(b"\n") else content + file.readline()


def _first_bad_line(part: Part, content: bytes) -> str:
    for number, line in enumerate(content.splitlines(), start=1):
        try:
            json.loads(line or b"null")
        except ValueError as error:
            where = f"line {number}" if part.start == 0 else f"line {number} from byte {part.start} on"
            return f"{where} is no JSON ({error})"
    return ""
