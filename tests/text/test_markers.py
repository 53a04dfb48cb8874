"""The marker is found however it is dressed, and quotes go only where one pair encloses the whole."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import SettingError
from nemocc_dask.text.markers import remove_quotation, slice_after_marker, starts_with_marker

MARKER = "Here is a paraphrased version:"
SLICED = {
    f"{MARKER} Text.": "Text.",
    f"{MARKER}\n\nText.\n": "Text.",
    "\n\n \there IS  a\nparaphrased version : Text.": "Text.",
    f"**{MARKER}** Text **b**.": "Text **b**.",
    f"__{MARKER}__ Text.": "Text.",
    "**Here is a paraphrased version**: Text **b**": "Text **b**",
    f"## {MARKER}\nText.": "Text.",
    f"> ### **{MARKER}**\nText.": "Text.",
    f'"{MARKER} Text."': "Text.",
    f'"{MARKER} He said "no"."': 'He said "no".',
    f'"{MARKER} He said "no"': 'He said "no"',
    f"“{MARKER} Text.” ": "Text.",
    f"“{MARKER}” The “text”": "The “text”",
    f'"{MARKER}" "Text"': '"Text"',
    f'**"{MARKER}"** Text': "Text",
    f"“**{MARKER}** Text”": "Text",
    f"'{MARKER} don't'": "don't",
    f'{MARKER} "Text"': '"Text"',
    f'{MARKER}"Text" and more': '"Text" and more',
    f"{MARKER}**Text** and more": "**Text** and more",
    f"**{MARKER} Text.**": "Text.",
    f"**{MARKER} Text.** x **b**": "Text.** x **b**",
    f"{MARKER} {MARKER} Text.": "Text.",
    f"{MARKER} Text. {MARKER} more": f"Text. {MARKER} more",
    MARKER: "",
    "Here is a paraphrased version： Text": "Text",
}
NOT_SLICED = [
    "Text.",
    f"Text. {MARKER} more",
    "Here is a paraphrased versions: x",
    "Here is a version:",
    " \n",
    "",
    f"x {MARKER}",
]
UNQUOTED = {
    '"x"': "x",
    " “x” \n": "x",
    "«x»": "x",
    "»x«": "x",
    "„x“": "x",
    "「x」": "x",
    '" x\ny "': "x\ny",
    "“outer “inner” outer”": "outer “inner” outer",
    '"He said "no" to me"': 'He said "no" to me',
    "“«x»”": "x",
    '""': "",
    "“A” ": "A",
}
QUOTED = [
    *(
        '"A" and "B"',
        "“A” and “B”",
        "«A» et «B»",
        "「A」と「B」",
        "'x'",
        '"',
        '"a',
        'x "y"',
        '"x" y',
        "“a",
        '“x"',
        ' "a" b ',
        "",
        " a ",
    ),
    *("5'10\"", '"A" and "B" and "C"', '"A", "B"'),
]


def strings(*rows: str | None) -> pa.LargeStringArray:
    """The rows as an Arrow array."""
    return pa.array(rows, pa.large_string())


@pytest.mark.parametrize("text", SLICED)
def test_the_marker_comes_off(text: str) -> None:
    """Letter case, white space, emphasis, headings and quotes round it do not hide it, and go with it."""
    assert starts_with_marker(strings(text), MARKER).to_pylist() == [True]
    assert slice_after_marker(strings(text), MARKER).to_pylist() == [SLICED[text]]


@pytest.mark.parametrize("text", NOT_SLICED)
def test_without_the_marker_nothing_changes(text: str) -> None:
    """Only what a row begins with counts; such rows keep even their white space."""
    assert starts_with_marker(strings(text), MARKER).to_pylist() == [False]
    assert slice_after_marker(strings(text), MARKER).to_pylist() == [text]


def test_null_has_no_marker() -> None:
    """A null row is false, not null, so that it can be filtered by."""
    assert starts_with_marker(strings(None, MARKER), MARKER).to_pylist() == [False, True]


def test_a_marker_may_do_without_a_colon() -> None:
    """Signs in a marker are literal, whatever a pattern would make of them."""
    assert slice_after_marker(strings("[en] Hello", "e Hello"), "[EN]").to_pylist() == ["Hello", "e Hello"]


@pytest.mark.parametrize("marker", ["", "  ", ":"])
def test_a_marker_needs_words(marker: str) -> None:
    """A marker of nothing would be found everywhere."""
    with pytest.raises(SettingError, match="marker"):
        starts_with_marker(strings("a"), marker)


@given(
    body=st.text(alphabet="ab “”\"'*_\n.", max_size=12),
    dress=st.sampled_from(["{}", "**{}**", "## {}", "\n{}", '"{}"']),
)
@settings(max_examples=150, deadline=None)
def test_after_a_closed_marker_the_text_is_whole(body: str, dress: str) -> None:
    """Where what was opened before the marker is closed after it, all that follows is kept."""
    text = f"{dress.format(MARKER)} {body}"
    assert slice_after_marker(strings(text), MARKER).to_pylist() == [body.strip()]


@pytest.mark.parametrize("text", UNQUOTED)
def test_enclosing_quotes_go(text: str) -> None:
    """One pair that encloses the whole comes off, with the white space on both its sides."""
    assert remove_quotation(strings(text)).to_pylist() == [UNQUOTED[text]]


@pytest.mark.parametrize("text", QUOTED)
def test_other_quotes_stay(text: str) -> None:
    """Where no one pair encloses the whole, the row stays byte for byte."""
    assert remove_quotation(strings(text)).to_pylist() == [text]
