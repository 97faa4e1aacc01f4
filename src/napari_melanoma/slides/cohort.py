"""Many slides analyzed by several workers: manifest, attempts, progress and records."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self, get_args

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import ParallelProgress, Progress, RunContext
from napari_melanoma.core.errors import BundleError, ClusterError, ConfigError, DiskFull, RunError, SaveError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.processes import send_command
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.run_state import RunState
from napari_melanoma.io.results import RESULT
from napari_melanoma.slides.cluster import (
    Cluster,
    CohortJob,
    CohortJobResult,
    SubmittedJob,
    WorkerLost,
    WorkerStatus,
    connect_cluster,
    failed_row,
    start_cluster,
)
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.result_folder import SlideFolderNames
from napari_melanoma.slides.runs import read_slide_run_status
from napari_melanoma.slides.table import TABLE, SlideTable

POLL_S, WORKER_POLL_S = 0.05, 1.0  # between two looks at the answers, and at who is there
BUSY_RETRY_S = 10.0  # between two looks at a slide that somebody else analyses
CONNECTION_LOST = "the connection to its worker broke ({})"
STOP_S = 20.0  # that those at work are given to write what they have
FATAL_ERRORS = {
    error.__name__: error for error in (BundleError, ClusterError, ConfigError, DiskFull)
}  # what concerns all slides


@dataclass
class _WaitingJob:
    """A slide that waits: who had it last, when it is looked at again, and whether somebody may still be at it."""

    job: CohortJob
    last_worker: str = ""
    not_before: float = 0.0
    may_be_locked: bool = False

    def is_free(self) -> bool:
        """Whether nobody is at it, as far as is known; looks into its folder now and then."""
        if time.monotonic() < self.not_before:
            return False
        self.not_before = time.monotonic() + BUSY_RETRY_S if self.may_be_locked else 0.0
        return not (self.may_be_locked and RunFolder(self.job.folder).is_owned)


@dataclass(frozen=True)
class _RunningJob:
    """A slide that a worker has, since when, and the seconds that attempts before took."""

    job: CohortJob
    address: str
    submitted: SubmittedJob
    since: float
    previous_s: float

    @property
    def seconds(self) -> float:
        """That all attempts took so far."""
        return self.previous_s + time.monotonic() - self.since


class CohortScheduler:
    """Slides on their way through workers."""

    def __init__(self, cluster: Cluster, records: CohortRecords, run: RunContext, tries: int, skipped: int = 0) -> None:
        self._cluster, self._records, self._run, self._tries = cluster, records, run, tries
        self._n_ended = self._skipped = skipped
        self._todo: deque[_WaitingJob] = deque()
        self._running: list[_RunningJob] = []
        self._workers: dict[str, WorkerStatus] = {}
        self._known: dict[str, WorkerStatus] = {}  # also those that have ended, as they were last seen
        self._last_poll = self._last_worker_seen = -math.inf

    def run_jobs(self, jobs: Sequence[CohortJob], patience_s: float = math.inf) -> None:
        """Bring all slides to an end, good or bad."""
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
        """Now and then, look who is there."""
        now = time.monotonic()
        if now - self._last_poll < WORKER_POLL_S:
            return
        self._last_poll = now
        found = self._cluster.workers()
        self._known |= found
        lost = [work for work in self._running if work.address not in found and not work.submitted.is_done()]
        for work in lost:
            self._handle_lost_worker(work)
        self._workers = found
        self._last_worker_seen = now if self._workers else self._last_worker_seen
        if now - self._last_worker_seen > patience_s:
            raise ClusterError(
                f"no process has been there for {patience_s:.0f} seconds: they end as soon as they begin. Analyze "
                "one slide without --processes to see why."
            )
        self._report()

    def _collect_results(self) -> None:
        """Take the answers that are there."""
        for work in [work for work in self._running if work.submitted.is_done()]:
            try:
                answer = work.submitted.result()
            except WorkerLost:
                found = self._cluster.workers()  # raises where it is not the worker that is lost
                self._handle_lost_worker(work, there=work.address in found)
            else:
                self._running.remove(work)
                self._record_or_retry(work, answer)

    def _handle_lost_worker(self, work: _RunningJob, *, there: bool = False) -> None:
        """Take a slide back from a worker that has ended, or is ``there`` and was cut off for a moment."""
        seen = self._known[work.address]
        if not there:
            self._workers.pop(work.address, None)  # until it is seen again
        self._running.remove(work)
        work.submitted.cancel()
        cut_off = CohortJobResult("busy", CONNECTION_LOST.format(seen.name))  # it goes on, though nobody hears of it
        self._record_or_retry(work, cut_off if there else CohortJobResult("again", seen.exit_reason))

    def _record_or_retry(self, work: _RunningJob, answer: CohortJobResult) -> None:
        """Keep an outcome, or let the slide wait for another attempt."""
        entry = self._records.entry(work.job)
        if answer.outcome == "all":
            self._requeue(work, answer.error)
            raise FATAL_ERRORS[answer.kind](answer.error)
        held = answer.outcome == "busy"
        if held or (answer.outcome == "again" and entry.attempts < self._tries):
            self._todo.append(_WaitingJob(work.job, work.address, time.monotonic() + BUSY_RETRY_S * held, held))
            self._requeue(work, answer.error, earlier=(*entry.earlier, answer.error))
            return
        self._n_ended += 1
        self._records.finish(work.job, answer, seconds=work.seconds)

    def _requeue(self, work: _RunningJob, error: str = "", **values: object) -> None:
        """Say that a slide waits again."""
        self._records.update(work.job, state="waiting", seconds=work.seconds, error=error, **values)

    def _assign_jobs(self) -> None:
        """Return idle workers a slide each; one that failed goes to another worker where there is one."""
        busy = {work.address for work in self._running}
        ready = [address for address, seen in self._workers.items() if seen.ready]
        elsewhere = len(ready) > 1
        for address in [one for one in ready if one not in busy]:
            fits = (one for one in self._todo if not (elsewhere and one.last_worker == address) and one.is_free())
            chosen = next(fits, None)
            if chosen is not None:
                self._todo.remove(chosen)
                self._submit(address, chosen.job)

    def _submit(self, address: str, job: CohortJob) -> None:
        """Return a worker a slide."""
        given = self._cluster.submit(address, job)
        before = self._records.entry(job)
        self._running.append(_RunningJob(job, address, given, time.monotonic(), before.seconds))
        name = self._workers[address].name
        self._records.update(job, state="running", worker=name, attempts=before.attempts + 1, error="")

    def _report(self) -> None:
        """Return how far it is."""
        total = self._n_ended + len(self._todo) + len(self._running)
        folders = [work.job.folder for work in self._running]
        self._run.report(cohort_progress(folders, self._n_ended, total, len(self._workers)))

    def _stop(self) -> None:
        """Let those at work write what they have; what is done by then counts, the others wait for the next start."""
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
        """Take a slide back in the middle; one that came to its end meanwhile is done."""
        answer = CohortJobResult("cancelled")
        with suppress(WorkerLost, ClusterError):
            answer = work.submitted.result() if work.submitted.is_done() else answer
        work.submitted.cancel()
        if answer.outcome == "done":
            self._n_ended += 1
            self._records.finish(work.job, answer, seconds=work.seconds)
        else:
            self._todo.append(_WaitingJob(work.job))
            self._requeue(work)


MAX_SHOWN = 12


def cohort_progress(at_work: Sequence[Path], done: int, total: int, workers: int) -> ParallelProgress:
    """Return how far a cohort is.

    In slides; of each slide at work, of the first dozen, in tiles.
    """
    if not workers:
        return ParallelProgress(done, total, "slides; waiting for workers")
    if not at_work:
        return ParallelProgress(done, total, "slides")
    parts = tuple(_slide_progress(folder) for folder in at_work[:MAX_SHOWN])
    more = f" and {len(at_work) - len(parts)} more" if len(at_work) > len(parts) else ""
    said = ", ".join(_describe_share(folder.name, part) for folder, part in zip(at_work, parts, strict=False))
    return ParallelProgress(done, total, f"slides, {len(at_work)} on {workers} workers: {said}{more}", parts)


def _slide_progress(folder: Path) -> Progress:
    """How far a slide is."""
    found = read_slide_run_status(folder)
    if found.state is not RunState.running or not found.total:
        return Progress(0, None, f"{folder.name}: starting")
    return Progress(found.done, found.total, found.message)


def _describe_share(name: str, part: Progress) -> str:
    """A slide in a word."""
    return name if part.fraction is None else f"{name} {100 * part.fraction:.0f} %"


POSTPROCESSING_KEYS = ("lesions", "score", "target", "prevalence")  # what is made of the tiles


class CohortOptions(Config):
    """Who shares the work, and how often a slide is tried."""

    processes: int = Field(1, ge=1, le=1024, description="processes on this machine; plays no part with a scheduler")
    scheduler: str = Field("", description="address or file of a scheduler of dask; empty: processes on this machine")
    tries: int = Field(3, ge=1, le=100, description="how often a slide is begun that fails by no fault of its own")


def cohort_settings(options: SlideOptions) -> CohortSettings:
    """Return what the results of a cohort depend on; who computes them, and how fast, is no part of it.

    JSON-able; of files their names.
    """
    answers = options.model_dump(mode="json", include=set(POSTPROCESSING_KEYS))
    return CohortSettings({**options.tile_settings, **_model_identity(options), **_option_file_names(options)}, answers)


def _option_file_names(options: SlideOptions) -> dict[str, Any]:
    """Names of the files that options name."""
    files = {"weights": options.weights, "tissue_mask": options.tissue_mask, "stain_reference": options.stain_reference}
    return {name: path.name for name, path in files.items() if path is not None}


def _model_identity(options: SlideOptions) -> dict[str, Any]:
    """Name and content of a bundle: another one may have taken its name meanwhile."""
    from napari_melanoma.models.registry import DEFAULT_TILE_MODEL, find_bundle

    name = options.model or DEFAULT_TILE_MODEL
    try:
        bundle = find_bundle(name)
    except BundleError:  # an encoder, or nothing, of which loading tells
        return {"model": name}
    return {"model": bundle.name, "model_weights": bundle.fingerprint[:16]}


MANIFEST, VERSION = "cohort.json", 1
EntryState = Literal["waiting", "running", "done", "failed"]
SettingsDict = dict[str, Any]


@dataclass(frozen=True)
class CohortEntry:
    """Where one slide stands."""

    slide: str
    file: str
    state: EntryState = "waiting"
    worker: str = ""
    attempts: int = 0
    seconds: float = 0.0
    error: str = ""
    earlier: tuple[str, ...] = ()
    changed: str = ""


@dataclass(frozen=True)
class CohortSettings:
    """Of which settings results are: other ``tiles`` cannot stand beside them, other ``answers`` are made again."""

    tiles: SettingsDict
    answers: SettingsDict


class CohortManifest:
    """The entries of all slides of a folder, kept on the disk."""

    def __init__(self, path: Path, settings: CohortSettings, entries: Mapping[str, CohortEntry]) -> None:
        self.path, self.settings = path, settings
        self.entries = dict(entries)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a manifest.

        None where there is none.
        """
        if not path.exists():
            return None
        try:
            content = read_json(path)
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}")
            entries = [CohortEntry(**{**values, "earlier": tuple(values["earlier"])}) for values in content["slides"]]
            if strange := {entry.state for entry in entries} - set(get_args(EntryState)):
                raise ValueError(f"state {', '.join(sorted(strange))}")
            settings = CohortSettings(content["settings"]["tiles"], content["settings"]["answers"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is no manifest of a cohort that this version knows ({parse_error_reason(error)}). Move it away, choose "
                "another folder, or begin again with --force."
            ) from error
        return cls(path, settings, {entry.slide: entry for entry in entries})

    def check_settings(self, settings: CohortSettings) -> None:
        """Raise unless tiles of these settings may stand beside those that are there."""
        mine, asked = _flatten_settings(self.settings.tiles), _flatten_settings(settings.tiles)
        names = [name for name in dict.fromkeys([*mine, *asked]) if mine.get(name) != asked.get(name)]
        if names:
            said = "; ".join(
                f"{name} was {_format_value(mine.get(name))}, now {_format_value(asked.get(name))}" for name in names
            )
            raise RunError(
                f"{self.path} is of other settings: {said}. Use the same settings, choose another folder, or begin "
                "again with --force."
            )

    def start_entries(self, entries: Iterable[CohortEntry]) -> list[CohortEntry]:
        """Let the slides of a start wait, but for those that are done; entries of other slides stay.

        Returns as they stand now, in the same order.
        """
        begun = []
        for entry in entries:
            before = self.entries.get(entry.slide)
            kept = before is not None and before.state == "done"
            begun.append(before if before is not None and kept else replace(entry, changed=_now()))
        self.entries |= {entry.slide: entry for entry in begun}
        self.write()
        return begun

    def put(self, entry: CohortEntry) -> CohortEntry:
        """Replace an entry, and write the manifest."""
        changed = replace(entry, seconds=round(entry.seconds, 2), changed=_now())
        self.entries[entry.slide] = changed
        self.write()
        return changed

    def write(self) -> None:
        """Write the manifest."""
        slides = [asdict(self.entries[name]) for name in sorted(self.entries)]
        write_json(self.path, {"version": VERSION, "settings": asdict(self.settings), "slides": slides})


def _now() -> str:
    """The time, in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _flatten_settings(settings: SettingsDict, before: str = "") -> dict[str, Any]:
    """Settings by their whole names, as a person spells them in a file."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten_settings(value, f"{before}{name}.") if isinstance(value, dict) else {f"{before}{name}": value}
    return flat


def _format_value(value: object) -> str:
    """A value in a sentence."""
    return "not given" if value is None or value == "" else str(value)


EntryCallback = Callable[[CohortEntry], None]


def ignore_entry(entry: CohortEntry) -> None:
    """Take a change and do nothing with it."""


@dataclass(frozen=True)
class CohortRecords:
    """Where outcomes are kept: manifest and table; ``tell`` hears of each change."""

    manifest: CohortManifest
    table: SlideTable
    on_change: EntryCallback = ignore_entry

    def entry(self, job: CohortJob) -> CohortEntry:
        """Return the entry of a slide."""
        return self.manifest.entries[job.folder.name]

    def update(self, job: CohortJob, **values: Any) -> CohortEntry:  # noqa: ANN401 - fields of an entry
        """Change the entry of a slide."""
        entry = self.manifest.put(replace(self.entry(job), **values))
        self.on_change(entry)
        return entry

    def finish(self, job: CohortJob, result: CohortJobResult, **values: Any) -> None:  # noqa: ANN401 - fields of an entry
        """Keep what became of a slide."""
        done = result.outcome == "done"
        self.table.put_row(result.row if done else failed_row(job, result.error))
        self.update(job, state="done" if done else "failed", error=result.error, **values)


LOCK = ".cohort.lock"
NO_WORKER_TIMEOUT_S = 120.0  # after which processes of this machine will not come any more


@dataclass(frozen=True)
class CohortSummary:
    """How many slides are done, of them ``skipped`` since before, how many failed, and where it is written."""

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
    """Analyze slides on several processes or machines; what is done is not done again, and what was begun goes on."""
    began = time.monotonic()
    with hold_lock(out / LOCK):
        manifest, folders = _open_manifest(out / MANIFEST, cohort_settings(options), force=force), SlideFolderNames(out)
        jobs = [CohortJob(path.absolute(), folders.folder_for(path).absolute(), options, force) for path in paths]
        begun = manifest.start_entries([CohortEntry(job.folder.name, job.slide.name) for job in jobs])
        todo = [job for job, entry in zip(jobs, begun, strict=True) if entry.state != "done"]
        if todo:
            records = CohortRecords(manifest, SlideTable(out / TABLE), on_change)
            _run_cohort(todo, cohort_options, records, run, skipped=len(jobs) - len(todo))
    last = [manifest.entries[job.folder.name].state for job in jobs]
    counts = (last.count("done"), last.count("failed"), len(jobs) - len(todo))
    return CohortSummary(*counts, out / TABLE, manifest.path, time.monotonic() - began)


def _run_cohort(
    todo: list[CohortJob], how: CohortOptions, records: CohortRecords, run: RunContext, *, skipped: int
) -> None:
    """Gather the workers, and bring what is left to do to an end."""
    here = not how.scheduler
    sharing = start_cluster(min(how.processes, len(todo))) if here else connect_cluster(how.scheduler)
    with sharing as cluster:
        CohortScheduler(cluster, records, run, how.tries, skipped).run_jobs(
            todo, NO_WORKER_TIMEOUT_S if here else math.inf
        )


def _open_manifest(path: Path, settings: CohortSettings, *, force: bool) -> CohortManifest:
    """Open the manifest that is there, or a new one; done is what has its results, and nobody is at work any more."""
    found = None if force else CohortManifest.read(path)
    if found is None:
        return CohortManifest(path, settings, {})
    found.check_settings(settings)
    same = found.settings.answers == settings.answers

    def now(entry: CohortEntry) -> CohortEntry:
        done = entry.state == "done" and same and (path.parent / entry.slide / RESULT).is_file()
        return entry if done or entry.state == "failed" else replace(entry, state="waiting")

    return CohortManifest(path, settings, {name: now(entry) for name, entry in found.entries.items()})
