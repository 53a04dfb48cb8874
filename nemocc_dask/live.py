"""What a person sees of a job while it runs: a bar that moves on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn

from nemocc_dask.budget import Tokens
from nemocc_dask.logs import with_context
from nemocc_dask.pulse import duration
from nemocc_dask.settings import Prices

LINE_EVERY_S = 10.0
"""Between two lines of progress where there is no terminal."""

BAR_WIDTH = 20
PREPARING = "preparing"


class Tally:
    """Adds up what a running job tells, and estimates what is left.

    The number of rows is known only of partitions that have been prepared; the others are taken to be like them. How
    long the rest takes is estimated by answers that were asked for: those that were there already come at once.

    prices: what tokens cost; None where nobody knows.
    """

    def __init__(self, prices: Prices | None = None, screen: Screen | None = None) -> None:
        self._prices, self._screen = prices, screen or Screen()
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._prepared: set[int] = set()
        self.parts = self.parts_done = self._parts_before = 0
        self._started_at = time.monotonic()

    def told(self, line: str) -> None:
        """Something a person should know."""
        self._screen.say(line)

    def asking(self, ask: Callable[[str], bool]) -> Callable[[str], bool]:
        """The same question, asked while nothing moves on the screen."""

        def still(question: str) -> bool:
            with self._screen.still():
                return ask(question)

        return still

    def started(self, parts: int, done: int) -> None:
        """So many partitions, so many of them done in an earlier run."""
        self.parts, self.parts_done, self._parts_before = parts, done, done
        self._started_at = time.monotonic()

    def counted(self, part: int, counts: Mapping[str, int]) -> None:
        """What came in for one partition."""
        with self._lock:
            self._counts.update(counts)
            self._prepared.add(part)

    def part_done(self) -> None:
        """One more partition is finished."""
        self.parts_done += 1

    @property
    def rows_done(self) -> int:
        """Rows that have been answered or have failed."""
        return self._counts["answers"] + self._counts["failed"]

    @property
    def rows(self) -> int:
        """Rows in all: those known, and as many for each partition not yet begun as for those that have."""
        if not self._prepared:
            return 0
        return round(self._counts["rows"] * (self.parts - self._parts_before) / len(self._prepared))

    @property
    def rows_per_s(self) -> float:
        """Rows a second since the start, but for those whose answer was there already."""
        return (self.rows_done - self._counts["reused"]) / max(1e-9, time.monotonic() - self._started_at)

    def line(self) -> str:
        """Where the job is, in one line."""
        left = max(0, self.rows - self.rows_done) / self.rows_per_s if self.rows_per_s else 0
        about = "about " if len(self._prepared) < self.parts - self._parts_before else ""
        return (  # what matters most comes first: a narrow terminal cuts off the end
            f"{self.rows_done:,} of {about}{self.rows:,} rows, ETA {duration(left)}, {self.rows_per_s:,.0f}/s, "
            f"{self._counts['failed']:,} failed, {self._spent()}{self.parts_done} of {self.parts} partitions, "
            f"{self._tokens('prompt_tokens')} tokens in, {self._tokens('completion_tokens')} out"
        )

    def _spent(self) -> str:
        tokens = Tokens(self._counts["prompt_tokens"], self._counts["completion_tokens"])
        cost = tokens.cost(self._prices)
        words = [f"{self._counts['reused']:,} reused"] if self._counts["reused"] else []
        words += [] if cost is None else [f"cost {cost:,.4f}"]
        return "".join(f"{word}, " for word in words)

    def _tokens(self, kind: str) -> str:
        estimated = self._counts[f"estimated_{kind}"]
        return f"{'about ' if estimated else ''}{self._counts[kind] + estimated:,}"


class Screen:
    """Where progress is shown, as lines: a file, a pipe, nothing."""

    def say(self, line: str) -> None:
        """A line that stays."""
        print(line, file=sys.stderr, flush=True)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Nothing moves while the block runs."""
        yield

    def show(self, tally: Tally, ended: threading.Event) -> None:
        """A line now and then, and one at the end."""
        while not ended.wait(LINE_EVERY_S):
            self.say(tally.line() if tally.rows else PREPARING)
        if tally.rows:
            self.say(tally.line())


class Terminal(Screen):
    """A terminal, on which a bar moves."""

    def __init__(self) -> None:
        columns = (SpinnerColumn(), BarColumn(bar_width=BAR_WIDTH), TextColumn("{task.description}", markup=False))
        self._bar = Progress(*columns, console=Console(stderr=True), transient=True)

    def say(self, line: str) -> None:
        """Above the bar."""
        self._bar.console.print(line, markup=False, highlight=False, emoji=False)

    @contextmanager
    def still(self) -> Iterator[None]:
        """The bar is gone while the block runs."""
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()

    def show(self, tally: Tally, ended: threading.Event) -> None:
        """The bar, until the end."""
        with self._bar:
            shown = self._bar.add_task(PREPARING, total=None)
            while not ended.wait(0.2):
                if tally.parts:
                    self._update(shown, tally)

    def _update(self, shown: TaskID, tally: Tally) -> None:
        room = max(0, self._bar.console.width - BAR_WIDTH - len("⠋ " + " "))
        words = tally.line() if tally.rows else PREPARING
        self._bar.update(shown, completed=tally.rows_done, total=tally.rows or None, description=words[:room])


@contextmanager
def live_progress(prices: Prices | None = None) -> Iterator[Tally]:
    """A tally that is shown while the block runs: a moving bar on a terminal, a line now and then elsewhere."""
    screen = screen_here()
    with shown(Tally(prices, screen), screen) as tally:
        yield tally


def screen_here() -> Screen:
    """A terminal where stderr is one, else plain lines."""
    return Terminal() if sys.stderr.isatty() else Screen()


@contextmanager
def shown(tally: Tally, screen: Screen) -> Iterator[Tally]:
    """The tally, on the screen while the block runs."""
    ended = threading.Event()
    show = with_context(lambda: screen.show(tally, ended))  # a notebook's cell is known by the context
    thread = threading.Thread(target=show, name="nemocc-progress", daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        ended.set()
        thread.join()
