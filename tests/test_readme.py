"""The README says what is so."""

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")


def test_the_demo_prints_what_the_readme_shows(tmp_path):
    """Every line that the README shows of the demo is printed by it, number for number."""
    shown = re.search(r"```\n(64 documents.*?)\n\.\.\.\n```", README, re.DOTALL).group(1)
    command = [sys.executable, "-c", "from nemocc_dask.cli import main; main()", "demo", "--latency", "0"]
    done = subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=True, encoding="utf-8"
    )
    printed = {line.rstrip() for line in done.stdout.splitlines()}
    assert set(shown.splitlines()) <= printed


def test_the_tasks_are_those_of_the_readme():
    """The table of tasks in the README is the one that `nemocc-dask tasks` prints."""
    command = [sys.executable, "-c", "from nemocc_dask.cli import main; main()", "tasks"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True, encoding="utf-8")
    rows = {line.strip() for line in done.stdout.splitlines()}
    assert rows <= {line.strip("|").strip() for line in README.splitlines()}
