"""Workers that analyze a cohort, local processes or those of a dask scheduler, and the job of one slide."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import psutil

from napari_melanoma import __version__
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import (
    BundleError,
    ClusterError,
    ConfigError,
    DiskFull,
    MelanomaError,
    RunError,
    SaveError,
    describe_error,
)
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.torch_environment import prepare_torch
from napari_melanoma.slides.analysis import SharedTileModel, analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.slide_table import Row, SlideStatus, status_to_row

if TYPE_CHECKING:
    from distributed import Client, Future


log = logging.getLogger(__name__)

HIGH_MEMORY_SHARE = 0.8  # of the limit: a worker that ends with more was probably out of memory
GIB = 2**30
CONNECT_S, CLOSE_S = 20.0, 5.0
ADDRESS = re.compile(r"((tcp|tls|wss?)://)?[^/\s]+:\d+")
RESTART_ADVICE = "Finished slides are kept. Restart scheduler and workers, and run the same command to continue."
MIN_MEMORY = 2 * 2**30  # per process, even if the sum exceeds the memory: not all processes peak at once
LOCAL_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # a lost worker counts as an attempt, and attempts are counted here
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


class WorkerLost(Exception):  # noqa: N818 - an outcome that is counted, not an error that is shown
    """The process that ran a job has ended or was disconnected."""


@dataclass(frozen=True)
class WorkerStatus:
    """Last known status of a worker.

    ``name``: for display. ``memory``: used memory in bytes. ``limit``: its limit in bytes, 0 for none. ``ready``:
    whether the worker can start jobs.
    """

    name: str
    memory: int = 0
    limit: int = 0
    ready: bool = True

    @property
    def exit_reason(self) -> str:
        """Probable reason why a worker ended without an error message."""
        text = f"its process ended without an error message ({self.name}"
        if not self.limit:
            return f"{text}): killed, out of memory, or its machine is not available"
        text += f", with {self.memory / GIB:.1f} of {self.limit / GIB:.1f} GiB at the last update)"
        is_full = self.memory > HIGH_MEMORY_SHARE * self.limit
        return (
            f"{text}: out of memory" if is_full else f"{text}: killed, out of memory, or its machine is not available"
        )


class SubmittedJob(Protocol):
    """A job submitted to a worker."""

    def is_done(self) -> bool:
        """Return whether the job has a result or failed."""

    def result(self) -> CohortJobResult:
        """Return the result of a job that is done; raise WorkerLost if there is none."""

    def cancel(self) -> None:
        """Stop waiting for the job."""


class Cluster(Protocol):
    """Workers, whose number may change."""

    def workers(self) -> dict[str, WorkerStatus]:
        """Return the current workers by their address."""

    def submit(self, address: str, job: CohortJob) -> SubmittedJob:
        """Submit a job to a worker."""


class DaskCluster:
    """Workers of a dask scheduler."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def workers(self) -> dict[str, WorkerStatus]:
        """Return the current workers."""
        if self._client.status != "running":
            raise ClusterError(f"the scheduler no longer responds. {RESTART_ADVICE}")
        try:
            workers: dict[str, dict[str, Any]] = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception as error:  # a lost connection raises many kinds of errors
            raise ClusterError(
                f"the scheduler no longer responds ({_describe_error(error)}). {RESTART_ADVICE}"
            ) from error
        return {address: _worker_status(address, worker) for address, worker in workers.items()}

    def submit(self, address: str, job: CohortJob) -> DaskJob:
        """Submit a job to a worker, and to no other one."""
        try:
            future = self._client.submit(run_job, job, workers=[address], allow_other_workers=False, pure=False)
        except Exception as error:
            raise ClusterError(
                f"the scheduler no longer accepts slides ({_describe_error(error)}). {RESTART_ADVICE}"
            ) from error
        return DaskJob(future)


class DaskJob:
    """A job submitted to a dask worker."""

    def __init__(self, future: Future) -> None:
        self._future = future

    def is_done(self) -> bool:
        """Return whether the job has a result or failed."""
        return str(self._future.status) != "pending"

    def result(self) -> CohortJobResult:
        from distributed.scheduler import KilledWorker

        if self._future.status not in ("finished", "error"):
            raise WorkerLost
        try:
            result: CohortJobResult = self._future.result(timeout=CONNECT_S)
        except (KilledWorker, OSError, TimeoutError) as error:
            raise WorkerLost from error
        except Exception as error:  # an error of dask, as errors of the job are part of its result
            if "deserialization" in str(error):
                raise ClusterError(
                    "scheduler and workers cannot import napari-melanoma. Start them in the environment that it is "
                    "installed in."
                ) from error
            return CohortJobResult("again", f"unexpected {_describe_error(error)}")
        return result

    def cancel(self) -> None:
        """Stop waiting for the job."""
        with suppress(Exception):  # the scheduler may have ended
            self._future.cancel()


@contextmanager
def connect_cluster(scheduler: str) -> Iterator[DaskCluster]:
    """Connect to the workers of a running scheduler; scheduler and workers keep running afterwards."""
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
        yield DaskCluster(client)
    finally:
        with suppress(Exception):  # it may have ended
            client.close(CLOSE_S)


@contextmanager
def start_cluster(processes: int) -> Iterator[DaskCluster]:
    """Start worker processes on this machine, which end with this one.

    They are spawned, never forked; cores and memory are divided among them, and a process that dies is replaced.
    Temporary certificates restrict the connection to the scheduler to these processes.
    """
    _require_dask()
    import dask
    from distributed import Client, LocalCluster

    from napari_melanoma.core.context import usable_cores

    _silence_dask()
    memory = max(MIN_MEMORY, psutil.virtual_memory().total // processes)
    with dask.config.set(LOCAL_CONFIG):
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
            yield DaskCluster(client)
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


def _worker_status(address: str, worker: dict[str, Any]) -> WorkerStatus:
    """Convert the information of the scheduler on a worker."""
    name, host = worker.get("name", address), address.split("://")[-1].rsplit(":", 1)[0]
    label = f"process {name}" if isinstance(name, int) else name if host in name else f"{name} at {host}"
    memory, limit = worker["metrics"].get("memory"), worker.get("memory_limit")
    return WorkerStatus(label, int(memory or 0), int(limit or 0), worker.get("status") == "running")


def _describe_error(error: Exception) -> str:
    """Return a short message for an error of another library."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# "bad": fails on every worker; "again": may succeed elsewhere or later; "busy": another process analyzes the slide;
# "all": concerns every slide.
JobOutcome = Literal["done", "bad", "again", "busy", "all", "cancelled"]
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
    """Outcome of a job: the table row of the slide if it succeeded, else the error.

    ``kind``: class name of an error that concerns every slide.
    """

    outcome: JobOutcome
    error: str = ""
    kind: str = ""
    row: Row = field(default_factory=dict)


def run_job(job: CohortJob) -> CohortJobResult:
    """Analyze one slide in a worker, where only one job runs at a time; errors are returned, never raised."""
    if job.version != __version__:
        message = (
            f"a worker has napari-melanoma {__version__}, this is {job.version}. Install the same version everywhere."
        )
        return CohortJobResult("all", message, ClusterError.__name__)
    if not job.slide.exists():
        return CohortJobResult(
            "again", f"the worker cannot access {job.slide.name}. All machines must share the folder of slides."
        )
    with _job_lock:
        try:
            return _run_job(job)
        except RunError as error:
            return CohortJobResult("busy" if RunFolder(job.folder).is_owned else "bad", str(error))
        except (BundleError, ConfigError, DiskFull) as error:
            return CohortJobResult("all", str(error), type(error).__name__)
        except Cancelled:
            return CohortJobResult(
                "cancelled", "canceled through control.json in its folder. Run the same command to continue."
            )
        except SaveError as error:
            return CohortJobResult("again", str(error))
        except MelanomaError as error:  # concerns the slide, on any worker
            return CohortJobResult("bad", str(error))
        except MemoryError:
            return CohortJobResult("again", "out of memory. Use fewer processes, or a machine with more memory.")
        except Exception as error:  # noqa: BLE001 - reported in the row of the slide
            return CohortJobResult("again", describe_error(error))


def _run_job(job: CohortJob) -> CohortJobResult:
    """Analyze one slide with the model of this process."""
    threads = _set_thread_count()
    options = job.options.model_copy(update={"workers": job.options.workers or max(2, min(8, threads))})
    record_slide(job.folder, job.slide)
    models = _shared_model(job.options.model_dump_json())
    outcome = analyze_slide(job.slide, job.folder, options, RunContext(), load=models.get_reset, force=job.force)
    return CohortJobResult("done", row=status_to_row(SlideStatus(job.slide, job.folder, "done", outcome.content)))


@lru_cache(maxsize=1)
def _shared_model(options: str) -> SharedTileModel:
    """Return the model for some options as JSON; the model for previous options is released."""
    return SharedTileModel(SlideOptions.model_validate_json(options))


def _set_thread_count() -> int:
    """Use as many threads as this worker was assigned, and return their number."""
    prepare_torch()
    import torch
    from distributed import get_worker

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    threads = int(get_worker().state.nthreads)
    torch.set_num_threads(threads)
    return threads


def failed_row(job: CohortJob, error: str) -> Row:
    """Return the table row of a slide that failed."""
    return status_to_row(SlideStatus(job.slide, job.folder, "failed", error=error))
