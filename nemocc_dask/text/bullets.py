"""Knowledge lists: whatever bullets a model chose, one fact a line comes out.

What is recognised is written twice: in C (`native/bullets.c`), which goes through a list line by line, and in patterns,
for lists that stay on a device. Both are held to the same answers.
"""

from __future__ import annotations

import pyarrow as pa

from nemocc_dask.text.native.library import shortened
from nemocc_dask.text.patterns import SPACE, any_case

_SPACE = f"[{SPACE}]"
_NUMBER = r"[0-9]{1,3}"
# Facts begin with dashes and numbers too (-5 °C, 1.5 million): as bullets these need white space after them.
_BULLET = rf"(?:(?:[-*+–—·]|{_NUMBER}[.)]|\({_NUMBER}\))(?:{_SPACE}+|$)|[•▪◦‣]{_SPACE}*)"
BULLETS = f"^{_SPACE}*{_BULLET}+"
INDENTED = f"^{_SPACE}"
ENDS_WITH_COLON = "[:：][*_ \t]*$"
SENTENCE = '[.!?。！？]["”’)*_]*$'
_OPENINGS = ("here is", "here are", "here's", "here’s", "sure", "below", "the following")
PREAMBLE = f"^[*_# ]*(?:{'|'.join(map(any_case, _OPENINGS))})(?:[^0-9A-Za-z]|$)"
HEADING = "^#{1,6} "


def normalize_bullets(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """One fact a line, without bullets, numbers, headings and preamble; empty where no fact is left.

    What ends with a colon only announces facts and goes. In a list without bullets every other line is a
    fact. In one with bullets an indented line without one continues the fact above, joined to it by a
    space, and two more kinds of line are no facts: Markdown headings, and before the first bullet whatever
    is no plain sentence or reads like a preamble (Here is, Sure, Below, The following).

    >>> text = "Here is the list:\\n\\n* Iron rusts.\\n* Gold\\n  does not."
    >>> normalize_bullets(pa.array([text, None], pa.large_string())).to_pylist()
    ['Iron rusts.\\nGold does not.', None]
    """
    return shortened("nemocc_normalize_bullets", texts)
