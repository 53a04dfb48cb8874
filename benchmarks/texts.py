"""The work on text, on one core: counting tokens, preprocessing, postprocessing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from corpus import Documents, lines_of
from measure import Taken, measure
from tables import Table

from nemocc_dask import TASKS, Endpoint, GenerationConfig, Task, TokenCounter, from_nothing
from nemocc_dask.generate import generate
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import preprocess
from nemocc_dask.tokens import DEFAULT_TOKENIZER, load_tokenizer

DOCUMENT_TASKS = tuple(task for task in TASKS.values() if not task.makes_documents)


class Tokenizers:
    """Makes counters of one tokenizer, which share what they have met."""

    def __init__(self, source: str | None) -> None:
        self.hugging_face = load_tokenizer(source or DEFAULT_TOKENIZER)
        self.used = TokenCounter(self.hugging_face)

    def new(self) -> TokenCounter:
        """A counter, loaded and ready, that has met no word yet but those of prompts: as at the start of a job."""
        ready = pa.array(["ready"], pa.large_string())
        self.used.unload()
        self.used.count(ready)
        for task in DOCUMENT_TASKS:
            self.used.count_prompts(lambda document, task=task: task.messages(document=document), ready)
        return self.used


class HuggingFace:
    """`tokenizer.encode`, one row after another, over documents and over their lines: what there was before."""

    def __init__(self, documents: Documents, tokenizers: Tokenizers, *, repeats: int, sample: int | None) -> None:
        chosen = documents.sample(sample)
        scale = documents.megabytes / chosen.megabytes
        self.texts = chosen.frame["text"].tolist()
        of_documents = measure(repeats, lambda _: self._counts(tokenizers, self.texts))
        of_lines = measure(repeats, lambda _: self._counts(tokenizers, lines_of(chosen.frame)))
        self.counts = of_documents.result
        self.documents_s, self.lines_s = scale * of_documents.wall_s, scale * of_lines.wall_s
        every = f"all {len(documents.frame):,} documents"
        self.words = (
            every if scale == 1 else f"{len(self.texts):,} of {len(documents.frame):,} documents, scaled by size"
        )

    @property
    def both_s(self) -> float:
        """Seconds for documents and lines."""
        return self.documents_s + self.lines_s

    @staticmethod
    def _counts(tokenizers: Tokenizers, texts: list[str]) -> list[int]:
        return [len(tokenizers.hugging_face.encode(text, add_special_tokens=False)) for text in texts]


def counting(documents: Documents, tokenizers: Tokenizers, slow: HuggingFace, *, repeats: int) -> Table:
    """Tokens of every document, by every means."""
    texts = pa.array(documents.frame["text"], pa.large_string())
    new = measure(repeats, lambda counter: counter.count(texts), prepare=tokenizers.new)
    again = measure(repeats, lambda _: tokenizers.used.count(texts), prepare=lambda: tokenizers.used.count(texts))
    batch = tokenizers.hugging_face.backend_tokenizer.encode_batch_fast
    at_once = measure(repeats, lambda _: [len(each) for each in batch(slow.texts, add_special_tokens=False)])
    at_once_s = at_once.wall_s * documents.megabytes / (sum(len(text.encode()) for text in slow.texts) / 1e6)
    sampled = tokenizers.used.count(pa.array(slow.texts, pa.large_string()))
    seconds = {
        "Hugging Face `encode`, row by row": slow.documents_s,
        "Hugging Face `encode_batch_fast`": at_once_s,
        "`TokenCounter`, first pass": new.wall_s,
        "`TokenCounter`, again": again.wall_s,
    }
    differing = int((sampled != np.array(slow.counts)).sum())
    return Table(
        "Counting the tokens of every document",
        f"{documents.megabytes:.1f} MB, {int(new.result.sum()):,} tokens. Hugging Face on {slow.words}; counts that "
        f"differ from its own: {differing} of {len(slow.texts):,}.",
        ("what", "seconds", "MB/s"),
        [(what, s, documents.megabytes / s) for what, s in seconds.items()],
    )


def preprocessing(documents: Documents, tokenizers: Tokenizers, slow: HuggingFace, *, repeats: int) -> Table:
    """All documents through each task's preprocessing."""
    rows = []
    for task in DOCUMENT_TASKS:
        again = measure(repeats, lambda _, task=task: _segments(documents, task, tokenizers.used))
        first = measure(repeats, lambda counter, task=task: _segments(documents, task, counter), prepare=tokenizers.new)
        speeds = [documents.megabytes / taken.wall_s for taken in (first, again)]
        ratio = slow.both_s / first.wall_s
        rows.append((task.name, first.result, first.wall_s, speeds[0], ratio, again.wall_s, speeds[1]))
    return Table(
        "Preprocessing",
        f"{len(documents.frame):,} documents, {documents.megabytes:.1f} MB, to segments. First: with a tokenizer that "
        "has met no word yet; again: with one that has. Ratio: Hugging Face `encode` row by row over documents "
        f"({slow.documents_s:.1f} s) and their lines ({slow.lines_s:.1f} s), on {slow.words}, to the first pass.",
        ("task", "segments", "first, s", "MB/s", "ratio", "again, s", "MB/s"),
        rows,
    )


def _segments(documents: Documents, task: Task, counter: TokenCounter) -> int:
    return sum(len(preprocess(part, task, tokenizer=counter).kept) for part in documents.partitions)


def postprocessing(
    documents: Documents, tokenizers: Tokenizers, endpoint: Endpoint, *, answers: int, repeats: int
) -> Table:
    """Some answers of the simulated endpoint through each task's postprocessing."""
    taken = [_postprocessed(task, documents, tokenizers, endpoint, answers, repeats) for task in TASKS.values()]
    every_s, every = sum(row[3] for row in taken), sum(row[1] for row in taken)
    return Table(
        "Postprocessing",
        "Answers of the simulated endpoint, with a tokenizer that has met their words.",
        ("task", "answers", "results", "seconds", "answers/s"),
        [*taken, ("together", every, sum(row[2] for row in taken), every_s, every / every_s)],
    )


def _postprocessed(
    task: Task, documents: Documents, tokenizers: Tokenizers, endpoint: Endpoint, answers: int, repeats: int
) -> tuple[Any, ...]:
    frames = _answers(task, documents, tokenizers, endpoint, answers)
    work = _work(frames, task, tokenizers.used, repeats)
    asked = sum(map(len, frames))
    return task.name, asked, work.result, work.wall_s, asked / work.wall_s


def _work(frames: list[pd.DataFrame], task: Task, counter: TokenCounter, repeats: int) -> Taken:
    return measure(repeats, lambda _: sum(len(postprocess(each, task, tokenizer=counter).kept) for each in frames))


def _answers(
    task: Task, documents: Documents, tokenizers: Tokenizers, endpoint: Endpoint, wanted: int
) -> list[pd.DataFrame]:
    """As many answers as wanted, if there are so many documents, by the partitions their documents came in."""
    if task.makes_documents:
        rows = from_nothing(task, samples=wanted).compute()
        return [generate(rows, task, endpoint=endpoint, config=GenerationConfig()).kept]
    found: list[pd.DataFrame] = []
    for part in documents.partitions:
        left = wanted - sum(map(len, found))
        segments = preprocess(part, task, tokenizer=tokenizers.used).kept.head(left)
        found.append(generate(segments, task, endpoint=endpoint, config=GenerationConfig()).kept)
    return [frame for frame in found if len(frame)]
