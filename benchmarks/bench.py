"""What the work costs: counting tokens, preprocessing, postprocessing, requests, whole jobs.

Prints a table for each part and appends them to RESULTS.md beside it. The endpoint is the simulated one, in a
process of its own; no network and no key is needed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

from clients import clients
from corpus import Documents, read_documents, repeated_demo
from faults import faults
from measure import one_core
from memory import memory
from pacing import pacing
from requesting import jobs, requests, serving
from scale import scale
from storing import storing
from tables import Table, append, heading
from texts import HuggingFace, Tokenizers, counting, postprocessing, preprocessing

from nemocc_dask.llm import close_runtime

PARTS = (
    *("counting", "preprocessing", "postprocessing", "store", "requests", "clients"),
    *("memory", "scale", "jobs", "pacing", "faults"),
)
RESULTS = Path(__file__).with_name("RESULTS.md")
SMALL = {
    "rows": 126,
    "large_partition": 400,
    "scale_rows": 21,
    "hf_sample": 10,
    "answers": 20,
    "responses": 300,
    "latency": 0.02,
    "limits": (4, 16),
    "rounds": 3,
    "repeats": 1,
}
"""Settings of a run of a few seconds: its figures mean nothing, but everything is run."""


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--documents", metavar="GLOB", help="Parquet or JSONL files with id, text and quality_score; else the demo's")
    add("--part", nargs="+", choices=PARTS, default=PARTS, help="parts to run")
    add("--rows", type=int, default=4000, help="documents made of the demo's, where none are given")
    add("--tokenizer", help="hub name, folder or tokenizer.json; else Mistral NeMo's")
    add("--hf-sample", type=int, metavar="N", help="documents for Hugging Face row by row, scaled up; else all")
    add("--answers", type=int, default=2000, metavar="N", help="answers of each task to postprocess")
    add("--responses", type=int, default=1_000_000, metavar="N", help="to store, 1.6 KB of disk each")
    add("--latency", type=float, default=0.2, metavar="SECONDS", help="of the simulated endpoint")
    add("--limits", type=int, nargs="+", default=(64, 512), metavar="N", help="requests at once")
    add("--large-partition", type=int, default=200_000, metavar="N", help="rows asked about at once, for their memory")
    add("--scale-rows", type=int, default=4000, metavar="N", help="documents of a job, and of one on ten times as many")
    add("--rounds", type=int, default=12, help="requests sent are this many times those at once")
    add("--repeats", type=int, default=3, help="each timing is the median of so many")
    add("--note", action="append", default=[], help="a remark to keep with the figures; may be repeated")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="file to append to")
    add("--no-append", action="store_true", help="print only")
    add("--small", action="store_true", help="a run of a few seconds that tries everything and measures nothing")
    given = parser.parse_args(arguments)
    vars(given).update(SMALL if given.small else {})
    return given


def main(arguments: Sequence[str] | None = None) -> None:
    """Run every part, print its table, and keep them all."""
    given = options(arguments)
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as folder:
        documents = read_documents(given.documents) if given.documents else repeated_demo(given.rows, Path(folder))
        source = "given" if given.documents else "the demo's, repeated"
        remarks = [
            f"Documents: {len(documents.frame):,} ({source}), {documents.megabytes:.1f} MB of UTF-8.",
            f"Each timing is the median of {given.repeats}.",
            *given.note,
        ]
        parts = [heading(remarks)]
        print(parts[0], flush=True)
        for table in tables(given, documents, Path(folder)):
            parts.append(table.markdown())
            print(parts[-1], flush=True)
    if not given.no_append:
        append(given.results, "\n".join(parts))


def tables(given: argparse.Namespace, documents: Documents, folder: Path) -> Iterator[Table]:
    """The parts, one after another: those on one core first, because threads keep the core they were started on."""
    tokenizers = cache(lambda: Tokenizers(given.tokenizer))
    common = {"repeats": given.repeats}
    with serving(0) as server, one_core() as pinned:
        if not pinned:
            print("No core can be set aside here: more than one may be used.", file=sys.stderr)
        slow = cache(lambda: HuggingFace(documents, tokenizers(), sample=given.hf_sample, **common))
        answers = {"endpoint": server.endpoint(64), "answers": given.answers}
        yield from chosen(
            given.part,
            counting=lambda: counting(documents, tokenizers(), slow(), **common),
            preprocessing=lambda: preprocessing(documents, tokenizers(), slow(), **common),
            postprocessing=lambda: postprocessing(documents, tokenizers(), **answers, **common),
            store=lambda: storing(folder, responses=given.responses, **common),
        )
    close_runtime()  # its thread would stay on the one core
    with serving(given.latency) as server:
        common |= {"limits": given.limits}
        yield from chosen(
            given.part,
            requests=lambda: requests(documents, tokenizers(), server, rounds=given.rounds, **common),
            clients=lambda: clients(server, limit=max(given.limits), rounds=given.rounds, repeats=given.repeats),
            memory=lambda: memory(server, rows=given.large_partition, requests=given.large_partition // 2),
            scale=lambda: scale(
                folder, given.tokenizer, rows=given.scale_rows, workers=(1,) if given.small else (1, 2)
            ),
            jobs=lambda: jobs(documents, given.tokenizer, server, folder, **common),
            pacing=lambda: pacing(small=given.small),
            faults=lambda: faults(folder, given.tokenizer, small=given.small),
        )


def chosen(wanted: Sequence[str], **parts: Callable[[], Table]) -> Iterator[Table]:
    """The tables of the parts that were asked for."""
    yield from (part() for name, part in parts.items() if name in wanted)


if __name__ == "__main__":
    main()
