"""What a person sees: live progress on a terminal, plain lines elsewhere, and tables of what a run did."""

from __future__ import annotations

import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Table

from nemocc_dask.columns import TEXT
from nemocc_dask.io.manifest import RUN, Record
from nemocc_dask.io.write import BOOKS, Output
from nemocc_dask.tasks import TASKS, Task

LINE_EVERY_S = 10.0
"""Between two lines of progress where there is no terminal."""

EXAMPLE_CHARACTERS = 220

BAR_WIDTH = 20
PREPARING = "preparing"


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
        """Rows in all: those known, and as many for each partition not yet begun as for those that have."""
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
        about = "about " if len(self._prepared) < self.parts - self._parts_before else ""
        return (  # what matters most comes first: a narrow terminal cuts off the end
            f"{self.rows_done:,} of {about}{self.rows:,} rows, ETA {_duration(left)}, {self.rows_per_s:,.0f}/s, "
            f"{self._counts['failed']:,} failed, {self.parts_done} of {self.parts} partitions, "
            f"{tokens[0]:,} tokens in, {tokens[1]:,} out"
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
    columns = (SpinnerColumn(), BarColumn(bar_width=BAR_WIDTH), TextColumn("{task.description}", markup=False))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        shown = bar.add_task(PREPARING, total=None)
        while not ended.wait(0.2):
            if tally.parts:
                _update(bar, shown, tally)


def _update(bar: Progress, shown: TaskID, tally: Tally) -> None:
    room = max(0, bar.console.width - BAR_WIDTH - len("⠋ " + " "))
    words = tally.line() if tally.rows else PREPARING
    bar.update(shown, completed=tally.rows_done, total=tally.rows or None, description=words[:room])


def _show_lines(tally: Tally, ended: threading.Event) -> None:
    while not ended.wait(LINE_EVERY_S):
        print(tally.line() if tally.rows else PREPARING, file=sys.stderr, flush=True)
    if tally.parts:
        print(tally.line(), file=sys.stderr, flush=True)


# --- tables -----------------------------------------------------------------------------------------------------------

UNBOUNDED = 10_000
"""Columns of a page that nobody looks at through a window: lines are as long as they are."""


def print_summary(books: Record, output: str) -> None:
    """What went in, came out and was dropped, and where the files are."""
    console = _console()
    console.print(_documents_line(books))
    headings = ("task", "docs", "segments", "requests", "failed", "rejected", "kept", "tokens in", "tokens out")
    table = _table(console, headings, names=1)
    for name in _task_names(books):
        table.add_row(name, *(f"{number:,}" for number in _row(books["tasks"][name])))
    console.print(table)
    for line in (*_kept_nothing(books), *_reasons(books), *_joined(books), *_places(books, output)):
        console.print(line)


def print_examples(books: Record, output: str) -> None:
    """The beginning of one result of each task."""
    console = _console()
    console.print("One result of each task:", style="bold")
    for name in _task_names(books):
        field = books["identity"]["tasks"][name]["output_field"]
        console.print(f"{name}: ", style="bold", end="")
        console.print(_example(pq.read_table(f"{output}/{name}"), field, "⏎" if console.is_terminal else "/"))


def print_tasks(tasks: Iterable[Task]) -> None:
    """Name, output field and budgets of each task, in tokens."""
    console = _console()
    bounds = ("min doc", "min segment", "max input", "max output", "longest kept", "min result")
    table = _table(console, ("task", "output field", *bounds), names=2)
    for task in tasks:
        numbers = (task.min_document_tokens, task.min_segment_tokens, task.max_input_tokens)
        documents = ("-",) * 3 if task.makes_documents else numbers
        shortest = "-" if task.makes_documents else task.min_result_tokens
        row = (*documents, task.max_output_tokens, task.max_answer_tokens, shortest)
        table.add_row(task.name, task.output_field, *map(str, row))
    console.print(table)


def _console() -> Console:
    """A terminal as it is; elsewhere lines of any length, so that a file or a pipe gets nothing cut or wrapped."""
    if hasattr(sys.stdout, "reconfigure"):  # texts may hold what a terminal of another encoding cannot show
        sys.stdout.reconfigure(errors="replace")
    width = None if sys.stdout.isatty() else UNBOUNDED
    return Console(width=width, highlight=False, markup=False, emoji=False, soft_wrap=True)


def _table(console: Console, headings: Sequence[str], *, names: int) -> Table:
    """A table whose first `names` columns are text, which is never cut. Where there is no terminal it is Markdown."""
    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else box.MARKDOWN, header_style="bold", show_edge=False)
    table.padding = (0, 0) if console.is_terminal else (0, 1)
    for position, words in enumerate(headings):
        heading = words.replace(" ", "\n") if console.is_terminal else words  # then both tables fit 80 columns
        if position < names:
            table.add_column(heading, no_wrap=True)
        else:
            table.add_column(heading, justify="right", overflow="fold")
    return table


def _task_names(books: Record) -> list[str]:
    """In the order of the catalogue, a user's own tasks last."""
    order = list(TASKS)
    return sorted(books["tasks"], key=lambda name: order.index(name) if name in order else len(order))


def _row(account: Record) -> tuple[int, ...]:
    dropped = sum(sum(reasons.values()) for stage, reasons in account["rejected"].items())
    numbers = (account[name] for name in ("documents_in", "segments", "requests"))
    tokens = (account["prompt_tokens"], account["completion_tokens"])
    return (*numbers, sum(account["failed"].values()), dropped, account["kept"], *tokens)


def _documents_line(books: Record) -> str:
    stages = books["documents"]["stages"]
    if not stages:
        return "No documents went in."
    dropped = sum((Counter(stage["rejected"]) for stage in stages), Counter[str]())
    why = f" ({_list(dropped)})" if dropped else ""
    went_in, went_on = stages[0]["rows_in"], stages[-1]["rows_out"]
    return f"{went_in:,} documents went in, {sum(dropped.values()):,} were dropped{why}, {went_on:,} went on."


def _reasons(books: Record) -> Iterator[str]:
    yield "Dropped on the way, by task and stage (lines, segments and answers, not documents alone):"
    for name in _task_names(books):
        account = books["tasks"][name]
        stages = {**account["rejected"], **({"generate, no answer": account["failed"]} if account["failed"] else {})}
        if stages:
            yield f"  {name}: " + "; ".join(f"{stage}: {_list(reasons)}" for stage, reasons in stages.items())


def _joined(books: Record) -> Iterator[str]:
    for name in _task_names(books):
        for stage in books["tasks"][name]["stages"]:
            if "answers_joined" in stage["notes"]:
                answers, texts = stage["notes"]["answers_joined"], stage["rows_in"]
                yield f"  {name}: {answers:,} answers were joined into {texts:,} texts."


def _kept_nothing(books: Record) -> Iterator[str]:
    for name in _task_names(books):
        account = books["tasks"][name]
        if account["responses"] and not account["kept"]:
            yield f"NOTHING WAS KEPT of {account['responses']:,} answers to {name}: look at its prompt and its steps."


def _list(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in reasons.items())


def _places(books: Record, output: str) -> Iterator[str]:
    place = Output(output)
    yield "Files:"
    for name in _task_names(books):
        yield f"  {place.path(name)}"
    yield f"  {place.path(f'{BOOKS}/rejected')} (every dropped row, with stage and reason)"
    yield f"  {place.path(RUN)} (the books)"


def _example(results: pa.Table, field: str, line_break: str) -> str:
    """The beginning of the first result, without the source text that some results begin with."""
    if not results.num_rows:
        return "(none)"
    first = results.slice(0, 1).to_pylist()[0]
    source = "" if field == TEXT else first[TEXT]
    new = first[field].removeprefix(source).strip()
    return str(new[:EXAMPLE_CHARACTERS].replace("\n", f" {line_break} "))
