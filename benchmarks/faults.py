"""What faults of an endpoint cost a job: requests beyond those that had to be, and rows that get no answer.

`python benchmarks/faults.py` runs a job for each kind of fault and one for all of them, and prints a table; `bench.py`
has it as a part. The cases stand in `fault_cases.py`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from fault_cases import CASES, LIMIT, NONE, Case, Endpoints, Ran, run, write_documents
from tables import Table

ROWS, FEW_ROWS = 2000, 40
FEW_CASES = ("503", "all together")
"""Cases of a run that measures nothing."""
HEADINGS = (
    *("fault", "rows", "kept", "rejected", "failed", "requests sent", "necessary", "ratio", "by the rates"),
    *("asked again", "peak in flight"),
)


def faults(folder: Path, tokenizer: str | None = None, *, small: bool = False) -> Table:
    """A job for each case, over so many documents of a sentence."""
    rows, cases = (FEW_ROWS, [case for case in CASES if case.name in FEW_CASES]) if small else (ROWS, CASES)
    documents = folder / "faults.parquet"
    write_documents(documents, rows)
    with Endpoints() as endpoints:

        def ran(case: Case) -> Ran:
            return run(case, endpoints, documents, folder / f"faults-{case.name.replace(' ', '-')}", tokenizer)

        sound = ran(NONE)
        figures = [_figures(sound, sound), *(_figures(ran(case), sound) for case in cases)]
    return Table(
        "Faults",
        f"A job over documents of a sentence, one request each, {LIMIT} at once, up to 9 retries. Necessary: a request "
        "for each row that was kept, and each that the endpoint says it has spoilt. By the rates: requests sent "
        "÷ those that the rates of the faults make necessary on average. Asked again: requests that had been answered "
        "properly before. Answers are those of an endpoint without faults, row for row.",
        HEADINGS,
        figures,
    )


def _figures(ran: Ran, sound: Ran) -> tuple[Any, ...]:
    lost = ran.rows - len(ran.answers) - len(ran.rejected)
    if lost or not ran.answers.items() <= sound.answers.items():
        raise SystemExit(f"faults.py: {ran.case.name}: {lost} rows are lost, or answers differ.")
    rejected = ran.account["rejected"].get("generate", {})
    return (
        ran.case.name, ran.rows, len(ran.answers), _words(rejected), _words(ran.account["failed"]),
        ran.sent, ran.necessary, f"{ran.sent / ran.necessary:.3f}", f"{ran.sent / ran.expected:.3f}",
        ran.stats["repeated"], ran.stats["peak_in_flight"],
    )  # fmt: skip


def _words(reasons: dict[str, int]) -> str:
    return ", ".join(f"{rows:,} {reason}" for reason, rows in reasons.items()) or "0"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as place:
        print(faults(Path(place)).markdown())
