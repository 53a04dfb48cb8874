"""A Dask cluster with a worker for each GPU of this machine. Imported where one is asked for: few have the library."""

from __future__ import annotations

from typing import Any

from dask_cuda import LocalCUDACluster

POOL_FRACTION = 0.5
"""Of each GPU's memory taken at once and handed out from then on: asking the driver for every column is slow."""


def start(**settings: Any) -> LocalCUDACluster:
    """One worker process of one thread for each GPU that `CUDA_VISIBLE_DEVICES` leaves, or that there is.

    What does not fit a GPU's memory goes to the host's.
    """
    return LocalCUDACluster(
        threads_per_worker=1,
        rmm_pool_size=POOL_FRACTION,
        enable_cudf_spill=True,
        pre_import="cudf",
        silence_logs=50,
        **settings,
    )
