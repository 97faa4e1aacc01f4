"""Averaged weights, means over images, frozen statistics, time without pauses, and the best checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.training import monitor as clocks
from napari_melanoma.training.monitor import EpochTimer, PausableClock
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]


@pytest.mark.parametrize("warm_up", [True, False], ids=["from nothing", "from a model that knows"])
def test_the_average_follows_the_weights_by_the_formula(warm_up: bool) -> None:
    import torch
    from lightning.pytorch import LightningModule
    from torch import nn

    from napari_melanoma.training.callbacks import AveragedWeights

    task = LightningModule()
    task.network = network = nn.BatchNorm1d(1)
    trainer: Any = SimpleNamespace(strategy=SimpleNamespace(root_device="cpu"), global_step=0, validating=False)
    average = AveragedWeights(0.9, warm_up=warm_up)
    average.setup(trainer, task, "fit")
    expected = 1.0  # the weights after the first step
    for step in range(1, 31):
        with torch.no_grad():
            network.weight.fill_(step)
            network.num_batches_tracked.fill_(step)
        decay = min(0.9, (1 + step) / (10 + step)) if warm_up else 0.9
        expected = decay * expected + (1 - decay) * step
        for trainer.global_step in (step - 1, step):  # the first micro-batch of a step changes nothing
            average.on_train_batch_end(trainer, task, None, None, 0)
    saved = {"state_dict": task.state_dict()}
    average.on_save_checkpoint(trainer, task, saved)
    assert float(saved["state_dict"]["network.weight"]) == pytest.approx(expected, rel=1e-5)
    average.on_validation_epoch_start(trainer, task)
    assert float(network.weight.detach()) == pytest.approx(expected, rel=1e-5)
    assert int(network.num_batches_tracked) == 30  # a count is copied, not averaged
    trainer.validating, saved = True, {"state_dict": task.state_dict()}
    average.on_save_checkpoint(trainer, task, saved)
    assert float(saved["state_dict"]["network.weight"]) == pytest.approx(expected, rel=1e-5)
    assert float(saved["current_model_state"]["network.weight"]) == 30
    average.on_validation_epoch_end(trainer, task)
    assert float(network.weight.detach()) == 30


def test_means_are_over_images_and_not_over_batches() -> None:
    import torch

    from napari_melanoma.training.tasks.task import RunningMeans

    means = RunningMeans("loss", "jaccard")
    means.add(3, torch.tensor(1.0), torch.tensor(0.5))
    means.add(1, torch.tensor(5.0), torch.tensor(0.9))
    found = means.reduce(torch.device("cpu"))
    assert found == pytest.approx({"loss": 2.0, "jaccard": 0.6})
    assert str(means.reduce(torch.device("cpu"))) == "{'loss': nan, 'jaccard': nan}"


def _task(recipe: TrainRecipe) -> Any:
    from torch import nn

    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    network = nn.Sequential(nn.Conv2d(3, 1, 1), nn.BatchNorm2d(1), nn.Dropout(0.5))
    return SegmentationTask(network, recipe, BundleConfig(name="x", title="x", architecture="x"))


@pytest.mark.parametrize("frozen", [False, True])
def test_frozen_statistics_are_constant_while_weights_are_trained(
    frozen: bool, recipe: TrainRecipe, change: Change
) -> None:
    import torch

    task = _task(change(recipe, model={"freeze_normalisation": frozen}))
    task.train()
    normalisation, dropout = task.network[1], task.network[2]
    before = normalisation.running_mean.clone()
    task(torch.randint(0, 256, (4, 3, 8, 8), dtype=torch.uint8)).sum().backward()
    assert torch.equal(normalisation.running_mean, before) is frozen
    assert normalisation.weight.grad is not None
    assert dropout.training
    task.eval()
    assert not dropout.training


def test_the_first_batch_with_a_bad_loss_is_recorded(recipe: TrainRecipe) -> None:
    import torch

    task = _task(recipe)
    assert task.first_bad_batch() is None
    for batch, loss in enumerate((1.0, float("inf"), 2.0, float("nan"))):
        task._loss = torch.tensor(loss)
        task._record_bad_batch(batch)
    assert task.first_bad_batch() == 1
    task.on_train_epoch_start()
    assert task.first_bad_batch() is None


class Watch:
    """A clock that is set by a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seconds = 100.0
        monkeypatch.setattr(clocks, "time", SimpleNamespace(monotonic=lambda: self.seconds))

    def turn(self, seconds: float) -> None:
        self.seconds += seconds


def test_a_pause_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    clock = PausableClock()
    began = clock.now()
    watch.turn(2)
    with clock.pause():
        watch.turn(3600)
    watch.turn(1)
    assert clock.now() - began == pytest.approx(3)


def test_actions_are_due_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    clock = PausableClock()
    due = []
    for _ in range(6):
        due.append(clock.is_due("step", 1.0))
        watch.turn(0.6)
    assert due == [False, False, True, False, True, False]
    assert clock.is_due("other", 0.0)


def test_a_long_validation_saves_the_steps_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.training.callbacks import RunControl

    watch, saved = Watch(monkeypatch), []
    partial: Any = SimpleNamespace(save=lambda trainer: saved.append(watch.seconds))
    control = RunControl(lambda: "run", RunFolder(tmp_path), PausableClock(), partial, 60.0)
    trainer: Any = SimpleNamespace()
    task: Any = SimpleNamespace(first_bad_batch=lambda: None)
    control.on_train_epoch_start(trainer, task)
    watch.turn(50)
    control.on_validation_batch_start(trainer, task)
    assert saved == []
    watch.turn(20)
    control.on_validation_batch_start(trainer, task)
    assert saved == [170.0]


def test_the_remaining_time_includes_validation(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch(monkeypatch)
    pace = EpochTimer(PausableClock())
    pace.begin_epoch()
    for _ in range(5):
        watch.turn(2)
        pace.count_batch()
    assert pace.seconds_left(batches=10, validation_batches=4, passes=0) == pytest.approx(20)
    assert pace.seconds_left(batches=10, validation_batches=4, passes=3) == pytest.approx(
        20 + 3 * 4 * 2 * 0.4
    )  # an assumed share of a training batch
    pace.begin_validation()
    watch.turn(7)
    pace.end_validation()
    pace.begin_epoch()
    watch.turn(3)
    pace.count_batch()
    assert pace.seconds_left(batches=10, validation_batches=4, passes=2) == pytest.approx(30 + 14)


@pytest.mark.parametrize("links", [True, False])
def test_one_state_under_two_names(links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.training.callbacks import copy_state

    if not links:
        monkeypatch.setattr(Path, "hardlink_to", lambda path, target: (_ for _ in ()).throw(OSError("no links here")))
    best, last = tmp_path / "best.ckpt", tmp_path / "last.ckpt"
    best.write_bytes(b"epoch 1")
    last.write_bytes(b"epoch 0")
    copy_state(best, last)
    assert best.samefile(last) is links
    assert last.read_bytes() == b"epoch 1"
    assert {path.name for path in tmp_path.iterdir()} == {"best.ckpt", "last.ckpt"}


def keeper(folder: Path, patience: int = 3) -> Any:
    """Return the callback that keeps the best state of a run, without a listener."""
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunFolder
    from napari_melanoma.training.callbacks import BestCheckpoint

    return BestCheckpoint(RunFolder(folder), RunContext(), patience, EpochTimer(PausableClock()))


def epochs_through(
    keep: Any, measured: list[tuple[float, float]], first: int = 0, monitor: str = "metric"
) -> tuple[list[int], bool]:
    """Report epochs of (Jaccard, loss) to it; return which were kept as the best, and whether it stopped."""
    kept: list[int] = []
    keep._folder.best_checkpoint.parent.mkdir(parents=True, exist_ok=True)
    trainer = SimpleNamespace(
        is_global_zero=False, max_epochs=99, should_stop=False, strategy=SimpleNamespace(broadcast=lambda value: value)
    )

    def save(path: Path) -> None:
        path.touch()
        if path.name == "best.ckpt":
            kept.append(trainer.current_epoch)

    trainer.save_checkpoint = save
    for epoch, (jaccard, loss) in enumerate(measured, start=first):
        trainer.current_epoch = epoch
        values = {"loss": 1.0, "validation_loss": loss, "validation_jaccard": jaccard}
        requested = SimpleNamespace(task="segmentation", monitor=monitor)
        keep.on_train_epoch_end(trainer, SimpleNamespace(metrics=values, recipe=requested))
        if trainer.should_stop:
            break
    return kept, trainer.should_stop


BEST = {
    "nothing is found at first": ([(0, 0.9), (0, 0.7), (0, 0.8)], [0, 1]),
    "a greater Jaccard with a greater loss": ([(0.4, 0.5), (0.5, 0.9)], [0, 1]),
    "the same again": ([(0.5, 0.5), (0.5, 0.5)], [0]),
    "a smaller loss alone": ([(0.5, 0.5), (0.4, 0.1)], [0]),
}


@pytest.mark.parametrize("course", BEST)
def test_the_smaller_loss_breaks_a_tie(course: str, tmp_path: Path) -> None:
    measured, expected = BEST[course]
    assert epochs_through(keeper(tmp_path), measured) == (expected, False)


def test_a_smaller_loss_does_not_extend_the_patience(tmp_path: Path) -> None:
    kept, stopped = epochs_through(keeper(tmp_path), [(0.5, 1 / epoch) for epoch in range(1, 9)])
    assert (kept, stopped) == ([0, 1, 2, 3], True)


LOSSES = [(0.9, 0.9), (0.1, 0.5), (0.95, 0.6), (0.96, 0.5), (0.97, 0.7)]


def test_the_loss_can_select_the_epoch_and_stop(tmp_path: Path) -> None:
    assert epochs_through(keeper(tmp_path / "loss"), LOSSES, monitor="loss") == ([0, 1], True)
    assert epochs_through(keeper(tmp_path / "metric"), LOSSES) == ([0, 2, 3, 4], False)


def test_a_resumed_run_that_monitors_the_loss_keeps_the_same_epochs(tmp_path: Path) -> None:
    first, second = keeper(tmp_path), keeper(tmp_path)
    before = epochs_through(first, LOSSES[:3], monitor="loss")
    second.load_state_dict(first.state_dict())
    after = epochs_through(second, LOSSES[3:], first=3, monitor="loss")
    assert (before, after) == (([0, 1], False), ([], True))


def test_a_resumed_run_keeps_the_same_epochs(tmp_path: Path) -> None:
    measured = [(0.0, 0.9), (0.0, 0.8), (0.0, 0.85), (0.1, 0.9)]
    first, second = keeper(tmp_path / "one"), keeper(tmp_path / "one")
    before, _ = epochs_through(first, measured[:2])
    second.load_state_dict(first.state_dict())
    after, _ = epochs_through(second, measured[2:], first=2)
    assert [*before, *after] == epochs_through(keeper(tmp_path / "whole"), measured)[0] == [0, 1, 3]


@pytest.mark.parametrize(("start", "expected"), [("none", 1.0), ("lesion-small", 0.25)])
def test_only_a_pretrained_encoder_has_a_lower_rate(
    start: str, expected: float, recipe: TrainRecipe, change: Change
) -> None:
    from napari_melanoma.models.zoo import build_network
    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    chosen = change(recipe, model={"start": start}, encoder_rate=0.25, schedule="constant")
    network = build_network("deeplabv3plus_mobilenetv2", {"width": 0.1, "head_channels": 8})
    task: Any = SegmentationTask(network, chosen, BundleConfig(name="x", title="x", architecture="x"))
    task._trainer = SimpleNamespace(estimated_stepping_batches=4)
    groups = task.configure_optimizers()["optimizer"].param_groups
    assert groups[0]["lr"] / groups[1]["lr"] == pytest.approx(expected)
