"""The segmentation kernels against slow, obvious ones written row by row."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.text import segments

settings.register_profile("segments", deadline=None, max_examples=80)
moderately = settings.get_profile("segments")

# Letters, every kind of stop and closer, white space of all sorts, and what a marker might have been.
PIECES_OF_TEXT = [
    *"abcñ\u00ff\u00fe是否😀e\u0301\x00\ufffd",
    "word",
    *" \t\n\u00a0\u3000\r",
    *'.!?…。！？"”」)',
]
rows_of_text = st.lists(st.sampled_from(PIECES_OF_TEXT), max_size=60).map("".join)
documents = st.lists(st.none() | rows_of_text, max_size=8)
budgets = st.integers(1, 12)


def array(rows: list[str | None]) -> pa.LargeStringArray:
    return pa.array(rows, pa.large_string())


def inside_a_longer_array(rows: list[str | None]) -> pa.LargeStringArray:
    return array(["é\r\nb. c", None, *rows, "d e\n"])[2:-1]


either_way = pytest.mark.parametrize("make", [array, inside_a_longer_array])


def count_quarters(texts: pa.LargeStringArray) -> np.ndarray:
    """A toy tokenizer: a token for every four bytes of UTF-8, begun ones too."""
    return np.array([-(-len((text or "").encode()) // 4) for text in texts.to_pylist()], np.int64)


def count_words(texts: pa.LargeStringArray) -> np.ndarray:
    """A toy tokenizer that holds any word for one token, so that words are never over-long."""
    return np.array([len((text or "").split()) for text in texts.to_pylist()], np.int64)


def count_heavy_characters(texts: pa.LargeStringArray) -> np.ndarray:
    """A toy tokenizer with up to nine tokens a character, so that single characters can be over-long."""
    weight = {"是": 9, "😀": 6}
    return np.array([sum(weight.get(c, 1) for c in text or "") for text in texts.to_pylist()], np.int64)


counters = st.sampled_from([count_quarters, count_words, count_heavy_characters])


def packed_by_hand(counts: list[int], starts_group: list[bool], max_tokens: int) -> list[list[int]]:
    """Next-fit, an element at a time; a separator is one token."""
    runs: list[list[int]] = []
    used = 0
    for position, (tokens, starts) in enumerate(zip(counts, starts_group, strict=True)):
        if runs and not starts and used + 1 + tokens <= max_tokens:
            runs[-1].append(position)
            used += 1 + tokens
        else:
            runs.append([position])
            used = tokens
    return runs


def without_space(text: str) -> str:
    return "".join(text.split())


def with_single_spaces(text: str) -> str:
    return " ".join(text.split())


def by_parent(texts: pa.LargeStringArray, parents: np.ndarray, rows: int) -> list[list[str]]:
    groups: list[list[str]] = [[] for _ in range(rows)]
    for text, parent in zip(texts.to_pylist(), parents.tolist(), strict=True):
        groups[parent].append(text)
    return groups


# ---------------------------------------------------------------------------------------------------- lines


@either_way
@given(rows=documents)
@settings(moderately)
def test_newlines_are_those_of_plain_python(make, rows):
    """Newlines are normalised exactly as replacing the pair first and the lone one then would."""
    expected = [None if row is None else row.replace("\r\n", "\n").replace("\r", "\n") for row in rows]
    assert segments.normalize_newlines(make(rows)).to_pylist() == expected


def test_without_carriage_returns_nothing_is_copied():
    """Texts that need no mending come back as the very same array."""
    texts = array(["a\nb", None, ""])
    assert segments.normalize_newlines(texts) is texts


@either_way
@given(rows=documents, separator=st.sampled_from(["\n", " ", "是", ".。"]))
@settings(moderately)
def test_split_is_that_of_plain_python(make, rows, separator):
    """Each row's parts are those of str.split, empty ones too, and a null row has none."""
    parts = segments.split(make(rows), separator)
    expected = [[] if row is None else row.split(separator) for row in rows]
    assert by_parent(parts.texts, parts.parents, len(rows)) == expected
    assert parts.parents.dtype == np.int64


@either_way
@given(rows=st.lists(rows_of_text, max_size=8))
@settings(moderately)
def test_joining_what_was_split_gives_the_rows_again(make, rows):
    """Split and join are exact opposites, blank lines and empty rows included."""
    parts = segments.split(make(rows), "\n")
    starts = np.flatnonzero(np.diff(parts.parents, prepend=-1))
    joined = segments.join(parts.texts, starts, separator="\n")
    assert joined.to_pylist() == rows
    assert joined.type == pa.large_string()


def test_an_empty_separator_is_refused():
    """There is no splitting at nothing."""
    with pytest.raises(ValueError, match="separator"):
        segments.split(array(["a"]), "")


# ------------------------------------------------------------------------------- sentences, words, characters


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("One. Two! Three? Four… Five", ["One.", "Two!", "Three?", "Four…", "Five"]),
        ("He said “No.” (Why?) Then left.", ["He said “No.”", "(Why?)", "Then left."]),
        ("Pi is 3.14 at example.org.", ["Pi is 3.14 at example.org."]),
        ("Wait... what?! Yes.", ["Wait...", "what?!", "Yes."]),
        ("是。否！“真？”好", ["是。", "否！", "“真？”", "好"]),
        ("是。\u3000否。 x", ["是。", "否。", "x"]),
        ("ÿ. þ。ÿþ", ["ÿ.", "þ。", "ÿþ"]),
        ("A.\n\u00a0 B", ["A.", "B"]),
        ("क्या। हाँ। نعم؟ لا", ["क्या।", "हाँ।", "نعم؟", "لا"]),
        ("  ", ["  "]),
        ("", []),
        (None, []),
    ],
)
def test_sentences_end_where_they_should(text, sentences):
    """Sentences end after a stop and white space, after a wide stop in any case, and not within a number."""
    assert segments.split_sentences(array([text])).texts.to_pylist() == sentences


@either_way
@given(rows=documents)
@settings(moderately)
def test_sentences_lose_white_space_alone(make, rows):
    """Each row's sentences are the row without some white space, none of them is empty, and rows stay in order."""
    parts = segments.split_sentences(make(rows))
    groups = by_parent(parts.texts, parts.parents, len(rows))
    assert [without_space("".join(group)) for group in groups] == [without_space(row or "") for row in rows]
    assert all(sentence for group in groups for sentence in group)
    assert (np.diff(parts.parents) >= 0).all()


@either_way
@given(rows=documents)
@settings(moderately)
def test_words_are_those_of_plain_python(make, rows):
    """Each row's words are those of str.split, whatever the white space."""
    parts = segments.split_words(make(rows))
    assert by_parent(parts.texts, parts.parents, len(rows)) == [(row or "").split() for row in rows]


@pytest.mark.parametrize("space", [" ", "\n", "\u00a0", "\u3000"])
def test_white_space_at_the_end_of_a_full_buffer_is_dropped(space):
    """The last word is clean wherever Arrow's buffer ends: its own splitting at white space reads past a full one."""
    for length in range(130):
        text = "a\n" + "x" * length + space
        assert segments.split_words(array([text])).texts.to_pylist() == text.split()


def test_white_space_is_what_python_takes_for_it():
    """The white space after a sentence is that of str.isspace, all of it and nothing else."""
    every_character = map(chr, [*range(0xD800), *range(0xE000, 0x110000)])
    assert "".join(filter(str.isspace, every_character)) == segments.WHITE_SPACE


@either_way
@given(rows=documents, size=st.integers(1, 5))
@settings(moderately)
def test_characters_come_in_chunks_of_one_size(make, rows, size):
    """Each row's chunks are its slices of `size` code points, never a part of one."""
    parts = segments.split_characters(make(rows), size)
    expected = [[row[at : at + size] for at in range(0, len(row), size)] if row else [] for row in rows]
    assert by_parent(parts.texts, parts.parents, len(rows)) == expected
    parts.texts.validate(full=True)


def test_chunks_of_nothing_are_refused():
    """A chunk has at least one character."""
    with pytest.raises(ValueError, match="size is 0"):
        segments.split_characters(array(["a"]), 0)


def test_the_bytes_beneath_a_null_are_no_characters():
    """A null row has no chunks, even where Arrow's buffer holds bytes for it."""
    offsets = pa.py_buffer(np.array([0, 2, 5, 7]))
    texts = pa.LargeStringArray.from_buffers(3, offsets, pa.py_buffer(b"abXXXcd"), pa.py_buffer(b"\x05"))
    parts = segments.split_characters(texts, 2)
    assert (parts.texts.to_pylist(), parts.parents.tolist()) == (["ab", "cd"], [0, 2])


# ---------------------------------------------------------------------------------------------- pack and join

elements = st.lists(st.tuples(rows_of_text, st.integers(0, 9), st.booleans()), max_size=40)


@given(elements=elements, max_tokens=budgets)
@settings(moderately)
def test_packing_and_joining_are_those_done_by_hand(elements, max_tokens):
    """Runs and joined texts are those of the obvious loop with a separator of one token."""
    texts, counts, starts_group = [list(column) for column in zip(*elements, strict=True)] or [[], [], []]
    runs = packed_by_hand(counts, starts_group, max_tokens)
    starts = segments.pack(np.array(counts, np.int64), np.array(starts_group, bool), max_tokens=max_tokens)
    assert starts.tolist() == [run[0] for run in runs]
    assert starts.dtype == np.int64
    joined = segments.join(array(texts), starts, separator="\n")
    assert joined.to_pylist() == ["\n".join(texts[position] for position in run) for run in runs]


@given(elements=elements, max_tokens=budgets, separators=st.lists(st.integers(0, 3), min_size=40, max_size=40))
@settings(moderately)
def test_a_run_stays_in_budget_and_in_its_group(elements, max_tokens, separators):
    """No run of several elements is over the budget or reaches over a group's start, and each is as long as can be."""
    counts = np.array([tokens for _, tokens, _ in elements], np.int64)
    starts_group = np.array([starts for *_, starts in elements], bool)
    costs = np.array(separators[: len(counts)], np.int64)
    starts = segments.pack(counts, starts_group, max_tokens=max_tokens, separator_tokens=costs).tolist()
    for begin, end in pairwise([*starts, len(counts)]):
        used = counts[begin:end].sum() + costs[begin + 1 : end].sum()
        assert used <= max_tokens or end == begin + 1
        assert not starts_group[begin + 1 : end].any()
        if end < len(counts) and not starts_group[end]:
            assert used + costs[end] + counts[end] > max_tokens


@given(rows=st.lists(rows_of_text, min_size=1, max_size=8), max_tokens=budgets, data=st.data())
@settings(moderately)
def test_segments_do_not_depend_on_how_rows_are_batched(rows, max_tokens, data):
    """Documents segmented together and in two slices of the same array give the same segments."""
    texts = array(rows)
    cut = data.draw(st.integers(0, len(rows)))
    together = segmented(texts, max_tokens)
    assert segmented(texts[:cut], max_tokens) + segmented(texts[cut:], max_tokens) == together


def segmented(texts: pa.LargeStringArray, max_tokens: int) -> list[tuple[str, int]]:
    lines = segments.split(segments.normalize_newlines(texts), "\n")
    pieces = segments.split_overlong(
        lines.texts, count_quarters(lines.texts), max_tokens=max_tokens, count=count_quarters
    )
    owners = lines.parents[pieces.parents]
    starts_document = np.diff(owners, prepend=-1) > 0
    starts = segments.pack(pieces.token_counts, starts_document, max_tokens=max_tokens)
    numbers = segments.segment_ids(owners[starts], np.zeros(len(starts), bool))
    joined = segments.join(pieces.texts, starts, separator="\n")
    return list(zip(joined.to_pylist(), numbers.tolist(), strict=True))


def test_a_null_is_not_joined():
    """A null among the texts is refused, even where nothing would be joined to it."""
    with pytest.raises(ValueError, match="1 of 2 texts are null"):
        segments.join(array(["a", None]), np.array([0, 1]), separator="\n")


def test_runs_of_one_are_not_copied():
    """Joining copies nothing where every run has one element."""
    texts = array(["a", "b"])
    assert segments.join(texts, np.array([0, 1]), separator="\n") is texts


def test_segment_ids_skip_a_number_at_a_gap():
    """Neighbours' numbers differ by one if nothing is missing between them, and each document begins at 0."""
    documents_of_runs = np.array([3, 3, 3, 4, 9, 9])
    gap_before = np.array([True, False, True, False, True, True])
    numbers = segments.segment_ids(documents_of_runs, gap_before)
    assert numbers.tolist() == [0, 1, 3, 0, 0, 2]
    assert numbers.dtype == np.int64


# ------------------------------------------------------------------------------------- rows over the budget


@either_way
@given(rows=documents, max_tokens=budgets, count=counters)
@settings(moderately)
def test_no_piece_is_over_the_budget(make, rows, max_tokens, count):
    """A piece's recorded count is within the budget and no less than its text's, save for a single character."""
    pieces = split_overlong(make(rows), max_tokens, count)
    recorded, real = pieces.token_counts, count(pieces.texts)
    for text, tokens in zip(pieces.texts.to_pylist(), recorded.tolist(), strict=True):
        assert tokens <= max_tokens or len(text) == 1
    if count is not count_heavy_characters:  # that one holds a space for a token as well, as the addition does
        assert (real <= recorded).all()
    assert recorded.dtype == pieces.parents.dtype == np.int64


@either_way
@given(rows=documents, max_tokens=budgets, count=counters)
@settings(moderately)
def test_pieces_lose_white_space_alone(make, rows, max_tokens, count):
    """The pieces of a row are the row in order: only white space is lost, and none is invented."""
    pieces = split_overlong(make(rows), max_tokens, count)
    for row, group in zip(rows, by_parent(pieces.texts, pieces.parents, len(rows)), strict=True):
        assert group, "every row has a piece"
        if row is not None:
            assert without_space("".join(group)) == without_space(row)
            assert all(with_single_spaces(piece) in with_single_spaces(row) for piece in group)


@either_way
@given(rows=documents, max_tokens=budgets, count=counters)
@settings(moderately)
def test_rows_within_the_budget_stay_as_they_are(make, rows, max_tokens, count):
    """A row that fits is one piece, letter for letter, with the count it had."""
    texts = make(rows)
    counts = count(texts)
    pieces = split_overlong(texts, max_tokens, count)
    groups = by_parent(pieces.texts, pieces.parents, len(rows))
    for at in np.flatnonzero(counts <= max_tokens).tolist():
        assert groups[at] == [rows[at]]
        assert pieces.token_counts[pieces.parents == at].tolist() == [counts[at]]


@either_way
@given(rows=st.lists(rows_of_text, max_size=8), max_tokens=budgets, count=counters)
@settings(moderately)
def test_pieces_of_one_row_do_not_fit_together(make, rows, max_tokens, count):
    """Packing the pieces of one row once more joins none of them, so later packing does not undo the cut."""
    pieces = split_overlong(make(rows), max_tokens, count)
    starts_row = np.diff(pieces.parents, prepend=-1) > 0
    again = segments.pack(pieces.token_counts, starts_row, max_tokens=max_tokens)
    assert again.tolist() == list(range(len(pieces.texts)))


def split_overlong(texts, max_tokens, count) -> segments.Pieces:
    return segments.split_overlong(texts, count(texts), max_tokens=max_tokens, count=count)


def test_where_nothing_is_overlong_nothing_is_copied():
    """The very same array comes back where all rows fit."""
    texts = array(["short", None, ""])
    pieces = split_overlong(texts, 5, count_quarters)
    assert pieces.texts is texts
    assert pieces.parents.tolist() == [0, 1, 2]


def test_a_line_is_cut_as_gently_as_can_be():
    """Sentences stay whole where they fit, words where a sentence does not, and small neighbours share a piece."""
    text = "A b. C d e. One two three four five six seven. X. Y."
    pieces = split_overlong(array(["before", text, "after"]), 5, count_words)
    assert pieces.texts.to_pylist() == [
        "before",
        "A b.",
        "C d e.",
        "One two three",
        "four five six",
        "seven. X. Y.",
        "after",
    ]
    assert pieces.token_counts.tolist() == [1, 2, 3, 5, 5, 5, 1]
    assert pieces.parents.tolist() == [0, 1, 1, 1, 1, 1, 2]


def test_a_line_without_spaces_gets_none():
    """Chinese sentences are joined as they stood: the pieces end to end are the line."""
    line = "这是第一句话。第二句！“第三句？”" * 20
    pieces = split_overlong(array([line]), 30, count_quarters)
    assert "".join(pieces.texts.to_pylist()) == line
    assert all(piece[-1] in "。！”" for piece in pieces.texts.to_pylist())
    assert pieces.token_counts.max() <= 30


def test_a_space_between_wide_sentences_is_kept():
    """White space dropped after a wide stop comes back as one space, and only there."""
    pieces = split_overlong(array(["一。 二。三。" + "四" * 20]), 7, count_heavy_characters)
    assert pieces.texts.to_pylist()[0] == "一。 二。三。"


def test_a_word_of_ten_thousand_letters_is_cut_by_characters():
    """A word without a place to cut is cut anywhere, into full pieces, and nothing of it is lost."""
    word = "".join(map(chr, np.random.default_rng(0).integers(0x61, 0x7A, 10_000)))
    pieces = split_overlong(array([f"Look: {word} there."]), 100, count_quarters)
    texts = pieces.texts.to_pylist()
    assert without_space("".join(texts)) == f"Look:{word}there."
    assert pieces.token_counts.max() <= 100
    assert len(texts) <= 10_000 / 350 + 2, "chunks of 25 letters are 7 toy tokens, 14 of them a full piece"


def test_a_character_over_the_budget_stands_alone():
    """The one piece that may be over the budget is a single character."""
    pieces = split_overlong(array(["ab是是c"]), 3, count_heavy_characters)
    assert pieces.texts.to_pylist() == ["ab", "是", "是", "c"]
    assert pieces.token_counts.tolist() == [2, 9, 9, 1]


def test_a_long_row_of_blanks_becomes_one_empty_piece():
    """A row with nothing but white space to cut keeps a piece, so that no row goes missing."""
    pieces = split_overlong(array(["x", " \t" * 40, "y"]), 4, count_quarters)
    assert pieces.texts.to_pylist() == ["x", "", "y"]
    assert pieces.token_counts.tolist() == [1, 0, 1]


def test_a_budget_of_nothing_is_refused():
    """No text fits into no tokens."""
    with pytest.raises(ValueError, match="max_tokens is 0"):
        split_overlong(array(["a"]), 0, count_words)


# ------------------------------------------------------------------------------------------- nothing, or nulls


@either_way
@pytest.mark.parametrize("rows", [[], [None], [None, None]])
def test_nothing_and_nulls_go_through_every_kernel(make, rows):
    """Zero rows and rows of null alone are legal, and types are the usual ones."""
    texts = make(rows)
    cuts = [
        segments.split(texts, "\n"),
        segments.split_sentences(texts),
        segments.split_words(texts),
        segments.split_characters(texts, 3),
    ]
    for parts in cuts:
        assert (len(parts.texts), len(parts.parents)) == (0, 0)
        assert parts.texts.type == pa.large_string()
    assert segments.normalize_newlines(texts).to_pylist() == rows
    assert split_overlong(texts, 3, count_quarters).texts.to_pylist() == rows
    nothing = segments.pack(np.zeros(0, np.int64), np.zeros(0, bool), max_tokens=3)
    assert nothing.tolist() == segments.segment_ids(nothing, np.zeros(0, bool)).tolist() == []
    assert segments.join(array([]), nothing, separator="\n").type == pa.large_string()


def test_a_null_is_never_overlong():
    """A null passes through whatever count it was given, beside a row that is cut."""
    texts = array([None, "one two three"])
    pieces = segments.split_overlong(texts, np.array([99, 3]), max_tokens=2, count=count_words)
    assert pieces.texts.to_pylist() == [None, "one", "two", "three"]
    assert pieces.token_counts.tolist() == [99, 1, 1, 1]
