"""The facade has every kernel, in order."""

from __future__ import annotations

from nemocc_dask.text import arrow


def test_the_facade_is_complete_and_sorted() -> None:
    """What is imported for callers is listed, and in the order of the alphabet."""
    kernels = sorted(name for name, value in vars(arrow).items() if callable(value) and not name.startswith("_"))
    assert arrow.__all__ == kernels
