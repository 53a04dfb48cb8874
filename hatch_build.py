"""Compiles the package's C sources while it is built: by the compiler that is there, else by one that pip fetches."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import sysconfig
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NATIVE = Path("nemocc_dask", "text", "native")
LIBRARY = NATIVE / "_native.so"
FLAGS = ("-O3", "-std=c11", "-shared", "-fPIC", "-fvisibility=hidden")
FETCHED = [sys.executable, "-m", "ziglang", "cc"]
"""A whole C compiler as a package, for machines without one."""


class CompiledKernels(BuildHookInterface[Any]):
    """One library of plain C, without Python's headers: the same file serves every version of Python."""

    PLUGIN_NAME = "custom"

    def dependencies(self) -> list[str]:
        """What pip fetches before it builds."""
        with TemporaryDirectory() as folder:
            return [] if compiled_here(Path(self.root), Path(folder, LIBRARY.name)) else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile into the tree, where a checkout that is installed as editable finds it, and into the wheel."""
        root = Path(self.root)
        if not compiled_here(root, root / LIBRARY):
            refusal = compile_library(FETCHED, root, root / LIBRARY)
            if refusal:
                raise RuntimeError(f"The C sources in {NATIVE} could not be compiled:\n{refusal}")
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def compiled_here(root: Path, library: Path) -> bool:
    """Whether a compiler of this machine has made the library: some have no headers or cannot link."""
    named = (_words(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"])
    return any(not compile_library(compiler, root, library) for compiler in named if compiler)


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation that does not end
        return []


def compile_library(compiler: list[str], root: Path, library: Path) -> str:
    """What the compiler did not like; nothing where it has made the library."""
    sources = sorted(str(source) for source in (root / NATIVE).glob("*.c"))
    made = library.with_suffix(f".{os.getpid()}")  # put in place whole: a process may have the old one open
    try:
        subprocess.run([*compiler, *FLAGS, *sources, "-o", str(made)], check=True, capture_output=True, text=True)
        made.replace(library)
    except subprocess.CalledProcessError as error:
        return str(error.stderr or error)
    except OSError as error:  # there is no such program, or it has made nothing
        return str(error)
    return ""
