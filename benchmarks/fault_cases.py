"""Jobs on an endpoint that is faulty in one way each, for the table of `faults.py` and for the tests.

The endpoints run in a process of their own: this file, run as a script, serves one for each line of knobs it is given.
"""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pandas as pd

from nemocc_dask import Job, Task, run_job
from nemocc_dask.columns import REJECT
from nemocc_dask.simulate import Knobs, Simulator

RATE = 0.2
LIMIT = 64
"""Requests that may be under way at once."""
SETTINGS = {"max_concurrent_requests": LIMIT, "max_retries": 9, "base_delay": 0.02, "rows_per_partition": 250}
"""So many retries that of 2,000 rows one fails in a thousand runs or less, where a fifth of all attempts do."""
LATENCY_S = 0.005
TASK = Task(
    name="short", output_field="short", prompt="Repeat: {document}", max_input_tokens=200, max_output_tokens=200
)

PASSING = ("hang", "cut", "error", "cut_after_headers")
"""Faults, as `/stats` names them, that pass when a request is sent again."""
BAD_BODIES, NO_CHOICES = 0.6, 0.3
"""Of garbage, so much is no completion at all, and so much one without a choice; the rest is an empty answer."""


@dataclass(frozen=True)
class Case:
    """One way to be faulty.

    knobs: of the endpoint. settings: of the job, where they are not `SETTINGS`.
    """

    name: str
    knobs: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def requests_a_row(self) -> float:
        """How many requests a row takes on average that is asked no more often than it has to be.

        ::

            p = chance that an attempt meets what passes, q = that it brings no choices; b = that the prompt is refused
            b + (1 - b) * (1 + (p + q) / (1 - p))

        for what passes is tried until it has, no choices once more, and a refused prompt never again.
        """
        rate: dict[str, float] = {name.removesuffix("_rate"): value for name, value in self.knobs.items()}
        clean, passing = 1.0, 0.0
        for fault in PASSING:
            passing += clean * rate.get(fault, 0.0)
            clean *= 1 - rate.get(fault, 0.0)
        garbage = clean * rate.get("garbage", 0.0)
        no_choices = (clean - garbage) * rate.get("no_choices", 0.0) + garbage * NO_CHOICES
        passing += garbage * BAD_BODIES
        refused = rate.get("bad_request", 0.0)
        return refused + (1 - refused) * (1 + (passing + no_choices) / (1 - passing))


def _status(status: int, rate: float = RATE, **knobs: Any) -> dict[str, Any]:
    return {"error_status": status, "error_rate": rate, **knobs}


NONE = Case("none", {})
CASES = (
    *(Case(f"{status}", _status(status)) for status in (429, 500, 502, 503, 504, 529, 408, 409, 425)),
    Case("429, Retry-After in seconds", _status(429, RATE / 4, retry_after="seconds")),
    Case("429, Retry-After as a date", _status(429, RATE / 4, retry_after="date")),
    Case("429 beyond 16 at once", {"slots": 16, "latency_s": 10 * LATENCY_S}),
    Case("cut before the headers", {"cut_rate": RATE}),
    Case("cut within the body", {"cut_after_headers_rate": RATE}),
    Case("hangs", {"hang_rate": RATE / 4}, {"timeout": 1.0}),
    Case("garbage", {"garbage_rate": RATE}),
    Case("no choices", {"no_choices_rate": RATE}),
    Case("empty answers", {"empty_rate": RATE}),
    Case("null answers", {"null_rate": RATE}),
    Case("truncated answers", {"truncate_rate": RATE}),
    Case("filtered answers", {"content_filter_rate": RATE}),
    Case("400 for ever", {"bad_request_rate": RATE}),
    Case(
        "all together",
        {
            **_status(503, 0.05, retry_after="none"), "slots": 48, "hang_rate": 0.01, "cut_rate": 0.03,
            "cut_after_headers_rate": 0.03, "garbage_rate": 0.03, "no_choices_rate": 0.03, "empty_rate": 0.03,
            "null_rate": 0.03, "truncate_rate": 0.03, "content_filter_rate": 0.03, "bad_request_rate": 0.03,
        },
        {"timeout": 1.0},
    ),
)  # fmt: skip


class Endpoints:
    """Simulated endpoints in another process, which all end with it."""

    def __enter__(self) -> Self:
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen([sys.executable, __file__], text=True, **pipes)  # type: ignore[call-overload]
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def start(self, knobs: Mapping[str, Any]) -> str:
        """Address of a new one, up to and including `/v1`."""
        self._process.stdin.write(json.dumps(dict(knobs)) + "\n")
        self._process.stdin.flush()
        return str(self._process.stdout.readline()).strip()


def serve() -> None:
    """One endpoint for each line of standard input, until that ends; prints their addresses."""
    with ExitStack() as running:
        for line in sys.stdin:
            print(running.enter_context(Simulator(Knobs(**json.loads(line)))).base_url, flush=True)


def stats_of(base_url: str) -> dict[str, Any]:
    """What an endpoint has counted."""
    with urllib.request.urlopen(f"{base_url.removesuffix('v1')}stats") as reply:
        return dict(json.load(reply))


@dataclass(frozen=True)
class Ran:
    """A job that has run on a faulty endpoint.

    rows: that it asked about. books: as `run_job` returns them. stats: the endpoint's. answers: id → text of the rows
    that were kept. rejected: the others.
    """

    case: Case
    rows: int
    output: Path
    books: dict[str, Any]
    stats: dict[str, Any]
    answers: dict[int, str]
    rejected: pd.DataFrame

    @property
    def account(self) -> dict[str, Any]:
        """What the books say of the task."""
        return dict(self.books["tasks"][TASK.name])

    @property
    def sent(self) -> int:
        """Requests that the endpoint saw."""
        return int(self.stats["requests"])

    @property
    def necessary(self) -> int:
        """Requests that had to be: one for each row that was kept, and those that the endpoint has spoilt.

        Among these are all that it had not answered when they timed out: hangs, and others on a very busy machine.
        """
        spoilt = int(sum(self.stats["faults"].values()) - self.stats["faults"].get("hang", 0))
        return len(self.answers) + spoilt + int(self.stats["abandoned"])

    @property
    def expected(self) -> float:
        """The same by the rates of the faults alone."""
        return self.rows * self.case.requests_a_row


def write_documents(path: Path, rows: int) -> None:
    """Documents of one sentence each."""
    texts = [f"Sentence {number} says that lake {7 * number} lies {number} miles from here." for number in range(rows)]
    pd.DataFrame({"id": range(rows), "text": texts}).to_parquet(path)


def run(case: Case, endpoints: Endpoints, documents: Path, output: Path, tokenizer: str | None = None) -> Ran:
    """Run a job, unbroken, from documents to their short answers."""
    base_url = endpoints.start({"latency_s": LATENCY_S, **case.knobs})
    settings = {**SETTINGS, **case.settings, "tokenizer": tokenizer, "task": (TASK,)}
    books = run_job(
        Job(input=(str(documents),), output=str(output), base_url=(base_url,), model="simulated", **settings)
    )
    kept = pd.read_parquet(output / TASK.name)
    folder = output / "_nemocc" / "rejected" / TASK.name
    rejected = pd.read_parquet(folder) if folder.exists() else kept[:0].reindex(columns=[*kept, *REJECT])
    answers = dict(zip(kept["id"], kept[TASK.output_field], strict=True))
    return Ran(case, books["tasks"][TASK.name]["requests"], output, books, stats_of(base_url), answers, rejected)


if __name__ == "__main__":
    serve()
