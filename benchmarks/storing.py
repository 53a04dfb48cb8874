"""The store of responses: what an append costs, and what it takes to open and to search one of many responses."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path

import psutil
from measure import measure
from tables import Table

from nemocc_dask.llm.results import Answer
from nemocc_dask.llm.store import Attempt, Store

PER_ATTEMPT = 1000
LOOKED_UP = 1500
"""Keys looked up at once: about as many as a partition has."""

SYNC_EVERY_S = 0.05
TEXT = 'Water boils at 100 degrees at the level of the sea, and "earlier" on mountains.\n' * 15
"""1.2 KB, with some characters that JSON has to escape."""


def storing(folder: Path, *, responses: int, repeats: int) -> Table:
    """A store of so many responses, from the first append to finding them again in other processes."""
    url = folder / "responses"
    plain_s = _write_s(folder / "plain", min(responses, 50 * PER_ATTEMPT))
    alone_s = _append_s(url, responses)
    synced_s = _append_s(folder / "synced", min(responses, 50 * PER_ATTEMPT), synced=True)
    of_lines, of_sidecars = (_bytes(url, kind) / responses for kind in ("jsonl", "index"))
    sealed = _in_another_process(url, responses, repeats)
    for sidecar in url.glob("*.index"):
        sidecar.unlink()
    scanned = _in_another_process(url, responses, repeats)
    for each in (url, folder / "synced"):
        shutil.rmtree(each)
    return Table(
        "Storing responses",
        f"{responses:,} responses with texts of {len(TEXT):,} bytes, {PER_ATTEMPT:,} an attempt. Opened by a process "
        "of its own, from what the system has in memory: with the sidecars of attempts that have ended, and without "
        f"any, as if all had been killed. Looked up: {min(LOOKED_UP, responses):,} keys at once.",
        ("what", "unit", "sidecars", "none"),
        [
            ("a plain write of the same bytes, to compare", "µs", 1e6 * plain_s, ""),
            ("append", "µs", 1e6 * alone_s, ""),
            (f"append while another thread syncs every {1000 * SYNC_EVERY_S:.0f} ms", "µs", 1e6 * synced_s, ""),
            ("on disk, beyond its text", "bytes a response", of_lines + of_sidecars - len(TEXT), of_lines - len(TEXT)),
            *((words, unit, *figures) for (words, unit), figures in _paired(sealed, scanned)),
        ],
    )


def _write_s(path: Path, times: int) -> float:
    """Seconds that the system takes to append a line to a file."""
    line = bytes(len(TEXT) + 361) + b"\n"
    with path.open("ab", buffering=0) as file:
        began = time.perf_counter()
        for _ in range(times):
            file.write(line)
        total_s = time.perf_counter() - began
    path.unlink()
    return total_s / times


def _append_s(url: Path, responses: int, *, synced: bool = False) -> float:
    """Seconds an append takes; what stands between attempts is not timed."""
    store, total_s = Store(str(url)), 0.0
    for start in range(0, responses, PER_ATTEMPT):
        keys = [key_of(number) for number in range(start, min(start + PER_ATTEMPT, responses))]
        with store.attempt(f"bench-part-{start:08d}") as attempt, _syncing(attempt) if synced else nullcontext():
            began = time.perf_counter()
            for key in keys:
                attempt.append(key, ANSWER, label="diverse_qa", recipe="0123456789ab")
            total_s += time.perf_counter() - began
    return total_s / responses


ANSWER = Answer(TEXT, "stop", "mistralai/Mistral-Nemo-Instruct-2407", 812, 301, 1, 3.25, 0)


@contextmanager
def _syncing(attempt: Attempt) -> Iterator[None]:
    done = threading.Event()

    def sync() -> None:
        while not done.wait(SYNC_EVERY_S):
            attempt.sync()

    thread = threading.Thread(target=sync)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def key_of(number: int) -> str:
    """The key of a response."""
    return hashlib.sha256(str(number).encode()).hexdigest()[:32]


def _bytes(url: Path, kind: str) -> int:
    return sum(file.stat().st_size for file in url.glob(f"*.{kind}"))


# --- in a process that knows nothing of the store yet -----------------------------------------------------------------


def _in_another_process(url: Path, responses: int, repeats: int) -> dict[str, float]:
    command = [sys.executable, __file__, str(url), str(responses), str(repeats)]
    return dict(json.loads(subprocess.run(command, check=True, capture_output=True).stdout))


def _paired(*outcomes: dict[str, float]) -> Iterator[tuple[Sequence[str], Sequence[float]]]:
    for name in outcomes[0]:
        yield name.rsplit(", ", 1), [outcome[name] for outcome in outcomes]


def opened(url: str, responses: int, repeats: int) -> dict[str, float]:
    """Seconds, megabytes and milliseconds; what was looked up is checked."""
    store = Store(url)
    with _memory() as used:
        open_s = measure(1, lambda _: store.find([key_of(responses)])).wall_s
    count = min(LOOKED_UP, responses)
    first = random.Random(0).randrange(responses - count + 1)
    wanted = {
        "none there": range(responses, responses + count),
        "all there and neighbours": range(first, first + count),
        "all there and scattered": random.Random(1).sample(range(responses), count),
    }
    figures = {
        "open, s": open_s,
        "open: memory meanwhile, MB": max(used) / 1e6,
        "open: memory then, MB": used[-1] / 1e6,
    }
    for words, numbers in wanted.items():
        seconds, found = _find(store, numbers, repeats)
        if found != sum(number < responses for number in numbers):
            raise SystemExit(f"bench.py: of what was stored, {found} were found: {words}.")
        figures[f"look up: {words}, ms"] = 1000 * seconds
    return figures


@contextmanager
def _memory() -> Iterator[list[int]]:
    """Bytes by which this process has grown since the block began, many times while it runs and once at its end."""
    process, done, used = psutil.Process(), threading.Event(), list[int]()
    before = process.memory_info().rss

    def look() -> None:
        while not done.wait(0.002):
            used.append(process.memory_info().rss - before)

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield used
    finally:
        done.set()
        thread.join()
        used.append(process.memory_info().rss - before)


def _find(store: Store, numbers: Sequence[int], repeats: int) -> tuple[float, int]:
    """Seconds, and how many were there."""
    taken = measure(repeats, store.find, prepare=lambda: list(map(key_of, numbers)))
    return taken.wall_s, len(taken.result)


if __name__ == "__main__":
    print(json.dumps(opened(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
