"""Lines of a text that are no part of it."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.errors import SettingError
from nemocc_dask.text.blanks import strip
from nemocc_dask.text.layout import joined, running_total, to_flags
from nemocc_dask.text.patterns import SPACE, any_case, matches

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
    listed = pc.split_pattern(texts, "\n")
    unwanted = to_flags(matches(strip(listed.flatten()), whole_line))
    touched = np.zeros(len(texts), dtype=bool)
    touched[pc.list_parent_indices(listed).to_numpy()[unwanted]] = True
    where = pa.array(touched)
    return pc.replace_with_mask(texts, where, _joined_without(listed.filter(where), whole_line))


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


def _joined_without(listed: pa.ListArray, whole_line: str) -> pa.LargeStringArray:
    lines = listed.flatten()
    wanted = pc.invert(matches(strip(lines), whole_line))
    kept_before = running_total(to_flags(wanted))
    row_starts = running_total(pc.list_value_length(listed).to_numpy())
    return _without_blank_ends(joined(lines.filter(wanted), kept_before[row_starts], "\n"))


def _without_blank_ends(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    return pc.replace_substring_regex(texts, f"^[{SPACE}]*\n|\n[{SPACE}]*$|^[{SPACE}]+$", "")
