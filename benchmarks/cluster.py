"""A job on a cluster of real processes: handed over, killed, cancelled, and what a partition costs.

    python benchmarks/cluster.py --documents 'corpus/*.parquet' --tokenizer DIR --part limit faults driver cancel

Scheduler, workers and endpoint are processes of their own at 127.0.0.1, started with the commands that users start.
Prints what came of each part as one line of JSON a figure.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from corpus import repeated_demo

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from cluster.processes import Cluster, EndpointProcess, nemocc

LIMIT = 96
LATENCY_S = 1.0
WORKERS, THREADS = 3, 4
SAMPLE_EVERY_S = 0.1
LEDGER = {"attempts", "latency_s"}
"""Columns that tell how an answer came, which differs from run to run."""


class Scene:
    """A cluster, an endpoint, a job for them, and a look at the endpoint ten times a second."""

    def __init__(self, folder: Path, cluster: Cluster, endpoint: EndpointProcess, words: Sequence[str]) -> None:
        self.folder, self.cluster, self.endpoint = folder, cluster, endpoint
        self.output = folder / "out"
        asked = ["--base-url", endpoint.base_url, "--model", "simulated", "--max-concurrent-requests", str(LIMIT)]
        self.words = [*words, *asked]
        self.samples: list[tuple[float, int]] = []
        self._ended = threading.Event()

    def submit(self) -> float:
        """Seconds that it took to hand the job over."""
        began = time.monotonic()
        done = nemocc("submit", "--scheduler", self.cluster.address, "--output", str(self.output), *self.words)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - began

    def status(self) -> dict[str, Any]:
        """What `status` says."""
        done = nemocc("status", "--json", str(self.output))
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def until(self, reached: Callable[[dict[str, Any]], bool], longest_s: float = 600.0) -> dict[str, Any]:
        """Waits until the file that `status` reads says so."""
        ends_at = time.monotonic() + longest_s
        path = self.output / "_nemocc" / "progress.json"
        while time.monotonic() < ends_at:
            told = json.loads(path.read_text("utf-8")) if path.exists() else None
            if told and reached(told):
                return dict(told)
            time.sleep(0.1)
        raise TimeoutError(f"not in {longest_s} s: {told}")

    def until_done(self) -> dict[str, Any]:
        """Waits until the job has ended, and holds that it is done."""
        told = self.until(lambda told: told["state"] not in ("preparing", "running"))
        assert told["state"] == "done", told
        return told

    def books(self) -> dict[str, Any]:
        """What `run.json` holds."""
        return dict(json.loads((self.output / "_nemocc" / "run.json").read_text("utf-8")))

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Looks at the endpoint meanwhile."""
        thread = threading.Thread(target=self._sample)
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def _sample(self) -> None:
        while not self._ended.wait(SAMPLE_EVERY_S):
            self.samples.append((time.monotonic(), self.endpoint.stats()["in_flight"]))

    def in_flight(self, since: float, until: float) -> float:
        """Mean of the samples in between."""
        found = [number for moment, number in self.samples if since <= moment < until]
        return sum(found) / max(1, len(found))

    def back_in_use_s(self, since: float, within_s: float = 8.0, share: float = 0.95) -> float:
        """Seconds from then to the last moment, of the next seconds, at which less of the limit was in use."""
        after = [(moment - since, number) for moment, number in self.samples if 0 <= moment - since < within_s]
        return max((moment for moment, number in after if number < share * LIMIT), default=0.0)


@contextmanager
def scene(words: Sequence[str], *, latency_s: float = LATENCY_S, **cluster: Any) -> Iterator[Scene]:
    """A scene in a folder that is gone afterwards."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            EndpointProcess(folder, latency=latency_s) as endpoint,
            Cluster(WORKERS, THREADS, folder=folder / "cluster", **cluster) as running,
        ):
            yield Scene(folder, running, endpoint, words)


def results(output: Path) -> dict[str, pa.Table]:
    """Task → its rows in order, without what differs from run to run."""
    found = {}
    for folder in sorted(path for path in output.iterdir() if path.is_dir() and path.name != "_nemocc"):
        table = pq.read_table(folder)
        kept = table.select([name for name in table.column_names if name not in LEDGER])
        found[folder.name] = kept.sort_by([(name, "ascending") for name in ("id", "request_id")])
    return found


def tell(part: str, **figures: Any) -> None:
    """One line."""
    print(json.dumps({"part": part, **figures}, default=str), flush=True)


# --- parts ------------------------------------------------------------------------------------------------------------


def limit(words: Sequence[str]) -> None:
    """Nothing goes wrong: the limit is kept and used, `status` is right, the results are those of a local run."""
    with scene(words) as here, here.watched():
        handed_over_s = here.submit()
        looks = []
        while not looks or looks[-1]["state"] in ("preparing", "running"):
            before = here.endpoint.stats()["requests"]
            looks.append(here.status())
            after = here.endpoint.stats()["requests"]
            # What is told was so at some moment of the last seconds, and never more than was sent.
            assert looks[-1]["http_requests"] <= after, (looks[-1], after)
            looks[-1]["behind"] = before - looks[-1]["http_requests"]
            time.sleep(3)
        here.until_done()
        seen, books = here.endpoint.stats(), here.books()
        local = here.folder / "local"
        done = nemocc("run", "--output", str(local), *here.words, timeout=900)
        assert done.returncode == 0, done.stderr
        ours, theirs = results(here.output), results(local)
        tell(
            "limit", handed_over_s=round(handed_over_s, 1), requests=seen["requests"], peak=seen["peak_in_flight"],
            mean=round(seen["mean_in_flight"], 1), looks=len(looks), most_behind=max(look["behind"] for look in looks),
            tasks={name: account["kept"] for name, account in books["tasks"].items()},
            same_as_local=ours.keys() == theirs.keys() and all(ours[name].equals(theirs[name]) for name in ours),
        )  # fmt: skip


def faults(words: Sequence[str]) -> None:
    """One worker killed, one stopped for 20 s, one added, in the middle."""
    with scene(words) as here, here.watched():
        here.submit()
        here.until(lambda told: told["http_requests"] > 10 * LIMIT)
        victim = _not_the_driver(here)
        killed_at = time.monotonic()
        here.cluster.kill(victim, nanny=True)
        time.sleep(8)
        stopped = _not_the_driver(here)
        stopped_at = time.monotonic()
        here.cluster.stop(stopped)
        time.sleep(20)
        here.cluster.go_on(stopped)
        went_on_at = time.monotonic()
        here.cluster.add_worker("added")
        time.sleep(10)
        here.until_done()
        seen, books = here.endpoint.stats(), here.books()
        tell(
            "faults", requests=seen["requests"], answered_again=seen["repeated"], abandoned=seen["abandoned"],
            peak=seen["peak_in_flight"], mean=round(seen["mean_in_flight"], 1),
            failed=sum(sum(account["failed"].values()) for account in books["tasks"].values()),
            after_kill_s=round(here.back_in_use_s(killed_at), 1), after_stop_s=round(here.back_in_use_s(stopped_at), 1),
            while_stopped=round(here.in_flight(stopped_at + 5, went_on_at), 1),
            each_second=[round(here.in_flight(killed_at + second, killed_at + second + 1)) for second in range(45)],
            )  # fmt: skip


def driver(words: Sequence[str]) -> None:
    """The driver's worker is killed, then the scheduler, and everything is started again."""
    with scene(words) as here:
        here.submit()
        here.until(lambda told: told["http_requests"] > 5 * LIMIT)
        first = here.status()["driver"]
        driving = _driver_name(here)
        in_flight = [here.endpoint.stats()["in_flight"]]
        here.cluster.kill(driving)
        second = here.until(lambda told: told["driver"]["id"] != first["id"] and told["state"] == "running")
        taken_over_s = second["driver"]["since"]
        time.sleep(5)
        in_flight.append(here.endpoint.stats()["in_flight"])
        here.cluster.kill_scheduler()
        before = here.endpoint.stats()["requests"]
        time.sleep(8)
        quiet = here.endpoint.stats()["requests"]
        time.sleep(2)
        sent_later = here.endpoint.stats()["requests"] - quiet
        here.cluster.restart_scheduler()
        for number in range(WORKERS):
            here.cluster.add_worker(f"again{number}")
        here.submit()
        here.until_done()
        seen, books = here.endpoint.stats(), here.books()
        tell(
            "driver", requests=seen["requests"], answered_again=seen["repeated"], abandoned=seen["abandoned"],
            in_flight_at_kills=in_flight, sent_after_scheduler_died=quiet - before, sent_10_s_later=sent_later,
            first=first["since"], second=taken_over_s, peak=seen["peak_in_flight"],
            failed=sum(sum(account["failed"].values()) for account in books["tasks"].values()),
        )  # fmt: skip


def cancel(words: Sequence[str]) -> None:
    """No request later than two seconds after `cancel` has returned."""
    with scene(words) as here:
        here.submit()
        here.until(lambda told: told["http_requests"] > 5 * LIMIT)
        began = time.monotonic()
        done = nemocc("cancel", str(here.output))
        assert done.returncode == 0, done.stderr
        took_s, then = time.monotonic() - began, here.endpoint.stats()["requests"]
        time.sleep(10)
        later = here.endpoint.stats()["requests"] - then
        here.submit()
        here.until_done()
        seen = here.endpoint.stats()
        tell(
            "cancel", took_s=round(took_s, 1), later=later, answered_again=seen["repeated"],
            abandoned=seen["abandoned"],
        )  # fmt: skip


def overhead(_: Sequence[str]) -> None:
    """What a partition of five short documents costs at an endpoint that answers at once, and what memory grows."""
    for partitions in (2_000, 20_000):
        with tempfile.TemporaryDirectory() as name:
            documents = repeated_demo(5 * partitions, Path(name))
            words = ["--input", documents.pattern, "--task", "knowledge_list", "--rows-per-partition", "5"]
            with scene(words, latency_s=0) as here:
                peaks = _Peaks(here.cluster)
                here.submit()
                with peaks.watched():
                    here.until(lambda told: told["state"] == "running")
                    began = time.monotonic()
                    here.until_done()
                    took_s = time.monotonic() - began
                parts = here.books()["parts"]
                tell("overhead", partitions=parts, ms=round(1000 * took_s / parts["all"], 2), **peaks.megabytes())


class _Peaks:
    """Most memory that the scheduler, the driver's worker and the others had resident."""

    def __init__(self, cluster: Cluster) -> None:
        self._processes = {"scheduler": cluster.scheduler_pid, **cluster.workers()}
        self._first: dict[str, int] = {}
        self._most: dict[str, int] = {}

    @contextmanager
    def watched(self) -> Iterator[None]:
        ended = threading.Event()
        thread = threading.Thread(target=self._watch, args=(ended,))
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def _watch(self, ended: threading.Event) -> None:
        while not ended.wait(0.5):
            for name, pid in self._processes.items():
                now = psutil.Process(pid).memory_info().rss
                self._first.setdefault(name, now)
                self._most[name] = max(self._most.get(name, 0), now)

    def megabytes(self) -> dict[str, Any]:
        return {f"{name}_MB": round(most / 2**20) for name, most in self._most.items()}


def _driver_name(here: Scene) -> str:
    address = here.status()["driver"]["worker"]
    return here.cluster.name_of(address)


def _not_the_driver(here: Scene) -> str:
    return next(name for name in here.cluster.workers() if name != _driver_name(here))


PARTS = {"limit": limit, "faults": faults, "driver": driver, "cancel": cancel, "overhead": overhead}


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", required=True)
    parser.add_argument("--tokenizer")
    parser.add_argument("--rows-per-partition", default="200")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=list(PARTS))
    args = parser.parse_args()
    words = ["--input", args.documents, "--rows-per-partition", args.rows_per_partition]
    words += ["--tokenizer", args.tokenizer] if args.tokenizer else []
    for part in args.part:
        PARTS[part](words)


if __name__ == "__main__":
    main()
