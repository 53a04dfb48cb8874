"""Takes sentences, words and numbers out of a text, cheaply and in several languages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby, pairwise

_ABBREVIATIONS = "mr mrs ms dr prof st vs etc fig no vol jr sr inc bzw usw ca nr bd sra sig dott mme mlle art cf"


def _not_after_abbreviations() -> str:
    """Lookbehinds, one for each length of word because `re` wants them of fixed width."""
    known = sorted(_ABBREVIATIONS.split(), key=len)
    spelled = {
        size: [form for word in words for form in (word, word.capitalize())] for size, words in groupby(known, len)
    }
    return "".join(rf"(?<!\b(?:{'|'.join(forms)})\.)" for forms in spelled.values())


_CLOSING = r"[\"'”’»)\]]*"
_END = re.compile(
    rf"""[.!?…。！？।\n]                  # a plain set first: `re` finds it several times faster
    (?: (?<=[!?…]) [.!?…]* {_CLOSING}\s+
      | (?<=\.) (?: [.!?…]+ | (?<!\b[^\W\d_]\.) {_not_after_abbreviations()} ) {_CLOSING}\s+ (?![a-zà-öø-ÿ])
      | (?<=[。！？।]) [”’」』）]*
      | (?<=\n) )""",
    re.VERBOSE,
)
_WORD = re.compile(r"[^\W\d_]{4,20}")
_ASCII_WORD = re.compile(r"[A-Za-z]{4,20}")
"""Finds the same in ASCII, in half of the time."""
_NUMBER = re.compile(r"(?<![\w.,])\d{1,6}(?![\w.,]\d|\w)")
_UNSPACED = re.compile(r"[\u0e00-\u0eff\u3040-\u9fff]{6}")
"""Thai, Lao, Japanese and Chinese, which put no spaces between words."""
TELLING_WORDS = 3
_NOTHING = "There is no text to work on."
LONGEST_QUOTE_CHARS = 140
"""Longest piece of a sentence quoted in a pair or a list, so that eight pairs stay near 600 tokens."""


@lru_cache(maxsize=16)
def sentences(text: str) -> tuple[str, ...]:
    """The text's sentences in order, never none: an empty text gives one sentence that says so.

    A full stop ends no sentence after a known abbreviation or a single letter, nor before a small letter. The
    last texts are remembered, because several answers to one request read the same document.

    >>> sentences("Dr. Ito came, i.e. late. 彼は来た。Il pleut !\\nEnd")
    ('Dr. Ito came, i.e. late.', '彼は来た。', 'Il pleut !', 'End')
    """
    ends = [end.end() for end in _END.finditer(text)]
    found = (text[start:end].strip() for start, end in pairwise([0, *ends, len(text)]))
    return tuple(sentence for sentence in found if sentence) or (_NOTHING,)


def telling(found: Sequence[str]) -> Sequence[str]:
    """The sentences of at least `TELLING_WORDS` words, as a bare ``` tells nothing; all where none is.

    >>> telling(["```", "A river flows north."]), telling(["Menu"])
    (['A river flows north.'], ['Menu'])
    """
    return [
        sentence for sentence in found if sentence.count(" ") >= TELLING_WORDS - 1 or _UNSPACED.search(sentence)
    ] or found


def words(sentence: str) -> list[str]:
    """Its words of at least four letters, or the sentence's beginning where it has none.

    >>> words("The river runs 40 km"), words("40 km")
    (['river', 'runs'], ['40 km'])
    """
    return (_ASCII_WORD if sentence.isascii() else _WORD).findall(sentence) or [sentence[:20]]


def numbers(sentence: str) -> list[int]:
    """Its plain whole numbers.

    >>> numbers("In 1969, 3.5 tons and 12 men")
    [1969, 12]
    """
    return [int(number) for number in _NUMBER.findall(sentence) if number.isascii()]


def clipped(sentence: str) -> str:
    """The sentence, or its first words where it is longer than `LONGEST_QUOTE_CHARS`."""
    if len(sentence) <= LONGEST_QUOTE_CHARS:
        return sentence
    return sentence[:LONGEST_QUOTE_CHARS].rpartition(" ")[0] or sentence[:LONGEST_QUOTE_CHARS]
