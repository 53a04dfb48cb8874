"""`store=` in a notebook: what a chain was answered once costs nothing again; without one, paying twice is told."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import dask
import dask.dataframe as dd
import pandas as pd
import pytest
from corpora import corpus
from distributed import Client, LocalCluster
from pandas.testing import assert_frame_equal
from scripted import chat, document_in, error

import nemocc_dask as ncc
from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.job import run_job
from nemocc_dask.llm.store.index import LOOK_EVERY_S
from nemocc_dask.settings import Endpoint, GenerationConfig, Job

PAID_TWICE = "paid for, once more"

pytestmark = pytest.mark.filterwarnings("error:The same rows are asked:UserWarning")


@pytest.fixture
def store(tmp_path):
    """A folder that is not there yet."""
    return tmp_path / "responses"


def asking(documents, endpoint, store=None, task="distill", **sampling):
    """A chain that asks one question a document, in three partitions where it is one of Dask's."""
    config = GenerationConfig(**sampling)
    return documents.nemocc.generate(task, endpoint=endpoint, config=config, store=store and str(store))


def lazy(rows=6):
    return dd.from_pandas(corpus(rows), npartitions=3)


def sent(simulator):
    return simulator.stats()["requests"]


# --- with a store -----------------------------------------------------------------------------------------------------


def test_building_a_graph_sends_nothing_and_makes_no_folder(simulator, endpoint, store, tokenizer):
    """Until something is computed there is neither a request nor a folder, with rows or without."""
    asked = asking(lazy(), endpoint, store)
    whole = lazy().nemocc.synthesize("distill", endpoint=endpoint, tokenizer=tokenizer, store=str(store))
    asked.optimize().__dask_graph__()
    assert repr(asked) and repr(whole) and sent(simulator) == 0 and not store.exists()
    assert len(asking(corpus(0), endpoint, store)) == 0
    assert sent(simulator) == 0 and not store.exists()


def test_looking_costs_nothing_twice(simulator, endpoint, store):
    """`head()` asks for a partition, `len()` for the others, and everything after that for nothing."""
    asked = asking(lazy(), endpoint, store)
    head = asked.head(1)
    assert sent(simulator) == 2
    assert len(asked) == 6 and sent(simulator) == 6
    first, again = asked.compute(), asked.compute()
    assert_frame_equal(first, again)
    assert_frame_equal(first[:1], head)
    assert asking(corpus(6), endpoint, store)["distill"].tolist() == first["distill"].tolist()
    assert sent(simulator) == 6


def test_only_what_is_new_is_asked_for(simulator, endpoint, store):
    """More rows, another partitioning and more answers a prompt ask for what has not been answered yet."""
    asking(lazy(4), endpoint, store).compute()
    rows = asking(dd.from_pandas(corpus(7), npartitions=2), endpoint, store).compute()
    assert len(rows) == 7 and sent(simulator) == 7
    assert len(asking(lazy(7), endpoint, store, n=2).compute()) == 14 and sent(simulator) == 14
    assert len(asking(lazy(7), endpoint, store, temperature=0.1).compute()) == 7 and sent(simulator) == 21


def test_all_phases_at_once_look_into_the_store_too(simulator, endpoint, store, tokenizer):
    """`synthesize` finds its answers again, and those that `generate` was given for the same segments."""
    settings = {"endpoint": endpoint, "store": str(store)}
    frame = lazy().nemocc.synthesize(tokenizer=tokenizer, **settings)
    first, asked = frame.compute(), sent(simulator)
    assert len(frame.head(1)) == 1 and len(frame) == len(first) > 6
    assert_frame_equal(frame.compute(), first)
    assert sent(simulator) == asked > 6
    segments = lazy().nemocc.filter_quality(above=11).nemocc.preprocess("distill", tokenizer=tokenizer)
    assert len(segments.nemocc.generate("distill", **settings).compute()) > 0 and sent(simulator) == asked


@pytest.mark.parametrize("scheduler", ["synchronous", "threads"])
def test_each_scheduler_asks_once(simulator, endpoint, store, scheduler):
    """Partitions that are computed one by one, or side by side in threads, ask for each row once."""
    with dask.config.set(scheduler=scheduler):
        for _ in range(2):
            assert len(asking(lazy(12), endpoint, store).compute()) == 12
    assert sent(simulator) == simulator.stats()["answered"] == 12


def test_a_cluster_of_processes_asks_once(simulate, store):
    """Worker processes write to one store side by side, and a later computation finds what each of them was told."""
    simulator = simulate(latency_s=0.02)
    endpoint = Endpoint(base_url=simulator.base_url, model="simulated", max_concurrent_requests=4)
    asked = asking(dd.from_pandas(corpus(24), npartitions=8), endpoint, store)
    here = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}
    with LocalCluster(n_workers=2, threads_per_worker=2, processes=True, **here) as cluster, Client(cluster) as client:
        assert os.getpid() not in client.run(os.getpid).values()
        first = client.compute(asked).result()
        assert len(first) == sent(simulator) == 24
        assert len({path.name.partition(".")[0] for path in store.glob("*.jsonl")}) == 8
        time.sleep(1.2 * LOOK_EVERY_S)  # a process looks for what others were told no more often than that
        again = client.compute(asked).result()
    for each in (again, asked.compute()):
        assert each["distill"].tolist() == first["distill"].tolist()
    assert sent(simulator) == 24


def test_another_python_finds_what_this_one_was_answered(simulate, store, tmp_path):
    """Two processes, one after another, in folders of their own: the second computes and counts without a request."""
    simulator = simulate()
    script = tmp_path / "cell.py"
    script.write_text(
        "import sys, dask.dataframe as dd, nemocc_dask as ncc\n"
        "from corpora import corpus\n"
        "endpoint = ncc.Endpoint(base_url=sys.argv[1], model='simulated')\n"
        "documents = dd.from_pandas(corpus(6), npartitions=3)\n"
        "asked = documents.nemocc.generate('distill', endpoint=endpoint, store=sys.argv[2])\n"
        "print(len(asked.head(1)), len(asked), *sorted(asked.compute()['request_id']))\n"
    )
    said = []
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        command = [sys.executable, "-W", "error::UserWarning", str(script), simulator.base_url, str(store)]
        paths = {"PYTHONPATH": f"{Path(__file__).parent}:{Path(ncc.__file__).parents[1]}"}
        done = subprocess.run(
            command, cwd=tmp_path / folder, env=os.environ | paths, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
        assert sent(simulator) == 6
    assert said[0] == said[1] and said[0].startswith("1 6 ")


def test_two_computations_at_once_ask_once(simulate, store):
    """Cells that are run side by side share what is under way: each row is asked for by one of them."""
    simulator = simulate(latency_s=0.1)
    endpoint = Endpoint(base_url=simulator.base_url, model="simulated")
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(asking(corpus(20), endpoint, store)["distill"].tolist()))
        for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert results[0] == results[1] == results[2] and sent(simulator) == 20


def test_what_was_answered_before_a_computation_broke_off_is_not_asked_again(scripted, store):
    """After a refusal in its midst, the same cell asks for what is missing."""
    answered = []

    def reply(body):
        if len(scripted.bodies) > 10 and len(answered) == 10:
            return error(403, "closed for today")
        answered.append(document_in(body))
        return chat("An answer.")

    scripted.reply = reply
    endpoint = scripted.endpoint(max_concurrent_requests=1)
    with pytest.raises(EndpointRefusedError):
        asking(corpus(30), endpoint, store)
    assert len(answered) == 10
    scripted.reply = lambda body: answered.append(document_in(body)) or chat("An answer.")
    assert len(asking(corpus(30), endpoint, store)) == 30
    assert len(answered) == len(set(answered)) == 30


def test_the_store_of_a_job_serves_a_notebook(simulate, tmp_path, tokenizer, tokenizer_file):
    """What a job has paid for is in its folder, and a chain that asks the same is answered from there."""
    simulator = simulate()
    corpus(6).to_parquet(tmp_path / "in.parquet")
    there = {"base_url": simulator.base_url, "model": "simulated"}
    run_job(
        Job(
            input=str(tmp_path / "in.parquet"), output=str(tmp_path / "out"), task="distill",
            tokenizer=str(tokenizer_file), **there,
        )
    )  # fmt: skip
    asked = sent(simulator)
    segments = lazy().nemocc.preprocess("distill", tokenizer=tokenizer)
    rows = asking(segments, Endpoint(**there), tmp_path / "out" / "_nemocc" / "responses").compute()
    assert len(rows) == asked == sent(simulator) == 6
    shards = pd.read_parquet(tmp_path / "out" / "distill")
    assert set(shards["request_id"]) <= set(rows["request_id"])


# --- without one ------------------------------------------------------------------------------------------------------


def test_paying_twice_is_told(simulator, endpoint):
    """A first computation is quiet, here as in all tests of this file; a second one warns, and pays."""
    asked = asking(lazy(), endpoint)
    assert len(asked.compute()) == 6
    with pytest.warns(UserWarning, match=PAID_TWICE) as told:
        asked.compute()
    assert len(told) <= 3 and sent(simulator) == 12
    with pytest.warns(UserWarning, match="store="):
        asking(corpus(6)[:2], endpoint)  # the rows of the first partition, by hand


def test_only_what_is_asked_again_is_told(simulator, endpoint):
    """After `head()`, computing the rest warns about the partition that was looked at, and of no other."""
    asked = asking(lazy(), endpoint)
    assert len(asked.head(1)) == 1
    with pytest.warns(UserWarning, match=PAID_TWICE) as told:
        asked.compute()
    assert len(told) == 1 and sent(simulator) == 8


def test_all_phases_at_once_tell_it_too(simulator, endpoint, tokenizer):
    """`synthesize` warns as `generate` does."""
    frame = lazy().nemocc.synthesize("distill", endpoint=endpoint, tokenizer=tokenizer)
    frame.compute()
    with pytest.warns(UserWarning, match=PAID_TWICE):
        frame.compute()


def test_other_rows_tasks_and_settings_are_not_told(simulator, endpoint):
    """Whatever makes another request is asked for without a word, and so is what a store answers."""
    asking(corpus(6), endpoint)
    asking(corpus(7), endpoint)
    asking(corpus(6), endpoint, seed=1)
    asking(corpus(6), endpoint, task="knowledge_list")
    asking(corpus(0), endpoint)
    asking(corpus(0), endpoint)
    assert sent(simulator) == 6 + 7 + 6 + 6


def test_rows_from_nothing_are_told_apart(simulator, endpoint):
    """Partitions that hold the same languages hold other rows; computed again, they are the same."""
    rows = ncc.from_nothing(samples=9, languages=["French"], rows_per_partition=3)
    asked = rows.nemocc.generate("multilingual_qa", endpoint=endpoint)
    assert len(asked.compute()) == 9
    with pytest.warns(UserWarning, match=PAID_TWICE):
        asked.compute()


def test_what_was_not_answered_was_not_paid_for(scripted):
    """A computation that the endpoint refused is no reason to warn about the next one."""
    scripted.reply = lambda body: error(403, "closed for today")
    with pytest.raises(EndpointRefusedError):
        asking(corpus(3), scripted.endpoint())
    scripted.reply = lambda body: chat("An answer.")
    assert len(asking(corpus(3), scripted.endpoint())) == 3


def test_a_store_is_quiet(simulator, endpoint, store):
    """With a store nothing is paid for twice, so there is nothing to tell."""
    asking(corpus(3), endpoint)
    for _ in range(2):
        assert len(asking(corpus(3), endpoint, store)) == 3
    assert sent(simulator) == 6
