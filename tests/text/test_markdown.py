"""Bold, italics and links go; whatever only looks like them stays."""

from __future__ import annotations

import re
from importlib.resources import files

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nemocc_dask.text.layout import bytes_of
from nemocc_dask.text.markdown import remove_markdown
from nemocc_dask.text.native.characters import CLASSES

from .markup_by_patterns import without_markup
from .test_cleaning_properties import TEXTS

STAYS = [
    *(
        "my_snake_case",
        "_a_b_c_",
        "_my_name_ of x_y_",
        "*a*b_c_",
        "x = *a*b*c* d",
        "f(*a*b*c*)",
        "2*3*4=24",
        "__init__",
        "2**3**4",
        "a * b * c",
        "__my_var__ and __init__ and ___",
        "x = __init__",
    ),
    *(
        "f(**kwargs, **other)",
        "*args, **kwargs",
        "f(*a,*b); g(**a,**b)",
        "{**a, **b}",
        "int *a, *b;",
        "char *p = *q;",
    ),
    *(
        "int *x = (*y)*(*z)",
        "char *a; /* c */",
        "/* c *x* c */",
        "(a+b)*c*(d+e)",
        "x *y*z",
        "(2**n)**k",
        "*p++; x=*q;",
    ),
    *("arr[i](x)", "handlers[name](event)", "handlers [name](event)", "a[0](x.y)", "f(x)[i](a.b)"),
    *(
        "$a_i*b_j*c$",
        r"\(a*b*c\)",
        r"\[a*b*c\]",
        "$$a *b* c$$",
        r"\sum_{i}^{n} x_i + y_j",
        r"\mathbf{x}_i \cdot \mathbf{y}_j",
    ),
    *(
        "https://x.y/_a_/b_c",
        "https://x.y/*/a/*",
        "/usr/_a_/b_c",
        "src/**/test/*.py",
        "*.py and *.txt",
        "*foo*.txt",
    ),
    *("`inline *code*`", "``a ` *b* c``", "```\n*x* and **y**\n```\nrest", "```py\n*x*", "~~~\n_x_\n~~~"),
    *(
        "a\n    x = *y* and **z**\n\tq *r* s",
        "5* hotel, 4* hotel",
        r"\*x\*",
        r"\_x\_",
        "* bullet",
        "* * *",
        "***",
        "- - -",
    ),
    *(
        ".*foo.*$ and .*(foo).*",
        '__all__ = ["_x", "y_"]',
        "self._x + self._y",
        "std::_x and p->_x + q->_y",
        '"_abc_"',
    ),
    *(
        '"%*d %*s"',
        "SELECT *, a.* FROM b",
        "costs $5 and $6",
        "| a | b |\n|---|---|\n| 1 | 2 |",
        "# Heading",
        "[ref][1] [^1]",
    ),
    *("/* a */ void *b; /* c */ void* (*d)", "ls *_old.* ~/new_*/**", "find -name '*_test_*'", "[*_# ]*(x)*"),
    *(
        "_see my var_here_",
        "2**ab**cd",
        "x(**a, **b)s",
        'not "_" but "__"',
        ".. _a b: https://x.y `c`_",
    ),
    *("https://x.y/?q=*x*&r=_y_#_z_", "*a*s", "_a_b c_d_"),
    *("-*- mode -*-", "变量a_b_c和d", "_foo_.py", "x_*y*_z"),
]
GOES = {
    "**x**": "x",
    "*x*": "x",
    "***x***": "x",
    "_x_": "x",
    "__two words__": "two words",
    "__Note:__ x": "Note: x",
    "_word_ alone": "word alone",
    "*a* *b* *c*": "a b c",
    "**a**, *b*; _c_. (**d**)": "a, b; c. (d)",
    "**bold *it* more**": "bold it more",
    "***bold** it*": "bold it",
    "**bold *it***": "bold it",
    "***it* bold**": "it bold",
    "_**x**_ **_y_** ___z w___": "x y z w",
    "这是**粗体**文字": "这是粗体文字",
    "**서울**은": "서울은",
    "**A) Paris**": "A) Paris",
    "**5 * 3** x": "5 * 3 x",
    "**API**s": "APIs",
    "the **Dask scheduler**s (**worker**s)": "the Dask schedulers (workers)",
    "_see my_var for details_": "see my_var for details",
    "_http://x.y/z_ and _https://x.y/_": "http://x.y/z and https://x.y/",
    "*test*": "test",
    "**true**/**false** or **yes**/**no**": "true/false or yes/no",
    "dear: $$\n\n**dearer**: $$": "dear: $$\n\ndearer: $$",
    "(*note: x*)": "(note: x)",
    '_He said "no" to_ me': 'He said "no" to me',
    "*pre-* and *-ing*": "pre- and -ing",
    "**Use `*args` here**": "Use `*args` here",
    "**https://x.y/z**": "https://x.y/z",
    "costs $5 and **bold** and $6": "costs $5 and bold and $6",
    "**$5** and **$6**": "$5 and $6",
    "| **a** | _b_ |": "| a | b |",
    "    - **x** y\n    * *z*": "    - x y\n    * z",
    "[words](url/x)": "words",
    "[words](#part)": "words",
    "![alt](url.png)": "alt",
    "[![alt](i.png)](https://x.y)": "alt",
    "[the docs](https://x.y/a_b_c)": "the docs",
    '[a](https://x.y/b_(c)_d "title *x*") z': "a z",
    "[a [b] c](<my file.md>)": "a [b] c",
    "read[the docs](https://x.y)": "readthe docs",
    "见[文档](docs/a.md)": "见文档",
    "*a*[b](https://c.d)": "ab",
    "[1](mailto:a@b.c)": "1",
    "**[bold](https://x.y/a_b)**": "bold",
}
TRICKY = st.text(alphabet='*_`$[]()\\/ \n.-=:"ab1é文#!', max_size=24)


def removed(text: str) -> str:
    """One text through the kernel."""
    return remove_markdown(pa.array([text], pa.large_string()))[0].as_py()


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_markup_stays(text: str) -> None:
    """Code, maths, identifiers, addresses, bullets and money come out as they went in."""
    assert removed(text) == text


@pytest.mark.parametrize("text", STAYS)
def test_what_is_no_markup_stays_beside_markup(text: str) -> None:
    """A bold word in the line before does not expose what follows, however many rounds it takes."""
    assert removed(f"**Example *of* this**\n\n{text}\n") == f"Example of this\n\n{text}\n"


@pytest.mark.parametrize("text", GOES)
def test_markup_goes(text: str) -> None:
    """The signs go and the words stay."""
    assert removed(text) == GOES[text]


@given(text=TRICKY | TEXTS)
@example(text="\\(\\(\\\\(a\\)\n\\[\\[\\]")
@example(text="``a ` b``` `c``\n````d` e`")
@example(text="x https://a.b/*c_*d_ _http://x.y/_z_ file:// ftp://*a")
@example(text="$a*b$ $a*bc$ $**a b$ $5–$ $a\n$$b\n\nc$$d\n$$")
@example(text="*a _b *c_ **d* e** _f_*g*_")
@example(text="*a`*`b*")
@example(text="[a[b`]`](<c d> 'e') x![f\\]](ftp://g_(h)>) i[j](k.l)[m](n#) ]![](https://o)")
@example(text="[a](http://b\x00c) [d](e\x00.f) \x00[g](h.i)\x00")
@settings(max_examples=1000, deadline=None)
def test_markup_is_what_the_patterns_say(text: str) -> None:
    """C takes out what patterns and plain loops take out, of anything that signs, code, maths and names can make."""
    assert removed(text) == without_markup(text)


@given(before=st.text(max_size=3), after=st.text(max_size=3), sign=st.sampled_from("*_"))
@settings(max_examples=300, deadline=None)
def test_the_characters_beside_a_sign_are_decoded(before: str, after: str, sign: str) -> None:
    """Characters of one to four bytes beside signs decide alike in C and in Python."""
    text = f"{before}{sign}{after}a{before}{sign}{after}"
    assert removed(text) == without_markup(text)


def test_classes_are_numbered_alike() -> None:
    """Python and C know each class of characters by the same bit."""
    header = (files("nemocc_dask") / "text" / "native" / "markup.h").read_text()
    assert {name: 1 << bit for bit, name in enumerate(CLASSES)} == {
        name: 1 << int(bit) for name, bit in re.findall(r"^    ([A-Z_]+) = 1 << ([0-9]+),", header, re.MULTILINE)
    }


@pytest.mark.parametrize("end", [b"*", b"_", b"`", b"$", b"\\", b"\xe2", b"\xe2\x80", b"\xf0\x9f\x98"])
def test_a_text_that_ends_within_a_character(end: bytes) -> None:
    """A text that ends within a character, as none should, makes neither more of it nor less."""
    text = b"*a* $" + end
    texts = pa.LargeStringArray.from_buffers(1, pa.py_buffer(np.array([0, len(text)])), pa.py_buffer(text))
    assert bytes_of(remove_markdown(texts)).tobytes() == b"a $" + end


@given(text=TRICKY)
@settings(max_examples=200, deadline=None)
def test_words_are_never_lost(text: str) -> None:
    """Outside links nothing but stars and underscores ever goes."""
    text = text.replace("](", "] (")
    assert re.sub("[*_]", "", removed(text)) == re.sub("[*_]", "", text)


@given(text=st.text(alphabet=st.characters(exclude_characters="*_[", codec="utf-8")))
@settings(max_examples=100, deadline=None)
def test_text_without_signs_is_untouched(text: str) -> None:
    """Without a star, an underscore or a bracket there is nothing to do."""
    assert removed(text) == text


def test_a_long_run_of_signs_ends() -> None:
    """Stars without end, brackets without end and a code fence without end are only text."""
    for text in (
        "*" * 50_000,
        "[" * 50_000,
        "`" * 50_000,
        "```\n" + "*x* " * 10_000,
        "\\(" * 20_000,
        "\\[" * 20_000,
        "/* " * 20_000,
        "](" * 20_000,
        "_a" * 20_000 + ".",
        "$" * 50_001,
    ):
        assert removed(text) == text


def test_emphasis_in_emphasis_ends() -> None:
    """However deep it is nested, and however much of it stands in a line; words of over 30,000 bytes have none."""
    deep = 1_000
    assert removed("*a " * deep + "b* " * deep) == "a " * deep + "b " * deep
    assert removed("**a** " * deep) == "a " * deep
    assert removed(f"**{'a' * 30_000}**") == "a" * 30_000
    assert removed(f"**{'a' * 30_001}**") == f"**{'a' * 30_001}**"
    bottomless = removed("*a " * 200_000 + "b* " * 200_000)
    assert bottomless.count("a ") == 200_000 and bottomless.startswith("*a *a ")
