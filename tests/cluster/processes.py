"""A Dask cluster and a simulated endpoint as the processes that users start, to kill, stop and start again.

Every process has a process group of its own, and a log in the folder it was given; at the end of a `with` block all of
them are gone, however the block ended.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import psutil
from distributed import Client, Security
from job.jobs import COMMAND, wait_until

from .hosts import Hosts

DASK = [sys.executable, "-m", "dask"]
LOCALHOST = "127.0.0.1"

LONGEST_START_S = 120.0
"""Longest wait for a process to listen, or for workers to be there; a start takes two seconds of an idle core."""

LONGEST_VERB_S = 300.0


class Process:
    """A command in a process group of its own, whose output goes to a file.

    inside: words to put before it, such as `ip netns exec NAME`. env: what is added to this process's environment.
    """

    def __init__(
        self, words: Sequence[str], log: Path, *, env: Mapping[str, str] | None = None, inside: Sequence[str] = ()
    ) -> None:
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                [*inside, *words],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=log.parent,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    @property
    def pid(self) -> int:
        """Of the command itself, which leads its group."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the command itself still runs. Its end is not fetched here: till then its pid is nobody else's."""
        return self._process.returncode is None and _has_not_ended(self.pid)

    def signal(self, number: int) -> None:
        """Sends a signal to the command itself."""
        self._process.send_signal(number)

    def wait(self, seconds: float = LONGEST_VERB_S) -> int:
        """The exit status, once it has ended by itself; what it left behind is killed."""
        ends_at = time.monotonic() + seconds
        while self.is_alive:
            assert time.monotonic() < ends_at, f"it did not end in {seconds} s:\n{self.output()}"
            time.sleep(0.02)
        self.kill()
        return self._process.returncode

    def kill(self) -> None:
        """SIGKILL to its whole group, whether or not the command itself has ended."""
        if self._process.returncode is None:
            members = psutil.Process(self.pid).children(recursive=True)
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()
            wait_until(lambda: not any(runs(member.pid) for member in members))

    def until(self, found: Callable[[], Any], what: str) -> Any:
        """Waits until there is something to be found. Fails, with its log, where it ends before that or takes long."""
        ends_at = time.monotonic() + LONGEST_START_S
        while not (there := found()):
            assert self.is_alive, f"it ended before {what}:\n{self.output()}"
            assert time.monotonic() < ends_at, f"not in time: {what}\n{self.output()}"
            time.sleep(0.02)
        return there

    def output(self) -> str:
        """All that it has printed."""
        return self.log.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Certificates:
    """Files of one authority, for scheduler, workers and clients alike."""

    ca: Path
    certificate: Path
    key: Path

    def options(self) -> list[str]:
        """As `dask scheduler` and `dask worker` take them."""
        return ["--tls-ca-file", str(self.ca), "--tls-cert", str(self.certificate), "--tls-key", str(self.key)]

    def client_environment(self) -> dict[str, str]:
        """As a client finds them that is told nothing."""
        comm = "DASK_DISTRIBUTED__COMM__TLS__"
        client = {"CLIENT__CERT": self.certificate, "CLIENT__KEY": self.key}
        return {comm + name: str(path) for name, path in {"CA_FILE": self.ca, **client}.items()}

    def security(self) -> Security:
        """As `Client` takes them."""
        return Security(
            tls_ca_file=str(self.ca),
            tls_client_cert=str(self.certificate),
            tls_client_key=str(self.key),
            require_encryption=True,
        )


class Cluster:
    """A scheduler and workers on this machine, started with Dask's own commands. Used in a `with` block.

    workers: how many at the start; they are called "w0", "w1", ... threads: of each of them. folder: for logs, local
    directories and the scheduler file. env: what is added to the environment of all of them.
    nanny: whether each worker has one, that starts it anew when it dies. worker_args: more options of `dask worker`.
    tls: files to encrypt with. hosts: where "scheduler" and the workers of these names run, if not here.
    """

    def __init__(
        self,
        workers: int = 3,
        threads: int = 2,
        *,
        folder: Path,
        env: Mapping[str, str] | None = None,
        nanny: bool = True,
        worker_args: Sequence[str] = (),
        tls: Certificates | None = None,
        hosts: Hosts | None = None,
    ) -> None:
        self.folder, self._env, self._nanny, self._tls, self._hosts = folder, dict(env or {}), nanny, tls, hosts
        self._names = [f"w{number}" for number in range(workers)]
        self._worker_options = ["--nthreads", str(threads), *self._tls_options(), *worker_args]
        self._processes: dict[str, Process] = {}
        self._port = _free_port()
        self._running = ExitStack()

    def __enter__(self) -> Self:
        try:
            self.restart_scheduler()
            for name in self._names:
                self._start_worker(name)
            self.wait_for(len(self._names))
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    # --- where it is --------------------------------------------------------------------------------------------------

    @property
    def address(self) -> str:
        """Of the scheduler; the same after it was started again."""
        return f"{'tls' if self._tls else 'tcp'}://{self.host('scheduler')}:{self._port}"

    def host(self, name: str) -> str:
        """IP address of the host that a worker, or "scheduler", runs on."""
        return self._hosts.address(name) if self._hosts else LOCALHOST

    @property
    def scheduler_file(self) -> Path:
        """As `--scheduler-file` takes it."""
        return self.folder / "scheduler.json"

    @property
    def metrics(self) -> str:
        """URL of the scheduler's figures for Prometheus."""
        port = json.loads(self.scheduler_file.read_text(encoding="utf-8"))["services"]["dashboard"]
        return f"http://{self.host('scheduler')}:{port}/metrics"

    def worker_metrics(self) -> dict[str, str]:
        """Name of a worker → URL of its figures for Prometheus."""
        ports = {each["name"]: each["services"]["dashboard"] for each in self._told().values()}
        return {name: f"http://{self.host(name)}:{port}/metrics" for name, port in ports.items()}

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client of its own, which is nobody's default."""
        security = self._tls.security() if self._tls else None
        with Client(self.address, timeout=LONGEST_START_S, security=security, set_as_default=False) as client:
            yield client

    def log(self, name: str) -> str:
        """What a worker, or "scheduler", has printed, in all its lives."""
        return (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")

    @property
    def scheduler_pid(self) -> int:
        """Of the scheduler that runs now."""
        return self._processes["scheduler"].pid

    def name_of(self, address: str) -> str:
        """Name of the worker at an address."""
        return str(self._told()[address]["name"])

    # --- workers ------------------------------------------------------------------------------------------------------

    def workers(self) -> dict[str, int]:
        """Name → pid of the process that runs tasks, of those that are there now."""
        found = {name: self._task_runner(name) for name in self._processes if name != "scheduler"}
        return {name: process.pid for name, process in found.items() if process is not None}

    def is_running(self, name: str) -> bool:
        """Whether the command `dask worker`, or "scheduler", still runs."""
        return name in self._processes and self._processes[name].is_alive

    def add_worker(self, name: str) -> None:
        """Starts a worker; returns once the scheduler knows it."""
        self._start_worker(name)
        self.until_known(name)

    def until_known(self, name: str) -> None:
        """Returns once the scheduler knows a worker of that name."""
        self._processes[name].until(lambda: name in {each["name"] for each in self._told().values()}, "it is known")

    def wait_for(self, workers: int) -> None:
        """Returns once the scheduler knows so many workers."""
        with self.client() as client:
            client.wait_for_workers(workers, timeout=LONGEST_START_S)

    def kill(self, name: str, *, nanny: bool = False) -> None:
        """SIGKILL to the process that runs tasks; with `nanny` to that too, so that nobody starts the worker anew."""
        if nanny or not self._nanny:
            self._processes.pop(name).kill()
        else:
            self._runner_of(name).kill()

    def stop(self, name: str) -> None:
        """SIGSTOP to the process that runs tasks: a machine that hangs."""
        self._runner_of(name).suspend()

    def go_on(self, name: str) -> None:
        """SIGCONT after `stop`."""
        self._runner_of(name).resume()

    def retire(self, name: str) -> None:
        """SIGTERM to the command: it ends in peace; returns once it has."""
        process = self._processes.pop(name)
        process.signal(signal.SIGTERM)
        process.wait()

    def _start_worker(self, name: str) -> None:
        assert not self.is_running(name), f"there is a worker {name}"
        options = ["--name", name, "--local-directory", str(self.folder / f"{name}-scratch"), *self._worker_options]
        kept = "--nanny" if self._nanny else "--no-nanny"
        self._start(name, [*DASK, "worker", self.address, kept, *self._listening(name), *options])

    def _runner_of(self, name: str) -> psutil.Process:
        return self._processes[name].until(lambda: self._task_runner(name), "there was a process for its tasks")

    def _task_runner(self, name: str) -> psutil.Process | None:
        try:
            command = psutil.Process(self._processes[name].pid)
            children = command.children(recursive=True) if self._nanny else [command]
            return next(
                (each for each in children if not self._nanny or "spawn_main" in " ".join(each.cmdline())), None
            )
        except psutil.NoSuchProcess:  # it has just died
            return None

    def _told(self) -> dict[str, Any]:
        """Address of a worker → what the scheduler tells of it."""
        with self.client() as client:
            workers: dict[str, Any] = client.scheduler_info(n_workers=-1)["workers"]
            return workers

    # --- the scheduler ------------------------------------------------------------------------------------------------

    def kill_scheduler(self) -> None:
        """SIGKILL."""
        self._processes.pop("scheduler").kill()

    def restart_scheduler(self) -> None:
        """Starts a scheduler at the same address, which remembers nothing; returns once it listens."""
        self.scheduler_file.unlink(missing_ok=True)
        there = ["--port", str(self._port), *self._listening("scheduler")]
        words = [*DASK, "scheduler", *there, "--scheduler-file", str(self.scheduler_file), *self._tls_options()]
        process = self._start("scheduler", words)
        process.until(self.scheduler_file.exists, "it listened")

    def _start(self, name: str, words: Sequence[str]) -> Process:
        inside = self._hosts.inside(name) if self._hosts else []
        started = Process(words, self.folder / f"{name}.log", env=self._env, inside=inside)
        self._processes[name] = self._running.enter_context(started)
        return started

    def _listening(self, name: str) -> list[str]:
        return ["--host", self.host(name), "--dashboard-address", f"{self.host(name)}:0"]

    def _tls_options(self) -> list[str]:
        return self._tls.options() if self._tls else []


class EndpointProcess(Process):
    """The simulated endpoint as a process of its own. Used in a `with` block.

    hosts: where the one called "endpoint" is its own. knobs: its options, such as latency=0.2 for `--latency 0.2`.
    """

    def __init__(self, folder: Path, *, hosts: Hosts | None = None, **knobs: Any) -> None:
        there = ["--host", hosts.address("endpoint") if hosts else LOCALHOST, "--port", "0"]
        options = [word for knob, value in knobs.items() for word in (f"--{knob.replace('_', '-')}", str(value))]
        inside = hosts.inside("endpoint") if hosts else []
        super().__init__([*COMMAND, "simulate", *there, *options], folder / "endpoint.log", inside=inside)

    def __enter__(self) -> Self:
        try:
            line = self.until(lambda: "; Ctrl-C" in self.output() and self.output(), "it listened")
        except BaseException:
            self.kill()
            raise
        self.base_url = line.rsplit("; Ctrl-C", 1)[0].split()[-1]
        return self

    def stats(self) -> dict[str, Any]:
        """What it has seen, as GET /stats sends it."""
        url = f"{self.base_url.removesuffix('v1')}stats"
        with urllib.request.urlopen(url, timeout=LONGEST_START_S) as reply:
            return dict(json.load(reply))


def nemocc(*words: str, env: Mapping[str, str] | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """`nemocc-dask` with these words in a process of its own, run to its end."""
    usual = {"capture_output": True, "text": True, "timeout": LONGEST_VERB_S, "env": {**os.environ, **(env or {})}}
    return subprocess.run([*COMMAND, *words], **{**usual, **how})


@contextmanager
def nemocc_started(
    *words: str, log: Path, env: Mapping[str, str] | None = None, inside: Sequence[str] = ()
) -> Iterator[Process]:
    """`nemocc-dask` with these words in a process of its own, which is dead at the end of the block."""
    with Process([*COMMAND, *words], log, env=env, inside=inside) as process:
        yield process


def runs(pid: int) -> bool:
    """Whether there is such a process, and it has not ended; one that nobody has fetched yet has ended."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _has_not_ended(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _free_port() -> int:
    """A port nobody has at the moment. A scheduler needs a number of its own, to be found again at the same address."""
    with socket.socket() as asked:
        asked.bind((LOCALHOST, 0))
        return int(asked.getsockname()[1])
