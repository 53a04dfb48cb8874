"""The documents a benchmark works on: somebody's own, or those of the package's demo many times over."""

from __future__ import annotations

from glob import glob
from importlib.resources import files
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from nemocc_dask.admit import admit
from nemocc_dask.settings import ROWS_PER_PARTITION


class Documents(NamedTuple):
    """pattern: files a job can read. frame: the usable ones of their rows. megabytes: of their text, as UTF-8."""

    pattern: str
    frame: pd.DataFrame
    megabytes: float

    @property
    def partitions(self) -> list[pd.DataFrame]:
        """The rows as a job cuts them."""
        return [
            self.frame.iloc[start : start + ROWS_PER_PARTITION]
            for start in range(0, len(self.frame), ROWS_PER_PARTITION)
        ]

    def sample(self, rows: int | None) -> Documents:
        """Some of the documents, drawn alike each time; all of them for None or more than there are."""
        if rows is None or rows >= len(self.frame):
            return self
        return _with_size(self.pattern, self.frame.sample(rows, random_state=0))


def read_documents(pattern: str) -> Documents:
    """Parquet or JSONL files with `id`, `text` and `quality_score`."""
    names = sorted(glob(pattern))
    if not names:
        raise SystemExit(f"bench.py: no file matches {pattern!r}.")
    frame = pd.concat(map(_read, names), ignore_index=True)
    return _with_size(pattern, admit(frame).kept)


def repeated_demo(rows: int, folder: Path) -> Documents:
    """About so many documents in a Parquet file in the folder, each with an id, and in every line words, of its own.

    Without those, most requests would be answered from the store: they would ask what another has asked.
    """
    demo = _read(str(files("nemocc_dask") / "demo" / "documents.jsonl")).dropna()
    repeated = pd.concat([demo] * max(1, round(rows / len(demo))), ignore_index=True)
    repeated["id"] = range(len(repeated))
    copies = repeated["id"] // len(demo)
    repeated["text"] = [
        "\n".join(f"{line} ({copy})" if line.strip() else line for line in text.split("\n"))
        for text, copy in zip(repeated["text"], copies, strict=True)
    ]
    repeated.to_parquet(folder / "documents.parquet")
    return read_documents(str(folder / "documents.parquet"))


def lines_of(frame: pd.DataFrame) -> list[str]:
    """Every line of every document."""
    return list(chain.from_iterable(text.split("\n") for text in frame["text"]))


def _read(name: str) -> pd.DataFrame:
    read: Any = pd.read_parquet if name.endswith(".parquet") else pd.read_json
    return read(name) if name.endswith(".parquet") else read(name, lines=True)


def _with_size(pattern: str, frame: pd.DataFrame) -> Documents:
    return Documents(pattern, frame, sum(len(text.encode()) for text in frame["text"]) / 1e6)
