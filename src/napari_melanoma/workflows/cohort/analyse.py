"""Analyse the slides of a cohort: open its manifest, gather the workers, hand out what is left to do."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from napari_melanoma.core.ownership import locked
from napari_melanoma.core.runs import RunContext
from napari_melanoma.io.slide_folder import RESULT
from napari_melanoma.workflows.cohort.cohort import Cohort
from napari_melanoma.workflows.cohort.dask_cluster import connected, started
from napari_melanoma.workflows.cohort.manifest import MANIFEST, CohortSettings, Entry, Manifest
from napari_melanoma.workflows.cohort.records import Records, Tell, ignore
from napari_melanoma.workflows.cohort.settings import CohortOptions, settings_of
from napari_melanoma.workflows.cohort.work import Job
from napari_melanoma.workflows.slide_folders import SlideFolders
from napari_melanoma.workflows.slide_options import SlideOptions
from napari_melanoma.workflows.slide_table import TABLE, SlideTable

LOCK = ".cohort.lock"
NOBODY_S = 120.0  # after which processes of this machine will not come any more


@dataclass(frozen=True)
class CohortSummary:
    """How many slides are done, of them ``skipped`` since before, how many failed, and where it is written."""

    done: int
    failed: int
    skipped: int
    table: Path
    manifest: Path
    seconds: float


def analyse_cohort(
    paths: Sequence[Path],
    out: Path,
    options: SlideOptions,
    how: CohortOptions,
    *,
    run: RunContext,
    force: bool = False,
    tell: Tell = ignore,
) -> CohortSummary:
    """Analyse slides on several processes or machines; what is done is not done again, and what was begun goes on."""
    began = time.monotonic()
    with locked(out / LOCK):
        manifest, folders = _opened(out / MANIFEST, settings_of(options), force=force), SlideFolders(out)
        jobs = [Job(path.absolute(), folders.place(path).absolute(), options, force) for path in paths]
        begun = manifest.begin([Entry(job.folder.name, job.slide.name) for job in jobs])
        todo = [job for job, entry in zip(jobs, begun, strict=True) if entry.state != "done"]
        if todo:
            records = Records(manifest, SlideTable(out / TABLE), tell)
            _work(todo, how, records, run, skipped=len(jobs) - len(todo))
    last = [manifest.entries[job.folder.name].state for job in jobs]
    counts = (last.count("done"), last.count("failed"), len(jobs) - len(todo))
    return CohortSummary(*counts, out / TABLE, manifest.path, time.monotonic() - began)


def _work(todo: list[Job], how: CohortOptions, records: Records, run: RunContext, *, skipped: int) -> None:
    """Gather the workers, and bring what is left to do to an end."""
    here = not how.scheduler
    sharing = started(min(how.processes, len(todo))) if here else connected(how.scheduler)
    with sharing as cluster:
        Cohort(cluster, records, run, how.tries, skipped).work(todo, NOBODY_S if here else math.inf)


def _opened(path: Path, settings: CohortSettings, *, force: bool) -> Manifest:
    """Open the manifest that is there, or a new one; done is what has its results, and nobody is at work any more."""
    found = None if force else Manifest.read(path)
    if found is None:
        return Manifest(path, settings, {})
    found.refuse_others(settings)
    same = found.settings.answers == settings.answers

    def now(entry: Entry) -> Entry:
        done = entry.state == "done" and same and (path.parent / entry.slide / RESULT).is_file()
        return entry if done or entry.state == "failed" else replace(entry, state="waiting")

    return Manifest(path, settings, {name: now(entry) for name, entry in found.entries.items()})
