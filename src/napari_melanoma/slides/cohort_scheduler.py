"""Analyze a cohort of slides on several workers: assign slides, retry after failures, report progress."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import ParallelProgress, Progress, RunContext
from napari_melanoma.core.errors import BundleError, ClusterError, ConfigError, DiskFull, SaveError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.processes import send_command
from napari_melanoma.core.run_folder import RunFolder, RunState
from napari_melanoma.slides.background_runs import read_slide_run_status
from napari_melanoma.slides.cohort_cluster import (
    Cluster,
    CohortJob,
    CohortJobResult,
    SubmittedJob,
    WorkerLost,
    WorkerStatus,
    connect_cluster,
    start_cluster,
)
from napari_melanoma.slides.cohort_manifest import (
    MANIFEST,
    CohortEntry,
    CohortRecords,
    EntryCallback,
    cohort_settings,
    ignore_entry,
    open_manifest,
)
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import SlideFolderNames
from napari_melanoma.slides.slide_table import TABLE, SlideTable

POLL_S, WORKER_POLL_S = 0.05, 1.0  # intervals between checks for results, and for workers
BUSY_RETRY_S = 10.0  # interval between checks of a slide that another process analyzes
CONNECTION_LOST = "the connection to its worker was lost ({})"
STOP_S = 20.0  # time for running jobs to write their results
# Errors that concern all slides, by name.
FATAL_ERRORS = {error.__name__: error for error in (BundleError, ClusterError, ConfigError, DiskFull)}
MAX_SHOWN = 12  # slides whose progress is reported
LOCK = ".cohort.lock"
NO_WORKER_TIMEOUT_S = 120.0  # after this time without a local process, processes probably end on startup


@dataclass
class _WaitingJob:
    """A waiting slide.

    ``last_worker``: address of the worker of the last attempt. ``not_before``: time of the next attempt or check.
    ``may_be_locked``: another process may be analyzing the slide.
    """

    job: CohortJob
    last_worker: str = ""
    not_before: float = 0.0
    may_be_locked: bool = False

    def is_free(self) -> bool:
        """Whether the slide can be started now; checks the lock of the folder at intervals if it may be locked."""
        if time.monotonic() < self.not_before:
            return False
        self.not_before = time.monotonic() + BUSY_RETRY_S if self.may_be_locked else 0.0
        return not (self.may_be_locked and RunFolder(self.job.folder).is_owned)


@dataclass(frozen=True)
class _RunningJob:
    """A slide at a worker; ``since``: its start time, ``previous_s``: the duration of previous attempts."""

    job: CohortJob
    address: str
    submitted: SubmittedJob
    since: float
    previous_s: float

    @property
    def seconds(self) -> float:
        """Duration of all attempts so far."""
        return self.previous_s + time.monotonic() - self.since


class CohortScheduler:
    """Assigns slides to workers and collects the results.

    ``tries``: attempts for a slide that fails for an external reason. ``skipped``: number of slides done before, for
    the progress.
    """

    def __init__(self, cluster: Cluster, records: CohortRecords, run: RunContext, tries: int, skipped: int = 0) -> None:
        self._cluster, self._records, self._run, self._tries = cluster, records, run, tries
        self._n_ended = skipped
        self._todo: deque[_WaitingJob] = deque()
        self._running: list[_RunningJob] = []
        self._workers: dict[str, WorkerStatus] = {}
        self._last_status: dict[str, WorkerStatus] = {}  # of all workers, also those that have ended
        self._last_poll = self._last_worker_seen = -math.inf

    def run_jobs(self, jobs: Sequence[CohortJob], patience_s: float = math.inf) -> None:
        """Analyze all slides; return when each has succeeded or failed.

        ``patience_s``: raise ClusterError after this time without any worker.
        """
        self._todo.extend(_WaitingJob(job) for job in jobs)
        self._last_worker_seen = time.monotonic()
        try:
            while self._todo or self._running:
                self._run.check()
                self._update_workers(patience_s)
                self._collect_results()
                self._assign_jobs()
                time.sleep(POLL_S)
        finally:
            self._stop()
        self._report()

    def _update_workers(self, patience_s: float) -> None:
        """Update the list of workers at intervals, and requeue the slides of workers that have ended."""
        now = time.monotonic()
        if now - self._last_poll < WORKER_POLL_S:
            return
        self._last_poll = now
        current = self._cluster.workers()
        self._last_status |= current
        lost = [work for work in self._running if work.address not in current and not work.submitted.is_done()]
        for work in lost:
            self._handle_lost_worker(work)
        self._workers = current
        self._last_worker_seen = now if self._workers else self._last_worker_seen
        if now - self._last_worker_seen > patience_s:
            raise ClusterError(
                f"no worker process was available for {patience_s:.0f} seconds: processes end on startup. Analyze "
                "one slide without --processes to see the error."
            )
        self._report()

    def _collect_results(self) -> None:
        """Collect the results of finished jobs."""
        for work in [work for work in self._running if work.submitted.is_done()]:
            try:
                result = work.submitted.result()
            except WorkerLost:
                current = self._cluster.workers()  # raises if the scheduler is lost
                self._handle_lost_worker(work, connected=work.address in current)
            else:
                self._running.remove(work)
                self._record_or_retry(work, result)

    def _handle_lost_worker(self, work: _RunningJob, *, connected: bool = False) -> None:
        """Requeue the slide of a worker that has ended, or that is ``connected`` again after an interruption."""
        status = self._last_status[work.address]
        if not connected:
            self._workers.pop(work.address, None)  # until it is listed again
        self._running.remove(work)
        work.submitted.cancel()
        if connected:  # the job may still be running, but its result is lost
            result = CohortJobResult("busy", CONNECTION_LOST.format(status.name))
        else:
            result = CohortJobResult("again", status.exit_reason)
        self._record_or_retry(work, result)

    def _record_or_retry(self, work: _RunningJob, result: CohortJobResult) -> None:
        """Record a result, or queue the slide for another attempt."""
        entry = self._records.entry(work.job)
        if result.outcome == "all":
            self._requeue(work, result.error)
            raise FATAL_ERRORS[result.kind](result.error)
        busy = result.outcome == "busy"
        if busy or (result.outcome == "again" and entry.attempts < self._tries):
            self._todo.append(_WaitingJob(work.job, work.address, time.monotonic() + BUSY_RETRY_S * busy, busy))
            self._requeue(work, result.error, earlier=(*entry.earlier, result.error))
            return
        self._n_ended += 1
        self._records.finish(work.job, result, seconds=work.seconds)

    def _requeue(self, work: _RunningJob, error: str = "", **values: object) -> None:
        """Record that a slide is waiting again."""
        self._records.update(work.job, state="waiting", seconds=work.seconds, error=error, **values)

    def _assign_jobs(self) -> None:
        """Assign a slide to each idle worker; a slide that has failed is assigned to another worker if possible."""
        busy = {work.address for work in self._running}
        ready = [address for address, status in self._workers.items() if status.ready]
        has_choice = len(ready) > 1
        for address in [worker for worker in ready if worker not in busy]:
            candidates = (
                waiting
                for waiting in self._todo
                if not (has_choice and waiting.last_worker == address) and waiting.is_free()
            )
            chosen = next(candidates, None)
            if chosen is not None:
                self._todo.remove(chosen)
                self._submit(address, chosen.job)

    def _submit(self, address: str, job: CohortJob) -> None:
        """Submit a slide to a worker."""
        submitted = self._cluster.submit(address, job)
        before = self._records.entry(job)
        self._running.append(_RunningJob(job, address, submitted, time.monotonic(), before.seconds))
        name = self._workers[address].name
        self._records.update(job, state="running", worker=name, attempts=before.attempts + 1, error="")

    def _report(self) -> None:
        """Report the progress."""
        total = self._n_ended + len(self._todo) + len(self._running)
        folders = [work.job.folder for work in self._running]
        self._run.report(cohort_progress(folders, self._n_ended, total, len(self._workers)))

    def _stop(self) -> None:
        """Cancel running jobs and wait until they have written their results; record the slides that have finished."""
        until = time.monotonic() + STOP_S
        while time.monotonic() < until and any(not work.submitted.is_done() for work in self._running):
            for work in self._running:
                with suppress(SaveError):
                    send_command(work.job.folder, "cancel")
            time.sleep(4 * POLL_S)
        stopped, self._running = self._running, []
        for work in stopped:
            with suppress(SaveError):
                self._release(work)
        if stopped:
            self._report()

    def _release(self, work: _RunningJob) -> None:
        """Set a running slide to waiting; if it has finished in the meantime, record its result."""
        result = CohortJobResult("cancelled")
        with suppress(WorkerLost, ClusterError):
            result = work.submitted.result() if work.submitted.is_done() else result
        work.submitted.cancel()
        if result.outcome == "done":
            self._n_ended += 1
            self._records.finish(work.job, result, seconds=work.seconds)
        else:
            self._todo.append(_WaitingJob(work.job))
            self._requeue(work)


def cohort_progress(running: Sequence[Path], done: int, total: int, workers: int) -> ParallelProgress:
    """Return the progress of a cohort in slides, and in tiles for the first ``MAX_SHOWN`` running slides.

    ``running``: result folders of the slides being analyzed. ``done``, ``total``: numbers of slides. ``workers``:
    number of workers.
    """
    if not workers:
        return ParallelProgress(done, total, "slides; waiting for workers")
    if not running:
        return ParallelProgress(done, total, "slides")
    parts = tuple(_slide_progress(folder) for folder in running[:MAX_SHOWN])
    others = f" and {len(running) - len(parts)} more" if len(running) > len(parts) else ""
    shares = ", ".join(_describe_share(folder.name, part) for folder, part in zip(running, parts, strict=False))
    return ParallelProgress(
        done, total, f"slides, {len(running)} on {format_count(workers, 'worker')}: {shares}{others}", parts
    )


def _slide_progress(folder: Path) -> Progress:
    status = read_slide_run_status(folder)
    if status.state is not RunState.running or not status.total:
        return Progress(0, None, f"{folder.name}: starting")
    return Progress(status.done, status.total, status.message)


def _describe_share(name: str, part: Progress) -> str:
    return name if part.fraction is None else f"{name} {100 * part.fraction:.0f} %"


class CohortOptions(Config):
    """Workers of a cohort, and number of attempts for each slide."""

    processes: int = Field(
        1, ge=1, le=1024, description="number of slides to analyze in parallel, each in its own process"
    )
    scheduler: str = Field("", description="address or file of a dask scheduler whose workers analyze the slides")
    tries: int = Field(
        3,
        ge=1,
        le=100,
        description="maximum number of attempts for a slide that fails for an external reason, such as a dead process",
    )


@dataclass(frozen=True)
class CohortSummary:
    """Numbers of slides, paths of the table and the manifest, and duration of a run.

    ``done``: all slides with results, including ``skipped``, those that were done before the run.
    """

    done: int
    failed: int
    skipped: int
    table: Path
    manifest: Path
    seconds: float


def analyze_cohort(
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    cohort_options: CohortOptions,
    *,
    run: RunContext,
    force: bool = False,
    on_change: EntryCallback = ignore_entry,
) -> CohortSummary:
    """Analyze slides on several processes or machines; finished slides are skipped, partial results are resumed.

    ``out``: receives the table, the manifest and a result folder for each slide. ``force``: start over, even if results
    exist. ``on_change``: called with each changed entry of the manifest.
    """
    began = time.monotonic()
    with hold_lock(out / LOCK):
        manifest, folders = open_manifest(out / MANIFEST, cohort_settings(options), force=force), SlideFolderNames(out)
        jobs = [CohortJob(path.absolute(), folders.folder_for(path).absolute(), options, force) for path in paths]
        entries = manifest.start_entries([CohortEntry(job.folder.name, job.slide.name) for job in jobs])
        todo = [job for job, entry in zip(jobs, entries, strict=True) if entry.state != "done"]
        if todo:
            records = CohortRecords(manifest, SlideTable(out / TABLE), on_change)
            _run_cohort(todo, cohort_options, records, run, skipped=len(jobs) - len(todo))
    states = [manifest.entries[job.folder.name].state for job in jobs]
    counts = (states.count("done"), states.count("failed"), len(jobs) - len(todo))
    return CohortSummary(*counts, out / TABLE, manifest.path, time.monotonic() - began)


def _run_cohort(
    todo: list[CohortJob], cohort_options: CohortOptions, records: CohortRecords, run: RunContext, *, skipped: int
) -> None:
    """Start or connect the workers, and analyze the slides that are not done."""
    is_local = not cohort_options.scheduler
    connection = (
        start_cluster(min(cohort_options.processes, len(todo)))
        if is_local
        else connect_cluster(cohort_options.scheduler)
    )
    with connection as cluster:
        CohortScheduler(cluster, records, run, cohort_options.tries, skipped).run_jobs(
            todo, NO_WORKER_TIMEOUT_S if is_local else math.inf
        )
