"""The texts on which a fast counter has to agree with Hugging Face before it is trusted: those where tokenizers differ.

A lone surrogate is not among them: no Arrow text holds one, `pa.array` raises UnicodeEncodeError.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

TOKENS_LOOKED_AT = 60
"""Added tokens of a tokenizer that are put into many frames; some have a thousand, most of them reserved ones."""

_SCRIPTS = (
    "Ça coûte 12,50 € à l'été; naïve façade, œuvre",
    "Größe, Straße, Übung – „Zitat“ … ‚so‘; İstanbul, ﬁne Ångström",
    "¿Cuántos años tenía él? ¡Muchísimos!",
    "Η γρήγορη καφέ αλεπού πηδάει πάνω από τον σκύλο",
    "Съешь ещё этих мягких французских булок",
    "敏捷的棕色狐狸跳过了懒狗。「引用」１２３，𠮷野家",
    "いろはにほへと ちりぬるを。カタカナﾊﾝｶｸ",
    "다람쥐 헌 쳇바퀴에 타고파",
    "نص عربي قصير مع أرقام ١٢٣ وَتَشْكِيل",
    "דג סקרן שט בים מאוכזב",
    "यह एक वाक्य है, क्ष त्र ज्ञ",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
)
_WORDS = (
    "",
    " ",
    "A plain sentence, with a comma; and 1234567 digits.",
    "  leading, trailing and   inner white space \t\n\n\n with breaks\r\n ",
    "def my_snake_case(self, **kwargs) -> None:\n    return self.__init__(x=2 * 3)\n\n\n\tif x:\n\t\tpass\n",
    "don't can't we'll I'M THEY'RE it's 'tis WE'VE 's O'Neil",
    "iPhone HTMLParser ABCdef XMLHttpRequest2Go 3.14e-10 0xFFAB 1,000,000 ½ ² Ⅷ",
    "$\\sum_{i=1}^{n} x_i^2 \\le \\frac{a}{b}$",
    "https://example.org/a_b/c?d=e&f=%20g#h user@example.org C:\\Users\\x",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n\n> quote\n- [ ] item\n",
    "▁under ▁▁ ▁ Ġ Ċ <0x41> ##ing",
    "<s> </s> [INST] <|endoftext|> <|im_start|>user<|im_end|> <unk> <pad>",
)
_ODD = (
    "👩‍👩‍👧‍👦 family, 🇫🇷🇩🇪🇫 flags, 👍🏽 thumb, ❤️ ❤, 1️⃣, 🏴󠁧󠁢󠁥󠁮󠁧󠁿 \u200d\ufe0f",
    "a\x00b\x00\x00 c\x7f\x80\x85\x9f",
    "".join(map(chr, range(33))),
    "e\u0301\u0301 n\u0303o\u0308 \u0301 a" + "\u0300" * 30,
    "\u00a0 \u200b \ufeff \u2028 \u2029 \u00ad \u3000 zero width \u200e\u202a",
    "\ue000 \uf8ff \U000f0000 \U0010ffff \ufffd \uffff",
    "=" * 70 + "\n" + "- " * 40,
)
_RUNS = tuple(piece * 1000 for piece in ("a", " ", "\n", "7", "\t", "字", "\r\n", "中a1 "))
_FRAMES = ("{0}", "a{0}b", "a {0} b", "  {0}  x", "\n{0}\n", "{0}{0}", "{0} {0}", "é{0}字{0}7", "x {0}y")


def sample(added_tokens: Iterable[Any]) -> list[str]:
    """The texts, among them those with the tokenizer's own added tokens in them.

    added_tokens: as `tokenizers` has them, with `content`, `lstrip`, `rstrip`, `single_word`, `normalized`.

    >>> len(sample([]))
    40
    """
    tokens = sorted(added_tokens, key=_plainness)
    names = [token.content for token in tokens]
    framed = [frame.format(name) for name in names[:TOKENS_LOOKED_AT] for frame in _FRAMES]
    cut = [part for name in names[:TOKENS_LOOKED_AT] for part in (name[:-1], name[1:], name.upper(), name.lower())]
    return [*_SCRIPTS, *_WORDS, *_ODD, *_RUNS, *framed, *cut, "".join(names)]


def _plainness(token: Any) -> int:
    """Fewest first, for tokens that take blanks along, are whole words only, or are looked for in normalized text."""
    return int(-2 * (token.lstrip + token.rstrip + token.single_word) - token.normalized)
