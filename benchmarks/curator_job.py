"""The whole job on both sides: documents with good scores through diverse QA, files to files, one endpoint."""

from __future__ import annotations

import json
import subprocess
import tempfile
import time
from glob import glob
from pathlib import Path
from typing import Any, NamedTuple

from corpus import Documents
from curator_process import curator, task_order
from curator_texts import Bench
from measure import measure
from requesting import COMMAND, GOOD_SCORE, Server
from tables import Table
from texts import Tokenizers

from nemocc_dask import TASKS, Job, run_job

TASK = TASKS["diverse_qa"]


class Ran(NamedTuple):
    """One side's run.

    needed: segments that it cut, and so has to ask about; here less those that ask what another asks.
    wall_s: from the start of the process to its end.
    work_s: without starting Python, its libraries and a cluster.
    rows: results.
    stats: what the endpoint saw of the run whose seconds are `wall_s`.
    """

    needed: int
    wall_s: float
    work_s: float
    rows: int
    stats: dict[str, Any]

    def cells(self, who: str, server: Server, limit: int) -> tuple[Any, ...]:
        """A row of the table."""
        ideal_s = self.needed * server.latency_s / limit
        in_flight = self.stats["mean_in_flight"], self.stats["peak_in_flight"]
        return who, self.needed, self.stats["requests"], ideal_s, self.work_s, self.wall_s, *in_flight, self.rows


def whole_jobs(
    documents: Documents, tokenizers: Tokenizers, server: Server, folder: Path, *, limit: int, python: Path | None
) -> Table:
    """Ours as a command and in this process; Curator's where its Python is given."""
    bench = Bench(None, tokenizers, folder, core=None, repeats=1)
    rows = [_ours(documents, bench, server, limit).cells("nemocc-dask", server, limit)]
    if python is not None:
        rows.append(_theirs(documents, bench, server, limit, python).cells("NeMo Curator", server, limit))
    return Table(
        f"Whole jobs: diverse QA, scores from {GOOD_SCORE}",
        f"Files to files, {server.latency_s * 1000:.0f} ms a request, {limit} at once, the same prompts and budget. "
        "Needed: segments to ask about. Ideal: needed × latency ÷ requests at once. Work: without the "
        "start of Python, its libraries and Ray (`pipeline.run`; `run_job`, in another run). In flight: at the "
        "endpoint, mean from first to last request, and peak.",
        ("side", "needed", "sent", "ideal, s", "work, s", "as a command, s", "in flight", "peak", "results"),
        rows,
    )


def _ours(documents: Documents, bench: Bench, server: Server, limit: int) -> Ran:
    settings: dict[str, Any] = {
        "input": documents.pattern, "base_url": server.base_url, "model": "simulated", "task": TASK.name,
        "tokenizer": str(bench.folder / "tokenizer"), "min_score": GOOD_SCORE, "max_concurrent_requests": limit,
    }  # fmt: skip
    work_s = measure(1, lambda _: run_job(Job(output=str(bench.folder / "in-process"), **settings))).wall_s
    server.reset()
    output = bench.folder / "command"
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in {**settings, "output": output}.items()]
    wall_s = measure(1, lambda _: subprocess.run([*COMMAND, "run", *flags], check=True, capture_output=True)).wall_s
    books = json.loads((output / "_nemocc" / "run.json").read_text(encoding="utf-8"))["tasks"][TASK.name]
    return Ran(books["requests"] - books["reused"], wall_s, work_s, books["kept"], server.stats())


def _theirs(documents: Documents, bench: Bench, server: Server, limit: int, python: Path) -> Ran:
    server.reset()
    with tempfile.TemporaryDirectory(prefix="ray-", ignore_cleanup_errors=True) as ray_folder:  # short: it has sockets
        order = {
            "do": "job", "documents": sorted(glob(documents.pattern)), "tokenizer": str(bench.folder / "tokenizer"),
            "task": task_order(TASK, bench.counter), "min_score": GOOD_SCORE, "limit": limit,
            "base_url": server.base_url, "output": str(bench.folder / "curator"), "ray_folder": ray_folder,
        }  # fmt: skip
        with curator(python, bench.folder / "curator-job.log") as side:
            answer = side.ask(order)
            stats = server.stats()
        wall_s = time.perf_counter() - side.started_s
    return Ran(_segments(documents, bench, python), wall_s, answer["run_s"], answer["rows"], stats)


def _segments(documents: Documents, bench: Bench, python: Path) -> int:
    """How many segments Curator makes of the documents that take part."""
    parts = [part[part["quality_score"] >= GOOD_SCORE] for part in documents.partitions]
    with curator(python, bench.folder / "curator.log") as bench.side:
        return int(bench.ask("preprocess", TASK, [part for part in parts if len(part)])["rows"])
