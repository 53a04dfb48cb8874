"""How many GPUs there are. The driver is asked, because cuDF can be imported where there is none."""

from __future__ import annotations

import ctypes

from nemocc_dask.errors import SettingError

try:
    from cuda.bindings import driver
except ImportError:  # the extra `gpu` is not installed
    driver = None


def cuda_devices() -> int:
    """The CUDA devices that this process may use; 0 where there is none, no driver, or no library to ask it with.

    >>> cuda_devices() == 0 or driver is not None
    True
    """
    if driver is None:
        return 0
    try:
        began, *_ = driver.cuInit(0)
        counted, devices = driver.cuDeviceGetCount()
    except RuntimeError:  # no driver is installed
        return 0
    return int(devices) if began == counted == driver.CUresult.CUDA_SUCCESS else 0


def check_gpu() -> None:
    """Raises `SettingError` where this process can use no GPU."""
    if driver is None and not _has_driver():
        raise SettingError(f"A GPU is asked for, and there is no CUDA driver here (libcuda.so.1). {_REMEDY}")
    if driver is None:
        raise SettingError("A GPU is asked for, and cuDF is not installed. Install it: pip install 'nemocc-dask[gpu]'.")
    if not cuda_devices():
        raise SettingError(
            f"A GPU is asked for, and there is no CUDA device here that may be used, as its driver says. {_REMEDY}"
        )


_REMEDY = "Leave out --gpu, or name a scheduler whose workers have one (--scheduler)."


def _has_driver() -> bool:
    """Whether NVIDIA's driver is installed, whatever of RAPIDS is."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True
