"""Whatever becomes of a process, and when the disk is full, what was appended is found."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from stored import (
    begin_and_end,
    environment,
    fill,
    lines_of,
    python,
    texts,
    texts_afresh,
)

from nemocc_dask.errors import JobError
from nemocc_dask.llm.store import Store
from nemocc_dask.llm.store.local import BALLAST_BYTES

resource = pytest.importorskip("resource")


_begin_and_end = pytest.fixture(autouse=True)(begin_and_end)


# --- killed processes -------------------------------------------------------------------------------------------------

WRITER = """
    import os, random, sys
    from nemocc_dask.llm.store import Store
    from stored import ORIGIN, answer_of, key_of

    name, seed = sys.argv[2], int(sys.argv[3])
    attempt, rng = Store(sys.argv[1]).attempt(name), random.Random(seed)
    for number in range(int(sys.argv[4])):
        text = f"{name} {number} " + "ü" * rng.randrange(20_000)
        attempt.append(key_of(f"{name} {number}"), answer_of(text), **ORIGIN)
        os.write(1, b"%d\\n" % number)
"""


@contextmanager
def writer(url: Path, name: str, seed: int, count: int) -> Iterator[subprocess.Popen[bytes]]:
    """A process that appends, and says the number of each answer after it."""
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(url), name, str(seed), str(count)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment()) as process:
        try:
            yield process
        finally:
            process.kill()


def found_numbers(url: Path, name: str, count: int) -> list[int]:
    found = texts_afresh(url, [f"{name} {number}" for number in range(count)])
    assert all(text.startswith(f"{each} ") for each, text in found.items())
    return sorted(int(each.split()[-1]) for each in found)


@pytest.mark.parametrize("seed", range(4))
def test_a_killed_writer_has_lost_nothing(tmp_path, seed):
    """All that a process has said it appended before it was killed is found, and nothing torn."""
    with writer(tmp_path, "killed", seed, 10**6) as process:
        first = process.stdout.readline()
        time.sleep(random.Random(seed).uniform(0, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        said = [int(number) for number in (first + process.stdout.read()).split()]
    found = found_numbers(tmp_path, "killed", len(said) + 2)
    assert found == list(range(len(found))) and len(found) - len(said) in (0, 1)
    assert not list(tmp_path.glob("*.index"))


def test_processes_write_side_by_side(tmp_path):
    """Attempts of several processes at once go to one store; all of both is found."""
    with writer(tmp_path, "one", 1, 200) as one, writer(tmp_path, "other", 2, 200) as other:
        assert one.wait(60) == other.wait(60) == 0
    for name in ("one", "other"):
        assert found_numbers(tmp_path, name, 200) == list(range(200))


# --- room -------------------------------------------------------------------------------------------------------------


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    """The system refuses to let a file of this process grow further."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("size", [0, 1, 5_000, 5_100, 5_200])
def test_a_file_that_cannot_grow(tmp_path, size):
    """A write that fails half-way leaves whole lines, says what to do, and once there is room all goes on."""
    store = Store(str(tmp_path))
    attempt = store.attempt("a")
    with files_limited_to(size):
        written = 0
        said = None
        while said is None:
            try:
                fill(attempt, [written])
                written += 1
            except JobError as error:
                said = str(error)
        for _ in range(3):
            with pytest.raises(JobError, match="cannot be written"):
                fill(attempt, ["more"])
        assert texts(store, [*range(written + 1), "more"]) == {name: str(name) for name in range(written)}
        kept = lines_of(tmp_path)
    assert said == (
        f"The store's file {tmp_path}/a.jsonl cannot be written: File too large. Make room and run the same command "
        "again: nothing that is stored is asked for again."
    )
    assert len(kept) == written and all(json.loads(line) and line.endswith(b"\n") for line in kept)
    fill(attempt, ["later"])
    attempt.close()
    everything = {name: str(name) for name in [*range(written), "later"]}
    assert texts_afresh(tmp_path, [*range(written + 1), "more", "later"]) == everything
    assert store.spent("a")["distill"].responses == len(everything)


FULL = """
    import json, os, sys
    from pathlib import Path
    from nemocc_dask.errors import JobError
    from nemocc_dask.llm.store import Store
    from stored import ORIGIN, answer_of, key_of, texts_afresh

    folder, stored, refused, said = Path(sys.argv[1]), [], [], []
    attempt = Store(str(folder / "responses")).attempt("a")

    def append(name):
        try:
            attempt.append(key_of(name), answer_of(str(name).ljust(4000)), **ORIGIN)
        except JobError as error:
            said.append(str(error))
            return False
        return True

    append(0)
    room = os.statvfs(folder)
    filler = folder / "filler"
    filler.write_bytes(bytes(room.f_bavail * room.f_frsize - 100_000))
    first = next(name for name in range(1, 1000) if not append(name))
    second = next(name for name in range(first + 1, 2000) if not append(name))
    filler.unlink()
    again = append(second)
    attempt.close()
    found = sorted(texts_afresh(folder / "responses", range(2000)))
    print(json.dumps({"first": first, "second": second, "again": again, "found": found, "said": said}))
"""

PRIVATE_DISK = (
    "unshare",
    "--map-root-user",
    "--mount",
    "sh",
    "-c",
    'mount -t tmpfs -o size=8m tmpfs "$0" && exec "$@"',
)


def _private_disk_works(folder: Path) -> bool:
    if not shutil.which("unshare"):
        return False
    return subprocess.run([*PRIVATE_DISK, str(folder), "true"], capture_output=True, check=False).returncode == 0


def test_a_full_disk(tmp_path):
    """When a disk gets full the job is told at once, and the answers under way are stored in the room kept back."""
    if not _private_disk_works(tmp_path):
        pytest.skip("this system does not let a test have a small disk of its own")
    got = json.loads(python(FULL, tmp_path, wrapper=(*PRIVATE_DISK, str(tmp_path))))
    assert got["second"] - got["first"] > 0.8 * BALLAST_BYTES / 4400
    assert got["again"] and got["found"] == list(range(got["second"] + 1))
    assert len(got["said"]) == 2 and len(set(got["said"])) == 1
    assert "a.jsonl cannot be written: No space left on device. Make room" in got["said"][0]


def test_a_folder_that_cannot_be_made(tmp_path):
    """Where a file stands in the way of the folder, the first answer says so; when it is gone the next is stored."""
    (tmp_path / "out").write_text("a file")
    attempt = Store(str(tmp_path / "out" / "responses")).attempt("a")
    with pytest.raises(
        JobError, match=r"out/responses/a\.jsonl cannot be written: Not a directory\. Mend that and run"
    ):
        fill(attempt, [1])
    (tmp_path / "out").unlink()
    fill(attempt, [2])
    attempt.close()
    assert texts_afresh(tmp_path / "out" / "responses", [1, 2]) == {2: "2"}


def test_no_room_is_kept_by_an_attempt_that_has_ended(tmp_path):
    """The room kept back is free again when the attempt ends, and it has no name that could stay behind."""
    attempt = Store(str(tmp_path)).attempt("a")
    fill(attempt, [1])
    assert [file.name for file in tmp_path.iterdir()] == ["a.jsonl"]
    unnamed = [target for target in _open_files() if target.startswith(str(tmp_path)) and "a.jsonl" not in target]
    assert len(unnamed) == 1
    attempt.close()
    assert not [target for target in _open_files() if target.startswith(str(tmp_path))]


def _open_files() -> list[str]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("the system does not tell which files are open")
    return [os.readlink(each) for each in folder.iterdir() if each.is_symlink()]


def test_a_sidecar_that_cannot_be_written(tmp_path, caplog):
    """Without a sidecar the job goes on: a warning says so, and the lines are found."""
    store = Store(str(tmp_path))
    attempt = store.attempt("a")
    fill(attempt, range(3))
    (tmp_path / "a.index").mkdir()
    attempt.close()
    assert "Only an index is missing" in caplog.text and "a.index cannot be written" in caplog.text
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.index", "a.jsonl"]
    assert texts_afresh(tmp_path, range(3)) == {0: "0", 1: "1", 2: "2"}
