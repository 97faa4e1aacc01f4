"""Results of slides whose analysis fails, whose workers die or come late, and the stop of a cohort."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from distributed.scheduler import KilledWorker

from napari_melanoma.core.context import Cancelled, ParallelProgress, Progress
from napari_melanoma.core.errors import BundleError, ClusterError, ConfigError, SaveError
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import cohort
from napari_melanoma.slides.cohort import CohortJobResult

MakeClient = Callable[..., Any]


def done(job: Any) -> CohortJobResult:
    return CohortJobResult(row={"slide": job.folder.name, "file": job.slide.name, "status": "done"})


FAILURES = {
    "a damaged slide": (CohortJobResult(error="it is truncated"), "it is truncated"),
    "workers that died": (KilledWorker("a", None, 2), "ended without an error message in each of 3 attempts: out of"),
    "memory": (MemoryError(), "out of memory"),
    "a network drive": (SaveError("no permission"), "no permission"),
    "a library": (ZeroDivisionError("of\nnothing"), "unexpected ZeroDivisionError: of nothing"),
}


@pytest.mark.parametrize("failure", FAILURES)
def test_a_slide_that_fails_is_recorded_and_the_others_continue(
    failure: str, stage: Any, make_client: MakeClient
) -> None:
    outcome, message = FAILURES[failure]
    client = make_client(2, lambda job: outcome if job.folder.name == "b" else done(job))
    found = stage.play(client, "a", "b", "c")
    assert {name: entry.state for name, entry in found.items()} == {"a": "done", "b": "failed", "c": "done"}
    assert message in found["b"].error
    rows = {row["slide"]: (row["status"], row["error"]) for row in read_table(stage.out / "slides.csv")}
    assert rows == {"a": ("done", ""), "b": ("failed", found["b"].error), "c": ("done", "")}
    assert [entry.state for entry in stage.entries if entry.slide == "b"] == ["running", "failed"]
    assert client.retries == 2  # dask repeats a job that raises an error


def test_a_slide_with_results_of_other_settings_keeps_their_row(stage: Any, make_client: MakeClient) -> None:
    stage.play(make_client(1, done), "a")
    before = read_table(stage.out / "slides.csv")
    refused = CohortJobResult(error="other settings", keep_row=True)
    found = stage.play(make_client(1, lambda job: refused), "a")
    assert (found["a"].state, found["a"].error) == ("failed", "other settings")
    assert read_table(stage.out / "slides.csv") == before


def test_no_more_slides_are_submitted_than_there_are_workers(stage: Any, make_client: MakeClient) -> None:
    running = []

    def script(job: Any) -> CohortJobResult:
        running.append(sum(entry.state == "running" for entry in stage.manifest().entries.values()))
        return done(job)

    stage.play(make_client(2, script), *"abcdefg")
    assert (len(running), max(running)) == (7, 1)  # before the one that is submitted


@pytest.mark.parametrize("kind", [BundleError, ConfigError, ClusterError])
def test_an_error_that_concerns_all_slides_ends_the_cohort(
    stage: Any, make_client: MakeClient, kind: type[Exception]
) -> None:
    fatal = CohortJobResult(error="there is no model named x", fatal=kind.__name__)
    with pytest.raises(kind, match="there is no model named x"):
        stage.play(make_client(1, lambda job: fatal), "a", "b")
    assert [entry.state for entry in stage.manifest().entries.values()] == ["waiting", "waiting"]


@pytest.mark.parametrize("loss", ["the client noticed", "no response", "the slide is lost"])
def test_a_lost_scheduler_ends_the_cohort_and_finished_slides_are_kept(
    loss: str, stage: Any, make_client: MakeClient
) -> None:
    def script(job: Any) -> Any:
        if job.folder.name == "a":
            return done(job)
        if loss == "the client noticed":
            client.status = "connecting"
        if loss == "no response":
            client.workers = None
        return "lost" if loss == "the slide is lost" else None

    client = make_client(1, script)
    with pytest.raises(ClusterError, match=r"Finished slides are kept\. Restart scheduler and workers"):
        stage.play(client, "a", "b", "c")
    assert [entry.state for entry in stage.manifest().entries.values()] == ["done", "waiting", "waiting"]


def test_waiting_for_workers_is_reported(stage: Any, make_client: MakeClient) -> None:
    reports: list[Progress] = []
    client = make_client(0)

    def report(progress: Progress) -> None:
        reports.append(progress)
        client.workers = len(reports) // 3  # one joins later

    stage.run.report = report
    assert stage.play(client, "a")["a"].state == "done"
    assert reports[0].message == "slides; waiting for workers"


def test_a_stop_cancels_running_slides_and_keeps_those_that_finish(
    stage: Any, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, commands = make_client(2, lambda job: None), []

    def send(folder: Path, command: str) -> None:
        commands.append((folder.name, command))
        client.futures["b"].outcome = CohortJobResult(row={"slide": "b", "file": "b.tif", "status": "done"})

    monkeypatch.setattr(cohort, "send_command", send)
    stage.run.report = lambda progress: stage.run.cancel()
    with pytest.raises(Cancelled):
        stage.play(client, "a", "b", "c")
    found = stage.manifest().entries
    assert {name: entry.state for name, entry in found.items()} == {"a": "waiting", "b": "done", "c": "waiting"}
    assert set(commands) == {("a", "cancel"), ("b", "cancel")}
    assert client.futures["a"].cancelled


def test_progress_counts_slides_and_follows_those_that_run(stage: Any, make_client: MakeClient) -> None:
    reports: list[Progress] = []
    client = make_client(2, lambda job: None)

    def report(progress: Progress) -> None:
        reports.append(progress)
        for name, future in client.futures.items():
            future.outcome = CohortJobResult(row={"slide": name, "file": name, "status": "done"})

    stage.run.report = report
    stage.play(client, "a", "b", skipped=3)
    first = reports[0]
    assert isinstance(first, ParallelProgress)
    assert (first.done, first.total, first.message) == (3, 5, "slides, 2 on 2 workers: a, b")
    assert [part.message for part in first.parts] == ["a: starting", "b: starting"]
    assert reports[-1] == ParallelProgress(5, 5, "slides")
