"""Documents, results and answers on an object store: a real S3 server on loopback, and the real command."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from urllib.request import Request, urlopen

import fsspec
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem

from nemocc_dask import run_job
from nemocc_dask.errors import JobError
from nemocc_dask.io.files import find_files
from nemocc_dask.io.parts import plan_parts
from nemocc_dask.io.read import read_part
from nemocc_dask.io.scan import find_columns, find_repeated_ids
from nemocc_dask.io.streams import closing_streams
from nemocc_dask.llm import Answer, Store
from nemocc_dask.simulate import Simulator

from .jobs import COMMAND, arguments, assert_same_results, clean_documents, finish, quiet, start, wait_until

SECRET = "the-secret-of-this-bucket"
LONGEST_WAIT_S = 120.0
QUALITY = ["wikipedia_paraphrasing", "diverse_qa", "distill", "extract_knowledge", "knowledge_list"]


class Bucket(NamedTuple):
    """Where the tests' server keeps things: the environment that leads there, and a file system on it."""

    environment: dict[str, str]
    filesystem: Any

    def finish(self, words: list[str], **environment: str) -> Any:
        return finish(words, env={**self.environment, **environment}, timeout=LONGEST_WAIT_S)

    def fetch(self, url: str, folder: Path) -> Path:
        """A copy of all that is below an address."""
        self.filesystem.invalidate_cache()
        self.filesystem.get(f"{url}/", str(folder), recursive=True)
        return folder


def environment_of(url: str) -> dict[str, str]:
    """What a shell would have exported."""
    return {
        "AWS_ENDPOINT_URL": url,
        "AWS_ACCESS_KEY_ID": "tests",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
        "AWS_MAX_ATTEMPTS": "1",
    }


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Address of an S3 server."""
    running = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    yield f"http://{host}:{port}"
    running.stop()


@pytest.fixture
def bucket(server: str, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    """An empty bucket called `bucket`."""
    settings = environment_of(server)
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with urlopen(Request(f"{server}/moto-api/reset", method="POST")):
        filesystem = fsspec.filesystem("s3")
    filesystem.invalidate_cache()
    filesystem.mkdir("bucket")
    return Bucket({**os.environ, **settings}, filesystem)


def test_a_job_on_s3_is_the_local_one(bucket, job, simulator, corpus, tmp_path):
    """A job from S3 to S3 makes what it makes in folders; nothing that it writes or says holds the bucket's secret."""
    bucket.filesystem.put(f"{corpus}/", "s3://bucket/corpus/", recursive=True)
    run_job(job(simulator, output=str(tmp_path / "local")))
    on_s3 = job(simulator, input=("s3://bucket/corpus",), output="s3://bucket/out")
    remote = bucket.finish(arguments(on_s3))
    assert remote.returncode == 0, remote.stderr
    fetched = bucket.fetch("s3://bucket/out", tmp_path / "fetched")
    assert_same_results(tmp_path / "local", fetched, QUALITY)
    asked = quiet(simulator)
    again = bucket.finish(arguments(on_s3))
    assert "nothing was sent now" in again.stdout and quiet(simulator) == asked
    told = [remote.stdout, remote.stderr, again.stdout]
    contents = [file.read_bytes().decode("latin-1") for file in fetched.rglob("*") if file.is_file()]
    assert len(contents) > 10 and not any(SECRET in words for words in (*told, *contents))


def test_a_killed_job_on_s3_goes_on(bucket, job, simulate, tmp_path):
    """After SIGKILL the same command asks for nothing that had been put, loses no row, and ends as an unbroken run."""
    endpoint: Simulator = simulate(latency_s=0.1)
    frame = clean_documents(60)
    source = str(tmp_path / "in.parquet")
    frame.to_parquet(source)
    bucket.filesystem.put(source, "s3://bucket/in.parquet")
    usual = {"task": "distill", "max_concurrent_requests": 4, "rows_per_partition": 20}
    run_job(job(endpoint, input=(source,), output=str(tmp_path / "whole"), **usual))
    needed = quiet(endpoint)
    words = arguments(job(endpoint, input=("s3://bucket/in.parquet",), output="s3://bucket/out", **usual))
    store = Store("s3://bucket/out/_nemocc/responses")
    process = start(words, env=bucket.environment)
    try:
        wait_until(lambda: sum(store.remembers().values()) >= 5, LONGEST_WAIT_S)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    stored, before = sum(store.remembers().values()), quiet(endpoint)
    assert 5 <= stored < needed
    done = bucket.finish(words)
    assert done.returncode == 0, done.stderr
    assert quiet(endpoint) - before == needed - stored
    fetched = bucket.fetch("s3://bucket/out", tmp_path / "fetched")
    assert_same_results(tmp_path / "whole", fetched, ["distill"])
    assert set(pd.read_parquet(fetched / "distill")["id"]) == set(frame["id"])


def test_a_job_that_changed_makes_room_on_s3(bucket, job, simulator, tmp_path):
    """Where a job has changed, its shards on S3 are made anew, of answers that are stored there."""
    frame = clean_documents(12)
    source = str(tmp_path / "in.parquet")
    frame.to_parquet(source)
    there = {"input": (source,), "output": "s3://bucket/out", "task": "distill"}
    assert bucket.finish(arguments(job(simulator, **there, rows_per_partition=2))).returncode == 0
    asked = quiet(simulator)
    bucket.filesystem.invalidate_cache()
    assert len(bucket.filesystem.ls("bucket/out/distill")) == 6
    changed = bucket.finish(arguments(job(simulator, **there, rows_per_partition=12)))
    assert changed.returncode == 0 and "Answers that are paid for are used again" in changed.stderr, changed.stderr
    bucket.filesystem.invalidate_cache()
    assert len(bucket.filesystem.ls("bucket/out/distill")) == 1 and quiet(simulator) == asked


@pytest.fixture
def got(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Bytes of each object, or range of one, that is got from now on."""
    sizes: list[int] = []
    call = S3FileSystem._call_s3

    async def counted(self: Any, method: str, *words: Any, **how: Any) -> Any:
        reply = await call(self, method, *words, **how)
        sizes.extend([reply["ContentLength"]] if method == "get_object" else [])
        return reply

    monkeypatch.setattr(S3FileSystem, "_call_s3", counted)
    return sizes


@pytest.mark.parametrize("name", ["large.parquet", "large.jsonl"])
def test_no_more_is_got_than_is_read(bucket, tmp_path, got, name):
    """All partitions of a large file get it about once; the look for repeated ids gets no texts of a Parquet file."""
    rows = pa.table({"id": range(4000), "text": [os.urandom(1000).hex() for _ in range(4000)]})
    if name.endswith("parquet"):
        pq.write_table(rows, tmp_path / name, compression="none", use_dictionary=False)
    else:
        rows.to_pandas().to_json(tmp_path / name, orient="records", lines=True)
    bucket.filesystem.put(str(tmp_path / name), f"bucket/{name}")
    size = (tmp_path / name).stat().st_size
    parts = plan_parts([f"s3://bucket/{name}"], rows_per_partition=500)
    assert len(parts) == 8 and sum(got) < 0.05 * size
    found = find_columns(parts, id_field="id", text_field="text", score_field=None, carried=None, reserved=frozenset())
    got.clear()
    find_repeated_ids(parts, found)
    assert sum(got) < (0.1 if name.endswith("parquet") else 1.2) * size
    got.clear()
    with closing_streams():
        assert sum(len(read_part(part, found.schema)) for part in parts) == 4000
    assert sum(got) < 1.2 * size


def test_a_small_file_is_one_request(bucket, tmp_path, got):
    """Of files that share a partition each is got by one request."""
    for number in range(20):
        pq.write_table(pa.table({"id": [number], "text": ["a"]}), tmp_path / f"{number}.parquet")
        bucket.filesystem.put(str(tmp_path / f"{number}.parquet"), f"bucket/small/{number:02d}.parquet")
    [part] = plan_parts(find_files(["s3://bucket/small"]), rows_per_partition=500)
    got.clear()
    table = read_part(part, pa.schema([("id", pa.int64()), ("text", pa.string())]))
    assert table.column("id").to_pylist() == list(range(20)) and len(got) == 20


# --- trouble ----------------------------------------------------------------------------------------------------------


class Refusing(BaseHTTPRequestHandler):
    """Refuses everything, as S3 does for want of rights."""

    def do_GET(self) -> None:
        body = b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"
        self.send_response(403)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    do_HEAD = do_PUT = do_POST = do_GET  # noqa: N815 - names that the library asks for

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def refusing() -> Iterator[str]:
    """Address of a server that refuses everything."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def assert_one_line(done: Any, *words: str) -> None:
    """The command has ended with one line that says these words, and no traceback."""
    assert done.returncode in (1, 2), (done.stdout, done.stderr)
    assert "Traceback" not in done.stdout + done.stderr
    [line] = [line for line in done.stderr.splitlines() if line.startswith("nemocc-dask: ")]
    for each in words:
        assert each in line, line


def test_a_bucket_that_is_not_there(bucket, job, simulator, corpus):
    """An input or output in no bucket is told in one line, before anything is asked for."""
    read = bucket.finish(arguments(job(simulator, input=("s3://nowhere/corpus",))))
    assert_one_line(read, "s3://nowhere/corpus", "no file")
    written = bucket.finish(arguments(job(simulator, output="s3://nowhere/out")))
    assert_one_line(written, "s3://nowhere/out", "bucket does not exist")
    assert quiet(simulator) == 0


def test_a_store_makes_no_bucket(bucket):
    """A store in a bucket that is not there, such as one misspelt, says so when it is written, and makes none."""
    attempt = Store("s3://nowhere/responses").attempt("a")
    attempt.append("0" * 32, Answer("Hi", "stop", "m", 7, 11, 1, 0.2, 0), label="distill", recipe="r")
    with pytest.raises(JobError, match=r"s3://nowhere/responses/a\.00000\.jsonl .*bucket does not exist"):
        attempt.sync()
    assert not bucket.filesystem.exists("nowhere")
    bucket.filesystem.mkdir("nowhere")
    attempt.close()


def test_no_access(bucket, job, simulator, refusing):
    """An input or output that may not be read or written is told in one line, before anything is asked for."""
    read = bucket.finish(arguments(job(simulator, input=("s3://bucket/corpus",))), AWS_ENDPOINT_URL=refusing)
    assert_one_line(read, "s3://bucket/corpus")
    written = bucket.finish(arguments(job(simulator, output="s3://bucket/out")), AWS_ENDPOINT_URL=refusing)
    assert_one_line(written, "s3://bucket/out")
    assert quiet(simulator) == 0


def test_no_credentials(bucket, job, simulator):
    """Where nobody says who asks, that is told in one line."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del bucket.environment[name]
    there = {"HOME": "/nonexistent"}
    assert_one_line(bucket.finish(arguments(job(simulator, input=("s3://bucket/corpus",))), **there), "redentials")
    assert_one_line(bucket.finish(arguments(job(simulator, output="s3://bucket/out")), **there), "redentials")


@pytest.mark.parametrize("where", ["input", "output"])
def test_s3fs_is_not_installed(job, simulator, where, monkeypatch):
    """Without the library that speaks S3, one line says how to install it."""
    words = arguments(job(simulator, **{where: "s3://bucket/x" if where == "output" else ("s3://bucket/x",)}))
    without = [sys.executable, "-c", f"import sys; sys.modules['s3fs'] = None; {COMMAND[2]}"]
    monkeypatch.setattr("job.jobs.COMMAND", without)
    assert_one_line(finish(words), "s3://bucket/x", "pip install 'nemocc-dask[s3]'")
