r"""What cuDF's regular expressions read otherwise than RE2, and what is done about it.

Seen in libcudf 26.10, which has two engines. One runs a pattern's alternatives side by side and takes the first that
fits, as RE2 does; the other, for patterns without anchors, takes the longest match. So a pattern here only asks
whether there is a match, or can match in one way only. Beyond that:

- `$` also matches before a line break at the very end, as in Python; `\Z` does not. RE2 knows `$` alone.
- `^` and `.` are RE2's: the very beginning, and anything but `\n`. Negated classes hold `\n` in both.
- `\s`, `\w`, `\d` and `\b` hold Unicode's characters, RE2's only those of ASCII. No pattern of ours has them.
- Counts go up to 999, and nothing that may be empty can be repeated: that could go on for ever.
- Flags in a pattern, `\p`, `\Q`, `\x{...}` and `[[:alpha:]]` are errors or mean something else.
"""

from __future__ import annotations

import re

_ESCAPED_OR_CLASS_OR_END = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|\$", re.DOTALL)
_READ_OTHERWISE = re.compile(
    r"\\[0-9A-Za-z]"  # classes of Unicode or of ASCII, octal numbers, anchors
    r"|\(\?(?!:)"  # flags and names
    r"|\[\["  # classes by name
    r"|[*+?})][*+{]"  # repeated groups, and what is repeated twice
    r"|\{[0-9,]*[0-9]{3}"
)
_ALIKE_AFTER_ALL = re.compile(r"\\[nrt]")


def for_cudf(pattern: str) -> str:
    r"""A pattern of ours as cuDF has to be given it.

    >>> for_cudf(r"\$[$]a$")
    '\\$[$]a\\Z'
    """
    return _ESCAPED_OR_CLASS_OR_END.sub(lambda found: r"\Z" if found[0] == "$" else found[0], pattern)


def reads_alike(pattern: str) -> bool:
    r"""False where cuDF might read somebody's pattern otherwise than RE2 does. True is sure, False is careful.

    >>> reads_alike("^Note [0-9]{1,3}[.:]"), reads_alike(r"\w+"), reads_alike("(a*)*")
    (True, False, False)
    """
    return not _READ_OTHERWISE.search(_ALIKE_AFTER_ALL.sub("x", pattern))
