"""Markers, quotation marks, markup and unwanted lines on a device; `text.arrow` says what each function does."""

from __future__ import annotations

from functools import partial

import numpy as np

from nemocc_dask.text import lines, markers
from nemocc_dask.text.device.columns import Columns, Texts, on_the_host, until_settled, within
from nemocc_dask.text.device.patterns import reads_alike
from nemocc_dask.text.device.segments import is_blank, split
from nemocc_dask.text.layout import Flags, running_total
from nemocc_dask.text.markdown import remove_markdown as remove_markdown_on_the_host

_MARKUP_HAS = ("*", "_", "](")
"""Emphasis has one of the first two, a link the third."""


def remove_markdown(on: Columns, texts: Texts) -> Texts:
    """Without emphasis and links. Rows that might have some go through the host: whole texts decide."""
    might = np.zeros(len(texts), dtype=np.bool_)
    for sign in _MARKUP_HAS:
        might |= on.contains(texts, sign)
    return on_the_host(on, remove_markdown_on_the_host, texts, might)


def remove_quotation(on: Columns, texts: Texts) -> Texts:
    """Without the quotation marks that enclose a whole row, and the white space on both sides of them."""
    return until_settled(on, texts, lambda rows: on.strip(on.inner(on.strip(rows))), applies=partial(_is_quotation, on))


def _is_quotation(on: Columns, texts: Texts) -> Flags:
    begins = on.matches(texts, markers.QUOTATION_BEGINS)  # sees one character of most rows
    return within(begins, on.matches(on.filter(texts, begins), markers.QUOTATION)) if begins.any() else begins


def starts_with_marker(on: Columns, texts: Texts, marker: str) -> Flags:
    """True where a row begins with the marker, however dressed; False where the row is null."""
    return on.matches(texts, markers.any_dress(marker))


def slice_after_marker(on: Columns, texts: Texts, marker: str) -> Texts:
    """What follows the marker a row begins with, without its wrapping and without white space at both ends.

    A marker without emphasis or quotation marks is taken off on the device. Rows with a dressed one go through Arrow:
    which of many alternatives is taken, and what it captures, decides.
    """
    plain = markers.no_dress(marker)
    if plain is not None:
        texts = until_settled(
            on, texts, lambda rows: on.strip(on.remove(rows, plain)), applies=partial(on.matches, pattern=plain)
        )
    dressed = starts_with_marker(on, texts, marker)
    return on_the_host(on, partial(markers.slice_after_marker, marker=marker), texts, dressed)


def remove_lines(on: Columns, texts: Texts, pattern: str) -> Texts:
    """Without the lines that match the pattern as a whole. Raises `SettingError` where RE2 cannot read it.

    Where cuDF might read it otherwise than RE2, all rows go through Arrow.
    """
    whole_line = lines.readable(pattern)
    if not reads_alike(pattern):
        return on_the_host(on, partial(lines.remove_lines, pattern=pattern), texts, ~on.is_null(texts))
    parts, rows = split(on, texts, "\n")
    unwanted = on.matches(on.strip(parts), whole_line)
    touched = np.zeros(len(texts), dtype=np.bool_)
    touched[rows[unwanted]] = True
    if not touched.any():
        return texts
    wanted = touched[rows] & ~unwanted
    kept = on.filter(parts, wanted)
    bounds = running_total(np.bincount(rows[wanted], minlength=len(texts))[touched])
    tidy = lines.without_blank_ends(is_blank(on, kept), bounds)
    joined = on.joined(on.filter(kept, tidy), running_total(tidy)[bounds], "\n")
    return on.put(texts, touched, joined)
