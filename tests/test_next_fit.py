"""Segments made step by step with the accessor are exactly those of a next-fit done by hand."""

from __future__ import annotations

import pandas as pd
import pytest
from corpora import corpus, count, text
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import BUDGETS, Segment, packed


def by_hand(frame, frames, tokenizer, max_tokens):
    joined = (
        frame.nemocc.split_documents(separator="\n")
        .nemocc.filter_tokens(max_tokens=max_tokens, tokenizer=tokenizer, count_field="segment_token_count")
        .nemocc.join_segments(max_tokens=max_tokens)
    )
    rows = frames.rows(joined)[["id", "segment_id", "text", "segment_token_count"]]
    return [Segment(*row) for row in rows.itertuples(index=False)]


@pytest.mark.parametrize("max_tokens", BUDGETS)
def test_steps_by_hand_are_the_obvious_next_fit(max_tokens, frames, tokenizer):
    """Forty documents of many lengths, split, filtered and joined, give exactly the segments of a next-fit by hand."""
    documents = pd.concat(
        [corpus(20, lines=40), corpus(20, lines=9, sentences_per_line=6).assign(id=range(200, 220))], ignore_index=True
    )
    expected = packed(
        zip(documents["id"], documents["text"], strict=True), lambda line: count(line, tokenizer), max_tokens
    )
    assert len(expected) > 40 and max(segment.tokens for segment in expected) > max_tokens - 70
    assert by_hand(frames.make(documents), frames, tokenizer, max_tokens) == expected


lines = st.integers(0, 430).map(lambda tokens: " ".join(["a"] * tokens)) | st.sampled_from(text(0, lines=9).split("\n"))
documents = st.lists(
    st.tuples(st.lists(lines, max_size=14), st.sampled_from(["\n", "\r\n", "\r"])), min_size=1, max_size=5
)


@pytest.mark.parametrize("max_tokens", BUDGETS)
@given(rows=documents)
@settings(max_examples=15, deadline=None)
def test_steps_by_hand_are_the_obvious_next_fit_on_any_text(max_tokens, frames, tokenizer, rows):
    """The same holds of documents drawn at random, blank lines and all kinds of line breaks among them."""
    frame = pd.DataFrame({"id": range(len(rows)), "text": [end.join(found) for found, end in rows]})
    known: dict[str, int] = {}
    expected = packed(
        zip(frame["id"], frame["text"], strict=True),
        lambda line: known.setdefault(line, len(line.split())) if line[:2] == "a " else count(line, tokenizer),
        max_tokens,
    )
    assert by_hand(frames.make(frame), frames, tokenizer, max_tokens) == expected
