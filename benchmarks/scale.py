"""Whether a job's memory grows with its input: the same job on some documents, and on ten times as many.

`python benchmarks/scale.py` prints the table; `bench.py` has it as a part. Each job is a command of its own, at an
endpoint in another process that answers at once.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import psutil
from corpus import Documents, repeated_demo
from requesting import COMMAND, Server, serving
from tables import Table

TIMES = 10
"""So much larger is the larger input."""

TASK, AT_ONCE = "distill", 64
LOOK_EVERY_S = 0.05


def scale(folder: Path, tokenizer: str | None = None, *, rows: int, workers: Sequence[int] = (1, 2)) -> Table:
    """Peak memory of a job on so many documents, and on `TIMES` as many, with so many worker processes."""
    inputs = [_documents(folder / f"scale-{count}", count) for count in (rows, TIMES * rows)]
    with serving(0) as server:
        figures = [row for number in workers for row in _compared(inputs, number, server, folder, tokenizer)]
    return Table(
        "Memory and the size of the input",
        f"`nemocc-dask run --task {TASK}`, {AT_ONCE} requests at once, answered at once by an endpoint in another "
        "process. Each copy of a document has words of its own. Peak: the sum of what each process of the job had "
        "resident when it had most. Ratio: to the job on fewer documents.",
        ("workers", "documents", "MB of text", "requests", "seconds", "peak, MB", "ratio"),
        figures,
    )


def _documents(folder: Path, rows: int) -> Documents:
    folder.mkdir()
    return repeated_demo(rows, folder)


def _compared(
    inputs: Sequence[Documents], workers: int, server: Server, folder: Path, tokenizer: str | None
) -> Iterator[tuple[Any, ...]]:
    least = 0.0
    for documents in inputs:
        output = folder / f"scale-{len(documents.frame)}-by-{workers}"
        began = time.monotonic()
        peak = _peak_megabytes(_command(documents.pattern, output, workers, server, tokenizer))
        seconds = time.monotonic() - began
        account = json.loads((output / "_nemocc" / "run.json").read_text("utf-8"))["tasks"][TASK]
        least = least or peak
        requests = account["requests"]
        yield workers, len(documents.frame), documents.megabytes, requests, seconds, peak, f"{peak / least:.2f}"


def _command(pattern: str, output: Path, workers: int, server: Server, tokenizer: str | None) -> list[str]:
    flags = {
        "input": pattern, "output": output, "task": TASK, "model": "simulated", "base-url": server.base_url,
        "max-concurrent-requests": AT_ONCE, "workers": workers, **({"tokenizer": tokenizer} if tokenizer else {}),
    }  # fmt: skip
    return [*COMMAND, "run", *(word for name, value in flags.items() for word in (f"--{name}", str(value)))]


def _peak_megabytes(command: Sequence[str]) -> float:
    """What the processes of a command had resident, each at its largest, summed up."""
    peaks: dict[int, float] = {}
    with tempfile.TemporaryFile() as said, subprocess.Popen(command, stdout=said, stderr=said) as process:
        job = psutil.Process(process.pid)
        while process.poll() is None:
            for each in _family(job):
                peaks[each.pid] = max(peaks.get(each.pid, 0.0), _megabytes(each))
            time.sleep(LOOK_EVERY_S)
        if process.returncode:
            said.seek(0)
            raise SystemExit(f"scale.py: the job failed: {said.read().decode()}")
    return sum(peaks.values())


def _family(job: psutil.Process) -> list[psutil.Process]:
    try:
        return [job, *job.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _megabytes(process: psutil.Process) -> float:
    """Of a process that ended meanwhile, nothing."""
    try:
        return float(process.memory_info().rss / 1e6)
    except psutil.Error:
        return 0.0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rows", type=int, default=4000, help="documents of the smaller job")
    parser.add_argument("--tokenizer", help="hub name, folder or tokenizer.json; else Mistral NeMo's")
    parser.add_argument("--workers", type=int, nargs="+", default=(1, 2), help="worker processes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as place:
        print(scale(Path(place), given.tokenizer, rows=given.rows, workers=given.workers).markdown())
