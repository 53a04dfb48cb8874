"""Who writes to a store and who reads it: attempts, threads, processes."""

from __future__ import annotations

import os
import pickle
import threading
from pathlib import Path

import pytest
from stored import begin_and_end, fill, key_of, left_open, lines_of, python, texts, texts_afresh

from nemocc_dask.errors import CallerError, JobError, SettingError
from nemocc_dask.llm.store import Store, index
from nemocc_dask.llm.store.index import KEPT_INDEXES, forget_indexes

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "responses"))


def test_no_file_before_the_first_answer(store):
    """Attempts that answer nothing leave nothing, not even the folder."""
    with store.attempt("a") as attempt:
        attempt.sync()
        assert attempt.find([key_of(1)]) == {}
    assert not Path(store.url).exists()


def test_an_attempt_finds_what_others_of_the_process_append(store):
    """What one attempt appends all others of the process find at once, before and after it ends."""
    one, other = store.attempt("one"), Store(store.url).attempt("other")
    assert texts(other, [1]) == {}
    fill(one, [1])
    assert texts(other, [1]) == texts(one, [1]) == texts(store, [1]) == {1: "1"}
    one.close()
    assert texts(other, [1]) == {1: "1"}


def test_an_attempt_ends_once(store):
    """To close again does nothing; what is appended after that is refused, and told."""
    with store.attempt("a") as attempt:
        fill(attempt, range(3))
    before = {file: file.read_bytes() for file in Path(store.url).iterdir()}
    attempt.close()
    attempt.sync()
    with pytest.raises(CallerError, match="'a' is closed"):
        fill(attempt, [9])
    assert {file: file.read_bytes() for file in Path(store.url).iterdir()} == before
    assert sorted(file.name for file in before) == ["a.index", "a.jsonl"]


def test_a_name_is_given_once(store):
    """A second writer of one name is refused with its first answer: two would tear each other's lines."""
    with store.attempt("a") as attempt:
        fill(attempt, [1])
        with pytest.raises(CallerError, match="name of its own"):
            fill(store.attempt("a"), [2])
    assert len(lines_of(Path(store.url))) == 1


@pytest.mark.parametrize("name", ["", "a.b", "a/b", "../a", "-a", "a b", "a\n"])
def test_names_that_are_no_file_names(store, name):
    """The name of an attempt is the beginning of file names, up to the first dot."""
    with pytest.raises(CallerError, match="cannot be called"):
        store.attempt(name)


def test_a_relative_folder_is_the_same_on_a_worker(tmp_path, monkeypatch):
    """A store that travels to a process in another folder still means the folder it meant where it was made."""
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    store = Store("responses")
    travelled = pickle.dumps(store)
    monkeypatch.chdir(tmp_path / "there")
    with pickle.loads(travelled).attempt("a") as attempt:
        fill(attempt, [1])
    assert (tmp_path / "here" / "responses" / "a.jsonl").exists()
    assert texts(store, [1]) == {1: "1"}


def test_an_address_that_nobody_serves(tmp_path):
    """A URL of an unknown kind is the caller's mistake, and named."""
    with pytest.raises(SettingError, match=r"'nowhere://a' cannot be reached: .*nowhere"):
        Store("nowhere://a")


def test_threads_find_while_another_appends(store):
    """What was appended before a search begins is found by it, while more is appended, packed and looked for."""
    appended, wrong, done = 0, [], threading.Event()

    def search():
        while not done.is_set():
            count = appended
            found = texts(store, range(count))
            if found != {name: str(name) for name in range(count)}:
                wrong.append((count, len(found)))

    threads = [threading.Thread(target=search) for _ in range(4)]
    for thread in threads:
        thread.start()
    for start in range(0, 1200, 100):
        with store.attempt(f"part-{start}") as attempt:
            for name in range(start, start + 100):
                fill(attempt, [name])
                appended = name + 1
    done.set()
    for thread in threads:
        thread.join()
    assert not wrong


FORKED = """
    import os, sys
    from nemocc_dask.errors import CallerError
    from nemocc_dask.llm.store import Store
    from stored import fill, texts

    store = Store(sys.argv[1])
    parent = store.attempt("parent")
    fill(parent, [1])
    assert texts(store, [1]) == {1: "1"}
    ready, go_on = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.read(ready, 1)
            assert texts(store, [1, 4]) == {1: "1", 4: "4"}
            try:
                fill(parent, [2])
            except CallerError as error:
                assert "of another process" in str(error)
            else:
                raise AssertionError
            parent.close()
            assert os.listdir(store.url) == ["parent.jsonl"]
            with store.attempt("child") as own:
                fill(own, [3])
        except BaseException as error:
            print(repr(error), flush=True)
        os._exit(0)
    fill(parent, [4])
    os.write(go_on, b".")
    os.waitpid(child, 0)
    parent.close()
    print(sorted(os.listdir(store.url)))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_begins_afresh(store):
    """A child finds what is stored and writes attempts of its own; it keeps away from those of its parent."""
    assert python(FORKED, store.url) == "['child.index', 'child.jsonl', 'parent.index', 'parent.jsonl']\n"
    assert texts_afresh(store.url, range(5)) == {1: "1", 3: "3", 4: "4"}


def test_what_other_processes_write_meanwhile(store, monkeypatch):
    """A process that looked before finds what others have stored since, by sidecars and in files that still grow."""
    monkeypatch.setattr("nemocc_dask.llm.store.index.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("nemocc_dask.llm.store.index.LOOKING_SHARE", 1e9)
    ours = left_open(store.attempt("ours"))
    fill(ours, [0])
    forget_indexes()  # from here on as another process
    with Store(store.url).attempt("other") as other:
        for name in range(1, 5):
            fill(other, [name])
            assert texts(ours, range(9)) == {each: str(each) for each in range(name + 1)}
    with Store(store.url).attempt("third") as third:
        fill(third, [5])
    assert texts(ours, range(9)) == {each: str(each) for each in range(6)}


def test_a_process_remembers_few_stores(tmp_path):
    """A process that serves many runs gives up indexes of stores long gone; what is looked for again is found."""
    stores = [Store(str(tmp_path / str(number))) for number in range(2 * KEPT_INDEXES)]
    attempts = [left_open(store.attempt("a")) for store in stores]
    for attempt in attempts:
        fill(attempt, [1])
    assert all(texts(store, [1]) == {1: "1"} for store in stores)
    assert all(texts(attempt, [1]) == {1: "1"} for attempt in attempts)
    assert len(index._indexes) == KEPT_INDEXES


@pytest.mark.parametrize("what", ["the folder", "a file"])
def test_a_store_that_cannot_be_read(tmp_path, what):
    """What cannot be read stops the job: to go on would be to pay again."""
    blocked = tmp_path / "responses" / ("" if what == "the folder" else "a.jsonl")
    if what == "the folder":
        blocked.write_text("a file")
    else:
        blocked.mkdir(parents=True)
    store = Store(str(tmp_path / "responses"))
    for ask in (lambda: store.find([key_of(1)]), lambda: store.spent("a"), store.remembers):
        with pytest.raises(JobError, match=rf"{blocked} cannot be read: .*directory.* pay again") as raised:
            ask()
        assert "\n" not in str(raised.value)


def test_a_name_without_a_file_is_no_trouble(store):
    """A file that goes while the folder is listed does not hide the others."""
    with store.attempt("a") as attempt:
        fill(attempt, [1])
    (Path(store.url) / "b.jsonl").symlink_to(Path(store.url) / "gone")
    assert texts_afresh(store.url, [1]) == {1: "1"}
