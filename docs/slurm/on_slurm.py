"""`nemocc-dask` on the tasks of one Slurm job: one is the scheduler, one the client, all others are workers.

To be started by srun, with the words of `nemocc-dask`; `job.sbatch` beside it does.
"""

from __future__ import annotations

import os
import signal
import sys

from dask_jobqueue.slurm import SLURMRunner
from distributed import Client

from nemocc_dask.cli import nemocc

LONGEST_START_S = 300
"""Longest wait for the first worker; those that come later are given work too."""


def main() -> None:
    """Returns in the client alone: in all other tasks the runner's block is entered and never left."""
    # Slurm tells all tasks at once that their time is up. The client ends the job then, and needs the others for it.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threads = int(os.environ.get("SLURM_CPUS_PER_TASK", "1"))
    worker = {"nthreads": threads, "local_directory": os.environ.get("TMPDIR", "/tmp")}
    with SLURMRunner(worker_class="distributed.Nanny", worker_options=worker) as runner:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # the runner's own would leave answers unstored
        with Client(runner.scheduler_address) as client:
            client.wait_for_workers(1, timeout=LONGEST_START_S)
        nemocc([*sys.argv[1:], "--scheduler-file", str(runner.scheduler_file)], prog_name="nemocc-dask")


if __name__ == "__main__":
    main()
