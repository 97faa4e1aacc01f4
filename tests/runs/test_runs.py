"""Reading run folders: every state, incomplete files, other folders, and new events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from patience import PATIENCE_S

from napari_melanoma.core import locks
from napari_melanoma.core.config import write_toml
from napari_melanoma.core.files import write_json
from napari_melanoma.core.processes import ProcessStamp, is_run_alive
from napari_melanoma.core.run_folder import CONTROL_FILE, PROCESS_FILE, RunEventReader, RunFolder, RunState
from napari_melanoma.runs.launching import RunReport, build_command, list_runs, read_run
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train.run_text import describe_result

RECIPE = TrainRecipe.parse({"epochs": 20, "data": {"datasets": ["somewhere"]}}, "the test")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder with a recipe and no events."""
    (tmp_path / "run-01").mkdir()
    write_toml(tmp_path / "run-01" / "config.toml", RECIPE)
    return RunFolder(tmp_path / "run-01")


@pytest.fixture(scope="module")
def gone() -> ProcessStamp:
    """A process that has ended."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    stamp = ProcessStamp.create(child.pid)
    child.wait()
    return stamp


@pytest.fixture
def zombie() -> Iterator[int]:
    """A child process that has ended and was not reaped."""
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    deadline = time.monotonic() + PATIENCE_S
    while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    yield child.pid
    child.wait()


LIVE = [
    (["launched"], "run", RunState.starting, "Starting."),
    (["launched", "queued"], "run", RunState.queued, "Waiting for 2 other runs to end."),
    (["launched", "queued", "started"], "run", RunState.running, "Running."),
    (["started", "step"], "run", RunState.running, "Epoch 4 of 20."),
    (["started", "step", "paused"], "pause", RunState.paused, "Paused;"),
    (["started", "step", "paused", "continued"], "run", RunState.running, "Epoch 4 of 20."),
    (["started", "step"], "cancel", RunState.cancelling, "Ends after the current step or image"),
    (["launched", "queued"], "cancel", RunState.cancelling, "Ends after"),
    (["started", "cancelled"], "cancel", RunState.cancelled, "Canceled after 2 of 20 epochs. Resume continues"),
    (["started", "cancelled", "launched"], "run", RunState.starting, "Starting."),
    (["started", "progress"], "run", RunState.running, "Reading images: 3 of 9."),
    (["started", "failed"], "run", RunState.failed, "the disk is full"),
    (["started", "finished"], "run", RunState.finished, "Finished after 2 epochs; threshold 0.52 (validation Jacc"),
    (["started", "notice"], "run", RunState.running, "Running."),
]  # fmt: skip
DEAD = [
    (["launched"], RunState.failed, "The process ended at start-up"),
    (["launched", "queued"], RunState.lost, "The process ended unexpectedly: it was killed, or the machine shut down"),
    (["started", "step"], RunState.lost, "The process ended unexpectedly"),
    (["started", "paused"], RunState.lost, "The process ended unexpectedly"),
    (["started", "finished"], RunState.finished, "Finished after 2 epochs"),
    (["started", "cancelled"], RunState.cancelled, "Canceled after 2 of 20 epochs"),
]  # fmt: skip
FACTS: dict[str, dict[str, object]] = {
    "queued": {"position": 2},
    "step": {"epoch": 3, "loss": 0.2, "images_per_second": 58.0, "eta_s": 180},
    "progress": {"message": "Reading images", "done": 3, "total": 9},
    "failed": {"type": "SaveError", "message": "the disk is full"},
    "finished": {"threshold": 0.52, "validation_jaccard": 0.79},
}


def write_events(folder: RunFolder, kinds: list[str]) -> None:
    for kind in kinds:
        folder.append_event(kind, **FACTS.get(kind, {}))
    for epoch in range(2):
        folder.add_metrics({"epoch": epoch, "loss": 0.5, "validation_jaccard": 0.7 + epoch / 10})


@pytest.mark.parametrize(
    ("kinds", "command", "state", "message"), LIVE, ids=lambda v: "-".join(v) if isinstance(v, list) else None
)
def test_a_run_with_an_active_process(kinds, command, state, message, folder: RunFolder) -> None:
    write_events(folder, kinds)
    folder.write_command(command)
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    report = read_run(folder.path)
    assert (report.state, report.message[: len(message)]) == (state, message)
    assert report.ended is None


@pytest.mark.parametrize(
    ("kinds", "state", "message"), DEAD, ids=lambda v: "-".join(v) if isinstance(v, list) else None
)
def test_a_run_whose_process_has_ended(kinds, state, message, folder: RunFolder, gone: ProcessStamp) -> None:
    write_events(folder, kinds)
    gone.write(folder.path / PROCESS_FILE)
    report = read_run(folder.path)
    assert (report.state, report.message[: len(message)]) == (state, message)
    assert report.ended is not None


@pytest.mark.parametrize(
    ("event", "finished", "message"),
    [
        ("finished", 2, "Finished after 2 folds."),
        ("cancelled", 1, "Canceled after 1 of 2 folds. Resume continues from fold 2."),
    ],
)
def test_a_cross_validation_counts_folds(event: str, finished: int, message: str, folder: RunFolder) -> None:
    folder.config.rename(folder.path / "recipe.toml")
    (folder.path / "folds.csv").write_text("data_set,image_id,group,fold\na,1,p,1\na,2,q,2\n", encoding="utf-8")
    for number in range(1, finished + 1):
        write_json(folder.path / f"fold-{number}" / "bundle" / "config.json", {})
    for kind in ("started", event):
        folder.append_event(kind)
    report = read_run(folder.path)
    assert report.message == message
    assert describe_result(report) == f"{finished} of 2 folds"
    assert build_command(folder.path, resume=True)[8:] == [
        str(folder.path / "recipe.toml"), "--out", str(folder.path), "--resume", "--queue", "--folds", "2", "--nice",
    ]  # fmt: skip


@pytest.mark.parametrize("kinds", [["launched"], ["launched", "progress"], ["launched", "progress", "queued"]])
def test_a_waiting_run_that_is_ended_by_cancel_is_never_lost(
    kinds: list[str], folder: RunFolder, gone: ProcessStamp
) -> None:
    """Its process has been killed, but the event has not been written yet: a window that reads it now goes on."""
    write_events(folder, kinds)
    gone.write(folder.path / PROCESS_FILE)
    folder.write_command("cancel")
    assert read_run(folder.path).state is RunState.cancelling
    os.utime(folder.path / CONTROL_FILE, (0, 0))  # nobody has added the event
    assert read_run(folder.path).state is RunState.cancelled


def test_the_best_epoch_of_a_run_that_monitors_the_loss(folder: RunFolder) -> None:
    write_toml(folder.config, RECIPE.model_copy(update={"monitor": "loss"}))
    for epoch, loss in enumerate((0.6, 0.4, 0.5)):
        folder.add_metrics(
            {"epoch": epoch, "loss": 0.5, "validation_loss": loss, "validation_jaccard": 0.7 + epoch / 10}
        )
    report = read_run(folder.path)
    assert (report.monitor.title, report.best) == ("loss", 0.4)


def test_the_content_of_a_report(folder: RunFolder) -> None:
    write_events(folder, ["started", "step", "step"])
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    report = read_run(folder.path)
    assert (report.name, report.epoch, report.epochs, report.best) == ("run-01", 2, 20, 0.8)
    assert report.recipe == RECIPE
    assert report.step["images_per_second"] == 58.0
    assert [row["epoch"] for row in report.metrics] == [0, 1]
    assert report.started == pytest.approx(time.time(), abs=60)
    assert (report.bundle, report.comparison, report.activated_as, report.discarded) == (None, None, None, False)


def test_the_output_of_a_failed_start(folder: RunFolder, gone: ProcessStamp) -> None:
    folder.append_event("launched")
    gone.write(folder.path / PROCESS_FILE)
    (folder.path / "output.txt").write_text(
        "--- earlier\nan old error\n--- now\nTraceback\n  line\nImportError: no torch\n"
    )
    report = read_run(folder.path)
    assert report.state is RunState.failed
    assert report.message == "Traceback\nline\nImportError: no torch"


def test_the_last_output_of_a_killed_process(folder: RunFolder, gone: ProcessStamp) -> None:
    folder.append_event("started")
    gone.write(folder.path / PROCESS_FILE)
    (folder.path / "output.txt").write_text("--- now\nCUDA error: device lost\n")
    assert read_run(folder.path).message.endswith("Resume restarts it. Last output: CUDA error: device lost")


def test_incomplete_lines_are_ignored(folder: RunFolder) -> None:
    write_events(folder, ["started", "step"])
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    with folder.events.open("a") as events:
        events.write('not json\n[1]\n{"kind": 3}\n{"time": 1, "kind": "fail')
    with (folder.path / "metrics.csv").open("a") as table:
        table.write("nan,0.4,0.5\n2,0.4")
    report = read_run(folder.path)
    assert (report.state, report.epoch) == (RunState.running, 2)


def test_a_recipe_of_another_version_is_ignored(folder: RunFolder) -> None:
    folder.config.write_text('format = 9\nflux = "capacitor"\n')
    write_events(folder, ["started", "finished"])
    report = read_run(folder.path)
    assert (report.recipe, report.epochs, report.state) == (None, 0, RunState.finished)


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(os.urandom(999))])
@pytest.mark.parametrize("name", ["events.jsonl", "metrics.csv", "config.toml", PROCESS_FILE])
def test_no_missing_or_foreign_file_raises(spoil, name: str, folder: RunFolder) -> None:
    write_events(folder, ["started", "step"])
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    spoil(folder.path / name)
    assert isinstance(read_run(folder.path), RunReport)


def test_a_missing_folder(tmp_path: Path) -> None:
    report = read_run(tmp_path / "nowhere")
    assert (report.state, report.message) == (RunState.lost, "This folder contains no files of a run.")


def test_a_long_run_is_read_from_its_end(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.append_event("started")
    line = json.dumps({"time": 1e9, "kind": "step", "epoch": 3, "loss": 0.1, "text": "x" * 100})
    with folder.events.open("a") as events:
        events.write(f"{line}\n" * 5_000)
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    taken, parsed, opened, loads = [], [], Path.open, json.loads

    def counting(path: Path, *given: Any, **named: Any) -> Any:
        file = opened(path, *given, **named)
        if path.name == folder.events.name:
            read = file.read
            file.read = lambda *size: taken.append(read(*size)) or taken[-1]
        return file

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", counting)
        patch.setattr(json, "loads", lambda *given, **named: parsed.append(given) or loads(*given, **named))
        report = read_run(folder.path)
    assert (report.state, report.step["epoch"]) == (RunState.running, 3)
    assert report.started == pytest.approx(time.time(), abs=60)
    assert 0 < sum(map(len, taken)) < 0.2 * folder.events.stat().st_size
    assert 0 < len(parsed) < 1_000


def test_runs_are_listed_newest_first(tmp_path: Path) -> None:
    for name, begun in (("a-01", 100.0), ("b-01", 300.0), ("c-01", 200.0)):
        (tmp_path / name).mkdir()
        write_toml(tmp_path / name / "config.toml", RECIPE)
        (tmp_path / name / "events.jsonl").write_text(json.dumps({"time": begun, "kind": "started"}) + "\n")
    (tmp_path / "photographs").mkdir()
    (tmp_path / "note.txt").touch()
    assert [report.name for report in list_runs(tmp_path)] == ["b-01", "c-01", "a-01"]
    assert list_runs(tmp_path / "nowhere") == []


def test_a_tail_gives_each_event_once(folder: RunFolder) -> None:
    tail = RunEventReader(folder.path)
    assert tail.poll() == []
    folder.append_event("started")
    with folder.events.open("a") as events:
        events.write('{"kind": "st')
    assert [event["kind"] for event in tail.poll()] == ["started"]
    assert tail.poll() == []
    with folder.events.open("a") as events:
        events.write('ep"}\n')
    folder.append_event("epoch")
    assert [event["kind"] for event in tail.poll()] == ["step", "epoch"]
    folder.events.write_text('{"kind": "started"}\n')
    assert [event["kind"] for event in tail.poll()] == ["started"]


def test_alive_is_this_very_process(tmp_path: Path, gone: ProcessStamp) -> None:
    assert not is_run_alive(tmp_path)
    here = ProcessStamp.create()
    here.write(tmp_path / PROCESS_FILE)
    assert is_run_alive(tmp_path)
    write_json(tmp_path / PROCESS_FILE, {**vars(here), "created": here.created - 60})
    assert not is_run_alive(tmp_path), "another process has this number now"
    gone.write(tmp_path / PROCESS_FILE)
    assert not is_run_alive(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no zombies")
def test_a_zombie_is_not_alive(tmp_path: Path, zombie: int) -> None:
    ProcessStamp.create(zombie).write(tmp_path / PROCESS_FILE)
    assert not is_run_alive(tmp_path)


def test_on_another_machine_alive_is_a_recent_event(folder: RunFolder) -> None:
    write_json(folder.path / PROCESS_FILE, {**vars(ProcessStamp.create()), "host": "elsewhere", "machine": "another"})
    assert not is_run_alive(folder.path)
    folder.append_event("step")
    assert is_run_alive(folder.path)
    os.utime(folder.events, (time.time() - 3600,) * 2)
    assert not is_run_alive(folder.path)


def test_a_run_lives_on_when_its_machine_gets_another_name(folder: RunFolder) -> None:
    write_json(folder.path / PROCESS_FILE, {**vars(ProcessStamp.create()), "host": "before"})
    assert is_run_alive(folder.path)


def test_two_machines_with_the_same_id(folder: RunFolder, gone: ProcessStamp) -> None:
    write_json(folder.path / PROCESS_FILE, {**vars(gone), "host": "its copy"})
    assert not is_run_alive(folder.path)
    folder.append_event("paused")
    assert is_run_alive(folder.path)


def test_a_run_without_events_writes_a_heartbeat(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "HEARTBEAT_S", 0.01)
    folder.append_event("paused")
    size = folder.events.stat().st_size
    os.utime(folder.events, (time.time() - 3600,) * 2)
    with folder.locked():
        deadline = time.monotonic() + PATIENCE_S
        while time.time() - folder.events.stat().st_mtime > 60 and time.monotonic() < deadline:
            time.sleep(0.01)
    assert time.time() - folder.events.stat().st_mtime < 60
    assert folder.events.stat().st_size == size


def test_a_run_that_waits_for_a_paused_one(folder: RunFolder) -> None:
    folder.append_event("queued", position=1, paused="lesion-01")
    ProcessStamp.create().write(folder.path / PROCESS_FILE)
    assert (
        read_run(folder.path).message == "Waiting for 1 other run to end. lesion-01 is paused: continue or cancel it."
    )


def test_a_run_has_low_priority() -> None:
    code = (
        "import psutil\nfrom napari_melanoma.core.processes import lower_priority\n"
        "before = int(psutil.Process().nice())\nlower_priority()\nlower_priority()\n"
        "raise SystemExit(before == int(psutil.Process().nice()))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
