"""docs/observing.md names all there is to see, and nothing that there is not."""

import re
from pathlib import Path

from prometheus_client import REGISTRY

import nemocc_dask.llm  # noqa: F401 - has its counters registered

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "observing.md").read_text("utf-8")


def rows(heading):
    """First cells of the table under a heading."""
    section = PAGE.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]


def test_every_metric_is_in_the_table():
    """The names of the table are those that a worker serves, counters with `_total`."""
    families = [family for family in REGISTRY.collect() if family.name.startswith("nemocc_")]
    served = {f"{each.name}_total" if each.type == "counter" else each.name for each in families}
    assert {re.match(r" `([a-z_]+)", cell).group(1) for cell in rows("Metrics")} == served


def test_every_event_is_in_the_table():
    """The events of the table are those that the package logs."""
    sources = [path.read_text("utf-8") for path in (ROOT / "nemocc_dask").rglob("*.py") if path.name != "logs.py"]
    logged = {name for source in sources for name in re.findall(r'event\(\s*"(\w+)"', source)}
    logged |= {"run_started", "run_resumed", "rows_failed", "rows_rejected", "message"}  # chosen where they are logged
    assert set(re.findall(r"`(\w+)`", " ".join(rows("The log")))) == logged
