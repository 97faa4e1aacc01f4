"""A training run from recipe to bundle: what it leaves, how it stops, and that resuming changes nothing."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest

from napari_melanoma.core.errors import BundleError, DataSetError, RunError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.core.runs import Cancelled, Progress, RunContext
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.train import load_data, train

pytestmark = pytest.mark.usefixtures("user_folders")


class StopAfter(RunContext):
    """Cancels once a message has been reported."""

    def __init__(self, message: str) -> None:
        super().__init__(self._on_progress)
        self._message = message

    def _on_progress(self, progress: Progress) -> None:
        if progress.message.startswith(self._message):
            self.cancel()


def _events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_run_folder_is_complete(recipe: TrainRecipe, tmp_path: Path) -> None:
    out = tmp_path / "run"
    bundle = train(recipe, out, resume=False, run=RunContext())
    assert bundle.path == out / "bundle"
    assert [event["kind"] for event in _events(out) if event["kind"] != "step"] == [
        "started",
        "epoch",
        "epoch",
        "finished",
    ]
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    load_network(read_bundle(bundle.path))
    assert 0.5 <= bundle.config.threshold < 1
    assert "# blobs" in bundle.card
    assert bundle.config.provenance["train_images"] == {"blobs": 16}


def test_learns(recipe: TrainRecipe, tmp_path: Path) -> None:
    longer = recipe.model_copy(update={"epochs": 14, "learning_rate": 0.02})
    bundle = train(longer, tmp_path / "run", resume=False, run=RunContext())
    assert bundle.config.provenance["tuning_jaccard"] > 0.7


def test_resumed_run_equals_an_uninterrupted_one(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from napari_melanoma.training import callbacks

    monkeypatch.setattr(callbacks, "EVENT_INTERVAL_S", 0.0)
    whole = train(recipe, tmp_path / "whole", resume=False, run=RunContext())
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "parts", resume=False, run=StopAfter("Epoch 2"))
    assert _events(tmp_path / "parts")[-1]["kind"] == "cancelled"
    parts = train(recipe, tmp_path / "parts", resume=True, run=RunContext())
    for (name, value), other in zip(
        load_network(whole).state_dict().items(), load_network(parts).state_dict().values(), strict=True
    ):
        assert torch.equal(value, other), name
    metrics = [(tmp_path / name / "metrics.csv").read_text().splitlines() for name in ("whole", "parts")]
    strip = [[line.rsplit(",", 1)[0] for line in lines] for lines in metrics]  # the last column is seconds
    assert strip[0] == strip[1]


def test_cancel_through_the_folder(recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.training import callbacks

    monkeypatch.setattr(callbacks, "EVENT_INTERVAL_S", 0.0)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Cancelled):
        train(recipe, folder.path, resume=False, run=RunContext(lambda progress: folder.ask("cancel")))
    assert not folder.bundle.exists()


def test_a_wish_in_the_folder_is_heard_while_images_are_decoded(recipe: TrainRecipe, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")

    def ask(progress: Progress) -> None:
        assert progress.message == "Decoding images"
        folder.ask("cancel")

    with pytest.raises(Cancelled):
        train(recipe, folder.path, resume=False, run=RunContext(ask))


def test_an_unexpected_error_is_left_in_the_folder(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("CUDA out of memory")

    monkeypatch.setattr("napari_melanoma.workflows.train.fit", fail)
    with pytest.raises(RuntimeError):
        train(recipe, tmp_path / "run", resume=False, run=RunContext())
    assert _events(tmp_path / "run")[-1]["message"] == "CUDA out of memory"
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


def test_a_start_from_a_bundle_names_no_folder(recipe: TrainRecipe, tmp_path: Path) -> None:
    first = train(recipe, tmp_path / "first", resume=False, run=RunContext())
    model = recipe.model.model_copy(update={"start": str(first.path)})
    second = train(recipe.model_copy(update={"model": model}), tmp_path / "second", resume=False, run=RunContext())
    assert second.config.provenance["start"] == f"blobs, weights {first.fingerprint[:12]}"
    assert str(tmp_path) not in (second.path / "config.json").read_text() + second.card


def test_a_folder_is_never_overwritten(recipe: TrainRecipe, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(RunError, match="holds a run already"):
        train(recipe, tmp_path, resume=False, run=RunContext())


def test_nothing_to_resume(recipe: TrainRecipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        train(recipe, tmp_path / "none", resume=True, run=RunContext())


def test_resume_with_another_recipe(recipe: TrainRecipe, tmp_path: Path) -> None:
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        train(recipe, tmp_path / "run", resume=False, run=run)
    with pytest.raises(RunError, match="another recipe"):
        train(recipe.model_copy(update={"seed": 9}), tmp_path / "run", resume=True, run=RunContext())


def test_faulty_data_is_said_before_anything_is_written(recipe: TrainRecipe, tmp_path: Path) -> None:
    data = recipe.data.model_copy(update={"datasets": (str(tmp_path / "nowhere"),)})
    with pytest.raises(DataSetError, match="no data set"):
        train(recipe.model_copy(update={"data": data}), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()


def test_no_patient_is_on_both_sides(recipe: TrainRecipe) -> None:
    data = load_data(recipe)
    assert not {s.group for s in data.train} & {s.group for s in data.tuning}
    assert {s.split for s in [*data.train, *data.tuning]} == {"train"}


def test_imagenet_start_needs_an_encoder_it_knows(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: offline() if k.get("pretrained") else real(*a, **k))
    model = recipe.model.model_copy(update={"start": "imagenet"})
    with pytest.raises(BundleError, match="could not be fetched"):
        train(recipe.model_copy(update={"model": model}), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()
