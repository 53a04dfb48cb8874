"""This package against NVIDIA NeMo Curator 1.4.0 in one run: text work, a whole job, and where results differ and why.

Both get the same documents, tokenizer, prompts, budgets, answers and simulated endpoint. Curator runs its own stages
and its own pipeline, in an environment and processes of its own; without `--curator-python` that environment is made by
pip the first time. Prints its tables and appends them to RESULTS.md beside it.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
from corpus import Documents, read_documents, repeated_demo
from curator_job import whole_jobs
from curator_process import PACKAGES, curator, curator_python
from curator_texts import Bench, Compared, asked, cleaned, prepared
from measure import one_core
from requesting import serving
from tables import Table, append, heading
from texts import Tokenizers

from nemocc_dask.llm import close_runtime

PARTS = ("preprocessing", "postprocessing", "job")
RESULTS = Path(__file__).with_name("RESULTS.md")
CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "nemocc-dask"
SMALL = {"rows": 126, "answers": 20, "latency": 0.02, "limit": 16, "repeats": 1}
"""Settings of a run of seconds (a minute where Curator's pipeline takes part): everything is run, nothing measured."""


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--documents", metavar="GLOB", help="Parquet files with id, text and quality_score; else the demo's, repeated")
    add("--rows", type=int, default=4000, help="documents made of the demo's, where none are given")
    add("--part", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    add("--tokenizer", help="hub name, folder or tokenizer.json; else Mistral NeMo's")
    add("--answers", type=int, default=7720, metavar="N", help="answers of each task, if there are as many")
    add("--latency", type=float, default=0.2, metavar="SECONDS", help="of the simulated endpoint, in the whole job")
    add("--limit", type=int, default=64, metavar="N", help="requests at once, in the whole job")
    add("--repeats", type=int, default=3, help="each timing of text work is the median of so many")
    add("--curator-python", type=Path, metavar="PATH", help=f"Python of an environment that has {', '.join(PACKAGES)}")
    add("--cache", type=Path, default=CACHE, metavar="FOLDER", help="where that environment is made otherwise")
    add("--ours-only", action="store_true", help="without Curator: this package's side alone")
    add("--note", action="append", default=[], help="a remark to keep with the figures; may be repeated")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="file to append to")
    add("--no-append", action="store_true", help="print only")
    add("--small", action="store_true", help="a short run that tries everything and measures nothing")
    given = parser.parse_args(arguments)
    vars(given).update(SMALL if given.small else {})
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every part, print its tables, and keep them all."""
    given = options(arguments)
    python = None if given.ours_only else curator_python(given.curator_python, given.cache)
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as folder:
        documents = read_documents(given.documents) if given.documents else repeated_demo(given.rows, Path(folder))
        source = "given" if given.documents else "the demo's, repeated"
        remarks = [
            "Against NeMo Curator 1.4.0" if python else "This package's side alone, without NeMo Curator",
            f"Documents: {len(documents.frame):,} ({source}), {documents.megabytes:.1f} MB of UTF-8.",
            f"Each timing of text work is the median of {given.repeats}, the sides taking turns on one core.",
            *given.note,
        ]
        parts = [heading(remarks)]
        print(parts[0], flush=True)
        for table in tables(given, documents, python, Path(folder)):
            parts.append(table.markdown().replace("| nan ", "| -   "))  # without Curator there are no such seconds
            print(parts[-1], flush=True)
    if not given.no_append:
        append(given.results, "\n".join(parts))


def tables(given: argparse.Namespace, documents: Documents, python: Path | None, folder: Path) -> Iterator[Table]:
    """The parts, one after another."""
    tokenizers = Tokenizers(given.tokenizer)
    if {"preprocessing", "postprocessing"} & set(given.part):
        yield from text_tables(given, documents, tokenizers, python, folder)
    if "job" in given.part:
        with serving(given.latency) as server:
            yield whole_jobs(documents, tokenizers, server, folder, limit=given.limit, python=python)


def text_tables(
    given: argparse.Namespace, documents: Documents, tokenizers: Tokenizers, python: Path | None, folder: Path
) -> Iterator[Table]:
    """The work on text, on one core, and why results differ."""
    core = max(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    compared: list[Compared] = []
    with curator(python, folder / "curator.log") if python else nullcontext() as side:
        bench = Bench(side, tokenizers, folder, core=core, repeats=given.repeats)
        answers = asked_of_endpoint(given, bench, documents) if "postprocessing" in given.part else {}
        with one_core() as pinned:
            if not pinned:
                print("No core can be set aside here: more than one may be used.", file=sys.stderr)
            if "preprocessing" in given.part:
                compared += prepared(bench, documents)
                yield preprocessing(bench, documents, compared)
            if "postprocessing" in given.part:
                compared += cleaned(bench, answers)
                yield postprocessing(answers, compared)
    if python:
        yield sameness(compared)
        yield differences(compared)


def asked_of_endpoint(given: argparse.Namespace, bench: Bench, documents: Documents) -> dict[str, list[pd.DataFrame]]:
    """Answers of each task, by the partitions their documents came in; nothing that asks is left running."""
    with serving(0) as server:
        answers = asked(bench, documents, server.endpoint(64), given.answers)
    close_runtime()  # its thread has nothing to do on the one core
    return answers


def preprocessing(bench: Bench, documents: Documents, compared: Sequence[Compared]) -> Table:
    """Documents to segments."""
    rows = []
    alone_s, once_s = bench.gigatoken_s(documents.frame), bench.tokenizing_s(documents.frame)
    for task, turns in ((one.task, one.turns) for one in compared):
        seconds = turns.theirs_s, documents.megabytes / turns.theirs_s, turns.new_s, documents.megabytes / turns.new_s
        theirs = "-" if turns.theirs is None else len(turns.theirs)
        counts = bench.counts_off(turns.theirs), bench.counts_off(turns.ours)
        rows.append(
            (
                *(task.name, *seconds, turns.theirs_s / turns.new_s, turns.new_s / alone_s, turns.met_s),
                *(theirs, len(turns.ours), *counts, len(turns.crashes)),
            )
        )
    return Table(
        "Preprocessing against NeMo Curator",
        f"{len(documents.frame):,} documents, {documents.megabytes:.1f} MB, one core, tokenizers that have met no word "
        "yet, the same budget; again: with one that has. Counts off: segments whose recorded count is not that of "
        "their text. Crashed: partitions that Curator's stages raised an error on. Once: gigatoken's "
        f"`encode_batch` on the same text, as new: {alone_s:.3f} s; `TokenCounter.count`, which encodes in pieces: "
        f"{once_s:.3f} s.",
        (
            *("task", "Curator, s", "MB/s", "here, s", "MB/s", "ratio", "× gigatoken once", "here again, s"),
            *("Curator's segments", "segments here", "Curator's counts off", "counts off here", "crashed"),
        ),
        rows,
    )


def postprocessing(answers: dict[str, list[pd.DataFrame]], compared: Sequence[Compared]) -> Table:
    """Answers to results."""
    turns = {one.task.name: one.turns for one in compared if one.step == "results"}
    rows = [
        (
            *(name, sum(map(len, answers[name])), *_ratios(one.theirs_s, one.met_s, one.new_s)),
            *("-" if one.theirs is None else len(one.theirs), len(one.ours), len(one.crashes)),
        )
        for name, one in turns.items()
    ]
    every_s = (sum(getattr(one, name) for one in turns.values()) for name in ("theirs_s", "met_s", "new_s"))
    return Table(
        "Postprocessing against NeMo Curator",
        "The same answers of the simulated endpoint, to this package's prompts; one core. Tokenizers that have encoded "
        "the source texts, as they have in a job when answers come, on both sides; new: here with one that has met no "
        "word yet. Results of paraphrasing are documents.",
        (
            *("task", "answers", "Curator, s", "here, s", "ratio", "here new, s", "ratio new"),
            *("Curator's results", "results here", "crashed"),
        ),
        [*rows, ("together", sum(row[1] for row in rows), *_ratios(*every_s), "", "", "")],
    )


def _ratios(theirs_s: float, met_s: float, new_s: float) -> tuple[float, ...]:
    return theirs_s, met_s, theirs_s / met_s, new_s, theirs_s / new_s


def sameness(compared: Sequence[Compared]) -> Table:
    """How many units are the same, and how many differences have a reason."""
    rows = []
    for step, task, comparison, choices in ((one.step, one.task, one.comparison, one.choices) for one in compared):
        assert comparison is not None, "there is a comparison wherever Curator took part"
        different, none = len(comparison.differences), len(comparison.unexplained)
        same = comparison.compared - different
        rows.append((step, task.name, comparison.compared, same, different - none, none, comparison.unlike_model))
        if choices is not None:
            drawn, broken = len(choices.drawn), len(choices.broken)
            rows.append(("chosen pairs", task.name, choices.same + drawn + broken, choices.same, drawn, broken, 0))
    return Table(
        "The same results, or a known difference",
        "Segments: by document. Results: by answer, by document where segments are joined again; of diverse QA all the "
        "pairs that were read, and by itself whether those chosen are among them and as many as they may be. A "
        "difference counts as explained where a slow model of this package gives, letter by letter, what Curator gave "
        "when the habits below are put on it. Unlike the model: units of which it gives something else than this "
        "package.",
        ("step", "task", "compared", "same", "explained", "not explained", "unlike the model"),
        rows,
    )


def differences(compared: Sequence[Compared]) -> Table:
    """The reasons."""
    return Table(
        "Why results differ from NeMo Curator's",
        "Entry: number of the mistake among those known of such systems; or a matter of layout, of the recipe, of "
        "white space. Alone: units that this habit explains by itself. Example: what it does, from → to.",
        ("step", "task", "entry", "what Curator does", "units", "alone", "example"),
        [row for one in compared for row in one.habits()],
    )


if __name__ == "__main__":
    main()
