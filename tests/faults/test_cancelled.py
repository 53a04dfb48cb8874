"""A computation that nobody wants any more stops spending, and what it has had answered is not paid for again."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from distributed import Client, LocalCluster
from job.jobs import text, wait_until

import nemocc_dask as ncc
from nemocc_dask.llm import close_runtime
from nemocc_dask.settings import Endpoint
from nemocc_dask.simulate import Knobs, Simulator

ROWS, LIMIT = 1000, 20
"""Requests of a computation, and how many at once: at half a second each they take 25 s."""


@pytest.fixture
def client() -> Iterator[Client]:
    """A client of a cluster of threads."""
    nowhere = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, silence_logs=50, **nowhere) as cluster,
        Client(cluster) as client,
    ):
        yield client
    close_runtime()


def chain(client: Client, endpoint: Endpoint, store: str | None) -> Any:
    """A chain on a Dask dataframe, of which two partitions are under way and others wait."""
    rows = ncc.from_nothing(samples=ROWS, rows_per_partition=ROWS // 4)
    return client.compute(rows.nemocc.generate("multilingual_qa", endpoint=endpoint, store=store))


def submitted(client: Client, endpoint: Endpoint, store: str | None) -> Any:
    """A function on a pandas dataframe."""
    rows = ncc.from_nothing(samples=ROWS).compute(scheduler="sync")
    return client.submit(lambda: rows.nemocc.generate("multilingual_qa", endpoint=endpoint, store=store), pure=False)


def all_at_once(tokenizer_file: Path) -> Callable[..., Any]:
    """All phases of several tasks in one go."""
    docs = pd.DataFrame({"id": range(ROWS // 2), "text": [text(number, 4) for number in range(ROWS // 2)]})
    tasks = ["distill", "knowledge_list"]

    def submit(client: Client, endpoint: Endpoint, store: str | None) -> Any:
        settings = {"endpoint": endpoint, "tokenizer": tokenizer_file, "store": store}
        return client.submit(lambda: docs.nemocc.synthesize(tasks, **settings), pure=False)

    return submit


@pytest.mark.parametrize("kind", ["chain", "submitted", "all at once"])
@pytest.mark.parametrize("stored", [True, False], ids=["store", "no store"])
def test_a_cancelled_future(client, tokenizer_file, tmp_path, kind, stored):
    """Once its future is cancelled nothing more is sent; with a store the next computation asks for the rest alone."""
    compute = {"chain": chain, "submitted": submitted, "all at once": all_at_once(tokenizer_file)}[kind]
    store = str(tmp_path / "responses") if stored else None
    with Simulator(Knobs(latency_s=0.5)) as simulator:
        endpoint = Endpoint(
            base_url=simulator.base_url, model="simulated", max_concurrent_requests=LIMIT, fixed_concurrency=True
        )
        future = compute(client, endpoint, store)
        wait_until(lambda: simulator.stats()["requests"] >= 3 * LIMIT)
        future.cancel()
        asked = settled(simulator)
        assert 3 * LIMIT <= asked < ROWS / 2
        assert simulator.stats()["abandoned"] == 0, "what is paid for was not awaited"
    with Simulator() as again:
        if stored:
            assert len(compute(client, endpoint.replace(base_url=again.base_url), store).result()) > ROWS / 4
            assert again.stats()["requests"] == ROWS - asked


def settled(simulator: Simulator) -> int:
    """Requests the endpoint has had, once none has come for a second and none is under way."""
    before = -1
    while simulator.stats()["requests"] != before or simulator.stats()["in_flight"]:
        before = simulator.stats()["requests"]
        time.sleep(1.0)
    return before
