"""`transformers serve` as a process, and what it says it was asked."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple, Self

PATIENCE_S = 120.0
"""Longest wait for the server to answer; it needs about six seconds, most of them for importing torch."""

ACCESS = re.compile(r'"(GET|POST) (\S+) HTTP/1\.1" (\d{3})')
"""A line of the server's log about a request."""


class Asked(NamedTuple):
    """One request as the server logged it."""

    method: str
    path: str
    status: int


class ModelServer:
    """`transformers serve FOLDER` on a free port of loopback, with no way to a hub; the model is named by its folder.

    model: folder of the model.
    home: folder the server takes for the cache of models from a hub.
    """

    def __init__(self, model: Path, home: Path) -> None:
        self.model = str(model)
        self._home = home
        self._log = home / "serve.log"
        self._port = _free_port()
        self.base_url = f"http://127.0.0.1:{self._port}/v1"

    def __enter__(self) -> Self:
        words = ["-m", "transformers.cli.transformers", "serve", self.model, "--host", "127.0.0.1", "--device", "cpu"]
        hubless = {"HF_HOME": str(self._home), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, *words, "--port", str(self._port)],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **hubless},
                start_new_session=True,
            )
        try:
            self._wait()
        except BaseException:
            self._kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def asked(self, method: str = "POST") -> list[Asked]:
        """The requests of this kind that it has begun to answer, oldest first."""
        found = (Asked(verb, path, int(status)) for verb, path, status in ACCESS.findall(self.words()))
        return [each for each in found if each.method == method]

    def words(self) -> str:
        """All that the server has written."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def _wait(self) -> None:
        until = time.monotonic() + PATIENCE_S
        while not self._answers():
            assert self._process.poll() is None, f"the server ended:\n{self.words()}"
            assert time.monotonic() < until, f"no answer in {PATIENCE_S} s:\n{self.words()}"
            time.sleep(0.1)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except OSError:
            return False  # not yet
        finally:
            connection.close()

    def _kill(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)  # not waited for yet, so the group is there even if it ended
        self._process.wait(10)


def _free_port() -> int:
    with socket.socket() as lent:
        lent.bind(("127.0.0.1", 0))
        return int(lent.getsockname()[1])
