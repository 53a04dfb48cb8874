"""Phases on frames of another kind: a test's pandas frames go to a device before each, and come back after it.

Tests of phases make frames of pandas and read them. Where `--frames=cudf` is chosen, the phases that their modules
import are replaced by ones that do this, so that the same tests hold on a GPU.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any, Protocol

import pandas as pd
import pytest

from nemocc_dask import admit, columns, generate, postprocess, preprocess, route, synthesize
from nemocc_dask.text.engine import frames_of, frames_on

ROOMS = (admit, route, preprocess, generate, postprocess, synthesize)

NULLABLE = {name: kind for name, kind in (columns.LEDGER | columns.REJECT).items() if kind == "Int64"}
"""Columns that phases make whose integers may be missing, wherever one is: a GPU's frame does not say it."""


def _takes_a_frame(function: FunctionType) -> bool:
    return any(each.annotation == "Frame" for each in inspect.signature(function).parameters.values())


PHASES = frozenset(
    function
    for room in ROOMS
    for name, function in inspect.getmembers(room, inspect.isfunction)
    if function.__module__ == room.__name__ and not name.startswith("_") and _takes_a_frame(function)
)
"""All public functions of the phases' rooms to which a frame is given."""


class Device(Protocol):
    """Where frames are worked on."""

    def put(self, frame: pd.DataFrame) -> Any:
        """A pandas frame as one of the device."""

    def back(self, frame: Any) -> pd.DataFrame:
        """A frame of the device as pandas."""


class Gpu:
    """The memory of a GPU."""

    def put(self, frame: pd.DataFrame) -> Any:
        return frames_on(gpu=True).from_pandas(frame)

    def back(self, frame: Any) -> pd.DataFrame:
        return frames_of(frame).to_pandas(frame)


def imported_by(module: ModuleType) -> dict[str, Callable[..., Any]]:
    """The phases in a module's namespace, by their names there."""
    return {name: value for name, value in vars(module).items() if isinstance(value, FunctionType) and value in PHASES}


def move(module: ModuleType, device: Device, patch: pytest.MonkeyPatch) -> None:
    """Have the phases that a module imports run on a device."""
    for name, phase in imported_by(module).items():
        patch.setattr(module, name, on(device, phase))


def on(device: Device, phase: Callable[..., Any]) -> Callable[..., Any]:
    """The phase, with pandas frames among its arguments put onto the device and the frames in its result brought back.

    Columns come back with the dtypes that those of their names had.
    """

    @functools.wraps(phase)
    def moved(*args: Any, **named: Any) -> Any:
        dtypes = dict(NULLABLE)

        def put(value: Any) -> Any:
            if not isinstance(value, pd.DataFrame):
                return value
            dtypes.update({str(name): dtype for name, dtype in value.dtypes.items()})
            return device.put(value)

        def back(value: Any) -> Any:
            if isinstance(value, tuple | list):
                each = map(back, value)
                return type(value)(*each) if hasattr(value, "_fields") else type(value)(each)
            return _in_dtypes(device.back(value), dtypes) if hasattr(value, "columns") else value

        return back(phase(*map(put, args), **{name: put(value) for name, value in named.items()}))

    return moved


def _in_dtypes(frame: pd.DataFrame, dtypes: dict[str, Any]) -> pd.DataFrame:
    return frame.astype({name: dtype for name, dtype in dtypes.items() if name in frame.columns})
