"""Texts on which tokenizers are known to differ: ten scripts, emoji, control characters, long runs, special tokens."""

from __future__ import annotations

SCRIPTS = {
    "Latin": "Ça coûte 12,50 € à l'été; Größe, Straße, İstanbul, ﬁne Ångström. ÉTÉ, été.",
    "Greek": "Η γρήγορη καφέ αλεπού πηδάει πάνω από τον τεμπέλη σκύλο.",
    "Cyrillic": "Съешь ещё этих мягких французских булок, да выпей чаю.",
    "Arabic": "نص عربي قصير مع أرقام ١٢٣ وَتَشْكِيل.",
    "Hebrew": "דג סקרן שט בים מאוכזב ולפתע מצא חברה",
    "Devanagari": "यह एक वाक्य है, जिसमें संयुक्ताक्षर क्ष त्र ज्ञ हैं।",
    "Thai": "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "Han": "敏捷的棕色狐狸跳过了懒狗。「引用」１２３，𠮷野家",
    "Kana": "いろはにほへと ちりぬるを。カタカナﾊﾝｶｸ",
    "Hangul": "다람쥐 헌 쳇바퀴에 타고파 한글",
}

EMOJI = (
    "👩‍👩‍👧‍👦 family, 🇫🇷🇩🇪🇫 flags, 👍🏽 thumb, ❤️ ❤, 1️⃣, 🏴󠁧󠁢󠁥󠁮󠁧󠁿",
    "🙂" * 40,
    "\u200d\ufe0f\U0001f3fd",
)
CONTROLS = (
    "\x00",
    "a\x00b\x00\x00 c",
    "".join(map(chr, range(32))),
    "\x7f\x80\x85\x9f a\x85b",
    "\u200b\u200e\u202a\u2028\u2029\ufeff\u00ad x\u00a0y\u3000z",
    "\ue000 \uf8ff\U000f0000\U0010ffff \ufffd \ufffe \uffff",
    "e\u0301\u0301\u0301 \u0301 n\u0303o\u0308 a" + "\u0300" * 50,
    "a\vb\fc\x1cd \t \r \n \r\n\r\n\t\t",
)
RUNS = tuple(each * 1000 for each in ("a", " ", "\n", "7", "=", "\t", "字", "é", "A", "-", "\r\n", "ab ", "中a1 "))
TEXTS = (
    "",
    " ",
    "\n",
    "A plain sentence, with a comma; and 1234567 digits.",
    "  leading, trailing and   inner white space \t\n\n\n with breaks\r\n ",
    "I'm you're they'LL WE'VE it'S don't O'Neil 'tis 's 'x",
    "iPhone HTMLParser McDonald ABCdef XMLHttpRequest2Go 3.14e-10 0xFFAB 1,000,000 ½ ² ⅷ Ⅷ",
    "def my_snake_case(self, **kwargs) -> None:\n    return self.__init__(x=2 * 3)\n\n\n\tif x:\n\t\tpass\n",
    'fn main() {\n    println!("{:?}", vec![1, 2]);\n}\n// ─── ░▒▓ ───\n',
    "$\\sum_{i=1}^{n} x_i^2 \\le \\frac{a}{b}$ \\begin{align*} a &= b \\\\ \\end{align*}",
    "https://example.org/a_b/c?d=e&f=%20g#h user@example.com /usr/bin/env C:\\Users\\x",
    "| a | b |\n|---|:-:|\n| 1 | **2** |\n\n> quote\n- [ ] item\n```py\nx\n```",
    "both Glacier glacier aGlacier Glaciers bothGlacier  both  x  both",
    "▁under ▁▁ ▁ Ġ Ċ <0x41> <0x0A> ##ing ##",
)
FRAMES = ("{0}", "a{0}b", "a {0} b", "  {0}  x", "\n{0}\n", "{0}{0}{0}", "{0} {0}", "é{0}字{0}7", "x {0}y", "{0}\t")


def round_specials(tokens: list[str]) -> list[str]:
    """Texts with the tokens in the middle of words, with and without blanks, one after another, and cut short."""
    framed = [frame.format(token) for token in tokens for frame in FRAMES]
    cut = [part for token in tokens for part in (token[:-1], token[1:], token.upper(), f"{token[:-1]} {token[-1]}")]
    return [*framed, *cut, "".join(tokens), " ".join(tokens)]


def all_texts(tokens: list[str]) -> list[str]:
    """Everything here, for a tokenizer with these added tokens."""
    return [*SCRIPTS.values(), *EMOJI, *CONTROLS, *RUNS, *TEXTS, *round_specials(tokens)]
