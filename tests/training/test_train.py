"""A training run from recipe to bundle: its files, its messages, and how it is canceled."""

from __future__ import annotations

import csv
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from napari_melanoma.core.context import Cancelled, Milestone, Progress, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, RunError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleInfo, load_network, read_bundle
from napari_melanoma.runs import train as workflow
from napari_melanoma.runs.train import train as train_or_help
from napari_melanoma.training.recipe import TrainRecipe

Change = Callable[..., TrainRecipe]

pytestmark = pytest.mark.usefixtures("user_folders")


def train(recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext) -> BundleInfo:
    bundle = train_or_help(recipe, out, resume=resume, run=run)
    assert bundle is not None
    return bundle


def _events(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def reports() -> list[Progress]:
    """What the run of ``done`` reports."""
    return []


@pytest.fixture(scope="module")
def done(recipe: TrainRecipe, reports: list[Progress], tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A finished run, which tests only read."""
    return train(recipe, tmp_path_factory.mktemp("done") / "run", resume=False, run=RunContext(reports.append))


@pytest.mark.slow
def test_run_folder_is_complete(done: BundleInfo) -> None:
    bundle, out = done, done.path.parent
    assert bundle.path == out / "bundle"
    events = [event for event in _events(out) if event["kind"] not in ("step", "progress", "notice")]
    assert [event["kind"] for event in events] == ["started", "samples", "epoch", "samples", "epoch", "finished"]
    loading = next(event for event in _events(out) if event.get("message") == "Loading the network")
    started, finished = events[0], events[-1]
    assert loading["time"] <= started["time"]
    expected = {"train": 16, "validation": 4, "test": 4, "resumed": False, "device": "cpu", "precision": "32-true"}
    assert started.items() >= {**expected, "batch_size": 4, "accumulate_batches": 1, "epoch": 0, "epochs": 2}.items()
    assert finished["threshold"] == bundle.config.threshold
    assert finished["bundle"] == "bundle"
    assert events[2]["best"] is True
    rows = list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))
    assert [row["epoch"] for row in rows] == ["0", "1"]
    assert {path.name for path in (out / "checkpoints").iterdir()} == {"last.ckpt", "previous.ckpt", "best.ckpt"}
    for place in ("start", "epoch-0001", "epoch-0002"):
        assert len(list((out / "samples" / place).glob("b*.png"))) == 4
    process = json.loads((out / "process.json").read_text())
    assert process["pid"] == os.getpid()
    assert (out / "comparison" / "comparison.json").is_file()
    load_network(read_bundle(bundle.path))
    assert not [path.name for path in out.rglob(".*") if path.name != ".lock"]


@pytest.mark.usefixtures("done")
def test_each_epoch_is_a_milestone(reports: list[Progress]) -> None:
    milestones = [report.message for report in reports if isinstance(report, Milestone)]
    assert [message[:12] for message in milestones] == ["Epoch 1 of 2", "Epoch 2 of 2"]
    assert "(best)" in milestones[0]


@pytest.mark.slow
def test_the_bundle_records_its_provenance(done: BundleInfo) -> None:
    bundle = done
    assert 0.5 <= bundle.config.threshold < 1
    assert "# blobs" in bundle.card
    assert bundle.config.modalities == ("macroscopic",)
    known = bundle.config.provenance
    assert known["train_images"] == known["data"]["domains"] == {"blobs": 16}
    assert known["parent"] is None
    assert known["corrections"] == 0
    assert {name: known["data"][name] for name in ("train", "validation", "test", "replay")} == {
        "train": 16,
        "validation": 4,
        "test": 4,
        "replay": 0,
    }
    assert len(known["data"]["fingerprint"]) == 64
    assert known["recipe"]["data"]["datasets"] == ["blobs"]
    assert known["packages"]["torch"]


@pytest.mark.slow
def test_a_run_trains_its_network(alone: TrainRecipe, tmp_path: Path) -> None:
    longer = alone.model_copy(update={"epochs": 8, "learning_rate": 0.03})
    bundle = train(longer, tmp_path / "run", resume=False, run=RunContext())
    assert bundle.config.provenance["validation_jaccard"] > 0.7


def test_cancel_through_the_folder(recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_melanoma.training import callbacks

    monkeypatch.setattr(callbacks, "EVENT_INTERVAL_S", 0.0)
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(Cancelled):
        train(recipe, folder.path, resume=False, run=RunContext(lambda progress: folder.write_command("cancel")))
    assert not folder.bundle.exists()


def test_launched_run_obeys_control_json_while_decoding(recipe: TrainRecipe, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.append_event("launched")  # as by the dock, which reads the folder from then on

    with pytest.raises(Cancelled):
        train(recipe, folder.path, resume=False, run=RunContext(lambda progress: folder.write_command("cancel")))
    kinds = [event["kind"] for event in _events(folder.path)]
    assert kinds == ["launched", "progress", "cancelled"]  # an event precedes the first file
    assert not folder.config.exists()


def test_a_launched_run_that_cannot_start_is_reported_in_its_folder(
    recipe: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    folder.append_event("launched")
    with pytest.raises(DataSetError):
        train(change(recipe, data={"datasets": ["nowhere"]}), folder.path, resume=False, run=RunContext())
    last = _events(folder.path)[-1]
    assert last["kind"] == "failed"
    assert "nowhere" in str(last["message"])


@pytest.mark.slow
def test_an_unexpected_error_is_left_in_the_folder(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("nobody foresaw this")

    monkeypatch.setattr("napari_melanoma.runs.train.fit", fail)
    with pytest.raises(RuntimeError):
        train(recipe, tmp_path / "run", resume=False, run=RunContext())
    assert _events(tmp_path / "run")[-1]["message"] == "nobody foresaw this"
    assert "Traceback" in (tmp_path / "run" / "log.txt").read_text()


def test_two_processes_never_run_in_the_same_folder(recipe: TrainRecipe, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    with folder.locked(), pytest.raises(RunError, match="another process works"):
        train(recipe, folder.path, resume=False, run=RunContext())
    assert not folder.config.exists()


@pytest.mark.slow
def test_a_failed_comparison_does_not_fail_the_run(
    recipe: TrainRecipe, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise BundleError("the starting model is missing")

    monkeypatch.setattr("napari_melanoma.runs.acceptance.compare_run", fail)
    train(change(recipe, epochs=1, samples=0), tmp_path / "run", resume=False, run=RunContext())
    *_, notice, last = _events(tmp_path / "run")
    assert notice["kind"] == "notice"
    assert "is missing" in str(notice["message"])
    assert last["kind"] == "finished"


@pytest.mark.slow
def test_a_start_from_a_bundle_names_no_folder(
    done: BundleInfo, alone: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    first = read_bundle(shutil.copytree(done.path, tmp_path / "first"))
    again = change(alone, epochs=1, model={"start": str(first.path)})
    second = train(again, tmp_path / "second", resume=False, run=RunContext())
    assert second.config.provenance["parent"] == {"name": "blobs", "fingerprint": first.fingerprint}
    assert second.config.provenance["start"] == f"blobs, weights {first.fingerprint[:12]}"
    assert str(tmp_path) not in (second.path / "config.json").read_text() + second.card


def test_a_folder_is_never_overwritten(recipe: TrainRecipe, tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("")
    with pytest.raises(RunError, match="already contains a run"):
        train(recipe, tmp_path, resume=False, run=RunContext())


def test_nothing_to_resume(recipe: TrainRecipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run to resume"):
        train(recipe, tmp_path / "none", resume=True, run=RunContext())


@pytest.mark.parametrize(
    ("model", "fault"),
    [({"architecture": "unet", "options": {}}, "is a deeplabv3plus"), ({}, "do not fit")],
)
def test_a_start_that_does_not_fit_is_reported_before_anything_is_written(
    model: dict[str, object], fault: str, alone: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    out = tmp_path / "run"
    with pytest.raises(RunError, match=fault):
        train(change(alone, model={"start": "lesion-small", **model}), out, resume=False, run=RunContext())
    assert not out.exists()


@pytest.mark.slow
def test_a_network_that_cannot_be_exported_is_no_failure(
    alone: TrainRecipe, tmp_path: Path, change: Change, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workflow, "add_graphs", lambda *_: "it branches on its input.")
    assert train_or_help(change(alone, epochs=1), tmp_path, resume=False, run=RunContext(), graphs=True)
    assert _events(tmp_path)[-1]["kind"] == "finished"
    messages = [event.get("message") for event in _events(tmp_path) if event["kind"] == "notice"]
    assert "predictions need torch: it branches on its input." in messages


def test_a_step_that_cannot_be_divided_is_reported_before_anything_is_written(
    alone: TrainRecipe, tmp_path: Path, change: Change
) -> None:
    with pytest.raises(RunError, match="multiple of 3"):
        train(change(alone, accumulate_batches=3), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()


def test_faulty_data_is_reported_before_anything_is_written(recipe: TrainRecipe, tmp_path: Path) -> None:
    data = recipe.data.model_copy(update={"datasets": (str(tmp_path / "nowhere"),)})
    with pytest.raises(DataSetError, match="not a data set"):
        train(recipe.model_copy(update={"data": data}), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_no_patient_is_in_two_parts(done: BundleInfo) -> None:
    rows = list(csv.DictReader((done.path.parent / "data.csv").read_text().splitlines()))
    groups = {part: {row["group"] for row in rows if row["part"] == part} for part in ("train", "validation", "test")}
    assert all(groups.values())
    assert sum(len(found) for found in groups.values()) == len(set().union(*groups.values()))


def test_imagenet_weights_need_a_known_encoder(
    recipe: TrainRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    def offline(*_: object, **__: object) -> None:
        raise ConnectionError

    real = timm.create_model
    monkeypatch.setattr(timm, "create_model", lambda *a, **k: offline() if k.get("pretrained") else real(*a, **k))
    model = recipe.model.model_copy(update={"start": "imagenet"})
    with pytest.raises(BundleError, match="could not be downloaded"):
        train(recipe.model_copy(update={"model": model}), tmp_path / "run", resume=False, run=RunContext())
    assert not (tmp_path / "run").exists()
