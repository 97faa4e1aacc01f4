"""The worker client: responses, cancellation, a child that dies, and cleaning up."""

from __future__ import annotations

import os
import pickle
import signal
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest
from patience import PATIENCE_MS

from napari_melanoma import worker
from napari_melanoma.core.context import Cancelled, KeptArray, RunContext
from napari_melanoma.core.errors import BundleError, WorkerTerminated
from napari_melanoma.core.processes import python_executable
from napari_melanoma.ui.widgets.job import tasks
from napari_melanoma.ui.worker_client import NORMAL, URGENT, WorkerClient, acquire_worker, release_worker


def ask(client, model="fine", priority=NORMAL):
    """Send a request; return it with its recorded signals."""
    pixels = KeptArray("skin", np.zeros((4, 4, 3), np.uint8))
    request = client.request(worker.segment, model, pixels, False, priority=priority)
    recorded = []
    request.succeeded.connect(lambda answer: recorded.append(answer[1].name))
    request.failed.connect(recorded.append)
    request.finished.connect(lambda: recorded.append("finished"))
    return request, recorded


def wait(qtbot, recorded):
    qtbot.waitUntil(lambda: "finished" in recorded, timeout=PATIENCE_MS)
    return recorded[0]


@pytest.mark.both_qts
def test_one_child_handles_one_request_after_the_other(client, qtbot):
    recorded = [ask(client, model)[1] for model in ("one", "two", "three")]
    qtbot.waitUntil(lambda: all("finished" in signals for signals in recorded), timeout=PATIENCE_MS)
    assert recorded == [["one", "finished"], ["two", "finished"], ["three", "finished"]]
    pid = client.pid
    assert wait(qtbot, ask(client)[1]) == "fine"
    assert client.pid == pid


def test_an_urgent_request_is_handled_before_those_that_wait(client, qtbot, monkeypatch):
    sent, exchange = [], client._exchange

    def record(process, request, run):
        sent.append(request[2][0])
        return exchange(process, request, run)

    monkeypatch.setattr(client, "_exchange", record)
    given = ("slow-0.5", NORMAL), ("waiting", NORMAL), ("urgent", URGENT)
    recorded = [ask(client, model, priority)[1] for model, priority in given]
    qtbot.waitUntil(lambda: all("finished" in signals for signals in recorded), timeout=PATIENCE_MS)
    assert sent == ["slow-0.5", "urgent", "waiting"]


def test_a_photograph_is_sent_once_to_a_child(client, qtbot, monkeypatch):
    sent, dump, explained = [], pickle.dump, []
    monkeypatch.setattr(pickle, "dump", lambda request, *to: sent.append(request[1][2][1].values) or dump(request, *to))
    for _ in range(2):
        wait(qtbot, ask(client)[1])
    pixels, mask = KeptArray("skin", np.zeros((4, 4, 3), np.uint8)), np.ones((4, 4), bool)
    client.request(worker.explain, "one", pixels, mask, {}, "cam", "melanoma").succeeded.connect(explained.append)
    qtbot.waitUntil(lambda: bool(explained), timeout=PATIENCE_MS)
    assert explained[0].all()
    os.kill(client.pid, signal.SIGTERM)
    qtbot.waitUntil(lambda: client.pid is None, timeout=PATIENCE_MS)
    assert wait(qtbot, ask(client)[1]) == "fine"
    assert [values is not None for values in sent] == [True, False, False, True]


@pytest.mark.both_qts
def test_errors_are_recreated_and_canceled_requests_ignored(client, qtbot):
    error = wait(qtbot, ask(client, "nonsense")[1])
    assert isinstance(error, BundleError)
    assert "known: lesion-small" in str(error)
    # A late response to a canceled request is ignored.
    request, cancelled = ask(client, "slow-0.3")
    qtbot.waitUntil(lambda: client.pid is not None, timeout=PATIENCE_MS)
    request.cancel()
    assert wait(qtbot, cancelled) == "finished"
    assert wait(qtbot, ask(client, "next")[1]) == "next"
    assert cancelled == ["finished"]
    # A pending request is canceled without killing.
    pid = client.pid
    _, first = ask(client, "slow-0.2")
    second, taken_back = ask(client, "never")
    second.cancel()
    assert wait(qtbot, taken_back) == "finished"
    assert wait(qtbot, first) == "slow-0.2"
    assert client.pid == pid


def test_a_request_after_a_cancelled_one_whose_answer_had_come_has_another_child(client, qtbot, monkeypatch):
    wait(qtbot, ask(client)[1])
    monkeypatch.setattr(client._process, "poll", lambda: None)  # as while it is dying
    pid, run, exchange = client._process.pid, RunContext(), client._exchange

    def cancel_after(*arguments):
        event = exchange(*arguments)
        run.cancel()
        return event

    with monkeypatch.context() as patch, pytest.raises(Cancelled):
        patch.setattr(client, "_exchange", cancel_after)
        client.call(run, worker.prepare_segmenter, "fine")
    assert wait(qtbot, ask(client)[1]) == "fine"
    assert client.pid != pid


@contextmanager
def client_of(code):
    """A client whose child runs some code before the worker's loop."""
    made = WorkerClient([sys.executable, "-c", f"{code}\nfrom napari_melanoma import worker; worker.main()"])
    yield made
    made.close()
    made.deleteLater()


TWICE = """
from napari_melanoma import worker
worker.prepare_segmenter = lambda model, run: model
answer = worker._answer
worker._answer = lambda *arguments: [answer(*arguments) for _ in range(2)]
"""


def test_an_answer_to_another_request_is_an_error(home, nothing_left):
    with client_of(TWICE) as client:

        def call(model):
            return client.call(RunContext(), worker.prepare_segmenter, model)

        assert call("one") == "one"
        with pytest.raises(WorkerTerminated, match="it answered another request"):
            call("two")
        assert call("three") == "three", "by another child"


@pytest.mark.parametrize("text", ["Intel MKL warning\n", "BLAS"])
def test_what_libraries_print_before_the_worker_starts_is_skipped(home, nothing_left, text):
    with client_of(f"print({text!r}, end='', flush=True)") as client, pytest.raises(BundleError, match="no such model"):
        client.call(RunContext(), worker.prepare_segmenter, "no such model")


@pytest.mark.skipif(sys.platform != "linux", reason="the size of pipes can be set only on Linux")
def test_the_worker_starts_if_the_user_has_too_many_pipes(client, qtbot, monkeypatch):
    import fcntl

    control, refused = fcntl.fcntl, []

    def refuse(descriptor, command, *arguments):
        if command == fcntl.F_SETPIPE_SZ:
            refused.append(descriptor)
            raise PermissionError(1, "Operation not permitted")
        return control(descriptor, command, *arguments)

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    assert wait(qtbot, ask(client)[1]) == "fine"
    assert len(refused) == 2


@pytest.mark.both_qts
@pytest.mark.parametrize("how", ["killed", "dies"])
def test_a_child_that_dies_is_reported_and_replaced(client, qtbot, how):
    _, recorded = ask(client, "slow-60" if how == "killed" else "dies")
    if how == "killed":
        qtbot.waitUntil(lambda: not tasks.is_idle(client) and client.pid is not None, timeout=PATIENCE_MS)
        os.kill(client.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    error = wait(qtbot, recorded)
    assert isinstance(error, WorkerTerminated)
    assert wait(qtbot, ask(client)[1]) == "fine"
    # One that stopped while idle is restarted silently.
    os.kill(client.pid, signal.SIGTERM)
    qtbot.waitUntil(lambda: client.pid is None, timeout=PATIENCE_MS)
    assert wait(qtbot, ask(client)[1]) == "fine"


@pytest.mark.both_qts
def test_a_missing_program_is_reported(home, nothing_left, qtbot):
    client = WorkerClient(["/no/such/program"])
    error = wait(qtbot, ask(client)[1])
    assert isinstance(error, WorkerTerminated)
    assert "cannot be started" in str(error)
    client.close()
    client.deleteLater()


@pytest.mark.both_qts
def test_close_ends_the_child_and_the_calls(client, qtbot):
    wait(qtbot, ask(client)[1])
    child, calls = psutil.Process(client.pid), [ask(client, "slow-60")[1], ask(client)[1]]
    qtbot.wait(200)
    client.close()
    assert client.pid is None
    assert not child.is_running()
    for recorded in calls:
        assert wait(qtbot, recorded) == "finished"
    assert wait(qtbot, ask(client)[1]) == "fine", "it can be used again"


@pytest.mark.both_qts
def test_docks_share_one_worker_until_the_last_one_closes(home, nothing_left):
    first, second = acquire_worker(), acquire_worker()
    assert first is second
    release_worker()
    assert acquire_worker() is first
    release_worker()
    release_worker()
    again = acquire_worker()
    assert again is not first
    release_worker()


def test_the_worker_ignores_modules_in_the_current_folder(home, nothing_left, qtbot, monkeypatch):
    (home / "pickle.py").write_text("raise SystemExit('this is not the pickle of Python')")
    monkeypatch.chdir(home)
    client = WorkerClient()
    errors = []
    client.request(worker.prepare_segmenter, "no such model").failed.connect(errors.append)
    qtbot.waitUntil(lambda: len(errors) == 1, timeout=PATIENCE_MS)
    client.close()
    client.deleteLater()
    assert isinstance(errors[0], BundleError)


@pytest.mark.parametrize("name", ["napari", "pythonw.exe", "Napari"])
def test_the_interpreter_is_found_if_the_program_is_not_python(tmp_path, monkeypatch, name):
    (tmp_path / "bin").mkdir()
    interpreter = tmp_path / ("python.exe" if name == "pythonw.exe" else "bin/python3")
    interpreter.touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / name))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    assert Path(python_executable()) == interpreter
