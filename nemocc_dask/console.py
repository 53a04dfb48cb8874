"""What a person sees: live progress on a terminal, plain lines elsewhere, and tables of what a run did."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import pyarrow.parquet as pq
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from nemocc_dask.io.manifest import RUN, Record
from nemocc_dask.io.write import BOOKS, Output
from nemocc_dask.tasks import TASKS, Task

LINE_EVERY_S = 10.0
"""Between two lines of progress where there is no terminal."""

EXAMPLE_CHARACTERS = 220


# --- progress ---------------------------------------------------------------------------------------------------------


class Tally:
    """Adds up what a running job tells, and estimates what is left.

    The number of rows is known only of partitions that have been prepared; the others are taken to be like them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._prepared: set[int] = set()
        self.parts = self.parts_done = self._parts_before = 0
        self._started_at = time.monotonic()

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
        """Rows there will be in all: those known, and as many for each partition not yet begun as for those that have."""
        if not self._prepared:
            return 0
        return round(self._counts["rows"] * (self.parts - self._parts_before) / len(self._prepared))

    @property
    def rows_per_s(self) -> float:
        """Rows a second since the start."""
        return self.rows_done / max(1e-9, time.monotonic() - self._started_at)

    def line(self) -> str:
        """Where the job is, in one line."""
        left = max(0, self.rows - self.rows_done) / self.rows_per_s if self.rows_done else 0
        tokens = self._counts["prompt_tokens"], self._counts["completion_tokens"]
        return (
            f"{self.rows_done:,} of {'about ' if len(self._prepared) < self.parts - self._parts_before else ''}{self.rows:,} rows, "
            f"{self.rows_per_s:,.0f}/s, {self._counts['failed']:,} failed, {tokens[0]:,} tokens in, {tokens[1]:,} out, "
            f"{self.parts_done} of {self.parts} partitions, ETA {_duration(left)}"
        )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


@contextmanager
def live_progress() -> Iterator[Tally]:
    """A tally that is shown while the block runs: a moving bar on a terminal, a line now and then elsewhere."""
    tally, ended = Tally(), threading.Event()
    show = _show_bar if sys.stderr.isatty() else _show_lines
    thread = threading.Thread(target=show, args=(tally, ended), name="nemocc-progress", daemon=True)
    thread.start()
    try:
        yield tally
    finally:
        ended.set()
        thread.join()


def _show_bar(tally: Tally, ended: threading.Event) -> None:
    columns = (SpinnerColumn(), BarColumn(bar_width=30), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task("preparing", total=None)
        while not ended.wait(0.2):
            if tally.parts:
                _update(bar, shown, tally)


def _update(bar: Progress, shown: TaskID, tally: Tally) -> None:
    bar.update(shown, completed=tally.rows_done, total=tally.rows or None, description=tally.line())


def _show_lines(tally: Tally, ended: threading.Event) -> None:
    while not ended.wait(LINE_EVERY_S):
        print(tally.line() if tally.parts else "preparing", file=sys.stderr, flush=True)
    if tally.parts:
        print(tally.line(), file=sys.stderr, flush=True)


# --- tables -----------------------------------------------------------------------------------------------------------


def print_summary(books: Record, output: str) -> None:
    """What went in, came out and was dropped, and where the files are."""
    console = Console()
    console.print(_documents_line(books), highlight=False)
    table = Table(title=None, header_style="bold")
    for heading in (
        "task",
        "documents",
        "segments",
        "requests",
        "failed",
        "rejected",
        "kept",
        "tokens in",
        "tokens out",
    ):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for name, account in books["tasks"].items():
        table.add_row(name, *(f"{number:,}" for number in _row(account)))
    console.print(table)
    for line in (*_reasons(books), *_places(books, output)):
        console.print(line, highlight=False, soft_wrap=True)


def _row(account: Record) -> tuple[int, ...]:
    dropped = sum(sum(reasons.values()) for stage, reasons in account["rejected"].items())
    numbers = (account[name] for name in ("documents_in", "segments", "requests"))
    tokens = (account["prompt_tokens"], account["completion_tokens"])
    return (*numbers, sum(account["failed"].values()), dropped, account["kept"], *tokens)


def _documents_line(books: Record) -> str:
    stages = books["documents"]["stages"]
    if not stages:
        return "No documents went in."
    dropped = Counter({reason: number for stage in stages for reason, number in stage["rejected"].items()})
    why = f" ({_list(dropped)})" if dropped else ""
    return f"{stages[0]['rows_in']:,} documents went in, {sum(dropped.values()):,} were dropped{why}, {stages[-1]['rows_out']:,} went on."


def _reasons(books: Record) -> Iterator[str]:
    yield "Dropped on the way, by task and stage (lines, segments and answers, not documents alone):"
    for name, account in books["tasks"].items():
        stages = {**account["rejected"], **({"generate, no answer": account["failed"]} if account["failed"] else {})}
        if stages:
            yield f"  {name}: " + "; ".join(f"{stage}: {_list(reasons)}" for stage, reasons in stages.items())


def _list(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in reasons.items())


def _places(books: Record, output: str) -> Iterator[str]:
    place = Output(output)
    yield "Files:"
    for name in books["tasks"]:
        yield f"  {place.path(name)}"
    yield f"  {place.path(f'{BOOKS}/rejected')} (every dropped row, with stage and reason)"
    yield f"  {place.path(RUN)} (the books)"


def print_examples(books: Record, output: str) -> None:
    """The beginning of one result of each task."""
    console = Console()
    console.print("One result of each task:", style="bold")
    for name in books["tasks"]:
        field = TASKS[name].output_field
        results = pq.read_table(f"{output}/{name}", columns=[field]).column(0).to_pylist()
        text = results[0] if results else "(none)"
        console.print(f"{name}: ", style="bold", end="")
        console.print(text[:EXAMPLE_CHARACTERS].replace("\n", " ⏎ "), markup=False, highlight=False)


def print_tasks(tasks: Iterable[Task]) -> None:
    """Name, output field and budgets of each task, in tokens."""
    table = Table(header_style="bold")
    headings = (
        "task",
        "output field",
        "min document",
        "min segment",
        "max input",
        "max output",
        "longest kept",
        "shortest result",
    )
    for position, heading in enumerate(headings):
        table.add_column(heading, justify="left" if position < 2 else "right")
    for task in tasks:
        numbers = (task.min_document_tokens, task.min_segment_tokens, task.max_input_tokens)
        documents = ("–",) * 3 if task.makes_documents else numbers
        shortest = "–" if task.makes_documents else task.min_result_tokens
        table.add_row(
            *map(
                str,
                (task.name, task.output_field, *documents, task.max_output_tokens, task.max_answer_tokens, shortest),
            )
        )
    Console().print(table)
