"""The kernels of each kind of column, as functions on lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from kinds import chosen_kinds, skip_without_a_gpu

from nemocc_dask.text import arrow

from .documents import Inside, array


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "kernels" in metafunc.fixturenames:
        kinds = dict.fromkeys("cudf" if kind == "cudf" else "arrow" for kind in chosen_kinds(metafunc.config))
        metafunc.parametrize("kernels", list(kinds), indirect=True, scope="session")


class Kernels:
    """`kernels.strip([" a", None])`: the rows become a column, the kernel is called, what it returns becomes a list."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        kernel = getattr(self.module(), name)
        return lambda rows, *settings, **named: self.listed(kernel(self.column(rows), *settings, **named))

    def module(self) -> Any:
        return arrow

    def column(self, rows: list[str | None]) -> Any:
        return array(rows.longer)[rows.place] if isinstance(rows, Inside) else array(rows)

    def texts(self, column: Any) -> list[str | None]:
        assert column.type == pa.large_string()
        column.validate(full=True)
        return column.to_pylist()

    def listed(self, result: Any) -> Any:
        """Texts as a list, flags as a list; of a tuple, the texts as a list and the rest as it is."""
        if isinstance(result, tuple):
            return result._replace(texts=self.texts(result.texts))
        if isinstance(result, np.ndarray | pa.BooleanArray):
            return result.tolist()
        return self.texts(result)


class CudfKernels(Kernels):
    """The same on a GPU."""

    def module(self) -> Any:
        from nemocc_dask.text import gpu

        return gpu

    def column(self, rows: list[str | None]) -> Any:
        import cudf

        if isinstance(rows, Inside):
            return cudf.Series.from_arrow(array(rows.longer))[rows.place]
        return cudf.Series.from_arrow(array(rows))

    def texts(self, column: Any) -> list[str | None]:
        import cudf

        assert isinstance(column, cudf.Series)
        return super().texts(column.to_arrow())


@pytest.fixture(scope="session")
def kernels(request: pytest.FixtureRequest) -> Kernels:
    """The text kernels of one kind of column, from lists to lists."""
    if request.param == "cudf":
        skip_without_a_gpu()
        return CudfKernels()
    return Kernels()
