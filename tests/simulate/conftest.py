"""A simulated endpoint per test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from nemocc_dask.simulate import Knobs, Simulator


@pytest.fixture
def simulate() -> Iterator[Callable[..., Simulator]]:
    """Starts simulated endpoints with the given knobs, and stops them after the test."""
    with ExitStack() as running:
        yield lambda **knobs: running.enter_context(Simulator(Knobs(**knobs)))


@pytest.fixture
def simulator(simulate: Callable[..., Simulator]) -> Simulator:
    """A fast endpoint without faults."""
    return simulate()
