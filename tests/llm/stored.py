"""What the tests of the store share: keys, answers, and a look at a store as a process that has just begun has it."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

from nemocc_dask.llm.results import Answer, Flaw
from nemocc_dask.llm.store import Attempt, Store
from nemocc_dask.llm.store.index import forget_indexes

ORIGIN = {"label": "distill", "recipe": "r"}
TIMEOUT_S = 60


def key_of(name: object) -> str:
    return hashlib.sha256(str(name).encode()).hexdigest()[:32]


def answer_of(text: str | None = "Hi", **fields: Any) -> Answer:
    usual = {"finish_reason": "stop", "model": "m", "prompt_tokens": 7, "completion_tokens": 11, "attempts": 1}
    return Answer(text, **{**usual, "latency_s": 0.25, "sample": 0, **fields})


_left_open: list[Attempt] = []


def left_open(attempt: Attempt) -> Attempt:
    """An attempt that is not closed while its test runs, as if its process had been killed, or were at it still."""
    _left_open.append(attempt)
    return attempt


def begin_and_end() -> Iterator[None]:
    """For a fixture: a test begins as a process that has looked at no store, and leaves no file open."""
    forget_indexes()
    yield
    while _left_open:
        _left_open.pop().close()


def fill(attempt: Attempt, names: Iterable[object], **fields: Any) -> None:
    """Append an answer for each name, whose text is the name."""
    for name in names:
        attempt.append(key_of(name), answer_of(str(name), **fields), **ORIGIN)


def texts(store: Store | Attempt, names: Iterable[object], unless: Collection[Flaw] = ()) -> dict[object, str | None]:
    """Name → text of the answer that is found."""
    names = list(names)
    found = store.find([key_of(name) for name in names], unless=unless)
    return {name: found[key_of(name)].text for name in names if key_of(name) in found}


def texts_afresh(url: object, names: Iterable[object]) -> dict[object, str | None]:
    """As a process finds them that knows nothing yet."""
    forget_indexes()
    return texts(Store(str(url)), names)


def lines_of(url: Path) -> list[bytes]:
    """All lines of a folder with their line breaks; the last of a file may lack it."""
    return [line for file in sorted(url.glob("*.jsonl")) for line in file.read_bytes().splitlines(keepends=True)]


def python(script: str, *arguments: object, wrapper: tuple[str, ...] = ()) -> str:
    """What a script prints, run in a process of its own that finds this module."""
    command = [*wrapper, sys.executable, "-c", textwrap.dedent(script), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment(), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
