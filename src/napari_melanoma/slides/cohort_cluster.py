"""Workers that analyze a cohort, local processes or those of a dask scheduler, and the job of one slide."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from napari_melanoma import __version__
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import (
    BundleError,
    ClusterError,
    ConfigError,
    DiskFull,
    MelanomaError,
    SaveError,
    describe_error,
)
from napari_melanoma.core.torch_environment import prepare_torch
from napari_melanoma.slides.analysis import SharedTileModel, analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.slide_table import Row, SlideStatus, status_to_row

if TYPE_CHECKING:
    from distributed import Client, Future


CONNECT_S, CLOSE_S = 20.0, 5.0
ADDRESS = re.compile(r"((tcp|tls|wss?)://)?[^/\s]+:\d+")
RESTART_ADVICE = "Finished slides are kept. Restart scheduler and workers, and run the same command to continue."
MIN_MEMORY = 2 * 2**30  # per process, even if the sum exceeds the memory: not all processes peak at once
LOCAL_CONFIG = {
    # A process that ends is noticed at once; one that imports torch on a busy machine may be silent for minutes.
    "distributed.scheduler.worker-ttl": "1 hour",
    "distributed.comm.timeouts.tcp": "10 minutes",
    "distributed.comm.timeouts.connect": "2 minutes",
    "distributed.scheduler.http.routes": [],  # no status page on a port
    "distributed.worker.http.routes": [],
    # Dask cannot free memory by spilling or pausing, because the memory is not used by data of dask.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # A terminal sends Ctrl+C to all processes; this one cancels the jobs, so that they can write their results.
    "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
}


@contextmanager
def connect_cluster(scheduler: str) -> Iterator[Client]:
    """Connect to a running scheduler; scheduler and workers keep running afterwards."""
    is_file = Path(scheduler).is_file()
    if not is_file and not ADDRESS.fullmatch(scheduler):
        raise ConfigError(
            f"'{scheduler}' is not a scheduler: expected an address such as tcp://node1:8786, or a scheduler file."
        )
    _require_dask()
    from distributed import Client

    _silence_dask()
    location = {"scheduler_file" if is_file else "address": scheduler}
    try:
        client = Client(**location, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:
        raise ClusterError(
            f"no scheduler responded at {scheduler} within {CONNECT_S:.0f} seconds ({_describe_error(error)}). Start "
            "one with 'dask scheduler', and workers with 'dask worker ADDRESS', or check the address."
        ) from error
    try:
        yield client
    finally:
        with suppress(Exception):  # it may have ended
            client.close(CLOSE_S)


@contextmanager
def start_cluster(processes: int, tries: int = 1) -> Iterator[Client]:
    """Start worker processes on this machine, which end with this one.

    They are spawned, never forked; cores and memory are divided among them, and a process that dies is replaced.
    Temporary certificates restrict the connection to the scheduler to these processes. ``tries``: a slide that is
    analyzed when so many processes die fails.
    """
    _require_dask()
    import dask
    from distributed import Client, LocalCluster

    from napari_melanoma.core.context import usable_cores

    _silence_dask()
    memory = max(MIN_MEMORY, psutil.virtual_memory().total // processes)
    with dask.config.set({**LOCAL_CONFIG, "distributed.scheduler.allowed-failures": tries - 1}):
        try:
            local = LocalCluster(
                n_workers=processes,
                threads_per_worker=max(1, usable_cores() // processes),
                memory_limit=memory,
                security=True,
                silence_logs=logging.CRITICAL,
                scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
            )
            client = Client(local, set_as_default=False)
        except (OSError, RuntimeError, TimeoutError) as error:
            raise ClusterError(
                f"worker processes could not be started ({_describe_error(error)}). Use fewer processes."
            ) from error
        try:
            yield client
        finally:
            for part in (client, local):
                with suppress(Exception):  # they end with this process at the latest
                    part.close(CLOSE_S)


def _require_dask() -> None:
    """Raise an error if dask is not installed."""
    missing = [name for name in ("distributed", "cryptography") if find_spec(name) is None]
    if missing:
        raise ClusterError(
            f"analyzing several slides at once requires {' and '.join(missing)}, not installed. Install "
            "napari-melanoma[cluster], or analyze one slide after the other: leave out --processes and --scheduler."
        )


def _silence_dask() -> None:
    """Silence dask, which logs each worker that starts or ends with a traceback; errors are reported here."""
    for name in ("tornado", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed"))):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def count_workers(client: Client) -> int:
    """Return the number of workers."""
    try:
        return len(client.scheduler_info(n_workers=-1)["workers"])
    except Exception as error:  # a lost connection raises many kinds of errors
        raise ClusterError(f"the scheduler no longer responds ({_describe_error(error)}). {RESTART_ADVICE}") from error


def _describe_error(error: Exception) -> str:
    """Return a short message for an error of another library."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


_job_lock = threading.Lock()  # the model is shared by all threads of a worker


@dataclass(frozen=True)
class CohortJob:
    """One slide to analyze, with its folder, options and the version of this package."""

    slide: Path
    folder: Path
    options: SlideOptions
    force: bool = False
    version: str = __version__


@dataclass(frozen=True)
class CohortJobResult:
    """Outcome of a job: the table row of the slide, or the error.

    ``fatal``: class name of an error that concerns every slide.
    """

    row: Row = field(default_factory=dict)
    error: str = ""
    fatal: str = ""


def run_job(job: CohortJob) -> CohortJobResult:
    """Analyze one slide in a worker, where only one job runs at a time.

    Errors that every attempt would repeat are returned; others are raised, for dask to try again.
    """
    if job.version != __version__:
        message = (
            f"a worker has napari-melanoma {__version__}, this is {job.version}. Install the same version everywhere."
        )
        return CohortJobResult(error=message, fatal=ClusterError.__name__)
    if not job.slide.parent.exists():
        message = f"a worker cannot access the folder of {job.slide.name}. All machines must share the slides."
        return CohortJobResult(error=message, fatal=ClusterError.__name__)
    with _job_lock:
        try:
            return CohortJobResult(row=_analyze(job))
        except (BundleError, ConfigError, DiskFull) as error:
            return CohortJobResult(error=str(error), fatal=type(error).__name__)
        except SaveError:  # perhaps a network drive that did not respond
            raise
        except MelanomaError as error:
            return CohortJobResult(error=str(error))
        except Cancelled:
            return CohortJobResult(
                error="canceled through control.json in its folder. Run the same command to continue."
            )


def job_result(future: Future) -> CohortJobResult:
    """Return the result of a job that is done; an error that dask reports after all attempts is part of it."""
    from distributed.scheduler import KilledWorker

    if future.status not in ("finished", "error"):
        raise ClusterError(f"the scheduler was restarted. {RESTART_ADVICE}")
    try:
        result: CohortJobResult = future.result(timeout=CONNECT_S)
    except KilledWorker as error:
        return CohortJobResult(
            error=f"its process ended without an error message in each of {error.allowed_failures + 1} attempts: out "
            "of memory, killed, or its machine is not available. Use fewer processes, or a machine with more memory."
        )
    except Exception as error:  # noqa: BLE001 - reported in the row of the slide
        if "deserialization" in str(error):
            message = "scheduler and workers cannot import napari-melanoma. Start them in its environment."
            return CohortJobResult(error=message, fatal=ClusterError.__name__)
        return CohortJobResult(error=describe_error(error))
    return result


def _analyze(job: CohortJob) -> Row:
    """Analyze a slide with the model of this process, and return its table row."""
    threads = _set_thread_count()
    options = job.options.model_copy(update={"workers": job.options.workers or max(2, min(8, threads))})
    record_slide(job.folder, job.slide)
    models = _shared_model(job.options.model_dump_json())
    outcome = analyze_slide(job.slide, job.folder, options, RunContext(), load=models.get_reset, force=job.force)
    return status_to_row(SlideStatus(job.slide, job.folder, "done", outcome.content))


@lru_cache(maxsize=1)
def _shared_model(options: str) -> SharedTileModel:
    """Return the model for some options as JSON; the model for previous options is released."""
    return SharedTileModel(SlideOptions.model_validate_json(options))


def _set_thread_count() -> int:
    """Use as many threads as this worker was assigned, and return their number."""
    from distributed import get_worker

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    threads = int(get_worker().state.nthreads)
    prepare_torch()
    os.environ["OMP_NUM_THREADS"] = str(threads)  # for ONNX Runtime, and for torch, which may be imported later
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(threads)
    return threads


def failed_row(job: CohortJob, error: str) -> Row:
    """Return the table row of a slide that failed."""
    return status_to_row(SlideStatus(job.slide, job.folder, "failed", error=error))
