"""Run contexts: progress is reported after each step, a stop is checked before the next."""

from __future__ import annotations

import threading
import time

import pytest

from napari_melanoma.core.context import Cancelled, Milestone, PartContext, Progress, RunContext


@pytest.mark.parametrize(
    ("done", "total", "fraction"), [(0, 4, 0.0), (1, 4, 0.25), (4, 4, 1.0), (5, 4, 1.0), (3, None, None), (0, 0, None)]
)
def test_the_fraction_that_is_done(done: int, total: int | None, fraction: float | None) -> None:
    assert Progress(done, total, "reading").fraction == fraction


def test_a_report_follows_each_item() -> None:
    seen: list[object] = []
    run = RunContext(seen.append)
    for item in run.track("ab", "reading"):
        seen.append(item)
    assert seen == ["a", Progress(1, 2, "reading"), "b", Progress(2, 2, "reading")]


def test_progress_without_length_has_no_total() -> None:
    seen: list[Progress] = []
    assert list(RunContext(seen.append).track(iter("ab"), "reading")) == ["a", "b"]
    assert [progress.total for progress in seen] == [None, None]


def test_a_cancelled_run_stops_before_the_next_item() -> None:
    run, seen = RunContext(), []
    with pytest.raises(Cancelled):
        for item in run.track([1, 2, 3], "counting"):
            seen.append(item)
            if item == 2:
                run.cancel()
                run.cancel()
    assert seen == [1, 2]
    assert run.cancelled


def test_a_part_reports_and_is_cancelled_with_the_whole() -> None:
    reported: list[Progress] = []
    outer = RunContext(reported.append)
    part = PartContext(outer, 1, 4, "Second", scale=10)
    for progress in (Progress(3, 7, "reading"), Progress(5, 10, "half"), Milestone(10, 10, "done")):
        part.report(progress)
    assert [step.fraction for step in reported] == [0.25, 0.375, 0.5]
    assert [step.message for step in reported] == ["Second: reading", "Second: half", "Second: done"]
    assert [type(step) for step in reported] == [Progress, Progress, Milestone]
    PartContext(outer, 0, 2, "First").report(Progress(1, 2, "half"))
    assert reported[-1].fraction == 0.25
    other = PartContext(outer, 2, 4, "Third")
    part.cancel()
    assert (part.cancelled, other.cancelled, outer.cancelled) == (True, False, False)
    outer.cancel()
    with pytest.raises(Cancelled):
        other.check()


def test_a_context_that_may_be_stopped_ends_after_the_stop() -> None:
    run, stopping = RunContext(), threading.Event()
    stopped: list[bool] = []

    def stop() -> None:
        stopping.set()
        time.sleep(0.1)
        stopped.append(True)

    thread = threading.Thread(target=run.cancel)
    with run.stopped_by(stop):
        thread.start()
        stopping.wait()
    assert stopped == [True]
    thread.join()
