"""A tiny model, and a server that nobody here wrote in front of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from corpora import corpus

from nemocc_dask.llm import close_runtime

from .serving import ModelServer
from .tiny_model import write_tiny_model


@pytest.fixture(scope="session")
def tiny_model(chat_tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model."""
    directory = tmp_path_factory.mktemp("model")
    write_tiny_model(directory, chat_tokenizer_directory)
    return directory


@pytest.fixture(scope="session")
def server(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelServer]:
    """`transformers serve`, with an empty cache of models."""
    with ModelServer(tiny_model, tmp_path_factory.mktemp("home")) as running:
        yield running
        close_runtime()


@pytest.fixture(scope="session")
def documents() -> pd.DataFrame:
    """Four good documents and two poor ones, of about 200 tokens each."""
    return corpus(6).assign(quality_score=[15, 3, 18, 12, 7, 14])
