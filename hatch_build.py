"""Compiles the package's C sources while it is built: by the compiler that is there, else by one that pip fetches."""

from __future__ import annotations

import os
import shlex
import shutil
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
        return [] if installed_compiler(Path(self.root)) else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Compile into the tree, where a checkout that is installed as editable finds it, and into the wheel."""
        root = Path(self.root)
        compile_library(installed_compiler(root) or FETCHED, root, root / LIBRARY)
        build_data["artifacts"].append(LIBRARY.as_posix())
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}"


def installed_compiler(root: Path) -> list[str] | None:
    """The first compiler of this machine that makes the library: some have no headers or cannot link."""
    for compiler in (_words(os.environ.get("CC", "")), ["cc"], ["gcc"], ["clang"]):
        if compiler and shutil.which(compiler[0]):
            with TemporaryDirectory() as folder:
                try:
                    compile_library(compiler, root, Path(folder, LIBRARY.name))
                except subprocess.CalledProcessError:
                    continue
            return compiler
    return None


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError:  # a quotation that does not end
        return []


def compile_library(compiler: list[str], root: Path, library: Path) -> None:
    """Raises `subprocess.CalledProcessError`, whose output says what the compiler did not like."""
    sources = sorted(str(source) for source in (root / NATIVE).glob("*.c"))
    made = library.with_suffix(f".{os.getpid()}")  # put in place whole: a process may have the old one open
    subprocess.run([*compiler, *FLAGS, *sources, "-o", str(made)], check=True, capture_output=True, text=True)
    made.replace(library)
