"""One tokenizer, named by what it is made of, loaded once per process."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from nemocc_dask.errors import TokenizerError
from nemocc_dask.tokens.counting import fastest_exact_count
from nemocc_dask.tokens.prompts import Messages, Prompts, PromptWords
from nemocc_dask.tokens.sources import DEFAULT_TOKENIZER, WHAT_THERE_IS, load_tokenizer


class TokenCounter:
    """Counts the tokens of texts and the overhead of prompts with one tokenizer.

    source: None for the default (`DEFAULT_TOKENIZER`), a hub name, a directory, a `tokenizer.json`, a tekken file,
    a Hugging Face fast tokenizer, or another `TokenCounter`.

    A named one is loaded on first use, once per process, and pickles as its name. Raises `TokenizerError` where no
    tokenizer can be made of the source.

    >>> counter = TokenCounter()
    >>> counter.count(pa.array(["Two words", None], pa.large_string()))
    array([2, 0])
    """

    def __init__(self, source: Any = None) -> None:
        self._source = _as_source(source)
        # A name is its own key. An object has another identity in each process, and in each task that is unpickled.
        self._key = self._source if isinstance(self._source, str) else fingerprint_of(self._source)

    def __repr__(self) -> str:
        return f"TokenCounter({self.name!r})"

    @property
    def source(self) -> Any:
        """The name, path or Hugging Face tokenizer it is made of."""
        return self._source

    @property
    def name(self) -> str:
        """What names this tokenizer to a person."""
        return self._key if isinstance(self._source, str) else f"{type(self._source).__name__}:{self._key[:8]}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's definition and chat template: equal where all counts are equal."""
        return _loaded(self._key, self._source).fingerprint

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("TokenCounter", self._key)

    def unload(self) -> None:
        """Forget what this process has loaded and met of it; the next count loads it again.

        >>> TokenCounter().unload()
        """
        with _loading:
            _by_key.pop(self._key, None)

    def count(self, texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """Tokens of each text, int64 of shape (n,), special tokens such as BOS not added; a null text has 0."""
        if len(texts) == 0:  # no reason to load a tokenizer, as where Dask asks for the columns of a result
            return np.zeros(0, dtype=np.int64)
        return _loaded(self._key, self._source).count(texts)

    def count_prompt(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a whole prompt as the model sees it: chat template and one BOS included."""
        return _loaded(self._key, self._source).prompts.count_one(messages)

    def count_prompts(self, messages: Messages, documents: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """Tokens of the whole prompt round each document, int64 (n,): what `count_prompt` says of each, but fast.

        messages: a document → the chat messages with it in place, as `task.messages(document=document)` makes them.
        documents: none null, else ValueError.

        Where a chat template does more with a document than put it in its place, such as trim it, every prompt is
        rendered by itself: exact too, and slow.

        >>> documents = pa.array(["Two words", ""], pa.large_string())
        >>> TokenCounter().count_prompts(lambda document: [{"role": "user", "content": document}], documents)
        array([5, 3])
        """
        if len(documents) == 0:
            return np.zeros(0, dtype=np.int64)
        return _loaded(self._key, self._source).prompts.count(messages, documents)

    def prompt_words(self, messages: Messages) -> PromptWords:
        """What whole prompts have besides their documents: its tokens, and how often a document stands there.

        messages: a document → the chat messages with it in place.

        >>> TokenCounter().prompt_words(lambda document: [{"role": "user", "content": f"{document} {document}"}])
        PromptWords(tokens=4, places=2)
        """
        return _loaded(self._key, self._source).prompts.words(messages)

    def render(self, messages: Sequence[Mapping[str, str]]) -> str:
        """A whole prompt as one text, by the chat template where the tokenizer has one, else one message a line.

        Without the BOS token, which an endpoint that completes texts puts there itself.
        """
        return _loaded(self._key, self._source).prompts.render_without_bos(messages)


def _as_source(source: Any) -> Any:
    if isinstance(source, TokenCounter):
        return source.source
    if source is None:
        return DEFAULT_TOKENIZER
    if isinstance(source, (str, Path)):
        return str(source)
    if hasattr(source, "backend_tokenizer"):
        return source
    raise TokenizerError(f"An object of type {type(source).__name__} is no tokenizer. {WHAT_THERE_IS}")


def fingerprint_of(tokenizer: Any) -> str:
    """SHA-256, in hexadecimal, of all that decides what a Hugging Face tokenizer counts.

    >>> len(fingerprint_of(load_tokenizer(DEFAULT_TOKENIZER)))
    64
    """
    definition = f"{tokenizer.backend_tokenizer.to_str()}{tokenizer.chat_template}"
    return hashlib.sha256(definition.encode()).hexdigest()


_by_key: dict[str, _Loaded] = {}
_loading = threading.Lock()


def _loaded(key: str, source: Any) -> _Loaded:
    with _loading:
        if key not in _by_key:
            _by_key[key] = _Loaded(load_tokenizer(source) if isinstance(source, str) else source)
        return _by_key[key]


class _Loaded:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.fingerprint = fingerprint_of(tokenizer)
        self.count = fastest_exact_count(tokenizer)
        self.prompts = Prompts(tokenizer, self.count)
