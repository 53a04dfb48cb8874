"""An event loop whose clock jumps to the next moment at which something happens: minutes pass in milliseconds."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` starts at 1000 seconds and never waits for anything but its own timers."""

    def __init__(self) -> None:
        self._moment = 1000.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        return self._moment

    def jump(self, seconds: float | None) -> None:
        if seconds is None:
            raise RuntimeError("everybody waits, and nothing will ever happen")
        self._moment += seconds


class _Jumping(selectors.DefaultSelector):
    def __init__(self, loop: VirtualLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> Any:
        self._loop.jump(timeout)
        return super().select(0)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Runs to the end in virtual time."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def now() -> float:
    return asyncio.get_running_loop().time()
