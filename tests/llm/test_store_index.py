"""The index of a store: right whatever the sidecars are like, small, and equal to a slow and obvious one."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from stored import ORIGIN, answer_of, begin_and_end, fill, key_of, left_open, lines_of, texts, texts_afresh

from nemocc_dask.llm.store import Attempt, Store
from nemocc_dask.llm.store.index import PACK_ABOVE, Index, forget_indexes
from nemocc_dask.llm.store.local import LocalFolder

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


# --- sidecars ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def sealed(tmp_path) -> Path:
    """A store of one attempt that has ended."""
    with Store(str(tmp_path)).attempt("a") as attempt:
        fill(attempt, range(50))
    return tmp_path


ALL = {name: str(name) for name in range(50)}


def test_a_sidecar_saves_looking_through_the_lines(sealed):
    """Where an attempt has ended, its lines are read for what is wanted alone."""
    lines = sealed / "a.jsonl"
    content = bytearray(lines.read_bytes())
    start = content.index(key_of(7).encode())
    content[start - 8 : start - 6] = b"!!"  # a scan would not take this for a line
    lines.write_bytes(content)
    assert len(looked(sealed).packed) == Store(str(sealed)).remembers()["distill", "r"] == 50
    (sealed / "a.index").unlink()
    assert len(looked(sealed).packed) == Store(str(sealed)).remembers()["distill", "r"] == 49


def looked(folder: Path) -> Index:
    """The index of a process that has looked at a folder once."""
    index = Index(LocalFolder(str(folder)))
    index.look()
    return index


def test_any_damage_to_a_sidecar_is_noticed(sealed):
    """A sidecar of which a byte is wrong, or that is cut anywhere, is as if it were not there."""
    sidecar = sealed / "a.index"
    whole = sidecar.read_bytes()
    spent, counts = Store(str(sealed)).spent(""), Store(str(sealed)).remembers()
    for at in range(0, len(whole), 37):
        for damaged in (
            whole[:at],
            whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :],
            whole[:at] + whole[at + 1 :],
        ):
            sidecar.write_bytes(damaged)
            assert texts_afresh(sealed, range(50)) == ALL
            assert (Store(str(sealed)).spent(""), Store(str(sealed)).remembers()) == (spent, counts)


def test_a_sidecar_of_other_lines_is_not_believed(sealed, tmp_path_factory):
    """A sidecar that is out of date, or of another store, does not hide what the lines say."""
    longer = tmp_path_factory.mktemp("longer")
    with Store(str(longer)).attempt("a") as attempt:
        fill(attempt, range(60))
    shutil.copy(longer / "a.jsonl", sealed)
    assert texts_afresh(sealed, range(60)) == {**ALL, **{name: str(name) for name in range(50, 60)}}
    assert Store(str(sealed)).remembers() == {("distill", "r"): 60}
    with (sealed / "a.jsonl").open("ab") as file:
        file.write(lines_of(longer)[0].replace(key_of(0).encode(), key_of("new").encode()))
    assert texts_afresh(sealed, ["new", 0]) == {"new": "0", 0: "0"}


def test_a_sidecar_without_lines(sealed):
    """Where only the sidecar is left, nothing is found, and nothing breaks."""
    (sealed / "a.jsonl").unlink()
    assert texts_afresh(sealed, range(50)) == {}
    assert Store(str(sealed)).remembers() == {}


# --- looking again ----------------------------------------------------------------------------------------------------


def test_what_is_known_is_not_read_again(tmp_path, monkeypatch):
    """However often a process looks, and while a file grows and is sealed, each answer is taken in once."""
    monkeypatch.setattr("nemocc_dask.llm.store.index.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("nemocc_dask.llm.store.index.LOOKING_SHARE", 1e9)
    index = Index(LocalFolder(str(tmp_path)))
    for start in (0, 10):
        with Store(str(tmp_path)).attempt(f"other-{start}") as other:
            for name in range(start, start + 5):
                fill(other, [name])
                index.look()
            fill(other, range(start + 5, start + 10))
        for _ in range(3):
            index.look()
        assert len(index.packed) == start + 10


def test_a_file_that_was_cut_is_read_from_its_beginning(tmp_path, monkeypatch):
    """Where somebody has taken lines out of a file that a process knows, the others are found."""
    monkeypatch.setattr("nemocc_dask.llm.store.index.LOOK_EVERY_S", 0.0)
    monkeypatch.setattr("nemocc_dask.llm.store.index.LOOKING_SHARE", 1e9)
    names = [1, 22, 333, 4444, 55555]
    fill(left_open(Store(str(tmp_path)).attempt("a")), names)
    index = looked(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(b"".join(lines_of(tmp_path)[2:]))
    found = index.find([key_of(name) for name in names], ())
    assert sorted(answer.text for answer in found.values()) == ["333", "4444", "55555"]


def test_nothing_is_missed_while_it_is_packed(tmp_path):
    """What was appended is found also while it moves into arrays."""
    index = Index(LocalFolder(str(tmp_path)))
    for number in range(50_000):
        index.add(number, "a.jsonl", number, 1)
    packing = threading.Thread(target=index.pack)
    packing.start()
    looks = 0
    while packing.is_alive():
        assert index._places({7}) == [(0, 7, 1)]
        looks += 1
    packing.join()
    assert looks > 2 and len(index.packed) == 50_000


# --- size -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["appended", "sidecars", "lines"])
def test_the_index_takes_24_bytes_an_answer(tmp_path, how):
    """However the index came to know the answers, it holds arrays of 24 bytes for each and few of them."""
    folder = LocalFolder(str(tmp_path))
    index, attempts, each = Index(folder), 40, 100
    for number in range(attempts):
        attempt = Attempt(f"a-{number}", index)
        fill(attempt, range(each * number, each * (number + 1)))
        attempt.close()
    if how == "lines":
        for sidecar in tmp_path.glob("*.index"):
            sidecar.unlink()
    if how != "appended":
        index = Index(folder)
    keys = [key_of(name) for name in range(attempts * each)]
    assert len(index.find(keys, ())) == len(index.packed) == attempts * each
    assert index.packed.nbytes == 24 * attempts * each
    assert len(index.packed.runs) <= 8


def test_a_long_attempt_is_packed_while_it_runs(tmp_path):
    """What one attempt appends does not stay in a dictionary for as long as it runs."""
    index = Index(LocalFolder(str(tmp_path)))
    attempt = left_open(Attempt("a", index))
    fill(attempt, range(PACK_ABOVE + 1))
    assert len(index.packed) == 0
    attempt.sync()
    assert len(index.packed) == PACK_ABOVE + 1
    assert len(texts(attempt, range(PACK_ABOVE + 1))) == PACK_ABOVE + 1


def test_keys_that_begin_alike(tmp_path):
    """Keys are looked up by their first half; those that differ in the second are told apart."""
    store, start = Store(str(tmp_path)), "0123456789abcdef"
    one, other, third = start + "0" * 16, start + "f" * 16, start + "8" * 16
    for afresh in (False, True):
        if not afresh:
            attempt = left_open(store.attempt("a"))
            attempt.append(one, answer_of("one"), **ORIGIN)
            attempt.append(other, answer_of("other"), **ORIGIN)
        else:
            forget_indexes()
        assert store.find([third]) == {}
        assert {key: answer.text for key, answer in store.find([one, other, third]).items()} == {
            one: "one",
            other: "other",
        }
        assert list(store.find([other])) == [other]


# --- against a slow and obvious one -----------------------------------------------------------------------------------

ENDINGS = {"truncated": "length", "content_filtered": "content_filter", None: "stop"}
NAMES = st.integers(0, 5)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), st.integers(0, 2), NAMES, st.sampled_from(list(ENDINGS))),
        st.tuples(st.just("close"), st.integers(0, 2)),
        st.tuples(
            st.just("find"), st.sets(NAMES), st.sets(st.sampled_from(["truncated", "content_filtered", "empty"]))
        ),
        st.tuples(st.just("forget")),
        st.tuples(st.just("lose sidecars")),
    ),
    max_size=40,
)


class Obvious:
    """All answers in a list, in the order in which they were appended."""

    def __init__(self) -> None:
        self.answers: list[tuple[int, str, Any]] = []

    def find(self, names: set[int], unless: set[str]) -> dict[object, str]:
        wanted = [each for each in self.answers if each[0] in names and each[2] not in unless]
        flawed = {name: text for name, text, flaw in wanted if flaw is not None}
        return flawed | {name: text for name, text, flaw in wanted if flaw is None}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_it_finds_what_a_slow_and_obvious_one_finds(steps):
    """Whatever is appended by whatever attempts, and whoever looks, the right answer is found, and all are counted."""
    forget_indexes()
    with TemporaryDirectory() as folder:
        store, obvious = Store(folder), Obvious()
        attempts: dict[int, Attempt] = {}
        killed: list[dict[int, Attempt]] = []
        for number, (step, *what) in enumerate([*steps, ("find", set(range(6)), set())]):
            if step == "append":
                attempt = attempts.setdefault(what[0], store.attempt(f"a-{number}"))
                attempt.append(key_of(what[1]), answer_of(f"{number}", finish_reason=ENDINGS[what[2]]), **ORIGIN)
                obvious.answers.append((what[1], f"{number}", what[2]))
            elif step == "close" and what[0] in attempts:
                attempts.pop(what[0]).close()
            elif step == "find":
                assert texts(store, what[0], unless=what[1]) == obvious.find(*what)
            elif step == "forget":
                killed.append(attempts)
                attempts = {}
                forget_indexes()
            elif step == "lose sidecars":
                for sidecar in Path(folder).glob("*.index"):
                    sidecar.unlink()
        assert sum(store.remembers().values()) == len(obvious.answers)
        for attempt in (attempt for each in (*killed, attempts) for attempt in each.values()):
            attempt.close()
