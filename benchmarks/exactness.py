"""Whether counts are exact and prompts fit: random documents through every document task, checked by Hugging Face.

Each prompt that preprocessing leads to is rendered with the chat template and tokenized by Hugging Face itself, and so
is each document and segment. Prints a table and appends it to RESULTS.md beside it; exit code 1 where a count differs
or a prompt is over its budget.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from corpus import ROWS_PER_PARTITION, read_documents
from tables import Table, append, heading

from nemocc_dask import TASKS, Task, TokenCounter
from nemocc_dask.preprocess import preprocess
from nemocc_dask.tokens import DEFAULT_TOKENIZER, load_tokenizer

DOCUMENT_TASKS = tuple(task for task in TASKS.values() if not task.makes_documents)
RESULTS = Path(__file__).with_name("RESULTS.md")
SMALL = 60
"""Documents of a small run."""

CHATML = (
    "{% for message in messages %}{{ '<|im_start|>' + message.role + '\n' + message.content + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LETTERS = (
    *("abcdefghijklmnopqrstuvwxyz", "ABCDEFabcdef0123456789", "àâçéèêëîïôûùüÿœß", "αβγδεζηθικλμνξοπρστυφχψω"),
    *(
        "абвгдежзийклмнопрстуфхцчшщъыьэюя",
        "ابتثجحخدذرزسشصضطظعغفقكلمنهوي",
        "אבגדהוזחטיכלמנסעפצקרשת",
        "कखगघचछजझटठडढणतथदधनपफबभमयरलवशषसहािीुूे",
    ),
    *(
        "กขคงจชซญดตถทธนบปผพฟมยรลวสหอะาิีุูเแโ",
        "的一是不了人我在有他这中大来上国个到说们",
        "いろはにほへとちりぬるをカタナハマヤラワ",
        "가나다라마바사아자차카타파하각난달람",
    ),
    *("0123456789", "🙂👍🏽❤️🇫🇷👩‍👧", "!?.,;:-_=+*/\\|<>()[]{}#$%&@~^`'\"", "\u00a0\u200b\u3000\ufeff\u0301"),
)
"""Of ten scripts and more; a word is drawn from one of them."""

PROSE = LETTERS[0]
SPECIAL = ("<s>", "</s>", "[INST]", "<|im_start|>", "<|im_end|>", "<|endoftext|>", "{document}", "</document>")
CODE = ("def f(x):", "    return x ** 2", "\tif (a && b) {", "        }", "for i in range(10):", "// ----", "x += 1;")
BREAKS = ("\n", "\n", "\n\n", "\n\n\n\n", "\r\n", "\n \n", "\n\t")


def random_documents(documents: int, seed: int) -> pd.DataFrame:
    """So many documents of all lengths, drawn alike for each seed."""
    draw = random.Random(seed)
    texts = [_document(draw) for _ in range(documents)]
    return pd.DataFrame({"id": range(documents), "text": texts})


def _document(draw: random.Random) -> str:
    """Up to some thousand tokens: prose, code, and lines of one script, some of them one word."""
    wanted, parts = draw.choice((20, 200, 1000, 3000, 8000)) * draw.uniform(0.5, 1.5), []
    scripts = (PROSE, *draw.sample(LETTERS, 2))
    while sum(map(len, parts)) < wanted:
        parts += (_line(draw, draw.choice(scripts)), draw.choice(BREAKS))
    return "".join(parts)


def _line(draw: random.Random, letters: str) -> str:
    kind = draw.random()
    if kind < 0.1:
        return draw.choice(CODE)
    if kind < 0.13:
        return _word(draw, letters, 1500)
    if kind < 0.16:
        return draw.choice(" =-.a7字\t") * draw.randrange(1, 600)
    indent = draw.choice(("", "", "", "  ", "\t", "    "))
    words = [_word(draw, letters, 12) for _ in range(int(draw.paretovariate(0.7) * 6) % 700)]
    if kind < 0.2:
        words.insert(len(words) // 2, draw.choice(SPECIAL))
    return indent + draw.choice((" ", " ", " ", "  ", ". ")).join(words)


def _word(draw: random.Random, letters: str, longest: int) -> str:
    return "".join(draw.choices(letters, k=draw.randrange(1, longest)))


class Found(NamedTuple):
    """What a partition of one task came to."""

    prompts: int = 0
    over_budget: int = 0
    fullest: int = 0
    differing_segments: int = 0
    differing_documents: int = 0

    def plus(self, other: Found) -> Found:
        """Both together."""
        sums = [mine + theirs for mine, theirs in zip(self, other, strict=True)]
        return Found(*sums)._replace(fullest=max(self.fullest, other.fullest))


class HuggingFace:
    """Counts as an endpoint would: nothing of the package takes part."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def counts(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text, special tokens not added."""
        encodings = self.tokenizer.backend_tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        return [len(encoding) for encoding in encodings]

    def prompt(self, task: Task, document: str) -> str:
        """The prompt as the chat template writes it, BOS included where the template puts one."""
        messages = list(task.messages(document=document))
        return str(self.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True))


def checked(task: Task, documents: pd.DataFrame, counter: TokenCounter, slow: HuggingFace) -> Found:
    """One partition through one task's preprocessing, every count taken again."""
    kept = preprocess(documents, task, tokenizer=counter).kept
    prompts = slow.counts([slow.prompt(task, segment) for segment in kept["text"]])
    uniform = documents["text"].str.replace("\r\n", "\n").str.replace("\r", "\n")
    of_documents = dict(zip(documents["id"], slow.counts(uniform), strict=True))
    return Found(
        prompts=len(kept),
        over_budget=sum(tokens > (task.max_input_tokens or 0) for tokens in prompts),
        fullest=max(prompts, default=0),
        differing_segments=int((kept["segment_token_count"] != slow.counts(kept["text"])).sum()),
        differing_documents=int((kept["document_token_count"] != kept["id"].map(of_documents)).sum()),
    )


def exactness(partitions: Sequence[pd.DataFrame], tokenizer: Any) -> list[tuple[str, int, Found]]:
    """Each document task, its budget, and what was found."""
    counter, slow = TokenCounter(tokenizer), HuggingFace(tokenizer)
    rows = []
    for task in DOCUMENT_TASKS:
        found = Found()
        for documents in partitions:
            found = found.plus(checked(task, documents, counter, slow))
        rows.append((task.name, task.max_input_tokens or 0, found))
    return rows


def table(rows: Sequence[tuple[str, int, Found]], documents: int) -> Table:
    """The figures of a run; the last three columns have to be zero."""
    return Table(
        "Exactness",
        f"{documents:,} documents through each document task; every prompt rendered by the chat template, and every "
        "prompt, segment and document tokenized by Hugging Face. Differing: recorded counts that are not its own.",
        ("task", "budget", "prompts", "fullest", "over budget", "differing segments", "differing documents"),
        [(name, budget, found.prompts, found.fullest, found.over_budget, *found[3:]) for name, budget, found in rows],
    )


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--random", type=int, default=10_000, metavar="N", help="random documents")
    add("--seed", type=int, default=0, help="of the random documents")
    add("--documents", metavar="GLOB", help="Parquet or JSONL files with id and text, besides")
    add("--tokenizer", help="hub name, folder or tokenizer.json, its chat template or else ChatML; else Mistral NeMo's")
    add("--note", action="append", default=[], help="a remark to keep with the figures; may be repeated")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="file to append to")
    add("--no-append", action="store_true", help="print only")
    add("--small", action="store_true", help=f"{SMALL} random documents, in seconds")
    given = parser.parse_args(arguments)
    given.random = SMALL if given.small else given.random
    return given


def main(arguments: Sequence[str] | None = None) -> int:
    """Check, print, keep. 0 where all is exact."""
    given = options(arguments)
    tokenizer = load_tokenizer(given.tokenizer or DEFAULT_TOKENIZER)
    if not given.tokenizer or not tokenizer.chat_template:
        tokenizer.chat_template = CHATML
    frame = random_documents(given.random, given.seed)
    if given.documents:
        frame = pd.concat([frame, read_documents(given.documents).frame[["id", "text"]]], ignore_index=True)
        frame["id"] = range(len(frame))
    rows = exactness(list(_partitions(frame)), tokenizer)
    size = sum(len(text.encode()) for text in frame["text"]) / 1e6
    remarks = [f"Documents: {len(frame):,}, {size:.1f} MB, seed {given.seed}.", *given.note]
    printed = f"{heading(remarks)}\n{table(rows, len(frame)).markdown()}"
    print(printed)
    if not given.no_append:
        append(given.results, printed)
    return int(any(found.over_budget or any(found[3:]) for _, _, found in rows))


def _partitions(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    starts = range(0, len(frame), ROWS_PER_PARTITION)
    yield from (frame.iloc[start : start + ROWS_PER_PARTITION] for start in starts)


if __name__ == "__main__":
    sys.exit(main())
