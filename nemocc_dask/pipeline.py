"""Puts the phases of a chain onto Dask, partition by partition: the only `map_partitions`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import dask.dataframe as dd
from dask.dataframe.dask_expr._expr import Blockwise, Expr, MapPartitions

from nemocc_dask import columns

PACKAGE = "nemocc"
"""Ends the names of this package's tasks on the dashboard, such as `generate-distill-nemocc`.

Dask names a task that does several steps by the first word of each: `frompandas-preprocess-generate-postprocess`.
"""

CUTTING_STEPS = ("preprocess", "split-documents")
"""Steps that cut documents into segments, and leave those of a document in one partition."""

PartitionFunction = Callable[..., Any]


def map_partitions(frame: dd.DataFrame, function: PartitionFunction, label: str, /, **settings: Any) -> dd.DataFrame:
    """Apply a function from partition to partition, lazily; nothing is computed and nothing sent.

    The result's columns and dtypes come from running it on no rows: without that, Dask would run it on two rows of its
    own invention while the graph is built.
    """
    meta = function(frame._meta, **settings)
    return frame.map_partitions(function, meta=meta, enforce_metadata=False, token=_name(label), **settings)


def map_ranges(
    make: PartitionFunction, label: str, /, *, rows: int, rows_per_partition: int, **settings: Any
) -> dd.DataFrame:
    """A Dask dataframe whose partitions `make(first, stop, **settings)` makes of ranges of row numbers, lazily."""
    firsts = range(0, max(1, rows), rows_per_partition)  # one empty partition rather than none, which Dask refuses
    stops = [min(first + rows_per_partition, rows) for first in firsts]
    meta = make(0, 0, **settings)
    return dd.from_map(make, list(firsts), stops, meta=meta, enforce_metadata=False, label=_name(label), **settings)


def _name(label: str) -> str:
    """Of hyphens and letters: Dask shows tasks under what comes before the first other sign.

    >>> _name("generate-diverse_qa")
    'generate-diverse-qa-nemocc'
    """
    return f"{label.replace('_', '-')}-{PACKAGE}"


def documents_together(frame: dd.DataFrame) -> dd.DataFrame:
    """The frame with all rows of a document in one partition and in order.

    Where every operation since documents were cut into segments kept partitions as they were, they are together.
    Otherwise rows are moved by a shuffle on `id`, which reads everything before it first.
    """
    if _partitions_kept(frame.expr):
        return frame
    order = [name for name in (columns.ID, columns.SEGMENT_ID, columns.SAMPLE) if name in frame.columns]
    return frame.shuffle(columns.ID).map_partitions(_sorted, meta=frame._meta, order=order)


def _sorted(part: Any, *, order: list[str]) -> Any:
    return part.sort_values(order, kind="stable")


def _partitions_kept(expr: Expr) -> bool:
    while isinstance(expr, Blockwise):
        if isinstance(expr, MapPartitions) and _cuts(expr.operand("token") or ""):
            return True
        expr = expr.dependencies()[0] if expr.dependencies() else None
    return False


def _cuts(name: str) -> bool:
    return name.endswith(f"-{PACKAGE}") and name.startswith(CUTTING_STEPS)
