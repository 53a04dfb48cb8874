"""All text kernels on cuDF's columns, under the names and with the results of those in `text.arrow`.

A column of text is a `cudf.Series` and stays on the GPU; flags, positions and token counts are numpy arrays, as
tokens are counted on the host anyway. What leaves the device is text that only the host can treat exactly, and no more
of it than need be:

- `remove_markdown`: what is emphasis depends on pairs of signs and on all that stands between. Only rows that have such
  signs leave.
- Markers in emphasis or quotation marks (`slice_after_marker`): what their patterns capture decides, and that depends
  on which of several matches an engine prefers. Only rows that begin with one leave.
- `split_overlong`: only rows over the budget leave; their pieces are counted on the host.
- `remove_lines` with somebody's pattern that cuDF might read otherwise than RE2 (`device.patterns.reads_alike`).
"""

from __future__ import annotations

from functools import partial

from nemocc_dask.text.device import bullets, cleaning, segments
from nemocc_dask.text.on_cudf import CUDF
from nemocc_dask.text.segments import pack, segment_ids

is_blank = partial(segments.is_blank, CUDF)
join = partial(segments.join, CUDF)
normalize_bullets = partial(bullets.normalize_bullets, CUDF)
normalize_newlines = partial(segments.normalize_newlines, CUDF)
remove_lines = partial(cleaning.remove_lines, CUDF)
remove_markdown = partial(cleaning.remove_markdown, CUDF)
remove_quotation = partial(cleaning.remove_quotation, CUDF)
slice_after_marker = partial(cleaning.slice_after_marker, CUDF)
split = partial(segments.split, CUDF)
split_overlong = partial(segments.split_overlong, CUDF)
starts_with_marker = partial(cleaning.starts_with_marker, CUDF)
strip = partial(segments.strip, CUDF)

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
