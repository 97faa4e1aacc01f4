"""A dask client whose workers answer at once, slides that are only names, and records of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides import cohort
from napari_melanoma.slides.cohort import (
    CohortEntry,
    CohortJob,
    CohortJobResult,
    CohortManifest,
    CohortRecords,
)
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.slide_table import SlideTable

Outcome = CohortJobResult | Exception | str | None  # str: a status of dask; None: the job does not end


@dataclass(eq=False)
class FakeFuture:
    """A job with a given outcome."""

    outcome: Outcome
    cancelled: bool = False

    @property
    def status(self) -> str:
        if isinstance(self.outcome, str):
            return self.outcome
        return "error" if isinstance(self.outcome, Exception) else "finished"

    def done(self) -> bool:
        return self.outcome is not None

    def result(self, timeout: float) -> CohortJobResult:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert isinstance(self.outcome, CohortJobResult)
        return self.outcome

    def add_done_callback(self, callback: Callable[[object], None]) -> None:
        """Ignore the callback: the tests do not wait."""

    def cancel(self) -> None:
        self.cancelled = True


def done(job: CohortJob) -> CohortJobResult:
    return CohortJobResult(row={"slide": job.folder.name, "file": job.slide.name, "status": "done"})


@dataclass
class FakeClient:
    """A client with a number of workers; ``script`` returns the outcome of a job."""

    workers: int
    script: Callable[[CohortJob], Outcome] = done
    status: str = "running"
    futures: dict[str, FakeFuture] = field(default_factory=dict)
    retries: int = 0

    def scheduler_info(self, n_workers: int) -> dict[str, Any]:
        return {"workers": dict.fromkeys(range(self.workers))}

    def submit(self, function: object, job: CohortJob, *, retries: int, pure: bool) -> FakeFuture:
        self.retries = retries
        self.futures[job.folder.name] = FakeFuture(self.script(job))
        return self.futures[job.folder.name]


@dataclass
class Stage:
    """A cohort over a fake client: ``play`` analyzes slides with these names."""

    out: Path
    run: RunContext = field(default_factory=RunContext)
    entries: list[CohortEntry] = field(default_factory=list)

    def manifest(self) -> CohortManifest:
        found = CohortManifest.read(self.out / "cohort.json")
        assert found is not None
        return found

    def play(self, client: Any, *names: str, tries: int = 3, skipped: int = 0) -> dict[str, CohortEntry]:
        jobs = [CohortJob(self.out.parent / f"{name}.tif", self.out / name, SlideOptions()) for name in names]
        manifest = CohortManifest(self.out / "cohort.json", {}, {})
        manifest.start_entries(CohortEntry(job.folder.name, job.slide.name) for job in jobs)
        records = CohortRecords(manifest, SlideTable(self.out / "slides.csv"), self.entries.append)
        cohort.run_jobs(client, jobs, records, self.run, tries=tries, skipped=skipped)
        return self.manifest().entries


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    monkeypatch.setattr(cohort, "POLL_S", 0.0)
    monkeypatch.setattr(cohort, "STOP_S", 0.2)
    return Stage(tmp_path / "out")


@pytest.fixture
def make_client() -> Callable[..., FakeClient]:
    return FakeClient
