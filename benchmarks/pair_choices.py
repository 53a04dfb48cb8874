"""Question-answer pairs that were kept, against those there were: Curator draws them by a generator without a seed.

So kept pairs cannot be the same. What can be held is that each side chose among the pairs it had read, and how many.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd
import pyarrow as pa

from nemocc_dask import Task, TokenCounter
from nemocc_dask.text.pairs import PAIRS_EARNED, TOKENS_PER_EARNING, earned_pairs

_BETWEEN_PAIRS = re.compile(r"\n\n(?=Question:)")


class Choices(NamedTuple):
    """drawn: rows whose results differ and were both chosen by the rules. broken: rows where one was not."""

    same: int
    drawn: list[Any]
    broken: list[Any]


class Choosing:
    """The rules of the choice, Curator's and ours, for one task and tokenizer."""

    def __init__(self, task: Task, counter: TokenCounter) -> None:
        self._counter, self._least_tokens = counter, task.min_result_tokens
        self._most = next(step.options["max_pairs"] for step in task.steps if step.name == "keep_pairs")

    def ours_holds(self, kept: str | None, available: str | None, source: str) -> bool:
        """As many of our pairs as the segment earns, none twice; too short a result is dropped."""
        pairs = split_pairs(available, source.strip())
        count = min(self._most, earned_pairs(self._tokens(source)), len(pairs))
        return self._holds(kept, pairs, source.strip(), range(count, count + 1))

    def theirs_holds(self, kept: str | None, available: str | None, source: str) -> bool:
        """From one up to so many of Curator's pairs as the segment's length allows it to draw."""
        pairs = split_pairs(available, source)
        most = max(1, self._tokens(source) * PAIRS_EARNED // TOKENS_PER_EARNING)
        return self._holds(kept, pairs, source, range(1, most + 1))

    def _holds(self, kept: str | None, pairs: list[str], source: str, counts: range) -> bool:
        if kept is None:
            shortest = sorted(pairs, key=self._tokens)[: counts.start]
            return not pairs or self._tokens("\n\n".join([source, *shortest])) < self._least_tokens
        chosen = split_pairs(kept, source)
        return len(chosen) in counts and Counter(chosen) <= Counter(pairs)

    def _tokens(self, text: str) -> int:
        return int(self._counter.count(pa.array([text], pa.large_string()))[0])


def split_pairs(result: str | None, source: str) -> list[str]:
    """The pairs after the source text; none for None, or where the source is not what the result begins with.

    >>> split_pairs("Iron rusts.\\n\\nQuestion: What rusts?\\nAnswer: Iron.", "Iron rusts.")
    ['Question: What rusts?\\nAnswer: Iron.']
    """
    if result is None or not result.startswith(f"{source}\n\n"):
        return []
    return _BETWEEN_PAIRS.split(result[len(source) + 2 :])


def compare_choices(
    answers: pd.DataFrame,
    kept: tuple[Mapping[Any, str], ...],
    available: tuple[Mapping[Any, str], ...],
    rules: Choosing,
) -> Choices:
    """Whether each side chose by its rules.

    kept, available: (ours, theirs), each by the answers' `row`: the result, and the same with all pairs there were.
    """
    sources = dict(zip(answers["row"], answers["text"], strict=True))
    (ours, theirs), (our_pairs, their_pairs) = kept, available
    same, drawn, broken = 0, [], []
    for row, source in sources.items():
        hold = rules.ours_holds(ours.get(row), our_pairs.get(row), source) and rules.theirs_holds(
            theirs.get(row), their_pairs.get(row), source
        )
        if not hold:
            broken.append(row)
        elif ours.get(row) == theirs.get(row):
            same += 1
        else:
            drawn.append(row)
    return Choices(same, drawn, broken)
