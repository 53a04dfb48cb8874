"""The documents that ship with the demonstration: what has to be in them, and what has to be wrong."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest

PATH = Path(__file__).resolve().parents[1] / "nemocc_dask" / "demo" / "documents.jsonl"

COLUMNS = ["id", "text", "quality_score", "topic"]

# Ids of the good documents that are not in English, by language.
GOOD = {
    "French": {4, 38, 60},
    "German": {9, 30, 55},
    "Spanish": {12, 48, 57},
    "Italian": {23, 62},
    "Chinese": {19},
    "Japanese": {35},
    "Hindi": {43},
}

# Ids of the poor documents that are not in English, by language.
POOR = {
    "French": {22, 44},
    "German": {13},
    "Spanish": {39},
    "Italian": {63},
    "Chinese": {50},
    "Japanese": {56},
    "Arabic": {29},
    "Russian": {52},
}

# Something that a text in the language has many of, and the others have few of.
MARKS = {
    "English": r"\b(?:the|and|is|in|of|to)\b",
    "French": r"\b(?:le|les|et|est|une|sur)\b",
    "German": r"\b(?:der|die|und|das|nicht|frei|ab)\b",
    "Spanish": r"\b(?:el|los|y|que|una|por)\b",
    "Italian": r"\b(?:il|di|che|è|per|della)\b",
    "Chinese": r"[的不是水]",
    "Japanese": r"[\u3040-\u30ff]",
    "Hindi": r"[\u0900-\u097f]",
    "Arabic": r"[\u0600-\u06ff]",
    "Russian": r"[\u0400-\u04ff]",
}


@pytest.fixture(scope="module")
def rows():
    return [json.loads(line) for line in PATH.read_text(encoding="utf-8").split("\n")[:-1]]


def defects(rows):
    """The position of every row that a run has to drop, and why."""
    found, seen = {}, set()
    for position, row in enumerate(rows):
        text, reason = row["text"], None
        if text is None:
            reason = "null text"
        elif text == "":
            reason = "empty text"
        elif not text.strip():
            reason = "white space"
        elif row["quality_score"] is None:
            reason = "null score"
        elif row["id"] is None:
            reason = "null id"
        elif row["id"] in seen:
            reason = "repeated id"
        elif len(text.split()) <= 4 and len(text) < 30:
            reason = "too short"
        elif len(text.split()) == 12:
            reason = "short for a good one"
        if reason:
            found[position] = reason
        seen.add(row["id"])
    return found


@pytest.fixture(scope="module")
def usable(rows):
    dropped = defects(rows)
    return {row["id"]: row for position, row in enumerate(rows) if position not in dropped}


def good(usable):
    return {i: row["text"] for i, row in usable.items() if row["quality_score"] > 11}


def poor(usable):
    return {i: row["text"] for i, row in usable.items() if row["quality_score"] <= 11}


def longest_line(text):
    return max(len(line.split()) for line in text.split("\n"))


def test_no_line_is_broken():
    """The file is UTF-8 with one line feed after each of its 64 lines, and nothing else that could end a line."""
    raw = PATH.read_bytes()
    text = raw.decode("utf-8")
    assert not raw.startswith(b"\xef\xbb\xbf") and b"\r" not in raw and text.endswith("}\n")
    lines = text.split("\n")[:-1]
    assert len(lines) == 64
    assert lines == text.splitlines()


def test_texts_are_written_unescaped():
    """Letters outside ASCII stand in the file as they are."""
    assert "\\u" not in PATH.read_text(encoding="utf-8")


def test_columns(rows):
    """Each row has the same four columns in the same order, each of one type or null, and none is named language."""
    for row in rows:
        assert list(row) == COLUMNS
        assert type(row["id"]) in (int, type(None))
        assert type(row["text"]) in (str, type(None))
        assert type(row["quality_score"]) in (int, type(None))
        assert type(row["topic"]) is str and 0 < len(row["topic"]) <= 30


def test_ids_are_the_line_numbers_but_for_two(rows):
    """The id is the number of the line, except on the line without one and on the one that repeats the first."""
    others = {n: row["id"] for n, row in enumerate(rows, 1) if row["id"] != n}
    assert others == {49: None, 59: 1}


def test_each_defect_is_there_exactly_once(rows):
    """Every deliberate defect occurs once, the too short texts three times."""
    assert Counter(defects(rows).values()) == {
        "null text": 1,
        "empty text": 1,
        "white space": 1,
        "null score": 1,
        "null id": 1,
        "repeated id": 1,
        "too short": 3,
        "short for a good one": 1,
    }


def test_each_defect_is_alone(rows):
    """A row with a defect has only that one: its other columns are filled, and its text is whole if not the defect."""
    for position, reason in defects(rows).items():
        row = rows[position]
        nulls = [name for name in COLUMNS if row[name] is None]
        assert nulls == {"null text": ["text"], "null score": ["quality_score"], "null id": ["id"]}.get(reason, [])
        if reason in ("null score", "null id", "repeated id"):
            assert len(row["text"].split()) > 60


def test_repeated_id_has_a_text_of_its_own(rows):
    """The two rows with the same id differ in their texts and are both good."""
    first, second = [row for row in rows if row["id"] == 1]
    assert first["text"] != second["text"]
    assert first["quality_score"] > 11 and second["quality_score"] > 11


def test_too_short_texts_lie_on_both_sides(rows):
    """Of the too short texts some are scored good and some poor, and the one of twelve words is scored good."""
    found = defects(rows)
    short = [rows[p]["quality_score"] for p, reason in found.items() if reason == "too short"]
    assert min(short) <= 11 < max(short)
    assert [rows[p]["quality_score"] > 11 for p, reason in found.items() if reason.startswith("short for")] == [True]


def test_texts_are_unique(rows):
    """No text that says something occurs twice, whatever its case and spacing."""
    texts = [" ".join(row["text"].lower().split()) for row in rows if row["text"] and row["text"].strip()]
    assert len(texts) == 61
    assert len(set(texts)) == len(texts)


def test_counts_of_good_and_poor(usable):
    """Once the defects are dropped, 28 good and 26 poor documents are left."""
    assert len(good(usable)) == 28
    assert len(poor(usable)) == 26


def test_scores_cover_the_scale(usable):
    """Each score from 0 to 19 is given to at least one usable document and to no more than five."""
    scores = Counter(row["quality_score"] for row in usable.values())
    assert set(scores) == set(range(20))
    assert max(scores.values()) <= 5


def test_topics_are_varied(usable):
    """The good documents are about at least 18 different topics."""
    assert len({usable[i]["topic"] for i in good(usable)}) >= 18


@pytest.mark.parametrize(("side", "table"), [(good, GOOD), (poor, POOR)], ids=["good", "poor"])
def test_languages(usable, side, table):
    """Each document has more marks of its own language than of any other written in the same letters."""
    texts = side(usable)
    language = {i: name for name, ids in table.items() for i in ids}
    assert set(language) <= set(texts)
    for i, text in texts.items():
        name = language.get(i, "English")
        counts = {n: len(re.findall(mark, text, re.IGNORECASE)) for n, mark in MARKS.items()}
        if name == "Japanese":
            counts.pop("Chinese")
        assert max(counts, key=counts.get) == name, (i, counts)


def test_lengths_of_good_documents(usable):
    """Good documents with spaces have 80 to 450 words, but for two of 900 to 1,400 and the one of a single line."""
    words = {i: len(text.split()) for i, text in good(usable).items() if i not in GOOD["Chinese"] | GOOD["Japanese"]}
    long = {i: n for i, n in words.items() if n > 450}
    assert min(words.values()) >= 80
    assert set(long) == {1, 25, 51}
    for i in (1, 51):
        assert 900 <= long[i] <= 1400
        assert len(usable[i]["text"].split("\n\n")) >= 10


def test_good_documents_in_several_lines(usable):
    """Every good document has at least three lines with text, but for the one that is a single line."""
    few = [i for i, text in good(usable).items() if sum(1 for line in text.split("\n") if line.strip()) < 3]
    assert few == [25]


def test_over_long_line(usable):
    """One document is a single line of more than 700 words, and no other line comes near it."""
    lines = {i: longest_line(row["text"]) for i, row in usable.items()}
    assert "\n" not in usable[25]["text"]
    assert lines.pop(25) > 700
    assert max(lines.values()) < 200


def test_lengths_of_poor_documents(usable):
    """Poor documents have 15 to 200 words, or as many characters as that where words are not spaced."""
    unspaced = POOR["Chinese"] | POOR["Japanese"]
    for i, text in poor(usable).items():
        assert 15 <= (len(text) / 2 if i in unspaced else len(text.split())) <= 200, i


def test_code_fences(usable):
    """Fenced code occurs in several documents, fences are closed, and the Python one holds names with underscores."""
    fenced = {i: row["text"] for i, row in usable.items() if "```" in row["text"]}
    assert set(fenced) == {3, 41, 45, 55}
    assert all(len(re.findall(r"^```", text, re.MULTILINE)) % 2 == 0 for text in fenced.values())
    assert "__init__" in fenced[3] and "my_snake_case" in fenced[3]
    assert "```sql\n" in fenced[45]


def test_python_example_does_what_its_text_says(usable, capsys):
    """The first block of code in the Python document prints what the comment beside it promises."""
    block = re.search(r"```python\n(.*?)```", usable[3]["text"], re.DOTALL).group(1)
    exec(block, {"__name__": "example"})
    assert capsys.readouterr().out == "['flour']\n"


def test_latex(usable):
    """At least five documents hold LaTeX between dollar signs, and one of them an expression of asterisks."""
    latex = {i for i, row in usable.items() if re.search(r"\$[^$\n]*(?:\\[a-z]+|\^)[^$\n]*\$", row["text"])}
    assert {6, 9, 38, 51, 53} <= latex
    assert "2*3*4=24" in usable[6]["text"]


def test_braces(usable):
    """One document holds JSON that parses, and one placeholders in single and in doubled braces."""
    block = re.search(r"```json\n(.*?)```", usable[41]["text"], re.DOTALL).group(1)
    assert json.loads(block)["Answer"][0]["TTL"] == 300
    assert "{nachname}" in usable[55]["text"] and "{{x}}" in usable[55]["text"]


def test_markup(usable):
    """Tables, numbered lists, and Markdown with headings, bold, italics and links are all there."""
    texts = good(usable)
    assert {i for i, text in texts.items() if re.search(r"^\|[-|]+\|$", text, re.MULTILINE)} == {17, 28}
    assert {33, 62} <= {i for i, text in texts.items() if re.search(r"^1\. .*\n2\. ", text, re.MULTILINE)}
    for mark in (r"^# ", r"^## ", r"\*\*[^*]+\*\*", r"(?<!\*)\*[^*\n]+\*(?!\*)", r"\[[^\]]+\]\(https://[^)]+\)"):
        assert re.search(mark, texts[53], re.MULTILINE), mark


def test_quotation_marks(usable):
    """Straight, curly, pointed and corner quotation marks all occur."""
    everything = "".join(row["text"] for row in usable.values())
    for mark in '"“”„«»「」':
        assert mark in everything


def test_figures_in_the_tables_add_up(usable):
    """The percentages in the table of the two clinics are the rounded quotients beside them."""
    cells = re.findall(r"(\d+)/(\d+) = (\d+)%", usable[17]["text"])
    assert len(cells) == 6
    assert all(round(100 * int(a) / int(b)) == int(c) for a, b, c in cells)
