"""Counts tokens of texts as Hugging Face does: with gigatoken where the two agree, else with Hugging Face itself."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

log = logging.getLogger(__name__)

GIGATOKEN_CACHE_BYTES = 256_000_000
"""gigatoken 0.10 keeps every distinct word it has met; after this much text the encoder is made anew."""

BATCH_ROWS = 1_000
"""Rows handed to Hugging Face at once: its result holds whole encodings, some 100 bytes a token."""

Count = Callable[[pa.LargeStringArray], npt.NDArray[np.int64]]
"""Texts (n,) → tokens of each without special tokens, int64 (n,); a null text has 0."""


def fastest_exact_count(tokenizer: Any) -> Count:
    """gigatoken where it counts a sample as Hugging Face does, else Hugging Face; a fallback is said once."""
    slow = hugging_face_count(tokenizer)
    try:
        fast = _gigatoken_count(tokenizer)
        disagreements = int((fast(_SAMPLE) != slow(_SAMPLE)).sum())
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as refusal:  # noqa: BLE001 - what it cannot read, its Rust side panics at in many ways
        log.warning("gigatoken cannot read this tokenizer (%s); counting with Hugging Face.", _first_line(refusal))
        return slow
    if disagreements:
        log.warning(
            "gigatoken differs on %d of %d samples; counting with Hugging Face, slower.", disagreements, len(_SAMPLE)
        )
        return slow
    return fast


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def hugging_face_count(tokenizer: Any) -> Count:
    """Counts in batches with the tokenizer itself: slower, and right by definition."""
    encode = tokenizer.backend_tokenizer.encode_batch_fast

    def count(texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        rows = pc.fill_null(texts, "").to_pylist()
        batches = (rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS))
        encodings = (encoding for batch in batches for encoding in encode(batch, add_special_tokens=False))
        return np.fromiter((len(encoding) for encoding in encodings), dtype=np.int64, count=len(rows))

    return count


def _gigatoken_count(tokenizer: Any) -> Count:
    import awkward as ak
    import gigatoken

    encoder = gigatoken.Tokenizer(tokenizer.backend_tokenizer)
    seen_bytes = 0

    def count(texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        nonlocal encoder, seen_bytes
        seen_bytes += texts.nbytes
        if seen_bytes > GIGATOKEN_CACHE_BYTES:
            encoder, seen_bytes = gigatoken.Tokenizer(tokenizer.backend_tokenizer), texts.nbytes
        ids = encoder.encode_batch(ak.from_arrow(_without_validity(texts)), parallel=False)
        return np.asarray(ak.num(ids), dtype=np.int64)

    return count


def _without_validity(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """The texts, null ones empty, with no bitmap of nulls: on a slice of an array with one gigatoken 0.10 panics."""
    filled = pc.fill_null(texts, "")
    _, offsets, characters = filled.buffers()
    return pa.LargeStringArray.from_buffers(len(filled), offsets, characters, None, 0, filled.offset)


_SAMPLE = pa.array(
    [
        "",
        " ",
        "A plain sentence, with a comma; and 1234567 digits.",
        "  leading, trailing and   inner white space \t\n\n\n with breaks\r\n ",
        "def my_snake_case(self, **kwargs) -> None:\n    return self.__init__(x=2 * 3)\n",
        "Ça coûte 12,50 € à l'été; naïve façade, œuvre",
        "Größe, Straße, Übung – „Zitat“ … ‚so‘",
        "¿Cuántos años tenía él? ¡Muchísimos!",
        "Съешь ещё этих мягких французских булок",
        "敏捷的棕色狐狸跳过了懒狗。「引用」１２３",
        "いろはにほへと ちりぬるを。カタカナ",
        "다람쥐 헌 쳇바퀴에 타고파",
        "نص عربي قصير مع أرقام ١٢٣",
        "यह एक वाक्य है",
        "👩‍👩‍👧‍👦 family, 🇫🇷 flag, 👍🏽 thumb",
        "don't can't we'll I'M THEY'RE it's",
        "$\\sum_{i=1}^{n} x_i^2 \\le \\frac{a}{b}$",
        "https://example.org/a_b/c?d=e&f=%20g#h",
        "a" * 300,
        "=" * 70 + "\n" + "- " * 40,
        "e\u0301 \u00a0 \u200b \ufeff \u2028 zero width",
        "<s> </s> [INST] <|endoftext|> <|im_start|>user<|im_end|> <unk> <pad>",
    ],
    pa.large_string(),
)
"""Eight scripts, code, maths, long runs, odd spaces, special tokens: where tokenizers are known to differ."""
