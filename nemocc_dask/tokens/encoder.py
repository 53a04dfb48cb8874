"""gigatoken behind a bound on its memory: it keeps every distinct word that it has met, for ever."""

from __future__ import annotations

import mmap
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.tokens.pieces import slices

GIGATOKEN_CACHE_BYTES = 100_000_000
"""Memory that words may take before the encoder is made anew: prose of a few languages never gets there, hash values
and Chinese, whose words are whole clauses, within 10 to 30 MB of text."""

PIECE_BYTES = 8_000_000
"""Text encoded at once: what it may add to the memory, up to ten times as much, is seen only afterwards."""


class Gigatoken:
    """Counts with gigatoken, one thread at a time: its encoder has a lock of its own, so no more than one would run.

    The encoder is made anew once its words have taken `GIGATOKEN_CACHE_BYTES`, though never before it has worked for as
    long as it took to make, so that other threads that take memory meanwhile cannot make it cost more than double.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._definition = tokenizer.backend_tokenizer.to_str()
        self._lock = threading.Lock()
        self._renew()

    def count(self, texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """Tokens of each text, int64 (n,), special tokens not added; a null text has 0."""
        filled = _without_validity(texts)
        counts = np.zeros(len(filled), dtype=np.int64)
        for part in slices(filled, max_bytes=PIECE_BYTES):
            with self._lock:
                counts[part] = self._count(filled[part])
        return counts

    def _count(self, texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        import awkward as ak

        if self._words_bytes > GIGATOKEN_CACHE_BYTES and self._worked_s > self._made_s:
            self._renew()
        began_s, before = time.thread_time(), _resident_bytes()
        encoded = self._encoder.encode_batch(ak.from_arrow(texts), parallel=False)
        counts = np.diff(np.asarray(encoded.layout.offsets))  # `ak.num` takes longer than a hundred short texts
        after = _resident_bytes()
        self._worked_s += time.thread_time() - began_s
        self._words_bytes += texts.nbytes if after is None or before is None else after - before
        return counts

    def _renew(self) -> None:
        import gigatoken

        self._encoder: Any = None  # never two at once
        began_s = time.thread_time()
        self._encoder = gigatoken.Tokenizer.from_json(self._definition)
        self._made_s = time.thread_time() - began_s
        self._worked_s = 0.0
        self._words_bytes = 0


def _without_validity(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The texts, null ones empty, with no bitmap of nulls: on a slice of an array with one gigatoken 0.10 panics."""
    filled = pc.fill_null(texts, "")
    _, offsets, characters = filled.buffers()
    return pa.LargeStringArray.from_buffers(len(filled), offsets, characters, None, 0, filled.offset)


def _resident_bytes() -> int | None:
    """Memory that this process has; None where there is no file that says so, as there is on Linux."""
    try:
        return int(Path("/proc/self/statm").read_bytes().split()[1]) * mmap.PAGESIZE
    except OSError:
        return None
