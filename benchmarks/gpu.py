"""What a GPU saves: cuDF's kernels against Arrow's on one core, with and without the way to the device and back.

Prints a table and appends it to RESULTS.md beside it. It needs a CUDA device and the extra `gpu`; `make bench-gpu`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from corpus import repeated_demo
from measure import measure, one_core
from tables import Table, append, heading

from nemocc_dask.devices import cuda_devices
from nemocc_dask.text import arrow
from nemocc_dask.text.lines import PASSAGE_LABEL

RESULTS = Path(__file__).with_name("RESULTS.md")
DEMO_ROWS = 126
MARKER = "Here is a paraphrased version:"
BEGINNINGS = (f"{MARKER} ", "", f"**{MARKER}** ", "Passage 1:\n\n", "“", "Note: *not* **now** ")
"""Answers begin with these in turn, so that every kernel has rows to leave alone and rows to work on."""
BUDGET = 655

Kernel = Callable[[ModuleType, Any], Any]


class Work(NamedTuple):
    """What is measured: a kernel, and the texts (in host memory) that it is given."""

    name: str
    kernel: Kernel
    texts: pa.LargeStringArray


def options(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The settings of a run."""
    parser = argparse.ArgumentParser(
        description=__doc__.partition("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("--megabytes", type=int, default=1000, help="text to work on, as UTF-8")
    add("--repeats", type=int, default=3, help="each timing is the median of so many, after one that does not count")
    add("--note", action="append", default=[], help="a remark to keep with the figures; may be repeated")
    add("--results", type=Path, default=RESULTS, metavar="FILE", help="file to append to")
    add("--no-append", action="store_true", help="print only")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure every kernel on both sides, print the table, and keep it."""
    given = options(arguments)
    if importlib.util.find_spec("cudf") is None or cuda_devices() == 0:
        raise SystemExit("gpu.py: nothing was measured: there is no CUDA device here, or cuDF is not installed.")
    texts = documents(given.megabytes)
    remarks = [f"GPU: {device_name()}; cuDF {importlib.import_module('cudf').__version__}.", *given.note]
    parts = [heading(remarks), table(texts, repeats=given.repeats).markdown()]
    print("\n".join(parts), flush=True)
    if not given.no_append:
        append(given.results, "\n".join(parts))


def documents(megabytes: int) -> pa.LargeStringArray:
    """The demo's documents again and again, up to about so many megabytes."""
    with tempfile.TemporaryDirectory(prefix="nemocc-bench-") as folder:
        demo = repeated_demo(DEMO_ROWS, Path(folder))
    texts = pa.array(demo.frame["text"], pa.large_string())
    return pa.concat_arrays([one_chunk(texts)] * max(1, round(megabytes / demo.megabytes)))


def one_chunk(texts: pa.Array | pa.ChunkedArray) -> pa.LargeStringArray:
    """An array of what may be several."""
    return pa.concat_arrays(texts.chunks) if isinstance(texts, pa.ChunkedArray) else texts


def works(texts: pa.LargeStringArray) -> Iterator[Work]:
    """Each kernel, and what it is tried on: documents, their lines, or answers made of them."""
    lines = arrow.split(texts, "\n")
    counts = np.asarray(pc.binary_length(lines.texts)) // 4  # about the tokens
    heads = np.diff(lines.parents, prepend=-1) > 0
    runs = arrow.pack(counts, heads, max_tokens=BUDGET)
    beginnings = pa.array(BEGINNINGS, pa.large_string()).take(pa.array(np.arange(len(texts)) % len(BEGINNINGS)))
    answers = pc.binary_join_element_wise(beginnings, texts, pa.scalar("", texts.type))
    lists = pc.replace_substring(texts, "\n", "\n- ")
    yield Work("split", lambda kernels, rows: kernels.split(rows, "\n"), texts)
    yield Work("join", lambda kernels, rows: kernels.join(rows, runs, separator="\n"), lines.texts)
    yield Work("normalize_newlines", lambda kernels, rows: kernels.normalize_newlines(rows), texts)
    yield Work("is_blank", lambda kernels, rows: kernels.is_blank(rows), texts)
    yield Work("strip", lambda kernels, rows: kernels.strip(rows), lines.texts)
    yield Work("remove_markdown", lambda kernels, rows: kernels.remove_markdown(rows), answers)
    yield Work("remove_quotation", lambda kernels, rows: kernels.remove_quotation(rows), answers)
    yield Work("remove_lines", lambda kernels, rows: kernels.remove_lines(rows, PASSAGE_LABEL), answers)
    yield Work("starts_with_marker", lambda kernels, rows: kernels.starts_with_marker(rows, MARKER), answers)
    yield Work("slice_after_marker", lambda kernels, rows: kernels.slice_after_marker(rows, MARKER), answers)
    yield Work("normalize_bullets", lambda kernels, rows: kernels.normalize_bullets(rows), lists)


def table(texts: pa.LargeStringArray, *, repeats: int) -> Table:
    """Seconds of every kernel on one core, on the device, and on the device with both ways."""
    device = Device()
    rows: list[tuple[Any, ...]] = [
        (work.name, megabytes(work.texts), *times(work, device, repeats)) for work in works(texts)
    ]
    rows.append(("pack", "-", packing(texts, repeats), "-", "-", "-", "-"))
    return Table(
        "Kernels on a GPU",
        "Documents of the demo over and over. One core: Arrow. GPU: cuDF, the text on the device and staying there; "
        "both ways: it comes from host memory, and the result goes back. `pack` works on numbers in host memory either "
        "way. `remove_markdown` and markers in emphasis leave the device, where their rows have such signs.",
        ("kernel", "MB", "one core, s", "GPU, s", "both ways, s", "GPU x", "both ways x"),
        rows,
    )


class Device:
    """The kernels of cuDF, the ways to it and back, and the wait until it is done."""

    def __init__(self) -> None:
        self.kernels = importlib.import_module("nemocc_dask.text.gpu")
        self.columns = importlib.import_module("nemocc_dask.text.on_cudf").CUDF
        self._synchronize = importlib.import_module("cupy").cuda.runtime.deviceSynchronize

    def done(self, result: Any) -> Any:
        """The same, once it is there."""
        self._synchronize()
        return result

    def back(self, result: Any) -> Any:
        """The result in host memory."""
        texts = result.texts if isinstance(result, tuple) else result
        return texts if isinstance(texts, np.ndarray) else self.columns.to_host(texts)


def times(work: Work, device: Device, repeats: int) -> tuple[float, float, float, float, float]:
    """Seconds on one core, on the device, with both ways; and how many times as fast the device is."""

    def both_ways(_: object) -> Any:
        return device.back(work.kernel(device.kernels, device.columns.from_host(work.texts)))

    there = device.columns.from_host(work.texts)
    device.done(work.kernel(device.kernels, there))  # compiles, and makes room
    with one_core():
        core = measure(repeats, lambda _: work.kernel(arrow, work.texts)).wall_s
    gpu = measure(repeats, lambda _: device.done(work.kernel(device.kernels, there))).wall_s
    both = measure(repeats, both_ways).wall_s
    return core, gpu, both, core / gpu, core / both


def packing(texts: pa.LargeStringArray, repeats: int) -> float:
    """Seconds of packing the lines of the documents."""
    lines = arrow.split(texts, "\n")
    counts, heads = np.asarray(pc.binary_length(lines.texts)) // 4, np.diff(lines.parents, prepend=-1) > 0
    with one_core():
        return measure(repeats, lambda _: arrow.pack(counts, heads, max_tokens=BUDGET)).wall_s


def megabytes(texts: pa.LargeStringArray) -> float:
    """Of the texts, as UTF-8."""
    return pc.sum(pc.binary_length(texts)).as_py() / 1e6


def device_name() -> str:
    """What the first CUDA device is called."""
    return str(importlib.import_module("cupy").cuda.runtime.getDeviceProperties(0)["name"].decode())


if __name__ == "__main__":
    main()
