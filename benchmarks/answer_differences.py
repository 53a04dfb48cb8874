"""What becomes of an answer on its way to a result, step by step, with any of Curator's habits put on."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from itertools import groupby
from typing import Any

import pandas as pd
import pyarrow as pa
from differences import Comparison, Habit, Habits, Texts, compare

from nemocc_dask import Task, TokenCounter
from nemocc_dask.tasks.prompts import PAIRS_MARKER
from nemocc_dask.text import arrow
from nemocc_dask.text.pairs import format_pairs, parse_pairs

MARKDOWN, QUOTES, BULLETS, PAIRS, LAYOUT = "markdown", "quotes", "bullets", "pairs", "layout"
MARKER, GAP, BOS, PASSAGES, ENDS = "marker", "gap", "bos", "passages", "ends"
HABITS: Mapping[str, Habit] = {
    MARKDOWN: Habit("7", "stars and underscores go wherever there are two on a line, a link becomes its address"),
    QUOTES: Habit("8", 'only a first and a last `"` come off, whatever they enclose; in knowledge passages none do'),
    BULLETS: Habit("9", "only `- ` is a bullet, and a first line without it is dropped, fact or not"),
    PAIRS: Habit("10", "pairs are read only where every line is `Question:`, `- Question:` or goes on with a pair"),
    MARKER: Habit("11", "only the bare marker at the very start counts"),
    GAP: Habit("12", "segments of a document are joined over those that are missing"),
    BOS: Habit("13", "the tokens that a tokenizer puts round a text are counted"),
    LAYOUT: Habit("layout", "question and answer stay on the line they came on; here the answer begins one"),
    PASSAGES: Habit("recipe", "only `Passage:` and `Passage 1:` to `3:` are taken for labels of passages"),
    ENDS: Habit("space", "white space at the ends stays"),
}
_HABITS_OF_STEPS = {
    "remove_markdown": (MARKDOWN,), "keep_prefixed": (MARKER,), "slice_after": (MARKER,), "remove_quotation": (QUOTES,),
    "remove_lines": (PASSAGES,), "normalize_bullets": (BULLETS,), "keep_pairs": (PAIRS, LAYOUT),
}  # fmt: skip
KNOWN_LABELS = {"Passage:", *(f"Passage {number}:" for number in (1, 2, 3))}

Column = list[str | None]
"""Answers, None where one was dropped."""
Step = Callable[[Column], Column]


def asked_marker(task: Task) -> str:
    """The line that the task's answers have to begin with; empty where they need not."""
    markers = [step.options["prefix"] for step in task.steps if step.name == "keep_prefixed"]
    return str(markers[0]) if markers else ""


# --- Curator's steps, as far as they are not ours ---------------------------------------------------------------------

_SIGNS = [re.compile(f"{sign}(.*?){sign}") for sign in (r"\*\*", r"\*", "_")]
_LINK = re.compile(r"\[.*?\]\((.*?)\)")


def blind_markdown(text: str) -> str:
    """Whatever stands between two like signs on a line without them, and the address of each link.

    >>> blind_markdown("my_snake_case, [the docs](x.y)")
    'mysnakecase, x.y'
    """
    for sign in (*_SIGNS, _LINK):
        text = sign.sub(r"\1", text)
    return text


def bare_marker(text: str, marker: str) -> str | None:
    """What follows a marker that the text begins with, None where it does not."""
    return text.removeprefix(marker).strip() if text.startswith(marker) else None


def outer_quotes(text: str) -> str:
    """Without a straight mark at both ends, unless the first of several lines ends with one."""
    quoted = len(text.strip()) > 2 and text.startswith('"') and text.endswith('"')
    several_lines = "\n" in text.strip()
    return text[1:-1] if quoted and not (several_lines and text.partition("\n")[0].endswith('"')) else text


def dashes(text: str) -> str:
    """The lines without `- ` or two spaces before them; not the first one, where it begins with no dash."""
    first, *others = text.split("\n")
    lines = [first, *others] if first.startswith("-") else others
    return "\n".join(line[2:].strip() if line.startswith(("- ", "  ")) else line for line in lines)


def known_labels(text: str) -> str:
    """Without the lines that are one of the labels, to the letter."""
    return "\n".join(line for line in text.split("\n") if line not in KNOWN_LABELS)


def strict_pairs(text: str, marker: str) -> list[str]:
    """Pairs as texts of one or more lines; none where a line before the first question is not the marker."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    lines = [line[2:].strip() if line.startswith("- ") else line for line in lines]
    found: list[list[str]] = []
    for line in lines[1:] if lines[:1] == [marker] else lines:
        if line.startswith("Question:"):
            found.append([line])
        elif found:
            found[-1].append(line)
        else:
            return []
    return ["\n".join(pair) for pair in found]


# --- the model --------------------------------------------------------------------------------------------------------


class Answering:
    """The way from a task's answers to its results, column by column.

    For diverse QA it ends before any pair is chosen: all pairs in their order, after the source.
    special_tokens: how many the tokenizer puts round each text it is given to encode.
    """

    def __init__(self, task: Task, counter: TokenCounter, *, special_tokens: int) -> None:
        self.task, self.counter, self.special_tokens = task, counter, special_tokens
        self.marker = asked_marker(task) or PAIRS_MARKER
        self.draws = any(step.name == "keep_pairs" for step in task.steps)
        self.key = "id" if task.joins_segments else "row"

    @property
    def habits(self) -> set[str]:
        """Those that may show in this task's results: all others would change nothing."""
        of_steps = {habit for step in self.task.steps for habit in _HABITS_OF_STEPS[step.name]}
        others = {ENDS, *([GAP] if self.task.joins_segments else []), *([BOS] if self.special_tokens else [])}
        return of_steps | others

    def results(self, answers: pd.DataFrame, habits: Habits) -> dict[Any, Texts]:
        """What becomes of each answer, by row; by document where the task joins segments."""
        texts = self._bounded(answers[self.task.output_field].tolist(), habits, most=self.task.max_answer_tokens)
        sources = dict(enumerate(answers["text"]))
        for step in self.task.steps:
            texts = self._step(step.name, dict(step.options), sources, habits)(texts)
        if ENDS not in habits:
            texts = _kernel(arrow.strip)(texts)
        kept = answers.assign(result=pd.Series(texts, index=answers.index, dtype=object))
        kept = kept[[text is not None and bool(text.strip()) for text in texts]]
        return self._long_enough(self._joined(kept, habits) if self.task.joins_segments else _single(kept), habits)

    def _step(self, name: str, options: dict[str, Any], sources: Mapping[int, str], habits: Habits) -> Step:
        """One step of the task, Curator's where its habit is put on."""
        pairs = partial(self._all_pairs, sources=sources, habits=habits)
        steps: dict[str, tuple[Step, Step]] = {
            "remove_markdown": (_kernel(arrow.remove_markdown), _each(blind_markdown)),
            "keep_prefixed": (self._marked, _same),
            "slice_after": (self._sliced, _each(partial(bare_marker, marker=self.marker))),
            "remove_quotation": (
                _kernel(arrow.remove_quotation), _each(outer_quotes) if asked_marker(self.task) else _same,
            ),
            "remove_lines": (_kernel(partial(arrow.remove_lines, **options)), _each(known_labels)),
            "normalize_bullets": (_kernel(arrow.normalize_bullets), _each(dashes)),
            "keep_pairs": (pairs, pairs),
        }  # fmt: skip
        ours, theirs = steps[name]
        return theirs if _HABITS_OF_STEPS[name][0] in habits else ours

    def _marked(self, texts: Column) -> Column:
        present = arrow.starts_with_marker(pa.array(texts, pa.large_string()), self.marker).to_pylist()
        return [text if marked else None for text, marked in zip(texts, present, strict=True)]

    def _sliced(self, texts: Column) -> Column:
        return _kernel(partial(arrow.slice_after_marker, marker=self.marker))(texts)

    def _all_pairs(self, texts: Column, *, sources: Mapping[int, str], habits: Habits) -> Column:
        return [
            _after_source(sources[at], pairs, habits) if text and (pairs := self.pairs(text, habits)) else None
            for at, text in enumerate(texts)
        ]

    def pairs(self, text: str, habits: Habits) -> list[str]:
        """The pairs of a cleaned answer, as texts."""
        if PAIRS in habits:
            return strict_pairs(text, self.marker)
        if LAYOUT in habits:
            return [f"Question: {question} Answer: {answer}" for question, answer in parse_pairs(text)]
        return [format_pairs([pair]) for pair in parse_pairs(text)]

    def _bounded(self, texts: Column, habits: Habits, *, least: int = 0, most: float = float("inf")) -> Column:
        special = self.special_tokens if BOS in habits else 0
        counts = self.counter.count(pa.array(texts, pa.large_string())) + special
        return [text if least <= count <= most else None for text, count in zip(texts, counts, strict=True)]

    def _long_enough(self, results: dict[Any, Texts], habits: Habits) -> dict[Any, Texts]:
        if self.draws:
            return results
        units = [(key, text) for key, texts in results.items() for text in texts]
        bounded = self._bounded([text for _, text in units], habits, least=self.task.min_result_tokens)
        kept: dict[Any, Texts] = {}
        for (key, _), text in zip(units, bounded, strict=True):
            kept[key] = kept.get(key, ()) + ((text,) if text is not None else ())
        return {key: texts for key, texts in kept.items() if texts}

    @staticmethod
    def _joined(kept: pd.DataFrame, habits: Habits) -> dict[Any, Texts]:
        """By document: the results of neighbours as one text, or of all segments there are."""
        joined = {}
        for key, rows in kept.sort_values("segment_id", kind="stable").groupby("id", sort=False):
            places = list(zip(rows["segment_id"], rows["result"], strict=True))
            runs = groupby(enumerate(places), lambda item: 0 if GAP in habits else item[1][0] - item[0])
            joined[key] = tuple("\n".join(result for _, (_, result) in run) for _, run in runs)
        return joined


def compare_answers(
    answers: pd.DataFrame, ours: pd.DataFrame, theirs: pd.DataFrame, answering: Answering
) -> Comparison:
    """Rows of `answers` have a number of their own in `row`; so have ours and theirs. For diverse QA ours is ignored:
    it is what the model makes, see `chosen` for what is chosen of it."""
    grouped = answers.groupby(answering.key).indices

    def model(habits: Habits, keys: Collection[Any]) -> dict[Any, Texts]:
        wanted = sorted(place for key in keys for place in grouped.get(key, ()))
        return answering.results(answers.iloc[wanted].reset_index(drop=True), habits)

    units = partial(_by_unit, field=answering.task.output_field, key=answering.key)
    made = answering.results(answers, frozenset()) if answering.draws else units(ours)
    return compare(made, units(theirs), model, answering.habits)


def _by_unit(results: pd.DataFrame, *, field: str, key: str) -> dict[Any, Texts]:
    ordered = results.sort_values("segment_id", kind="stable")
    found = ((name, tuple(text for text in texts if text)) for name, texts in ordered.groupby(key, sort=False)[field])
    return {name: texts for name, texts in found if texts}


def _single(kept: pd.DataFrame) -> dict[Any, Texts]:
    return {row: (text,) for row, text in zip(kept["row"], kept["result"], strict=True)}


def _after_source(source: str, pairs: Sequence[str], habits: Habits) -> str:
    return "\n\n".join([source if ENDS in habits else source.strip(), *pairs])


def _kernel(kernel: Callable[[pa.LargeStringArray], pa.LargeStringArray]) -> Step:
    def step(texts: Column) -> Column:
        cleaned: Column = kernel(pa.array(texts, pa.large_string())).to_pylist()
        return cleaned

    return step


def _each(clean: Callable[[str], str | None]) -> Step:
    return lambda texts: [None if text is None else clean(text) for text in texts]


def _same(texts: Column) -> Column:
    return texts
