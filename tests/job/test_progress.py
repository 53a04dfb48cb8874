"""What a person sees of a running job: plain lines in a file, a moving bar on a terminal, and an honest estimate."""

import os
import pty
import re
import select
import time

import pytest

from nemocc_dask.budget import Caps, Tokens
from nemocc_dask.job import run_job
from nemocc_dask.launches import Launch
from nemocc_dask.live import Tally, live_progress
from nemocc_dask.llm import Stop
from nemocc_dask.settings import Prices
from nemocc_dask.worker import PartProgress

from .jobs import arguments, clean_documents, quiet, start, wait_until


class Recorder:
    """Everything a job tells."""

    def __init__(self):
        self.begun, self.counts, self.finished, self.lines = [], [], 0, []

    def told(self, line):
        self.lines.append(line)

    def started(self, parts, done):
        self.begun.append((parts, done))

    def counted(self, part, counts):
        self.counts.append((part, dict(counts)))

    def part_done(self):
        self.finished += 1

    def sums(self):
        return {name: sum(counts.get(name, 0) for _, counts in self.counts) for name in ("rows", "answers", "failed")}


def test_what_a_job_tells_adds_up(job, simulate):
    """By its end a job has told of every partition, every row, every answer and every failure, each once."""
    told = Recorder()
    books = run_job(job(simulate(bad_request_rate=0.2), samples=5), progress=told)
    assert told.begun == [(5, 0)] and told.finished == 5
    accounts = books["tasks"].values()
    asked = sum(account["requests"] for account in accounts)
    failed = sum(sum(account["failed"].values()) for account in accounts)
    assert told.sums() == {"rows": asked, "answers": asked - failed, "failed": failed}
    assert failed > 0


def test_a_waiting_thread_syncs_the_store():
    """A thread that waits for answers has those that came synced, now and then."""
    synced, progress = [], PartProgress(0, Launch("a launch", Caps(), Tokens()))
    progress.sync_with(lambda: synced.append(time.monotonic()))
    wait_until(lambda: progress.tick() is Stop.GO and synced, seconds=10)
    assert progress.tick() is Stop.GO and len(synced) == 1


def test_a_tally_knows_what_is_left():
    """Rows of partitions not yet prepared are estimated from those that are, and the estimate says so."""
    tally = Tally()
    assert tally.rows == 0
    tally.started(4, 0)
    tally.counted(0, {"rows": 10})
    tally.counted(0, {"answers": 4, "failed": 1, "prompt_tokens": 1000, "completion_tokens": 50})
    assert (tally.rows, tally.rows_done) == (40, 5)
    assert tally.line().startswith("5 of about 40 rows, ETA ")
    assert "1 failed, 0 of 4 partitions, 1,000 tokens in, 50 out" in tally.line()


def test_a_tally_of_a_resumed_job():
    """Partitions done in an earlier run are done, and are no part of what is estimated."""
    tally = Tally()
    tally.started(4, 3)
    tally.counted(3, {"rows": 10, "answers": 10})
    tally.part_done()
    assert tally.rows == 10 and re.match(r"10 of 10 rows, ETA 0:00, .* 4 of 4 partitions", tally.line())


def test_the_estimate_of_time():
    """The time left is what is left at the speed so far."""
    tally = Tally()
    tally.started(1, 0)
    tally._started_at = time.monotonic() - 100
    tally.counted(0, {"rows": 4000, "answers": 100})
    assert "ETA 1:05:0" in tally.line()


def test_answers_that_were_there_already():
    """Reused answers are done at once, and tell nothing of how long the others take."""
    tally = Tally()
    tally.started(1, 0)
    tally._started_at = time.monotonic() - 10
    tally.counted(0, {"rows": 1000})
    tally.counted(0, {"answers": 900, "reused": 890})
    assert tally.rows_done == 900 and tally.rows_per_s == pytest.approx(1, rel=0.1)
    assert re.search(r"900 of 1,000 rows, ETA 1:[34]\d, .* 890 reused, ", tally.line())


def test_the_cost_so_far():
    """Where prices are known the line tells what was paid; where tokens are estimated it says about."""
    tally = Tally(Prices(input=2, output=10))
    tally.counted(0, {"rows": 2, "answers": 1, "prompt_tokens": 1000, "completion_tokens": 100})
    assert "cost 0.0030, " in tally.line() and "reused" not in tally.line()
    tally.counted(0, {"answers": 1, "estimated_prompt_tokens": 500, "estimated_completion_tokens": 50})
    assert tally.line().endswith("about 1,500 tokens in, about 150 out") and "cost 0.0030, " in tally.line()
    assert "cost" not in Tally().line()


def test_plain_lines(capsys):
    """Where there is no terminal the last line says where the job ended, without colours or moving parts."""
    with live_progress() as tally:
        tally.told("Something changed.")
        tally.started(1, 0)
        tally.counted(0, {"rows": 2, "answers": 2})
        tally.part_done()
    said = capsys.readouterr()
    assert said.out == "" and re.fullmatch(
        r"Something changed.\n2 of 2 rows, ETA 0:00, .*, 1 of 1 partitions, .*\n", said.err
    )


def test_nothing_is_said_of_a_job_that_did_not_begin(capsys):
    """A job that was refused before it began says nothing of progress."""
    with pytest.raises(ValueError, match="refused"), live_progress():
        raise ValueError("refused")
    assert capsys.readouterr().err == ""


def test_a_bar_on_a_terminal(job, simulate, output):
    """On a terminal of 80 columns a bar and numbers move within one line, and are gone when the table is printed."""
    simulator = simulate(latency_s=0.3)
    here, there = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}
    command = arguments(job(simulator, task=("distill",), max_concurrent_requests=12))
    with start(command, stdout=there, stderr=there, env=environment) as process:
        os.close(there)
        shown = _read_all(here)
    assert process.returncode == 0, shown
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown)
    frames = [line for line in re.split(r"[\r\n]+", plain) if " rows, ETA " in line]
    assert len(frames) > 2 and all(len(frame) <= 80 and "\u2501" in frame for frame in frames), frames
    assert len({frame.split("\u2501")[-1] for frame in frames}) > 1
    table = [line for line in plain.splitlines() if line.startswith(("task ", "distill "))]
    assert len(table) == 2 and all(len(line) <= 80 for line in table)
    assert quiet(simulator) > 0


@pytest.mark.parametrize("answer", ["y", "n"])
def test_a_question_on_a_terminal(job, simulator, output, parquet, answer):
    """On a terminal a person is asked before results are removed: yes goes ahead, no leaves everything as it was."""
    first = job(simulator, input=parquet(clean_documents(3)), task=("distill",))
    run_job(first)
    here, there = pty.openpty()
    command = arguments(first.replace(task=("knowledge_list",)))
    with start(command, stdin=there, stdout=there, stderr=there, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(there)
        asked = _read_all(here, until="[y/N]: ")
        os.write(here, f"{answer}\n".encode())
        shown = _read_all(here)
    question = re.sub(r"\s+", " ", asked)
    assert "Going on removes the results of distill." in question and question.endswith("Go ahead? [y/N]: ")
    assert process.returncode == (0 if answer == "y" else 2), shown
    assert (output / "distill").exists() == (answer == "n")
    assert (output / "knowledge_list").exists() == (answer == "y")


def _read_all(terminal, until=None):
    """What a process writes to a terminal until it ends, or has written some words."""
    shown = b""
    while select.select([terminal], [], [], 30)[0]:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # Linux's word for: nobody has the other end open any more
            break
        if until and until in shown.decode(errors="replace"):
            return shown.decode()
    os.close(terminal)
    return shown.decode()
