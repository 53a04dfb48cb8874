"""The arithmetic of the kernels for a GPU, on columns that stand in for cuDF's, against the kernels for Arrow.

That cuDF does what its stand-in does is for the other tests of kernels to show, with `--frames=cudf` on a GPU.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import SettingError
from nemocc_dask.text import arrow, bullets, lines, markers
from nemocc_dask.text.device import bullets as device_bullets
from nemocc_dask.text.device import cleaning, segments
from nemocc_dask.text.device.patterns import for_cudf, reads_alike

from .documents import array, budgets, count_quarters, documents, moderately
from .stand_in import Lists
from .test_bullets import LISTS
from .test_kernels import MARKER, ROWS
from .test_markers import MARKER as LONG_MARKER
from .test_markers import NOT_SLICED, QUOTED, SLICED, UNQUOTED

ON = Lists()
KERNELS = {
    "is_blank": (segments.is_blank, ()),
    "strip": (segments.strip, ()),
    "normalize_newlines": (segments.normalize_newlines, ()),
    "remove_markdown": (cleaning.remove_markdown, ()),
    "remove_quotation": (cleaning.remove_quotation, ()),
    "starts_with_marker": (cleaning.starts_with_marker, (MARKER,)),
    "slice_after_marker": (cleaning.slice_after_marker, (MARKER,)),
    "slice_after_dressed_marker": (cleaning.slice_after_marker, (f"“{MARKER}”",)),
    "slice_after_word": (cleaning.slice_after_marker, ("word",)),
    "slice_after_signs": (cleaning.slice_after_marker, ("**",)),
    "remove_lines": (cleaning.remove_lines, (lines.PASSAGE_LABEL,)),
    "remove_lines_of_anything": (cleaning.remove_lines, ("[^-]?",)),
    "remove_lines_on_the_host": (cleaning.remove_lines, (r"\S",)),
    "normalize_bullets": (device_bullets.normalize_bullets, ()),
}
BLANKS = ["\r\r\n", "x\n\n \n", "\n \t", "-\n\n-", "Passage 1:\n\n \t", "Passage:\n \n ", "\nPassage:\n", "\xa0“x”"]
LAYOUTS = [*LISTS, *SLICED, *NOT_SLICED, *UNQUOTED, *QUOTED, *BLANKS, None, "[a](http://x.y)", "*****word"]
MARKERS = st.lists(st.sampled_from([MARKER, "Paraphrased Text", *'*_"“”#> \n:', "word", "a"]), max_size=8)


def listed(column):
    return column.tolist() if isinstance(column, np.ndarray) else column


@pytest.mark.parametrize("name", KERNELS)
@given(rows=ROWS | st.lists(MARKERS.map("".join), max_size=4))
@example(rows=LAYOUTS)
@settings(moderately)
def test_arithmetic_equals_the_arrow_kernels(name, rows):
    """Every kernel gives what the one of the same name for Arrow gives, row for row."""
    kernel, options = KERNELS[name]
    expected = getattr(arrow, kernel.__name__)(array(rows), *options).to_pylist()
    assert listed(kernel(ON, rows, *options)) == expected


@pytest.mark.parametrize("text", SLICED)
def test_each_dress_of_a_marker_is_taken_off_alike(text):
    """Device and host together take a marker off as Arrow alone does, also one that comes several times."""
    rows = [text, f"{LONG_MARKER} {text}", f"{text} {LONG_MARKER}"]
    expected = arrow.slice_after_marker(array(rows), LONG_MARKER).to_pylist()
    assert cleaning.slice_after_marker(ON, rows, LONG_MARKER) == expected


@given(rows=documents, max_tokens=budgets)
@settings(moderately)
def test_documents_are_cut_and_joined_as_by_arrow(rows, max_tokens):
    """Split, cut to a budget, and join give the same texts, counts and parents."""
    texts = array(rows)
    ours, theirs = segments.split(ON, rows, "\n"), arrow.split(texts, "\n")
    assert (ours.texts, ours.parents.tolist()) == (theirs.texts.to_pylist(), theirs.parents.tolist())
    counts = count_quarters(texts)
    pieces = segments.split_overlong(ON, rows, counts, max_tokens=max_tokens, count=count_quarters)
    expected = arrow.split_overlong(texts, counts, max_tokens=max_tokens, count=count_quarters)
    assert pieces.texts == expected.texts.to_pylist()
    assert pieces.token_counts.tolist() == expected.token_counts.tolist()
    assert pieces.parents.tolist() == expected.parents.tolist()
    starts = np.flatnonzero(np.diff(ours.parents, prepend=-1))
    joined = arrow.join(theirs.texts, starts, separator="\n")
    assert segments.join(ON, ours.texts, starts, separator="\n") == joined.to_pylist()


def test_only_what_must_leaves_the_device():
    """Rows that no kernel of the host is needed for are not handed to it."""

    class Watched(Lists):
        def to_host(self, texts):
            left.extend(texts)
            return super().to_host(texts)

    left: list[str | None] = []
    rows = [f"{MARKER} plain", f"**{MARKER}** dressed", "“quoted”", "- a", "Passage 1:\n\nx", "no markup", None]
    on = Watched()
    cleaning.remove_quotation(on, rows)
    cleaning.remove_lines(on, rows, lines.PASSAGE_LABEL)
    device_bullets.normalize_bullets(on, rows)
    assert left == []
    cleaning.slice_after_marker(on, rows, MARKER)
    assert left == [rows[1]]
    cleaning.slice_after_marker(on, ["**word", "“word"], "**")
    assert left == [rows[1], "**word"], "a marker that looks like dress is left to the host altogether"
    left.clear()
    cleaning.remove_markdown(on, rows)
    assert left == [rows[1]]


def test_wrong_calls_are_told_alike():
    """A null to join, an empty separator, an unreadable pattern, a marker without words and no budget are refused."""
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        segments.join(ON, ["a", None], np.array([0]), separator="\n")
    with pytest.raises(ValueError, match="separator"):
        segments.split(ON, ["a"], "")
    with pytest.raises(SettingError, match=re.escape("'(unclosed'")):
        cleaning.remove_lines(ON, [], "(unclosed")
    with pytest.raises(SettingError, match="marker"):
        cleaning.slice_after_marker(ON, ["a"], " :")
    with pytest.raises(ValueError, match="max_tokens is 0"):
        segments.split_overlong(ON, ["a"], np.array([0]), max_tokens=0, count=count_quarters)


@pytest.mark.parametrize(
    "pattern",
    [r"\w", r"a\b", "(?i)a", "[[:alpha:]]", "(a*)*", "(a|b)+", "a**", "a{2}{3}", "a{1000}", r"\pL", r"\x{e9}", r"a\z"],
)
def test_patterns_that_engines_read_otherwise_are_left_to_the_host(pattern):
    """Whatever RE2 and cuDF might read otherwise, or cuDF for ever, is not given to cuDF."""
    assert not reads_alike(pattern)


@pytest.mark.parametrize("pattern", [lines.PASSAGE_LABEL, "Note[.:]? [0-9]{1,3}", r"a|b\.", r"[*_]*x\n?", "(?:a|b)?$"])
def test_ordinary_patterns_stay_on_the_device(pattern):
    """Classes, counts, alternatives and literal signs are read alike."""
    assert reads_alike(pattern)


@given(text=st.text("ab\n$\\[]^", max_size=6))
@settings(moderately)
@pytest.mark.parametrize("pattern", ["a$", "[$]a", r"\$$", "[]$a]$", r"[\]$]b$", "^$", r"a\\$", "(?:a|$)"])
def test_the_end_is_the_very_end(pattern, text):
    """As cuDF is given it, `$` is what RE2 takes it for: no line break comes after it. In a class it is itself."""
    expected = pc.match_substring_regex(pa.array([text], pa.large_string()), pattern)[0].as_py()
    assert (re.search(for_cudf(pattern), text) is not None) == expected


PATTERNS = {
    "QUOTATION": markers.QUOTATION,
    "QUOTATION_BEGINS": markers.QUOTATION_BEGINS,
    "no_dress": markers.no_dress(MARKER),
    "any_dress": markers.any_dress(MARKER),
    **{name: getattr(bullets, name) for name in ("BULLETS", "INDENTED", "ENDS_WITH_COLON", "SENTENCE", "PREAMBLE")},
}


@pytest.mark.parametrize("name", PATTERNS)
def test_no_pattern_holds_what_cudf_reads_otherwise(name):
    """Patterns that run on the device have no classes of Unicode or ASCII, no flags, no names and no long counts."""
    assert not re.search(r"\\[0-9A-Za-z]|\(\?(?!:)|\[\[|\{[0-9,]*[0-9]{3}", PATTERNS[name])
