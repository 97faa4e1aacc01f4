"""Sharing work through ``dask.distributed``: processes of this machine, or the workers of a scheduler.

The one module that knows dask. A job is given to one worker, and to no other: who does what, and what is tried again,
is decided in ``cohort``, so that each attempt is counted and each worker has one slide at a time.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil

from napari_melanoma.core.errors import ClusterError, ConfigError
from napari_melanoma.workflows.cohort.cluster import WorkerLost, WorkerSeen
from napari_melanoma.workflows.cohort.work import Answer, Job, analyse

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S, CLOSE_S = 20.0, 5.0
ADDRESS = re.compile(r"((tcp|tls|wss?)://)?[^/\s]+:\d+")
GONE = "What is done stays: start scheduler and workers again, and run the same command to go on."
LEAST_MEMORY = 2 * 2**30  # of a process, also where many share little: not all need most at once
LOCAL = {
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

    def workers(self) -> dict[str, WorkerSeen]:
        """Look who is there."""
        if self._client.status != "running":
            raise ClusterError(f"the scheduler does not answer any more. {GONE}")
        try:
            found: dict[str, dict[str, Any]] = self._client.scheduler_info(n_workers=-1)["workers"]
        except Exception as error:  # of whatever kind: a connection breaks in many ways
            raise ClusterError(f"the scheduler does not answer any more ({_words(error)}). {GONE}") from error
        return {address: _seen(address, worker) for address, worker in found.items()}

    def give(self, address: str, job: Job) -> GivenByDask:
        """Hand a job to a worker, and to no other one."""
        try:
            future = self._client.submit(analyse, job, workers=[address], allow_other_workers=False, pure=False)
        except Exception as error:
            raise ClusterError(f"the scheduler takes no slide any more ({_words(error)}). {GONE}") from error
        return GivenByDask(future)


class GivenByDask:
    """A job that a worker of dask has."""

    def __init__(self, future: Future) -> None:
        self._future = future

    def ended(self) -> bool:
        """Say whether there is an answer, or will be none."""
        return str(self._future.status) != "pending"

    def answer(self) -> Answer:
        """Give the answer."""
        from distributed.scheduler import KilledWorker

        if self._future.status not in ("finished", "error"):
            raise WorkerLost
        try:
            answer: Answer = self._future.result(timeout=CONNECT_S)
        except (KilledWorker, OSError, TimeoutError) as error:
            raise WorkerLost from error
        except Exception as error:  # ours come as answers: this is dask's
            if "deserialization" in str(error):
                raise ClusterError(
                    "scheduler and workers do not know this program. Start them in the environment that "
                    "napari-melanoma is installed in."
                ) from error
            return Answer("again", f"unexpected {_words(error)}")
        return answer

    def drop(self) -> None:
        """Wait for it no longer."""
        with suppress(Exception):  # the scheduler may have gone
            self._future.cancel()


@contextmanager
def connected(scheduler: str) -> Iterator[DaskCluster]:
    """Share the work among the workers of a scheduler that somebody has started.

    While it is connected; scheduler and workers go on afterwards.
    """
    is_file = Path(scheduler).is_file()
    if not is_file and not ADDRESS.fullmatch(scheduler):
        raise ConfigError(
            f"'{scheduler}' is no scheduler: expected an address such as tcp://node1:8786, or the file of a scheduler."
        )
    _require()
    from distributed import Client

    _silence()
    where = {"scheduler_file" if is_file else "address": scheduler}
    try:
        client = Client(**where, timeout=CONNECT_S, set_as_default=False)
    except Exception as error:
        raise ClusterError(
            f"no scheduler answers at {scheduler} within {CONNECT_S:.0f} seconds ({_words(error)}). Start one with "
            "'dask scheduler', and workers with 'dask worker ADDRESS', or check the address."
        ) from error
    try:
        yield DaskCluster(client)
    finally:
        with suppress(Exception):  # it may have gone
            client.close(CLOSE_S)


@contextmanager
def started(processes: int) -> Iterator[DaskCluster]:
    """Share the work among processes of this machine, which end with this one.

    They are spawned, never forked; each has its share of the cores and of the memory, and one that dies is replaced.
    Nobody but them can talk to the scheduler: certificates are made for the occasion.
    """
    _require()
    import dask
    from distributed import Client, LocalCluster

    from napari_melanoma.core.threads import usable_cores

    _silence()
    memory = max(LEAST_MEMORY, psutil.virtual_memory().total // processes)
    with dask.config.set(LOCAL):
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
            raise ClusterError(f"no processes could be started ({_words(error)}). Analyse with fewer.") from error
        try:
            yield DaskCluster(client)
        finally:
            for part in (client, local):
                with suppress(Exception):  # they end with this process at the latest
                    part.close(CLOSE_S)


def _require() -> None:
    """Refuse to go on without dask."""
    missing = [name for name in ("distributed", "cryptography") if find_spec(name) is None]
    if missing:
        raise ClusterError(
            f"many slides at once need {' and '.join(missing)}, which this installation lacks. Install "
            "napari-melanoma[cluster], or analyse one slide after the other: leave out --processes and --scheduler."
        )


def _silence() -> None:
    """Leave it to us to say what happened: dask would tell of each worker that comes and goes, with tracebacks."""
    for name in ("tornado", *(name for name in logging.root.manager.loggerDict if name.startswith("distributed"))):
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _seen(address: str, worker: dict[str, Any]) -> WorkerSeen:
    """A worker in the words of its scheduler."""
    name, host = worker.get("name", address), address.split("://")[-1].rsplit(":", 1)[0]
    said = f"process {name}" if isinstance(name, int) else name if host in name else f"{name} at {host}"
    memory, limit = worker["metrics"].get("memory"), worker.get("memory_limit")
    return WorkerSeen(said, int(memory or 0), int(limit or 0), worker.get("status") == "running")


def _words(error: Exception) -> str:
    """An error of another program in a few words."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
