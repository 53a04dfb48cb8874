"""Both sides' work on text, in turns on one core: preprocessing, postprocessing, and where results differ."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import gigatoken
import pandas as pd
import pyarrow as pa
from answer_differences import HABITS as OF_ANSWERS
from answer_differences import Answering, compare_answers
from corpus import Documents
from curator_process import Curator, task_order
from differences import Comparison, Habit, example
from measure import measure
from pair_choices import Choices, Choosing, compare_choices
from segment_differences import HABITS as OF_SEGMENTS
from segment_differences import Segmenting, compare_segments
from texts import DOCUMENT_TASKS, Tokenizers

from nemocc_dask import Endpoint, GenerationConfig, Task, TokenCounter
from nemocc_dask.generate import generate
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import preprocess

Work = Callable[[pd.DataFrame, TokenCounter], pd.DataFrame]
"""A phase: from a partition to the rows it keeps."""


class Turns(NamedTuple):
    """Median seconds of both sides, and what each made. Without Curator its seconds are NaN and its rows None.

    new_s: ours with a tokenizer that has met no word yet. met_s: with one that has counted the source texts, as in
    a job when answers come. theirs_s: with a new one for preprocessing, with one that has encoded the source texts for
    postprocessing.
    """

    new_s: float
    met_s: float
    theirs_s: float
    ours: pd.DataFrame
    theirs: pd.DataFrame | None
    crashes: Sequence[str]


class Bench:
    """What both sides work with. `side` is None where there is no Curator."""

    def __init__(self, side: Curator | None, tokenizers: Tokenizers, folder: Path, *, core: int | None, repeats: int):
        self.side, self.tokenizers, self.folder, self.core, self.repeats = side, tokenizers, folder, core, repeats
        self.counter = tokenizers.used
        self.special_tokens = len(tokenizers.hugging_face.encode(""))
        tokenizers.hugging_face.save_pretrained(folder / "tokenizer")

    def take_turns(self, do: str, task: Task, frames: list[pd.DataFrame], work: Work) -> Turns:
        """Both sides on the same frames, as often as is to be repeated."""
        new, met, answers = [], [], []
        sources = pa.array(pd.concat(frames)["text"].tolist(), pa.large_string())
        for _ in range(self.repeats):
            if self.side is not None:
                answers.append(self.ask(do, task, frames))
            new.append(_seconds(work, frames, self.tokenizers.new()))
            self.tokenizers.new().count(sources)
            met.append(_seconds(work, frames, self.counter))
        return Turns(
            new_s=median(new),
            met_s=median(met),
            theirs_s=median(answer["seconds"] for answer in answers) if answers else float("nan"),
            ours=pd.concat(work(frame, self.counter) for frame in frames),
            theirs=self.made(do, task) if answers else None,
            crashes=answers[-1]["crashes"] if answers else [],
        )

    def tokenizing_s(self, documents: pd.DataFrame) -> float:
        """Seconds for counting the documents once, with a tokenizer that is new."""
        texts = pa.array(documents["text"].tolist(), pa.large_string())
        taken = measure(self.repeats, lambda counter: counter.count(texts), prepare=self.tokenizers.new)
        return taken.wall_s

    def gigatoken_s(self, documents: pd.DataFrame) -> float:
        """Seconds for encoding the documents once with gigatoken alone, just loaded, as its users call it."""
        texts, definition = documents["text"].tolist(), self.tokenizers.hugging_face.backend_tokenizer.to_str()
        taken = measure(
            self.repeats,
            lambda encoder: encoder.encode_batch(texts, parallel=False),
            prepare=lambda: gigatoken.Tokenizer.from_json(definition),
        )
        return taken.wall_s

    def ask(self, do: str, task: Task, frames: list[pd.DataFrame]) -> dict[str, Any]:
        """Let Curator's side do something with the frames; ends the program where it crashes on each of them."""
        assert self.side is not None, "only where there is a Curator"
        answer = self.side.ask(
            {
                "do": do, "task": task_order(task, self.counter), "core": self.core,
                "partitions": list(self._written(f"{do}-{task.name}", frames)),
                "tokenizer": str(self.folder / "tokenizer"), "output": str(self._output(do, task)),
            }
        )  # fmt: skip
        if len(answer["crashes"]) == len(frames):
            raise SystemExit(
                f"against_curator.py: Curator crashed on every partition of {task.name}: {answer['crashes'][0]}"
            )
        return answer

    def made(self, do: str, task: Task) -> pd.DataFrame:
        """What Curator made last."""
        return pd.read_parquet(self._output(do, task))

    def _written(self, name: str, frames: list[pd.DataFrame]) -> Iterator[str]:
        for number, frame in enumerate(frames):
            path = self.folder / f"{name}-{number:05d}.parquet"
            frame.to_parquet(path, index=False)
            yield str(path)

    def _output(self, do: str, task: Task) -> Path:
        return self.folder / f"made-{do}-{task.name}.parquet"

    def counts_off(self, segments: pd.DataFrame | None) -> int | str:
        """Segments whose recorded count is not that of their text."""
        if segments is None:
            return "-"
        true = self.counter.count(pa.array(segments["text"].tolist(), pa.large_string()))
        return int((segments["segment_token_count"].to_numpy() != true).sum())


def _seconds(work: Work, frames: list[pd.DataFrame], counter: TokenCounter) -> float:
    """What is made is let go of: a job has written it when the next partition comes, and the other side does so too."""
    return measure(1, lambda _: [work(frame, counter) for frame in frames]).wall_s


class Compared(NamedTuple):
    """What one step of one task gave on both sides, and why it differs."""

    step: str
    task: Task
    turns: Turns
    comparison: Comparison | None
    choices: Choices | None = None

    def habits(self) -> Iterator[tuple[Any, ...]]:
        """Rows of the table of differences."""
        if self.comparison is None:
            return
        words: Mapping[str, Habit] = OF_SEGMENTS if self.step == "segments" else OF_ANSWERS
        for name, units, alone, shown in self.comparison.reasons:
            yield self.step, self.task.name, words[name].entry, words[name].does, units, alone, shown
        for difference in self.comparison.unexplained[:5]:
            shown = example(difference.ours, difference.theirs)
            yield self.step, self.task.name, "none", f"not explained ({difference.key})", 1, 1, shown
        if self.choices is not None:
            drawn = len(self.choices.drawn)
            yield "chosen pairs", self.task.name, "10, 17", "pairs are drawn without a seed", drawn, drawn, "-"


def _segments(task: Task, documents: pd.DataFrame, counter: TokenCounter) -> pd.DataFrame:
    kept: pd.DataFrame = preprocess(documents, task, tokenizer=counter).kept
    return kept


def _results(task: Task, answers: pd.DataFrame, counter: TokenCounter) -> pd.DataFrame:
    kept: pd.DataFrame = postprocess(answers, task, tokenizer=counter).kept
    return kept


def prepared(bench: Bench, documents: Documents) -> Iterator[Compared]:
    """Preprocessing of all documents for each task."""
    for task in DOCUMENT_TASKS:
        turns = bench.take_turns("preprocess", task, documents.partitions, partial(_segments, task))
        comparison = None
        if turns.theirs is not None:
            segmenting = Segmenting(task, bench.counter, special_tokens=bench.special_tokens)
            comparison = compare_segments(documents.frame, turns.ours, turns.theirs, segmenting)
        yield Compared("segments", task, turns, comparison)


def cleaned(bench: Bench, answers: dict[str, list[pd.DataFrame]]) -> Iterator[Compared]:
    """Postprocessing of the answers of each task."""
    for task in DOCUMENT_TASKS:
        frames = answers[task.name]
        turns = bench.take_turns("postprocess", task, frames, partial(_results, task))
        yield Compared("results", task, turns, *_why(bench, task, frames, turns))


def _why(
    bench: Bench, task: Task, frames: list[pd.DataFrame], turns: Turns
) -> tuple[Comparison | None, Choices | None]:
    if turns.theirs is None:
        return None, None
    answers = pd.concat(frames, ignore_index=True)
    answering = Answering(task, bench.counter, special_tokens=bench.special_tokens)
    if not answering.draws:
        return compare_answers(answers, turns.ours, turns.theirs, answering), None
    bench.ask("read_pairs", task, frames)
    read = bench.made("read_pairs", task)
    ours = {row: text for row, (text,) in answering.results(answers, frozenset()).items()}
    choices = compare_choices(
        answers,
        (_by_row(turns.ours, task), _by_row(turns.theirs, task)),
        (ours, _by_row(read, task)),
        Choosing(task, bench.counter),
    )
    return compare_answers(answers, turns.ours, read, answering), choices


def _by_row(results: pd.DataFrame, task: Task) -> dict[Any, str]:
    return dict(zip(results["row"], results[task.output_field], strict=True))


def asked(bench: Bench, documents: Documents, endpoint: Endpoint, wanted: int) -> dict[str, list[pd.DataFrame]]:
    """As many answers of each task as wanted, if there are so many documents; `row` numbers them."""
    return {task.name: list(_asked(bench, task, documents, endpoint, wanted)) for task in DOCUMENT_TASKS}


def _asked(bench: Bench, task: Task, documents: Documents, endpoint: Endpoint, wanted: int) -> Iterator[pd.DataFrame]:
    numbered = 0
    for part in documents.partitions:
        if numbered >= wanted:
            return
        segments = preprocess(part, task, tokenizer=bench.counter).kept.head(wanted - numbered)
        answers = generate(segments, task, endpoint=endpoint, config=GenerationConfig()).kept
        if len(answers):
            yield answers.assign(row=range(numbered, numbered + len(answers)))
        numbered += len(answers)
