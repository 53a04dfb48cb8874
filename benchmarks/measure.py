"""Time, CPU time and cores: how a figure is taken."""

from __future__ import annotations

import gc
import os
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple


class Taken(NamedTuple):
    """Medians over the repeats, in seconds of the clock and of the processor, and what the last repeat returned."""

    wall_s: float
    cpu_s: float
    result: Any


def measure(repeats: int, work: Callable[[Any], Any], *, prepare: Callable[[], Any] = lambda: None) -> Taken:
    """Do the work some times and take the medians. What `prepare` returns is handed to the work; it is not timed.

    CPU seconds are those of all threads of this process. What a benchmark has made before is not looked through for
    garbage meanwhile: a process that does nothing but the work would not have it.
    """
    walls, cpus, result = [], [], None
    for _ in range(repeats):
        prepared = prepare()
        gc.collect()
        gc.freeze()
        wall, cpu = time.perf_counter(), time.process_time()
        result = work(prepared)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return Taken(statistics.median(walls), statistics.median(cpus), result)


@contextmanager
def one_core() -> Iterator[bool]:
    """Keep this thread, and those it starts, on one core while the block runs; False where that cannot be done."""
    if not hasattr(os, "sched_setaffinity"):
        yield False
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield True
    finally:
        os.sched_setaffinity(0, before)
