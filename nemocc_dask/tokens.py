"""Counts tokens: exactly as the Hugging Face tokenizer does, many times faster where that is possible.

The only room that imports transformers, tokenizers, gigatoken or mistral-common; each is imported when a tokenizer is
first loaded, because the four together take a second.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from nemocc_dask.errors import TokenizerError

log = logging.getLogger(__name__)

DEFAULT_TOKENIZER = "mistral-nemo"
"""The tokenizer of the model that wrote Nemotron-CC. It ships inside mistral-common, so it needs no hub."""

GIGATOKEN_CACHE_BYTES = 256_000_000
"""gigatoken 0.10 keeps every distinct word it has met; after this much text the encoder is made anew."""

BATCH_ROWS = 1_000
"""Rows handed to Hugging Face at once: its result holds whole encodings, some 100 bytes a token."""

Count = Callable[[pa.LargeStringArray], npt.NDArray[np.int64]]


class TokenCounter:
    """Counts the tokens of texts and the overhead of prompts with one tokenizer.

    source: None for the default (`DEFAULT_TOKENIZER`), a hub name, a directory, a `tokenizer.json`, a tekken file,
    a Hugging Face fast tokenizer, or another `TokenCounter`.

    It is loaded on first use, once per process, and pickles as its source. Raises `TokenizerError` where no tokenizer
    can be made of the source.

    >>> counter = TokenCounter()
    >>> counter.count(pa.array(["Two words", None], pa.large_string()))
    array([2, 0])
    """

    def __init__(self, source: Any = None) -> None:
        self.source = _as_source(source)

    def __repr__(self) -> str:
        return f"TokenCounter({self.name!r})"

    @property
    def name(self) -> str:
        """What names this tokenizer to a person."""
        return self.source if isinstance(self.source, str) else f"{type(self.source).__name__}:{self.fingerprint[:8]}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the tokenizer's own definition: equal where all counts are equal."""
        return _loaded(self.source).fingerprint

    def __dask_tokenize__(self) -> tuple[str, str]:
        return ("TokenCounter", self.source if isinstance(self.source, str) else self.fingerprint)

    def count(self, texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        """Tokens of each text, int64 of shape (n,), special tokens such as BOS not added; a null text has 0."""
        if len(texts) == 0:  # no reason to load a tokenizer, as where Dask asks for the columns of a result
            return np.zeros(0, dtype=np.int64)
        return _loaded(self.source).count(texts)

    def count_prompt(self, messages: Sequence[Mapping[str, str]]) -> int:
        """Tokens of a whole prompt as the model sees it: chat template and one BOS included."""
        return _loaded(self.source).count_prompt(messages)


def _as_source(source: Any) -> Any:
    if isinstance(source, TokenCounter):
        return source.source
    if source is None:
        return DEFAULT_TOKENIZER
    if isinstance(source, (str, Path)):
        return str(source)
    if hasattr(source, "backend_tokenizer"):
        return source
    raise TokenizerError(f"An object of type {type(source).__name__} is no tokenizer. {_WHAT_THERE_IS}")


_WHAT_THERE_IS = (
    f"Give the name of a model on the hub, a directory with a tokenizer.json, the tokenizer.json itself, "
    f"or nothing for the default, {DEFAULT_TOKENIZER!r}."
)


# --- one loaded tokenizer per process ---------------------------------------------------------------------------------

_by_source: dict[Any, _Loaded] = {}
_loading = threading.Lock()


def _loaded(source: Any) -> _Loaded:
    key = source if isinstance(source, str) else id(source)
    with _loading:
        if key not in _by_source:
            _by_source[key] = _Loaded(load_tokenizer(source) if isinstance(source, str) else source)
        return _by_source[key]


class _Loaded:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer  # held: the id of a tokenizer object is its key
        self.definition = tokenizer.backend_tokenizer.to_str()
        self.fingerprint = hashlib.sha256(self.definition.encode()).hexdigest()
        self.count = _fastest_exact_count(tokenizer)

    def count_prompt(self, messages: Sequence[Mapping[str, str]]) -> int:
        if self.tokenizer.chat_template:
            return len(self.tokenizer.encode(_render(self.tokenizer, messages), add_special_tokens=False))
        return len(self.tokenizer.encode("\n".join(message["content"] for message in messages)))


def _render(tokenizer: Any, messages: Sequence[Mapping[str, str]]) -> str:
    """The prompt as text. A template that knows no system role gets its words at the head of the user's message."""
    from jinja2 import TemplateError

    def rendered(turns: Sequence[Mapping[str, str]]) -> str:
        return str(tokenizer.apply_chat_template(list(turns), tokenize=False, add_generation_prompt=True))

    try:
        return rendered(messages)
    except TemplateError:
        words = "\n\n".join(message["content"] for message in messages)
        return rendered([{"role": "user", "content": words}])


def _fastest_exact_count(tokenizer: Any) -> Count:
    """gigatoken where it counts a sample as Hugging Face does, else Hugging Face; a fallback is said once."""
    slow = _hugging_face_count(tokenizer)
    try:
        fast = _gigatoken_count(tokenizer)
        disagreements = int((fast(_SAMPLE) != slow(_SAMPLE)).sum())
    except Exception as refusal:  # noqa: BLE001 - it refuses unknown formats with whatever its Rust side panics with
        log.warning("gigatoken cannot read this tokenizer (%s); counting with Hugging Face, slower.", refusal)
        return slow
    if disagreements:
        log.warning(
            "gigatoken differs on %d of %d samples; counting with Hugging Face, slower.", disagreements, len(_SAMPLE)
        )
        return slow
    return fast


def _hugging_face_count(tokenizer: Any) -> Count:
    encode = tokenizer.backend_tokenizer.encode_batch_fast

    def count(texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        rows = pc.fill_null(texts, "").to_pylist()
        batches = (rows[start : start + BATCH_ROWS] for start in range(0, len(rows), BATCH_ROWS))
        encodings = (encoding for batch in batches for encoding in encode(batch, add_special_tokens=False))
        return np.fromiter((len(encoding) for encoding in encodings), dtype=np.int64, count=len(rows))

    return count


def _gigatoken_count(tokenizer: Any) -> Count:
    import awkward as ak
    import gigatoken

    encoder = gigatoken.Tokenizer(tokenizer.backend_tokenizer)
    seen_bytes = 0

    def count(texts: pa.LargeStringArray) -> npt.NDArray[np.int64]:
        nonlocal encoder, seen_bytes
        seen_bytes += texts.nbytes
        if seen_bytes > GIGATOKEN_CACHE_BYTES:
            encoder, seen_bytes = gigatoken.Tokenizer(tokenizer.backend_tokenizer), texts.nbytes
        ids = encoder.encode_batch(ak.from_arrow(pc.fill_null(texts, "")), parallel=False)
        return np.asarray(ak.num(ids), dtype=np.int64)

    return count


# --- where tokenizers come from ---------------------------------------------------------------------------------------


def load_tokenizer(source: str) -> Any:
    """The Hugging Face tokenizer behind a name, directory or file, made anew. Raises `TokenizerError`.

    >>> load_tokenizer(DEFAULT_TOKENIZER).is_fast
    True
    """
    with warnings.catch_warnings():
        # Of no use to anybody who loads a tokenizer: that no progress bar can be drawn in a notebook.
        warnings.filterwarnings("ignore", message="IProgress not found")
        _quiet_transformers()
        return _loaded_from(source)


def _loaded_from(source: str) -> Any:
    path = Path(source)
    if source == DEFAULT_TOKENIZER:
        return _from_directory(_default_directory())
    if path.is_dir():
        return _from_directory(path)
    if path.is_file():
        return _from_file(path)
    if source.startswith((".", "/", "~")) or source.count("/") > 1 or path.suffix == ".json":
        raise TokenizerError(f"There is no file or directory {source!r} to read a tokenizer from. {_WHAT_THERE_IS}")
    return _from_hub(source)


def _quiet_transformers() -> None:
    """Spare users its remark that no PyTorch is there: tokenizers need none."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def _from_directory(directory: Path) -> Any:
    from transformers import AutoTokenizer

    if not any((directory / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tekken.json")):
        raise TokenizerError(f"The directory {directory} holds no tokenizer.json. {_WHAT_THERE_IS}")
    return _checked(lambda: AutoTokenizer.from_pretrained(str(directory), local_files_only=True), str(directory))


def _from_file(path: Path) -> Any:
    from transformers import PreTrainedTokenizerFast
    from transformers.integrations.mistral import convert_tekken_tokenizer

    if path.name.startswith("tekken"):
        return _checked(lambda: convert_tekken_tokenizer(str(path)), str(path))
    return _checked(lambda: PreTrainedTokenizerFast(tokenizer_file=str(path)), str(path))


def _from_hub(name: str) -> Any:
    from transformers import AutoTokenizer

    return _checked(lambda: AutoTokenizer.from_pretrained(name), name)


def _checked(load: Callable[[], Any], source: str) -> Any:
    try:
        tokenizer = load()
    except Exception as refusal:  # noqa: BLE001 - transformers, the hub and the Rust parser raise a dozen kinds
        reason = (str(refusal).strip().splitlines() or [type(refusal).__name__])[0].rstrip(".")
        raise TokenizerError(f"No tokenizer can be made of {source!r}: {reason}. {_WHAT_THERE_IS}") from None
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise TokenizerError(f"The tokenizer {source!r} has no fast form (tokenizer.json). {_WHAT_THERE_IS}")
    return tokenizer


def _default_directory() -> Path:
    """The default tokenizer as a tokenizer.json, converted once per user: that takes four seconds, reading it one."""
    from huggingface_hub.constants import HF_HOME

    version = importlib.metadata.version("mistral-common")
    kept = Path(HF_HOME) / "nemocc-dask" / f"{DEFAULT_TOKENIZER}-{version}"
    return kept if (kept / "tokenizer.json").exists() else _convert_default(kept)


def _convert_default(kept: Path) -> Path:
    import mistral_common
    from transformers.integrations.mistral import convert_tekken_tokenizer

    converted = convert_tekken_tokenizer(str(Path(mistral_common.__file__).parent / "data" / "tekken_240718.json"))
    made = Path(tempfile.mkdtemp(prefix=DEFAULT_TOKENIZER))
    converted.save_pretrained(made)
    return _moved_whole(made, kept)


def _moved_whole(made: Path, kept: Path) -> Path:
    """Move a finished directory into place; where another process was faster, or nobody may, use what is there."""
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        beside = kept.with_name(f"{kept.name}.{os.getpid()}.{threading.get_ident()}")
        shutil.copytree(made, beside)
        os.replace(beside, kept)
    except OSError as refusal:
        if not (kept / "tokenizer.json").exists():
            log.warning("The converted default tokenizer cannot be kept in %s (%s).", kept, refusal)
            return made
    return kept


_SAMPLE = pa.array(
    [
        "",
        " ",
        "A plain sentence, with a comma; and 1234567 digits.",
        "  leading, trailing and   inner white space \t\n\n\n with breaks\r\n ",
        "def my_snake_case(self, **kwargs) -> None:\n    return self.__init__(x=2 * 3)\n",
        "Ça coûte 12,50 € à l'été; naïve façade, œuvre",
        "Größe, Straße, Übung – „Zitat“ … ‚so‘",
        "¿Cuántos años tenía él? ¡Muchísimos!",
        "Съешь ещё этих мягких французских булок",
        "敏捷的棕色狐狸跳过了懒狗。「引用」１２３",
        "いろはにほへと ちりぬるを。カタカナ",
        "다람쥐 헌 쳇바퀴에 타고파",
        "نص عربي قصير مع أرقام ١٢٣",
        "यह एक वाक्य है",
        "👩‍👩‍👧‍👦 family, 🇫🇷 flag, 👍🏽 thumb",
        "don't can't we'll I'M THEY'RE it's",
        "$\\sum_{i=1}^{n} x_i^2 \\le \\frac{a}{b}$",
        "https://example.org/a_b/c?d=e&f=%20g#h",
        "a" * 300,
        "=" * 70 + "\n" + "- " * 40,
        "e\u0301 \u00a0 \u200b \ufeff \u2028 zero width",
        "<s> </s> [INST] <|endoftext|> <|im_start|>user<|im_end|> <unk> <pad>",
    ],
    pa.large_string(),
)
"""Eight scripts, code, maths, long runs, odd spaces, special tokens: where tokenizers are known to differ."""
