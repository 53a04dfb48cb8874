"""Limits that several processes keep together, in a world whose clock is moved by hand: no network, no waiting."""

from __future__ import annotations

import heapq
import random
from collections import deque
from itertools import count

import pytest

from nemocc_dask.llm.access import UNRECEIVED_S
from nemocc_dask.llm.broker import GONE_S, SLOWER, VALID_S, Broker, fair_parts
from nemocc_dask.llm.share import Share, Usage
from nemocc_dask.settings import Endpoint

STEP_S = 0.02


def endpoint(**settings):
    return Endpoint(base_url="http://h/v1", model="m", fixed_concurrency=True, **settings)


class Process:
    """A process that sends requests as its share allows, each of which takes some seconds and so many tokens."""

    def __init__(self, name, world, waiting=10**6):
        self.name, self.world, self.waiting = name, world, waiting
        self.share = Share.of(world.endpoint)
        self.in_flight = 0
        self.tell_at = 0.0
        self.is_stopped = self.is_dead = False

    def step(self, now):
        if now >= self.tell_at:
            estimates = [self.world.estimate] * min(64, self.waiting)
            usage = self.share.usage(self.in_flight, self.waiting, estimates)
            grant = self.world.broker.renew(self.name, usage, now)
            self.share.take(grant, asked_at=now)
            self.tell_at = now + grant.again_s
        while self.waiting and self.in_flight < self.share.places(now):
            if self.share.permits.wait_s(now) or self.share.tokens.wait_s(now, self.world.estimate):
                break
            self.send(now)

    def send(self, now):
        self.share.permits.take(now)
        charge = self.share.tokens.take(now, self.world.estimate)
        lease = self.share.servers[0].sent(self.in_flight)
        self.waiting -= 1
        self.in_flight += 1
        latency_s = self.world.rng.uniform(0.5, 1.0) * self.world.latency_s
        self.world.sent(self, now, now + latency_s, (lease, charge, latency_s))

    def came(self, now, sent):
        lease, charge, latency_s = sent
        self.in_flight -= 1
        self.share.longest_s = max(self.share.longest_s, latency_s)
        self.share.servers[0].answered(lease, latency_s, self.in_flight)
        self.share.tokens.settle(now, self.world.estimate, charge, self.world.takes)


class World:
    """Processes, their broker, and an endpoint that counts what is under way there."""

    def __init__(self, seed=0, latency_s=0.5, estimate=100, takes=100, **limits):
        self.endpoint = endpoint(**limits)
        self.broker = Broker(self.endpoint)
        self.rng, self.latency_s, self.estimate, self.takes = random.Random(seed), latency_s, estimate, takes
        self.processes = []
        self.now = 100.0
        self.under_way = self.peak = 0
        self.arrivals, self.used = [], deque()
        self._ends, self._numbers = [], count()

    def join(self, name, **how):
        process = Process(name, self, **how)
        self.processes.append(process)
        return process

    def kill(self, process):
        """It is gone, its requests end as soon as the server notices, and whoever shares out the limits is told."""
        process.is_dead = True
        self.processes.remove(process)
        noticed_at = self.now + 1.0
        self._ends = [(min(at, noticed_at) if p is process else at, n, p, sent) for at, n, p, sent in self._ends]
        heapq.heapify(self._ends)
        self.broker.gone(process.name, self.now)

    def sent(self, process, now, ends_at, sent):
        self.under_way += 1
        self.peak = max(self.peak, self.under_way)
        self.arrivals.append(now)
        heapq.heappush(self._ends, (ends_at, next(self._numbers), process, sent))

    def run(self, seconds):
        """Lets so many seconds pass; returns the mean number under way."""
        samples, ends_at = [], self.now + seconds
        while self.now < ends_at:
            self.now += STEP_S
            while self._ends and self._ends[0][0] <= self.now:
                _, _, process, sent = heapq.heappop(self._ends)
                self.under_way -= 1
                if not process.is_dead:
                    process.came(self.now, sent)
            for process in self.processes:
                if not process.is_stopped:
                    process.step(self.now)
            samples.append(self.under_way)
        return sum(samples) / len(samples)


def most_in_a_minute(arrivals):
    window, most = deque(), 0
    for moment in arrivals:
        window.append(moment)
        while moment - window[0] >= 60:
            window.popleft()
        most = max(most, len(window))
    return most


@pytest.mark.parametrize(
    ("total", "wanted", "parts"),
    [
        (100, [100, 100], [50, 50]),
        (100, [20, 100], [20, 80]),
        (100, [100, 100, 100], [34, 33, 33]),
        (2, [5, 5, 5], [1, 1, 0]),
        (10, [], []),
        (10, [0, 3], [0, 3]),
    ],
)
def test_parts_are_fair(total, wanted, parts):
    """Nobody gets more than he can use, the rest is shared evenly, and who comes first has what cannot be shared."""
    assert fair_parts(total, wanted) == parts


def test_it_is_shared_by_demand_as_processes_come_and_go():
    """One has all, two have half each, one that wants little leaves the rest, three have a third each."""
    world = World(max_concurrent_requests=99)
    first = world.join("a")
    world.run(5)
    assert first.in_flight == 99
    second = world.join("b")
    world.run(5)
    assert sorted([first.in_flight, second.in_flight]) == [49, 50]
    third = world.join("c", waiting=0)
    world.run(5)
    assert third.in_flight == 0 and world.under_way == 99
    third.waiting = 10**6
    world.run(5)
    assert [first.in_flight, second.in_flight, third.in_flight] == [33, 33, 33]
    assert world.peak <= 99


@pytest.mark.parametrize("seed", range(5))
def test_the_limit_is_never_passed_whatever_befalls_the_processes(seed):
    """Processes that join, die, hang and come back never have more under way together than the limit."""
    world = World(seed, max_concurrent_requests=40, latency_s=world_latency(seed))
    rng, names = random.Random(seed), count()
    for _ in range(60):
        match rng.choice(["join", "kill", "stop", "go on", "idle", "busy"]):
            case "join" if len(world.processes) < 6:
                world.join(f"p{next(names)}")
            case "kill" if len(world.processes) > 1:
                world.kill(rng.choice(world.processes))
            case "stop" if world.processes:
                rng.choice(world.processes).is_stopped = True
            case "go on" if world.processes:
                rng.choice(world.processes).is_stopped = False
            case "idle" if world.processes:
                rng.choice(world.processes).waiting = rng.choice([0, 3])
            case "busy" if world.processes:
                rng.choice(world.processes).waiting = 10**6
        world.run(rng.uniform(0.1, 6))
    assert world.peak <= 40
    assert len(world.arrivals) > 300


def world_latency(seed):
    return [0.1, 0.5, 1.0, 3.0, 8.0][seed]


def test_a_dead_ones_share_is_in_use_again_soon():
    """Three seconds and a half after a process has died, the others use all of the limit."""
    world = World(max_concurrent_requests=96, latency_s=1.0)
    processes = [world.join(name) for name in "abc"]
    assert world.run(10) > 80
    world.kill(processes[0])
    world.run(VALID_S + GONE_S)
    assert world.run(3) > 0.97 * 96


def test_a_silent_ones_requests_are_waited_for():
    """What one that hangs has under way counts until it must be over, and it sends nothing when it wakes up."""
    world = World(max_concurrent_requests=10, latency_s=20.0)
    one, other = world.join("a"), world.join("b")
    world.run(60)
    assert one.in_flight == other.in_flight == 5
    one.is_stopped = True
    world.run(VALID_S + 5)
    assert other.in_flight == 5
    world.run(SLOWER * 20 + UNRECEIVED_S)
    assert other.in_flight == 10
    one.is_stopped, sent = False, len(world.arrivals)
    assert one.share.places(world.now) == 0
    world.run(1)
    assert world.under_way <= 10 and len(world.arrivals) - sent <= 10


def test_fewer_places_than_processes_go_round():
    """With two places for five processes, each has its turn, and the places are in use most of the time."""
    world = World(max_concurrent_requests=2, latency_s=0.5)
    processes = [world.join(name) for name in "abcde"]
    mean = world.run(60)
    assert world.peak == 2 and mean > 1.5
    assert all(10**6 - process.waiting > 10 for process in processes)


@pytest.mark.parametrize("processes", [1, 3, 40])
@pytest.mark.parametrize("per_minute", [30, 600, 12_000])
def test_requests_a_minute_are_those_of_all_together(processes, per_minute):
    """However many share it, no minute has more requests than allowed, and nine tenths of them are used."""
    world = World(max_concurrent_requests=1000, requests_per_minute=per_minute, latency_s=0.2)
    joined = [world.join(f"p{number}") for number in range(processes)]
    world.run(180)
    assert most_in_a_minute(world.arrivals) <= per_minute
    assert len(world.arrivals) > 0.9 * 3 * per_minute
    if per_minute >= 600:
        assert min(10**6 - process.waiting for process in joined) > 0.5 * 3 * 0.9 * per_minute / processes


@pytest.mark.parametrize("takes", [100, 40, 130])
@pytest.mark.parametrize("processes", [1, 3, 20])
def test_tokens_a_minute_are_those_of_all_together(processes, takes):
    """However many share it, and whatever requests take against what was estimated, the minute's tokens are kept."""
    world = World(max_concurrent_requests=1000, tokens_per_minute=60_000, latency_s=0.3, takes=takes)
    joined = [world.join(f"p{number}") for number in range(processes)]
    world.run(60)  # by then each process knows what its requests take
    before = len(world.arrivals)
    world.run(180)
    taken = takes * (len(world.arrivals) - before)
    assert 0.9 * 180_000 < taken <= 1.01 * 180_000
    assert takes * most_in_a_minute(world.arrivals[before:]) <= 1.03 * 60_000
    assert min(10**6 - process.waiting for process in joined) > 0


def test_what_was_told_in_vain_is_counted_once():
    """A usage that got lost is told again with the next, and one of which only the answer got lost counts once."""
    broker, share = Broker(endpoint(max_concurrent_requests=8)), Share.of(endpoint())
    share.take(broker.renew("a", Usage(waiting=8), 0.0), asked_at=0.0)
    for _ in range(3):
        share.servers[0].sent(1)
    usage = share.usage(3, 5, [])
    broker.renew("a", usage, 0.2)
    share.told_in_vain(usage)
    share.servers[0].sent(4)
    broker.renew("a", share.usage(4, 4, []), 0.4)
    assert broker._under_way == [4]


def test_a_servers_limit_is_learned_from_all():
    """Refusals that three processes meet cut one limit, once for all that was sent before."""
    settings = Endpoint(base_url="http://h/v1", model="m", max_concurrent_requests=90)
    broker, shares = Broker(settings), [Share.of(settings) for _ in range(3)]
    numbers = {}
    for round_ in range(2):
        for name, share in zip("abc", shares, strict=True):
            share.take(broker.renew(name, share.usage(len(numbers.get(name, [])), 100, []), round_ * 0.3), round_ * 0.3)
            numbers.setdefault(name, []).extend(
                share.servers[0].sent(0) for _ in range(share.places(round_ * 0.3) - len(numbers.get(name, [])))
            )
    for name, share in zip("abc", shares, strict=True):
        share.take(broker.renew(name, share.usage(len(numbers[name]), 90, []), 0.6), 0.6)
    before = broker.limit
    for name, share in zip("abc", shares, strict=True):
        for number in numbers[name]:
            share.servers[0].refused(number, 0)
        broker.renew(name, share.usage(0, 90, []), 0.9)
    assert before > broker.limit >= 0.8 * before
