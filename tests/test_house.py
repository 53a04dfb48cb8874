"""The law of the house: which room may import what, and that each test says what it holds."""

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import nemocc_dask
from nemocc_dask.accessor import Nemocc
from nemocc_dask.admit import admit
from nemocc_dask.generate import generate
from nemocc_dask.postprocess import postprocess
from nemocc_dask.preprocess import preprocess
from nemocc_dask.route import route

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "nemocc_dask"

FLOORS = {
    "errors": 0, "columns": 0, "demo": 0, "cuda_cluster": 0,
    "accounting": 1, "connect": 1, "devices": 1, "filesystems": 1, "logs": 1, "text": 1, "tokens": 1, "settings": 1,
    "tasks": 2, "llm": 2, "sieve": 2, "segmenting": 2, "simulate": 2, "budget": 2,
    "scheduler": 3, "launches": 3,
    "admit": 3, "route": 3, "preprocess": 3, "generate": 3, "postprocess": 3,
    "io": 4, "synthesize": 4, "resolve": 4, "worker": 4, "clusters": 4, "telling": 4,
    "chain": 5, "partition": 5, "identity": 5, "again": 5, "renewal": 5,
    "suspects": 6, "pipeline": 6, "books": 6, "order": 6,
    "dispatch": 7, "pulse": 7, "accessor": 7,
    "job": 8,
    "console": 9, "live": 9, "driving": 9,
    "verbs": 10, "watch": 10,
    "cli": 11,
}  # fmt: skip
"""Room → floor. A room imports from lower floors only; the files of one folder may import each other."""

HOMES = {
    "aiohttp": {"llm", "simulate"},
    "aiohttp_socks": {"llm"},
    "awkward": {"tokens"},
    "click": {"cli", "verbs"},
    "cuda": {"devices"},
    "cudf": {"text.on_cudf", "text.cudf_frames"},
    "cupy": set(),
    "dask": {"accessor", "clusters", "pipeline", "worker"},
    "dask_cuda": {"cuda_cluster"},
    "distributed": {
        "clusters",
        "connect",
        "dispatch",
        "driving",
        "launches",
        "scheduler",
        "suspects",
        "watch",
        "worker",
    },
    "fsspec": {"filesystems"},
    "gigatoken": {"tokens"},
    "jsonschema": {"settings.formats"},
    "huggingface_hub": {"tokens"},
    "mistral_common": {"tokens"},
    "pandas": {"text.engine", "text.pandas_frames", "io", "accessor"},
    "prometheus_client": {"llm.metrics"},
    "psutil": {"suspects"},
    "pydantic": {"settings"},
    "pylibcudf": {"text.on_cudf"},
    "rich": {"console", "live"},
    "tokenizers": {"tokens"},
    "torch": set(),
    "transformers": {"tokens"},
}
"""Heavy library → the rooms, or files of a room, that may import it."""

LAZY = {"__init__", "cli", "clusters", "text.engine"}
"""Rooms that fetch others by name when they are needed: every `dask` call imports them, or few machines have cuDF."""


def modules() -> dict[str, ast.Module]:
    files = {path: path.relative_to(PACKAGE).with_suffix("").parts for path in sorted(PACKAGE.rglob("*.py"))}
    return {
        ".".join(parts).removesuffix(".__init__"): ast.parse(path.read_text("utf-8")) for path, parts in files.items()
    }


MODULES = modules()


def imports(tree: ast.AST) -> Iterator[str]:
    """Dotted names of what a tree imports: the module where that is one, else what it is taken from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from (name if name.removeprefix("nemocc_dask.") in MODULES else str(node.module) for name in inner)


def ours(tree: ast.AST) -> set[str]:
    """Modules of the package that a tree imports."""
    return {name.removeprefix("nemocc_dask.") for name in imports(tree) if name.startswith("nemocc_dask.")}


def room(module: str) -> str:
    return module.split(".")[0]


@pytest.mark.parametrize("module", sorted(MODULES.keys() - {"__init__"}))
def test_a_room_imports_from_lower_floors(module):
    """Data goes one way: what a room uses stands on a lower floor, or in the same folder."""
    for used in ours(MODULES[module]):
        same_folder = room(used) == room(module) and "." in used + module
        assert same_folder or FLOORS[room(used)] < FLOORS[room(module)], f"{module} imports {used}"


def test_there_are_no_circles():
    """No chain of imports leads back to where it began."""
    left = {module: ours(tree) - {module} for module, tree in MODULES.items() if module != "__init__"}
    while left:
        free = {module for module, used in left.items() if not used & left.keys()}
        assert free, f"these import each other in a circle: {sorted(left)}"
        left = {module: used for module, used in left.items() if module not in free}


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_import_of_ours_inside_a_function(module):
    """An import inside a function hides a circle; what is lazy on purpose is named in LAZY."""
    for node in ast.walk(MODULES[module]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert not ours(node), f"{module}.{node.name}"
    text = ast.unparse(MODULES[module])
    assert module in LAZY or "import_module" not in text


@pytest.mark.parametrize("library", sorted(HOMES))
def test_a_heavy_library_stays_in_its_room(library):
    """Where a library changes, one room changes with it."""
    for module, tree in MODULES.items():
        if any(name.split(".")[0] == library for name in imports(tree)):
            assert {module, room(module)} & HOMES[library], f"{module} imports {library}"


def test_the_only_map_partitions():
    """Dask's `map_partitions` is called in one room."""
    callers = {
        module
        for module, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("map_partitions", "from_map")
    }
    assert callers == {"pipeline"}


def documented() -> dict[str, Any]:
    """Public names and the accessor's methods, with what they are; a mapping has no docstring of its own."""
    public = {name: getattr(nemocc_dask, name) for name in nemocc_dask.__all__ if name != "TASKS"}
    methods = {f".nemocc.{name}": value for name, value in vars(Nemocc).items() if not name.startswith("_")}
    phases = {each.__name__: each for each in (admit, route, preprocess, generate, postprocess)}
    return public | methods | phases


@pytest.mark.parametrize(("name", "value"), documented().items(), ids=documented().keys())
def test_a_public_name_shows_an_example(name, value):
    """What users call has a docstring with an example, which runs among the tests."""
    assert ">>>" in (value.__doc__ or ""), name


def test_every_room_has_a_floor():
    """A new room is given its place in FLOORS before it is used."""
    assert {room(module) for module in MODULES} - {"__init__", ""} == set(FLOORS)


@pytest.mark.parametrize("path", sorted((ROOT / "tests").rglob("test_*.py")), ids=lambda path: path.stem)
def test_every_test_says_what_it_holds(path):
    """The first line of each test's docstring is the sentence that the test holds."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
            assert ast.get_docstring(node), f"{path.name}: {node.name}"
