"""Lines of a text, and the little that every cleaning kernel shares: white space, letter case, the fixpoint.

Each kernel takes a `pa.LargeStringArray` of one chunk and gives one of the same length back. A null stays
null, a row never looks at its neighbours, nothing gets longer, and doing it twice is doing it once.

Patterns keep to what RE2, Python's `re` and cuDF read alike: classes spelled out, no lookaround, no flags.
The three disagree about ``\\s``, ``\\w`` and ``\\b`` outside ASCII, hence `SPACE` and `any_case`.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.errors import SettingError

SPACE = "\t\n\x0b\x0c\r\x1c\x1d\x1e\x1f \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
"""White space as the inside of a character class; the characters that `str.strip` takes off."""
SPACES = "".join(chr(point) for point in range(0x3001) if chr(point).isspace())
"""The same characters one by one, for trimming."""


def any_case(words: str) -> str:
    """A pattern for `words` in any mixture of letter cases, any white space where they have some.

    >>> any_case("No.1")
    '[nN][oO]\\\\.1'
    """
    return f"[{SPACE}]+".join("".join(map(_either_case, word)) for word in words.split())


def _either_case(letter: str) -> str:
    cases = {letter.lower(), letter.upper()}
    # The upper case of some letters is two letters long (ß), which no class can hold.
    if len(cases) == 1 or any(len(case) != 1 for case in cases):
        return re.escape(letter)
    return f"[{letter.lower()}{letter.upper()}]"


PASSAGE_LABEL = f"[#>*_ \t]*{any_case('passage')}[ \t]*(?:#?[0-9]+)?[ \t*_]*[:.]?[ \t*_]*"
"""Pattern of a line that only says `Passage:`, `**Passage 1:**`, `## Passage 2` or the like, in any case."""


def trimmed(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """White space off both ends.

    >>> trimmed(pa.array([" a\\u3000", None], pa.large_string())).to_pylist()
    ['a', None]
    """
    return pc.utf8_trim(texts, SPACES)


def is_blank(texts: pa.LargeStringArray) -> pa.BooleanArray:
    """True where a row is null or has nothing but white space; never null.

    >>> is_blank(pa.array(["a", " \\n", "", None], pa.large_string())).to_pylist()
    [False, True, True, True]
    """
    return pc.invert(matches(texts, f"[^{SPACE}]"))


def matches(texts: pa.LargeStringArray, pattern: str) -> pa.BooleanArray:
    """True where the pattern is found anywhere in the row; false, not null, where the row is null.

    >>> matches(pa.array(["ab", None], pa.large_string()), "b").to_pylist()
    [True, False]
    """
    return pc.fill_null(pc.match_substring_regex(texts, pattern), False)


def until_settled(
    texts: pa.LargeStringArray,
    step: Callable[[pa.LargeStringArray], pa.LargeStringArray],
    *,
    where: pa.BooleanArray,
) -> pa.LargeStringArray:
    """`step` on the rows of `where`, again on those it changed, until it changes none.

    step: must shorten every row that it changes, or this would not end.
    where: bool, one per row, without nulls.

    >>> texts = pa.array(["((a))", "(b", None], pa.large_string())
    >>> peel = lambda rows: pc.replace_substring_regex(rows, "^[(](.*)[)]$", r"\\1")
    >>> until_settled(texts, peel, where=texts.is_valid()).to_pylist()
    ['a', '(b', None]
    """
    while where.true_count:
        before = texts.filter(where)
        after = step(before)
        texts = pc.replace_with_mask(texts, where, after)
        where = pc.replace_with_mask(where, where, pc.not_equal(after, before))
    return texts


def remove_lines(texts: pa.LargeStringArray, pattern: str) -> pa.LargeStringArray:
    """Without the lines that match `pattern` as a whole, white space at their ends aside.

    Where a line went, blank lines at both ends of the text go too. Rows without such a line stay as they are,
    byte for byte. Raises `SettingError` where RE2 cannot read the pattern.

    >>> texts = pa.array(["Passage 1:\\n\\nIron rusts.", "A passage."], pa.large_string())
    >>> remove_lines(texts, PASSAGE_LABEL).to_pylist()
    ['Iron rusts.', 'A passage.']
    """
    whole_line = _readable(f"^(?:{pattern})$", pattern)
    listed = pc.split_pattern(texts, "\n")
    unwanted = matches(trimmed(listed.flatten()), whole_line).to_numpy(zero_copy_only=False)
    touched = np.zeros(len(texts), dtype=bool)
    touched[pc.list_parent_indices(listed).to_numpy()[unwanted]] = True
    where = pa.array(touched)
    return pc.replace_with_mask(texts, where, _joined_without(listed.filter(where), whole_line))


def _readable(whole_line: str, pattern: str) -> str:
    try:
        pc.match_substring_regex(pa.array([""], pa.large_string()), whole_line)
    except pa.ArrowInvalid as error:
        raise SettingError(f"The pattern {pattern!r} for lines to remove cannot be read by RE2: {error}") from None
    return whole_line


def _joined_without(listed: pa.ListArray, whole_line: str) -> pa.LargeStringArray:
    lines = listed.flatten()
    wanted = pc.invert(matches(trimmed(lines), whole_line))
    kept_before = running_total(wanted.to_numpy(zero_copy_only=False))
    row_starts = running_total(pc.list_value_length(listed).to_numpy())
    return _without_blank_ends(joined(lines.filter(wanted), kept_before[row_starts], "\n"))


def running_total(counts: np.ndarray) -> np.ndarray:
    """How much comes before each place, and before the end: int64, one longer than `counts`.

    >>> running_total(np.array([2, 0, 1])).tolist()
    [0, 2, 2, 3]
    """
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])


def joined(parts: pa.LargeStringArray, starts: np.ndarray, separator: str) -> pa.LargeStringArray:
    """Group i is `parts[starts[i]:starts[i + 1]]` with the separator between; of no parts, an empty string.

    >>> joined(pa.array(["a", "b"], pa.large_string()), np.array([0, 2, 2]), "+").to_pylist()
    ['a+b', '']
    """
    groups = pa.ListArray.from_arrays(pa.array(starts, pa.int32()), parts)
    return pc.binary_join(groups, pa.scalar(separator, pa.large_string()))


def _without_blank_ends(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    return pc.replace_substring_regex(texts, f"^[{SPACE}]*\n|\n[{SPACE}]*$|^[{SPACE}]+$", "")
