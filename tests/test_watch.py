"""`progress()`: what it shows of a chain adds up to what was computed, in this process and on a cluster's workers."""

from __future__ import annotations

import re
import threading

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from corpora import corpus
from distributed import Client, LocalCluster, wait

import nemocc_dask as ncc
from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.settings import Endpoint
from nemocc_dask.watch import Cell, ChainTally

ANYWHERE = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}


def sums(tally):
    return {name: tally._counts[name] for name in ("rows", "answers", "failed", "reused")}


def lazy(rows, partitions=3):
    return dd.from_pandas(corpus(rows), npartitions=partitions)


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_what_is_computed_here(simulate, scheduler, capsys):
    """Partitions in this process are heard: rows, answers, failures and tokens add up, and the last line says so."""
    simulator = simulate(bad_request_rate=0.3)
    endpoint = Endpoint(base_url=simulator.base_url, model="simulated")
    with dask.config.set(scheduler=scheduler), ncc.progress() as seen:
        rows = lazy(12).nemocc.generate("distill", endpoint=endpoint).compute()
    stats = simulator.stats()
    failed = stats["by_status"]["400"]
    assert sums(seen) == {"rows": 12, "answers": len(rows), "failed": failed, "reused": 0} and failed > 0
    assert (seen.parts, seen.parts_done) == (3, 3)
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("12 of 12 rows so far, ") and f"{failed} failed, " in line
    assert line.endswith(f"{stats['prompt_tokens']:,} tokens in, {stats['completion_tokens']:,} out")


def test_what_the_workers_of_a_cluster_compute(simulate, tokenizer, tmp_path):
    """Worker processes are heard through the scheduler, all phases at once too; what was stored is told as reused."""
    simulator = simulate(latency_s=0.02)
    endpoint = Endpoint(base_url=simulator.base_url, model="simulated", max_concurrent_requests=4)
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, **ANYWHERE) as cluster:
        with Client(cluster) as client:
            with ncc.progress(client) as seen:
                asked = lazy(24, 6).nemocc.generate("distill", endpoint=endpoint, store=str(tmp_path)).persist()
                wait(asked)
            assert sums(seen) == {"rows": 24, "answers": 24, "failed": 0, "reused": 0}
            assert (seen.parts, seen.parts_done) == (6, 6)
            with ncc.progress() as again:  # Dask would use this client, so it is found
                lazy(24, 2).nemocc.generate("distill", endpoint=endpoint, store=str(tmp_path)).compute()
            assert sums(again)["answers"] == 24 and sums(again)["reused"] >= 12
            before = simulator.stats()["answered"]
            with ncc.progress(client) as whole:
                lazy(6).nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer).compute()
            assert sums(whole)["rows"] == sums(whole)["answers"] == simulator.stats()["answered"] - before > 6
        assert sums(seen)["answers"] == 24  # nobody tells it any more


def test_a_pandas_frame_and_a_graph(simulator, endpoint, capsys):
    """A pandas frame is heard alike; building a graph, and computing nothing, is nothing to tell."""
    with ncc.progress() as seen:
        lazy(6).nemocc.generate("distill", endpoint=endpoint)
        corpus(0).nemocc.generate("distill", endpoint=endpoint)
    assert sums(seen)["rows"] == seen.parts == 0 and capsys.readouterr().err == ""
    with ncc.progress() as seen:
        pd.DataFrame({"text": ["Water boils.", "Ice melts."]}).nemocc.generate("distill", endpoint=endpoint)
    assert sums(seen)["answers"] == 2


def test_a_computation_that_breaks_off(simulate):
    """What came until an error is told, the partition is not called done, and the error is the one that was raised."""
    simulator = simulate(api_key="another")
    endpoint = Endpoint(base_url=simulator.base_url, model="simulated")
    with pytest.raises(EndpointRefusedError), ncc.progress() as seen:
        lazy(4, 1).nemocc.generate("distill", endpoint=endpoint).compute(scheduler="sync")
    assert sums(seen)["answers"] == seen.parts_done == 0


def test_two_links_of_one_chain(endpoint, tokenizer):
    """A chain that asks twice counts the rows of both questions."""
    with ncc.progress() as seen:
        asked = lazy(4).nemocc.generate("distill", endpoint=endpoint)
        asked[["id", "text"]].nemocc.generate("knowledge_list", endpoint=endpoint).compute()
    assert sums(seen)["rows"] == sums(seen)["answers"] == 8


class Display:
    """Stands where IPython's `display` does; what it showed, state after state."""

    def __init__(self):
        self.states = []
        self.moved = threading.Event()

    def __call__(self, data, *, raw, display_id):
        assert raw and display_id
        self.states.append(data["text/plain"])
        return self

    def update(self, data, *, raw):
        self.states.append(data["text/plain"])
        self.moved.set()


def test_one_line_of_a_cell():
    """In a cell one line is written anew: first that something is prepared, at the end how it ended."""
    display, ended, tally = Display(), threading.Event(), ChainTally()
    tally.counted(1, {"rows": 4, "answers": 1})
    thread = threading.Thread(target=Cell(display).show, args=(tally, ended))
    thread.start()
    assert display.moved.wait(10)
    tally.counted(1, {"answers": 3, "partitions_done": 1})
    ended.set()
    thread.join()
    assert display.states[0] == "preparing" and display.states[1].startswith("1 of 4 rows so far, ")
    assert re.match(r"4 of 4 rows so far, .* 1 of 1 partitions begun, ", display.states[-1])
