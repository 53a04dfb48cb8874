"""The work on the wire: requests, and a whole job, against a simulated endpoint in a process of its own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd
import psutil
from corpus import Documents
from measure import measure
from tables import Table
from texts import Tokenizers

from nemocc_dask import TASKS, Endpoint, GenerationConfig, Job, Task, run_job
from nemocc_dask.generate import generate
from nemocc_dask.preprocess import preprocess

COMMAND = (sys.executable, "-c", "from nemocc_dask.cli import main; main()")
"""`nemocc-dask` of this very Python."""

GOOD_SCORE = 12
SHORT = Task(
    name="short", output_field="short", prompt="Repeat: {document}", max_input_tokens=100, max_output_tokens=100
)


class Server:
    """A simulated endpoint in another process."""

    def __init__(self, process: psutil.Process, base_url: str, latency_s: float) -> None:
        self._process, self.base_url, self.latency_s = process, base_url, latency_s

    def endpoint(self, max_concurrent_requests: int) -> Endpoint:
        """How to reach it."""
        return Endpoint(
            base_url=self.base_url, model="simulated", max_concurrent_requests=max_concurrent_requests, max_retries=0
        )

    def reset(self) -> float:
        """Forget all counts; returns the CPU seconds it has used so far."""
        urllib.request.urlopen(urllib.request.Request(self._address("stats/reset"), method="POST")).close()
        return self.cpu_s()

    def stats(self) -> dict[str, Any]:
        """Its counts since the last reset."""
        with urllib.request.urlopen(self._address("stats")) as reply:
            return dict(json.load(reply))

    def cpu_s(self) -> float:
        """CPU seconds it has used so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def _address(self, path: str) -> str:
        return f"{self.base_url.removesuffix('v1')}{path}"


@contextmanager
def serving(latency_s: float) -> Iterator[Server]:
    """Start one, and stop it at the end."""
    command = [*COMMAND, "simulate", "--port", "0", "--latency", str(latency_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http\S+/v1", line)
            if not address:
                raise SystemExit(f"bench.py: the simulated endpoint did not start: {line!r}.")
            yield Server(psutil.Process(process.pid), address[0], latency_s)
        finally:
            process.terminate()


def requests(
    documents: Documents, tokenizers: Tokenizers, server: Server, *, limits: Sequence[int], rounds: int, repeats: int
) -> Table:
    """Requests a second, and what each costs, for short prompts and for those of a real task."""
    rows = []
    for words, task, frame in (
        ("one line", SHORT, _lines(rounds * max(limits))),
        ("diverse_qa", TASKS["diverse_qa"], _segments(documents, tokenizers, rounds * max(limits))),
    ):
        rows += [_asked(words, task, frame.head(rounds * limit), server, limit, repeats) for limit in limits]
    return Table(
        "Requests",
        f"The phase `generate` from rows to rows, {rounds} rounds of as many requests as may be under way, each "
        f"answered after {server.latency_s * 1000:.0f} ms by an endpoint in another process. In flight: mean at that "
        "endpoint. CPU: of a request, in the process that asks and in the one that answers.",
        ("prompt", "at once", "requests", "requests/s", "ideal", "in flight", "client CPU, ms", "endpoint CPU, ms"),
        rows,
    )


def _asked(words: str, task: Task, frame: pd.DataFrame, server: Server, limit: int, repeats: int) -> tuple[Any, ...]:
    used: list[float] = []

    def ask(before_s: float) -> int:
        outcome = generate(frame, task, endpoint=server.endpoint(limit), config=GenerationConfig())
        used.append(server.cpu_s() - before_s)
        return sum(sum(stage.failed.values()) for stage in outcome.stages)

    taken = measure(repeats, ask, prepare=server.reset)
    if taken.result:
        raise SystemExit(f"bench.py: {taken.result} requests failed.")
    count = len(frame)
    return (
        words, limit, count, count / taken.wall_s, limit / server.latency_s, server.stats()["mean_in_flight"],
        1000 * taken.cpu_s / count, 1000 * median(used) / count,
    )  # fmt: skip


def _lines(count: int) -> pd.DataFrame:
    return pd.DataFrame({"id": range(count), "text": [f"Line {number} of {count}." for number in range(count)]})


def _segments(documents: Documents, tokenizers: Tokenizers, count: int) -> pd.DataFrame:
    """So many segments; where there are fewer, they are asked again."""
    parts = [preprocess(part, TASKS["diverse_qa"], tokenizer=tokenizers.used).kept for part in documents.partitions]
    found = pd.concat(parts)
    return pd.concat([found] * -(-count // len(found)), ignore_index=True).head(count)


def jobs(
    documents: Documents, tokenizer: str | None, server: Server, folder: Path, *, limits: Sequence[int], repeats: int
) -> Table:
    """Jobs from files to files: one task on good documents, and both quality routes."""
    fewest, most = min(limits), max(limits)
    settings: dict[str, dict[str, Any]] = {
        f"diverse_qa, scores from {GOOD_SCORE}": {
            "task": "diverse_qa", "min_score": GOOD_SCORE, "max_concurrent_requests": fewest,
        },
        "both quality routes": {"max_concurrent_requests": most},
    }  # fmt: skip
    common = {
        "input": documents.pattern, "base_url": server.base_url, "model": "simulated", "tokenizer": tokenizer,
    }  # fmt: skip
    rows = [
        _run(words, {**common, **own}, server, folder / f"job-{at}", repeats)
        for at, (words, own) in enumerate(settings.items())
    ]
    return Table(
        "Whole jobs",
        f"`run_job` in this process, from its call to its return, {server.latency_s * 1000:.0f} ms a request. Ideal: "
        "requests × latency ÷ requests at once. In flight: mean at the endpoint, first to last request. "
        "As a command: `nemocc-dask run` once, with starting Python and loading the tokenizer.",
        (
            "job",
            "at once",
            "requests",
            "sent",
            "seconds",
            "ideal, s",
            "in flight",
            "client CPU, s",
            "endpoint CPU, s",
            "as a command, s",
        ),
        rows,
    )


def _run(words: str, settings: dict[str, Any], server: Server, folder: Path, repeats: int) -> tuple[Any, ...]:
    outputs = iter(range(repeats))
    used: list[float] = []

    def run(before_s: float) -> dict[str, Any]:
        books = run_job(Job(output=str(folder / str(next(outputs))), **settings))
        used.append(server.cpu_s() - before_s)
        return books

    taken = measure(repeats, run, prepare=server.reset)
    accounts = taken.result["tasks"].values()
    # Rows that ask what another has asked are answered from the store.
    asked = sum(account["requests"] - account["reused"] for account in accounts)
    sent = sum(account["http_requests"] for account in accounts)
    limit = settings["max_concurrent_requests"]
    return (
        words, limit, asked, sent, taken.wall_s, asked * server.latency_s / limit, server.stats()["mean_in_flight"],
        taken.cpu_s, median(used), _command_s({**settings, "output": str(folder / "command")}),
    )  # fmt: skip


def _command_s(settings: dict[str, Any]) -> float:
    flags = [
        word for name, value in settings.items() if value is not None
        for word in (f"--{name.replace('_', '-')}", str(value))
    ]  # fmt: skip
    command = [*COMMAND, "run", *flags]
    return measure(1, lambda _: subprocess.run(command, check=True, capture_output=True)).wall_s
