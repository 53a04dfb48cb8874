"""A small tokenizer, simulated endpoints, and jobs on them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from click.testing import CliRunner, Result
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from nemocc_dask.cli import nemocc
from nemocc_dask.settings import Job
from nemocc_dask.simulate import Simulator
from nemocc_dask.tasks import TASKS

from .jobs import documents, text


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small byte-level BPE that was trained on these tests' documents and prompts, as a tokenizer.json."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=2000, initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator([text(1), text(2), *(task.prompt for task in TASKS.values())], trainer)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return str(path)


@pytest.fixture(scope="session")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder with a Parquet and a JSONL file of 20 documents each, some of them spoilt."""
    folder, frame = tmp_path_factory.mktemp("corpus"), documents()
    frame[:20].to_parquet(folder / "a.parquet", row_group_size=6)
    frame[20:].to_json(folder / "b.jsonl", orient="records", lines=True)
    return str(folder)


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[[pd.DataFrame], str]:
    """Writes a frame to a Parquet file and returns its path."""

    def write(frame: pd.DataFrame, name: str = "in.parquet") -> str:
        frame.to_parquet(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """A folder that is not there yet."""
    return tmp_path / "out"


@pytest.fixture
def job(corpus: str, output: Path, tokenizer_file: str) -> Callable[..., Job]:
    """Makes a job on the corpus at an endpoint, in partitions of ten rows, with retries that come at once."""

    def make(simulator: Simulator, **settings: Any) -> Job:
        usual = {"input": (corpus,), "output": str(output), "rows_per_partition": 10, "base_delay": 0.01}
        there = {"base_url": (simulator.base_url,), "model": simulator.knobs.model, "tokenizer": tokenizer_file}
        return Job(**{**usual, **there, **settings})

    return make


@pytest.fixture
def cli() -> Callable[..., Result]:
    """Runs the command line in this process."""
    return lambda *words: CliRunner().invoke(nemocc, [str(word) for word in words], prog_name="nemocc-dask")
