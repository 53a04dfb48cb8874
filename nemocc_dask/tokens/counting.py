"""Counts tokens of texts as Hugging Face does: with gigatoken where the two agree, else with Hugging Face itself."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.tokens.encoder import Gigatoken
from nemocc_dask.tokens.pieces import slices
from nemocc_dask.tokens.sample import sample

log = logging.getLogger(__name__)

BATCH_ROWS = 1_000
BATCH_BYTES = 4_000_000
"""Rows, and bytes of text, handed to Hugging Face at once: its result holds whole encodings, some 100 bytes a token."""

Count = Callable[[pa.LargeStringArray], npt.NDArray[np.int64]]
"""Texts (n,) → tokens of each without special tokens, int64 (n,); a null text has 0."""


def fastest_exact_count(tokenizer: Any) -> Count:
    """gigatoken where it counts a sample as Hugging Face does, else Hugging Face; a fallback is said once."""
    slow = hugging_face_count(tokenizer)
    texts = pa.array(sample(tokenizer.backend_tokenizer.get_added_tokens_decoder().values()), pa.large_string())
    try:
        fast: Count = Gigatoken(tokenizer).count
        disagreements = int((fast(texts) != slow(texts)).sum())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as refusal:  # noqa: BLE001 - what it cannot read, its Rust side panics at in many ways
        log.warning("gigatoken cannot read this tokenizer (%s); counting with Hugging Face.", _first_line(refusal))
        return slow
    if disagreements:
        log.warning(
            "gigatoken differs on %d of %d samples; counting with Hugging Face, slower.", disagreements, len(texts)
        )
        return slow
    return fast


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def hugging_face_count(tokenizer: Any) -> Count:
    """Counts in batches with the tokenizer itself: slower, and right by definition."""
    backend = tokenizer.backend_tokenizer

    def lengths(texts: pa.LargeStringArray) -> Iterator[int]:
        nonlocal backend
        for part in slices(texts, max_bytes=BATCH_BYTES, max_rows=BATCH_ROWS):
            if backend.truncation or backend.padding:  # of the file, or by a call of whoever else has the tokenizer
                backend = _without_limits(backend)
            yield from map(len, backend.encode_batch_fast(texts[part].to_pylist(), add_special_tokens=False))

    def count(texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        return np.fromiter(lengths(pc.fill_null(texts, "")), dtype=np.int64, count=len(texts))

    return count


def _without_limits(backend: Any) -> Any:
    """A copy that cuts nothing off and fills nothing up."""
    whole = type(backend).from_str(backend.to_str())
    whole.no_truncation()
    whole.no_padding()
    whole.encode_special_tokens = backend.encode_special_tokens
    return whole
