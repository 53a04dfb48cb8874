"""What several test files need: frames of each kind, a small tokenizer, simulated and scripted endpoints."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import dask.dataframe as dd
import hypothesis
import pandas as pd
import phases
import pytest
from corpora import CHAT_TEMPLATE, TRAINING_SENTENCES
from kinds import KINDS, chosen_kinds, places, skip_without_a_gpu
from scripted import ScriptedEndpoint
from stand_in_frames import stand_in
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

from nemocc_dask.llm import close_runtime
from nemocc_dask.settings import Endpoint
from nemocc_dask.simulate import Knobs, Simulator
from nemocc_dask.tasks import TASKS
from nemocc_dask.text.engine import PANDAS
from nemocc_dask.tokens import TokenCounter

# --- frames -----------------------------------------------------------------------------------------------------------


# How long an example takes says something of the machine, not of what it holds.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C through: a shell that runs the tests in the background has them ignore it, and what they start too."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    config.addinivalue_line("markers", "pandas_alone(reason): what a test of phases holds is so on pandas frames alone")
    # RAPIDS brings both the package and the one that takes its place.
    config.addinivalue_line("filterwarnings", "ignore:The pynvml package is deprecated:FutureWarning")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--frames",
        default="pandas,dask",
        help=f"Kinds of frames to test the accessor, the phases and the kernels on, of {', '.join(KINDS)}.",
    )


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "frames" in metafunc.fixturenames:
        kinds = [kind for kind in chosen_kinds(metafunc.config) if kind != "lists"]
        metafunc.parametrize("frames", kinds, indirect=True, scope="session")
    if {"cudf", "lists"} & {*chosen_kinds(metafunc.config)} and phases.imported_by(metafunc.module):
        metafunc.parametrize("where_phases_run", places(metafunc.config), indirect=True, scope="module")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skips elsewhere what is so on pandas frames alone."""
    for item in items:
        only = item.get_closest_marker("pandas_alone")
        callspec = getattr(item, "callspec", None)
        if only and callspec and callspec.params.get("where_phases_run", "pandas") != "pandas":
            item.add_marker(pytest.mark.skip(reason=only.args[0]))


@pytest.fixture(scope="module", autouse=True)
def where_phases_run(request: pytest.FixtureRequest) -> Iterator[None]:
    """The phases that a test file imports run on cuDF frames, or what stands in for them, as `--frames` says."""
    where = getattr(request, "param", "pandas")
    with pytest.MonkeyPatch.context() as patch:
        if where == "cudf":
            skip_without_a_gpu()
        if where == "lists":
            stand_in(patch)
        if where != "pandas":
            phases.move(request.module, phases.Gpu(), patch)
        yield


class PandasFrames:
    """Makes frames of one kind from columns, and brings them back as pandas."""

    def make(self, columns: dict[str, Any] | pd.DataFrame) -> Any:
        return pd.DataFrame(columns)

    def rows(self, frame: Any) -> pd.DataFrame:
        return frame.reset_index(drop=True)


class DaskFrames(PandasFrames):
    """Dask frames of three partitions, the last one often short, for a document is nobody's neighbour for ever."""

    def make(self, columns: dict[str, Any] | pd.DataFrame) -> Any:
        frame = pd.DataFrame(columns)
        return dd.from_pandas(frame, npartitions=min(3, max(1, len(frame))), sort=False)

    def rows(self, frame: Any) -> pd.DataFrame:
        return frame.compute().reset_index(drop=True)


class CudfFrames(PandasFrames):
    def make(self, columns: dict[str, Any] | pd.DataFrame) -> Any:
        import cudf

        return cudf.DataFrame(pd.DataFrame(columns))

    def rows(self, frame: Any) -> pd.DataFrame:
        rows = PANDAS.from_table(frame.to_arrow(preserve_index=False))
        none_missing = [name for name, dtype in rows.dtypes.items() if dtype == "Int64" and rows[name].notna().all()]
        return rows.astype(dict.fromkeys(none_missing, "int64"))


@pytest.fixture(scope="session")
def frames(request: pytest.FixtureRequest) -> PandasFrames:
    """A kind of frame: `make(columns)` makes one, `rows(frame)` gives its rows as pandas."""
    if request.param == "cudf":
        skip_without_a_gpu()
    return {"pandas": PandasFrames, "dask": DaskFrames, "cudf": CudfFrames}[request.param]()


# --- tokenizers -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def tokenizer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A byte-level BPE of a thousand tokens that puts one `<s>` before a prompt, as a tokenizer.json."""
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    small_bpe().save(str(path))
    return path


def small_bpe() -> Tokenizer:
    """Trained on the prompts too, so that they take about as many tokens as with a tokenizer of a real model."""
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=2000, special_tokens=["<s>"], initial_alphabet=alphabet, show_progress=False
    )
    prompts = [words for task in TASKS.values() for words in (task.prompt, task.system_prompt)]
    bpe.train_from_iterator([*TRAINING_SENTENCES, *prompts], trainer)
    bpe.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return bpe


@pytest.fixture(scope="session")
def tokenizer(tokenizer_file: Path) -> TokenCounter:
    """The small tokenizer, counting."""
    return TokenCounter(tokenizer_file)


@pytest.fixture(scope="session")
def chat_tokenizer_directory(tokenizer_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small tokenizer with a chat template, as a directory."""
    # Imported above, it would say something that pytest shows at the very end, after its own closing line.
    from transformers import PreTrainedTokenizerFast

    fast = PreTrainedTokenizerFast(tokenizer_file=str(tokenizer_file), bos_token="<s>", chat_template=CHAT_TEMPLATE)
    directory = tmp_path_factory.mktemp("chat-tokenizer")
    fast.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def chat_tokenizer(chat_tokenizer_directory: Path) -> TokenCounter:
    """The small tokenizer with a chat template, counting."""
    return TokenCounter(chat_tokenizer_directory)


# --- endpoints --------------------------------------------------------------------------------------------------------


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    """Starts simulated endpoints with the given knobs, and stops them after the test."""
    with ExitStack() as running:
        yield lambda **knobs: running.enter_context(Simulator(Knobs(**knobs)))
        close_runtime()


@pytest.fixture
def simulator(simulate: Callable[..., Simulator]) -> Simulator:
    """A fast simulated endpoint without faults."""
    return simulate()


@pytest.fixture
def endpoint(simulator: Simulator) -> Endpoint:
    """The fast simulated endpoint, as a job knows it."""
    return Endpoint(base_url=simulator.base_url, model="simulated")


@pytest.fixture
def scripted() -> Iterator[ScriptedEndpoint]:
    """A real server whose replies a test writes, `scripted.reply = function of the request's body`."""
    with ScriptedEndpoint() as server:
        yield server
        close_runtime()
