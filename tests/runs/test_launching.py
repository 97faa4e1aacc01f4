"""Runs in separate processes: they survive the parent process, report failed starts, and wait in the queue."""

from __future__ import annotations

import errno
import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from patience import PATIENCE_S

from napari_melanoma.core import packages, paths
from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import MissingPackage, RunError, SaveError
from napari_melanoma.core.processes import ProcessStamp, end_process, is_run_alive, send_command_or_stop
from napari_melanoma.core.run_folder import PROCESS_FILE, RunFolder, RunState
from napari_melanoma.core.run_queue import enqueue, queue_folder, wait_for_turn
from napari_melanoma.runs import launching
from napari_melanoma.runs.launching import RunReport, build_command, create_run_folder, launch, read_run, runs_folder
from napari_melanoma.training.recipe import TrainRecipe

RECIPE = TrainRecipe.parse({"data": {"datasets": ["somewhere"]}}, "the test")

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def pretend(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Replace the program of a launched run."""

    def program(code: str, interpreter: str = sys.executable) -> None:
        monkeypatch.setattr(launching, "build_command", lambda out, **options: [interpreter, "-c", code, str(out)])

    return program


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.02)


def settled(out: Path) -> RunReport:
    until(lambda: not read_run(out).state.active)
    return read_run(out)


def test_a_run_is_not_launched_without_packages_for_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packages, "is_installed", lambda package: package != "lightning")
    with pytest.raises(MissingPackage, match=r"training needs lightning, .* pip install lightning"):
        launch(RECIPE, tmp_path, resume=True)
    assert not [*tmp_path.iterdir()]


def test_names_of_runs_are_unused(tmp_path: Path) -> None:
    made = [create_run_folder("Lesion, fine/tuned", tmp_path).name for _ in range(3)]
    assert made == ["Lesion-fine-tuned-01", "Lesion-fine-tuned-02", "Lesion-fine-tuned-03"]
    assert create_run_folder("", tmp_path).name == "run-01"
    assert create_run_folder("x").parent == runs_folder()


def test_no_folder_can_be_made_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match="cannot write"):
        create_run_folder("x", tmp_path / "file")


@pytest.mark.slow
def test_a_run_survives_its_parent_process(tmp_path: Path) -> None:
    """A program launches a run and ends; the run continues, and is not a child of this process."""
    out = tmp_path / "run-01"
    code = f"""
import sys
from pathlib import Path
from napari_melanoma.runs import launching
from napari_melanoma.training.recipe import TrainRecipe
launching.build_command = lambda out, **options: [sys.executable, "-c", "import time; time.sleep(60)"]
launching.launch(TrainRecipe.parse({{"data": {{"datasets": ["x"]}}}}, "here"), Path({str(out)!r}))
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=PATIENCE_S)
    stamp = ProcessStamp.read(out / PROCESS_FILE)
    assert stamp is not None
    try:
        assert is_run_alive(out)
        assert read_run(out).state is RunState.starting
        with pytest.raises(RunError, match="already running"):
            launch(RECIPE, out)
    finally:
        psutil.Process(stamp.pid).kill()
    assert settled(out).state is RunState.failed


def test_a_failed_start_is_explained(tmp_path: Path, pretend: Callable[..., None]) -> None:
    pretend("import napari_melanoma.no_such_module")
    launch(RECIPE, tmp_path / "run-01")
    report = settled(tmp_path / "run-01")
    assert report.state is RunState.failed
    assert "No module named 'napari_melanoma.no_such_module'" in report.message
    assert report.recipe == RECIPE


def test_a_missing_interpreter(tmp_path: Path, pretend: Callable[..., None]) -> None:
    pretend("pass", str(tmp_path / "no-python"))
    with pytest.raises(RunError, match="no process could be started"):
        launch(RECIPE, tmp_path / "run-01")
    report = read_run(tmp_path / "run-01")
    assert report.state is RunState.failed
    assert "no process could be started" in report.message


def test_ended_child_processes_are_reaped(tmp_path: Path, pretend: Callable[..., None]) -> None:
    pretend("pass")
    launch(RECIPE, tmp_path / "run-01")
    stamp = ProcessStamp.read(tmp_path / "run-01" / PROCESS_FILE)
    settled(tmp_path / "run-01")
    assert stamp is not None
    until(lambda: read_run(tmp_path / "run-01") is not None and not psutil.pid_exists(stamp.pid))


def test_a_starting_run_is_cancelled_at_once(tmp_path: Path, pretend: Callable[..., None]) -> None:
    out = tmp_path / "run-01"
    pretend("import time; time.sleep(60)")  # like a process that loads torch
    launch(RECIPE, out)
    began = time.monotonic()
    send_command_or_stop(out, "cancel")
    report = settled(out)
    assert report.state is RunState.cancelled
    assert time.monotonic() - began < 30  # not the minute of its process
    pretend("raise SystemExit('again')")
    launch(RECIPE, out, resume=True)
    assert settled(out).message == "again"


def test_a_training_run_is_cancelled_only_by_its_folder(tmp_path: Path, pretend: Callable[..., None]) -> None:
    out = tmp_path / "run-01"
    pretend("import time; time.sleep(60)")
    launch(RECIPE, out)
    RunFolder(out).append_event("started")
    send_command_or_stop(out, "cancel")
    assert read_run(out).state is RunState.cancelling
    assert end_process(out)
    assert settled(out).state is RunState.lost
    assert not end_process(out)


def test_a_run_that_cannot_be_killed_is_not_reported_as_cancelled(
    tmp_path: Path, pretend: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(process: psutil.Process) -> None:
        raise psutil.AccessDenied(process.pid)

    out = tmp_path / "run-01"
    pretend("import time; time.sleep(60)")
    launch(RECIPE, out)
    with monkeypatch.context() as patch:
        patch.setattr(psutil.Process, "kill", refuse)
        send_command_or_stop(out, "cancel")
    assert read_run(out).state is RunState.cancelling  # it reads the command itself
    assert end_process(out)


def test_a_run_is_launched_again_after_its_end(tmp_path: Path, pretend: Callable[..., None]) -> None:
    out = tmp_path / "run-01"
    pretend("raise SystemExit('first')")
    launch(RECIPE, out)
    assert settled(out).message == "first"
    pretend("raise SystemExit('second')")
    RunFolder(out).write_command("cancel")
    launch(RECIPE, out, resume=True)
    assert RunFolder(out).read_command() == "run"
    assert settled(out).message == "second"


def test_a_run_owned_by_another_machine_is_not_changed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run-01")
    with folder.locked():
        folder.append_event("paused")
        folder.write_command("pause")
        ProcessStamp(1, 1.0, "elsewhere", "", "another machine").write(folder.path / PROCESS_FILE)
        os.utime(folder.events, (0, 0))
        assert not is_run_alive(folder.path)
        with pytest.raises(RunError, match="already running"):
            launch(RECIPE, folder.path)
    assert folder.read_command() == "pause"
    assert (folder.path / PROCESS_FILE).is_file()
    assert [event["kind"] for event in folder.read_events()] == ["paused"]
    assert not folder.is_owned


@pytest.mark.parametrize("trusted", ["", "data", "replay", "target"])
def test_files_outside_a_data_set_are_allowed_if_one_is_trusted(
    trusted: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "_trusted", set())
    if trusted:
        paths.trust_folder(tmp_path / trusted)
    allowed = []

    def command(out: Path, **options: bool) -> list[str]:
        allowed.append(options["allow_outside"])
        return [sys.executable, "-c", ""]

    monkeypatch.setattr(launching, "build_command", command)
    data = {"datasets": [str(tmp_path / "data")]}
    target = {"adaptation": {"method": "coral", "to": [str(tmp_path / "target")]}}
    recipes = {
        "replay": {"data": data | {"replay": [str(tmp_path / "replay")]}},
        "target": {"task": "classification", "data": data, "classification": target},
    }
    launch(TrainRecipe.parse(recipes.get(trusted, {"data": data}), "the test"), tmp_path / "run")
    assert allowed == [bool(trusted)]


def test_the_command_of_a_run(tmp_path: Path) -> None:
    assert "--allow-outside" in build_command(tmp_path, resume=False, allow_outside=True)
    first, again = (build_command(tmp_path, resume=resume) for resume in (False, True))
    assert first[1:] == [
        "-P", "-X", "utf8", "-m", "napari_melanoma", "train", "--config", str(tmp_path / "recipe.toml"),
        "--out", str(tmp_path), "--queue", "--nice",
    ]  # fmt: skip
    assert again[8:] == [str(tmp_path / "config.toml"), "--out", str(tmp_path), "--resume", "--queue", "--nice"]


def test_a_lone_run_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with wait_for_turn(tmp_path / "run", run=RunContext()):
        assert len(list(queue_folder().glob("*.json"))) == 1
    assert list(queue_folder().glob("*.json")) == []
    assert RunFolder(tmp_path / "run").read_events() == []

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise PermissionError(errno.EACCES, "in use")

    monkeypatch.setattr(Path, "unlink", refuse)  # as Windows does while another run reads the ticket
    with wait_for_turn(tmp_path / "run", run=RunContext()):
        pass


class Queue:
    """A queue of runs, with their messages and events."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.naps = 0
        self.messages: list[str] = []
        self.run = RunContext(self._add_message)

    def _add_message(self, progress: Progress) -> None:
        self.messages.append(progress.message)

    def events(self, name: str) -> list[tuple[object, object]]:
        return [(event["kind"], event.get("position")) for event in RunFolder(self.folder / name).read_events()]


@pytest.fixture
def queue(tmp_path: Path) -> Queue:
    return Queue(tmp_path)


def test_first_come_first_served(queue: Queue) -> None:
    """The third run waits for two runs, then for one, then starts."""
    first, second = (enqueue(queue.folder / name, ProcessStamp.create()) for name in ("first", "second"))

    def nap(seconds: float) -> None:
        queue.naps += 1
        if queue.naps == 2:
            first.path.unlink()
        if queue.naps == 4:
            second.path.unlink()

    with wait_for_turn(queue.folder / "third", run=queue.run, sleep=nap):
        assert queue.naps == 4
    assert queue.events("third") == [("queued", 2), ("queued", 1)]
    assert queue.messages == ["Waiting for 2 other runs to end", "Waiting for 1 other run to end"]


def test_a_waiting_run_names_the_paused_one(queue: Queue) -> None:
    first, turns = RunFolder(queue.folder / "first"), iter(["pause", "run"])
    enqueue(first.path, ProcessStamp.create())
    first.path.mkdir()

    def nap(seconds: float) -> None:
        if (command := next(turns, None)) is None:
            raise Cancelled
        first.write_command("pause" if command == "pause" else "run")

    with pytest.raises(Cancelled), wait_for_turn(queue.folder / "next", run=queue.run, sleep=nap):
        pytest.fail("it was not its turn")
    waiting = "Waiting for 1 other run to end"
    assert queue.messages == [waiting, f"{waiting}; first is paused", waiting]
    assert [event["paused"] for event in RunFolder(queue.folder / "next").read_events()] == [None, "first", None]


def test_a_dead_process_is_skipped(queue: Queue) -> None:
    ticket = enqueue(queue.folder / "dead", ProcessStamp.create())
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    stamp = ProcessStamp.create(child.pid)
    child.wait()
    ticket.path.write_text(json.dumps({"run": "dead", **vars(stamp)}))
    with wait_for_turn(queue.folder / "next", run=queue.run, sleep=pytest.fail):
        assert not ticket.path.exists()


def test_the_queue_follows_the_order_of_launches(tmp_path: Path, pretend: Callable[..., None]) -> None:
    """The ticket is drawn at the launch, because a child process may take long to reach the queue."""
    pretend("import sys; sys.stdin.close(); import time; time.sleep(60)")
    launch(RECIPE, tmp_path / "slow")
    slow = ProcessStamp.read(tmp_path / "slow" / PROCESS_FILE)
    assert slow is not None
    naps: list[float] = []

    def nap(seconds: float) -> None:
        naps.append(seconds)
        psutil.Process(slow.pid).kill()
        until(lambda: not is_run_alive(tmp_path / "slow"))

    with wait_for_turn(tmp_path / "quick", run=RunContext(), sleep=nap):
        assert len(naps) == 1
    assert [event["kind"] for event in RunFolder(tmp_path / "quick").read_events()] == ["queued"]


def test_the_child_process_uses_the_ticket_of_the_launch(tmp_path: Path) -> None:
    first = enqueue(tmp_path / "run", ProcessStamp.create())
    enqueue(tmp_path / "later", ProcessStamp.create())
    with wait_for_turn(tmp_path / "run", run=RunContext(), sleep=pytest.fail):
        assert enqueue(tmp_path / "run", ProcessStamp.create()).number == first.number


def test_a_restarted_run_joins_the_end_of_the_queue(tmp_path: Path) -> None:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    dead = enqueue(tmp_path / "run", ProcessStamp.create(child.pid))
    child.wait()
    later = enqueue(tmp_path / "later", ProcessStamp.create())
    assert dead.number < later.number < enqueue(tmp_path / "run", ProcessStamp.create()).number


@pytest.mark.parametrize("by", ["folder", "program"])
def test_cancelled_while_it_waits(by: str, queue: Queue) -> None:
    folder = RunFolder(queue.folder / "next")

    def nap(seconds: float) -> None:
        if by == "folder":
            folder.write_command("cancel")
        else:
            queue.run.cancel()

    with (
        wait_for_turn(queue.folder / "first", run=queue.run),
        pytest.raises(Cancelled),
        wait_for_turn(folder.path, run=queue.run, sleep=nap),
    ):
        pytest.fail("it was not its turn")
    assert queue.events("next") == [("queued", 1)]
    assert list(queue_folder().glob("*.json")) == []


@pytest.mark.slow
def test_two_processes_do_not_overlap(tmp_path: Path) -> None:
    """Each process records its start and end; they do not overlap."""
    code = """
import sys, time
from pathlib import Path
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.run_queue import wait_for_turn
out = Path(sys.argv[1])
with wait_for_turn(out, run=RunContext()):
    began = time.time()
    time.sleep(0.3)
    (out / "turn").write_text(f"{began} {time.time()}")
"""
    children = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path / f"run-{n}")]) for n in range(3)]
    assert [child.wait(timeout=PATIENCE_S) for child in children] == [0, 0, 0]
    turns_taken = sorted(tuple(map(float, (tmp_path / f"run-{n}/turn").read_text().split())) for n in range(3))
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(turns_taken))
