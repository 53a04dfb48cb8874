"""A distinctive key is sent to the endpoint and found nowhere else; a key that is refused stops the job at once."""

from __future__ import annotations

import base64
import logging
import pickle
import re
import threading
import time
import traceback
import urllib.parse
import urllib.request
from collections import Counter
from pathlib import Path

import cloudpickle
import dask.dataframe as dd
import distributed
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from corpora import corpus
from job.jobs import arguments, books_of, clean_documents, start, wait_until
from scripted import Reply, chat, document_in, error

from nemocc_dask.cli import nemocc
from nemocc_dask.errors import EndpointRefusedError
from nemocc_dask.job import run_job
from nemocc_dask.llm import Store, check_endpoint, runtime
from nemocc_dask.llm.access import Access
from nemocc_dask.settings import GenerationConfig, Job
from nemocc_dask.synthesize import Recipe

KEY = "canary~7h1s/15+7he=k3y"
VARIABLE = "CANARY_KEY"
WINDOW = 8


# --- the search -------------------------------------------------------------------------------------------------------


def forms(key):
    """A key as it is, as addresses write it, in hexadecimal digits, and in base64 wherever in a text it stands."""
    plain = key.encode()
    shifted = (base64.b64encode(b"x" * shift + plain).decode() for shift in range(3))
    # The first and the last characters of base64 depend on what stands before and after.
    inner = [re.sub("=+$", "", code)[4:-4] for code in shifted]
    return [plain, urllib.parse.quote(key, safe="").encode(), plain.hex().encode(), *(each.encode() for each in inner)]


def is_in(what, key=KEY):
    """Whether the key is in bytes, in a text, or in the repr of anything else."""
    words = what if isinstance(what, bytes) else (what if isinstance(what, str) else repr(what)).encode()
    return any(form in words for form in forms(key))


def files_with_it(folder, key=KEY):
    """Names of the files below a folder in whose bytes, or, of Parquet, in whose columns the key is."""
    paths = [path for path in Path(folder).rglob("*") if path.is_file()]
    return [str(path) for path in paths if is_in(path.read_bytes(), key) or is_in(_columns(path), key)]


def _columns(path):
    return pq.read_table(path).to_pydict() if path.suffix == ".parquet" else {}


def command_lines():
    """What every process was started with, as anybody on the machine may read it."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            lines.append(path.read_bytes())
        except OSError:  # it has ended
            continue
    return lines


def as_it_is(key):
    return key


def quoted(key):
    return urllib.parse.quote(key, safe="")


def in_base64(key):
    return base64.b64encode(f"user:{key}".encode()).decode()


@pytest.mark.parametrize("write", [as_it_is, quoted, in_base64])
def test_the_search_finds_what_was_planted(tmp_path, write):
    """In bytes, in a compressed column, in a text, in the repr of an object and in a pickle, in each form."""
    planted = write(KEY)
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "a.json").write_text('{"api_key_env": "CANARY_KEY"}')
    assert files_with_it(tmp_path) == [] and not is_in({"a": "b"})
    (tmp_path / "clean" / "a.log").write_bytes(b"\xff\x00" + planted.encode() + b"\x00")
    table = pa.table({"a": [f"{number} {planted}" for number in range(99)]})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", use_dictionary=False)
    assert sorted(Path(name).name for name in files_with_it(tmp_path)) == ["a.log", "a.parquet"]
    assert is_in(f"Sent {planted}.") and is_in({"a": [planted]}) and is_in(pickle.dumps({"a": planted}))


# --- an endpoint that repeats the key it gets -------------------------------------------------------------------------


def drawn(document):
    """A number from 0 to 99 that depends on the document alone."""
    return sum(document.encode()) % 100


def loud(scripted, delay_s=0.0):
    """Has the endpoint refuse, fail and write nonsense now and then, with the key in its words each time."""

    def reply(body):
        key, number = scripted.headers[-1].get("Authorization", "none"), drawn(document_in(body))
        if number < 10:
            return error(400, f"bad {key} {base64.b64encode(KEY.encode()).decode()}")
        if number < 20:
            return error(503, f"busy {key} {quoted(KEY)}")
        if number < 30:
            return Reply(200, {"error": {"message": f"nonsense {key}"}}, delay_s=delay_s)
        return chat(f"An answer. {document_in(body)}", delay_s=delay_s)

    scripted.reply = reply


@pytest.fixture
def key(monkeypatch):
    monkeypatch.setenv(VARIABLE, KEY)
    return KEY


@pytest.fixture
def job(scripted, tmp_path, tokenizer_file):
    """Makes a job on some documents at the scripted endpoint, with the key in its variable."""

    def make(rows=40, **settings):
        clean_documents(rows).to_parquet(tmp_path / "in.parquet")
        usual = {
            "input": str(tmp_path / "in.parquet"), "output": str(tmp_path / "out"), "task": "distill", "model": "m",
            "base_url": scripted.endpoint().base_url, "tokenizer": str(tokenizer_file), "rows_per_partition": 10,
            "api_key_env": VARIABLE, "base_delay": 0.01, "max_retries": 1, "max_concurrent_requests": WINDOW,
            "threads_per_worker": 1,
        }  # fmt: skip
        return Job(**usual | settings)

    return make


def assert_sent(scripted):
    assert scripted.headers and {headers.get("Authorization") for headers in scripted.headers} == {f"Bearer {KEY}"}


def test_a_command_shows_the_key_nowhere(scripted, job, key, tmp_path, monkeypatch):
    """Neither its files nor its lines and those of its workers, at their loudest, nor any process's arguments."""
    loud(scripted, delay_s=0.02)
    monkeypatch.setenv("DASK_LOGGING__DISTRIBUTED", "debug")
    monkeypatch.setenv("DASK_TEMPORARY_DIRECTORY", str(tmp_path / "scratch"))
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    lines = set()
    with (tmp_path / "stdout").open("w") as out, (tmp_path / "stderr").open("w") as err:
        process = start(arguments(job(workers=2)), stdout=out, stderr=err)
        while process.poll() is None:
            lines.update(command_lines())
            time.sleep(0.1)
    out, err = ((tmp_path / name).read_text() for name in ("stdout", "stderr"))
    assert process.returncode == 3, err  # rows failed, as they were to
    assert_sent(scripted)
    assert sum(b"multiprocessing" in line for line in lines) >= 2 and not any(map(is_in, lines))
    assert "nemocc" in out and "distributed" in err and not is_in(out) and not is_in(err)
    assert files_with_it(tmp_path) == []
    failed = pd.read_parquet(tmp_path / "out" / "_nemocc" / "rejected" / "distill")
    assert failed["detail"].str.contains(r"\[key\]").sum() >= 3


PAGES = (
    *("/info/main/workers.html", "/info/logs.html", "/info/call-stacks/x.html", "/info/main.html"),
    *("/json/identity.json", "/json/counts.json", "/metrics", "/status", "/individual-plots.json"),
)


def pages_of(client):
    """What the web pages of a cluster show of scheduler, workers and tasks."""
    info = client.scheduler_info()
    worker, what = next(iter(info["workers"].items()))
    tasks = client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.tasks))
    of_tasks = [f"/info/task/{urllib.parse.quote(str(task), safe='')}.html" for task in tasks]
    own = [f"/info/{kind}/{urllib.parse.quote(worker, safe='')}.html" for kind in ("worker", "call-stack", "logs")]
    here, there = (f"http://127.0.0.1:{each['services']['dashboard']}" for each in (info, what))
    pages = {}
    for address in (*(here + page for page in (*PAGES, *of_tasks, *own)), *(there + page for page in PAGES)):
        try:
            with urllib.request.urlopen(address, timeout=10) as page:
                pages[address] = page.read()
        except OSError:  # not every page is there in every version
            continue
    return pages


def test_a_cluster_shows_the_key_nowhere(scripted, job, key, caplog, monkeypatch, tmp_path):
    """Nor do its web pages, what its scheduler holds of tasks, or this process's own logs at their loudest."""
    caplog.set_level(logging.DEBUG)
    for name in ("aiohttp", "asyncio", "nemocc_dask", "distributed"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
        caplog.set_level(logging.DEBUG, logger=name)
    monkeypatch.setenv("PYTHONASYNCIODEBUG", "1")
    loud(scripted, delay_s=0.05)
    running = threading.Thread(target=run_job, args=(job(),))
    running.start()
    try:
        wait_until(lambda: len(scripted.bodies) > 5)
        client = distributed.default_client()
        held = client.run_on_scheduler(
            lambda dask_scheduler: cloudpickle.dumps([task.run_spec for task in dask_scheduler.tasks.values()])
        )
        pages = pages_of(client)
    finally:
        running.join(60)
    assert_sent(scripted)
    assert VARIABLE.encode() in held and not is_in(held)
    assert len(pages) > 8 and any(b"nemocc" in page for page in pages.values())
    assert [address for address, page in pages.items() if is_in(page)] == []
    assert len(caplog.records) > 20 and not is_in(caplog.text)
    assert not any(is_in(record.__dict__) for record in caplog.records)
    assert files_with_it(tmp_path) == []


def test_a_notebook_s_graph_shows_the_key_nowhere(scripted, key, tokenizer, tmp_path):
    """A chain's pickle, graph and drawing, computed or not, hold the variable's name alone, and so do its results."""
    loud(scripted)
    endpoint = scripted.endpoint(api_key_env=VARIABLE, headers={"X-Key": f"env:{VARIABLE}"}, max_retries=0)
    documents = dd.from_pandas(corpus(8), npartitions=2)
    settings = {"endpoint": endpoint, "tokenizer": tokenizer, "store": str(tmp_path / "store")}
    chains = [
        documents.nemocc.preprocess("distill", tokenizer=tokenizer).nemocc.generate("distill", **settings),
        documents.nemocc.synthesize("distill", **settings),
    ]
    for _ in ("built", "computed"):
        for frame in chains:
            shown = (cloudpickle.dumps(frame), cloudpickle.dumps(frame.optimize()), cloudpickle.dumps(dict(frame.dask)))
            assert all(VARIABLE.encode() in each for each in shown)
            assert not any(map(is_in, (*shown, repr(frame), frame.expr.tree_repr(), repr(dict(frame.dask)))))
            if scripted.bodies:
                assert not is_in(cloudpickle.dumps(frame.compute()))
            else:
                frame.compute()
    assert_sent(scripted)
    assert files_with_it(tmp_path) == [] and list((tmp_path / "store").iterdir())


def test_nothing_that_is_alive_shows_the_key(scripted, job, key, tokenizer):
    """Settings, what is made of them, and the engine's parts tell neither in their repr nor in their pickle."""
    endpoint = scripted.endpoint(api_key_env=VARIABLE)
    check_endpoint(endpoint)
    (access,), engine = Access.to(endpoint), runtime.current_runtime()
    assert is_in(access.headers)  # there it is: what is looked at below could show it
    recipe = Recipe(tokenizer=tokenizer, endpoint=endpoint, config=GenerationConfig())
    settings = (endpoint, job(), job().endpoint(), GenerationConfig(), recipe)
    parts = (access, engine, engine.gate(endpoint), engine.session(access), engine.loop, engine.thread)
    for each in (*settings, *parts):
        assert not is_in(repr(each)) and not is_in(str(each))
    for each in settings:
        assert not is_in(cloudpickle.dumps(each))
    assert not any(is_in(repr(task)) for task in threading.enumerate())


# --- a key that is refused --------------------------------------------------------------------------------------------


def everything_about(failure):
    """What a log, a debugger or another process could see of an error, local variables included."""
    told = traceback.TracebackException.from_exception(failure, capture_locals=True)
    told.stack[:] = [frame for frame in told.stack if frame.filename != __file__]  # these know the key
    assert any("nemocc_dask" in frame.filename and frame.locals for frame in told.stack)
    return "".join(told.format()) + repr(failure) + repr(vars(failure)) + repr(pickle.dumps(failure))


def test_an_error_shows_the_key_nowhere(scripted, simulate, job, key):
    """Refused at the first look, or by an endpoint that repeats the key: however closely the error is looked at."""
    scripted.reply = lambda body: error(401, f"who is {scripted.headers[-1]['Authorization']} {quoted(KEY)}?")
    strict = simulate(api_key="other")
    for refusing in (job(base_url=strict.base_url, model="simulated"), job()):
        with pytest.raises(EndpointRefusedError, match="401") as failure:
            run_job(refusing)
        assert not is_in(everything_about(failure.value))
    assert strict.stats()["requests"] == 0 and scripted.bodies


def run(job):
    return CliRunner().invoke(nemocc, arguments(job), prog_name="nemocc-dask")


def assert_refused_in_one_line(done):
    lines = [line for line in done.stderr.splitlines() if line.startswith("nemocc-dask:")]
    assert done.exit_code == 1 and len(lines) == 1 and VARIABLE in lines[0] and "401" in lines[0]
    assert "Traceback" not in done.output + done.stderr


def test_a_wrong_key_ends_a_job_before_it_begins(simulate, job, key):
    """Where the endpoint says so at the first look, not one request is paid for or sent."""
    strict = simulate(api_key="other")
    done = run(job(base_url=strict.base_url, model="simulated"))
    assert_refused_in_one_line(done)
    assert strict.stats()["requests"] == 0


@pytest.mark.parametrize("threads", [1, 4])
def test_a_wrong_key_ends_a_job_within_one_window(scripted, job, key, tmp_path, threads):
    """Where the endpoint lets anybody look, one window of requests is refused at most, and the books say why."""
    # Time enough for all partitions that are worked on at once to wait for a place on the wire.
    scripted.reply = lambda body: error(401, "no", delay_s=0.3)
    assert_refused_in_one_line(run(job(rows=60, threads_per_worker=threads)))
    assert 1 <= len(scripted.bodies) <= WINDOW
    books = books_of(tmp_path / "out")
    assert books["state"] == "stopped" and VARIABLE in books["error"] and books["spent"]["responses"] == 0


def test_a_key_that_is_revoked_stops_a_job_that_goes_on_later(scripted, job, key, tmp_path):
    """What was answered until then is stored, the state says stopped, and with a good key only the rest is asked."""
    answered = Counter()

    def reply(body):
        if len(scripted.bodies) > 100:
            return error(401, "revoked", delay_s=0.05)
        answered[document_in(body)] += 1
        return chat(f"Paraphrased Text: {document_in(body)}", delay_s=0.01)

    scripted.reply = reply
    assert_refused_in_one_line(run(job(rows=200)))
    assert len(scripted.bodies) - len(answered) <= WINDOW and len(answered) == 100
    books = books_of(tmp_path / "out")
    assert books["state"] == "stopped" and books["spent"]["responses"] == 100
    stored = Store(str(tmp_path / "out" / "_nemocc" / "responses"))
    assert stored.spent("")["distill"].responses == 100

    scripted.reply = lambda body: answered.update([document_in(body)]) or chat(f"Paraphrased Text: {document_in(body)}")
    done = run(job(rows=200))
    assert done.exit_code == 0, done.stderr
    assert set(answered.values()) == {1} and len(answered) == 200
    assert len(pd.read_parquet(tmp_path / "out" / "distill")) == 200
