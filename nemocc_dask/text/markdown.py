"""Takes bold, italics and links out of answers; code, maths, identifiers and addresses stay as they are.

Which signs are markup is found in C, in passes over a text until nothing more goes (`native/markup.c`). What is no
prose though it may look like markup is passed over, so that no part of it is ever tried as the beginning of emphasis or
of a link; emphasis goes by what stands beside its signs and between them, by classes of characters
(`native/characters.py`).
"""

from __future__ import annotations

import pyarrow as pa

from nemocc_dask.text.native.library import shortened


def remove_markdown(texts: pa.LargeStringArray) -> pa.LargeStringArray:
    """Without bold, italics, bold italics and links, of which the words stay; all else stays as it is.

    Fenced, indented and inline code, maths between `$` or in LaTeX brackets, addresses, bullets, escaped
    signs, products, pointers, globs and identifiers are not markup. In doubt signs stay rather than go: a
    stray star harms a text less than a formula that lost its stars.

    >>> text = "**Use** [the docs](https://x.y/a_b) of my_snake_case: 2*3*4=24"
    >>> remove_markdown(pa.array([text, None], pa.large_string())).to_pylist()
    ['Use the docs of my_snake_case: 2*3*4=24', None]
    """
    return shortened("nemocc_without_markup", texts)
