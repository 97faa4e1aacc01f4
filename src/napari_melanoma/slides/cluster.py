"""Workers that share a cohort: local processes or a dask scheduler, and what each does."""

from __future__ import annotations

import logging
import os
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
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.batch import SharedTileModel
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import record_slide
from napari_melanoma.slides.table import Row, SlideStatus, status_to_row

if TYPE_CHECKING:
    from distributed import Client, Future

HIGH_MEMORY_SHARE = 0.8
GIB = 2**30


class WorkerLost(Exception):  # noqa: N818 - an outcome that is counted, not an error that is shown
    """The process that had a job has ended, or was taken from it."""


@dataclass(frozen=True)
class WorkerStatus:
    """A worker as its scheduler last saw it.

    ``name`` is for people, ``memory`` and ``limit`` (0: none) in bytes; only one that is ``ready`` begins anything.
    """

    name: str
    memory: int = 0
    limit: int = 0
    ready: bool = True

    @property
    def exit_reason(self) -> str:
        """What is to be said when it ended without a word."""
        told = f"its process ended without a word ({self.name}"
        if not self.limit:
            return f"{told}): killed, out of memory, or its machine has gone"
        told += f", with {self.memory / GIB:.1f} of {self.limit / GIB:.1f} GiB when last seen)"
        full = self.memory > HIGH_MEMORY_SHARE * self.limit
        return f"{told}: out of memory" if full else f"{told}: killed, out of memory, or its machine has gone"


class SubmittedJob(Protocol):
    """A job that a worker has."""

    def is_done(self) -> bool:
        """Return whether there is an answer, or will be none."""

    def result(self) -> CohortJobResult:
        """Return the answer."""

    def cancel(self) -> None:
        """Wait for it no longer; where it has not begun, it never will."""


class Cluster(Protocol):
    """Workers who come and go."""

    def workers(self) -> dict[str, WorkerStatus]:
        """Look who is there."""

    def submit(self, address: str, job: CohortJob) -> SubmittedJob:
        """Hand a job to a worker."""


CONNECT_S, CLOSE_S = 20.0, 5.0
ADDRESS = re.compile(r"((tcp|tls|wss?)://)?[^/\s]+:\d+")
RESTART_ADVICE = "What is done stays: start scheduler and workers again, and run the same command to go on."
MIN_MEMORY = 2 * 2**30  # of a process, also where many share little: not all need most at once
LOCAL_CONFIG = {
    "distributed.scheduler.allowed-failures": 0,  # a death is an attempt, and attempts are counted here
    # A process that ends is noticed at once; one that imports torch on a busy machine may be silent for minutes.
    "distributed.scheduler.worker-ttl": "1 hour",
    "distributed.comm.timeouts.tcp": "10 minutes",
    "distributed.comm.timeouts.connect": "2 minutes",
    "distributed.scheduler.http.routes": [],  # nobody is to look in through a port
    "distributed.worker.http.routes": [],
    # What takes memory is no data of dask, which it could move to a disk or wait for.
    "distributed.worker.memory.target": False,
    "distributed.worker.memory.spill": False,
    "distributed.worker.memory.pause": False,
    "distributed.worker.memory.terminate": 0.95,
    # A terminal sends Ctrl+C to all processes: they are to hear of it from this one, and write what they have.
    "distributed.worker.preload": ["import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)"],
}


class DaskCluster:
    """The workers of a scheduler."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def workers(self) -> dict[str, WorkerStatus]:
        """Look who is there."""
        if self._client.status != "running":
            raise ClusterError(f"the scheduler does not answer any more. {RESTART_ADVICE}")
        try:
            found: dict[str, dict[str, Any]] = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception as error:  # of whatever kind: a connection breaks in many ways
            raise ClusterError(
                f"the scheduler does not answer any more ({_describe_error(error)}). {RESTART_ADVICE}"
            ) from error
        return {address: _worker_status(address, worker) for address, worker in found.items()}

    def submit(self, address: str, job: CohortJob) -> DaskJob:
        """Hand a job to a worker, and to no other one."""
        try:
            future = self._client.submit(run_job, job, workers=[address], allow_other_workers=False, pure=False)
        except Exception as error:
            raise ClusterError(
                f"the scheduler takes no slide any more ({_describe_error(error)}). {RESTART_ADVICE}"
            ) from error
        return DaskJob(future)


class DaskJob:
    """A job that a worker of dask has."""

    def __init__(self, future: Future) -> None:
        self._future = future

    def is_done(self) -> bool:
        """Return whether there is an answer, or will be none."""
        return str(self._future.status) != "pending"

    def result(self) -> CohortJobResult:
        """Return the answer."""
        from distributed.scheduler import KilledWorker

        if self._future.status not in ("finished", "error"):
            raise WorkerLost
        try:
            answer: CohortJobResult = self._future.result(timeout=CONNECT_S)
        except (KilledWorker, OSError, TimeoutError) as error:
            raise WorkerLost from error
        except Exception as error:  # ours come as answers: this is dask's
            if "deserialization" in str(error):
                raise ClusterError(
                    "scheduler and workers do not know this program. Start them in the environment that "
                    "napari-melanoma is installed in."
                ) from error
            return CohortJobResult("again", f"unexpected {_describe_error(error)}")
        return answer

    def cancel(self) -> None:
        """Wait for it no longer."""
        with suppress(Exception):  # the scheduler may have gone
            self._future.cancel()


@contextmanager
def connect_cluster(scheduler: str) -> Iterator[DaskCluster]:
    """Share the work among the workers of a scheduler that somebody has started.

    While it is connected; scheduler and workers go on afterwards.
    """
    is_file = Path(scheduler).is_file()
    if not is_file and not ADDRESS.fullmatch(scheduler):
        raise ConfigError(
            f"'{scheduler}' is no scheduler: expected an address such as tcp://node1:8786, or the file of a scheduler."
        )
    _require_dask()
    from distributed import Client

    _silence_dask()
    where = {"scheduler_file" if is_file else "address": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:
        raise ClusterError(
            f"no scheduler answers at {scheduler} within {CONNECT_S:.0f} seconds ({_describe_error(error)}). Start one with "
            "'dask scheduler', and workers with 'dask worker ADDRESS', or check the address."
        ) from error
    try:
        yield DaskCluster(client)
    finally:
        with suppress(Exception):  # it may have gone
            client.close(CLOSE_S)


@contextmanager
def start_cluster(processes: int) -> Iterator[DaskCluster]:
    """Share the work among processes of this machine, which end with this one.

    They are spawned, never forked; each has its share of the cores and of the memory, and one that dies is replaced.
    Nobody but them can talk to the scheduler: certificates are made for the occasion.
    """
    _require_dask()
    import dask
    from distributed import Client, LocalCluster

    from napari_melanoma.core.pipeline import usable_cores

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
                f"no processes could be started ({_describe_error(error)}). Analyze with fewer."
            ) from error
        try:
            yield DaskCluster(client)
        finally:
            for part in (client, local):
                with suppress(Exception):  # they end with this process at the latest
                    part.close(CLOSE_S)


def _require_dask() -> None:
    """Refuse to go on without dask."""
    missing = [name for name in ("distributed", "cryptography") if find_spec(name) is None]
    if missing:
        raise ClusterError(
            f"many slides at once need {' and '.join(missing)}, which this installation lacks. Install "
            "napari-melanoma[cluster], or analyze one slide after the other: leave out --processes and --scheduler."
        )


def _silence_dask() -> None:
    """Leave it to us to say what happened: dask would tell of each worker that comes and goes, with tracebacks."""
    for name in ("tornado", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed"))):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _worker_status(address: str, worker: dict[str, Any]) -> WorkerStatus:
    """A worker in the words of its scheduler."""
    name, host = worker.get("name", address), address.split("://")[-1].rsplit(":", 1)[0]
    said = f"process {name}" if isinstance(name, int) else name if host in name else f"{name} at {host}"
    memory, limit = worker["metrics"].get("memory"), worker.get("memory_limit")
    return WorkerStatus(said, int(memory or 0), int(limit or 0), worker.get("status") == "running")


def _describe_error(error: Exception) -> str:
    """An error of another program in a few words."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


# What became of it: bad input stays bad; "again" may go well elsewhere or later; "all" concerns every slide.
JobOutcome = Literal["done", "bad", "again", "busy", "all", "cancelled"]
_job_lock = threading.Lock()  # the model is one, also where a worker has several threads


@dataclass(frozen=True)
class CohortJob:
    """One slide to be analyzed: the slide, its folder, how, and by which version of this program."""

    slide: Path
    folder: Path
    options: SlideOptions
    force: bool = False
    version: str = __version__


@dataclass(frozen=True)
class CohortJobResult:
    """What became of a job: the row of the slide where it is done; where not, what is wrong and which error that is."""

    outcome: JobOutcome
    error: str = ""
    kind: str = ""
    row: Row = field(default_factory=dict)


def run_job(job: CohortJob) -> CohortJobResult:
    """Analyze one slide, after others that this process is still busy with.

    Returns also where it failed, whatever the reason.
    """
    if job.version != __version__:
        said = f"a worker has napari-melanoma {__version__}, this is {job.version}. Install one version everywhere."
        return CohortJobResult("all", said, ClusterError.__name__)
    if not job.slide.exists():
        return CohortJobResult(
            "again", f"the worker does not see {job.slide.name}. All machines must share the folder of slides."
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
                "cancelled", "it was canceled through control.json in its folder; the same command goes on"
            )
        except SaveError as error:
            return CohortJobResult("again", str(error))
        except MelanomaError as error:  # of the slide: it will be the same elsewhere
            return CohortJobResult("bad", str(error))
        except MemoryError:
            return CohortJobResult("again", "out of memory. Use fewer processes, or a machine with more memory.")
        except Exception as error:  # noqa: BLE001 - handed to a person, in the slide's row
            return CohortJobResult("again", describe_error(error))


def _run_job(job: CohortJob) -> CohortJobResult:
    """Analyze one slide with the model of this process."""
    threads = _set_thread_count()
    options = job.options.model_copy(update={"workers": job.options.workers or max(2, min(8, threads))})
    record_slide(job.folder, job.slide)
    models = _shared_model(job.options.model_dump_json())
    found = analyze_slide(job.slide, job.folder, options, RunContext(), load=models.get_reset, force=job.force)
    return CohortJobResult("done", row=status_to_row(SlideStatus(job.slide, job.folder, "done", found.content)))


@lru_cache(maxsize=1)
def _shared_model(options: str) -> SharedTileModel:
    """The model of the slides that come with these options; that of other options is let go."""
    return SharedTileModel(SlideOptions.model_validate_json(options))


def _set_thread_count() -> int:
    """Compute with as many threads as this worker was given, and say how many; what is wrong is said by us."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as the command line does, before torch is imported
    import torch
    from distributed import get_worker

    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    threads = int(get_worker().state.nthreads)
    torch.set_num_threads(threads)
    return threads


def failed_row(job: CohortJob, error: str) -> Row:
    """Return the row of a slide that failed."""
    return status_to_row(SlideStatus(job.slide, job.folder, "failed", error=error))
