"""The cuDF side as far as it can be held without a GPU: names, and that what it calls is there and takes what it gives.

Where cuDF is not installed, only the names are looked at. What the calls do is for a GPU to show, with `--frames=cudf`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import nemocc_dask.text
from nemocc_dask.text import arrow, bullets, engine, lines, markers
from nemocc_dask.text.device import bullets as device_bullets
from nemocc_dask.text.device import cleaning, columns, segments
from nemocc_dask.text.pandas_frames import PANDAS
from nemocc_dask.text.patterns import SPACE

from .stand_in import Lists

FOLDER = Path(nemocc_dask.text.__file__).parent
FILES = ("on_cudf", "cudf_frames")
TREES = {name: ast.parse((FOLDER / f"{name}.py").read_text("utf-8")) for name in (*FILES, "gpu")}

needs_cudf = pytest.mark.skipif(importlib.util.find_spec("cudf") is None, reason="cudf is not installed")

OF_OBJECTS = {
    "all": "cudf.Series.all", "assign": "cudf.DataFrame.assign", "drop": "cudf.DataFrame.drop",
    "isna": "cudf.Series.isna", "slice": "cudf.core.accessors.string.StringMethods.slice",
    "take": "cudf.DataFrame.take", "to_arrow": "cudf.Series.to_arrow", "to_pandas": "cudf.Index.to_pandas",
    "to_pylibcudf": "cudf.Series.to_pylibcudf",
    "child": "pylibcudf.column.ListsColumnView.child", "columns": "pylibcudf.Table.columns",
    "copy": "pylibcudf.Column.copy", "id": "pylibcudf.DataType.id", "list_view": "pylibcudf.Column.list_view",
    "null_count": "pylibcudf.Column.null_count", "offset": "pylibcudf.Column.offset",
    "offsets": "pylibcudf.column.ListsColumnView.offsets", "type": "pylibcudf.Column.type",
}  # fmt: skip
"""Methods of cuDF's and pylibcudf's objects that are called."""
NOT_THEIRS = {
    "astype", "cast", "convert_dtypes", "dictionary_decode", "items", "iter", "keys", "replace_schema_metadata",
    "to_numpy", "to_pylist", "values",
}  # fmt: skip
"""Methods of Arrow's, numpy's and Python's own objects."""
THEIRS = {"cudf": "cudf", "plc": "pylibcudf", "combine": "pylibcudf.strings.combine"}
OURS = {"self", "COLUMNS", "FrameError", "ColumnNotFoundError", "PANDAS", "dict", "pa", "pc", "np"}


def methods(tree: ast.Module, name: str) -> dict[str, list[str]]:
    """Public methods of a class, and their arguments."""
    (found,) = (node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    defined = [node for node in found.body if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")]
    return {node.name: [arg.arg for arg in node.args.args] for node in defined}


def asked_of(protocol: type) -> dict[str, list[str]]:
    wanted = {name: value for name, value in vars(protocol).items() if not name.startswith("_") and callable(value)}
    return {name: list(inspect.signature(value).parameters) for name, value in wanted.items()}


def test_cudf_frames_answer_all_that_a_phase_may_ask() -> None:
    """The engine of cuDF's frames has every method of the protocol with its arguments, and so has that of pandas'."""
    asked = asked_of(engine.Frames)
    assert methods(TREES["cudf_frames"], "_Cudf") == asked
    assert {name: ["self", *inspect.signature(getattr(PANDAS, name)).parameters] for name in asked} == asked


def test_cudf_columns_and_their_stand_in_have_every_operation() -> None:
    """What the arithmetic asks of columns, cuDF's offer and the lists of the tests too, with the same arguments."""
    asked = asked_of(columns.Columns)
    assert methods(TREES["on_cudf"], "_Cudf") == asked
    assert {name: list(inspect.signature(getattr(Lists, name)).parameters) for name in asked} == asked


def test_the_facade_has_the_kernels_of_arrow() -> None:
    """The kernels for cuDF have the names of those for Arrow, and their arguments after the columns'."""
    bound = {node.targets[0].id: node.value for node in TREES["gpu"].body if isinstance(node, ast.Assign)}
    listed = ast.literal_eval(bound.pop("__all__"))
    assert listed == arrow.__all__
    assert set(listed) - set(bound) == {"pack", "segment_ids"}
    rooms = {"segments": segments, "cleaning": cleaning, "bullets": device_bullets}
    for name, call in bound.items():
        kernel = call.args[0]
        assert (ast.unparse(call.func), kernel.attr) == ("partial", name)
        ours = list(inspect.signature(getattr(rooms[kernel.value.id], name)).parameters.values())[1:]
        theirs = inspect.signature(getattr(arrow, name)).parameters.values()
        assert [(each.name, each.kind) for each in ours] == [(each.name, each.kind) for each in theirs], name


def called(call: ast.Call) -> inspect.Signature | None:
    """How to call what a call calls of cuDF or pylibcudf; None where it calls something else."""
    root, *attributes = dotted(call.func)
    if root in THEIRS:
        return signature_of(found(THEIRS[root], attributes))
    if root in OURS or not attributes:
        return None
    if attributes[-1] in NOT_THEIRS:
        return None
    assert attributes[-1] in OF_OBJECTS, f"whose method is {ast.unparse(call.func)}?"
    package, *attributes = OF_OBJECTS[attributes[-1]].split(".")
    signature = signature_of(found(package, attributes))
    return signature.replace(parameters=list(signature.parameters.values())[1:])


def dotted(func: ast.expr) -> list[str]:
    """The names of `a.b.c`; for what begins with something else than a name, that is empty."""
    if isinstance(func, ast.Attribute):
        return [*dotted(func.value), func.attr]
    return [func.id if isinstance(func, ast.Name) else ""]


def found(package: str, attributes: list[str]) -> Any:
    value: Any = importlib.import_module(package)
    for attribute in attributes:
        value = getattr(value, attribute)
    return value


@needs_cudf
def test_what_is_called_takes_what_it_is_given() -> None:
    """Each function and method of cuDF and pylibcudf that is called exists and takes those arguments."""
    seen = set()
    for file in FILES:
        for call in (node for node in ast.walk(TREES[file]) if isinstance(node, ast.Call)):
            signature = called(call)
            if signature is not None:
                signature.bind(*call.args, **{word.arg: word.value for word in call.keywords if word.arg})
                seen.add(ast.unparse(call.func))
    assert {"cudf.concat", "plc.Column", "plc.copying.gather", "frame.assign", "texts.str.slice"} <= seen


def signature_of(found: Any) -> inspect.Signature:
    """How something is called. Classes written in Cython do not tell, but their stubs do."""
    try:
        return inspect.signature(found)
    except ValueError:
        stub = ast.parse(
            Path(inspect.getfile(importlib.import_module(found.__module__)))
            .parent.joinpath(f"{found.__module__.split('.')[-1]}.pyi")
            .read_text("utf-8")
        )
        (body,) = (node.body for node in stub.body if isinstance(node, ast.ClassDef) and node.name == found.__name__)
        made = next(node for node in body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
        scope: dict[str, Any] = {}
        exec(f"def made({ast.unparse(without_types(made.args))}): ...", scope)
        signature = inspect.signature(scope["made"])
        return signature.replace(parameters=list(signature.parameters.values())[1:])


def without_types(arguments: ast.arguments) -> ast.arguments:
    for argument in (*arguments.args, *arguments.kwonlyargs):
        argument.annotation = None
    return arguments


@needs_cudf
@pytest.mark.parametrize(
    "pattern",
    [
        f"[^{SPACE}]", markers.QUOTATION, markers.QUOTATION_BEGINS, lines.readable(lines.PASSAGE_LABEL),
        *(dress(marker) for dress in (markers.any_dress, markers.no_dress)
          for marker in ("Here is a paraphrased version:", "a & b ~ #x-y (z)?!", "İß")),
        bullets.BULLETS, bullets.INDENTED, bullets.ENDS_WITH_COLON, bullets.SENTENCE, bullets.PREAMBLE, bullets.HEADING,
    ],
)  # fmt: skip
def test_cudf_compiles_our_patterns(pattern: str) -> None:
    """libcudf reads each pattern that it is given; this is done on the host, so that it shows without a GPU."""
    assert importlib.import_module("nemocc_dask.text.on_cudf").program(pattern) is not None


@needs_cudf
def test_cudf_would_not_read_just_any_pattern() -> None:
    """What libcudf cannot read is told, so that the test above can fail."""
    with pytest.raises(RuntimeError, match="bad escape"):
        importlib.import_module("nemocc_dask.text.on_cudf").program(r"\pL")


@needs_cudf
def test_a_frame_of_cudf_has_the_engine_of_cudf() -> None:
    """Its type tells; and until such a frame is seen, cuDF is not imported."""
    script = (
        "import sys, nemocc_dask.preprocess, nemocc_dask.postprocess; assert 'cudf' not in sys.modules;"
        "from nemocc_dask.text.engine import frames_of; import cudf;"
        "engine = frames_of(object.__new__(cudf.DataFrame));"
        "assert type(engine).__module__ == 'nemocc_dask.text.cudf_frames'"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
