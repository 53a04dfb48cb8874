"""The marker is found however it is dressed, and quotes go only where one pair encloses the whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemocc_dask.errors import SettingError

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


@pytest.mark.parametrize("text", SLICED)
def test_the_marker_comes_off(kernels, text: str) -> None:
    """Letter case, white space, emphasis, headings and quotes round it do not hide it, and go with it."""
    assert kernels.starts_with_marker([text], MARKER) == [True]
    assert kernels.slice_after_marker([text], MARKER) == [SLICED[text]]


@pytest.mark.parametrize("text", NOT_SLICED)
def test_without_the_marker_nothing_changes(kernels, text: str) -> None:
    """Only what a row begins with counts; such rows keep even their white space."""
    assert kernels.starts_with_marker([text], MARKER) == [False]
    assert kernels.slice_after_marker([text], MARKER) == [text]


def test_null_has_no_marker(kernels) -> None:
    """A null row is false, not null, so that it can be filtered by."""
    assert kernels.starts_with_marker([None, MARKER], MARKER) == [False, True]


def test_a_marker_may_do_without_a_colon(kernels) -> None:
    """Signs in a marker are literal, whatever a pattern would make of them."""
    assert kernels.slice_after_marker(["[en] Hello", "e Hello"], "[EN]") == ["Hello", "e Hello"]


@pytest.mark.parametrize("marker", ["", "  ", ":"])
def test_a_marker_needs_words(kernels, marker: str) -> None:
    """A marker of nothing would be found everywhere."""
    with pytest.raises(SettingError, match="marker"):
        kernels.starts_with_marker(["a"], marker)


@given(
    body=st.text(alphabet="ab “”\"'*_\n.", max_size=12),
    dress=st.sampled_from(["{}", "**{}**", "## {}", "\n{}", '"{}"']),
)
@settings(max_examples=150, deadline=None)
def test_after_a_closed_marker_the_text_is_whole(kernels, body: str, dress: str) -> None:
    """Where what was opened before the marker is closed after it, all that follows is kept."""
    text = f"{dress.format(MARKER)} {body}"
    assert kernels.slice_after_marker([text], MARKER) == [body.strip()]


@pytest.mark.parametrize("text", UNQUOTED)
def test_enclosing_quotes_go(kernels, text: str) -> None:
    """One pair that encloses the whole comes off, with the white space on both its sides."""
    assert kernels.remove_quotation([text]) == [UNQUOTED[text]]


@pytest.mark.parametrize("text", QUOTED)
def test_other_quotes_stay(kernels, text: str) -> None:
    """Where no one pair encloses the whole, the row stays byte for byte."""
    assert kernels.remove_quotation([text]) == [text]
