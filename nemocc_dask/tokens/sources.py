"""Where tokenizers come from: the hub, a directory, a file, or what ships with mistral-common."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import shutil
import tempfile
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nemocc_dask.errors import TokenizerError

log = logging.getLogger(__name__)

DEFAULT_TOKENIZER = "mistral-nemo"
"""The tokenizer of the model that wrote Nemotron-CC. It ships inside mistral-common, so it needs no hub."""

GENERAL_CLASSES = ("TokenizersBackend", "PreTrainedTokenizerFast")
"""Names of the class of a tokenizer that is all in its tokenizer.json."""

WHAT_THERE_IS = (
    f"Give the name of a model on the hub, a directory with a tokenizer.json, the tokenizer.json itself, "
    f"or nothing for the default, {DEFAULT_TOKENIZER!r}."
)


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
        raise TokenizerError(f"There is no file or directory {source!r} to read a tokenizer from. {WHAT_THERE_IS}")
    return _from_hub(source)


def _quiet_transformers() -> None:
    """Spare users its remark that no PyTorch is there: tokenizers need none."""
    os.environ.setdefault("TRANSFORMERS_NO_ADVISORY_WARNINGS", "1")


def _from_directory(directory: Path) -> Any:
    if not any((directory / name).exists() for name in ("tokenizer.json", "tokenizer.model", "tekken.json")):
        raise TokenizerError(f"The directory {directory} holds no tokenizer.json. {WHAT_THERE_IS}")
    if _speaks_for_itself(directory):
        from transformers import PreTrainedTokenizerFast as Tokenizer
    else:
        from transformers import AutoTokenizer as Tokenizer
    return _checked(lambda: Tokenizer.from_pretrained(str(directory), local_files_only=True), str(directory))


def _speaks_for_itself(directory: Path) -> bool:
    """Whether a tokenizer is all that a directory holds, of the general class: then `AutoTokenizer` would come to that
    class too, and take half a second longer, since it looks through all models that transformers has."""
    settings = directory / "tokenizer_config.json"
    if not (directory / "tokenizer.json").exists() or not settings.exists() or (directory / "config.json").exists():
        return False
    try:
        said = json.loads(settings.read_bytes())
    except ValueError:
        return False  # `AutoTokenizer` says what is wrong with it
    return isinstance(said, dict) and said.get("tokenizer_class") in GENERAL_CLASSES and "auto_map" not in said


def _from_file(path: Path) -> Any:
    if path.name.startswith("tekken"):
        from transformers.integrations.mistral import convert_tekken_tokenizer

        return _checked(lambda: convert_tekken_tokenizer(str(path)), str(path))
    from transformers import PreTrainedTokenizerFast

    return _checked(lambda: PreTrainedTokenizerFast(tokenizer_file=str(path)), str(path))


def _from_hub(name: str) -> Any:
    from transformers import AutoTokenizer

    return _checked(lambda: AutoTokenizer.from_pretrained(name), name)


def _checked(load: Callable[[], Any], source: str) -> Any:
    try:
        tokenizer = load()
    except Exception as refusal:  # noqa: BLE001 - transformers, the hub and the Rust parser raise a dozen kinds
        reason = (str(refusal).strip().splitlines() or [type(refusal).__name__])[0].rstrip(".")
        raise TokenizerError(f"No tokenizer can be made of {source!r}: {reason}. {WHAT_THERE_IS}") from None
    if not hasattr(tokenizer, "backend_tokenizer"):
        raise TokenizerError(f"The tokenizer {source!r} has no fast form (tokenizer.json). {WHAT_THERE_IS}")
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
