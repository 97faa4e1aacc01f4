"""Analyze slides on SLURM jobs, which dask-jobqueue submits, replaces when they end, and cancels at the end.

    python jobqueue_slides.py 20 slides --out results

runs ``napari-melanoma slide slides --out results`` on 20 jobs. Their size, time limit and queue are in
``~/.config/dask/jobqueue.yaml`` (https://jobqueue.dask.org/en/stable/clusters-configuration.html). The same command
continues.
"""

from __future__ import annotations

import subprocess
import sys

import dask
from dask_jobqueue import SLURMCluster

# A slide whose job reaches its time limit is resumed by another one, and not given up after three jobs.
SETTINGS = {"distributed.scheduler.allowed-failures": 20}
# Networks and readers use the memory, not data of dask: pausing or spilling to disk would not free any.
PROLOGUE = [f"export DASK_DISTRIBUTED__WORKER__MEMORY__{step}=False" for step in ("TARGET", "SPILL", "PAUSE")]


def main() -> int:
    """Start the jobs, run the command, and return its exit code."""
    jobs, *words = sys.argv[1:]
    with dask.config.set(SETTINGS), SLURMCluster(processes=1, job_script_prologue=PROLOGUE) as cluster:
        # Minimum and maximum are equal: the command submits one slide for each worker, so dask never sees a queue.
        cluster.adapt(minimum_jobs=int(jobs), maximum_jobs=int(jobs))
        command = [sys.executable, "-m", "napari_melanoma", "slide", *words, "--scheduler", cluster.scheduler_address]
        return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    raise SystemExit(main())
