"""The first phase: only rows that can be told apart and read go in. Partition in, partition out."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from nemocc_dask import columns
from nemocc_dask.accounting import Outcome
from nemocc_dask.settings import MAX_DOCUMENT_BYTES
from nemocc_dask.sieve import Sieve
from nemocc_dask.text.engine import Frame, Mask, frames_of


def admit(
    frame: Frame,
    *,
    duplicated: Mask | None = None,
    deadly: Mask | None = None,
    max_document_bytes: int = MAX_DOCUMENT_BYTES,
) -> Outcome:
    """Reject rows with a null or repeated `id`, or a null, blank or too large `text`. Stage `read`, in documents.

    duplicated: bool (n,), True where a row repeats the id of an earlier one; None looks within this partition only.
    deadly: bool (n,), True where a row ends the process that works on it; rejected as `poison`, before all else.
    max_document_bytes: of a text in UTF-8; larger ones are rejected as `document_too_large`, their size in `detail`.

    Raises `ColumnNotFoundError` where `id` or `text` is missing.

    >>> import pandas as pd
    >>> outcome = admit(pd.DataFrame({"id": [1, 1, None, 4], "text": ["a", "b", "c", " "]}))
    >>> outcome.kept["text"].tolist(), outcome.stages[0].rejected
    (['a'], {'null_id': 1, 'duplicate_id': 1, 'empty_text': 1})
    """
    sieve = Sieve(frame, stage="read", unit="documents")
    repeated = _repeated(frame) if duplicated is None else duplicated
    if deadly is not None:
        sieve.reject(deadly, "poison")
        repeated = repeated[~deadly]
    nulls = frames_of(frame).is_null(sieve.frame, columns.ID)
    sieve.reject(nulls, "null_id")
    sieve.reject(repeated[~nulls], "duplicate_id")
    sieve.reject(frames_of(frame).is_null(sieve.frame, columns.TEXT), "null_text")
    sizes = frames_of(frame).byte_counts(frames_of(frame).texts(sieve.frame, columns.TEXT))
    told = pa.array([f"{size:,} bytes" if size > max_document_bytes else None for size in sizes.tolist()], pa.string())
    sieve.reject(sizes > max_document_bytes, "document_too_large", detail=told)
    sieve.reject(_is_blank(sieve.frame), "empty_text")
    return sieve.outcome()


def _repeated(frame: Frame) -> Mask:
    codes = frames_of(frame).codes(frame, columns.ID)
    first = np.zeros(len(codes), dtype=np.bool_)
    first[np.unique(codes, return_index=True)[1]] = True
    return ~first & (codes >= 0)


def _is_blank(frame: Frame) -> Mask:
    frames = frames_of(frame)
    return frames.mask(frames.kernels.is_blank(frames.texts(frame, columns.TEXT)))
