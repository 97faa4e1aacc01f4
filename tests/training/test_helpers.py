"""A worker process that dies is reported; one that exits at the end of the run is not."""

from __future__ import annotations

import queue
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.training import callbacks as module
from napari_melanoma.training.callbacks import ChildProcesses, abort_run


def child(code: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-I", "-S", "-c", code])


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals to die of")
def test_a_worker_that_dies_is_reported_once() -> None:
    heard: queue.Queue[str] = queue.Queue()
    watched = ChildProcesses(heard.put, poll_s=0.01, grace_s=0.01)
    watched.processes = [child("import time; time.sleep(60)"), child("pass")]
    with watched.watch():
        watched.processes[0].kill()
        assert heard.get(timeout=30) == "ended by signal 9"
    assert heard.empty()
    assert [process.wait(timeout=30) for process in watched.processes] == [-9, 0]


@pytest.mark.parametrize("code", [0, 130])
def test_a_helper_may_exit_when_the_run_ends(code: int) -> None:
    watched = ChildProcesses(pytest.fail, poll_s=0.01, grace_s=30)
    with watched.watch():
        watched.processes = [child(f"raise SystemExit({code})")]
        assert watched.processes[0].wait() == code
        time.sleep(0.05)  # polled a few times
    assert not any("helpers" in thread.name for thread in threading.enumerate())


def test_aborting_reports_the_reason_and_ends_all_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[int] = []
    monkeypatch.setattr(module.os, "_exit", ended.append)
    folder, watched = RunFolder(tmp_path), ChildProcesses(pytest.fail)
    watched.processes = [child("import time; time.sleep(60)")]
    abort_run(folder, watched, "ended by signal 9")
    assert watched.processes[0].wait() != 0
    last = folder.read_events()[-1]
    assert (last["kind"], ended) == ("failed", [1])
    assert "another process of this run ended or is not reachable (ended by signal 9)" in str(last["message"])
    assert str(last["message"]) in capsys.readouterr().err


def test_the_message_of_the_other_process_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.os, "_exit", lambda code: None)
    folder = RunFolder(tmp_path)
    folder.append_event("failed", message="its disk is full")
    abort_run(folder, ChildProcesses(pytest.fail), "exit code 1")
    assert [event["message"] for event in folder.read_events()] == ["its disk is full"]
