"""What a person sees of a chain while it is computed: in a notebook and on a terminal one line that moves."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from distributed import Client, default_client

from nemocc_dask.live import PREPARING, Screen, Tally, screen_here, shown
from nemocc_dask.telling import DONE, TOPIC, heard_by

MOVES_EVERY_S = 0.3


class ChainTally(Tally):
    """Adds up what the partitions of chains tell. How many there will be nobody knows: it counts those begun.

    >>> tally = ChainTally()
    >>> tally.counted(7, {"rows": 10, "answers": 4, "failed": 1})
    >>> tally.line().partition(", ")[0], tally.rows_done, tally.rows
    ('5 of 10 rows so far', 5, 10)
    """

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """What came in for one partition of one link."""
        super().counted(part, counts)
        with self._lock:
            self.parts = len(self._prepared)
            self.parts_done = self._counts[DONE]

    def line(self) -> str:
        """Where the computation is, in one line."""
        return (
            f"{self.rows_done:,} of {self.rows:,} rows so far, {self.rows_per_s:,.0f}/s, "
            f"{self._counts['answers']:,} answers, {self._counts['failed']:,} failed, {self._spent()}"
            f"{self.parts_done} of {self.parts} partitions begun, "
            f"{self._tokens('prompt_tokens')} tokens in, {self._tokens('completion_tokens')} out"
        )


class Cell(Screen):
    """The output of a notebook's cell, in which one line is written anew.

    display: IPython's function of that name.
    """

    def __init__(self, display: Callable[..., Any]) -> None:
        self._display = display

    def show(self, tally: Tally, ended: threading.Event) -> None:
        """The line, from the first to the last state."""
        line = self._display(_plain(PREPARING), raw=True, display_id=True)
        while not ended.wait(MOVES_EVERY_S):
            if tally.rows:
                line.update(_plain(tally.line()), raw=True)
        line.update(_plain(tally.line()), raw=True)


def _plain(words: str) -> dict[str, str]:
    return {"text/plain": words}


def _screen() -> Screen:
    """A notebook has loaded IPython, and runs in a kernel of it."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return Cell(sys.modules["IPython.display"].display) if hasattr(shell, "kernel") else screen_here()


@contextmanager
def progress(client: Client | None = None) -> Iterator[Tally]:
    """Shows how far `.nemocc.generate` and `.nemocc.synthesize` are while the block runs: rows, answers, tokens, speed.

    In a notebook and on a terminal it is one line that moves, elsewhere a line now and then. What is computed in this
    process is heard, and what the workers of a Dask cluster compute.

    client: of that cluster; None is the one that Dask would use now, where there is one. What others compute there
    meanwhile is counted too, and of two blocks within each other the inner one hears it. `persist()` comes back at
    once: wait for its result within the block.

    >>> import pandas as pd
    >>> from nemocc_dask.settings import Endpoint
    >>> from nemocc_dask.simulate import Simulator
    >>> segments = pd.DataFrame({"text": ["Water boils. Ice melts.", "Snow falls. Wind blows."]})
    >>> with Simulator() as endpoint, progress() as seen:
    ...     asked = segments.nemocc.generate(
    ...         "distill", endpoint=Endpoint(base_url=endpoint.base_url, model="simulated"))
    >>> seen.rows_done
    2
    """
    screen = _screen()
    with shown(ChainTally(screen=screen), screen) as tally, ExitStack() as hearing:
        hearing.enter_context(heard_by(tally.counted))
        client = client or _default_client()
        if client is not None:
            hearing.enter_context(_heard_from(client, tally))
        yield tally


@contextmanager
def _heard_from(client: Client, tally: Tally) -> Iterator[None]:
    def hear(event: Any) -> None:
        tally.counted(event[1]["part"], event[1]["counts"])

    client.subscribe_topic(TOPIC, hear)
    try:
        yield
    finally:
        client.unsubscribe_topic(TOPIC)


def _default_client() -> Client | None:
    try:
        return default_client()
    except ValueError:  # distributed's word for: there is none
        return None
