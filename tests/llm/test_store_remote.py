"""The store on file systems that know no appending: segments, put beside the work."""

from __future__ import annotations

import json
import pickle
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from stored import ORIGIN, answer_of, begin_and_end, fill, key_of, left_open, texts, texts_afresh

from nemocc_dask.errors import JobError
from nemocc_dask.llm.store import Store
from nemocc_dask.llm.store import remote as remote_module

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)

WAIT_S = 20


@pytest.fixture(params=["memory", "dir"])
def store(request, tmp_path) -> Store:
    """A store on an fsspec file system that is not local: one in memory, and one of real files in disguise."""
    return Store(f"memory://{uuid.uuid4().hex}/responses" if request.param == "memory" else f"dir::file://{tmp_path}")


def files_of(store: Store) -> dict[str, bytes]:
    """All files of the store's folder, past all that the store knows."""
    filesystem, root = fsspec.core.url_to_fs(store.url)
    paths = filesystem.find(root) if filesystem.exists(root) else []
    return {path.rsplit("/", 1)[-1]: filesystem.cat_file(path) for path in paths}


def until(what: Callable[[], object]) -> None:
    """Wait for something that another thread is about to do."""
    end = time.monotonic() + WAIT_S
    while not what():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_is_appended_is_found_at_once_and_afterwards(store):
    """Answers are found before they are put, while more come, after they are put, and by a process that begins."""
    attempt = left_open(store.attempt("a"))
    fill(attempt, range(3))
    assert files_of(store) == {}
    assert texts(store, range(9)) == {0: "0", 1: "1", 2: "2"}
    attempt.sync()
    fill(attempt, [3])
    assert {name: content.count(b"\n") for name, content in files_of(store).items()} == {"a.00000.jsonl": 3}
    assert texts(store, range(9)) == {name: str(name) for name in range(4)}
    assert texts_afresh(store.url, range(9)) == {0: "0", 1: "1", 2: "2"}
    attempt.close()
    assert sorted(files_of(store)) == ["a.00000.jsonl", "a.index"]
    assert texts_afresh(store.url, range(9)) == texts(store, range(9)) == {name: str(name) for name in range(4)}
    assert store.spent("a") == Store(store.url).spent("")
    assert store.remembers() == {("distill", "r"): 4}


def test_segments_without_a_sidecar(store, monkeypatch):
    """Of a process that was killed, the segments it has put are found, whatever is torn or missing."""
    monkeypatch.setattr(remote_module, "SEGMENT_S", 0.0)
    for start in (0, 10, 20):
        attempt = left_open(store.attempt(f"a-{start}"))
        for name in range(start, start + 10, 2):
            fill(attempt, [name, name + 1])
            attempt.sync()
    assert len(files_of(store)) == 15
    filesystem, root = fsspec.core.url_to_fs(store.url)
    torn = f"{root}/a-0.00000.jsonl"
    filesystem.pipe_file(torn, filesystem.cat_file(torn)[:-1])
    filesystem.rm(f"{root}/a-10.00000.jsonl")
    there = set(range(30)) - {1, 10, 11}
    assert texts_afresh(store.url, range(30)) == {name: str(name) for name in sorted(there)}
    assert store.remembers() == {("distill", "r"): len(there)}


@pytest.mark.parametrize("what", ["seconds", "bytes"])
def test_segments_are_put_beside_the_work(store, monkeypatch, what):
    """What is gathered is put after some time, or when it is much, without anybody asking."""
    monkeypatch.setattr(remote_module, "PUT_S", 0.02 if what == "seconds" else 1e6)
    monkeypatch.setattr(remote_module, "SEGMENT_BYTES", 1000 if what == "bytes" else 10**9)
    attempt = left_open(store.attempt("a"))
    fill(attempt, range(10))
    until(lambda: sum(content.count(b"\n") for content in files_of(store).values()) >= (10 if what == "seconds" else 3))
    assert texts(store, range(10)) == {name: str(name) for name in range(10)}
    attempt.close()
    assert texts_afresh(store.url, range(10)) == {name: str(name) for name in range(10)}


def test_a_segment_grows(store, monkeypatch):
    """Answers that come slowly are put soon, and make one file; another process finds them each time it looks."""
    monkeypatch.setattr(remote_module, "PUT_S", 0.02)
    attempt, other = left_open(store.attempt("a")), Store(store.url + "/")
    for number in range(5):
        fill(attempt, [number])
        until(lambda: texts_afresh(store.url, range(9)).keys() == set(range(number + 1)))  # noqa: B023
        assert store.spent("a")["distill"].responses == other.spent("a")["distill"].responses == number + 1
    assert list(files_of(store)) == ["a.00000.jsonl"]
    attempt.close()
    assert texts_afresh(store.url, range(9)) == {name: str(name) for name in range(5)}


def test_nothing_new_is_not_put_again(store, monkeypatch):
    """While nothing comes in, nothing is put."""
    monkeypatch.setattr(remote_module, "PUT_S", 0.01)
    attempt = left_open(store.attempt("a"))
    fill(attempt, [1])
    until(lambda: files_of(store))
    filesystem, root = fsspec.core.url_to_fs(store.url)
    filesystem.rm(f"{root}/a.00000.jsonl")
    time.sleep(0.1)
    assert files_of(store) == {}
    fill(attempt, [2])
    until(lambda: files_of(store))
    assert texts_afresh(store.url, range(3)) == {1: "1", 2: "2"}


def test_a_part_without_answers_leaves_nothing(store):
    """An attempt that answers nothing puts nothing and starts no thread."""
    before = threading.active_count()
    with store.attempt("a"):
        assert threading.active_count() == before
    assert files_of(store) == {}


def test_an_attempt_leaves_no_thread(store):
    """The thread that puts segments ends with the attempt."""
    with store.attempt("a-0") as attempt:
        fill(attempt, [1])
        assert "nemocc-store-a-0" in {thread.name for thread in threading.enumerate()}
    assert "nemocc-store-a-0" not in {thread.name for thread in threading.enumerate()}


def test_a_url_travels_as_it_is():
    """A store on an object store pickles as its URL."""
    store = Store("memory://bucket/responses")
    assert pickle.loads(pickle.dumps(store)).url == store.url == "memory://bucket/responses"


# --- trouble ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def blocked(tmp_path) -> tuple[Store, Path]:
    """A store whose folder cannot be made as long as a file stands in its way."""
    store = Store(f"dir::file://{tmp_path}/out")
    obstacle = tmp_path / "out"
    obstacle.write_text("a file")
    return store, obstacle


def test_trouble_beside_the_work_comes_up(blocked, monkeypatch):
    """A put that fails is told by the next append, sync and close; once it can be put, nothing has been lost."""
    monkeypatch.setattr(remote_module, "PUT_S", 0.02)
    store, obstacle = blocked
    attempt = left_open(store.attempt("a"))
    fill(attempt, [0])
    names = iter(range(1, 10**6))
    told, said = [], None
    while said is None:
        told.append(next(names))
        assert len(told) < WAIT_S / 0.005
        time.sleep(0.005)
        try:
            fill(attempt, told[-1:])
        except JobError as error:
            said = str(error)
    assert said.startswith(f"The store's file {store.url}/a.00000.jsonl cannot be written: ")
    assert "\n" not in said and "run the same command again: nothing that is stored is asked for again" in said
    for again in (attempt.sync, attempt.close, attempt.close):
        with pytest.raises(JobError, match="cannot be written"):
            again()
    obstacle.unlink()
    attempt.close()
    assert texts_afresh(store.url, [0, *told]) == {name: str(name) for name in [0, *told]}
    assert store.remembers() == {("distill", "r"): 1 + len(told)}


def test_trouble_that_passes(blocked, monkeypatch):
    """After a put has succeeded again, appends raise no more."""
    monkeypatch.setattr(remote_module, "PUT_S", 1e6)
    store, obstacle = blocked
    attempt = left_open(store.attempt("a"))
    fill(attempt, [0])
    with pytest.raises(JobError):
        attempt.sync()
    with pytest.raises(JobError):
        fill(attempt, [1])
    obstacle.unlink()
    attempt.sync()
    fill(attempt, [2])
    attempt.close()
    assert texts_afresh(store.url, range(3)) == {0: "0", 1: "1", 2: "2"}


class Slow(MemoryFileSystem):
    """A file system that puts nothing until it is let."""

    protocol = "slow"
    let = threading.Event()
    begun = threading.Event()

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("slow://", "memory://"))

    def pipe_file(self, path, value, **how):
        self.begun.set()
        assert self.let.wait(WAIT_S)
        super().pipe_file(path, value, **how)


def test_appending_waits_for_no_put(monkeypatch):
    """While a segment is on its way, answers are appended and found as before."""
    monkeypatch.setattr(remote_module, "SEGMENT_BYTES", 1000)
    fsspec.register_implementation("slow", Slow, clobber=True)
    store = Store(f"slow://{uuid.uuid4().hex}")
    attempt = left_open(store.attempt("a"))
    Slow.let.clear()
    try:
        fill(attempt, range(10))
        assert Slow.begun.wait(WAIT_S)
        fill(attempt, range(10, 100))
        assert files_of(store) == {}
        assert texts(store, range(100)) == {name: str(name) for name in range(100)}
    finally:
        Slow.let.set()
    attempt.close()
    assert texts_afresh(store.url, range(100)) == {name: str(name) for name in range(100)}


class OutOfOrderError(Exception):
    """As some vendors have: of no kind that Python knows."""


class Strange(MemoryFileSystem):
    """A file system that can be put out of order, and that remembers what it has listed."""

    protocol = "strange"
    out_of_order = ""

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.replace("strange://", "memory://"))

    def ls(self, path, detail=True, **how):
        self._work("ls")
        path = self._strip_protocol(path)
        if path not in self.dircache:
            self.dircache[path] = super().ls(path, detail=True, **how)
        return self.dircache[path] if detail else [entry["name"] for entry in self.dircache[path]]

    def invalidate_cache(self, path=None):
        self.dircache.clear()

    def cat_file(self, path, start=None, end=None, **how):
        self._work("cat_file")
        return super().cat_file(path, start, end, **how)

    def pipe_file(self, path, value, **how):
        self._work("pipe_file")
        super().pipe_file(path, value, **how)

    def _work(self, verb):
        if verb == Strange.out_of_order:
            raise OutOfOrderError("no\nluck")


@pytest.fixture
def strange(monkeypatch) -> Callable[[str], None]:
    """Puts a verb of the strange file system out of order; "" puts all in order again."""
    fsspec.register_implementation("strange", Strange, clobber=True)
    monkeypatch.setattr(Strange, "out_of_order", "")
    return lambda verb: monkeypatch.setattr(Strange, "out_of_order", verb)


def test_errors_of_any_file_system_stop_the_job(strange, monkeypatch):
    """Whatever kind of error a file system has, it is told in one line, as an error of the job."""
    monkeypatch.setattr(remote_module, "SEGMENT_S", 0.0)  # what is put is forgotten, and has to be got
    store = Store(f"strange://{uuid.uuid4().hex}")
    attempt = left_open(store.attempt("a"))
    fill(attempt, [1])
    strange("pipe_file")
    with pytest.raises(JobError, match=r"/a\.00000\.jsonl cannot be written: no luck\. Mend that"):
        attempt.sync()
    strange("ls")
    with pytest.raises(JobError, match=rf"^The store's {store.url} cannot be read: no luck\. .*pay again"):
        texts(store, [1])
    strange("")
    attempt.sync()
    assert texts(store, [1]) == {1: "1"}
    strange("cat_file")
    with pytest.raises(JobError, match=r"/a\.00000\.jsonl cannot be read: no luck\. .*pay again"):
        texts(store, [1])  # known, and to be got
    for ask in (lambda: texts_afresh(store.url, [1]), lambda: store.spent("a")):
        with pytest.raises(JobError, match=r"/a\.00000\.jsonl cannot be read: no luck\. .*pay again"):
            ask()
    strange("")


def test_what_a_file_system_remembers_is_not_believed(strange):
    """A file system that remembers what it has listed does not keep a process from seeing what has come since."""
    store = Store(f"strange://{uuid.uuid4().hex}")
    for name in range(3):
        with store.attempt(f"a-{name}") as attempt:
            fill(attempt, [name])
        assert store.remembers() == {("distill", "r"): name + 1}
        assert texts_afresh(store.url, range(3)) == {each: str(each) for each in range(name + 1)}


def test_lines_are_the_same_everywhere(store, tmp_path):
    """Segments have the lines that a local file has: a store can be copied from one kind to the other."""
    answer = answer_of("Grüße\n", reasoning="Hm.")
    local = Store(str(tmp_path / "local"))
    for each in (store, local):
        with each.attempt("a") as attempt:
            attempt.append(key_of(1), answer, **ORIGIN)
    for name, content in files_of(store).items():
        (tmp_path / "copied").mkdir(exist_ok=True)
        (tmp_path / "copied" / name).write_bytes(content)
    remote, here = (
        json.loads(file.read_bytes())
        for file in (tmp_path / "copied" / "a.00000.jsonl", tmp_path / "local" / "a.jsonl")
    )
    assert {**remote, "at": 0} == {**here, "at": 0}
    assert texts_afresh(tmp_path / "copied", [1]) == {1: "Grüße\n"}
    assert Store(str(tmp_path / "copied")).spent("a") == local.spent("a")
