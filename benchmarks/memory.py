"""What memory requests take: one large partition, and many small ones after another. Each in a process of its own."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
from typing import Any

import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from clients import WORDS
from requesting import Server
from tables import Table

from nemocc_dask import TASKS, Endpoint, GenerationConfig
from nemocc_dask.generate import generate
from nemocc_dask.llm import Store

AT_ONCE = 512
SEGMENTS = pa.schema([("id", pa.int64()), ("segment_id", pa.int64()), ("text", pa.large_string())])
BATCHES = 10
"""The requests that come after one another are looked at this many times."""


def memory(server: Server, *, rows: int, requests: int) -> Table:
    """Memory of a process that asks about many rows at once, and of one that does so again and again."""
    large = _in_a_process(server, rows, 1)
    many = _in_a_process(server, requests // BATCHES, BATCHES)
    first, last = many["after"][1], many["after"][-1]  # what is loaded on first use is there after the first two
    return Table(
        "Memory",
        f"`generate` with a store, {AT_ONCE} requests at once, prompts of 1,500 characters and more, in a process "
        "of its own each. Frame: memory when the rows are there and nothing has been asked. All is resident memory.",
        ("work", "requests", "frame, MB", "peak, MB", "after a fifth, MB", "at the end, MB"),
        [
            ("one partition", rows, large["frame"], large["peak"], "-", large["after"][-1]),
            (f"{BATCHES} partitions, one after another", requests, many["frame"], many["peak"], first, last),
        ],
    )


def _in_a_process(server: Server, rows: int, batches: int) -> dict[str, Any]:
    words = [sys.executable, __file__, server.base_url, str(rows), str(batches)]
    return dict(json.loads(subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout))


def _megabytes() -> float:
    return float(psutil.Process().memory_info().rss / 1e6)


def _rows(rows: int, file: str) -> pd.DataFrame:
    """Segments, read from a file as in a job: made in memory, they would leave twice their size behind."""
    with pq.ParquetWriter(file, SEGMENTS) as writer:
        for first in range(0, rows, 10_000):
            ids = range(first, min(first + 10_000, rows))
            texts = [f"Document {number}. Summarise it in a sentence. {WORDS * 19}" for number in ids]
            writer.write_table(pa.table([list(ids), [0] * len(ids), texts], schema=SEGMENTS))
    return pd.read_parquet(file)


def _ask(base_url: str, rows: int, batches: int) -> dict[str, Any]:
    endpoint = Endpoint(base_url=base_url, model="simulated", max_concurrent_requests=AT_ONCE)
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as folder:
        frame = _rows(rows, f"{folder}/rows.parquet")
        figures: dict[str, Any] = {"frame": _megabytes(), "after": []}
        for batch in range(batches):
            config = GenerationConfig(seed=batch)  # other requests each time
            with Store(folder).attempt(f"batch-{batch}") as attempt:
                outcome = generate(frame, TASKS["distill"], endpoint=endpoint, config=config, attempt=attempt)
            assert outcome.stages[0].notes["responses"] == rows, outcome.stages
            del outcome
            figures["after"].append(_megabytes())
    figures["peak"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    return figures


if __name__ == "__main__":
    print(json.dumps(_ask(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
