"""Analyze many slides on the workers of this machine or of a dask scheduler, and the record of the run."""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self, get_args

import psutil

from napari_melanoma import __version__
from napari_melanoma.core.context import (
    Cancelled,
    ParallelProgress,
    Progress,
    RunContext,
    map_in_threads,
    usable_cores,
)
from napari_melanoma.core.errors import (
    BundleError,
    ClusterError,
    ConfigError,
    DiskFull,
    MelanomaError,
    ResultsMismatch,
    RunError,
    SaveError,
    describe_error,
)
from napari_melanoma.core.files import write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.packages import prepare_torch
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.core.processes import send_command
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.core.run_folder import RunState
from napari_melanoma.io.results import RESULT
from napari_melanoma.models import DEFAULT_TILE_MODEL
from napari_melanoma.models.hub import ENCODER
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.analysis import SharedTileModel, analyze_slide, find_matching_result
from napari_melanoma.slides.background_runs import read_slide_run_status
from napari_melanoma.slides.lesion_files import read_analysis
from napari_melanoma.slides.marked_tumor import check_one_slide
from napari_melanoma.slides.model_loading import identify_model
from napari_melanoma.slides.options import (
    DIGEST_DIGITS,
    FILE_OPTIONS,
    CohortOptions,
    SlideOptions,
)
from napari_melanoma.slides.result_folder import SlideFolderNames, open_fingerprint, record_slide
from napari_melanoma.slides.slide_table import TABLE, Row, SlideStatus, SlideTable, status_to_row
from napari_melanoma.slides.tile_models import ModelIdentity, TileModel

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
    """One slide to analyze, with its folder, options and the version of this package.

    ``model``: digest of the ``ModelIdentity``; empty if it is unknown before the model is loaded.
    """

    slide: Path
    folder: Path
    options: SlideOptions
    force: bool = False
    version: str = __version__
    model: str = ""


@dataclass(frozen=True)
class CohortJobResult:
    """Outcome of a job: the table row of the slide, or the error.

    ``fatal``: class name of an error that concerns every slide. ``keep_row``: the slide has another result.
    """

    row: Row = field(default_factory=dict)
    error: str = ""
    fatal: str = ""
    keep_row: bool = False


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
        except (BundleError, ClusterError, ConfigError, DiskFull) as error:
            return CohortJobResult(error=str(error), fatal=type(error).__name__)
        except SaveError:  # perhaps a network drive that did not respond
            raise
        except MelanomaError as error:
            return CohortJobResult(error=str(error), keep_row=isinstance(error, ResultsMismatch))
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
    models = _shared_model(job.options.model_dump_json(), job.model)

    def load() -> TileModel:
        model = models.get_reset()
        if job.model and model.identity.digest != job.model:
            raise ClusterError(
                f"a worker has another '{model.info.name}' than this command started with: its machine has other "
                "weights or settings, or the model was replaced in the meantime. Copy the same model everywhere, and "
                "run the same command again."
            )
        return model

    outcome = analyze_slide(job.slide, job.folder, options, RunContext(), load=load, force=job.force)
    return status_to_row(SlideStatus(job.slide, job.folder, "done", outcome.content))


@lru_cache(maxsize=1)
def _shared_model(options: str, model: str) -> SharedTileModel:
    """Return the model for some options as JSON; the previous model is released.

    ``model``: see ``CohortJob``; other weights under the same name are loaded, too.
    """
    del model
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


MANIFEST, VERSION = "cohort.json", 1

EntryState = Literal["waiting", "running", "done", "failed"]
SettingsDict = dict[str, Any]


MODEL_HASHES = ("model_weights", "model_predictions")  # lacking in some manifests: unknown before a model is loaded


def cohort_settings(options: SlideOptions, model: ModelIdentity | None) -> SettingsDict:
    """Return the settings that must not change within a cohort, as JSON values; files by their names.

    Whether a slide is done is decided by its results, which state the content of the files.
    """
    files = {name: getattr(options, name) for name in ("weights", *FILE_OPTIONS)}
    settings = options.tile_settings | {name: path.name for name, path in files.items() if path is not None}
    if model is None:
        with suppress(BundleError):  # an encoder, or a model that loading reports
            settings["model"] = find_bundle(options.model or DEFAULT_TILE_MODEL, of_slides=True).name
        return settings
    name, *hashes = model.result
    name = options.model if options.model.startswith(ENCODER) else name.removeprefix(ENCODER)
    return settings | {"model": name} | dict(zip(MODEL_HASHES, (one[:DIGEST_DIGITS] for one in hashes), strict=True))


@dataclass(frozen=True)
class CohortEntry:
    """State of one slide in a cohort.

    ``slide``: name of the result folder. ``file``: name of the slide file. ``seconds``: duration of all attempts.
    ``changed``: time of the last change, UTC.
    """

    slide: str
    file: str
    state: EntryState = "waiting"
    seconds: float = 0.0
    error: str = ""
    changed: str = ""


class CohortManifest:
    """The manifest file: settings, and an entry for each slide by the name of the result folder."""

    def __init__(self, path: Path, settings: SettingsDict, entries: Mapping[str, CohortEntry]) -> None:
        self.path, self.settings = path, settings
        self.entries = dict(entries)

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Read a manifest; None if there is none."""
        if not path.exists():
            return None
        try:
            content = read_json(path)
            if content["version"] != VERSION:
                raise ValueError(f"version {content['version']}")
            entries = [CohortEntry(**slide) for slide in content["slides"]]
            if unknown := {entry.state for entry in entries} - set(get_args(EntryState)):
                raise ValueError(f"state {', '.join(sorted(unknown))}")
            settings = dict(content["settings"]["tiles"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path} is not a valid cohort manifest for this version ({parse_error_reason(error)}). Move it away, "
                "choose another folder, or start over with --force."
            ) from error
        return cls(path, settings, {entry.slide: entry for entry in entries})

    def check_settings(self, settings: SettingsDict) -> None:
        """Raise RunError if the settings for predicting tiles differ."""
        stored, requested = _flatten_settings(self.settings), _flatten_settings(settings)
        names = [name for name in dict.fromkeys([*stored, *requested]) if stored.get(name) != requested.get(name)]
        names = [name for name in names if name not in MODEL_HASHES or (stored.get(name) and requested.get(name))]
        if names:
            differences = "; ".join(
                f"{name} was {_format_value(stored.get(name))}, now {_format_value(requested.get(name))}"
                for name in names
            )
            raise RunError(
                f"{self.path} was written with other settings: {differences}. Use the same settings, choose another "
                "folder, or start "
                "over with --force."
            )

    def start_entries(self, entries: Iterable[CohortEntry]) -> list[CohortEntry]:
        """Add the entries of a run, and keep the stored ones of slides that were and are done, and of other slides.

        Returns the current entries in the same order.
        """
        current = []
        for entry in entries:
            before = self.entries.get(entry.slide, entry)
            is_unchanged = before.state == entry.state == "done" and before.changed
            current.append(before if is_unchanged else replace(entry, changed=utc_time()))
        self.entries |= {entry.slide: entry for entry in current}
        self.write()
        return current

    def put(self, entry: CohortEntry) -> CohortEntry:
        """Replace an entry, and write the manifest; return the entry with rounded seconds and the current time."""
        changed = replace(entry, seconds=round(entry.seconds, 2), changed=utc_time())
        self.entries[entry.slide] = changed
        self.write()
        return changed

    def write(self) -> None:
        slides = [asdict(self.entries[name]) for name in sorted(self.entries)]
        write_json(self.path, {"version": VERSION, "settings": {"tiles": self.settings}, "slides": slides})


def _flatten_settings(settings: SettingsDict, prefix: str = "") -> dict[str, Any]:
    """Return nested settings by their full names, joined by dots."""
    flat: dict[str, Any] = {}
    for name, value in settings.items():
        flat |= _flatten_settings(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return flat


def _format_value(value: object) -> str:
    return "not given" if value is None or value == "" else str(value)


EntryCallback = Callable[[CohortEntry], None]


@dataclass(frozen=True)
class CohortRecords:
    """Manifest and table of a cohort, which are updated together; ``on_change`` is called with each changed entry."""

    manifest: CohortManifest
    table: SlideTable
    on_change: EntryCallback

    def update(self, job: CohortJob, **values: Any) -> None:  # noqa: ANN401 - fields of an entry
        """Change the entry of a slide."""
        self.on_change(self.manifest.put(replace(self.manifest.entries[job.folder.name], **values)))

    def finish(self, job: CohortJob, result: CohortJobResult, **values: Any) -> None:  # noqa: ANN401 - fields of an entry
        if result.error:
            failed = SlideStatus(job.slide, job.folder, "failed", error=result.error, keep_row=result.keep_row)
            self.table.put(failed)
        else:
            self.table.put_row(result.row)
        self.update(job, state="failed" if result.error else "done", error=result.error, **values)


def open_manifest(path: Path, settings: SettingsDict, *, force: bool) -> CohortManifest:
    """Open or create a manifest; slides that were running are set to waiting.

    ``force``: start over with an empty manifest.
    """
    manifest = None if force else CohortManifest.read(path)
    if manifest is None:
        return CohortManifest(path, settings, {})
    manifest.check_settings(settings)
    entries = {
        name: replace(entry, state="waiting") if entry.state == "running" else entry
        for name, entry in manifest.entries.items()
    }
    return CohortManifest(path, manifest.settings | settings, entries)


def read_finished(job: CohortJob, model: ModelIdentity | None, *, was_done: bool) -> Row | None:
    """Return the table row of the result that a slide has already; None if it is to be analyzed, or read in a worker.

    A slide with failed tiles is analyzed again, since they may be readable now. ``was_done``: as the manifest states,
    which is what identifies the model of a result if ``model`` is not known.
    """
    if job.force or (model is None and not was_done) or not (job.folder / RESULT).is_file():
        return None
    # Reported when the slide is analyzed; a result of another version may lack values.
    with suppress(MelanomaError, OSError, AttributeError, KeyError, TypeError, ValueError):
        found = find_matching_result(job.folder, job.slide, open_fingerprint(job.slide), model, job.options)
        if found is not None and not found["tiles_failed"]:
            content = read_analysis(job.folder)
            return status_to_row(SlideStatus(job.slide, job.folder, "done", content, already_done=True))
    return None


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
    on_change: EntryCallback = lambda entry: None,
) -> CohortSummary:
    """Analyze slides on several processes or machines; finished slides are skipped, partial results are resumed.

    ``out``: receives the table, the manifest and a result folder for each slide. ``force``: start over, even if results
    exist. ``on_change``: called with each changed entry of the manifest.
    """
    check_one_slide(paths, options.tumor_outlines)
    began = time.monotonic()
    with hold_lock(out / LOCK):
        model, folders = identify_model(options.model or DEFAULT_TILE_MODEL, options.weights), SlideFolderNames(out)
        digest = "" if model is None else model.digest
        manifest = open_manifest(out / MANIFEST, cohort_settings(options, model), force=force)
        jobs = [
            CohortJob(path.absolute(), folders.folder_for(path).absolute(), options, force, model=digest)
            for path in paths
        ]
        done_before = {name for name, entry in manifest.entries.items() if entry.state == "done"}

        def read(job: CohortJob) -> Row | None:
            return read_finished(job, model, was_done=job.folder.name in done_before)

        finished = []
        for _, row in map_in_threads(read, jobs, run):
            finished.append(row)
            run.report(Progress(len(finished), len(jobs), "Reading existing results"))
        manifest.start_entries(
            CohortEntry(job.folder.name, job.slide.name, "waiting" if one is None else "done")
            for job, one in zip(jobs, finished, strict=True)
        )
        table = SlideTable(out / TABLE)
        table.put_rows([row for row in finished if row is not None])
        todo = [job for job, one in zip(jobs, finished, strict=True) if one is None]
        if todo:
            records, tries = CohortRecords(manifest, table, on_change), cohort_options.tries
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
