"""What is answered to a prompt: a table of formats, each known by words of the prompt, made of the document.

Nothing here says of a document what the document does not say; questions are the one thing of its own.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from nemocc_dask.simulate import untidy
from nemocc_dask.simulate.dice import Dice
from nemocc_dask.simulate.extract import clipped, sentences, telling
from nemocc_dask.simulate.facts import LANGUAGES
from nemocc_dask.simulate.pairs import pairs
from nemocc_dask.simulate.prompt import Prompt

PARAPHRASE_SHARE, KNOWLEDGE_SHARE, DISTILL_SHARE, LIST_SHARE = 0.85, 0.7, 0.45, 0.5
"""How much of a document's sentences each format keeps; the order is that of the published token counts."""
MOST_FACTS = 14
PASSAGE_SENTENCES = 4
FIRST_SENTENCES = 3
LANGUAGE_CODE = re.compile(r"\[(EN|FR|DE|ES|IT)\]")

Compose = Callable[[Prompt, Dice], str]


def _kept(prompt: Prompt, dice: Dice, kept_share: float) -> list[str]:
    """Some of the sentences; never all of several, so that another seed can choose others."""
    found = sentences(prompt.document)
    return dice.some(found, max(1, min(len(found) - 1, round(kept_share * len(found)))))


def _paraphrase(prompt: Prompt, dice: Dice) -> str:
    return " ".join(_kept(prompt, dice, PARAPHRASE_SHARE))


def _distill(prompt: Prompt, dice: Dice) -> str:
    return " ".join(_kept(prompt, dice, DISTILL_SHARE))


def _question_list(prompt: Prompt, dice: Dice) -> str:
    return "\n".join(
        f"- Question: {question} Answer: {answer}"
        for question, answer in pairs(telling(sentences(prompt.document)), dice)
    )


def _passages(prompt: Prompt, dice: Dice) -> str:
    """Blocks of sentences, in half of the answers each under a line `Passage N:`."""
    kept, labelled = _kept(prompt, dice, KNOWLEDGE_SHARE), dice.chance(0.5)
    blocks = [" ".join(kept[at : at + PASSAGE_SENTENCES]) for at in range(0, len(kept), PASSAGE_SENTENCES)]
    return "\n\n".join(f"Passage {at}:\n{block}" if labelled else block for at, block in enumerate(blocks, 1))


def _fact_list(prompt: Prompt, dice: Dice) -> str:
    facts = dice.some(telling(_kept(prompt, dice, LIST_SHARE)), MOST_FACTS)
    return "\n".join(f"- {clipped(fact)}" for fact in facts)


def _foreign_pair(prompt: Prompt, dice: Dice) -> str:
    """A question and its answer in the prompt's language: of several codes, the language named most."""
    codes = dict.fromkeys(LANGUAGE_CODE.findall(prompt.instructions))
    code = max(codes, key=lambda code: prompt.instructions.count(LANGUAGES[code].name))
    question, answer = dice.pick(LANGUAGES[code].facts)
    return f"[{code}] {question}\n{answer}"


def _beginning(prompt: Prompt, dice: Dice) -> str:
    """The first sentences, at most `FIRST_SENTENCES`; how many is what a seed can change."""
    return " ".join(sentences(prompt.document)[: 1 + dice.below(FIRST_SENTENCES)])


@dataclass(frozen=True)
class Format:
    """A row of the table.

    name: as it stands in the statistics.
    asked_by: found in the instructions of a prompt that wants this format.
    compose: makes the answer's body.
    marker: the line the answer begins with, if any.
    habits: how such answers go untidy.
    """

    name: str
    asked_by: re.Pattern[str]
    compose: Compose
    marker: str = ""
    habits: Sequence[untidy.Habit] = (untidy.leading_blank_line,)


def _marked(name: str, marker: str, compose: Compose, *habits: untidy.Habit) -> Format:
    return Format(name, re.compile(re.escape(marker)), compose, marker, (*_ANY_MARKER, *habits))


_ANY_MARKER = (untidy.leading_blank_line, untidy.bold_marker)
_PROSE = (untidy.quoted, untidy.curly_quoted)
_LIST = (untidy.eager_preamble, untidy.numbered, untidy.starred)

FORMATS: tuple[Format, ...] = (
    _marked("wikipedia_paraphrasing", "Here is a paraphrased version:", _paraphrase, *_PROSE),
    _marked("diverse_qa", "Here are the questions and answers based on the provided text:", _question_list, *_LIST),
    _marked("distill", "Paraphrased Text:", _distill, *_PROSE),
    Format(
        "extract_knowledge",
        re.compile("knowledge passages|Passage"),
        _passages,
        habits=(untidy.leading_blank_line, untidy.quoted),
    ),
    Format(
        "knowledge_list",
        re.compile("[Bb]ulleted list"),
        _fact_list,
        habits=(untidy.leading_blank_line, *_LIST),
    ),
    Format("multilingual_qa", LANGUAGE_CODE, _foreign_pair),
    Format("beginning", re.compile(""), _beginning),
)
"""Tried from top to bottom; the last one fits every prompt."""


@lru_cache(maxsize=64)
def format_of(instructions: str) -> Format:
    """The first format whose words the instructions have."""
    return next(row for row in FORMATS if row.asked_by.search(instructions))


def answer_to(prompt: Prompt, wanted: Format, dice: Dice) -> str:
    """One whole answer, before any limit on its length."""
    draft = untidy.Draft(wanted.compose(prompt, dice), wanted.marker)
    return untidy.perhaps_untidy(draft, tuple(wanted.habits), dice).text()
