"""What the cleaning kernels hold for any text, for text without markup, and for markup put into it."""

from __future__ import annotations

import ast
import random
import re
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import nemocc_dask
from nemocc_dask.text import arrow
from nemocc_dask.text.lines import PASSAGE_LABEL
from nemocc_dask.text.pairs import format_pairs, parse_pairs

from .documents import count_quarters
from .unmarked import SAMPLES

Kernel = Callable[[pa.LargeStringArray], pa.LargeStringArray]

MARKER = "Paraphrased Text:"
SETTLING: dict[str, Kernel] = {
    "remove_markdown": arrow.remove_markdown,
    "remove_quotation": arrow.remove_quotation,
    "slice_after_marker": lambda texts: arrow.slice_after_marker(texts, MARKER),
    "remove_lines": lambda texts: arrow.remove_lines(texts, PASSAGE_LABEL),
    "normalize_bullets": arrow.normalize_bullets,
    "normalize_newlines": arrow.normalize_newlines,
    "strip": arrow.strip,
}
"""Text in, text out."""
DECIDING: dict[str, Callable[[pa.LargeStringArray], pa.BooleanArray]] = {
    "starts_with_marker": lambda texts: arrow.starts_with_marker(texts, MARKER),
    "is_blank": arrow.is_blank,
}
"""Text in, true or false out."""
SIGNS = '*_[]()"“”#>-\n`~$\\/.:!|=<{ \t'
PIECES = (
    *SIGNS, *("**", "***", "__", "](", "](https://x.y/a_b)", "](a.md)", "![", "```", "\n```\n", "$$", "\n- ", "\n    "),
    *("a", "Z", "9", "é", "ß", "ſ", "文", "서", "ไ", "😀", "\u0301", "\x00", "\x01", "\x02", "\u2028", "\r\n"),
    *("word", "two words", "my_name", "f(**k)", "/* c */", "https://x.y/_a_", "1. ", "Passage 2:", MARKER, "Here is"),
)  # fmt: skip
TEXTS = st.lists(st.sampled_from(PIECES), max_size=16).map("".join) | st.text(SIGNS + "abé文😀", max_size=24)
ROWS = st.lists(st.none() | TEXTS, max_size=6)
fuzzed = settings(max_examples=80, deadline=None)


def array(*rows: str | None) -> pa.LargeStringArray:
    return pa.array(rows, pa.large_string())


def without_markup(text: str) -> str:
    return str(arrow.remove_markdown(array(text))[0].as_py())


def code_of(source: Path) -> str:
    """The source with neither docstrings nor comments nor words in quotation marks, where markup may well be."""
    tree = ast.parse(source.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        statements = getattr(node, "body", None)
        if isinstance(statements, list):
            node.body = [each for each in statements if not _is_text(each)] or [ast.Pass()]
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not node.value.isidentifier():
            node.value = "words"
    return ast.unparse(tree)


def _is_text(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


PACKAGE = Path(nemocc_dask.__file__).parent
CORPUS = {**SAMPLES, **{str(path.relative_to(PACKAGE)): code_of(path) for path in sorted(PACKAGE.rglob("*.py"))}}


@pytest.fixture(params=SETTLING, scope="module")
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return SETTLING[request.param]


@given(rows=ROWS)
@example(rows=["*a `b* c` d*", "$**5**$", "**a\n    b**", "_*a_*", "***a* b**", "[[a](b.c)](https://x.y)"])
@example(rows=["\x01*a*\x01", "\x01`*a*`\x02", "![a](x.y)[b](_c_d.e)", "é*a*文", "*a*" * 9])
@fuzzed
def test_a_text_settles_at_once_and_never_grows(kernel: Kernel, rows: list[str | None]) -> None:
    """Twice is once, no row has more bytes than before, null stays null and nothing else becomes null."""
    once = kernel(array(*rows))
    once.validate(full=True)
    assert kernel(once).equals(once)
    for before, after in zip(rows, once.to_pylist(), strict=True):
        assert (before is None) == (after is None)
        assert before is None or len(after.encode()) <= len(before.encode())


@given(rows=ROWS, order=st.randoms(use_true_random=False), start=st.integers(0, 6))
@example(rows=["a", "_b_", "c", "*b*", None, "*"], order=random.Random(0), start=1)
@fuzzed
def test_rows_are_strangers(kernel: Kernel, rows: list[str | None], order: random.Random, start: int) -> None:
    """A row gives the same alone, in any order, in a slice, and in two arrays put together."""
    alone = [kernel(array(row))[0].as_py() for row in rows]
    together = array(*rows)
    assert kernel(together).to_pylist() == alone
    assert kernel(together.slice(start, 3)).to_pylist() == alone[start : start + 3]
    assert kernel(pa.concat_arrays([together, together.slice(start)])).to_pylist() == alone + alone[start:]
    shuffled = order.sample(range(len(rows)), k=len(rows))
    assert kernel(together.take(pa.array(shuffled, pa.int64()))).to_pylist() == [alone[place] for place in shuffled]


@pytest.mark.parametrize("name", DECIDING)
@given(rows=ROWS)
@fuzzed
def test_decisions_are_made_row_by_row(name: str, rows: list[str | None]) -> None:
    """Each row is decided as it is alone, and never left undecided."""
    decided = DECIDING[name](array(*rows))
    assert decided.null_count == 0
    assert decided.to_pylist() == [DECIDING[name](array(row))[0].as_py() for row in rows]


@pytest.mark.parametrize("name", [name for name in SETTLING if name != "normalize_bullets"])  # that makes lists
@pytest.mark.parametrize("kind", SAMPLES)
def test_unmarked_text_is_left_alone(name: str, kind: str) -> None:
    """Code, LaTeX, tables, addresses and prose come out byte for byte as they went in."""
    assert SETTLING[name](array(SAMPLES[kind])).to_pylist() == [SAMPLES[kind]]


def test_our_own_code_is_left_alone() -> None:
    """Not one byte of this package's code is taken for markup."""
    assert len(CORPUS) > 2 * len(SAMPLES)
    for name, text in CORPUS.items():
        assert without_markup(text) == text, name


@pytest.mark.parametrize("fence", ["```", "~~~", "````"])
@given(text=TEXTS.filter(lambda text: "`" not in text and "~" not in text and "\r" not in text))
@example(text="**x** _y_ [z](https://x.y)")
@fuzzed
def test_what_is_fenced_is_left_alone(fence: str, text: str) -> None:
    """Inside a fence there is no markup, beside it there is."""
    fenced = f"{fence}text\n{text}\n{fence}"
    assert without_markup(f"*a*\n{fenced}\n**b**") == f"a\n{fenced}\nb"


WRAPPINGS = ("**{}**", "*{}*", "_{}_", "***{}***", "[{}](https://x.y/a_b)", "[{}](a_b/c.md#d)", "**[{}](https://x.y)**")
# Words that stand free, in lines without a sign that another could be paired with.
FREE_WORD = re.compile(r"(?<![^\s])[A-Za-z]{2,}(?![^\s])")
PLAIN_LINE = re.compile(r"[^*_`$\\\[\]\n]*")


@given(draw=st.data())
@settings(max_examples=60, deadline=None)
def test_markup_put_into_text_comes_off_again(draw: st.DataObject) -> None:
    """Words in bold, in italics or made links in any of the texts leave it as it was."""
    text = draw.draw(st.sampled_from(sorted(CORPUS.values())))
    lines = text.split("\n")
    usable = [place for place, line in enumerate(lines) if _has_room(line)]
    if not usable:
        return
    for place in draw.draw(st.sets(st.sampled_from(usable), min_size=1, max_size=5)):
        word = draw.draw(st.sampled_from(list(FREE_WORD.finditer(lines[place]))))
        wrapped = draw.draw(st.sampled_from(WRAPPINGS)).format(word[0])
        lines[place] = lines[place][: word.start()] + wrapped + lines[place][word.end() :]
    assert without_markup("\n".join(lines)) == text


def _has_room(line: str) -> bool:
    return not line.startswith((" ", "\t")) and bool(PLAIN_LINE.fullmatch(line) and FREE_WORD.search(line))


@given(text=TEXTS | st.text())
@fuzzed
def test_pairs_are_read_from_any_text(text: str) -> None:
    """Nothing raises, no half of a pair is empty or untrimmed, and halves are no more text than there was."""
    pairs = parse_pairs(text)
    assert all(half == half.strip() != "" for pair in pairs for half in pair)
    assert sum(len(half.encode()) for pair in pairs for half in pair) <= len(text.encode())


QA = st.sampled_from(
    [*"*_#>-:.?\n \r", "**", "- ", "1. ", "Question", "Question:", "Q:", "Answer:", "answer", "A:", "Note:", "a", "文"]
)


@given(text=st.lists(QA, max_size=24).map("".join))
@fuzzed
def test_pairs_written_are_no_fewer_pairs(text: str) -> None:
    """What `format_pairs` writes begins with a question and has each half of each pair in it, in order."""
    pairs, at = parse_pairs(text), 0
    written = format_pairs(pairs)
    assert written.startswith("Question: ") == bool(pairs)
    for half in (half for pair in pairs for half in pair):
        at = written.index(half, at) + len(half)
    assert at == len(written)


@given(rows=ROWS, budget=st.integers(1, 9))
@fuzzed
def test_overlong_rows_are_cut_and_lose_only_white_space(rows: list[str | None], budget: int) -> None:
    """Whatever signs are in it: no row vanishes, nothing but white space does, and nothing is added but spaces."""
    texts = array(*rows)
    pieces = arrow.split_overlong(texts, count_quarters(texts), max_tokens=budget, count=count_quarters)
    assert sorted(set(pieces.parents.tolist())) == list(range(len(rows)))
    for row, text in enumerate(rows):
        cut = [piece for piece, parent in zip(pieces.texts.to_pylist(), pieces.parents, strict=True) if parent == row]
        assert (text is None) == (cut == [None])
        assert text is None or "".join("".join(cut).split()) == "".join(text.split())
