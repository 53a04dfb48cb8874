"""What a person sees of what a run did: tables, reasons, places, and a result of each task."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.parquet as pq
from rich import box
from rich.console import Console
from rich.table import Table

from nemocc_dask.columns import TEXT
from nemocc_dask.io.manifest import REJECTED, RUN, Record
from nemocc_dask.io.write import Output
from nemocc_dask.pulse import LOST_S, UNDER_WAY, driver_of, duration, silent_s
from nemocc_dask.tasks import TASKS, Task

EXAMPLE_CHARACTERS = 220

UNBOUNDED = 10_000
"""Columns of a page that nobody looks at through a window: lines are as long as they are."""


def print_summary(books: Record, output: str) -> None:
    """What went in, came out and was dropped, and where the files are."""
    console = _console()
    console.print(_documents_line(books))
    rows = {name: _row(books["tasks"][name]) for name in _task_names(books)}
    headings = [heading for heading in next(iter(rows.values())) if heading not in _unneeded(rows.values())]
    table = _table(console, ("task", *headings), names=1)
    for name, row in rows.items():
        table.add_row(name, *(row[heading] for heading in headings))
    console.print(table)
    lines = (_kept_nothing, _spent, _reasons, _joined, _failed)
    for line in (*(line for each in lines for line in each(books)), *_places(books, output)):
        console.print(line)


def standing(told: Record) -> Iterator[str]:
    """How a run stands, in a few lines; told: what its driver wrote last."""
    rows, silent = told["rows"], silent_s(told)
    about = "" if rows["are_known"] else "about "
    yield f"{told['state']}: {rows['done']:,} of {about}{rows['all']:,} rows, {_ahead(told)}"
    spent = f", cost {told['cost']:,.4f}" if told["cost"] is not None else ""
    yield (
        f"{told['http_requests']:,} requests sent, {told['reused']:,} answers reused, {told['failed']:,} rows failed, "
        f"{told['prompt_tokens']:,} tokens in, {told['completion_tokens']:,} out{spent}"
    )
    yield f"driver: {driver_of(told).words()}, since {told['driver']['since']}; told {silent:,.0f} s ago"
    if told["error"]:
        yield f"error: {told['error']}"
    if told["state"] in UNDER_WAY and silent > LOST_S:
        yield "Nothing has been heard of the driver for long: it is most likely dead. The same command goes on."


def _ahead(told: Record) -> str:
    parts = f"{told['parts']['done']:,} of {told['parts']['all']:,} partitions"
    if told["eta_s"] is None:
        return parts
    return f"ETA {duration(told['eta_s'])}, {told['rows_per_s']:,.1f}/s, {parts}"


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


def _row(account: Record) -> dict[str, str]:
    """Heading → what stands under it."""
    dropped = sum(sum(reasons.values()) for reasons in account["rejected"].values())
    numbers = {
        "docs": account["documents_in"],
        "segments": account["segments"],
        "requests": account["requests"],
        "reused": account["reused"],
        "failed": sum(account["failed"].values()),
        "rejected": dropped,
        "kept": account["kept"],
        "tokens in": account["prompt_tokens"],
        "tokens out": account["completion_tokens"],
    }
    cost = {} if account["cost"] is None else {"cost": f"{account['cost']:,.4f}"}
    return {**{heading: f"{number:,}" for heading, number in numbers.items()}, **cost}


def _unneeded(rows: Iterable[dict[str, str]]) -> set[str]:
    """Headings that would say nothing."""
    return {"reused"} if all(row["reused"] == "0" for row in rows) else set()


def _documents_line(books: Record) -> str:
    stages = books["documents"]["stages"]
    if not stages:
        return "There was no input: rows were made from nothing."
    dropped = sum((Counter(stage["rejected"]) for stage in stages), Counter[str]())
    why = f" ({_list(dropped)})" if dropped else ""
    went_in, went_on = stages[0]["rows_in"], stages[-1]["rows_out"]
    return f"{went_in:,} documents went in, {sum(dropped.values()):,} were dropped{why}, {went_on:,} went on."


def _reasons(books: Record) -> Iterator[str]:
    if any(account["rejected"] or account["failed"] for account in books["tasks"].values()):
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
        answers = account["reused"] + account["responses"]
        if answers and not account["kept"]:
            yield f"NOTHING WAS KEPT of {answers:,} answers to {name}. {_what_to_do(account['rejected'])}."


_OF_ANSWERS = ("generate", "postprocess", "filter_results")
"""Stages that drop answers, which are paid for by then."""

_REMEDIES = {
    "truncated": "ask for shorter answers, or allow more --max-tokens, much more for a model that reasons first",
    "empty": "look at what the endpoint answers to one prompt; --retry-empty asks again",
    "content_filtered": "another endpoint may have no content filter",
    "marker_missing": "they do not begin as the prompt asks for; take a larger model, or a task without that step",
    "no_pairs": "no question-answer pairs were found in them; a larger model keeps to the format",
}


def _what_to_do(rejected: Mapping[str, Mapping[str, int]]) -> str:
    """By what most answers were dropped for. rejected: stage → reason → rows."""
    reasons = Counter[str]()
    for stage in _OF_ANSWERS:
        reasons.update(rejected.get(stage, {}))
    reason = max(reasons, key=reasons.__getitem__)
    remedy = _REMEDIES.get(reason, "look at its prompt and its steps")
    return f"Most were dropped as {reason.replace('_', ' ')}: {remedy}"


def _spent(books: Record) -> Iterator[str]:
    spent = books["spent"]
    unknown = spent.get("responses_without_usage", 0)
    if spent["cost"] is not None:
        yield f"This run has paid for {spent['responses']:,} answers: {spent['cost']:,.4f} in all."
    if unknown:
        what = "tokens are" if spent["cost"] is None else "tokens and cost are"
        yield f"The endpoint did not say what {unknown:,} of {spent['responses']:,} answers took: {what} too low."


def _failed(books: Record) -> Iterator[str]:
    failed = sum(sum(account["failed"].values()) for account in books["tasks"].values())
    if failed:
        yield f"{failed:,} rows failed: the same command with --retry-failed asks again for these alone."


def _list(reasons: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in reasons.items())


def _places(books: Record, output: str) -> Iterator[str]:
    place = Output(output)
    yield "Files:"
    for name in _task_names(books):
        yield f"  {place.path(name)}"
    if place.exists(REJECTED):
        yield f"  {place.path(REJECTED)} (every dropped row, with stage and reason)"
    yield f"  {place.path(RUN)} (the books)"


def _example(results: pa.Table, field: str, line_break: str) -> str:
    """The beginning of the first result, without the source text that some results begin with."""
    if not results.num_rows:
        return "(none)"
    first = results.slice(0, 1).to_pylist()[0]
    source = "" if field == TEXT else first[TEXT]
    new = first[field].removeprefix(source).strip()
    return str(new[:EXAMPLE_CHARACTERS].replace("\n", f" {line_break} "))
