"""What the dashboard calls the tasks of a chain: the step and the task of the recipe, fused or not."""

from __future__ import annotations

from collections.abc import Iterator

import dask.dataframe as dd
import pytest
from corpora import corpus
from distributed import Client, LocalCluster

import nemocc_dask as ncc

ANYWHERE = {"dashboard_address": "127.0.0.1:0", "worker_dashboard_address": "127.0.0.1:0"}


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with (
        LocalCluster(n_workers=1, threads_per_worker=2, processes=False, **ANYWHERE) as cluster,
        Client(cluster) as here,
    ):
        yield here


def names(client, frame):
    """The names under which a scheduler shows the tasks of a frame that it computes."""
    before = set(client.run_on_scheduler(_prefixes))
    client.compute(frame).result()
    return set(client.run_on_scheduler(_prefixes)) - before


def _prefixes(dask_scheduler):
    return list(dask_scheduler.task_prefixes)


def documents():
    return dd.from_pandas(corpus(4), npartitions=2)


def test_each_step_has_its_name(client, endpoint, tokenizer):
    """A chain that is computed as it stands shows step and task, and its hyphens do not cut the name short."""
    chain = documents().nemocc.filter_quality(above=3).nemocc.preprocess("diverse_qa", tokenizer=tokenizer)
    chain = chain.nemocc.generate("diverse_qa", endpoint=endpoint)
    chain = chain.nemocc.postprocess("diverse_qa", tokenizer=tokenizer).nemocc.remove_markdown()
    steps = ("filter-quality", "preprocess-diverse-qa", "generate-diverse-qa", "postprocess-diverse-qa")
    expected = {f"{step}-nemocc" for step in (*steps, "remove-markdown")}
    assert expected <= names(client, chain)


def test_steps_in_one_task_are_all_named(client, endpoint, tokenizer):
    """An optimized chain is one task a partition, whose name tells its steps."""
    chain = documents().nemocc.preprocess("distill", tokenizer=tokenizer).nemocc.generate("distill", endpoint=endpoint)
    chain = chain.nemocc.postprocess("distill", tokenizer=tokenizer)
    assert "preprocess-generate-postprocess" in names(client, chain.optimize())


def test_all_phases_at_once(client, endpoint, tokenizer):
    """`synthesize` is named, with its task where there is one; rows from nothing are named too."""
    one = documents().nemocc.synthesize("distill", endpoint=endpoint, tokenizer=tokenizer)
    both = documents().nemocc.synthesize(endpoint=endpoint, tokenizer=tokenizer)
    assert "synthesize-distill-nemocc" in names(client, one)
    assert "synthesize-nemocc" in names(client, both)
    asked = ncc.from_nothing(samples=2).nemocc.generate("multilingual_qa", endpoint=endpoint)
    assert {"fromnothing-nemocc", "generate-multilingual-qa-nemocc"} <= names(client, asked)
