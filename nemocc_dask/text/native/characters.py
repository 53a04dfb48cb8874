"""Which characters are in which class: what the library knows of scripts, space and signs."""

from __future__ import annotations

import re

import numpy as np

from nemocc_dask.text.layout import Flags
from nemocc_dask.text.patterns import SPACE

LETTERS = (
    "0-9A-Za-zªµºÀ-ÖØ-öø-ɏ\u0300-\u037d\u037f-\u0588\u0590-\u060b\u0610-\u061a"
    "\u0620-\u0669\u066e-\u06d3\u06d5-\u0963\u0966-\u0dff\u10a0-\u10ff\u1e00-\u1fff"
)
"""Letters of scripts that put space between words. A star right after one of them opens nothing: `2*3`."""
ALL_LETTERS = LETTERS + "\u0e00-\u109f\u1100-\u1dff\u3041-\u30fa\u30fc-\u30ff\u3400-\u9fff\uac00-\ud7a3"
"""Thai, Chinese, Japanese and Korean too: bold may stand inside words there, an underscore may not."""
_SIGNS = "!\"#$%&'()*+,./:;<=>?@[\\]^_`{|}~"


def _members(written: str) -> Flags:
    """bool (65536,): which code points are in a class written as inside a pattern's brackets, without escapes."""
    table = np.zeros(1 << 16, bool)
    for first, last, single in re.findall("(.)-(.)|(.)", written, re.DOTALL):
        table[ord(first or single) : ord(last or single) + 1] = True
    return table


# What words between signs may be. Those in italics are chosen with more care: lone signs are products and names.
_LONE = ~_members(SPACE + _SIGNS + "-")
_NEVER_IN_STARS = "*`()[]\\/=|<>{}"
_NEVER_IN_UNDERSCORES = '_*`()[]\\=|<>{}"$'
CLASSES: dict[str, Flags] = {
    "SPACE": _members(SPACE),
    "LETTER": _members(LETTERS),
    "ANY_LETTER": _members(ALL_LETTERS),
    # A sign beside a backtick is inside of code, nearly always: what it may do outside is not worth looking.
    "NO_STAR_OPENS_AFTER": _members(LETTERS + ")]}^`"),
    "NO_UNDERSCORE_OPENS_AFTER": _members(ALL_LETTERS + ")]}./\\@#$&=^~%<>:`"),
    "NO_STAR_CLOSES_BEFORE": _members(LETTERS + "`"),
    "NO_UNDERSCORE_CLOSES_BEFORE": _members(ALL_LETTERS + "`"),
    "BEFORE_WILDCARD": _members("./"),
    "AFTER_WILDCARD": _members("0-9A-Za-z.?+)|($\"'_"),
    "LOWER": _members("a-z"),
    "OPENS_WORD": _members(SPACE + "([\"'“‘«"),
    "TIES_TO_LETTER": _members(".@/([="),
    "IN_ENDING": _members(LETTERS + " ’'-"),
    "BOLD_FIRST": ~_members(SPACE + "*`\\),;/=|>"),
    "BOLD_INSIDE": ~_members("*`\\\n"),
    "BOLD_LAST": ~_members(SPACE + "*`\\([/=&"),
    "STARRED_FIRST": _LONE | _members("\"'#$@"),
    "STARRED_INSIDE": ~_members(_NEVER_IN_STARS.replace("/", "\n")),
    "STARRED_LAST": ~_members(SPACE + _NEVER_IN_STARS + "+&^-"),
    "UNDERSCORED_FIRST": _LONE | _members("'#@-"),
    "UNDERSCORED_INSIDE": ~_members(_NEVER_IN_UNDERSCORES + "\n"),
    "UNDERSCORED_LAST": ~_members(SPACE + _NEVER_IN_UNDERSCORES + "/+&^"),
}
"""Name of each class, in the order of `enum Class` in `markup.h`: bool (65536,), which code points are in it."""
TABLE = np.zeros(1 << 16, np.uint32)
for _bit, _flags in enumerate(CLASSES.values()):
    TABLE |= _flags.astype(np.uint32) << _bit
"""uint32 (65536,): the classes of each code point of 16 bits, a bit for each in their order."""
