"""How closely the engine keeps to limits, finds what servers cope with, and does without one that dies.

`python benchmarks/pacing.py` measures for about six minutes and prints a table; `bench.py` has it as a part. Each
server is a simulated endpoint in a process of its own.
"""

from __future__ import annotations

import concurrent.futures
import re
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from statistics import mean
from typing import Any

import psutil
from requesting import COMMAND, Server
from tables import Table

from nemocc_dask import Endpoint, GenerationConfig
from nemocc_dask.llm import Answer, ChatRequest, Message, answer_all, close_runtime

LATENCY_S = 0.2
ROW = ("server", "asked of it", "answered", "refused", "came to")


@contextmanager
def simulated(**knobs: Any) -> Iterator[Server]:
    """A simulated endpoint of these knobs."""
    flags = [word for name, value in knobs.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    command = [*COMMAND, "simulate", "--port", "0", "--latency", str(LATENCY_S), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            address = re.search(r"http\S+/v1", line)
            if not address:
                raise SystemExit(f"pacing.py: the simulated endpoint did not start: {line!r}.")
            yield Server(psutil.Process(process.pid), address[0], LATENCY_S)
        finally:
            process.terminate()


def reach(*servers: Server | str, **more: Any) -> Endpoint:
    """Servers as one endpoint, with delays that suit latencies of 0.2 s."""
    urls = tuple(server if isinstance(server, str) else server.base_url for server in servers)
    return Endpoint(base_url=urls, model="simulated", **{"max_retries": 9, "base_delay": 0.5, "max_delay": 2.0} | more)


def lines(count: int) -> list[ChatRequest]:
    """So many short requests, no two alike."""
    return [ChatRequest((Message("user", f"Repeat: line {i} of {count}."),), GenerationConfig()) for i in range(count)]


class Asking:
    """Requests without end, from a thread of its own, while the block runs: latencies and times of the answers."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.answers: list[tuple[float, float]] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def _ask(self) -> None:
        def keep(results: Sequence[Any]) -> None:
            self.answers += [(time.monotonic(), one.latency_s) for one in results if isinstance(one, Answer)]

        try:
            answer_all(lines(40_000), self.endpoint, on_result=keep, should_stop=self._over.is_set)
        except concurrent.futures.CancelledError:
            return

    def __enter__(self) -> Asking:
        close_runtime()  # what was learned of a server before is forgotten
        self.began = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def latencies(self, start_s: float, end_s: float) -> list[float]:
        """In order of size, of what was answered between two moments, in seconds since the beginning."""
        return sorted(latency for at, latency in self.answers if start_s <= at - self.began < end_s)


def pacing(*, small: bool = False) -> Table:
    """All of it; a small run tries two servers alone, since each takes a second to start."""
    rows = [
        a_minute(1.0 if small else 130.0),
        *(slots(4.0 if small else 40.0, sigma) for sigma in ((0.0,) if small else (0.0, 0.5))),
        *(() if small else (getting_slower(40.0, sigma) for sigma in (0.0, 0.5))),
        *(() if small else (healthy(45.0, sigma) for sigma in (0.5, 1.0))),
        *(() if small else dying(3000)),
    ]
    return Table(
        "Pace",
        f"`answer_all` against simulated servers that take {LATENCY_S * 1000:.0f} ms, each in another process. "
        "Refused: answered with 429.",
        ROW,
        rows,
    )


def a_minute(seconds: float) -> tuple[Any, ...]:
    """600 requests a minute, where the server counts in a window that slides, and refuses the 601st."""
    with simulated(requests_per_minute=600) as server:
        with Asking(reach(server, requests_per_minute=600)):
            time.sleep(seconds)
            stats = server.stats()
        used = stats["requests"] / (10 * seconds)
    return (
        "counts 60 s, sliding, 600 at most", f"600 a minute, {seconds:.0f} s", stats["answered"], refused(stats),
        f"{stats['peak_requests_per_minute']} in the fullest window, {used:.1%} used",
    )  # fmt: skip


def slots(seconds: float, sigma: float) -> tuple[Any, ...]:
    """40 slots where 256 are allowed."""
    with simulated(slots=40, latency_sigma=sigma) as server, Asking(reach(server, max_concurrent_requests=256)):
        settled_s = settles(server, 36, seconds / 4)
        server.reset()
        time.sleep(seconds * 3 / 4)
        stats = server.stats()
    share = refused(stats) / stats["requests"]
    return (
        f"40 slots, spread {sigma:g}", f"256 at once, {seconds:.0f} s", stats["answered"], refused(stats),
        f"36 at work after {settled_s:.1f} s; then {stats['mean_in_flight'] / 40:.1%} used, {share:.2%} refused",
    )  # fmt: skip


def settles(server: Server, wanted: int, seconds: float) -> float:
    """Seconds until so many are at work there, for a second on average; waits all of them in any case."""
    began, seen, settled_s = time.monotonic(), [0], float("inf")
    while (now_s := time.monotonic() - began) < seconds:
        seen.append(server.stats()["in_flight"])
        if settled_s > now_s and mean(seen[-10:]) >= wanted:
            settled_s = now_s
        time.sleep(0.1)
    return settled_s


def getting_slower(seconds: float, sigma: float) -> tuple[Any, ...]:
    """40 at once at full speed where 256 are allowed, and none is refused."""
    with simulated(saturates_at=40, latency_sigma=sigma) as server:
        with Asking(reach(server, max_concurrent_requests=8)) as alone:
            time.sleep(seconds / 4)
        with Asking(reach(server, max_concurrent_requests=256)) as asking:
            time.sleep(seconds)
        unloaded, loaded = alone.latencies(0, seconds), asking.latencies(0, seconds)
    p95, middle = (quantile(loaded, at) / quantile(unloaded, at) for at in (0.95, 0.5))
    speed = len(asking.latencies(seconds / 8, seconds)) / (seconds * 7 / 8) / (40 / LATENCY_S)
    return (
        f"full speed for 40, spread {sigma:g}", f"256 at once, {seconds:.0f} s", len(loaded), 0,
        f"p95 {p95:.2f} and median {middle:.2f} times that of 8 at once, {speed:.1%} of the speed",
    )  # fmt: skip


def healthy(seconds: float, sigma: float) -> tuple[Any, ...]:
    """A server whose latencies only vary, and 64 allowed."""
    with simulated(latency_sigma=sigma) as server, Asking(reach(server, max_concurrent_requests=64)):
        time.sleep(seconds)
        stats = server.stats()
    return (
        f"no trouble, spread {sigma:g}", f"64 at once, {seconds:.0f} s", stats["answered"], refused(stats),
        f"{stats['mean_in_flight']:.1f} under way on average",
    )  # fmt: skip


def dying(rows: int) -> Iterator[tuple[Any, ...]]:
    """Three servers with full speed for 20 each: healthy, one dead, one that dies early and comes back."""
    seconds: list[float] = []
    for words, dead, fails_after, back_after_s in (
        ("healthy", 0, 0, 0.0),
        ("one dead", 1, 0, 0.0),
        ("one dies, is back after 5 s", 0, rows // 8, 5.0),
    ):
        with ExitStack() as stack:
            knobs = [{"fails_after": fails_after}, *[{}] * (2 - dead)]
            servers = [stack.enter_context(simulated(saturates_at=20, **own)) for own in knobs]
            dead_ends = [stack.enter_context(nobody()) for _ in range(dead)]
            answers, took_s = timed(servers, dead_ends, rows, back_after_s)
        seconds.append(took_s)
        lost = sum(not isinstance(answer, Answer) for (answer,) in answers.results)
        yield (
            f"three, full speed for 20 each: {words}", f"{rows:,} rows, 60 at once", rows - lost, 0,
            f"{lost} rows lost, {answers.http_requests - rows} sent again, {took_s / seconds[0]:.2f} times the time",
        )  # fmt: skip


@contextmanager
def nobody() -> Iterator[str]:
    """An address at which nobody listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/v1"


def timed(servers: Sequence[Server], dead_ends: Sequence[str], rows: int, back_after_s: float) -> tuple[Any, float]:
    """Answers to so many rows, and seconds; the first server is brought back so long after it died, if it does."""
    close_runtime()
    over = threading.Event()
    watcher = threading.Thread(target=bring_back, args=(servers[0], back_after_s, over))
    watcher.start()
    began = time.monotonic()
    answers = answer_all(lines(rows), reach(*servers, *dead_ends, max_concurrent_requests=60))
    took_s = time.monotonic() - began
    over.set()
    watcher.join()
    return answers, took_s


def bring_back(server: Server, after_s: float, over: threading.Event) -> None:
    """Waits until the server closes connections, and a little longer, and revives it."""
    while after_s and not over.wait(0.1):
        if server.stats()["cut"]:
            over.wait(after_s)
            request = urllib.request.Request(server.base_url.removesuffix("v1") + "revive", method="POST")
            urllib.request.urlopen(request).close()
            return


def quantile(ordered: Sequence[float], share: float) -> float:
    """Of values in order of size."""
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def refused(stats: dict[str, Any]) -> int:
    """Requests answered with 429."""
    return int(stats["by_status"].get("429", 0))


if __name__ == "__main__":
    print(pacing().markdown())
