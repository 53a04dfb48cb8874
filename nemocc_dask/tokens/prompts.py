"""Whole prompts as an endpoint sees them: rendered one by one, or a column of documents within the same fixed words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import product
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.errors import TokenizerError
from nemocc_dask.tokens.counting import Count
from nemocc_dask.tokens.pieces import slices

BATCH_BYTES = 32_000_000
"""Prompts are put together in batches of so much text at most, or of one document where that is longer."""

FIXED_WORDS_KEPT = 64
"""Prompts whose fixed words are remembered: one for each task, and a server may have many."""

Message = Mapping[str, str]
Messages = Callable[[str], Sequence[Message]]
"""A document → the chat messages with it in place."""

Asked = tuple[tuple[str, str], ...]
"""Role and content of each message round `PLACEHOLDER`."""

SEAM_TOKENS = 16
"""More than a prompt can have, for each place of its document, beside the tokens of its own words and the document's:
where the two meet they tokenize otherwise than apart, which comes to one or two tokens."""


class PromptWords(NamedTuple):
    """What a prompt says besides its document.

    tokens: those of the prompt round an empty document.
    places: how often the document stands in it. A prompt then has `tokens`, and `places` times the document's own and
    at most `SEAM_TOKENS`. None where that cannot be said, as where a chat template changes documents.
    """

    tokens: int
    places: int | None


class Prompts:
    """Renders and counts prompts with one Hugging Face tokenizer, `count` being the fast way to count whole texts."""

    def __init__(self, tokenizer: Any, count: Count) -> None:
        self._tokenizer = tokenizer
        self._count = count
        self._fixed_words = lru_cache(FIXED_WORDS_KEPT)(self._find_fixed_words)
        self._counted_words = lru_cache(FIXED_WORDS_KEPT)(self._count_words)

    def render(self, messages: Sequence[Message]) -> str:
        """The text of a prompt, by the chat template where there is one, else one message a line."""
        return _render(self._tokenizer, messages) if self._tokenizer.chat_template else _lines(messages)

    def render_without_bos(self, messages: Sequence[Message]) -> str:
        """The text of a prompt for an endpoint that puts the BOS token first itself."""
        text = self.render(messages)
        return text.removeprefix(self._tokenizer.bos_token or "") if self._tokenizer.chat_template else text

    def count_one(self, messages: Sequence[Message]) -> int:
        """Tokens of one prompt, by Hugging Face itself."""
        bare = bool(self._tokenizer.chat_template)  # a template writes BOS and its like itself
        return len(self._tokenizer.encode(self.render(messages), add_special_tokens=not bare))

    def count(self, messages: Messages, documents: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """Tokens of the prompt round each document, int64 (n,): what `count_one` says of each."""
        if documents.null_count:
            raise ValueError(f"{documents.null_count} of {len(documents)} documents are null. Drop or fill them.")
        counts = np.zeros(len(documents), dtype=np.int64)
        words = self._words_round(messages) if len(documents) else None
        for part in _batches(documents, words):
            counts[part] = self._count(self._texts(messages, documents[part], words))
        return counts + self._added_tokens()

    def words(self, messages: Messages) -> PromptWords:
        """What the prompts say besides their documents."""
        asked = _asked(messages)
        return PromptWords(self.count_one(messages("")), None) if asked is None else self._counted_words(asked)

    def _texts(
        self, messages: Messages, documents: pa.LargeStringArray, words: tuple[str, ...] | None
    ) -> pa.LargeStringArray:
        if words is None:
            return pa.array([self.render(messages(document)) for document in documents.to_pylist()], pa.large_string())
        pieces: list[Any] = [pa.scalar(words[0], pa.large_string())]
        for after in words[1:]:
            pieces += [documents, pa.scalar(after, pa.large_string())]
        return pc.binary_join_element_wise(*pieces, pa.scalar("", pa.large_string()))

    def _added_tokens(self) -> int:
        """Tokens that encoding adds to each text by itself: none to one that comes from a chat template."""
        return 0 if self._tokenizer.chat_template else int(self._tokenizer.num_special_tokens_to_add(pair=False))

    def _words_round(self, messages: Messages) -> tuple[str, ...] | None:
        """The fixed text before, between and after the places of a document; None where documents change more."""
        asked = _asked(messages)
        return None if asked is None else self._fixed_words(asked)

    def _find_fixed_words(self, asked: Asked) -> tuple[str, ...] | None:
        words = tuple(self.render(_with(asked, PLACEHOLDER)).split(PLACEHOLDER))
        if len(words) == 1 and self.render(_with(asked, "One.")) == self.render(_with(asked, "Another.")):
            raise TokenizerError(f"The chat template {_of(self._tokenizer)} leaves documents out of prompts. Mend it.")
        template = self._tokenizer.get_chat_template() if self._tokenizer.chat_template else ""
        probes = (*PROBES, *self._tokenizer.all_special_tokens, *_probes_of(template))
        fixed = len(words) > 1 and all(self.render(_with(asked, probe)) == probe.join(words) for probe in probes)
        return words if fixed else None

    def _count_words(self, asked: Asked) -> PromptWords:
        def messages(document: str) -> Sequence[Message]:
            return _with(asked, document)

        words, tokens = self._fixed_words(asked), self.count_one(messages(""))
        if words is None:
            return PromptWords(tokens, None)
        places, documents = len(words) - 1, pa.array(SEAM_PROBES, pa.large_string())
        beside = self.count(messages, documents) - tokens - places * self._count(documents)
        return PromptWords(tokens, places if np.abs(beside).max() <= places * SEAM_TOKENS / 2 else None)


def _asked(messages: Messages) -> Asked | None:
    """The messages round a document; None where they do more with one than put it in its place."""
    asked = tuple((message["role"], message["content"]) for message in messages(PLACEHOLDER))
    changed = any(tuple(map(dict, messages(probe))) != _with(asked, probe) for probe in PROBES)
    return None if changed else asked


def _batches(documents: pa.LargeStringArray, words: tuple[str, ...] | None) -> Iterator[slice]:
    """Slices of the documents whose prompts are at most `BATCH_BYTES` together, or of one that is more by itself."""
    times, around = (1, 0) if words is None else (len(words) - 1, sum(len(word.encode()) for word in words))
    return slices(documents, max_bytes=BATCH_BYTES, times=times, around=around)


def _lines(messages: Sequence[Message]) -> str:
    return "\n".join(message["content"] for message in messages)


def _render(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The prompt as text. A template that knows no system role gets its words at the head of the user's message."""
    from jinja2 import TemplateError

    def rendered(turns: Sequence[Message]) -> str:
        return str(tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True))

    try:
        return rendered(messages)
    except TemplateError:
        words = "\n\n".join(message["content"] for message in messages)
    try:
        return rendered([{"role": "user", "content": words}])
    except TemplateError as error:
        raise TokenizerError(f"The chat template {_of(tokenizer)} cannot be used: {error}. Mend it.") from None


def _of(tokenizer: Any) -> str:
    return f"of the tokenizer {str(tokenizer.name_or_path)!r}" if tokenizer.name_or_path else "of the tokenizer"


# --- what a document might change in a template besides itself --------------------------------------------------------

PLACEHOLDER = "\ue000a document\ue001"
"""Stands for a document while a template is looked at. In lower case, which a template that raises it would change."""

PROBES = (
    *("", "x", " ", " x ", "\n\nx\n\n", "\tx\r\n", "\u00a0x\u2003", "\\n\\\\", "\x00\x07", "Ab ß İ ﬁ", "e\u0301 👩‍👧"),
    *("{document}", "{{ x }}", "{% if x %}", "{# x #}", "{}{0}%s$1\\1", "<b>&amp;'\"</b>", "```\nx\n```", "1" * 40),
    *("<think>x</think>y", "</think>", "<tool_call>x</tool_call>", "[INST] x [/INST]", "x " * 20_000),
)
"""Texts that templates are known to trim, escape, cut, or take for something else."""

SEAM_PROBES = (
    *("x", "X", "ing", "'s", ".", "...", "://", "_", "1", "12345", "é", "\u0301", "的", "ア", "👩‍👧"),
    *("\u200b", "\ufeff"),
    *(" ", "  x", "x  ", "\t", "\n", "\n\nx\n\n", "\r\nx\r\n", "\u00a0x\u3000", "x\x00"),
    *(sign * 500 for sign in ("x", " ", "\n", "\t", "=", "0", "的", "\u3000", "ab ", "-\n")),
)
"""Texts of which a tokenizer might make something else at the ends of a text than amid one, such as trim them."""


def _probes_of(template: str) -> Iterator[str]:
    """Every text that a template might look for in a message: at its head, at its end, inside, or both at its ends."""
    from jinja2 import Environment

    words = [(kind, word) for _, kind, word in Environment().lex(template) if kind != "whitespace"]
    literals = {_literal(word) for kind, word in words if kind == "string"} - {""}
    for literal in sorted(literals):
        yield from (literal, f"{literal}x", f"x{literal}", f"x{literal}y{literal}z")
    for head, tail in product(_asked_of(words, "startswith"), _asked_of(words, "endswith")):
        yield f"{head}x{tail}"


def _asked_of(words: Sequence[tuple[str, str]], method: str) -> set[str]:
    """The literals that a method of a text is called with."""
    calls = zip(words, words[2:], strict=False)
    return {_literal(word) for (_, name), (kind, word) in calls if name == method and kind == "string"}


def _literal(quoted: str) -> str:
    """What a text between quotes says, read as jinja does."""
    return quoted[1:-1].encode("ascii", "backslashreplace").decode("unicode-escape")


def _with(asked: Asked, document: str) -> tuple[dict[str, str], ...]:
    return tuple({"role": role, "content": content.replace(PLACEHOLDER, document)} for role, content in asked)
