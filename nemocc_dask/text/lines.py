"""Lines of a text that are no part of it."""

from __future__ import annotations

from functools import cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.errors import SettingError
from nemocc_dask.text.blanks import is_blank, strip
from nemocc_dask.text.layout import Flags, Integers, joined, running_total, to_flags
from nemocc_dask.text.patterns import any_case, matches
from nemocc_dask.text.segments import split

PASSAGE_LABEL = f"[#>*_ \t]*{any_case('passage')}[ \t]*(?:#?[0-9]+)?[ \t*_]*[:.]?[ \t*_]*"
"""Pattern of a line that only says `Passage:`, `**Passage 1:**`, `## Passage 2` or the like, in any case."""


def remove_lines(texts: pa.LargeStringArray, pattern: str) -> pa.LargeStringArray:
    """Without the lines that match `pattern` as a whole, white space at their ends aside.

    Where a line went, blank lines at both ends of the text go too. Rows without such a line stay as they are,
    byte for byte. Raises `SettingError` where RE2 cannot read the pattern.

    >>> texts = pa.array(["Passage 1:\\n\\nIron rusts.", "A passage."], pa.large_string())
    >>> remove_lines(texts, PASSAGE_LABEL).to_pylist()
    ['Iron rusts.', 'A passage.']
    """
    whole_line = readable(pattern)
    lines, rows = split(texts, "\n")
    unwanted = to_flags(matches(strip(lines), whole_line))
    touched = np.zeros(len(texts), bool)
    touched[rows[unwanted]] = True
    if not touched.any():
        return texts
    wanted = touched[rows] & ~unwanted
    bounds = running_total(np.bincount(rows[wanted], minlength=len(texts))[touched])
    kept = lines.filter(pa.array(wanted))
    stays = without_blank_ends(to_flags(is_blank(kept)), bounds)
    if not stays.all():
        kept, bounds = kept.filter(pa.array(stays)), running_total(stays)[bounds]
    return pc.replace_with_mask(texts, pa.array(touched), joined(kept, bounds, "\n"))


@cache
def readable(pattern: str) -> str:
    """The pattern, of a whole line. Raises `SettingError` where RE2 cannot read it.

    >>> readable("a|b")
    '^(?:a|b)$'
    """
    whole_line = f"^(?:{pattern})$"
    try:
        pc.match_substring_regex(pa.array([""], pa.large_string()), whole_line)
    except pa.ArrowInvalid as error:
        raise SettingError(f"The pattern {pattern!r} for lines to remove cannot be read by RE2: {error}") from None
    return whole_line


def without_blank_ends(blank: Flags, bounds: Integers) -> Flags:
    """bool, one per line: does it stay when blank lines go from both ends of its text?

    blank: bool (lines,). bounds: int64 (texts + 1,): text i is the lines `bounds[i]:bounds[i + 1]`.

    Of several lines that are all blank the last one stays, white space and all.

    >>> without_blank_ends(np.array([True, False, True, True, True]), np.array([0, 3, 5])).tolist()
    [False, True, False, False, True]
    """
    written_before = running_total(~blank)
    begins, ends = bounds[:-1], bounds[1:]
    texts = np.repeat(np.arange(len(begins)), np.diff(bounds))
    after_first = written_before[1:] > written_before[begins][texts]
    before_last = written_before[:-1] < written_before[ends][texts]
    stays: Flags = after_first & before_last
    all_blank = (written_before[begins] == written_before[ends]) & (ends - begins > 1)
    stays[ends[all_blank] - 1] = True
    return stays
