"""Tokenizers of every kind there is a tokenizer.json of, each trained on the spot in a fraction of a second."""

from __future__ import annotations

import json
from collections.abc import Callable

from corpora import TRAINING_SENTENCES
from token_texts import SCRIPTS
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

WORDS = [*TRAINING_SENTENCES, *SCRIPTS.values(), "def f(x):\n    return x\n", "<s> words </s>"] * 2
"""What all of them are trained on."""

VOCABULARY = 1200

GPT2 = r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"""
LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
TEKKEN = (
    rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+|[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*|\p{{N}}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
PATTERNS = {"gpt2": GPT2, "llama3": LLAMA3, "qwen2": QWEN2, "tekken": TEKKEN}

SPECIAL = ["<s>", "</s>", "<unk>", "[INST]", "<|im_start|>", "<|im_end|>"]
"""Special tokens of all kinds; where a kind takes more, they are added afterwards."""


def trained(
    tokenizer: Tokenizer, trainer: Callable[..., trainers.Trainer], special: list[str] = SPECIAL, **options: object
) -> Tokenizer:
    given = {"vocab_size": VOCABULARY, "special_tokens": special, "show_progress": False, **options}
    tokenizer.train_from_iterator(WORDS, trainer(**given))
    return tokenizer


def changed(tokenizer: Tokenizer, **model: object) -> Tokenizer:
    """The tokenizer with other settings of its model, as a tokenizer.json would say them."""
    definition = json.loads(tokenizer.to_str())
    definition["model"] |= model
    return Tokenizer.from_str(json.dumps(definition))


def byte_level(pattern: str | None, *, prefix: bool = False, **model: object) -> Tokenizer:
    """Byte-level BPE; without a pattern, that which the pre-tokenizer brings along."""
    bpe = Tokenizer(models.BPE())
    bytes_ = pre_tokenizers.ByteLevel(add_prefix_space=prefix, use_regex=pattern is None)
    splits = [pre_tokenizers.Split(Regex(pattern), "isolated")] if pattern else []
    bpe.pre_tokenizer = pre_tokenizers.Sequence([*splits, bytes_]) if pattern else bytes_
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    trained(bpe, trainers.BpeTrainer, initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    return changed(bpe, **model) if model else bpe


def sentencepiece(
    pre_tokenizer: pre_tokenizers.PreTokenizer | None, normalizer: normalizers.Normalizer | None = None
) -> Tokenizer:
    """BPE on characters, with a token for each byte to fall back on, as it comes from SentencePiece."""
    bpe = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    bpe.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    trained(bpe, trainers.BpeTrainer, ["<unk>", "<s>", "</s>", *bytes_], limit_alphabet=150)
    definition = json.loads(bpe.to_str())
    definition["added_tokens"] = [each for each in definition["added_tokens"] if each["content"] not in bytes_]
    bpe = Tokenizer.from_str(json.dumps(definition))
    bpe.add_special_tokens(SPECIAL)
    if pre_tokenizer is None:
        definition = json.loads(bpe.to_str()) | {"pre_tokenizer": None}
        bpe = Tokenizer.from_str(json.dumps(definition))
    else:
        bpe.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        bpe.normalizer = normalizer
    return bpe


def metaspace(scheme: str, *, split: bool = True) -> pre_tokenizers.PreTokenizer:
    return pre_tokenizers.Metaspace(prepend_scheme=scheme, split=split)


LLAMA2 = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])


def wordpiece(*, lowercase: bool) -> Tokenizer:
    words = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    words.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    words.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    trained(words, trainers.WordPieceTrainer, ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *SPECIAL])
    pair = (("[SEP]", 3), ("[CLS]", 2))
    words.post_processor = processors.BertProcessing(*pair)
    return words


def unigram(normalizer: normalizers.Normalizer | None = None) -> Tokenizer:
    pieces = Tokenizer(models.Unigram())
    if normalizer is not None:
        pieces.normalizer = normalizer
    pieces.pre_tokenizer = pre_tokenizers.Metaspace()
    return trained(pieces, trainers.UnigramTrainer, unk_token="<unk>")


def with_added(tokenizer: Tokenizer) -> Tokenizer:
    """With tokens of the user's own: such as take blanks along, are whole words only, or stand in normalized text."""
    tokenizer.add_special_tokens(
        [
            AddedToken("<mask>", lstrip=True, special=True),
            AddedToken("<tail>", rstrip=True, special=True),
            AddedToken("<|im_start|>user", special=True),
            AddedToken("<word>", single_word=True, special=True),
        ]
    )
    tokenizer.add_tokens(
        [
            AddedToken("  ", normalized=False),
            AddedToken("Glacier", single_word=True, normalized=True),
            AddedToken("ÉTÉ", normalized=True),
            AddedToken("both", lstrip=True, rstrip=True, normalized=False),
        ]
    )
    return tokenizer


KINDS: dict[str, Callable[[], Tokenizer]] = {
    "byte-level": lambda: byte_level(None),
    "byte-level, prefix space": lambda: byte_level(None, prefix=True),
    **{f"byte-level, {name}": lambda pattern=pattern: byte_level(pattern) for name, pattern in PATTERNS.items()},
    "byte-level, llama3, ignore merges": lambda: byte_level(LLAMA3, ignore_merges=True),
    "byte-level, llama3, prefix space": lambda: byte_level(LLAMA3, prefix=True),
    "byte-level, tekken, ignore merges": lambda: byte_level(TEKKEN, ignore_merges=True),
    "byte-level, qwen2, byte fallback": lambda: byte_level(QWEN2, byte_fallback=True),
    "byte-level, added tokens": lambda: with_added(byte_level(None)),
    "byte-level, qwen2, added tokens": lambda: with_added(byte_level(QWEN2)),
    "sentencepiece, first": lambda: sentencepiece(metaspace("first")),
    "sentencepiece, first, unsplit": lambda: sentencepiece(metaspace("first", split=False)),
    "sentencepiece, always": lambda: sentencepiece(metaspace("always")),
    "sentencepiece, never": lambda: sentencepiece(metaspace("never")),
    "sentencepiece, llama2": lambda: sentencepiece(None, LLAMA2),
    "sentencepiece, gemma": lambda: sentencepiece(None, normalizers.Replace(" ", "▁")),
    "sentencepiece, added tokens": lambda: with_added(sentencepiece(metaspace("first"))),
    "sentencepiece, llama2, added tokens": lambda: with_added(sentencepiece(None, LLAMA2)),
    "wordpiece, lower case": lambda: wordpiece(lowercase=True),
    "wordpiece": lambda: wordpiece(lowercase=False),
    "wordpiece, added tokens": lambda: with_added(wordpiece(lowercase=True)),
    "unigram": unigram,
    "unigram, nfkc": lambda: unigram(normalizers.NFKC()),
    "unigram, added tokens": lambda: with_added(unigram()),
}
