"""Questions and answers: read from whatever layout a model chose, written in one.

Here a format is parsed, row by row, with Python's `re`; quantifiers that overlap are bounded, so that no
text can keep the parser busy for long. Patterns of labels are slow where they fail, so they are tried only
where a line has the letters of one.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

PAIRS_EARNED = 10
"""Most pairs that the published recipe keeps for each `TOKENS_PER_EARNING` tokens of a segment."""
TOKENS_PER_EARNING = 150
BETWEEN_PAIRS = "\n\n"
RANK_BYTES = 4
"""Bytes of a draw's digest by which one pair is ranked."""
RANKED_AT_ONCE = blake2b.MAX_DIGEST_SIZE // RANK_BYTES
"""Pairs that one digest ranks."""

_MOST_DRESS = 12
_DRESS = rf"[\s>#*_+•–—·▪◦‣-]{{0,{_MOST_DRESS}}}"
_NUMBER = r"(?:\s?#?\d{1,3})?(?:\s?\([^()\n]{1,40}\))?"
_COLON = r"\s{0,3}(?P<early>[*_]{0,3})\s?(?P<colon>[:：])(?P<late>[*_]{0,3})"
_AFTER_SENTENCE = r"(?<=[?.!…)\]\"”'’*_？。！])\s"


def _label(words: str) -> re.Pattern[str]:
    """A label that begins a line: with a colon, or filling the line."""
    before = rf"(?P<before>{_DRESS}(?:\(?\d{{1,3}}[.)]{_DRESS})?)"
    return re.compile(rf"{before}(?:{words}){_NUMBER}(?:{_COLON}|(?P<alone>[*_]{{0,3}})\s*$)", re.IGNORECASE)


def _inline_label(preceded: str, words: str) -> re.Pattern[str]:
    return re.compile(rf"{preceded}(?P<before>{_DRESS})(?:{words}){_NUMBER}{_COLON}", re.IGNORECASE)


class _AnswerLabels(NamedTuple):
    """How the answer to a question may be marked; `word` is found wherever a label is."""

    word: re.Pattern[str]
    begins_line: re.Pattern[str]
    after_sentence: re.Pattern[str]
    after_space: re.Pattern[str]

    @classmethod
    def of(cls, words: str) -> _AnswerLabels:
        return cls(
            re.compile(_in_any_case(words)),
            _label(words),
            _inline_label(_AFTER_SENTENCE, words),
            _inline_label(r"\s", words),
        )


def _in_any_case(words: str) -> str:
    """As with IGNORECASE, for the letters of labels; Python skips to a class of letters faster than to a letter."""
    return re.sub("[a-z]", lambda letter: f"[{letter[0]}{letter[0].upper()}{'ſ' * (letter[0] == 's')}]", words)


_QUESTION = _label("question|(?P<short>q)")
_ANSWER = _AnswerLabels.of("answer")
_ANSWER_OR_A = _AnswerLabels.of("answer|a")

_NOTE = re.compile(
    r"[\s>*_(\[-]{0,8}(?:note[*_]{0,3}:|i hope\b|let me know\b|these questions\b|feel free\b)", re.IGNORECASE
)
_SEPARATOR = re.compile(r"\s*(?:[-*_=]{3,}|#{1,6}\s.*|\(?\d{1,3}[.)])?\s*$")


class Pair(NamedTuple):
    """A question and its answer, both without labels and white space at the ends."""

    question: str
    answer: str


def parse_pairs(text: str) -> list[Pair]:
    """The pairs in a model's answer, in their order; none where there are none, never an error.

    A question begins at a line labelled `Question:` or `Q:`, whatever bullet, number, heading or emphasis
    it wears, and lasts to the next one. Its answer begins at a label on the same line or at the start of a
    later one; `A:` is a label only where the question said `Q:`, for it is an option of a multiple choice
    otherwise. Text before the first question is no part of a pair, nor is a note after the last answer:
    what follows a blank line there, or reads like a note. A question without an answer is dropped.

    >>> parse_pairs("Sure!\\n1. **Question:** What rusts? Answer: Iron.\\n\\nLet me know if you need more.")
    [Pair(question='What rusts?', answer='Iron.')]
    """
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    labels = [(place, label) for place, line in enumerate(lines) if (label := _question_label(line))]
    ends = [place for place, _ in labels[1:]] + [len(lines)]
    pairs = (
        _pair(label, lines[place + 1 : end], last=end == len(lines))
        for (place, label), end in zip(labels, ends, strict=False)  # one end and no label where there is no question
    )
    return [pair for pair in pairs if pair.question and pair.answer]


def _question_label(line: str) -> re.Match[str] | None:
    if "q" not in line and "Q" not in line:
        return None
    match = _QUESTION.match(line)
    return match if _is_label(match) else None


def _is_label(match: re.Match[str] | None) -> bool:
    """Without a colon the word alone is a label only in bold or as a heading."""
    return match is not None and bool(match["colon"] or set(match["before"]) & set("#*_"))


def _pair(label: re.Match[str], following: list[str], *, last: bool) -> Pair:
    """The question that begins at the label, and its answer; `following` are the lines up to the next question."""
    block = [label.string[label.end() :], *following]
    place, answer_label = _answer_label(block, _ANSWER_OR_A if label["short"] else _ANSWER)
    if answer_label is None:
        return Pair("", "")
    question = [*block[:place], block[place][: answer_label.start()]]
    answer = [block[place][answer_label.end() :], *block[place + 1 :]]
    return Pair(_text(question, label), _text(_own_lines(answer, last=last), answer_label))


def _answer_label(block: list[str], labels: _AnswerLabels) -> tuple[int, re.Match[str] | None]:
    """The line and match of the answer's label.

    It is looked for after a sentence on the question's own line, then at the start of a later line, then
    after any white space on the question's own line: `What is the answer: A or B?` is not split where a
    line has the label.
    """
    word = labels.word.search(block[0])
    begin = max(0, word.start() - _MOST_DRESS - 1) if word else 0  # the white space before the first label's dress
    if word and (found := labels.after_sentence.search(block[0], begin)):
        return 0, found
    for place, line in enumerate(block[1:], start=1):
        if labels.word.search(line) and _is_label(found := labels.begins_line.match(line)):
            return place, found
    return 0, labels.after_space.search(block[0], begin) if word else None


def _own_lines(answer: list[str], *, last: bool) -> list[str]:
    """The lines that are the answer's own: no orphaned second answer, no note, no rule at the end."""
    if len(answer) == 1:
        return answer
    begin = next((place for place, line in enumerate(answer) if line.strip()), len(answer))
    foreign = (place for place in range(begin + 1, len(answer)) if _is_foreign(answer, place, last=last))
    own = answer[: next(foreign, len(answer))]
    while len(own) > begin + 1 and _SEPARATOR.match(own[-1]):
        own.pop()
    return own


def _is_foreign(answer: list[str], place: int, *, last: bool) -> bool:
    if last and (not answer[place].strip() or _NOTE.match(answer[place])):
        return True
    if answer[place - 1].strip() or not _ANSWER.word.search(answer[place]):
        return False
    return _is_label(_ANSWER.begins_line.match(answer[place]))


def _text(lines: list[str], label: re.Match[str]) -> str:
    """The lines as one text, without the end of emphasis that began before the label."""
    text = "\n".join(lines).strip()
    before = label["before"]
    if not before or before[-1] not in "*_":
        return text
    opened = before[len(before.rstrip("*_")) :]
    if label["early"] or label["late"] or label.groupdict().get("alone"):
        return text
    return text.replace(opened, "", 1).strip()


def format_pairs(pairs: Iterable[tuple[str, str]]) -> str:
    """The pairs as text: each a `Question:` and an `Answer:` line, a blank line between pairs.

    >>> print(format_pairs([("What rusts?", "Iron.")]))
    Question: What rusts?
    Answer: Iron.
    """
    return BETWEEN_PAIRS.join(f"Question: {question}\nAnswer: {answer}" for question, answer in pairs)


def choose_pairs(pairs: Sequence[tuple[str, str]], *, keep: int, draw: str) -> list[tuple[str, str]]:
    """At most `keep` of the pairs in an order that `draw` decides; the sequence given is not changed.

    draw: what the choice is to depend on, such as a seed and the name of a row. Pairs are ranked by the bytes
    of its BLAKE2b digest, four for each, so the choice is the same on every machine and Python version.

    >>> choose_pairs([("q", "a"), ("r", "b"), ("s", "c")], keep=2, draw="0|row 7")
    [('q', 'a'), ('s', 'c')]
    """
    order = sorted(range(len(pairs)), key=_ranks(draw, len(pairs)).__getitem__)
    return [pairs[place] for place in order[: max(keep, 0)]]


def _ranks(draw: str, count: int) -> list[bytes]:
    """Four bytes for each of `count` things."""
    digests = b"".join(ranking_digest(draw, block) for block in range(-(-count // RANKED_AT_ONCE)))
    return [digests[start : start + RANK_BYTES] for start in range(0, count * RANK_BYTES, RANK_BYTES)]


def ranking_digest(draw: str, block: int = 0) -> bytes:
    """The bytes that rank `RANKED_AT_ONCE` things, `RANK_BYTES` each; surrogates in the name are no matter.

    >>> ranking_digest("0|row 7")[:RANK_BYTES].hex()
    '8575b7ba'
    """
    # The first block's name is the draw's own; a salt, which no draw can imitate, tells the others apart.
    return blake2b(draw.encode("utf-8", "surrogatepass"), salt=block.to_bytes(8)).digest()


def earned_pairs(segment_tokens: int) -> int:
    """How many pairs a segment earns: max(1, tokens * 10 // 150), the published recipe's upper bound.

    >>> earned_pairs(10), earned_pairs(300)
    (1, 20)
    """
    return max(1, segment_tokens * PAIRS_EARNED // TOKENS_PER_EARNING)
