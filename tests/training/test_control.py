"""A run obeys the commands of its folder, waits in the queue, and records the reason of its end."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import RunError, TrainingDiverged, TrainingError
from napari_melanoma.core.run_folder import RunFolder, RunFolderContext, SecondaryRunContext
from napari_melanoma.runs import resolved_settings, task_setups
from napari_melanoma.runs import train as training_events
from napari_melanoma.runs import train as workflow
from napari_melanoma.runs.train import PhaseContext, log_helper_outcome, log_outcome, train
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Events = Callable[[Path], list[dict[str, Any]]]
PEER = "Connection closed by peer"

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def test_pause_continue_and_cancel_during_training(
    alone: TrainRecipe, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.training import callbacks
    from napari_melanoma.training import callbacks as control

    monkeypatch.setattr(callbacks, "EVENT_INTERVAL_S", 0.0)
    folder, wishes = RunFolder(tmp_path / "run"), iter(["run", "cancel"])
    monkeypatch.setattr(control.time, "sleep", lambda seconds: folder.write_command(next(wishes)))
    reports: list[Progress] = []

    def report(progress: Progress) -> None:
        reports.append(progress)
        if progress.message.startswith("Epoch"):
            folder.write_command("pause")

    with pytest.raises(Cancelled):
        train(alone, folder.path, resume=False, run=RunContext(report), queue=True)
    kinds = [event["kind"] for event in events(folder.path) if event["kind"] not in ("progress", "notice")]
    assert kinds == ["started", "step", "paused", "continued", "step", "paused", "cancelled"]
    assert threading.active_count() < 20


PHASES = ("prepare_data", "find_batch_size", "choose_threshold")


@pytest.mark.parametrize("phase", PHASES)
def test_a_stop_from_outside_ends_every_phase(
    phase: str, alone: TrainRecipe, tmp_path: Path, change: Change, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunContext()
    stop_in(phase, run, monkeypatch)
    recipe = change(alone, epochs=1, samples=0, batch_size="auto" if phase == "find_batch_size" else 4)
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "run", resume=False, run=run)
    assert events(tmp_path / "run")[-1]["kind"] == "cancelled"


def stop_in(phase: str, run: RunContext, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cancel the context when a phase begins, as Ctrl+C does."""
    place = {"choose_threshold": task_setups, "find_batch_size": resolved_settings}.get(phase, workflow)
    real = getattr(place, phase)

    def work(*arguments: Any, **named: Any) -> Any:
        run.cancel()
        return real(*arguments, **named)

    monkeypatch.setattr(place, phase, work)


def test_a_cancel_during_the_comparison_keeps_the_new_model(
    recipe: TrainRecipe, tmp_path: Path, change: Change, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.runs import acceptance

    run = RunContext()

    def judge(path: Path, *, run: RunContext) -> None:
        outside.cancel()
        run.check()

    outside = run
    monkeypatch.setattr(acceptance, "compare_run", judge)
    assert train(change(recipe, epochs=1, samples=0), tmp_path / "run", resume=False, run=run) is not None
    recorded = events(tmp_path / "run")
    assert "comparison with the old model was canceled" in recorded[-2]["message"]
    assert recorded[-1]["kind"] == "finished"


def test_helper_process_ignores_control_json_and_stops_with_the_program(tmp_path: Path) -> None:
    outside, folder = RunContext(), RunFolder(tmp_path)
    helping = SecondaryRunContext(outside, folder)
    folder.write_command("cancel")
    helping.check()
    outside.cancel()
    with pytest.raises(Cancelled):
        helping.check()


def test_a_run_that_another_process_has_started_is_refused(
    alone: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = RunFolder(tmp_path / "run")
    real = workflow.create_network

    def late(*arguments: Any, **named: Any) -> Any:
        folder.path.mkdir()
        folder.config.write_text("of another")
        return real(*arguments, **named)

    monkeypatch.setattr(workflow, "create_network", late)
    with pytest.raises(RunError, match="already contains a run"):
        train(alone, folder.path, resume=False, run=RunContext())
    assert folder.config.read_text() == "of another"
    assert folder.read_events() == []


def test_a_phase_reports_its_progress_at_intervals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(training_events.time, "monotonic", lambda: now[0])
    folder, heard = RunFolder(tmp_path), []
    phase = PhaseContext(RunFolderContext(RunContext(heard.append), folder), folder)
    for _ in phase.track(range(10), "Decoding images"):
        now[0] += 0.3
    assert len(heard) == 10
    assert [event["done"] for event in folder.read_events()] == [1, 5, 9, 10]


def test_the_final_event_states_the_cause_and_not_its_consequence(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(RuntimeError), log_helper_outcome(folder):
        raise RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(TrainingError, match="device-side assert"), log_outcome(folder):
        raise RuntimeError(PEER)
    first, last = folder.read_events()
    assert first["kind"] == last["kind"] == "failed"
    assert first["message"] == last["message"]


@pytest.mark.parametrize("end", [Cancelled(), TrainingDiverged("the loss is no number")])
def test_the_result_of_all_processes_is_reported_by_the_first_only(end: Exception, tmp_path: Path) -> None:
    with log_helper_outcome(RunFolder(tmp_path)):
        raise end
    assert not (tmp_path / "events.jsonl").exists()


def test_a_secondary_error_without_cause_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_events, "PEER_TIMEOUT_S", 0.0)
    folder = RunFolder(tmp_path)
    with log_helper_outcome(folder):  # it ends without an error: another process reports the cause
        raise RuntimeError(PEER)
    with pytest.raises(TrainingError, match="another process of this run ended"), log_outcome(folder):
        raise RuntimeError(PEER)
    assert len(folder.read_events()) == 1


@pytest.mark.parametrize("end", [Cancelled(), KeyboardInterrupt(), SystemExit(1)])
def test_every_interruption_is_recorded_as_a_cancel(end: BaseException, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(type(end)), log_outcome(folder):
        raise end
    assert [event["kind"] for event in folder.read_events()] == ["cancelled"]
