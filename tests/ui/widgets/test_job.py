"""Background jobs, cancellation, the queue of latest jobs, and the GUI task queue."""

from __future__ import annotations

import threading
import time

import pytest
from qtpy import PYSIDE6
from qtpy.QtCore import QObject

from napari_melanoma.core.context import Progress
from napari_melanoma.ui.widgets.job import (
    BackgroundJob,
    GuiTaskQueue,
    LatestJobQueue,
    _running_jobs,
    count_running_jobs,
)


@pytest.fixture
def parent(qapp, nothing_left):
    made = QObject()
    yield made
    made.deleteLater()


def delete(thing):
    """Delete the Qt object behind a Python object, as at the end of the application."""
    if PYSIDE6:
        import shiboken6

        shiboken6.delete(thing)
    else:
        from PyQt6 import sip

        sip.delete(thing)


def record_signals(job):
    """Record the signals of a job, with the thread in which they are delivered."""
    emitted = []
    for name in ("progressed", "succeeded", "failed"):
        getattr(job, name).connect(lambda value, name=name: emitted.append((name, value, threading.current_thread())))
    job.finished.connect(lambda: emitted.append(("finished", None, threading.current_thread())))
    return emitted


def test_a_job_runs_in_a_thread_and_emits_on_the_gui_thread(qtbot, parent):
    def work(run):
        run.report(Progress(1, 2, "half"))
        return threading.current_thread()

    job = BackgroundJob(work)
    emitted = record_signals(job)
    with qtbot.waitSignal(job.finished):
        job.start()
    kinds, values, threads = zip(*emitted, strict=True)
    assert kinds == ("progressed", "succeeded", "finished")
    assert values[0] == Progress(1, 2, "half")
    assert values[1] is not threading.main_thread()
    assert set(threads) == {threading.main_thread()}
    qtbot.waitUntil(lambda: count_running_jobs() == 0)  # an earlier test's dock may still be importing ahead


def test_an_error_is_emitted(qtbot, parent):
    def work(run):
        raise RuntimeError("CUDA out of memory")

    job = BackgroundJob(work)
    emitted = record_signals(job)
    with qtbot.waitSignal(job.finished):
        job.start()
    assert [kind for kind, *_ in emitted] == ["failed", "finished"]
    assert str(emitted[0][1]) == "CUDA out of memory"


@pytest.mark.parametrize("asks", [True, False], ids=["asks whether to go on", "never asks"])
def test_after_cancel_only_finished_is_emitted(qtbot, parent, asks):
    go = threading.Event()

    def work(run):
        go.wait(10)
        if asks:
            run.check()
        return "late"

    job = BackgroundJob(work)
    emitted = record_signals(job)
    with qtbot.waitSignal(job.finished):
        job.start()
        job.cancel()
        go.set()
    assert [kind for kind, *_ in emitted] == ["finished"]


class Listener(QObject):
    def on_event(self, value):
        raise AssertionError(f"record_signals {value} after its end")


def test_a_job_outlives_its_receivers(qtbot, parent):
    done = threading.Event()
    listener = Listener()
    job = BackgroundJob(lambda run: "record_signals" if done.wait(10) else "")
    job.succeeded.connect(listener.on_event)
    job.start()
    del job
    listener.deleteLater()
    done.set()
    qtbot.waitUntil(lambda: count_running_jobs() == 0)
    assert done.is_set()


def test_a_job_whose_qt_object_was_deleted_ends_quietly(qtbot, parent, capfd):
    go, faults = threading.Event(), []
    job = BackgroundJob(lambda run: go.wait(10) and run.report(Progress(1, 2, "half")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", faults.append)
        job.start()
        delete(job)
        go.set()
        qtbot.waitUntil(lambda: not [one for one in threading.enumerate() if one.name == f"melanoma-{id(job):x}"])
    _running_jobs.discard(job)
    assert (faults, capfd.readouterr().err) == ([], "")


def test_only_the_latest_of_several_functions_runs(qtbot, parent):
    latest, ran = LatestJobQueue(parent), []

    def function(name):
        return lambda: lambda run: time.sleep(0.05) or name

    latest.succeeded.connect(ran.append)
    for number in range(5):
        latest.submit("preview", function(f"preview {number}"))
    latest.submit("save", function("save"))
    latest.submit("nothing", lambda: None)
    qtbot.waitUntil(lambda: not latest.busy)
    assert ran == ["preview 4", "save"]


def test_functions_run_one_at_a_time_and_continue_after_an_error(qtbot, parent):
    latest, running, failed = LatestJobQueue(parent), [0, 0], []

    def work(run):
        running[0] += 1
        running[1] = max(running)
        time.sleep(0.02)
        running[0] -= 1
        raise ValueError("no")

    latest.failed.connect(failed.append)
    for number in range(3):
        latest.submit(str(number), lambda: work)
    qtbot.waitUntil(lambda: not latest.busy)
    assert len(failed) == 3
    assert running[1] == 1


def test_gui_tasks_run_in_order_one_per_turn(qtbot, parent):
    turns, done = GuiTaskQueue(parent), []
    turns.add(lambda: done.append(1), lambda: done.append(2))
    assert turns.busy
    assert done == []
    qtbot.waitUntil(lambda: not turns.busy)
    assert done == [1, 2]
