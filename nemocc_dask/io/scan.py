"""Which columns of the input a run reads, what it calls them, which rows repeat an id: looked up before it starts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask import columns
from nemocc_dask.errors import ColumnNotFoundError, InputError
from nemocc_dask.io.files import JSONL, LOCAL_READERS, each_of, readers_for
from nemocc_dask.io.parts import Part, Piece
from nemocc_dask.io.read import joined, read_pieces, schema_of
from nemocc_dask.io.streams import closing_streams
from nemocc_dask.text.engine import PANDAS

FIRST_INEXACT = 2.0**53
"""From here on not every whole number is a float64."""

_HASH_KEYS = ("0123456789123456", "6543219876543210")


@dataclass(frozen=True)
class Columns:
    """Which columns of the input are read, and what the run calls them.

    id, text: the input's names. score: its name, or None where no route looks at it. carried: further names, as they
    are. schema: Arrow schema of all of them, by the input's names.
    """

    id: str
    text: str
    score: str | None
    carried: tuple[str, ...]
    schema: pa.Schema

    @property
    def renamed(self) -> dict[str, str]:
        """Input's name → the run's name."""
        score = {self.score: columns.QUALITY_SCORE} if self.score else {}
        return {self.id: columns.ID, self.text: columns.TEXT} | score | {name: name for name in self.carried}

    @property
    def output_schema(self) -> pa.Schema:
        """Arrow schema by the run's names."""
        return pa.schema([self.schema.field(name).with_name(new) for name, new in self.renamed.items()])


def find_columns(
    parts: Sequence[Part],
    *,
    id_field: str,
    text_field: str,
    score_field: str | None,
    carried: Sequence[str] | None,
    reserved: frozenset[str],
) -> Columns:
    """The columns all input files have in common with what the run needs, and one schema for all of them.

    reserved: names of columns the run writes, which the input may not carry along.

    Raises `ColumnNotFoundError` with the file that lacks a column, `InputError` where files disagree about a type or a
    column has a reserved name.
    """
    needed = {id_field: "Name another with --id-field.", text_field: "Name another with --text-field."}
    needed |= {score_field: "Name another with --score-field."} if score_field else {}
    schemas = _schemas(parts)
    _check_present(needed | dict.fromkeys(carried or (), "Mend --columns."), schemas)
    unified = _unified(list(dict.fromkeys(schemas.values())), "the input files")
    _check_types(unified, id_field, text_field, score_field)
    kept = tuple(name for name in (unified.names if carried is None else carried) if name not in needed)
    _check_reserved(kept, reserved)
    return Columns(
        id_field, text_field, score_field, kept, pa.schema([unified.field(name) for name in (*needed, *kept)])
    )


def _schemas(parts: Sequence[Part]) -> dict[str, pa.Schema]:
    """File → schema. A Parquet file has one; a JSONL file is looked through piece by piece, as any line may differ."""
    pieces = [piece for part in parts for piece in part.pieces]
    looked_at = list({(piece.file, piece.start if piece.format == JSONL else 0): piece for piece in pieces}.values())
    by_file: dict[str, pa.Schema] = {}
    with closing_streams():
        schemas = each_of(schema_of, looked_at, readers_for(piece.file for piece in looked_at))
        for piece, schema in zip(looked_at, schemas, strict=True):
            before = by_file.get(piece.file)
            by_file[piece.file] = schema if before is None else _unified([before, schema], piece.file)
    return by_file


def _unified(schemas: Sequence[pa.Schema], where: str) -> pa.Schema:
    try:
        return pa.unify_schemas(list(schemas), promote_options="permissive")
    except pa.ArrowTypeError as error:
        raise InputError(f"The type of a column is not the same throughout {where}: {error}.") from None


def _check_present(needed: dict[str, str], schemas: dict[str, pa.Schema]) -> None:
    for where, schema in schemas.items():
        for name, remedy in needed.items():
            if name not in schema.names:
                raise ColumnNotFoundError.of(name, schema.names, where=where, remedy=remedy)


def _check_types(schema: pa.Schema, id_field: str, text_field: str, score_field: str | None) -> None:
    if pa.types.is_nested(schema.field(id_field).type):
        raise InputError(
            f"The column {id_field!r} is of type {schema.field(id_field).type} and has to hold one number or string a "
            "row. Name another with --id-field."
        )
    text = schema.field(text_field).type
    if not (pa.types.is_string(text) or pa.types.is_large_string(text) or pa.types.is_null(text)):
        raise InputError(
            f"The column {text_field!r} is of type {text} and has to hold text. Name another with --text-field."
        )
    score = schema.field(score_field).type if score_field else pa.null()
    if not (pa.types.is_integer(score) or pa.types.is_floating(score) or pa.types.is_null(score)):
        raise InputError(
            f"The column {score_field!r} is of type {score} and has to hold numbers. Name another with --score-field."
        )


def _check_reserved(carried: Sequence[str], reserved: frozenset[str]) -> None:
    for name in carried:
        if name in reserved:
            raise InputError(
                f"The input's column {name!r} has the name of one that the run writes. "
                "Rename it, or list the columns to carry along with --columns."
            )


# --- repeated ids -----------------------------------------------------------------------------------------------------


class _Hashes(NamedTuple):
    """Two 64-bit hashes of each id: with both, two of 10^9 ids are mistaken for one with a chance below 10^-20.

    known: False where there is no id.
    """

    one: npt.NDArray[np.uint64]
    two: npt.NDArray[np.uint64]
    known: npt.NDArray[np.bool_]


def find_repeated_ids(parts: Sequence[Part], found: Columns) -> dict[int, npt.NDArray[np.int64]]:
    """Index of a part → positions of its rows whose id stands in an earlier row of any part. Null ids are left out.

    Of Parquet files nothing but the ids is read. Takes 16 bytes a row, and for some moments 50 more.
    """
    # The pieces of a part are read by several threads as it is.
    are_single = all(len(part.pieces) == 1 for part in parts)
    readers = readers_for(part.file for part in parts) if are_single else LOCAL_READERS
    with closing_streams():
        hashes = list(each_of(lambda part: _id_hashes(part, found), parts, readers))
    if not hashes:
        return {}
    one, two, known = map(np.concatenate, zip(*hashes, strict=True))
    repeated = _stands_before(one, two) & known
    ends = np.cumsum([len(each.one) for each in hashes], dtype=np.int64)
    flags = np.split(repeated, ends[:-1])
    return {part.index: np.flatnonzero(flag) for part, flag in zip(parts, flags, strict=True)}


def _stands_before(one: npt.NDArray[np.uint64], two: npt.NDArray[np.uint64]) -> npt.NDArray[np.bool_]:
    """True where a pair of hashes is that of an earlier row."""
    repeated = np.zeros(len(one), dtype=np.bool_)
    ordered = np.sort(one)
    if (ordered[1:] == ordered[:-1]).any():  # mostly none are: to sort one column is much cheaper than to sort pairs
        order = np.lexsort((two, one))  # stable: the first row of an id stays the first
        one, two = one[order], two[order]
        repeated[order[1:][(one[1:] == one[:-1]) & (two[1:] == two[:-1])]] = True
    return repeated


def _id_hashes(part: Part, found: Columns) -> _Hashes:
    pieces = read_pieces(part, pa.schema([found.schema.field(found.id)]))
    for piece, table in zip(part.pieces, pieces, strict=True):
        _check_exact(table.column(0), piece, found.id)
    ids = PANDAS.from_table(joined(pieces))[found.id]
    hashed = [pd.util.hash_pandas_object(ids, index=False, hash_key=key) for key in _HASH_KEYS]
    one, two = (np.asarray(each, dtype=np.uint64) for each in hashed)
    return _Hashes(one, two, ids.notna().to_numpy(dtype=np.bool_))


def _check_exact(ids: pa.ChunkedArray, piece: Piece, id_field: str) -> None:
    """Raises `InputError` for numbers so large that their floating-point type makes several of them one."""
    if pa.types.is_floating(ids.type) and (pc.max(pc.abs(ids)).as_py() or 0) >= FIRST_INEXACT:
        raise InputError(
            f"The column {id_field!r} of {piece.file!r} holds numbers too large for their type, {ids.type}, to tell "
            "them apart. Store them as 64-bit integers or as strings, or name another column with --id-field."
        )
