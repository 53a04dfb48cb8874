"""A job that has changed takes the folder over: what is paid for is used again, and what that costs is told before."""

import json
import signal

import pandas as pd
import pytest

from nemocc_dask.errors import EndpointUnreachableError, OutputError
from nemocc_dask.io import manifest
from nemocc_dask.io.write import Output
from nemocc_dask.job import run_job
from nemocc_dask.llm import Answer, Store
from nemocc_dask.renewal import change_of
from nemocc_dask.tasks import TASKS, task_to_toml

from .jobs import (
    arguments,
    assert_accounted_for,
    assert_same_results,
    books_of,
    clean_documents,
    quiet,
    start,
    text,
    wait_until,
)

NOWHERE = "http://127.0.0.1:9/v1"
TASK = {"task": ("distill",)}


class Listener:
    """A person who reads what is told, and answers every question alike."""

    def __init__(self, answer=True):
        self.answer, self.lines, self.questions, self.parts = answer, [], [], None

    def told(self, line):
        self.lines.append(line)

    def confirm(self, question):
        self.questions.append(question)
        return self.answer

    def started(self, parts, done):
        self.parts = (parts, done)

    def counted(self, part, counts):
        pass

    def part_done(self):
        pass


@pytest.fixture
def listener():
    """Somebody who says yes."""
    return Listener()


@pytest.fixture
def folder(tmp_path):
    """A folder with two files of documents, written anew by `folder(name=rows)`."""

    def write(**files):
        for path in tmp_path.glob("in/*"):
            path.unlink()
        (tmp_path / "in").mkdir(exist_ok=True)
        for name, frame in files.items():
            frame.to_parquet(tmp_path / "in" / f"{name}.parquet")
        return str(tmp_path / "in")

    return write


# --- what is paid for is used again -----------------------------------------------------------------------------------

DOCUMENTS = clean_documents(24)
NEW = pd.DataFrame({"id": range(100, 105), "text": [text(number) for number in range(100, 105)], "quality_score": 15})
BEFORE = {"a": DOCUMENTS[:12], "b": DOCUMENTS[12:]}
AFTER = {
    "half of them gone": ({"a": DOCUMENTS[:12]}, {}, 0),
    "new ones in front": ({"a": pd.concat([NEW, DOCUMENTS[:12]]), "b": DOCUMENTS[12:]}, {}, 5),
    "files renamed": ({"y": DOCUMENTS[:12], "z": DOCUMENTS[12:]}, {}, 0),
    "in another order": ({"a": DOCUMENTS[12:], "b": DOCUMENTS[:12]}, {}, 0),
    "other partitions": (BEFORE, {"rows_per_partition": 24}, 0),
    "another format": (BEFORE, {"output_format": "jsonl"}, 0),
    "all of it": ({"b": pd.concat([DOCUMENTS[18:6:-1], NEW])}, {"rows_per_partition": 3}, 5),
}


@pytest.mark.parametrize("after", AFTER)
def test_unchanged_rows_are_not_asked_again(job, simulator, output, tmp_path, folder, listener, after):
    """However documents are cut, named and ordered, only new ones are asked for; shards are those of a fresh run."""
    files, settings, new = AFTER[after]
    settings = {**TASK, "rows_per_partition": 5, **settings}
    run_job(job(simulator, input=folder(**BEFORE), **TASK, rows_per_partition=5))
    before = quiet(simulator)
    assert before == len(DOCUMENTS)
    now = job(simulator, input=folder(**files), **settings)
    books = run_job(now, progress=listener)
    assert quiet(simulator) - before == new
    assert_accounted(output, books, settings)
    assert books["spent"]["responses"] == new
    fresh = tmp_path / "fresh"
    run_job(now.replace(output=str(fresh)))
    assert names_of(output) == names_of(fresh)
    if settings.get("output_format") != "jsonl":
        assert_same_results(output, fresh, TASK["task"])
    [line] = listener.lines
    assert str(output) in line and "Answers that are paid for are used again." in line and not listener.questions


def assert_accounted(output, books, settings):
    if settings.get("output_format") != "jsonl":
        assert_accounted_for(output, books)
    account = books["tasks"]["distill"]
    assert account["requests"] == account["reused"] + account["responses"] and books["replaces"] == ()


def names_of(output):
    """Shards, records and rejects of an output."""
    files = (path.relative_to(output) for path in output.rglob("part-*") if "responses" not in path.parts)
    return sorted(str(path) for path in files)


@pytest.mark.parametrize(
    ("settings", "difference", "asked"),
    [
        ({"temperature": 0.9}, "sampling.temperature (0.5 there, 0.9 here)", 24),
        ({"n": 2}, "sampling.n (1 there, 2 here)", 24),
        ({"min_score": 3}, "min_score (null there, 3.0 here)", 0),
        ({"overlong": "drop"}, 'overlong ("split" there, "drop" here)', 0),
        ({"id_field": "quality_score", "columns": ()}, 'id_field ("id" there, "quality_score" here)', 0),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_changed_is_told(job, simulator, output, parquet, listener, settings, difference, asked):
    """Each setting that decides the results is named with both values; what cannot be used again is asked for."""
    first = job(simulator, input=parquet(DOCUMENTS), **TASK)
    run_job(first)
    before = quiet(simulator)
    books = run_job(first.replace(**settings), progress=listener)
    assert difference in listener.lines[0] and books["state"] == "done"
    assert quiet(simulator) - before == asked


def test_back_to_the_earlier_settings(job, simulator, output, parquet):
    """Who goes back to settings that were paid for pays nothing, and gets the same results."""
    first = job(simulator, input=parquet(DOCUMENTS), **TASK)
    run_job(first)
    kept = pd.read_parquet(output / "distill")
    run_job(first.replace(temperature=0.9))
    before = quiet(simulator)
    books = run_job(first)
    assert quiet(simulator) == before == 2 * len(DOCUMENTS)
    assert books["tasks"]["distill"]["reused"] == len(DOCUMENTS) and books["spent"]["responses"] == 0
    pd.testing.assert_frame_equal(pd.read_parquet(output / "distill"), kept)


def test_an_edited_task_file(job, simulator, output, tmp_path, parquet, listener):
    """A task of the user's own that was edited is named with the field; its cleaning alone costs nothing."""
    path, own = tmp_path / "own.toml", task_to_toml(TASKS["distill"])
    path.write_text(own)
    settings = {"input": parquet(DOCUMENTS), "task_file": str(path)}
    run_job(job(simulator, **settings))
    path.write_text(own.replace("min_result_tokens = 50", "min_result_tokens = 5"))
    run_job(job(simulator, **settings), progress=listener)
    assert quiet(simulator) == len(DOCUMENTS) and "tasks.distill.min_result_tokens (50 there" in listener.lines[0]
    path.write_text(own.replace("Condense", "Shorten"))
    run_job(job(simulator, **settings), progress=listener)
    assert quiet(simulator) == 2 * len(DOCUMENTS) and "tasks.distill.prompt" in listener.lines[1]
    assert "About 24 rows may be paid for again (distill 24)." in listener.lines[1]


def test_many_files(job, simulator, output, folder, listener, monkeypatch):
    """Of many input files the books hold a digest alone; the same job is known by it, and what changed is named."""
    monkeypatch.setattr(manifest, "MANY_FILES", 2)
    frames = {name: DOCUMENTS[at : at + 4] for at, name in enumerate("abc")}
    settings = {"input": folder(**frames), **TASK}
    books = run_job(job(simulator, **settings))
    assert books["identity"]["input"].keys() == {"files", "bytes", "digest"}
    assert run_job(job(simulator, **settings)) == books_of(output) == json.loads(json.dumps(books, default=dict))
    folder(**{name: frames[name] for name in "ab"})
    run_job(job(simulator, **settings), progress=listener)
    [line] = listener.lines
    assert "input ([[" in line and "c.parquet" in line and "a.parquet" not in line
    assert len(books_of(output)["identity"]["input"]) == 2


# --- what takes a yes -------------------------------------------------------------------------------------------------


def test_many_rows_take_a_yes(job, simulate, output, tmp_path):
    """Where over 1,000 rows may be paid for again somebody has to agree; else nothing is touched and nothing sent."""
    simulator = simulate()
    first = job(simulator, input=(), samples=1001, rows_per_partition=1000)
    run_job(first)
    before, requests = books_of(output), quiet(simulator)
    hotter, shy = first.replace(temperature=0.9), Listener(answer=False)
    for ask in ({}, {"progress": shy, "confirm": shy.confirm}):
        with pytest.raises(
            OutputError, match=r"temperature .*About 1,001 rows .*multilingual_qa 1,001.*--yes.*--output"
        ):
            run_job(hotter, **ask)
    assert len(shy.questions) == 1 and shy.questions[0].endswith("Go ahead?")
    assert books_of(output) == before and quiet(simulator) == requests
    eager = Listener()
    for ask in ({"confirm": eager.confirm}, {"progress": eager}):
        agreed = hotter.replace(base_url=NOWHERE, yes="progress" in ask)
        with pytest.raises(EndpointUnreachableError):
            run_job(agreed, **ask)
    assert len(eager.questions) == 1 and "About 1,001 rows" in eager.lines[0]
    assert books_of(output) == before  # a yes removes nothing as long as nobody answers at the endpoint


def test_another_run_while_somebody_thinks(job, simulator, output, parquet):
    """A yes holds for what was there when it was asked for: where another run has been since, nothing is removed."""
    first = job(simulator, input=parquet(DOCUMENTS), **TASK)
    run_job(first)
    other = first.replace(task=("distill", "knowledge_list"))

    def confirm(question):
        run_job(other)
        return True

    with pytest.raises(OutputError, match="meanwhile"):
        run_job(first.replace(task=("extract_knowledge",)), confirm=confirm)
    assert books_of(output)["state"] == "done" and set(books_of(output)["tasks"]) == set(other.task)
    assert len(pd.read_parquet(output / "knowledge_list")) == len(DOCUMENTS)


def test_on_the_command_line(job, simulator, output, parquet, cli):
    """Without a terminal nobody can be asked: exit code 2 and one line; --yes goes ahead and tells all the same."""
    first = job(simulator, input=parquet(DOCUMENTS), **TASK)
    assert cli(*arguments(first)).exit_code == 0
    other = arguments(first.replace(task=("knowledge_list",)))
    result = cli(*other)
    [line] = result.stderr.splitlines()
    assert result.exit_code == 2 and line.startswith("nemocc-dask: ") and "--yes" in line
    assert "Going on removes the results of distill." in line
    result = cli(*other, "--yes")
    assert result.exit_code == 0 and "Going on removes the results of distill." in result.stderr
    assert not (output / "distill").exists() and len(pd.read_parquet(output / "knowledge_list")) == len(DOCUMENTS)


RECIPES = {"distill": "now"}
IDENTITY = {
    "model": "m",
    "tokenizer": "t",
    "overlong": "split",
    "text_field": "text",
    "tasks": {"distill": {"max_input_tokens": 100, "languages": []}},
}


@pytest.mark.parametrize(
    ("stored", "changes", "rows"),
    [
        ({("distill", "then"): 5}, {"model": "n"}, 5),
        ({("distill", "then"): 5, ("distill", "now"): 3}, {"model": "n"}, 2),
        ({("distill", "then"): 5, ("distill", "now"): 9}, {"model": "n"}, 0),
        ({("distill", "now"): 9}, {"input": []}, 0),
        ({("distill", "now"): 9}, {"tokenizer": "u"}, 9),
        ({("distill", "now"): 9}, {"overlong": "drop"}, 9),
        ({("distill", "now"): 9}, {"text_field": "body"}, 9),
        ({("distill", "now"): 9}, {"tasks": {"distill": {"max_input_tokens": 99, "languages": []}}}, 9),
        ({("distill", "now"): 9, ("diverse_qa", "now"): 7}, {"tokenizer": "u"}, 9),
        ({}, {"input": []}, 4),
    ],
    ids=[
        *("another recipe", "some are there", "all are there", "same recipe", "tokenizer", "overlong", "text"),
        *("budget", "another task", "the store is gone"),
    ],
)
def test_how_many_rows_may_be_paid_again(tmp_path, stored, changes, rows):
    """Answers by other recipes count, less those there by the present one; all where documents are cut elsewhere."""
    store, output = Store(str(tmp_path / "store")), Output(str(tmp_path / "out"))
    with store.attempt("earlier") as attempt:
        for (label, recipe), answers in stored.items():
            for number in range(answers):
                key = f"{len(recipe + label):016x}{number:016x}"
                attempt.append(key, Answer("Hi", "stop", "m", 7, 11, 1, 0.2, 0), label=label, recipe=recipe)
    earlier = {"identity": IDENTITY, "replaces": [], "tasks": {"distill": {"responses": 4 if not stored else 0}}}
    change = change_of(earlier, {**IDENTITY, **changes}, RECIPES, output=output, store=store)
    assert change.paid_again == {"distill": rows} and change.removed == ()
    assert change_of(earlier, IDENTITY, RECIPES, output=output, store=store) is None


# --- a crash meanwhile ------------------------------------------------------------------------------------------------


def test_a_crash_while_results_are_replaced(job, simulator, output, tmp_path, parquet):
    """Whoever finds a folder half-cleared goes on with it: nothing of the earlier run is taken for the new one's."""
    first = job(simulator, input=parquet(DOCUMENTS), task=("distill", "knowledge_list"), rows_per_partition=4)
    run_job(first)
    rejected, records = output / "_nemocc" / "rejected" / "distill", output / "_nemocc" / "parts"
    rejected.mkdir(parents=True, exist_ok=True)
    for number in range(1000, 6000):  # as of a large run: removing takes a while
        (rejected / f"part-{number:05d}.parquet").touch()
    second = first.replace(task=("distill",), temperature=0.9, yes=True)
    with start(arguments(second)) as process:
        wait_until(lambda: "replacing" in (output / "_nemocc" / "run.json").read_text()[:200])
        process.kill()
        process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    books = books_of(output)
    assert books["state"] == "replacing" and books["replaces"] == ["distill", "knowledge_list"]
    assert any(rejected.iterdir()) and (output / "knowledge_list").exists()
    records.mkdir(exist_ok=True)  # as if the crash had been sooner
    (records / "part-00001.json").write_text("a record of the earlier run")
    before, listener = quiet(simulator), Listener()
    books = run_job(second.replace(yes=False), progress=listener)
    assert listener.lines == [] and listener.parts == (6, 0)
    assert_accounted_for(output, books)
    assert quiet(simulator) - before == len(DOCUMENTS) and not (output / "knowledge_list").exists()
    run_job(second.replace(output=str(tmp_path / "fresh")))
    assert names_of(output) == names_of(tmp_path / "fresh")
    assert_same_results(output, tmp_path / "fresh", ("distill",))


def test_a_change_while_results_are_replaced(job, simulator, output, parquet):
    """A third job in a folder that a second had begun to clear removes what the first has left."""
    first = job(simulator, input=parquet(DOCUMENTS), **TASK)
    run_job(first)
    books = books_of(output)
    identity = {**books["identity"], "tasks": {}}
    (output / "_nemocc" / "run.json").write_text(
        json.dumps({**books, "identity": identity, "state": "replacing", "replaces": ["distill"]})
    )
    run_job(first.replace(task=("knowledge_list",), yes=True))
    assert not (output / "distill").exists() and books_of(output)["replaces"] == []
