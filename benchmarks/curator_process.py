"""NeMo Curator in an environment and a process of its own, and how it is given orders."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from answer_differences import asked_marker

from nemocc_dask import Task, TokenCounter
from nemocc_dask.preprocess import max_segment_tokens

PACKAGES = ("nemo-curator==1.4.0", "openai==2.14.0")
"""With `openai` 3.x Curator's client dies on the second batch."""
SIDE = Path(__file__).with_name("curator_side.py")
INSTALLED = "installed"


class Curator:
    """Curator's process; `started_s` is when it was begun, by `time.perf_counter`."""

    def __init__(self, process: subprocess.Popen[str], log: Path, started_s: float) -> None:
        self._process, self._log, self.started_s = process, log, started_s

    def ask(self, order: dict[str, Any]) -> dict[str, Any]:
        """Its answer to an order; ends the program with the end of its log where it died."""
        assert self._process.stdin is not None, "it is started with pipes"
        assert self._process.stdout is not None, "it is started with pipes"
        print(json.dumps(order), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"NeMo Curator's process died. The end of its log:\n{self._log.read_text()[-3000:]}")
        return dict(json.loads(line))


@contextmanager
def curator(python: Path, log: Path) -> Iterator[Curator]:
    """Start its process; at the end it is told that there are no more orders, and waited for."""
    started_s = time.perf_counter()
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(
            [python, SIDE],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=_surroundings(python),
        ) as process,
    ):
        yield Curator(process, log, started_s)


def _surroundings(python: Path) -> dict[str, str]:
    """Its environment first on the path, because it calls `ray` by name; nothing of this Python's."""
    own = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV", "RAY_ADDRESS"}
    }
    return own | {"PATH": f"{python.parent}{os.pathsep}{own.get('PATH', '')}", "RAY_USAGE_STATS_ENABLED": "0"}


def curator_python(given: Path | None, cache: Path) -> Path:
    """The Python that has Curator: the one given, or that of an environment in the cache, made where it is missing."""
    if given is not None:
        if not given.exists():
            raise SystemExit(
                f"against_curator.py: there is no {given}; name the Python of an environment with Curator."
            )
        return given.absolute()  # not resolved: a link tells Python which environment it belongs to
    folder = cache / "-".join(PACKAGES).replace("==", "-")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not (folder / INSTALLED).exists():
        print(f"Installing {' and '.join(PACKAGES)}: some gigabytes and minutes, once.", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES], check=True)
        (folder / INSTALLED).touch()
    return python


def task_order(task: Task, counter: TokenCounter) -> dict[str, Any]:
    """All that Curator's side has to know of a task, our budget and our prompts among it."""
    names = (
        *("name", "output_field", "system_prompt", "prompt", "joins_segments", "max_output_tokens"),
        *("min_document_tokens", "min_segment_tokens", "max_answer_tokens", "min_result_tokens"),
    )
    own = {name: getattr(task, name) for name in names}
    return own | {"max_segment_tokens": max_segment_tokens(task, counter), "marker": asked_marker(task)}
