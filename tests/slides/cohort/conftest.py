"""Workers who do as they are told at once, slides that are only names, and records of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides import cohort_scheduler
from napari_melanoma.slides.cohort_cluster import CohortJob, CohortJobResult, WorkerLost, WorkerStatus
from napari_melanoma.slides.cohort_manifest import CohortEntry, CohortManifest, CohortRecords, CohortSettings
from napari_melanoma.slides.cohort_scheduler import CohortScheduler
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.slide_table import SlideTable

DONE = CohortJobResult("done", row={})
Script = Callable[[CohortJob, str, int], "CohortJobResult | Exception | None"]


@dataclass
class FakeGiven:
    """A job whose answer stands from the beginning; None: it never ends."""

    outcome: CohortJobResult | Exception | None
    dropped: bool = False

    def is_done(self) -> bool:
        return self.outcome is not None

    def result(self) -> CohortJobResult:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome

    def cancel(self) -> None:
        self.dropped = True


@dataclass
class FakeCluster:
    """Workers by address, and a script with the result of each attempt of a job."""

    seen: dict[str, WorkerStatus]
    script: Script = lambda job, address, attempt: DONE
    given: list[tuple[str, str]] = field(default_factory=list)
    handles: list[FakeGiven] = field(default_factory=list)
    looks: int = 0
    gone: Exception | None = None

    def workers(self) -> dict[str, WorkerStatus]:
        self.looks += 1
        if self.gone is not None:
            raise self.gone
        return dict(self.seen)

    def submit(self, address: str, job: CohortJob) -> FakeGiven:
        self.given.append((job.folder.name, address))
        attempt = sum(name == job.folder.name for name, _ in self.given)
        outcome = self.script(job, address, attempt)
        if isinstance(outcome, CohortJobResult) and outcome.outcome == "done":
            outcome = CohortJobResult("done", row={"slide": job.folder.name, "file": job.slide.name, "status": "done"})
        if isinstance(outcome, WorkerLost):
            self.seen.pop(address, None)
        self.handles.append(FakeGiven(outcome))
        return self.handles[-1]


@dataclass
class Stage:
    """A cohort over fake workers: ``play`` brings jobs of these names to an end."""

    out: Path
    run: RunContext = field(default_factory=RunContext)
    told: list[CohortEntry] = field(default_factory=list)

    def jobs(self, *names: str) -> list[CohortJob]:
        return [CohortJob(self.out.parent / f"{name}.tif", self.out / name, SlideOptions()) for name in names]

    def manifest(self) -> CohortManifest:
        found = CohortManifest.read(self.out / "cohort.json")
        assert found is not None
        return found

    def play(
        self, cluster: FakeCluster, *names: str, tries: int = 3, patience_s: float = 60.0
    ) -> dict[str, CohortEntry]:
        jobs, manifest = self.jobs(*names), CohortManifest(self.out / "cohort.json", CohortSettings({}, {}), {})
        manifest.start_entries(CohortEntry(job.folder.name, job.slide.name) for job in jobs)
        records = CohortRecords(manifest, SlideTable(self.out / "slides.csv"), self.told.append)
        CohortScheduler(cluster, records, self.run, tries).run_jobs(jobs, patience_s)
        return self.manifest().entries


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for name, seconds in {"POLL_S": 0.0, "WORKER_POLL_S": 0.0, "STOP_S": 0.2}.items():
        monkeypatch.setattr(cohort_scheduler, name, seconds)
    return Stage(tmp_path / "out")


@pytest.fixture
def workers() -> Callable[..., FakeCluster]:
    """So many workers, with a script."""

    def made(count: int, script: Script = lambda job, address, attempt: DONE) -> FakeCluster:
        return FakeCluster({f"tcp://{number}": WorkerStatus(f"w{number}") for number in range(count)}, script)

    return made
