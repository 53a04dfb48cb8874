"""Jobs and notebook cells against `transformers serve`, whose tiny model writes noise."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any, NamedTuple

import dask.dataframe as dd
import pandas as pd
import pytest
from job.jobs import assert_accounted_for, books_of, finish, rejects

from nemocc_dask.settings import Endpoint, GenerationConfig
from nemocc_dask.tasks import TASKS
from nemocc_dask.tokens import TokenCounter

from .serving import Asked, ModelServer

if importlib.util.find_spec("torch") is None:
    pytest.skip("needs torch: make test-servers", allow_module_level=True)

pytestmark = pytest.mark.servers

MAX_TOKENS = 32
ROUTES = {"wikipedia_paraphrasing": 2, "diverse_qa": 4, "distill": 4, "extract_knowledge": 4, "knowledge_list": 4}
"""Task → how many of the documents its route sends there; each is one segment."""

ANY_TASK = {"truncated", "empty", "answer_too_long"}
"""Reasons that do not depend on the task. Noise of so many tokens may take more when its text is counted again."""
LACKS = {"distill": "marker_missing", "wikipedia_paraphrasing": "marker_missing", "diverse_qa": "no_pairs"}
"""Task → what noise that came to its end is rejected for."""

Command = Callable[..., CompletedProcess[str]]


@pytest.fixture(scope="session")
def command(server: ModelServer, documents: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> Command:
    """Runs a job on the documents at the server as a command; `None` takes an option out."""
    source = tmp_path_factory.mktemp("documents") / "documents.parquet"
    documents.to_parquet(source)

    def run(output: Path, **changed: Any) -> CompletedProcess[str]:
        usual = {"input": source, "base_url": server.base_url, "model": server.model, "tokenizer": server.model}
        few = {"max_tokens": MAX_TOKENS, "max_concurrent_requests": 4}
        options = {"output": output, **usual, **few, **changed}
        words = [(f"--{name.replace('_', '-')}", str(value)) for name, value in options.items() if value is not None]
        return finish(["run", *(word for pair in words for word in pair)])

    return run


class Done(NamedTuple):
    """A job that came to its end: its folder, its process, and how often the server was asked for it."""

    output: Path
    process: CompletedProcess[str]
    asked: int


@pytest.fixture(scope="session")
def job(server: ModelServer, command: Command, tmp_path_factory: pytest.TempPathFactory) -> Done:
    """The two quality routes on all documents."""
    output, before = tmp_path_factory.mktemp("job") / "out", len(server.asked())
    process = command(output)
    assert process.returncode == 0, process.stderr + process.stdout
    return Done(output, process, len(server.asked()) - before)


# --- a whole job ------------------------------------------------------------------------------------------------------


def test_every_request_of_a_job_is_answered(job: Done) -> None:
    """Each document gets one answer per task at the first attempt, and the books add up to what the server counted."""
    books = books_of(job.output)
    assert_accounted_for(job.output, books, http_requests=job.asked)
    assert {name: account["requests"] for name, account in books["tasks"].items()} == ROUTES
    assert not any(account["failed"] for account in books["tasks"].values())
    assert job.asked == sum(ROUTES.values())
    assert "Traceback" not in job.process.stderr + job.process.stdout


@pytest.mark.parametrize("task", ROUTES)
def test_usage_and_finish_reason_are_read(job: Done, server: ModelServer, documents: pd.DataFrame, task: str) -> None:
    """The server bills each prompt at as many tokens as are counted here, and `length` where the bound was reached."""
    rows, account = _answers(job.output, task), books_of(job.output)["tasks"][task]
    assert len(rows) == ROUTES[task]
    assert rows["prompt_tokens"].tolist() == _prompt_tokens(server, task, documents, rows)
    assert rows["completion_tokens"].between(1, MAX_TOKENS).all()
    assert ((rows["completion_tokens"] == MAX_TOKENS) == (rows["finish_reason"] == "length")).all()
    assert rows["finish_reason"].isin(["length", "stop"]).all()
    for tokens in ("prompt_tokens", "completion_tokens"):
        assert account[tokens] == rows[tokens].sum()


def test_noise_is_rejected_with_its_reason(job: Done) -> None:
    """What was cut off is rejected as truncated, and only that; what came to its end is rejected for what it lacks."""
    dropped = pd.concat([rejects(job.output, task) for task in ROUTES])
    assert dropped["stage"].notna().all() and dropped["reason"].notna().all()
    truncated = dropped["reason"] == "truncated"
    assert (truncated == (dropped["finish_reason"] == "length")).all()
    assert truncated.any() and not truncated.all()
    for task, reason in LACKS.items():
        assert set(rejects(job.output, task)["reason"]) <= {*ANY_TASK, reason}
        assert len(pd.read_parquet(job.output / task)) == 0


def test_the_same_command_again_asks_nothing(job: Done, server: ModelServer, command: Command) -> None:
    """A job that is done is left as it is: the server gets no request, the books stay as they were."""
    before, books = len(server.asked()), books_of(job.output)
    again = command(job.output)
    assert again.returncode == 0, again.stderr
    assert len(server.asked()) == before
    assert books_of(job.output)["tasks"] == books["tasks"]


def test_a_job_from_nothing(server: ModelServer, command: Command, tmp_path: Path) -> None:
    """Multilingual Q&A needs no input: three prompts in three answers, each kept or rejected with its reason."""
    before = len(server.asked())
    process = command(tmp_path / "out", input=None, samples=3)
    assert process.returncode == 0, process.stderr
    assert_accounted_for(tmp_path / "out", books_of(tmp_path / "out"), http_requests=len(server.asked()) - before)
    rows = _answers(tmp_path / "out", "multilingual_qa")
    assert sorted(rows["id"]) == [0, 1, 2] and rows["language"].notna().all() and (rows["prompt_tokens"] > 0).all()
    assert set(rejects(tmp_path / "out", "multilingual_qa")["reason"]) <= ANY_TASK


def test_prompts_rendered_here_are_the_prompts_rendered_there(
    server: ModelServer, command: Command, documents: pd.DataFrame, tmp_path: Path
) -> None:
    """`--api completions` asks at another path, with prompts of as many tokens as the server's own template makes."""
    before = len(server.asked())
    process = command(tmp_path / "out", task="distill", api="completions")
    assert process.returncode == 0, process.stderr
    assert server.asked()[before:] == [Asked("POST", "/v1/completions", 200)] * len(documents)
    rows = _answers(tmp_path / "out", "distill")
    assert rows["prompt_tokens"].tolist() == _prompt_tokens(server, "distill", documents, rows)


# --- what this server does not take -----------------------------------------------------------------------------------


def test_an_address_that_is_none(server: ModelServer, command: Command, tmp_path: Path) -> None:
    """A path that the server does not know ends the job with one line that has the server's words and the remedy."""
    process = command(tmp_path / "out", base_url=server.base_url.replace("/v1", "/v2"))
    assert process.returncode == 1
    [line] = [line for line in process.stderr.splitlines() if line.startswith("nemocc-dask: ")]
    assert all(words in line for words in ("/v2", "404", "Not Found", "/v1"))
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(
    ("changed", "reason", "words"),
    [({"model": "another"}, "http_400", "'another'"), ({"top_k": 5}, "http_422", "top_k")],
    ids=["model", "top_k"],
)
def test_what_the_server_refuses(
    server: ModelServer, command: Command, tmp_path: Path, changed: dict[str, Any], reason: str, words: str
) -> None:
    """A model or a field that it does not take fails each row once, under a name, with the server's words; code 3."""
    before, output = len(server.asked()), tmp_path / "out"
    process = command(output, task="distill", **changed)
    assert process.returncode == 3, process.stderr
    assert_accounted_for(output, books_of(output), http_requests=len(server.asked()) - before)
    assert books_of(output)["tasks"]["distill"]["failed"] == {reason: 6}
    failed = rejects(output, "distill")
    assert failed["detail"].str.contains(words).all() and (failed["attempts"] == 1).all()
    assert reason.replace("_", " ") in process.stdout


def test_a_server_that_lists_other_models(
    tiny_model: Path, command: Command, tmp_path: Path, documents: pd.DataFrame
) -> None:
    """`transformers serve` lists what its cache holds, not what it serves; a job goes on in spite of such a list."""
    _put_into_cache(tmp_path, tiny_model / "config.json")
    with ModelServer(tiny_model, tmp_path) as other:
        process = command(tmp_path / "out", task="distill", base_url=other.base_url)
        assert process.returncode == 0, process.stderr
        assert len(other.asked()) == len(documents)


# --- a notebook -------------------------------------------------------------------------------------------------------


def test_generate_on_a_dask_frame(server: ModelServer, documents: pd.DataFrame, tmp_path: Path) -> None:
    """A cell asks about each row once; with a store, computing it again asks nothing and brings the same."""
    endpoint, config = _endpoint(server), GenerationConfig(max_tokens=16, stop=("a", "e"))
    frame = dd.from_pandas(documents, npartitions=3)
    before = len(server.asked())
    made = frame.nemocc.generate("distill", endpoint=endpoint, config=config, store=str(tmp_path / "store"))
    first, asked = made.compute(), len(server.asked()) - before
    pd.testing.assert_frame_equal(made.compute(), first)
    assert asked == len(server.asked()) - before == len(documents)
    assert 0 < len(first) <= len(documents) and (first["finish_reason"] == "stop").all()


def test_two_samples_from_a_server_that_gives_one(server: ModelServer, documents: pd.DataFrame) -> None:
    """The server heeds no `n`: each row is asked about twice, and has two samples, drawn with seeds of their own."""
    few, before = documents.head(3), len(server.asked())
    config = GenerationConfig(max_tokens=512, n=2, stop=("a", "e"), temperature=2.0, top_p=None)
    asked = few.nemocc.generate("distill", endpoint=_endpoint(server), config=config)
    assert list(zip(asked["id"], asked["sample"], strict=True)) == [(each, i) for each in few["id"] for i in (0, 1)]
    assert len(server.asked()) - before == 6 and asked["request_id"].is_unique
    assert (asked["prompt_tokens"] > 0).all() and asked["distill"].nunique() > 3


# --- what they share --------------------------------------------------------------------------------------------------


def _endpoint(server: ModelServer) -> Endpoint:
    """One request at a time: the server keeps one seed for all that it has in hand."""
    return Endpoint(base_url=server.base_url, model=server.model, max_concurrent_requests=1)


def _answers(output: Path, task: str) -> pd.DataFrame:
    """All rows of a task that got an answer, whatever became of it."""
    rows = pd.concat([pd.read_parquet(output / task), rejects(output, task)], ignore_index=True)
    return rows[rows["request_id"].notna()]


def _prompt_tokens(server: ModelServer, task: str, documents: pd.DataFrame, rows: pd.DataFrame) -> list[int]:
    """Tokens of each row's prompt, counted here."""
    counter, texts = TokenCounter(server.model), documents.set_index("id")["text"]
    return [counter.count_prompt(TASKS[task].messages(document=texts[number])) for number in rows["id"]]


def _put_into_cache(home: Path, config: Path) -> None:
    """Lay out a hub's cache that holds the configuration of a model."""
    cached, revision = home / "hub" / "models--someone--model", "0" * 40
    for folder in ("refs", "blobs", f"snapshots/{revision}"):
        (cached / folder).mkdir(parents=True)
    (cached / "refs" / "main").write_text(revision)
    (cached / "snapshots" / revision / "config.json").write_bytes(config.read_bytes())
