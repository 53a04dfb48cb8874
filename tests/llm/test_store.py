"""What is put into the store is found again, by whoever looks, in whatever state the store is."""

from __future__ import annotations

import json
import os
import pickle
import threading
import time
from dataclasses import fields, replace
from pathlib import Path

import pytest
from stored import ORIGIN, answer_of, begin_and_end, fill, key_of, left_open, lines_of, python, texts, texts_afresh

from nemocc_dask.errors import CallerError, JobError, SettingError
from nemocc_dask.llm.results import Answer
from nemocc_dask.llm.store import Spent, Store
from nemocc_dask.llm.store.index import KEPT_INDEXES, forget_indexes

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "responses"))


# --- lines ------------------------------------------------------------------------------------------------------------

ODD = 'a "quoted" \\ back\\slash\nline\r\nline\x00\x1f\x7f \u2028 \x85 ü 日本 👩‍🚀 \ufffd {"key":"' + "0" * 32

WHOLE = Answer(ODD, "stop", f"org/model {ODD}", 7, 11, 3, 0.1 + 0.2, 2, f"Hm. {ODD}", 5)
BARE = Answer(None, None, "", None, None, 0, 0.0, 0)


@pytest.mark.parametrize("answer", [WHOLE, BARE, replace(BARE, text=""), replace(WHOLE, latency_s=1e-7)])
@pytest.mark.parametrize("afresh", [False, True], ids=["same process", "afresh"])
def test_every_field_of_an_answer_comes_back(store, answer, afresh):
    """An answer is found as it was appended, whatever is in its texts, but for `reused`, which is set."""
    with store.attempt("a") as attempt:
        attempt.append(key_of(1), answer, label=ODD, recipe=ODD)
        if afresh:
            forget_indexes()
        assert store.find([key_of(1)]) == {key_of(1): replace(answer, reused=True)}
    assert list(store.remembers()) == [(ODD, ODD)]


def test_no_field_of_an_answer_is_forgotten(store):
    """Where an answer gets a further field, the test above has one that is neither stored nor usual."""
    usual = Answer("", None, "", None, None, 0, 0.0, 0)
    same = [field.name for field in fields(Answer) if getattr(WHOLE, field.name) == getattr(usual, field.name)]
    assert same == ["reused"]


def test_a_line_is_plain_json(store):
    """Each line is one JSON object in UTF-8 with letters as they are: key, origin and time, then the answer."""
    before = time.time()
    with store.attempt("a") as attempt:
        attempt.append(key_of(1), answer_of("Grüße\n👋", reasoning="Hm."), label="distill", recipe="0123")
    [line] = lines_of(Path(store.url))
    fields = json.loads(line)
    assert "Grüße\\n👋".encode() in line
    assert before - 1e-6 <= fields.pop("at") <= time.time()
    assert fields == {
        "key": key_of(1), "label": "distill", "recipe": "0123", "finish_reason": "stop", "model": "m",
        "prompt_tokens": 7, "completion_tokens": 11, "reasoning_tokens": None, "attempts": 1, "latency_s": 0.25,
        "sample": 0, "reasoning": "Hm.", "text": "Grüße\n👋",
    }  # fmt: skip


@pytest.mark.parametrize("key", ["", "0" * 31, "0" * 33, "0" * 31 + "A", "0" * 31 + "\n", "../" + "0" * 29])
def test_what_is_no_key_is_refused(store, key):
    """A key that `request_key` would not make is refused, before it is stored or looked for."""
    with store.attempt("a") as attempt, pytest.raises(CallerError, match="is no key of a stored answer"):
        attempt.append(key, answer_of(), **ORIGIN)
    with pytest.raises(CallerError, match="is no key of a stored answer"):
        store.find([key])
    assert not Path(store.url).exists()


# --- which answer -----------------------------------------------------------------------------------------------------


def test_what_is_missing_is_left_out(store):
    """Found are those that are there; of no keys, and in no folder, none."""
    assert store.find([]) == {} and texts(store, range(3)) == {} and store.spent("") == {} and store.remembers() == {}
    with store.attempt("a") as attempt:
        fill(attempt, range(0, 10, 2))
    assert texts(store, range(4)) == {0: "0", 2: "2"}
    assert not (Path(store.url) / "b.jsonl").exists()


FLAWED = {
    "truncated": {"finish_reason": "length"},
    "content_filtered": {"finish_reason": "content_filter"},
    "empty": {"text": " "},
}


@pytest.mark.parametrize("flaw", FLAWED)
def test_a_flawed_answer_is_found_unless_it_is_not_wanted(store, flaw):
    """An answer of no use was paid for, so it is found; who asks for it again says so, of this flaw alone."""
    with store.attempt("a") as attempt:
        attempt.append(key_of(1), replace(answer_of(), **FLAWED[flaw]), **ORIGIN)
    assert store.find([key_of(1)])[key_of(1)].flaw == flaw
    assert store.find([key_of(1)], unless=FLAWED.keys() - {flaw})
    assert store.find([key_of(1)], unless=[flaw]) == {}


@pytest.mark.parametrize("afresh", [False, True], ids=["same process", "afresh"])
@pytest.mark.parametrize("one_file", [True, False], ids=["one attempt", "several"])
def test_the_best_of_several_answers(store, one_file, afresh):
    """An answer without a flaw beats one with, and a later one beats an earlier one."""
    said = [("first", "stop"), ("second", "stop"), ("cut off", "length")]
    attempts = [store.attempt(f"{9 - number}") for number in range(1 if one_file else 3)]
    for number, (text, ending) in enumerate(said):
        attempts[number % len(attempts)].append(key_of(1), answer_of(text, finish_reason=ending), **ORIGIN)
    if afresh:
        forget_indexes()
    assert texts(store, [1]) == {1: "second"}
    for attempt in attempts:
        attempt.close()
    assert texts(store, [1]) == {1: "second"}
    assert texts_afresh(store.url, [1]) == {1: "second"}


# --- who writes, who reads --------------------------------------------------------------------------------------------


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
    child = os.fork()
    if not child:
        try:
            assert texts(store, [1]) == {1: "1"}
            try:
                fill(parent, [2])
            except CallerError as error:
                assert "of another process" in str(error)
            else:
                raise AssertionError
            parent.close()
            with store.attempt("child") as own:
                fill(own, [3])
        except BaseException as error:
            print(repr(error), flush=True)
        os._exit(0)
    os.waitpid(child, 0)
    fill(parent, [4])
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


# --- what was paid for ------------------------------------------------------------------------------------------------


@pytest.fixture
def filled(store) -> Store:
    """Attempts of two runs, sealed and not, of two labels and three recipes, with and without usage."""
    for name in ("one-part-0", "one-part-1", "two-part-0"):
        attempt = left_open(store.attempt(name))
        for number in range(30):
            usage = {"prompt_tokens": None if number % 5 == 0 else number, "completion_tokens": 2 * number}
            origin = {"label": "distill" if number % 3 else 'qa,"reasoning":', "recipe": f"r{number % 2}"}
            attempt.append(key_of(number % 20), answer_of(attempts=1 + number % 4, **usage), **origin)
        if name != "one-part-1":
            attempt.close()
    return store


def summed(store: Store, *attempts: str) -> dict[str, Spent]:
    """The sums, line by line."""
    sums: dict[str, Spent] = {}
    for name in attempts:
        for line in (Path(store.url) / f"{name}.jsonl").read_text(encoding="utf-8").split("\n")[:-1]:
            each = json.loads(line)
            spent = Spent(
                1,
                each["prompt_tokens"] or 0,
                each["completion_tokens"],
                each["attempts"],
                each["prompt_tokens"] is None,
            )
            sums[each["label"]] = sums.get(each["label"], Spent()) + spent
    return sums


@pytest.mark.parametrize("sidecars", [True, False], ids=["sidecars", "none"])
def test_what_was_spent_is_what_the_lines_say(filled, sidecars):
    """Sums are those of all lines, also of keys that were answered twice, of the attempts that are asked for."""
    if not sidecars:
        for file in Path(filled.url).glob("*.index"):
            file.unlink()
    assert filled.spent("one") == summed(filled, "one-part-0", "one-part-1")
    assert filled.spent("one", besides=["one-part-1"]) == summed(filled, "one-part-0")
    assert filled.spent("one-part-1") == summed(filled, "one-part-1")
    assert filled.spent("") == summed(filled, "one-part-0", "one-part-1", "two-part-0")
    assert filled.spent("", besides=["one-part-0", "one-part-1", "two-part-0"]) == {} == filled.spent("three")


@pytest.mark.parametrize("sidecars", [True, False], ids=["sidecars", "none"])
def test_answers_are_counted_by_label_and_recipe(filled, sidecars):
    """The store remembers of each label and recipe as many answers as there are lines of it."""
    if not sidecars:
        for file in Path(filled.url).glob("*.index"):
            file.unlink()
    counts: dict[tuple[str, str], int] = {}
    for line in map(json.loads, lines_of(Path(filled.url))):
        origin = (line["label"], line["recipe"])
        counts[origin] = counts.get(origin, 0) + 1
    assert filled.remembers() == counts and len(counts) == 4
