"""Workers who do as they are told at once, slides that are only names, and records of both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.slides import cohort
from napari_melanoma.slides.cluster import Answer, Job, WorkerLost, WorkerSeen
from napari_melanoma.slides.cohort import Cohort, CohortSettings, Entry, Manifest, Records
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.table import SlideTable

DONE = Answer("done", row={})
Script = Callable[[Job, str, int], "Answer | Exception | None"]


@dataclass
class FakeGiven:
    """A job whose answer stands from the beginning; None: it never ends."""

    outcome: Answer | Exception | None
    dropped: bool = False

    def ended(self) -> bool:
        return self.outcome is not None

    def answer(self) -> Answer:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        assert self.outcome is not None
        return self.outcome

    def drop(self) -> None:
        self.dropped = True


@dataclass
class FakeCluster:
    """Workers by address, and a script that says what becomes of a job at its n-th attempt; lost ones are gone."""

    seen: dict[str, WorkerSeen]
    script: Script = lambda job, address, attempt: DONE
    given: list[tuple[str, str]] = field(default_factory=list)
    handles: list[FakeGiven] = field(default_factory=list)
    looks: int = 0
    gone: Exception | None = None

    def workers(self) -> dict[str, WorkerSeen]:
        self.looks += 1
        if self.gone is not None:
            raise self.gone
        return dict(self.seen)

    def give(self, address: str, job: Job) -> FakeGiven:
        self.given.append((job.folder.name, address))
        attempt = sum(name == job.folder.name for name, _ in self.given)
        outcome = self.script(job, address, attempt)
        if isinstance(outcome, Answer) and outcome.outcome == "done":
            outcome = Answer("done", row={"slide": job.folder.name, "file": job.slide.name, "status": "done"})
        if isinstance(outcome, WorkerLost):
            self.seen.pop(address, None)
        self.handles.append(FakeGiven(outcome))
        return self.handles[-1]


@dataclass
class Stage:
    """A cohort over fake workers: ``play`` brings jobs of these names to an end."""

    out: Path
    run: RunContext = field(default_factory=RunContext)
    told: list[Entry] = field(default_factory=list)

    def jobs(self, *names: str) -> list[Job]:
        return [Job(self.out.parent / f"{name}.tif", self.out / name, SlideOptions()) for name in names]

    def manifest(self) -> Manifest:
        found = Manifest.read(self.out / "cohort.json")
        assert found is not None
        return found

    def play(self, cluster: FakeCluster, *names: str, tries: int = 3, patience_s: float = 60.0) -> dict[str, Entry]:
        jobs, manifest = self.jobs(*names), Manifest(self.out / "cohort.json", CohortSettings({}, {}), {})
        manifest.begin(Entry(job.folder.name, job.slide.name) for job in jobs)
        records = Records(manifest, SlideTable(self.out / "slides.csv"), self.told.append)
        Cohort(cluster, records, self.run, tries).work(jobs, patience_s)
        return self.manifest().entries


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stage:
    for name, seconds in {"POLL_S": 0.0, "LOOK_S": 0.0, "STOP_S": 0.2}.items():
        monkeypatch.setattr(cohort, name, seconds)
    return Stage(tmp_path / "out")


@pytest.fixture
def workers() -> Callable[..., FakeCluster]:
    """So many workers, with a script."""

    def made(count: int, script: Script = lambda job, address, attempt: DONE) -> FakeCluster:
        return FakeCluster({f"tcp://{number}": WorkerSeen(f"w{number}") for number in range(count)}, script)

    return made
