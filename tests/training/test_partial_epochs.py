"""A run that was stopped within an epoch continues with the rest of its batches, as if it had not been stopped."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
EPOCHS, STEPS, MICRO_BATCHES = 2, 4, 2
TRAINING, VALIDATION = "training_step", "validation_step"


@pytest.fixture
def eventful(alone: TrainRecipe, change: Change) -> TrainRecipe:
    """A recipe with averaged weights, micro-batches and mixed precision: 16 images in 4 steps."""
    return change(
        alone,
        epochs=EPOCHS,
        ema_decay=0.9,
        precision="bf16",
        accumulate_batches=MICRO_BATCHES,
        augmentation={"mosaic_probability": 0.4, "cutmix_probability": 0.4},
        optimiser="sgd",
        learning_rate=0.01,
    )


def count_steps(monkeypatch: pytest.MonkeyPatch, task: type, on_step: Callable[[str, int], None]) -> list[str]:
    """List the calls of the steps of a task, and call a function at each, with its name and number from 1."""
    calls: list[str] = []

    def counted(name: str) -> None:
        real = getattr(task, name)

        def step(self: Any, *arguments: Any) -> Any:
            calls.append(name)
            on_step(name, calls.count(name))
            return real(self, *arguments)

        monkeypatch.setattr(task, name, step)

    counted(TRAINING)
    counted(VALIDATION)
    return calls


def assert_same_result(one: Path, other: Path) -> None:
    import torch

    for name in ("last.ckpt", "best.ckpt"):
        states = [torch.load(out / "checkpoints" / name, weights_only=True) for out in (one, other)]
        assert "partial_epoch" not in states[1]
        for part in ("state_dict", "current_model_state"):
            for key, value in states[0].get(part, {}).items():
                assert torch.equal(value, states[1][part][key]), (name, part, key)
        assert states[0]["callbacks"] == states[1]["callbacks"]
        assert states[0]["global_step"] == states[1]["global_step"]
    tables = [(out / "metrics.csv").read_text().splitlines() for out in (one, other)]
    without_seconds = [[line.rsplit(",", 1)[0] for line in table] for table in tables]
    assert without_seconds[0] == without_seconds[1]


# The step at whose start the run is canceled; the step is finished, and saved.
STOPS = {
    "in the first step": (TRAINING, 1),
    "within a step of the second epoch": (TRAINING, STEPS * MICRO_BATCHES + 3),
    "in the last step": (TRAINING, STEPS * MICRO_BATCHES),
    "in the validation": (VALIDATION, 1),
    "in the validation of the last epoch": (VALIDATION, 3),
}


@pytest.mark.parametrize("stop", STOPS.values(), ids=STOPS)
def test_resumed_epoch_equals_an_uninterrupted_one(
    stop: tuple[str, int], eventful: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    train(eventful, tmp_path / "whole", resume=False, run=RunContext())
    with monkeypatch.context() as patch:
        run = RunContext()
        calls = count_steps(patch, SegmentationTask, lambda *step: run.cancel() if step == stop else None)
        with pytest.raises(Cancelled):
            train(eventful, tmp_path / "parts", resume=False, run=run)
        train(eventful, tmp_path / "parts", resume=True, run=RunContext())
    assert calls.count(TRAINING) == EPOCHS * STEPS * MICRO_BATCHES, "no batch is trained twice"
    assert_same_result(tmp_path / "whole", tmp_path / "parts")


def test_run_of_an_earlier_version_continues_with_its_average(
    eventful: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Earlier versions saved the current weights as ``live_state_dict``, and no state of the callback."""
    import torch

    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    train(eventful, tmp_path / "whole", resume=False, run=RunContext())
    with monkeypatch.context() as patch:
        run = RunContext()
        last_step = TRAINING, STEPS * MICRO_BATCHES + 3
        count_steps(patch, SegmentationTask, lambda *step: run.cancel() if step == last_step else None)
        with pytest.raises(Cancelled):
            train(eventful, tmp_path / "parts", resume=False, run=run)
    last = RunFolder(tmp_path / "parts").last_checkpoint
    state = torch.load(last, weights_only=True)
    state["live_state_dict"] = state.pop("current_model_state")
    del state["averaging_state"], state["callbacks"]["AveragedWeights"]
    torch.save(state, last)
    train(eventful, tmp_path / "parts", resume=True, run=RunContext())
    assert_same_result(tmp_path / "whole", tmp_path / "parts")


@pytest.mark.parametrize("end", [(TRAINING, 2 * MICRO_BATCHES + 1), (VALIDATION, 2)], ids=["step", "validation"])
def test_run_that_is_killed_continues_at_its_last_checkpoint(
    end: tuple[str, int], eventful: TrainRecipe, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every step is saved; the process ends in the third one, or in the first validation."""
    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    recipe = change(eventful, checkpoint_minutes=1e-9)
    train(eventful, tmp_path / "whole", resume=False, run=RunContext())

    def die(name: str, number: int) -> None:
        if (name, number) == end:
            raise SystemExit(9)

    with monkeypatch.context() as patch:
        calls = count_steps(patch, SegmentationTask, die)
        with pytest.raises(SystemExit):
            train(recipe, tmp_path / "parts", resume=False, run=RunContext())
        train(recipe, tmp_path / "parts", resume=True, run=RunContext())
    assert calls.count(TRAINING) == EPOCHS * STEPS * MICRO_BATCHES + (end[0] == TRAINING)
    assert_same_result(tmp_path / "whole", tmp_path / "parts")


def test_paused_run_is_saved(eventful: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    from napari_melanoma.training import callbacks
    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    folder, saved = RunFolder(tmp_path / "run"), []

    def wait(seconds: float) -> None:
        saved.append(torch.load(folder.last_checkpoint, weights_only=True)["partial_epoch"])
        folder.write_command("run")

    monkeypatch.setattr(callbacks.time, "sleep", wait)
    count_steps(monkeypatch, SegmentationTask, lambda *step: step == (TRAINING, 3) and folder.write_command("pause"))
    train(eventful, folder.path, resume=False, run=RunContext())
    assert [(part["steps"], part["is_validation"]) for part in saved] == [(2, False)]
    assert len(saved[0]["losses"]) == 1


def test_step_with_more_micro_batches_on_resume(
    eventful: TrainRecipe, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If memory runs out, the position in the epoch is that of the finished steps, whatever their micro-batches."""
    import torch

    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    def overflow(name: str, number: int) -> None:
        if (name, number) == (TRAINING, 3):
            raise torch.OutOfMemoryError("out of memory")

    calls = count_steps(monkeypatch, SegmentationTask, overflow)
    recipe = change(eventful, accumulate_batches=1, checkpoint_minutes=1e-9)
    train(recipe, tmp_path / "run", resume=False, run=RunContext())
    assert calls.count(TRAINING) == 3 + 2 * (EPOCHS * STEPS - 2), "two steps are finished, the others have two parts"


def test_second_of_two_stages_stays_frozen_when_resumed(
    class_recipe: TrainRecipe, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.training.tasks.classification import ClassificationTask

    recipe = change(class_recipe, classification={"stages": 2, "first_stage": 0.5})
    train(recipe, tmp_path / "whole", resume=False, run=RunContext(), evaluate=False)
    with monkeypatch.context() as patch:
        run = RunContext()
        calls = count_steps(patch, ClassificationTask, lambda *step: run.cancel() if step == (TRAINING, 3) else None)
        with pytest.raises(Cancelled):
            train(recipe, tmp_path / "parts", resume=False, run=run, evaluate=False)
        train(recipe, tmp_path / "parts", resume=True, run=RunContext(), evaluate=False)
    assert calls.count(TRAINING) == 4, "two epochs of two steps"
    assert_same_result(tmp_path / "whole", tmp_path / "parts")
