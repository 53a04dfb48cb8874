"""Documents, jobs and processes to test on, and the check that every row of a finished job is accounted for."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from nemocc_dask.settings import Job
from nemocc_dask.simulate import Simulator

OUTPUT_FIELDS = {
    "wikipedia_paraphrasing": "rephrased",
    "diverse_qa": "diverse_qa",
    "distill": "distill",
    "extract_knowledge": "extract_knowledge",
    "knowledge_list": "knowledge_list",
    "multilingual_qa": "text",
}
COUNTS = [
    "document_token_count",
    "segment_token_count",
    "rephrased_segment_token_count",
    "rephrased_document_token_count",
]
LEDGER = ["request_id", "model", "finish_reason", "prompt_tokens", "completion_tokens", "attempts", "latency_s"]
NOT_REPEATABLE = ["attempts", "latency_s"]
"""What of a shard differs from run to run."""

COMMAND = [sys.executable, "-c", "from nemocc_dask.cli import main; main()"]

WORDS = (
    *("glacier", "copper", "harbour", "willow", "lantern", "compass"),
    *("orchard", "meadow", "granite", "tunnel", "ferry", "barley"),
)


def text(number: int, sentences: int = 12) -> str:
    """A document of so many sentences, each on a line of its own and unlike those of other documents."""
    return "\n".join(
        f"Sentence {at} of document {number} says that the {WORDS[(number + at) % 12]} lies {at + 2} miles north of "
        f"the old {WORDS[(5 * number + at) % 12]} and was measured twice."
        for at in range(sentences)
    )


def documents(rows: int = 40) -> pd.DataFrame:
    """Good and poor documents, some spoilt: without id, text or score, blank, too short, or with another's id."""
    ids: list[int | None] = list(range(rows))
    texts: list[str | None] = [text(number) for number in range(rows)]
    scores: list[int | None] = [number % 20 for number in range(rows)]
    ids[3], ids[21] = None, 7
    texts[5], texts[9], texts[13], texts[33] = None, "  \n", "Too short.", "Short too."
    scores[11] = None
    topics = [f"topic {number % 3}" for number in range(rows)]
    frame = pd.DataFrame({"id": ids, "text": texts, "quality_score": scores, "topic": topics})
    return frame.astype({"id": "Int64", "quality_score": "Int64"})


def clean_documents(rows: int = 40) -> pd.DataFrame:
    """Documents with which nothing is wrong, all of them good."""
    return pd.DataFrame({"id": range(rows), "text": [text(number) for number in range(rows)], "quality_score": 15})


# --- what a job left --------------------------------------------------------------------------------------------------


def shard_rows(output: Path, task: str) -> pd.DataFrame:
    """All rows of a task's shards that do not differ from run to run, in an order of their own."""
    frame = pd.read_parquet(output / task)
    order = [name for name in ("id", "segment_id", "request_id") if name in frame.columns]
    return frame.drop(columns=NOT_REPEATABLE).sort_values(order).reset_index(drop=True)


def assert_same_results(one: Path, other: Path, tasks: Sequence[str] = tuple(OUTPUT_FIELDS)) -> None:
    """The shards of both outputs hold the same rows."""
    for task in tasks:
        pd.testing.assert_frame_equal(shard_rows(one, task), shard_rows(other, task))


def rejects(output: Path, task: str) -> pd.DataFrame:
    """All rejected rows of a task, or of `input`."""
    folder = output / "_nemocc" / "rejected" / task
    return pd.read_parquet(folder) if folder.exists() else pd.DataFrame({"stage": [], "reason": []})


def books_of(output: Path) -> dict[str, Any]:
    """What `run.json` holds."""
    books: dict[str, Any] = json.loads((output / "_nemocc" / "run.json").read_text(encoding="utf-8"))
    return books


def assert_accounted_for(output: Path, books: dict[str, Any], http_requests: int | None = None) -> None:
    """The identities of the books hold, and agree with the files and with the endpoint.

    http_requests: what the endpoint counted over all runs of the job.
    """
    assert json.loads(json.dumps(books, default=dict)) == books_of(output)
    assert books["state"] == "done" and books["parts"]["done"] == books["parts"]["all"]
    assert_stages(books["documents"]["stages"], rejects(output, "input"))
    for name, account in books["tasks"].items():
        assert_stages(account["stages"], rejects(output, name))
        failed = sum(account["failed"].values())
        assert account["requests"] == account["reused"] + account["responses"] + failed
        assert account["kept"] == account["stages"][-1]["rows_out"] == len(pd.read_parquet(output / name))
        if http_requests is not None:
            assert account["http_requests"] >= (account["requests"] > 0)
    if http_requests is not None:
        assert sum(account["http_requests"] for account in books["tasks"].values()) == http_requests


def assert_stages(stages: list[dict[str, Any]], rejected: pd.DataFrame) -> None:
    """Each stage's rows in are rows out + rejected + failed, and every dropped row stands in a file with its reason."""
    dropped: Counter[tuple[str, str]] = Counter()
    for stage in stages:
        gone = Counter(stage["rejected"]) + Counter(stage["failed"])
        assert stage["rows_in"] == stage["rows_out"] + gone.total(), stage
        dropped.update({(stage["stage"], reason): rows for reason, rows in gone.items()})
    for before, after in pairwise(stages):
        assert before["unit"] != after["unit"] or before["rows_out"] == after["rows_in"]
    assert Counter(zip(rejected["stage"], rejected["reason"], strict=True)) == dropped


# --- processes --------------------------------------------------------------------------------------------------------


def arguments(job: Job) -> list[str]:
    """The arguments of `run` that mean this job."""
    words: list[str] = []
    for name, field in Job.model_fields.items():
        values, flag = getattr(job, name), f"--{name.replace('_', '-')}"
        if values == field.get_default(call_default_factory=True):
            continue
        if isinstance(values, bool):
            words += [flag] if values else []
            continue
        for value in values if isinstance(values, tuple) else (values,):
            words += [flag, str(value)]
    return ["run", *words]


def start(words: Sequence[str], **how: Any) -> subprocess.Popen[str]:
    """The command line in a process, and process group, of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen([*COMMAND, *words], start_new_session=True, **{**pipes, **how})


def finish(words: Sequence[str], **how: Any) -> subprocess.CompletedProcess[str]:
    """The command line, run to its end."""
    return subprocess.run([*COMMAND, *words], **{"capture_output": True, "text": True, "timeout": 60, **how})


def wait_until(holds: Callable[[], Any], seconds: float = 30.0) -> None:
    """Returns once it holds; fails where it does not in time."""
    until = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def parts_done(output: Path) -> list[int]:
    """Partitions that have a record."""
    folder = output / "_nemocc" / "parts"
    return sorted(int(name[5:10]) for name in os.listdir(folder)) if folder.exists() else []


def requests_of(output: Path, parts: Sequence[int]) -> int:
    """Requests that these partitions of an output took."""
    records = (json.loads((output / "_nemocc" / "parts" / f"part-{part:05d}.json").read_text()) for part in parts)
    stages = (stage for record in records for stages in record["tasks"].values() for stage in stages)
    return sum(stage["notes"].get("http_requests", 0) for stage in stages)


def quiet(simulator: Simulator) -> int:
    """Requests the endpoint has counted, once none is on the wire."""
    wait_until(lambda: simulator.stats()["in_flight"] == 0)
    return int(simulator.stats()["requests"])
