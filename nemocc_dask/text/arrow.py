"""All text kernels on Arrow arrays, in one place: what a GPU twin has to offer under the same names."""

from __future__ import annotations

from nemocc_dask.text.blanks import is_blank, strip
from nemocc_dask.text.bullets import normalize_bullets
from nemocc_dask.text.lines import remove_lines
from nemocc_dask.text.markdown import remove_markdown
from nemocc_dask.text.markers import remove_quotation, slice_after_marker, starts_with_marker
from nemocc_dask.text.overlong import split_overlong
from nemocc_dask.text.segments import join, normalize_newlines, pack, segment_ids, split

__all__ = [
    "is_blank",
    "join",
    "normalize_bullets",
    "normalize_newlines",
    "pack",
    "remove_lines",
    "remove_markdown",
    "remove_quotation",
    "segment_ids",
    "slice_after_marker",
    "split",
    "split_overlong",
    "starts_with_marker",
    "strip",
]
