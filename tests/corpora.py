"""Texts to test on: sentences the small tokenizer knows well, documents made of them, and lines of so many tokens."""

from __future__ import annotations

import random

import pandas as pd
import pyarrow as pa

from nemocc_dask.tokens import TokenCounter

TRAINING_SENTENCES = (
    "The river rises in the mountains and flows north through the old town.",
    "Iron rusts in damp air, while gold does not change for thousands of years.",
    "In 1969, twelve engineers measured the bridge and found it 140 metres long.",
    "Bees keep the temperature of the hive at 35 degrees by beating their wings.",
    "The library holds 40,000 books, and most of them are about the sea.",
    "A glacier moves a few centimetres each day, and carries stones with it.",
    "Light takes eight minutes from the sun to the earth.",
    "Salt was carried over the pass by mules until the railway came.",
)


def text(seed: object, *, lines: int = 3, sentences_per_line: int = 3) -> str:
    """A document of so many lines, each of other sentences: the seed decides which."""
    draw = random.Random(f"{seed}")
    return "\n".join(
        " ".join(
            f"{draw.choice(TRAINING_SENTENCES)[:-1]} in case {draw.randrange(1000)}." for _ in range(sentences_per_line)
        )
        for _ in range(lines)
    )


def corpus(rows: int, *, lines: int = 3, sentences_per_line: int = 3) -> pd.DataFrame:
    """So many documents with ids from 100 on, and scores that send them to both quality routes."""
    return pd.DataFrame(
        {
            "id": range(100, 100 + rows),
            "text": [text(row, lines=lines, sentences_per_line=sentences_per_line) for row in range(rows)],
            "quality_score": [(row * 7) % 20 for row in range(rows)],
        }
    )


def of_tokens(tokens: int, tokenizer: TokenCounter, word: str = "a") -> str:
    """A text of exactly so many tokens: words that are a token each, with the space before them."""
    made = " ".join([word] * tokens)
    assert count(made, tokenizer) == tokens, f"{word!r} is not one token"
    return made


def count(words: str, tokenizer: TokenCounter) -> int:
    """Tokens of one text."""
    return int(tokenizer.count(pa.array([words], pa.large_string()))[0])


CHAT_TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}<|{{ message.role }}|>\n{{ message.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
"""Of a small tokenizer: each message between marks of its own, after the BOS token."""
