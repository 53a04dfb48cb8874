"""What the workers of a cluster serve at /metrics: together it is what the endpoint saw and what the books say."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.request import urlopen

import dask
import pytest
from distributed import Client, LocalCluster
from prometheus_client.parser import text_string_to_metric_families

from nemocc_dask.job import run_job

from .jobs import assert_accounted_for, clean_documents, quiet

ANYWHERE = "127.0.0.1:0"


@pytest.fixture
def workers() -> Iterator[Client]:
    """Two worker processes with web pages, the scheduler's too."""
    pages = {"dashboard_address": ANYWHERE, "worker_dashboard_address": ANYWHERE}
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, processes=True, silence_logs=50, **pages) as cluster,
        Client(cluster) as client,
    ):
        yield client


def scraped(client: Client) -> Counter[tuple[str, str]]:
    """(name, label besides the model) → sum over all workers of the cluster."""
    sums: Counter[tuple[str, str]] = Counter()
    for worker in client.scheduler_info()["workers"].values():
        with urlopen(f"http://{worker['host']}:{worker['services']['dashboard']}/metrics", timeout=10) as page:
            for family in text_string_to_metric_families(page.read().decode()):
                for sample in family.samples:
                    if sample.name.startswith("nemocc_"):
                        label = "".join(value for name, value in sample.labels.items() if name != "model")
                        sums[sample.name, label] += sample.value
    return sums


def of(sums: Counter[tuple[str, str]], name: str) -> dict[str, float]:
    """Label → value of one metric."""
    return {label: value for (each, label), value in sums.items() if each == name and value}


def test_the_sums_over_workers_are_what_the_endpoint_saw(workers, job, simulate, parquet, output):
    """Attempts by status, answers, failures, tokens and cost of two processes are the endpoint's and the books'."""
    simulator = simulate(error_rate=0.2, slots=3, latency_s=0.02, bad_request_rate=0.1)
    shared: dict[str, Any] = {"price_input": 2.0, "price_output": 10.0, "max_retries": 20}
    wanted = job(
        simulator, input=parquet(clean_documents(60)), scheduler=workers.cluster.scheduler_address,
        max_concurrent_requests=12, fixed_concurrency=True, **shared,
    )  # fmt: skip
    ended, during = threading.Event(), []

    def look() -> None:
        while not ended.wait(0.1):
            during.append(of(scraped(workers), "nemocc_requests_total"))

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        books = run_job(wanted)
    finally:
        ended.set()
        watcher.join()
    seen, sums = simulator.stats(), scraped(workers)
    assert_accounted_for(output, books, http_requests=quiet(simulator))
    statuses = {f"http_{status}": count for status, count in seen["by_status"].items()}
    assert of(sums, "nemocc_requests_total") == statuses and {"http_429", "http_500", "http_400"} < statuses.keys()
    accounts = books["tasks"].values()
    failed: Counter[str] = Counter()
    for account in accounts:
        failed.update(account["failed"])
    assert of(sums, "nemocc_failures_total") == failed and failed["http_400"] > 0
    assert of(sums, "nemocc_answers_total") == {"": sum(account["responses"] for account in accounts)}
    assert of(sums, "nemocc_retries_total") == {"": seen["requests"] - seen["answered"] - failed.total()}
    assert of(sums, "nemocc_prompt_tokens_total") == {"": seen["prompt_tokens"]}
    assert of(sums, "nemocc_completion_tokens_total") == {"": seen["completion_tokens"]}
    assert sums["nemocc_cost_total", ""] == pytest.approx(books["spent"]["cost"], abs=1e-6)
    assert sums["nemocc_latency_seconds_count", ""] == seen["requests"]
    assert sums["nemocc_requests_in_flight", ""] == 0
    totals = [sum(each.values()) for each in during]
    assert totals == sorted(totals) and any(0 < total < seen["requests"] for total in totals)


def test_without_web_pages(job, simulate, output):
    """Where Dask's pages are switched off there is nothing to look at, and nothing else is different."""
    off = {"distributed.worker.http.routes": [], "distributed.scheduler.http.routes": []}
    with dask.config.set(off):
        books = run_job(job(simulate(), workers=2, task=("distill",)))
    assert_accounted_for(output, books)
