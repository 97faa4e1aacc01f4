"""Background jobs, cancellation, the queues of jobs and GUI tasks, and the registry of all tasks."""

from __future__ import annotations

import threading
import time
import weakref
from functools import partial

import pytest
from qtpy import PYSIDE6
from qtpy.QtCore import QObject

from conftest import wait_until_idle
from napari_melanoma.core.context import Progress
from napari_melanoma.ui.widgets.job import (
    BackgroundJob,
    LatestJobQueue,
    TaskRegistry,
    _running_jobs,
    run_job,
    tasks,
)
from napari_melanoma.ui.widgets.settings import DebounceTimer

pytestmark = pytest.mark.both_qts


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

    # An error is emitted.
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


def test_a_job_whose_qt_object_was_deleted_ends_quietly(qtbot, parent, capfd):
    go, faults = threading.Event(), []
    job = BackgroundJob(lambda run: go.wait(10) and run.report(Progress(1, 2, "half")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "excepthook", faults.append)
        job.start()
        delete(job)
        go.set()
        qtbot.waitUntil(lambda: id(job) not in _running_jobs)
    assert (faults, capfd.readouterr().err) == ([], "")


def test_a_job_whose_owner_was_deleted_emits_nothing(qtbot, parent):
    """Lambdas and partial functions that use the owner are not disconnected with it."""
    go, owner = threading.Event(), QObject(parent)
    job = BackgroundJob(lambda run: go.wait(10) and run.report(Progress(1, 2, "half")))
    emitted = record_signals(job)
    job.start(owner)
    delete(owner)
    go.set()
    wait_until_idle(qtbot)
    qtbot.waitUntil(lambda: id(job) not in _running_jobs)
    assert not emitted


class Held:
    """What a function holds, such as a dock: which thread released it?"""

    def __init__(self, released_in):
        self._released_in = released_in

    def __call__(self, run):
        return None

    def __del__(self):
        self._released_in.append(threading.current_thread())


def test_the_job_and_its_function_are_released_on_the_gui_thread(qtbot, parent):
    """Also while the thread has posted the end of its function but has not ended: it deletes no Qt object."""
    go, posted, jobs, released_in = threading.Event(), [], [], []

    def stay(frame, event, function):
        if event == "c_return" and function.__name__ == "emit":
            posted.append(function)
            if len(posted) == 2:  # the result and the end
                jobs.append(threading.current_thread())
                go.wait(10)

    threading.setprofile(stay)
    try:
        job = BackgroundJob(Held(released_in))
        with qtbot.waitSignal(job.finished):
            job.start()
    finally:
        threading.setprofile(None)
    job_ref = weakref.ref(job, lambda _: released_in.append(threading.current_thread()))
    del job
    qtbot.waitUntil(lambda: bool(jobs))
    go.set()
    jobs[0].join(10)
    assert job_ref() is None
    assert released_in == [threading.main_thread()] * 2


def test_only_the_latest_of_several_functions_runs_one_at_a_time_unless_it_is_stopped(qtbot, parent):
    latest, ran = LatestJobQueue(parent), []

    def function(name):
        return lambda: lambda run: time.sleep(0.05) or name

    latest.succeeded.connect(ran.append)
    for number in range(5):
        latest.submit("preview", function(f"preview {number}"))
    latest.submit("save", function("save"))
    wait_until_idle(qtbot, latest)
    assert ran == ["preview 4", "save"]
    # A stopped function emits nothing, and others run.
    ran.clear()
    begun = threading.Event()

    def work(run):
        begun.set()
        while True:
            run.check()
            time.sleep(0.005)

    latest.submit("slow", lambda: work)
    qtbot.waitUntil(begun.is_set)
    for name in ("other", "next"):
        latest.submit(name, lambda name=name: lambda run: name)
    for name in ("next", "slow", "unknown"):
        latest.stop(name)
    wait_until_idle(qtbot, latest)
    assert ran == ["other"]
    # They continue after an error.
    running, failed = [0, 0], []

    def fail(run):
        running[0] += 1
        running[1] = max(running)
        time.sleep(0.02)
        running[0] -= 1
        raise ValueError("no")

    latest.failed.connect(failed.append)
    for number in range(3):
        latest.submit(str(number), lambda: fail)
    wait_until_idle(qtbot, latest)
    assert len(failed) == 3
    assert running[1] == 1


class Part(QObject):
    """A part of a dock."""


def test_a_scope_is_idle_when_it_and_its_children_are(parent):
    part, sibling, child, job = Part(parent), Part(parent), Part(), Part()
    tasks.set_running(child, True)
    tasks.set_running(job, True, sibling)
    assert tasks.is_idle(part)
    child.setParent(part)
    assert tasks.running(part) == ["Part of Part"]
    assert sorted(tasks.running(parent)) == ["Part of Part", "Part of QObject"]
    tasks.set_running(job, False)
    assert tasks.is_idle(sibling)
    delete(part)  # with its child, as a dock that is closed
    assert tasks.is_idle(parent)


def test_idle_is_emitted_when_following_tasks_have_started(qtbot, parent):
    registry, first, second, running = TaskRegistry(), Part(parent), Part(parent), []
    registry.idle.connect(lambda: running.append(registry.running()))
    registry.set_running(first, True)
    registry.set_running(first, False)
    registry.set_running(first, False)  # an end without a start
    registry.set_running(second, True)
    assert running == []
    qtbot.waitUntil(lambda: running == [["Part of QObject"]])
    registry.set_running(second, False)
    qtbot.waitUntil(lambda: running == [["Part of QObject"], []])


def test_an_active_timer_is_a_task(qtbot, parent):
    timer, fired = DebounceTimer(parent, 20), []
    timer.timeout.connect(lambda: fired.append(tasks.running(parent)))
    timer.start()
    assert tasks.running(timer) == ["DebounceTimer of QObject"]
    timer.stop()
    assert tasks.is_idle(parent)
    for end in (timer.flush, timer.flush, partial(wait_until_idle, qtbot, parent)):
        timer.start()
        end()
    assert fired == [[], [], []]


def test_a_queue_calls_back(qtbot, parent):
    running, results, started, queue = threading.Event(), [], [], LatestJobQueue(parent)
    queue.started.connect(started.append)
    queue.submit("first", lambda: lambda run: running.wait(5), results.append)
    queue.submit("second", lambda: lambda run: 3, results.append)
    queue.hurry()
    assert (started, queue.has("first"), queue.has("second"), queue.has("third")) == (["first"], True, True, False)
    queue.cancel()
    queue.submit("third", lambda: lambda run: 5, results.append)
    running.set()
    with qtbot.waitSignal(queue.idle):
        pass
    assert (results, started) == ([5], ["first", "third"])


def test_a_queue_continues_after_a_function_that_cannot_be_prepared(qtbot, parent):
    def prepare():
        raise ValueError("no layer")

    results, failed, queue = [], [], LatestJobQueue(parent)
    queue.failed.connect(failed.append)
    queue.submit("first", prepare, results.append)
    queue.submit("second", lambda: lambda run: 3, results.append)
    with qtbot.waitSignal(queue.idle):
        pass
    assert (results, [str(error) for error in failed]) == ([3], ["no layer"])
    assert tasks.is_idle(queue)
    queue.submit("only", prepare)
    with qtbot.waitSignal(queue.idle):
        pass
    assert tasks.is_idle(queue)


@pytest.mark.parametrize(("end", "is_killed"), [("cancel", True), ("ignore", False)])
def test_a_job_that_is_ended_emits_no_result_and_kills_only_if_it_is_canceled(qtbot, parent, end, is_killed):
    running, killed, results = threading.Event(), [], []

    def work(run):
        with run.stopped_by(lambda: killed.append(True)):
            running.wait(5)
        return 1

    job = run_job(parent, "key", work, results.append, results.append)
    getattr(job, end)()
    job.cancel()  # as another job with the same key does
    with qtbot.waitSignal(job.finished):
        running.set()
    assert (killed, results) == ([True] if is_killed else [], [])
