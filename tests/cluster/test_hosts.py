"""A job on several hosts, of which one is cut off for some seconds. `benchmarks/cut_links.py` cuts for longer."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from job.jobs import assert_accounted_for

from .hosts import why_not

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))  # the job is that of the benchmark

from cut_links import LIMIT, Cut, run_with

REASON = why_not()
ROWS = 300
SECONDS = 4.0

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(REASON is not None, reason=str(REASON))]


@pytest.mark.parametrize("from_scheduler_alone", [False, True])
def test_a_link_is_cut_and_mended(tmp_path, from_scheduler_alone):
    """No row is lost or paid for twice, and the endpoint never sees more than it may; the worker stays."""
    came = run_with(Cut(SECONDS, from_scheduler_alone=from_scheduler_alone), tmp_path, rows=ROWS)
    assert came.exit_code == 0, came.said
    assert not came.still_cut and came.worker_ended is None
    assert_accounted_for(tmp_path / "out", came.books, came.stats["requests"])
    assert came.books["tasks"]["multilingual_qa"]["requests"] == ROWS
    assert came.stats["peak_in_flight"] <= LIMIT and came.stats["repeated"] == 0
