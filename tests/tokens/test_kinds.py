"""Every kind of tokenizer.json × texts on which tokenizers differ: counts are those of Hugging Face, row by row."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_texts import CONTROLS, EMOJI, SCRIPTS, all_texts
from tokenizer_kinds import KINDS
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from nemocc_dask.tokens import TokenCounter, counting, sample
from nemocc_dask.tokens.encoder import Gigatoken

SERVED_BY_GIGATOKEN = {
    "byte-level",
    "byte-level, llama3",
    "byte-level, qwen2",
    "byte-level, tekken",
    "sentencepiece, first",
}
FUZZED = (*sorted(SERVED_BY_GIGATOKEN), "byte-level, prefix space", "sentencepiece, llama2", "sentencepiece, gemma")
ALPHABET = "".join((*SCRIPTS.values(), *EMOJI, *CONTROLS, "<>|[]/_ \n\r\t'sdmtlverSTabcABC019.,-\\"))


@cache
def made(kind: str) -> tuple[Tokenizer, TokenCounter]:
    """A tokenizer as `tokenizers` itself runs it, and as it is counted with."""
    tokenizer = KINDS[kind]()
    return tokenizer, TokenCounter(PreTrainedTokenizerFast(tokenizer_object=tokenizer))


def names(tokenizer: Tokenizer) -> list[str]:
    return [token.content for token in tokenizer.get_added_tokens_decoder().values()]


def differing(kind: str, texts: list[str]) -> list[tuple[str, int, int]]:
    tokenizer, counter = made(kind)
    counts = counter.count(pa.array(texts, pa.large_string())).tolist()
    expected = [len(tokenizer.encode(text, add_special_tokens=False)) for text in texts]
    return [row for row in zip(texts, counts, expected, strict=True) if row[1] != row[2]]


@pytest.mark.parametrize("kind", KINDS)
def test_no_count_differs(kind):
    """Each text counts as many tokens as encoding it by itself gives, whoever counts."""
    assert differing(kind, all_texts(names(made(kind)[0]))) == []


@pytest.mark.parametrize("kind", FUZZED)
@given(texts=st.lists(st.text(st.sampled_from(ALPHABET), max_size=60), min_size=10, max_size=40), data=st.data())
@settings(max_examples=12)
def test_no_count_of_random_texts_differs(kind, texts, data):
    """Texts drawn from all these alphabets, with the tokenizer's own tokens among them, count as they encode."""
    token = data.draw(st.sampled_from(names(made(kind)[0])))
    assert differing(kind, [*texts, *(token.join(texts[at : at + 3]) for at in range(0, len(texts), 5))]) == []


@pytest.mark.parametrize("kind", sorted(SERVED_BY_GIGATOKEN))
def test_the_usual_kinds_are_counted_fast(kind, caplog):
    """Tokenizers as most models have them are gigatoken's to count."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=KINDS[kind]())
    assert counting.fastest_exact_count(tokenizer).__self__.__class__ is Gigatoken
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["byte-level, added tokens", "sentencepiece, llama2, added tokens"])
def test_added_tokens_that_gigatoken_takes_otherwise_are_noticed(kind, caplog):
    """gigatoken knows no whole words only: a tokenizer that asks for them is counted by Hugging Face."""
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=KINDS[kind]())
    texts = pa.array(["a<word>b", "a <word> b"], pa.large_string())
    assert Gigatoken(tokenizer).count(texts).tolist() != counting.hugging_face_count(tokenizer)(texts).tolist()
    counting.fastest_exact_count(tokenizer)
    assert "gigatoken differs" in caplog.text


def test_unusual_added_tokens_are_looked_at_before_a_thousand_plain_ones():
    """A sample has room for some added tokens only; those with rules of their own come first."""
    tokenizer = KINDS["byte-level"]()
    tokenizer.add_special_tokens([f"<reserved {number}>" for number in range(1000)])
    added = tokenizer.get_added_tokens_decoder().values()
    odd = KINDS["byte-level, added tokens"]().get_added_tokens_decoder().values()
    texts = sample.sample([*added, *odd])
    assert "a<word>b" in texts and "a<tail>b" in texts and len(texts) < 1000


def test_a_lone_surrogate_cannot_be_a_text():
    """Half a surrogate pair is refused where a text becomes Arrow; what replaces it, U+FFFD, is counted."""
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        pa.array(["broken \ud83d here"], pa.large_string())
    replaced = "broken \ud83d here".encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    assert "\ufffd" in replaced
    assert [differing(kind, [replaced, "\ufffd" * 3]) for kind in KINDS] == [[]] * len(KINDS)


@pytest.mark.parametrize("kind", ["byte-level", "wordpiece", "unigram"])
@pytest.mark.parametrize("of_the_file", [True, False])
def test_nothing_is_cut_off_or_filled_up(kind, of_the_file):
    """A tokenizer that cuts texts off and pads them, by its file or by a call of somebody else, is counted without."""
    tokenizer = KINDS[kind]()
    long = "some words of it " * 100
    expected = [len(tokenizer.encode(text, add_special_tokens=False)) for text in (long, "x")]
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<s>")
    limited = fast.backend_tokenizer if of_the_file else tokenizer
    if of_the_file:
        limited.enable_truncation(10)
        limited.enable_padding(length=30)
    counter = TokenCounter(fast)
    texts = pa.array([long, "x"], pa.large_string())
    if not of_the_file:
        counter.count(texts)
        fast([long], truncation=True, padding="max_length", max_length=10)
        assert fast.backend_tokenizer.truncation
    assert counter.count(texts).tolist() == expected


@pytest.mark.parametrize("kind", ["byte-level", "wordpiece"])
def test_batches_do_not_change_counts(kind, monkeypatch):
    """However a column is cut into batches and whatever came before, each text counts the same."""
    monkeypatch.setattr(counting, "BATCH_BYTES", 300)
    texts = [*all_texts(["<s>"]), None]
    column = pa.array(texts, pa.large_string())
    _, counter = made(kind)
    counts = counter.count(column)
    order = np.random.default_rng(0).permutation(len(texts))
    assert counter.count(column.take(pa.array(order))).tolist() == counts[order].tolist()
    assert [counter.count(column[at : at + 7]).tolist() for at in range(0, len(texts), 7)] == [
        counts[at : at + 7].tolist() for at in range(0, len(texts), 7)
    ]
