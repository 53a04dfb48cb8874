"""What this process asks of each model, as counters for Prometheus; a Dask worker serves them at `/metrics`.

They are plain numbers under a lock, and are put into Prometheus' words when somebody looks: an event costs well under a
microsecond that way. They stand in `prometheus_client.REGISTRY`, so whatever serves that registry serves them.
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import accumulate
from typing import NamedTuple

from prometheus_client import REGISTRY
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from nemocc_dask.llm.results import Answer, Results

CANCELLED, UNREACHED = "cancelled", "unreached"
"""What became of an attempt that was given up here, and of one that reached nobody. Others have the reasons of
failures, an answered one ``http_200``."""

LATENCIES_S = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0)
"""Bounds of the histogram's buckets."""


class Asked:
    """What was asked of one model by this process, and what came of it; from any thread.

    >>> asked = Asked()
    >>> asked.sent("http_429"), asked.retried(), asked.sent("http_200", 0.2)
    (None, None, None)
    >>> dict(asked.requests), asked.retries, asked.latency_s
    ({'http_429': 1, 'http_200': 1}, 1, 0.2)
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.requests: Counter[str] = Counter()
        self.failures: Counter[str] = Counter()
        self.latencies = [0] * (len(LATENCIES_S) + 1)
        self.retries = self.answers = self.reused = self.prompt_tokens = self.completion_tokens = 0
        self.latency_s = 0.0
        self.cost: float | None = None

    def sent(self, outcome: str, latency_s: float | None = None) -> None:
        """An attempt has ended. latency_s: seconds until its response was read whole, where one came."""
        with self._lock:
            self.requests[outcome] += 1
            if latency_s is not None:
                self.latencies[bisect_left(LATENCIES_S, latency_s)] += 1
                self.latency_s += latency_s

    def retried(self) -> None:
        """A request will be sent again."""
        with self._lock:
            self.retries += 1

    def came(self, results: Results) -> None:
        """Answers that are paid for now, or failures."""
        with self._lock:
            for one in results:
                if isinstance(one, Answer):
                    self.answers += 1
                    self.prompt_tokens += one.prompt_tokens or 0
                    self.completion_tokens += one.completion_tokens or 0
                else:
                    self.failures[one.reason] += 1

    def found(self) -> None:
        """An answer was there already."""
        with self._lock:
            self.reused += 1

    def paid(self, cost: float) -> None:
        """So much, in the currency of the user's prices."""
        with self._lock:
            self.cost = cost + (self.cost or 0.0)

    def waited(self) -> list[tuple[str, float]]:
        """Buckets of the histogram: (bound, how many took no longer)."""
        bounds = (*map(str, LATENCIES_S), "+Inf")
        return list(zip(bounds, accumulate(map(float, self.latencies)), strict=True))


class Lane(NamedTuple):
    """A model's way to the network as it is now: requests under way, and most that are allowed."""

    model: str
    in_flight: int
    limit: int


Lanes = Callable[[], Iterable[Lane]]

_lock = threading.Lock()
_asked: dict[str, Asked] = {}
_lanes: list[Lanes] = []


def asked_of_model(model: str) -> Asked:
    """The counts of a model in this process; ask once and keep them."""
    with _lock:
        return _asked.setdefault(model, Asked())


def watch(lanes: Lanes) -> None:
    """Have a function tell of requests under way whenever somebody looks."""
    _lanes.append(lanes)


def _start_afresh() -> None:
    """In a forked child: what was asked was asked by the parent, and a thread that is not there may hold the lock."""
    global _lock
    _lock = threading.Lock()
    _asked.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_afresh)


class _Row(NamedTuple):
    """A counter: its name without `_total`, what it counts, its further label or "", and its values by that."""

    name: str
    words: str
    label: str
    values: Callable[[Asked], dict[str, float]]


_COUNTERS = (
    _Row(
        "nemocc_requests",
        "Attempts at requests by how they ended; all but the unreached went over the wire.",
        "outcome",
        lambda asked: dict(asked.requests),
    ),
    _Row("nemocc_retries", "Requests sent once more.", "", lambda asked: {"": asked.retries}),
    _Row("nemocc_answers", "Answers that were paid for.", "", lambda asked: {"": asked.answers}),
    _Row("nemocc_reused", "Answers that were in the store already.", "", lambda asked: {"": asked.reused}),
    _Row("nemocc_failures", "Rows without an answer, by reason.", "reason", lambda asked: dict(asked.failures)),
    _Row("nemocc_prompt_tokens", "Tokens of prompts, as billed.", "", lambda asked: {"": asked.prompt_tokens}),
    _Row("nemocc_completion_tokens", "Tokens of answers, as billed.", "", lambda asked: {"": asked.completion_tokens}),
    _Row(
        "nemocc_cost",
        "What jobs have paid, in the currency of their prices.",
        "",
        lambda asked: {} if asked.cost is None else {"": asked.cost},
    ),
)


class _OfThisProcess(Collector):
    def collect(self) -> Iterator[Metric]:
        with _lock:
            asked = sorted(_asked.items())
        for row in _COUNTERS:
            family = CounterMetricFamily(row.name, row.words, labels=["model", *filter(None, [row.label])])
            for model, counts in asked:
                for value, number in row.values(counts).items():
                    family.add_metric([model, *filter(None, [value])], number)
            yield family
        yield from self._now()
        latency = HistogramMetricFamily(
            "nemocc_latency_seconds", "Seconds until a response was read, errors included.", labels=["model"]
        )
        for model, counts in asked:
            latency.add_metric([model], counts.waited(), sum_value=counts.latency_s)
        yield latency

    def _now(self) -> Iterator[Metric]:
        lanes = [lane for each in _lanes for lane in each()]
        in_flight = GaugeMetricFamily("nemocc_requests_in_flight", "Requests on the wire now.", labels=["model"])
        limit = GaugeMetricFamily("nemocc_requests_limit", "Most requests allowed on the wire now.", labels=["model"])
        for model in sorted({lane.model for lane in lanes}):
            of_model = [lane for lane in lanes if lane.model == model]
            in_flight.add_metric([model], sum(lane.in_flight for lane in of_model))
            limit.add_metric([model], sum(lane.limit for lane in of_model))
        yield in_flight
        yield limit


REGISTRY.register(_OfThisProcess())
