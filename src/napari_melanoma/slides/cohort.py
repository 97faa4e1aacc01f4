"""Analyze a cohort of slides in parallel, in processes of this machine or by the workers of a dask scheduler."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.context import ParallelProgress, Progress, RunContext
from napari_melanoma.core.errors import BundleError, ClusterError, ConfigError, DiskFull, SaveError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.processes import send_command
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.slides.background_runs import read_slide_run_status
from napari_melanoma.slides.cohort_cluster import (
    RESTART_ADVICE,
    CohortJob,
    CohortJobResult,
    connect_cluster,
    count_workers,
    job_result,
    run_job,
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
from napari_melanoma.slides.options import CohortOptions, SlideOptions
from napari_melanoma.slides.result_folder import SlideFolderNames
from napari_melanoma.slides.slide_table import TABLE, SlideTable

if TYPE_CHECKING:
    from distributed import Client, Future

POLL_S = 0.5  # interval between checks for new workers and a request to stop
STOP_S = 20.0  # time for running jobs to write their results
# Errors that concern all slides, by name
FATAL_ERRORS = {error.__name__: error for error in (BundleError, ClusterError, ConfigError, DiskFull)}
MAX_SHOWN = 12  # slides whose progress is reported
LOCK = ".cohort.lock"


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
            records, tries = CohortRecords(manifest, SlideTable(out / TABLE), on_change), cohort_options.tries
            cluster = (
                connect_cluster(cohort_options.scheduler)
                if cohort_options.scheduler
                else start_cluster(min(cohort_options.processes, len(todo)), tries)
            )
            with cluster as client:
                run_jobs(client, todo, records, run, tries=tries, skipped=len(jobs) - len(todo))
    states = [manifest.entries[job.folder.name].state for job in jobs]
    counts = (states.count("done"), states.count("failed"), len(jobs) - len(todo))
    return CohortSummary(*counts, out / TABLE, manifest.path, time.monotonic() - began)


def run_jobs(
    client: Client,
    jobs: Sequence[CohortJob],
    records: CohortRecords,
    run: RunContext,
    *,
    tries: int = 1,
    skipped: int = 0,
) -> None:
    """Analyze slides; return when each has succeeded or failed.

    ``skipped``: number of slides done before, for the progress. No more slides are submitted than there are workers:
    dask counts the death of a worker as a failed attempt of all jobs that were assigned to it.
    """
    waiting, total = deque(jobs), skipped + len(jobs)
    running: dict[Future, tuple[CohortJob, float]] = {}
    finished = threading.Event()
    try:
        while waiting or running:
            run.check()
            if client.status != "running":
                raise ClusterError(f"the scheduler no longer responds. {RESTART_ADVICE}")
            workers = count_workers(client)
            while waiting and len(running) < workers:
                job = waiting.popleft()
                future = client.submit(run_job, job, retries=tries - 1, pure=False)
                future.add_done_callback(lambda _: finished.set())
                running[future] = job, time.monotonic()
                records.update(job, state="running", error="")
            folders = [job.folder for job, _ in running.values()]
            run.report(cohort_progress(folders, total - len(waiting) - len(running), total, workers))
            finished.wait(POLL_S)
            finished.clear()
            for future in [future for future in running if future.done()]:
                job, started = running[future]
                result = job_result(future)
                if result.fatal:
                    records.update(job, error=result.error)
                    raise FATAL_ERRORS[result.fatal](result.error)
                records.finish(job, result, seconds=time.monotonic() - started)
                del running[future]
    finally:
        _stop(running, records)
    run.report(ParallelProgress(total, total, "slides"))


def _stop(running: dict[Future, tuple[CohortJob, float]], records: CohortRecords) -> None:
    """Cancel running jobs and wait until they have written their results; record the slides that have finished."""
    until = time.monotonic() + STOP_S
    while time.monotonic() < until and not all(future.done() for future in running):
        for job, _ in running.values():
            with suppress(SaveError):
                send_command(job.folder, "cancel")
        time.sleep(POLL_S)
    for future, (job, started) in running.items():
        result = CohortJobResult(error="stopped")
        with suppress(ClusterError):
            result = job_result(future) if future.done() else result
        with suppress(SaveError):
            if result.error:
                records.update(job, state="waiting", seconds=time.monotonic() - started)
            else:
                records.finish(job, result, seconds=time.monotonic() - started)
        with suppress(Exception):  # the scheduler may have ended
            future.cancel()


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
    shares = ", ".join(
        folder.name if part.fraction is None else f"{folder.name} {100 * part.fraction:.0f} %"
        for folder, part in zip(running, parts, strict=False)
    )
    return ParallelProgress(
        done, total, f"slides, {len(running)} on {format_count(workers, 'worker')}: {shares}{others}", parts
    )


def _slide_progress(folder: Path) -> Progress:
    status = read_slide_run_status(folder)
    if status.state is not RunState.running or not status.total:
        return Progress(0, None, f"{folder.name}: starting")
    return Progress(status.done, status.total, status.message)
