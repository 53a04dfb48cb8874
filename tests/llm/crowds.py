"""A model of a server and of clients that always have more to ask, from one event to the next: no sleeping."""

from __future__ import annotations

import dataclasses
import heapq
import math
import random
from collections.abc import Callable
from typing import NamedTuple

from nemocc_dask.llm.adaptive import Adaptive

ALWAYS = math.inf
REFUSAL_S = 0.002


@dataclasses.dataclass(frozen=True, kw_only=True)
class Server:
    """What becomes of requests.

    capacity: requests served at full speed at once; beyond it all get slower in proportion. slots: requests in work
    beyond which the next is refused at once. slowing: by how much each request in work slows all. sigma: of the
    log-normal latencies; mean_s: their mean without load. Those that are functions change with the time.
    """

    capacity: Callable[[float], float] = lambda t: ALWAYS
    slots: Callable[[float], float] = lambda t: ALWAYS
    longer: Callable[[float], float] = lambda t: 1.0
    slowing: float = 0.0
    sigma: float = 0.0
    mean_s: float = 0.2
    changes_at: tuple[float, ...] = ()

    def work_s(self, rng: random.Random, t: float) -> float:
        log = self.sigma * rng.gauss(0, 1) - self.sigma**2 / 2 if self.sigma else 0.0
        return self.mean_s * self.longer(t) * math.exp(log)

    def rate(self, at_once: int, t: float) -> float:
        return min(1.0, self.capacity(t) / max(1, at_once)) / (1 + self.slowing * at_once)


class Answer(NamedTuple):
    at: float
    latency_s: float


@dataclasses.dataclass
class Course:
    """What happened: (time, limit, under way, in work) from each event on, answers, and times of refusals."""

    steps: list[tuple[float, int, int, int]] = dataclasses.field(default_factory=list)
    answers: list[Answer] = dataclasses.field(default_factory=list)
    refused: list[float] = dataclasses.field(default_factory=list)

    def mean(self, column: int, start: float, end: float) -> float:
        """1: of the limit, 2: of those under way, 3: of those in work, over some seconds."""
        area = 0.0
        for step, after in zip(self.steps, self.steps[1:], strict=False):
            area += max(0.0, min(after[0], end) - max(step[0], start)) * step[column]
        return area / (end - start)

    def latencies(self, start: float, end: float) -> list[float]:
        return sorted(answer.latency_s for answer in self.answers if start < answer.at <= end)

    def per_s(self, start: float, end: float) -> float:
        return len(self.latencies(start, end)) / (end - start)


def quantile(ordered: list[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def unloaded(server: Server, share: float) -> float:
    rng = random.Random(99)
    return quantile(sorted(server.work_s(rng, 0.0) for _ in range(5000)), share)


def simulate(server: Server, adaptive: Adaptive, seconds: float, seed: int = 0) -> Course:
    """As many requests under way as `adaptive` allows, at every moment.

    All in work are served at one rate, so one virtual time is enough: who comes at v is done at v + work.
    """
    rng, course = random.Random(seed), Course()
    t = v = 0.0
    working: list[tuple[float, int, float, object]] = []
    refusing: list[tuple[float, int, object]] = []
    under_way = number = 0
    changes = [*server.changes_at, math.inf]
    while t < seconds:
        while under_way < adaptive.limit:
            under_way, number = under_way + 1, number + 1
            sent = adaptive.sent(under_way)
            if len(working) >= server.slots(t):
                heapq.heappush(refusing, (t + REFUSAL_S, number, sent))
            else:
                heapq.heappush(working, (v + server.work_s(rng, t), number, t, sent))
        course.steps.append((t, adaptive.limit, under_way, len(working)))
        rate = server.rate(len(working), t)
        done_at = t + (working[0][0] - v) / rate if working else math.inf
        refused_at = refusing[0][0] if refusing else math.inf
        then = min(done_at, refused_at, changes[0])
        v, t = v + (then - t) * rate, then
        if then == changes[0]:
            del changes[0]
        elif then == done_at:
            _, _, since, sent = heapq.heappop(working)
            adaptive.answered(sent, t - since, under_way)  # type: ignore[arg-type]
            course.answers.append(Answer(t, t - since))
            under_way -= 1
        else:
            adaptive.refused(heapq.heappop(refusing)[2], under_way)  # type: ignore[arg-type]
            course.refused.append(t)
            under_way -= 1
    course.steps.append((t, adaptive.limit, under_way, len(working)))
    return course
