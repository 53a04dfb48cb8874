"""Tables of figures, the machine they were taken on, and the file they are kept in."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

PACKAGES = ("nemocc-dask", "dask", "pandas", "pyarrow", "aiohttp", "tokenizers", "transformers", "gigatoken")


@dataclass(frozen=True)
class Table:
    """One part of the benchmark: a title, a remark on how its figures were taken, and rows of words and numbers."""

    title: str
    remark: str
    headings: Sequence[str]
    rows: Sequence[Sequence[Any]]

    def markdown(self) -> str:
        """As it is printed and kept."""
        rows = [[figure(cell) for cell in row] for row in (self.headings, *self.rows)]
        widths = [max(len(row[at]) for row in rows) for at in range(len(self.headings))]
        first, *rest = (
            "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
        )
        ruler = "|" + "|".join("-" * (width + 2) for width in widths) + "|"
        return "\n".join((f"### {self.title}", "", self.remark, "", first, ruler, *rest, ""))


def figure(value: Any) -> str:
    """A number with three digits that count, whole above 100; words as they are."""
    if not isinstance(value, float):
        return f"{value:,}" if isinstance(value, int) else str(value)
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if value >= 1 else f"{value:.3g}"


def heading(remarks: Sequence[str]) -> str:
    """Date and machine, without its name, and what else there is to say of a run."""
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    lines = (
        f"## {date.today().isoformat()}",
        "",
        f"- Machine: {cpu_model()}, {os.cpu_count()} cores, {platform.system()}.",
        f"- Python {platform.python_version()}, {versions}.",
        *(f"- {remark}" for remark in remarks),
        "",
    )
    return "\n".join(lines)


def cpu_model() -> str:
    """The processor's name, as far as the system tells."""
    known = Path("/proc/cpuinfo")
    if known.exists():
        for line in known.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def append(path: Path, text: str) -> None:
    """Put a run at the end of the file."""
    with path.open("a", encoding="utf-8") as file:
        file.write(f"\n{text}")
