"""Emphasis and links by patterns of Python's `re`, one text at a time: the slow way, which says what is meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import pairwise

from nemocc_dask.text.native.characters import ALL_LETTERS, LETTERS
from nemocc_dask.text.patterns import SPACE

# What is read as one piece and left alone.
CODE = r"(?:`{2,}(?:[^`\n]|`[^`\n])+`{2,}|`[^`\n]+`)"
LINE_START = r"(?:^|\n)"
FENCES = tuple(
    LINE_START + rf"[ \t]*{fence}[^\n`]*\n(?:(?:[^\n]*\n)*?[ \t]*{fence}|(?:.|\n)*)" for fence in ("`{3,}", "~{3,}")
)
BULLET = LINE_START + r"[ \t]*(?:[-+*•]|[0-9]{1,3}[.)])[ \t]"
INDENTED_CODE = LINE_START + r"(?: {4}| {0,3}\t)[^\n]+"
MATHS = (
    r"\$\$(?:[^$\n]|\n[^$\n])+\n?\$\$",  # ends before a blank line: $$ is slang for dear, too
    r"\$[0-9][0-9.,]* ",  # money: what follows it is no formula
    r"\$[^$ \t\n](?:(?:[^$*\n]|\*[^$*\n])*[^$*\n \t(–-])?\$",
    r"\\\((?:[^\\\n]|\\[^)\n])*\\\)",
    r"\\\[(?:[^\\]|\\[^\]])*\\\]",
)
ESCAPED = r"\\[!-/:-@\[-`{-~]"
COMMENT = r"/\*+[ \t\n!](?:[^*]|\*+[^*/])*\*+/"
# It does not end with an underscore, which may close what the address stands in.
IN_ADDRESS = r"\*+[/&=?0-9A-Za-z]|[!-)+-;=?-^a-~]"
ADDRESS = rf"(?:https?|ftp|file)://(?:{IN_ADDRESS}|_)*(?:{IN_ADDRESS})"
DUNDER = r"__[0-9A-Za-z_]*__"
QUOTED_NAME = r"""["']_[0-9A-Za-z_]*["']|'\*[^'\n \t]*\*'"""
TARGET = r"\.\. _[^_:\n]+:"  # of a link in reStructuredText
NO_PROSE = "|".join(
    (
        *FENCES,
        BULLET,
        INDENTED_CODE,
        CODE,
        *MATHS,
        ESCAPED,
        COMMENT,
        ADDRESS,
        DUNDER,
        QUOTED_NAME,
        TARGET,
    )
)

# Links.
WORDS = rf"(?:(?>{CODE})|\\[^\n]|[^\[\]`\\\n]|\[[^\[\]\n]*\])"
PLACE = r"(?:[^ \t\n()<>]|\([^ \t\n()]*\))"
WEB_PLACE = rf"(?:<?(?:https?://|ftp://|mailto:){PLACE}+>?)"
NEAR_PLACE = rf"(?:<[^<>\n]*>|{PLACE}*[./#]{PLACE}*)"
TITLE = r"""(?:[ \t]+(?:"[^"\n]*"|'[^'\n]*'))?[ \t]*"""
INDEX = r"[0-9A-Za-z)\]]\["
WEB_LINK = rf"([0-9A-Za-z)\]]?)!?\[({WORDS}*)\]\([ \t]*{WEB_PLACE}{TITLE}\)"
NEAR_LINK = rf"!?\[({WORDS}+)\]\([ \t]*{NEAR_PLACE}{TITLE}\)"
LINKS = "|".join((WEB_LINK, f"({NO_PROSE}|{INDEX})", NEAR_LINK))
WHAT_STAYS_OF_LINKS = r"\1\2\3\4"

HIDDEN, BARRIER = "\x01", "`"
NO_PROSE_OR_PLACE = re.compile(rf"{NO_PROSE}|\]\({PLACE}*\)")
LONGEST_RUN, LONGEST_WORDS = 3, 30_000

ASCII_SIGNS = r"""!"#$%&'()*+,./:;<=>?@\[\\\]^_`{|}~-"""
BRACKETED = r"\([^()*`\n]*\)|\[[^\[\]*`\n]*\]"
LONE = rf"[^{SPACE}{ASCII_SIGNS}]"


def words(first: str, inside: str, last: str) -> str:
    return rf"(?:{first})(?:{inside})*(?:{last})|{first}"


BOLD = words(
    first=rf"\\[^\n]|[^{SPACE}*`\\),;/=|>]", inside=r"\\[^\n]| \* |[^*`\\\n]", last=rf"\\[^\n]|[^{SPACE}*`\\(\[/=&]"
)
STARRED_INSIDE = rf"{BRACKETED}|\\[^\n]|[^*`()\[\]\\\n=|<>{{}}]"
STARRED = rf"_(?:{STARRED_INSIDE})*_|" + words(
    first=rf"{BRACKETED}|-[{LETTERS}]|[\"'#$@]|{LONE}",
    inside=STARRED_INSIDE,
    last=rf"{BRACKETED}|[{LETTERS}]-|[^{SPACE}*`()\[\]\\/=|<>{{}}+&^-]",
)
QUOTED = r'"[^"_*`\n]*"'
FIRST = rf"{BRACKETED}|{QUOTED}|['#@-]|{LONE}"
INSIDE = rf"{BRACKETED}|[ (]{QUOTED}|[^_*`()\[\]\\\n=|<>{{}}\"$]"
LAST = rf"{BRACKETED}|[ (]{QUOTED}|[^{SPACE}_*`()\[\]\\/=|<>{{}}\"$+&^]"
UNDERSCORED = rf"{words(FIRST, INSIDE, LAST)}|(?:{FIRST})(?:{INSIDE})* (?:{INSIDE}|_)* (?:{INSIDE})*(?:{LAST})"
TWO_WORDS = rf"(?:{FIRST})(?:{INSIDE})*(?: (?:{INSIDE})*(?:{LAST})|:)"
WORD_WITH_ENDING = rf"[{LETTERS}][{LETTERS} ’'-]*[{LETTERS}]"


@dataclass
class Run:
    """Neighbouring signs: where they stood, where those that are left stand, and what stands beside them."""

    sign: str
    begin: int
    end: int
    line: int
    before: str = "\n"
    after: str = "\n"
    beyond: str = "\n"

    def __post_init__(self) -> None:
        self.size, self.start, self.stop = self.end - self.begin, self.begin, self.end

    @property
    def left(self) -> int:
        return self.stop - self.start


def without_markup(text: str) -> str:
    """The text without emphasis and links, and without what shows as such when they are gone."""
    bare = without_emphasis(text)
    while (words := re.sub(LINKS, WHAT_STAYS_OF_LINKS, bare)) != bare:
        bare = without_emphasis(words)
    return bare


def without_emphasis(text: str) -> str:
    while (bare := without_pairs(text)) != text:
        text = bare
    return text


def without_pairs(text: str) -> str:
    hidden = NO_PROSE_OR_PLACE.sub(cover, text)
    found = runs(text, hidden)
    signs = list(hidden)
    for sign in "*_":
        take_pairs([run for run in found if run.sign == sign and has_role(run)], signs)
    stays = "".join(text)
    for run in reversed(found):
        stays = stays[: run.begin] + stays[run.start : run.stop] + stays[run.end :]
    return stays


def cover(piece: re.Match[str]) -> str:
    return re.sub("[^\n]", BARRIER if piece[0].startswith("/") else HIDDEN, piece[0])


def runs(text: str, hidden: str) -> list[Run]:
    found = [
        Run(run[0][0], run.start(), run.end(), text.count("\n", 0, run.start()))
        for run in re.finditer(r"\*+|_+", hidden)
        if not (
            run[0] == "_" and re.fullmatch("[0-9A-Za-z]_[0-9A-Za-z]", text[max(run.start() - 1, 0) : run.end() + 1])
        )
    ]
    for run in found:
        run.before, run.after = text[run.begin - 1 : run.begin] or "\n", text[run.end : run.end + 1] or "\n"
        run.beyond = text[run.end + 1 : run.end + 2] or "\n"
    # Beside a run of the other sign counts what stands beyond that.
    beside = [(run.before, run.after, run.beyond) for run in found]
    for place, (first, second) in enumerate(pairwise(found)):
        if first.end == second.begin:
            second.before = beside[place][0]
            first.after, first.beyond = beside[place + 1][1:]
    return found


def is_in(members: str, character: str) -> bool:
    return re.fullmatch(f"[{members}]", character) is not None


def has_role(run: Run) -> bool:
    if run.sign == "*":
        return not (run.size == 1 and is_in(SPACE, run.before) and is_in(SPACE, run.after))
    return not (is_in(ALL_LETTERS, run.before) and is_in(ALL_LETTERS, run.after))


def opens(run: Run) -> bool:
    never_after = LETTERS + r")\]}\^`" if run.sign == "*" else ALL_LETTERS + r")\]}./\\@#$&=\^~%<>:`"
    wildcard = run.sign == "*" and run.size == 1 and run.before in "./" and is_in(r"0-9A-Za-z.?+)|($\"'_", run.after)
    return run.size <= LONGEST_RUN and not (is_in(never_after, run.before) or is_in(SPACE, run.after) or wildcard)


def closes(run: Run) -> bool:
    never_before = (LETTERS if run.sign == "*" else ALL_LETTERS) + "`"
    tied = run.sign == "_" and run.after in ".@/([=" and is_in(ALL_LETTERS + "*", run.beyond)
    return run.size <= LONGEST_RUN and not (is_in(SPACE, run.before) or is_in(never_before, run.after) or tied)


def take_pairs(left: list[Run], signs: list[str]) -> None:
    """In rounds: all pairs of neighbours at once, but of two that share a run the first; then those that are left."""
    while pairs := [pair for pair in pairwise(left) if is_pair(*pair, "".join(signs))]:
        last = None
        for opening, closing in pairs:
            if opening is last:
                last = None
                continue
            size = min(opening.left, closing.left)
            opening.stop -= size
            closing.start += size
            for place in (*range(opening.stop, opening.stop + size), *range(closing.start - size, closing.start)):
                signs[place] = HIDDEN
            last = closing
        left = [run for run in left if run.left]


def is_pair(opening: Run, closing: Run, hidden: str) -> bool:
    sizes = {opening.left, closing.left}
    if not opens(opening) or opening.line != closing.line or not (len(sizes) == 1 or max(sizes) == LONGEST_RUN):
        return False
    between, strong = hidden[opening.stop : closing.start], min(sizes) > 1
    if len(between.encode()) > LONGEST_WORDS:
        return False
    if opening.sign == "_":
        return closes(closing) and re.fullmatch(TWO_WORDS if strong else UNDERSCORED, between) is not None
    if not closes(closing):
        may_end_word = closing.size == 2 and is_in(LETTERS, closing.before) and is_in("a-z", closing.after)
        if not (may_end_word and is_in(SPACE + r"(\[\"'“‘«", opening.before) and len(sizes) == 1):
            return False
    if (
        closing.size == 1
        and closing.after == "."
        and is_in(LETTERS, closing.beyond)
        and not re.search(f"[{SPACE}]", between)
    ):
        return False
    pattern = STARRED if not strong else BOLD if closes(closing) else WORD_WITH_ENDING
    return re.fullmatch(pattern, between) is not None
