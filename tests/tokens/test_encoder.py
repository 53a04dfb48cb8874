"""The fast encoder: many threads, texts in pieces, and a bound on the words that it keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pyarrow as pa
import pytest
from tokenizer_kinds import KINDS
from transformers import PreTrainedTokenizerFast

from nemocc_dask.tokens import counting, encoder

DISTINCT = """
import numpy as np, pyarrow as pa, sys
from transformers import PreTrainedTokenizerFast
from nemocc_dask.tokens import encoder
counter = encoder.Gigatoken(PreTrainedTokenizerFast(tokenizer_file=sys.argv[1]))
draw = np.random.default_rng(0)
def count(megabytes):
    for _ in range(megabytes):
        letters = draw.integers(97, 123, size=(125_000, 8), dtype=np.uint8)
        letters[:, 7] = 32
        counter.count(pa.array([letters.tobytes().decode()], pa.large_string()))
for encoder.GIGATOKEN_CACHE_BYTES in (10_000_000, 10**12):
    count(1)
    before = encoder._resident_bytes()
    count(8)
    print(encoder._resident_bytes() - before)
"""
"""What eight megabytes of words that never come again add to a process, with a bound and without."""


@pytest.fixture(scope="module")
def small():
    return PreTrainedTokenizerFast(tokenizer_object=KINDS["byte-level"]())


def column(seed: int) -> pa.LargeStringArray:
    """Texts of words that no other column has."""
    letters = np.random.default_rng(seed).integers(97, 107, size=(300, 40)).astype(np.uint8)
    letters[:, ::7] = 32
    return pa.array([row.tobytes().decode() for row in letters], pa.large_string())


def test_threads_that_renew_the_encoder_count_right(small, monkeypatch):
    """Threads that count at once, each count renewing the encoder under the others, all count right."""
    monkeypatch.setattr(encoder, "GIGATOKEN_CACHE_BYTES", -(10**12))
    monkeypatch.setattr(encoder, "PIECE_BYTES", 1000)
    counter, slow = encoder.Gigatoken(small), counting.hugging_face_count(small)
    renewed = []
    renew = counter._renew
    counter._renew = lambda: (renewed.append(1), renew())
    counter._made_s = 0.0
    columns = [column(seed) for seed in range(12)]
    with ThreadPoolExecutor(6) as threads:
        counts = list(threads.map(lambda each: counter.count(each).tolist(), columns))
    assert counts == [slow(each).tolist() for each in columns]
    assert renewed


def test_nulls_and_slices_are_counted_in_pieces(small, monkeypatch):
    """A slice of a column with nulls, counted in pieces smaller than its texts, counts row by row."""
    monkeypatch.setattr(encoder, "PIECE_BYTES", 10)
    texts = pa.array(["first", None, "two words", "", "naïve, 字 and more", None, "x"], pa.large_string())[1:]
    slow = counting.hugging_face_count(small)
    assert encoder.Gigatoken(small).count(texts).tolist() == slow(texts).tolist()


def test_an_encoder_works_as_long_as_it_took_to_make(small, monkeypatch):
    """However much memory there seems to be, making encoders never takes longer than counting with them."""
    monkeypatch.setattr(encoder, "GIGATOKEN_CACHE_BYTES", -(10**12))
    counter = encoder.Gigatoken(small)
    first, counter._made_s = counter._encoder, 3600.0
    counter.count(column(0))
    counter.count(column(1))
    assert counter._encoder is first


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="this system does not say what memory there is")
def test_memory_does_not_grow_with_the_text(small, tmp_path):
    """Words that never come again take no more memory than their bound, where without one they take it all."""
    small.backend_tokenizer.save(str(tmp_path / "tokenizer.json"))

    command = [sys.executable, "-c", DISTINCT, str(tmp_path / "tokenizer.json")]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    bounded, unbounded = map(int, printed.split())
    assert bounded < 40_000_000 < 50_000_000 < unbounded
