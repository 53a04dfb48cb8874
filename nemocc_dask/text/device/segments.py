"""Cuts, packs and joins on a device; `text.segments` and `text.overlong` say what each function does."""

from __future__ import annotations

import numpy as np

from nemocc_dask.text import overlong
from nemocc_dask.text.device.columns import Columns, Texts
from nemocc_dask.text.layout import Flags, Integers, Parts
from nemocc_dask.text.patterns import SPACE


def is_blank(on: Columns, texts: Texts) -> Flags:
    """True where a row is null or has nothing but white space."""
    return ~on.matches(texts, f"[^{SPACE}]")


def strip(on: Columns, texts: Texts) -> Texts:
    """White space off both ends, just what `str.strip` takes off."""
    return on.strip(texts)


def normalize_newlines(on: Columns, texts: Texts) -> Texts:
    r"""Each `\r\n` and each lone `\r` becomes `\n`; the very same column comes back where there is no `\r`."""
    if not on.contains(texts, "\r").any():
        return texts
    return on.replace(on.replace(texts, "\r\n", "\n"), "\r", "\n")


def split(on: Columns, texts: Texts, separator: str) -> Parts:
    """The parts of each row between separators, empty ones too; a null row has none."""
    if not separator:
        raise ValueError("An empty separator cuts nothing.")
    present = ~on.is_null(texts)
    parts, lengths = on.split(texts if present.all() else on.filter(texts, present), separator)
    return Parts(parts, np.repeat(np.flatnonzero(present), lengths))


def join(on: Columns, texts: Texts, starts: Integers, *, separator: str) -> Texts:
    """One text for each run: the elements from one start up to the next. Raises ValueError where one is null."""
    nulls = int(on.is_null(texts).sum())
    if nulls:
        raise ValueError(f"{nulls} of {len(texts)} texts are null. Drop or fill them before joining.")
    if len(starts) == len(texts):
        return texts
    return on.joined(texts, np.append(starts, len(texts)), separator)


def split_overlong(
    on: Columns, texts: Texts, token_counts: Integers, *, max_tokens: int, count: overlong.TokenCounter
) -> overlong.Pieces:
    """Rows over the budget cut until they fit; those alone leave the device, as their pieces are counted anyway.

    count: is given Arrow arrays.
    """
    longer = (token_counts > max_tokens) & ~on.is_null(texts)
    rows = on.to_host(on.filter(texts, longer))
    pieces = overlong.split_overlong(rows, token_counts[longer], max_tokens=max_tokens, count=count)
    if not longer.any():
        return overlong.Pieces(texts, token_counts, np.arange(len(token_counts)))
    sources, parents = overlong.places(pieces.parents, longer)
    merged = on.take(on.stack([texts, on.from_host(pieces.texts)]), sources)
    return overlong.Pieces(merged, np.concatenate((token_counts, pieces.token_counts))[sources], parents)
