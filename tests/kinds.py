"""The kinds of frames that tests can run on, and whether one can be run here.

`lists` are the frames of `stand_in_frames`, for the tests of phases alone.
"""

from __future__ import annotations

import importlib.util

import pytest

from nemocc_dask.devices import cuda_devices

KINDS = ("pandas", "dask", "cudf", "lists")


def chosen_kinds(config: pytest.Config) -> list[str]:
    """The kinds of frames that `--frames` names."""
    kinds = [kind.strip() for kind in config.getoption("--frames").split(",")]
    unknown = set(kinds) - set(KINDS)
    if unknown:
        raise pytest.UsageError(f"--frames knows {', '.join(KINDS)}, not {', '.join(sorted(unknown))}.")
    return kinds


def places(config: pytest.Config) -> list[str]:
    """Where phases run on those kinds, each once: the partitions of Dask's are pandas frames."""
    return list(dict.fromkeys("pandas" if kind == "dask" else kind for kind in chosen_kinds(config)))


def skip_without_a_gpu() -> None:
    """Skip the test that asks where cuDF cannot run, and say why."""
    if importlib.util.find_spec("cudf") is None:
        pytest.skip("cudf is not installed")
    if cuda_devices() == 0:
        pytest.skip("there is no CUDA device")
