"""What becomes of slides whose workers die, run out of memory, are busy, come late or never."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, ParallelProgress, Progress
from napari_melanoma.core.errors import BundleError, ClusterError, ConfigError
from napari_melanoma.io.results import read_table
from napari_melanoma.slides import cohort_scheduler
from napari_melanoma.slides.cohort_cluster import CohortJobResult, WorkerLost, WorkerStatus

DONE, BAD, AGAIN = (
    CohortJobResult("done"),
    CohortJobResult("bad", "it is truncated"),
    CohortJobResult("again", "out of memory"),
)
Workers = Callable[..., Any]


def test_all_slides_come_to_an_end_and_bad_input_is_not_tried_again(stage: Any, workers: Workers) -> None:
    cluster = workers(2, lambda job, address, attempt: BAD if job.folder.name == "b" else DONE)
    found = stage.play(cluster, "a", "b", "c")
    assert {name: (entry.state, entry.attempts) for name, entry in found.items()} == {
        "a": ("done", 1),
        "b": ("failed", 1),
        "c": ("done", 1),
    }
    assert found["b"].error == "it is truncated"
    assert found["a"].worker == "w0"
    rows = {row["slide"]: (row["status"], row["error"]) for row in read_table(stage.out / "slides.csv")}
    assert rows == {"a": ("done", ""), "b": ("failed", "it is truncated"), "c": ("done", "")}
    assert [(entry.slide, entry.state) for entry in stage.told if entry.slide == "b"] == [
        ("b", "running"),
        ("b", "failed"),
    ]


def test_a_worker_has_one_slide_at_a_time(stage: Any, workers: Workers) -> None:
    most = []

    def script(job: Any, address: str, attempt: int) -> CohortJobResult:
        most.append(sum(entry.state == "running" for entry in stage.manifest().entries.values()))
        return DONE

    stage.play(workers(2, script), *"abcdefg")
    assert max(most) <= 1  # before the one that is given now
    assert len(most) == 7


def test_a_slide_whose_worker_dies_is_tried_elsewhere(stage: Any, workers: Workers) -> None:
    cluster = workers(2, lambda job, address, attempt: WorkerLost() if address == "tcp://0" else DONE)
    found = stage.play(cluster, "a", "b")
    assert cluster.given == [("a", "tcp://0"), ("b", "tcp://1"), ("a", "tcp://1")]
    assert (found["a"].state, found["a"].attempts, found["a"].worker) == ("done", 2, "w1")
    assert found["a"].error == ""
    assert found["a"].earlier == (
        "its process ended without an error message (w0): killed, out of memory, or its machine is not available",
    )


def test_a_slide_that_kills_every_worker_fails_in_the_end_and_the_others_go_on(stage: Any, workers: Workers) -> None:
    cluster = workers(1, lambda job, address, attempt: WorkerLost() if job.folder.name == "a" else DONE)
    plain, deaths = cluster.submit, []

    def submit(address: str, job: Any) -> Any:
        given = plain(address, job)
        if not cluster.seen:  # another process takes its place, as under a nanny
            deaths.append(address)
            cluster.seen[f"tcp://new{len(deaths)}"] = WorkerStatus("w0", 95, 100)
        return given

    cluster.submit = submit
    found = stage.play(cluster, "a", "b", "c", tries=2)
    assert [entry.state for entry in found.values()] == ["failed", "done", "done"]
    assert (found["a"].attempts, len(deaths)) == (2, 2)
    assert found["a"].error.endswith("GiB at the last update): out of memory")
    assert len(found["a"].earlier) == 1


def test_a_worker_that_vanishes_from_the_list_has_lost_its_slide(stage: Any, workers: Workers) -> None:
    cluster = workers(2, lambda job, address, attempt: None if attempt == 1 and address == "tcp://0" else DONE)
    plain = cluster.workers

    def look() -> dict[str, WorkerStatus]:
        if cluster.looks > 2:
            cluster.seen.pop("tcp://0", None)
        return plain()

    cluster.workers = look
    found = stage.play(cluster, "a", "b")
    assert (found["a"].state, found["a"].attempts, found["a"].worker) == ("done", 2, "w1")
    assert cluster.handles[0].dropped


def test_what_may_go_well_is_tried_again_elsewhere_where_there_is_anybody(stage: Any, workers: Workers) -> None:
    cluster = workers(2, lambda job, address, attempt: AGAIN if attempt == 1 else DONE)
    found = stage.play(cluster, "a")
    assert cluster.given == [("a", "tcp://0"), ("a", "tcp://1")]
    assert found["a"].earlier == ("out of memory",)
    alone = workers(1, lambda job, address, attempt: AGAIN if attempt == 1 else DONE)
    stage.play(alone, "b")
    assert alone.given == [("b", "tcp://0"), ("b", "tcp://0")]


def test_tries_are_limited(stage: Any, workers: Workers) -> None:
    found = stage.play(workers(2, lambda *_: AGAIN), "a", tries=3)
    assert (found["a"].state, found["a"].attempts, found["a"].error) == ("failed", 3, "out of memory")
    assert found["a"].earlier == ("out of memory", "out of memory")


def test_slide_in_analysis_elsewhere_waits(stage: Any, workers: Workers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cohort_scheduler, "BUSY_RETRY_S", 0.02)
    busy = CohortJobResult("busy", "another process works in a")
    cluster = workers(1, lambda job, address, attempt: busy if (job.folder.name, attempt) == ("a", 1) else DONE)
    plain, looked = cohort_scheduler.RunFolder.is_owned, []

    def is_owned(folder: Any) -> bool:
        looked.append(folder.path.name)
        return len(looked) < 4 or plain.fget(folder)

    monkeypatch.setattr(cohort_scheduler.RunFolder, "is_owned", property(is_owned))
    found = stage.play(cluster, "a", "b")
    assert [name for name, _ in cluster.given] == ["a", "b", "a"]
    assert looked == ["a"] * 4  # it waited, and used up no attempt
    assert [(entry.state, entry.attempts) for entry in found.values()] == [("done", 2), ("done", 1)]


def test_a_worker_that_was_cut_off_for_a_moment_stays(
    stage: Any, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cohort_scheduler, "BUSY_RETRY_S", 0.02)
    cluster = workers(1)
    seen = cluster.seen["tcp://0"]

    def script(job: Any, address: str, attempt: int) -> Any:
        return WorkerLost() if attempt == 1 else DONE

    def submit(address: str, job: Any) -> Any:
        given = plain(address, job)
        cluster.seen[address] = seen  # the scheduler has it still
        return given

    plain, cluster.script, cluster.submit = cluster.submit, script, submit
    found = stage.play(cluster, "a")
    assert (found["a"].state, found["a"].attempts) == ("done", 2)
    assert found["a"].earlier == ("the connection to its worker was lost (w0)",)


@pytest.mark.parametrize("kind", [BundleError, ConfigError, ClusterError])
def test_what_concerns_all_ends_it(stage: Any, workers: Workers, kind: type[Exception]) -> None:
    answer = CohortJobResult("all", "there is no model named x", kind.__name__)
    with pytest.raises(kind, match="there is no model named x"):
        stage.play(workers(1, lambda *_: answer), "a", "b")
    assert [entry.state for entry in stage.manifest().entries.values()] == ["waiting", "waiting"]


def test_lost_scheduler_ends_the_cohort_and_keeps_finished_slides(stage: Any, workers: Workers) -> None:
    cluster = workers(1)

    def script(job: Any, address: str, attempt: int) -> CohortJobResult | Exception:
        if job.folder.name == "a":
            return DONE
        cluster.gone = ClusterError("the scheduler no longer responds")
        return WorkerLost()

    cluster.script = script
    with pytest.raises(ClusterError, match="no longer responds"):
        stage.play(cluster, "a", "b", "c")
    assert [entry.state for entry in stage.manifest().entries.values()] == ["done", "waiting", "waiting"]


def test_it_waits_for_workers_and_says_so_but_not_for_processes_that_never_come(stage: Any, workers: Workers) -> None:
    reports: list[Progress] = []
    stage.run.report = reports.append
    cluster = workers(0)
    with pytest.raises(ClusterError, match="no worker process was available for 0 seconds"):
        stage.play(cluster, "a", patience_s=0.05)
    assert reports[0].message == "slides; waiting for workers"
    cluster = workers(0)
    plain = cluster.workers

    def come() -> dict[str, WorkerStatus]:
        if cluster.looks == 20:
            cluster.seen["tcp://late"] = WorkerStatus("late")
        return plain()

    cluster.workers = come
    assert stage.play(cluster, "a")["a"].worker == "late"


def test_workers_that_are_not_ready_get_nothing(stage: Any, workers: Workers) -> None:
    cluster = workers(2)
    cluster.seen["tcp://0"] = replace(cluster.seen["tcp://0"], ready=False)
    stage.play(cluster, "a", "b")
    assert {address for _, address in cluster.given} == {"tcp://1"}


def test_a_stop_is_passed_on_and_what_ends_meanwhile_counts(stage: Any, workers: Workers) -> None:
    cluster = workers(2, lambda job, address, attempt: None)
    plain = cluster.submit

    def submit(address: str, job: Any) -> Any:
        given = plain(address, job)
        if job.folder.name == "b":
            stage.run.cancel()
        return given

    cluster.submit = submit
    told = stage.told.append

    def record(entry: Any) -> None:
        told(entry)
        if (entry.slide, entry.state) == ("b", "running"):  # it comes to its end while it is stopped
            cluster.handles[-1].outcome = CohortJobResult("done", row={"slide": "b", "file": "b.tif", "status": "done"})

    stage.told = type("Told", (), {"append": staticmethod(record)})()
    with pytest.raises(Cancelled):
        stage.play(cluster, "a", "b", "c")
    found = stage.manifest().entries
    assert {name: entry.state for name, entry in found.items()} == {"a": "waiting", "b": "done", "c": "waiting"}
    assert json.loads((stage.out / "a" / "control.json").read_text())["wish"] == "cancel"
    assert cluster.handles[0].dropped


def test_progress_counts_slides_and_follows_those_at_work(stage: Any, workers: Workers) -> None:
    reports: list[Progress] = []
    stage.run.report = reports.append
    cluster = workers(2, lambda job, address, attempt: None if address == "tcp://0" and attempt == 1 else DONE)
    plain = cluster.workers

    def look() -> dict[str, WorkerStatus]:
        if cluster.looks > 3:
            cluster.seen.pop("tcp://0", None)
        return plain()

    cluster.workers = look
    stage.play(cluster, "a", "b")
    busy = [one for one in reports if isinstance(one, ParallelProgress) and one.parts]
    assert busy[0].message.startswith("slides, ")
    assert [part.message for part in busy[-1].parts] == ["a: starting"]
    assert (reports[-1].done, reports[-1].total) == (2, 2)


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        (WorkerStatus("w1"), "(w1): killed, out of memory, or its machine is not available"),
        (
            WorkerStatus("w1", 2**30, 4 * 2**30),
            "(w1, with 1.0 of 4.0 GiB at the last update): killed, out",
        ),
        (WorkerStatus("w1", 15 * 2**28, 4 * 2**30), "(w1, with 3.8 of 4.0 GiB at the last update): out of memory"),
    ],
)
def test_why_a_worker_may_have_ended(seen: WorkerStatus, text: str) -> None:
    assert text in seen.exit_reason
