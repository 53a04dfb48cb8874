"""Lines that are torn or damaged take no others along."""

from __future__ import annotations

import pytest
from stored import ORIGIN, answer_of, begin_and_end, fill, key_of, left_open, lines_of, texts, texts_afresh

from nemocc_dask.llm.store import Store
from nemocc_dask.llm.store.index import forget_indexes

_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


def test_a_torn_last_line_is_skipped(tmp_path):
    """Wherever the last line is torn, the others are found, and what is appended elsewhere too."""
    source = tmp_path / "source"
    with Store(str(source)).attempt("a") as attempt:
        fill(attempt, range(4), reasoning="Hm.")
    whole = (source / "a.jsonl").read_bytes()
    last = whole.rindex(b"\n", 0, -1) + 1
    torn = tmp_path / "torn"
    torn.mkdir()
    for end in range(last, len(whole)):
        (torn / "a.jsonl").write_bytes(whole[:end])
        assert texts_afresh(torn, range(4)) == {0: "0", 1: "1", 2: "2"}, end
        assert Store(str(torn)).spent("a")["distill"].responses == 3, end
    (torn / "a.jsonl").write_bytes(whole)
    assert len(texts_afresh(torn, range(4))) == 4


GARBAGE = {
    "noise": b"\x00\xff\xfe{]\n",
    "an empty line": b"\n",
    "a line of others": b'{"name": "somebody", "text": "something"}\n',
    "a line that ends too early": b'{"key":"%s","label":"distill"\n' % key_of(9).encode(),
    "a key without an answer": b'{"key":"%s","label":"distill","recipe":"r"}\n' % key_of(9).encode(),
    "fields of another type": b'{"key":"%s","at":1.0,"model":"m","attempts":1,"latency_s":1,"sample":0,"text":5}\n'
    % key_of(9).encode(),
    "half a surrogate": b'{"key":"%s","at":1.0,"model":"\\ud800","attempts":1,"latency_s":1,"sample":0,"text":"a"}\n'
    % key_of(9).encode(),
    "no JSON": b'{"key":"%s",' % key_of(9).encode() + b"[" * 5000 + b"}\n",
    "a hole": b"\x00" * 5000 + b"\n",
}


@pytest.mark.parametrize("garbage", GARBAGE.values(), ids=GARBAGE.keys())
def test_garbage_is_skipped_and_told_once(tmp_path, garbage, caplog):
    """Lines that are no stored answers are as if they were not there, wherever they stand; a warning says so, once."""
    with Store(str(tmp_path)).attempt("a") as attempt:
        fill(attempt, range(3))
    first, *others = lines_of(tmp_path)
    (tmp_path / "a.jsonl").write_bytes(garbage + first + garbage * 2 + b"".join(others) + garbage)
    forget_indexes()
    store = Store(str(tmp_path))
    for _ in range(2):
        assert texts(store, [*range(3), 9]) == {0: "0", 1: "1", 2: "2"}
    assert [record.name for record in caplog.records] == ["nemocc_dask"]
    assert f"Of the store {tmp_path}, " in caplog.text and "asked for again" in caplog.text
    assert store.spent("a")["distill"].responses == 3


def test_a_line_longer_than_what_is_read_at_once(tmp_path, monkeypatch):
    """Lines of any length are found in a file that is looked through block by block."""
    monkeypatch.setattr("nemocc_dask.llm.store.lines.BLOCK_BYTES", 1000)
    attempt = left_open(Store(str(tmp_path)).attempt("a"))
    lengths = [0, 10, 650, 700, 20_000, 0, 3000, 5]
    for name, length in enumerate(lengths):
        attempt.append(key_of(name), answer_of("x" * length), **ORIGIN)
    found = texts_afresh(tmp_path, range(9))
    assert [len(text) for text in found.values()] == lengths


def test_an_edited_file_is_read_again(tmp_path):
    """Where somebody has edited a file of a finished attempt, its sidecar is not believed."""
    with Store(str(tmp_path)).attempt("a") as attempt:
        fill(attempt, range(5))
    file = tmp_path / "a.jsonl"
    file.write_bytes(
        file.read_bytes().replace(b'"text":"1"', b'"text":"one"').replace(b'"model":"m"', b'"model":"n"', 1)
    )
    assert texts_afresh(tmp_path, range(5)) == {0: "0", 1: "one", 2: "2", 3: "3", 4: "4"}
    file.write_bytes(b"".join(lines_of(tmp_path)[2:]))
    assert texts_afresh(tmp_path, range(5)) == {2: "2", 3: "3", 4: "4"}
