"""Errors of a run are reported in its folder, and finished results are kept."""

from __future__ import annotations

import errno
import io
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_melanoma.core.context import Cancelled, Progress, RunContext
from napari_melanoma.core.errors import RunError, SaveError, TrainingDiverged, TrainingError
from napari_melanoma.io.results import read_table
from napari_melanoma.models.torch_inference import is_out_of_memory
from napari_melanoma.runs.train import train
from napari_melanoma.training.monitor import explain_error, is_peer_lost
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]
Events = Callable[[Path], list[dict[str, Any]]]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]

FULL = "[enforce fail at alloc_cpu.cpp:121] err == 0. DefaultCPUAllocator: can't allocate memory: you tried 64 GB"
PEER = "[../third_party/gloo/gloo/transport/tcp/pair.cc:534] Connection closed by peer [127.0.1.1]:6341"
WORKER = "DataLoader worker (pid 4242) is killed by signal: Killed."
LOST = "CUDA error: unspecified launch failure\nCUDA kernel errors might be asynchronously reported at some other call"

EXPLAINED = [
    ("the processor's memory", RuntimeError(FULL), "memory of the computer is full"),
    ("a GPU's memory", RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB"), "memory of the GPU is full"),
    ("Python's memory", MemoryError(), "memory of the computer is full"),
    ("a lost GPU", RuntimeError(LOST), r"GPU was lost .*unspecified launch failure\)"),
    ("a lost process", RuntimeError(PEER), "another process of this run ended"),
    ("a killed reader", RuntimeError(WORKER), "Decrease workers"),
    ("a full disk", OSError(errno.ENOSPC, "No space left on device"), "disk is full"),
]


@pytest.mark.parametrize(
    ("fault", "fault_message"), [case[1:] for case in EXPLAINED], ids=[case[0] for case in EXPLAINED]
)
def test_an_error_of_torch_is_explained(fault: Exception, fault_message: str) -> None:
    found = explain_error(fault)
    assert isinstance(found, TrainingError)
    with pytest.raises(TrainingError, match=fault_message):
        raise found


@pytest.mark.parametrize(
    "fault", [RunError("a sentence already"), RuntimeError("nobody foresaw this"), OSError(13, "no")]
)
def test_other_errors_are_returned_unchanged(fault: Exception) -> None:
    assert explain_error(fault) is fault


def test_faults_are_distinguished() -> None:
    import torch

    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory"))
    assert is_out_of_memory(RuntimeError(FULL))
    assert not is_out_of_memory(RuntimeError("shape mismatch"))
    assert not is_out_of_memory(ValueError("out of memory"))
    assert is_peer_lost(RuntimeError(PEER))
    assert not is_peer_lost(RuntimeError(LOST))


def fails(
    recipe: TrainRecipe, out: Path, kind: type[Exception], fault_message: str, run: RunContext | None = None
) -> None:
    with pytest.raises(kind, match=fault_message):
        train(recipe, out, resume=False, run=run or RunContext())


def at(message: str, act: Callable[[], object]) -> RunContext:
    """Return a context that calls a function at the first report that starts with a text."""
    left = [act]

    def report(progress: Progress) -> None:
        if left and progress.message.startswith(message):
            left.pop()()

    return RunContext(report)


def test_non_finite_numbers_end_the_run_and_keep_the_best_epoch(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.training.tasks.segmentation import SegmentationTask

    real = SegmentationTask.loss

    def loss(task: SegmentationTask, logits: Any, target: Any) -> Any:
        spoilt = task.training and task.current_epoch == 1 and task.trainer.fit_loop.epoch_loop.batch_idx == 2
        return real(task, logits, target) * (float("nan") if spoilt else 1)

    monkeypatch.setattr(SegmentationTask, "loss", loss)
    fails(alone, tmp_path, TrainingDiverged, r"in epoch 2, batch 3\. Start again with a lower learning_rate")
    last = events(tmp_path)[-1]
    assert (last["kind"], last["type"]) == ("failed", "Diverged")
    assert (tmp_path / "checkpoints" / "best.ckpt").is_file()
    assert not (tmp_path / "bundle").exists()


class FullDisk(io.RawIOBase):
    """A file on a disk that has room for 10 kB."""

    def __init__(self, file: Any) -> None:
        self._file, self._written = file, 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._written += len(data)
        if self._written > 10_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return int(self._file.write(data))


def test_full_disk_ends_the_run_and_resume_continues_it(
    alone: TrainRecipe, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    real, saved = torch.save, []

    def save(state: object, file: Any) -> None:
        saved.append(state)
        # The start and the first epoch are saved; torch's writer hides the error of the file.
        real(state, FullDisk(file) if len(saved) == 3 else file)

    monkeypatch.setattr(torch, "save", save)
    fails(alone, tmp_path, SaveError, "the disk is full")
    assert "disk is full" in events(tmp_path)[-1]["message"]
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    assert train(alone, tmp_path, resume=True, run=RunContext()) is not None


@pytest.mark.parametrize(
    ("damaged", "notice"),
    [
        (("last",), r"last.ckpt is damaged: the run continues at previous.ckpt, after 3 epochs."),
        (("last", "previous"), r"last.ckpt is damaged: the run continues at best.ckpt, after 1 epoch."),
        (("last", "previous", "best"), r"last.ckpt is damaged: the run starts again, as there is no other checkpoint"),
    ],
    ids=["last", "previous", "all"],
)
def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    damaged: tuple[str, ...],
    notice: str,
    alone: TrainRecipe,
    tmp_path: Path,
    change: Change,
    events: Events,
) -> None:
    """The resumed run ends with the same figures as a whole one."""
    recipe = change(alone, epochs=4, learning_rate=1e-9)  # no epoch is better than the first
    train(recipe, tmp_path / "whole", resume=False, run=RunContext())
    run = RunContext(lambda progress: run.cancel() if progress.message.startswith("Epoch 3 of 4:") else None)
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "cut", resume=False, run=run)
    for name in damaged:
        path = tmp_path / f"cut/checkpoints/{name}.ckpt"
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[: len(content) // 2 if name == "last" else 0])
    train(recipe, tmp_path / "cut", resume=True, run=RunContext())
    messages = [str(event.get("message")) for event in events(tmp_path / "cut") if event["kind"] == "notice"]
    assert any(re.search(notice, message) for message in messages)
    assert {path.name for path in (tmp_path / "cut/checkpoints").glob("*.damaged")} == {
        f"{name}.ckpt.damaged" for name in damaged
    }
    whole, cut = (read_table(tmp_path / name / "metrics.csv") for name in ("whole", "cut"))
    assert [row["validation_loss"] for row in whole] == [row["validation_loss"] for row in cut]


def test_a_checkpoint_that_cannot_be_read_now_is_kept(
    alone: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    run = RunContext(lambda progress: run.cancel() if progress.message.startswith("Epoch 1 of 2:") else None)
    with pytest.raises(Cancelled):
        train(alone, tmp_path, resume=False, run=run)
    checkpoints = tmp_path / "checkpoints"
    content = {path.name: path.read_bytes() for path in checkpoints.iterdir()}

    def load(*_: Any, **__: Any) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(torch, "load", load)
        with pytest.raises(OSError, match="Permission denied"):
            train(alone, tmp_path, resume=True, run=RunContext())
    assert {path.name: path.read_bytes() for path in checkpoints.iterdir()} == content


def test_a_run_continues_at_the_most_advanced_checkpoint(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events
) -> None:
    """As after a kill when the best state of an epoch was saved, and not yet the last one."""
    import torch

    recipe = change(alone, epochs=2)
    run = RunContext(lambda progress: run.cancel() if progress.message.startswith("Epoch 1 of 2:") else None)
    with pytest.raises(Cancelled):
        train(recipe, tmp_path, resume=False, run=run)
    last, best = (tmp_path / f"checkpoints/{name}.ckpt" for name in ("last", "best"))
    (tmp_path / "checkpoints/previous.ckpt").unlink()
    initial = {"epoch": 0, "state_dict": torch.load(best, weights_only=True)["state_dict"]}
    last.unlink()
    torch.save(initial, last)
    train(recipe, tmp_path, resume=True, run=RunContext())
    messages = [str(event.get("message")) for event in events(tmp_path) if event["kind"] == "notice"]
    assert any("last.ckpt is older: the run continues at best.ckpt, after 1 epoch." in message for message in messages)
    assert best.exists()
    assert [row["epoch"] for row in read_table(tmp_path / "metrics.csv")] == ["0", "1"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a disk that is always full")
def test_events_that_cannot_be_written_end_the_run(alone: TrainRecipe, tmp_path: Path) -> None:
    def fill() -> None:
        (tmp_path / "events.jsonl").unlink()
        (tmp_path / "events.jsonl").symlink_to("/dev/full")

    fails(alone, tmp_path, SaveError, r"cannot write .*events\.jsonl: the disk is full", at("Epoch 1 of 2:", fill))


def test_removed_checkpoints_are_reported_and_the_run_continues(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events
) -> None:
    recipe = change(alone, epochs=3, learning_rate=1e-9)  # no epoch is better than the first
    run = at("Epoch 2 of 3", lambda: shutil.rmtree(tmp_path / "checkpoints"))
    assert train(recipe, tmp_path, resume=False, run=run) is not None
    recorded = [event for event in events(tmp_path) if event["kind"] in ("notice", "epoch", "finished")]
    assert any("checkpoints were deleted" in str(event.get("message")) for event in recorded)
    assert next(event["best"] for event in recorded if event["kind"] == "epoch") is True
    assert recorded[-1]["kind"] == "finished"


def test_checkpoints_removed_after_the_last_epoch_are_reported(
    alone: TrainRecipe, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_melanoma.training import engine

    real = engine._fit

    def fit(*arguments: Any) -> None:
        real(*arguments)
        shutil.rmtree(tmp_path / "checkpoints")

    monkeypatch.setattr(engine, "_fit", fit)
    fails(alone, tmp_path, TrainingError, "was removed after the last epoch")
    assert events(tmp_path)[-1]["kind"] == "failed"


def test_a_removed_run_folder_is_reported(alone: TrainRecipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    fails(alone, out, SaveError, "run folder was deleted", at("Epoch 1 of 2:", lambda: shutil.rmtree(out)))


class Hungry:
    """Raise an out-of-memory error in steps of more images than a limit."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, most: int, error: Exception, epoch: int = 0) -> None:
        from napari_melanoma.training.tasks.segmentation import SegmentationTask

        self.steps: list[int] = []
        real = SegmentationTask.training_step

        def step(task: SegmentationTask, batch: Any, batch_idx: int) -> Any:
            self.steps.append(len(batch[0]))
            if len(batch[0]) > most and task.current_epoch >= epoch:
                raise error
            return real(task, batch, batch_idx)

        monkeypatch.setattr(SegmentationTask, "training_step", step)


def test_full_memory_makes_micro_batches_smaller_and_restarts_the_epoch(
    alone: TrainRecipe, tmp_path: Path, change: Change, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    frozen = change(alone, model={"freeze_normalisation": True}, ema_decay=0.9)
    whole = train(frozen, tmp_path / "whole", resume=False, run=RunContext())
    hungry = Hungry(monkeypatch, 1, RuntimeError(FULL), 1)
    parts = train(frozen, tmp_path / "parts", resume=False, run=RunContext())
    assert (
        hungry.steps == [4] * 4 + [4] + [2] + [1] * 16
    )  # an epoch, two attempts, an epoch of four micro-batches per step
    recorded = [event["message"] for event in events(tmp_path / "parts") if event["kind"] == "notice"]
    full = [message for message in recorded if "memory of the computer was full" in message]
    assert [message for message in full if "2 micro-batches" in message]
    assert [message for message in recorded if "4 micro-batches" in message]
    assert [event["epoch"] for event in events(tmp_path / "parts") if event["kind"] == "epoch"] == [0, 1]
    assert whole is not None
    assert parts is not None
    losses = [
        [float(line.split(",")[1]) for line in (tmp_path / name / "metrics.csv").read_text().splitlines()[1:]]
        for name in ("whole", "parts")
    ]
    assert losses[0][0] == losses[1][0]
    assert losses[1][1] == pytest.approx(losses[0][1], rel=1e-3)  # the same sum, in another order


def test_too_little_memory_for_one_image_is_reported(
    alone: TrainRecipe, tmp_path: Path, events: Events, monkeypatch: pytest.MonkeyPatch
) -> None:
    Hungry(monkeypatch, 0, MemoryError())
    fails(alone, tmp_path, TrainingError, "full even with one image at a time")
    assert events(tmp_path)[-1]["kind"] == "failed"
