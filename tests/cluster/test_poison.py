"""A document that takes its worker along."""

import json
import os
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from job.jobs import text

from .processes import Cluster, EndpointProcess, nemocc

ROWS, DEADLY = 64, 37
POISON = "This text ends the process that reads it."

ABORTS = f"""
import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import PathFinder

class Aborting(MetaPathFinder):
    # As a library does that has a bug: the whole process is gone when it is given this text.
    def find_spec(self, name, path, target=None):
        if name != "nemocc_dask.admit":
            return None
        spec = PathFinder.find_spec(name, path)
        execute = spec.loader.exec_module

        def exec_module(module):
            execute(module)
            real = module._is_blank

            def is_blank(frame):
                if frame["text"].str.contains({POISON!r}, regex=False).any():
                    os.abort()
                return real(frame)

            module._is_blank = is_blank

        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, Aborting())
"""


@pytest.fixture
def deadly(tmp_path: Path) -> dict[str, str]:
    """Environment of processes that die of the poison."""
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(ABORTS, encoding="utf-8")
    return {"PYTHONPATH": os.pathsep.join([str(hook), os.environ.get("PYTHONPATH", "")])}


def test_a_document_that_kills_is_rejected_and_the_others_are_done(tmp_path, deadly):
    """Workers die over a document; it is rejected as poison, and each of the others has its result."""
    texts = [text(number) + (POISON if number == DEADLY else "") for number in range(ROWS)]
    pd.DataFrame({"id": range(ROWS), "text": texts}).to_parquet(tmp_path / "in.parquet")
    output = tmp_path / "out"
    with (
        EndpointProcess(tmp_path, latency=0.05) as endpoint,
        Cluster(2, 2, folder=tmp_path / "cluster", env=deadly) as cluster,
    ):
        done = nemocc(
            "run", "--scheduler", cluster.address, "--input", str(tmp_path / "in.parquet"), "--output", str(output),
            "--task", "distill", "--rows-per-partition", "16", "--base-url", endpoint.base_url, "--model", "simulated",
            timeout=240,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    rejects = pq.read_table(output / "_nemocc" / "rejected" / "input").to_pandas()
    assert rejects[["id", "reason"]].to_numpy().tolist() == [[DEADLY, "poison"]]
    account = json.loads((output / "_nemocc" / "run.json").read_text("utf-8"))["tasks"]["distill"]
    assert account["kept"] == account["documents_in"] == ROWS - 1
    assert set(pq.read_table(output / "distill")["id"].to_pylist()) == {*range(ROWS)} - {DEADLY}
