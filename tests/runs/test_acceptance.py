"""After a run: its test images, the comparison, and the files of activating and discarding the model."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.config import write_toml
from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import BundleError, DataSetError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.splits import split_trainable
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.installed_bundles import list_bundles, user_models_folder
from napari_melanoma.runs import acceptance as module
from napari_melanoma.runs.acceptance import (
    activate_model,
    compare_run,
    discard_model,
    find_test_images,
    replace_activated_model,
    warn_of_training_images,
)
from napari_melanoma.runs.launching import read_run
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import DataRow, read_data, write_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]


def data_set(folder: Path, count: int, split: str = "") -> Path:
    mask = np.zeros((48, 48), bool)
    mask[12:36, 12:36] = True
    for index in range(count):
        write_rgb(folder / f"images/{folder.name}{index}.png", np.full((48, 48, 3), 10 * index, np.uint8))
        write_mask(folder / f"masks/{folder.name}{index}.png", mask)
    write_table(folder / "dataset.csv", [{"image_id": f"{folder.name}{n}", "split": split} for n in range(count)])
    return folder


@pytest.fixture
def recipe(tmp_path: Path, tiny_bundle: BundleInfo) -> TrainRecipe:
    """A recipe with corrections and replay data that starts from the bundle with random weights."""
    data = {
        "datasets": [str(data_set(tmp_path / "corrections", 9))],
        "replay": [str(data_set(tmp_path / "known", 6, "test"))],
    }
    return TrainRecipe.parse({"data": data, "model": {"start": str(tiny_bundle.path)}}, "the test")


@pytest.fixture
def finished(tmp_path: Path, recipe: TrainRecipe, tiny_bundle: BundleInfo) -> RunFolder:
    """The folder of a run without training: its bundle is the starting model."""
    folder = RunFolder(tmp_path / "run-01")
    folder.path.mkdir()
    write_toml(folder.config, recipe)
    parts = split_trainable(read_dataset(Path(recipe.data.datasets[0])), recipe.data, recipe.seed)
    by_part = {"train": parts.training, "validation": parts.validation, "test": parts.test}
    write_data(folder.data, [DataRow(part, sample, "", "") for part, found in by_part.items() for sample in found])
    shutil.copytree(tiny_bundle.path, folder.bundle)
    folder.append_event("started")
    folder.append_event("finished", threshold=0.5)
    return folder


def test_test_images_of_the_run_and_of_its_replay_data(finished: RunFolder, recipe: TrainRecipe) -> None:
    found = find_test_images(recipe, finished)
    samples, replay = found.samples, found.replay
    assert found.notes == ()
    of_run = split_trainable(read_dataset(Path(recipe.data.datasets[0])), recipe.data, 0).test
    assert [sample.image_id for sample in samples if sample.domain == "corrections"] == [s.image_id for s in of_run]
    assert [sample.image_id for sample in samples if sample.domain == "known"] == [f"known{n}" for n in range(6)]
    assert replay == ("known",)


def test_replay_images_used_for_training_are_not_test_images(finished: RunFolder, recipe: TrainRecipe) -> None:
    learnt = read_dataset(Path(recipe.data.replay[0]))[0]
    with finished.data.open("a") as table:
        table.write(f"replay,{learnt.image_id},known,{learnt.group},,,,,{learnt.image},{learnt.mask},,\n")
    assert "known0" not in {sample.image_id for sample in find_test_images(recipe, finished).samples}


def test_the_comparison_of_a_run(finished: RunFolder, tiny_bundle: BundleInfo) -> None:
    messages: list[str] = []
    found = compare_run(finished.path, run=RunContext(lambda progress: messages.append(progress.message)))
    assert (found.old.name, found.new.name) == ("tiny", "tiny")
    assert found.old.fingerprint == found.new.fingerprint == tiny_bundle.fingerprint
    assert found.difference["JA"].mean == 0
    assert found.advice == "inconclusive"
    assert {domain.name: domain.replay for domain in found.domains} == {"corrections": False, "known": True}
    assert set(messages) == {"Comparing the old and the new model"}
    report = read_run(finished.path)
    assert report.comparison == found
    assert report.bundle == finished.bundle


def test_a_run_from_scratch_is_compared_with_the_shipped_model(finished: RunFolder, recipe: TrainRecipe) -> None:
    write_toml(finished.config, recipe.model_copy(update={"model": recipe.model.model_copy(update={"start": "none"})}))
    assert compare_run(finished.path, run=RunContext()).old.name == "lesion-small"


def settled(folder: RunFolder, fingerprint: str) -> None:
    """Store which weights a run started from."""
    parent = {"name": "tiny", "fingerprint": fingerprint, "mean": [0] * 3, "std": [1] * 3, "threshold": 0.5}
    write_json(folder.path / "resolved_settings.json", {"batch_size": 2, "parent": parent})


def renewed(bundle: BundleInfo, folder: Path, name: str, provenance: dict[str, object]) -> BundleInfo:
    """Copy a bundle under another name and with another provenance."""
    shutil.copytree(bundle.path, folder)
    config = bundle.config.model_copy(update={"name": name, "provenance": provenance})
    write_json(folder / "config.json", config.model_dump(mode="json"))
    return read_bundle(folder)


def test_another_model_of_the_same_name_is_rejected(finished: RunFolder, tiny_bundle: BundleInfo) -> None:
    settled(finished, "0" * 64)
    with pytest.raises(BundleError, match=r"'tiny' is not the model that run-01 started from \(weights"):
        compare_run(finished.path, run=RunContext())
    assert not finished.comparison.exists()
    settled(finished, tiny_bundle.fingerprint)
    assert compare_run(finished.path, run=RunContext()).old.fingerprint == tiny_bundle.fingerprint


def test_the_old_model_is_found_by_its_weights(
    finished: RunFolder, recipe: TrainRecipe, tiny_bundle: BundleInfo
) -> None:
    """The weights are installed under another name."""
    renewed(tiny_bundle, user_models_folder() / "kept", "kept", {})
    settled(finished, tiny_bundle.fingerprint)
    for start in ("lesion-small", "gone"):
        model = recipe.model.model_copy(update={"start": start})
        write_toml(finished.config, recipe.model_copy(update={"model": model}))
        assert compare_run(finished.path, run=RunContext()).old.name == "kept"


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"split": "all"}, "corrections, 6 of known"),
        ({"split": "test", "test_split": "val"}, " 6 of known"),
        ({"validation_split": "test", "test_split": "other"}, " 6 of known"),
        ({"test_fraction": 0.1}, " of corrections. It was trained on"),
        ({"test_fraction": 0.2}, ""),
        ({"test_fraction": 0.5}, ""),
        ({"test_split": "val"}, ""),
        ({"datasets": ["elsewhere"], "replay": [], "split": "all"}, ""),
    ],
)
def test_possible_training_images_of_the_old_model_are_reported(
    values: dict[str, object], expected: str, finished: RunFolder, recipe: TrainRecipe, tiny_bundle: BundleInfo
) -> None:
    """Of the model itself, or of its parent."""
    data = {"datasets": ["corrections"], "replay": ["known"], **values}
    samples = find_test_images(recipe, finished).samples
    itself = renewed(tiny_bundle, user_models_folder() / "itself", "itself", {"recipe": {"data": data}})
    child = {"parent": {"name": "itself", "fingerprint": itself.fingerprint}, "recipe": {"data": {"datasets": ["x"]}}}
    for old in (itself, renewed(tiny_bundle, user_models_folder().parent / "child", "child", child)):
        found = " ".join(warn_of_training_images(old, samples, recipe.data))
        assert found.startswith("The result may favor the old model") is bool(expected)
        assert expected in found


def test_a_note_follows_the_reason(finished: RunFolder, recipe: TrainRecipe, tiny_bundle: BundleInfo) -> None:
    everything = {"recipe": {"data": {"datasets": ["corrections"], "split": "all"}}}
    old = renewed(tiny_bundle, user_models_folder() / "old", "old", everything)
    model = recipe.model.model_copy(update={"start": old.name})
    write_toml(finished.config, recipe.model_copy(update={"model": model}))
    assert "The result may favor the old model" in compare_run(finished.path, run=RunContext()).reason


@pytest.mark.parametrize("mask_model", ["lesion-small", ""])
def test_accepted_masks_of_models_are_counted(mask_model: str, finished: RunFolder) -> None:
    """Those that were imported do not count."""
    rows = read_data(finished.data)
    held = [row for row in rows if row.part == "test"]
    assert held
    accepted = [replace(row, sample=replace(row.sample, review="accepted", mask_model=mask_model)) for row in held[:1]]
    write_data(finished.data, [*accepted, *held[1:], *(row for row in rows if row not in held)])
    total = len(held) + 6
    accepted_masks = f"Reference masks accepted without correction: 1 of {total}."
    reason = compare_run(finished.path, run=RunContext()).reason
    assert (accepted_masks in reason, "accepted without correction" in reason) == (bool(mask_model),) * 2


def test_missing_replay_data_do_not_prevent_a_comparison(finished: RunFolder, recipe: TrainRecipe) -> None:
    replay = Path(recipe.data.replay[0])
    replay.rename(replay.parent / "moved")
    found = compare_run(finished.path, run=RunContext())
    assert {domain.name for domain in found.domains} == {"corrections"}
    assert "The replay data (known) are no longer readable" in found.reason
    write_data(finished.data, [])
    with pytest.raises(DataSetError):
        find_test_images(recipe, finished)


def test_the_number_of_replay_images_is_limited(
    finished: RunFolder, recipe: TrainRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_REPLAY_IMAGES", 4)
    found = find_test_images(recipe, finished)
    assert sum(sample.domain == "known" for sample in found.samples) == 4
    assert found == find_test_images(recipe, finished)
    assert found.notes == (
        "Of the 6 test images of the replay data, 4 were compared, chosen by a hash of their names.",
    )


def test_a_cancelled_comparison_keeps_the_earlier_one(finished: RunFolder) -> None:
    first = compare_run(finished.path, run=RunContext())
    run = RunContext()
    run.cancel()
    with pytest.raises(Cancelled):
        compare_run(finished.path, run=run)
    assert read_run(finished.path).comparison == first
    assert not list(finished.path.glob(".comparison*"))


def test_a_run_without_test_images(finished: RunFolder, recipe: TrainRecipe) -> None:
    alone = recipe.model_copy(update={"data": recipe.data.model_copy(update={"replay": ()})})
    write_data(finished.data, [])
    with pytest.raises(RunError, match=r"run-01 has no test images.*Set data\.test_fraction"):
        find_test_images(alone, finished)
    finished.data.unlink()
    with pytest.raises(RunError, match="the list of the run's images, is not readable"):
        find_test_images(alone, finished)


def test_missing_models(finished: RunFolder, recipe: TrainRecipe) -> None:
    shutil.rmtree(finished.bundle)
    with pytest.raises(RunError, match=r"expected a run folder, found no config\.toml"):
        compare_run(finished.path / "nowhere", run=RunContext())
    with pytest.raises(RunError, match="run-01 has no model yet"):
        compare_run(finished.path, run=RunContext())
    gone = recipe.model.model_copy(update={"start": "thrown-away"})
    write_toml(finished.config, recipe.model_copy(update={"model": gone}))
    with pytest.raises(BundleError, match="the starting model of run-01 is missing"):
        compare_run(finished.path, run=RunContext())


def test_a_model_is_activated_only_once(finished: RunFolder) -> None:
    first, second = activate_model(finished.path, "our-clinic"), activate_model(finished.path, "our-clinic")
    assert first == second
    assert first.path == user_models_folder() / "our-clinic"
    assert read_run(finished.path).activated_as == "our-clinic"
    assert [info.name for info in list_bundles() if info.path.parent == user_models_folder()] == ["our-clinic"]


def test_a_removed_model_is_activated_again(finished: RunFolder) -> None:
    shutil.rmtree(activate_model(finished.path).path)
    assert activate_model(finished.path).path.is_dir()


def test_a_discarded_model_can_be_activated(finished: RunFolder) -> None:
    discard_model(finished.path)
    discard_model(finished.path)
    assert (read_run(finished.path).discarded, read_run(finished.path).activated_as) == (True, None)
    activate_model(finished.path)
    report = read_run(finished.path)
    assert (report.discarded, report.activated_as) == (False, "tiny")
    discard_model(finished.path)
    assert not read_run(finished.path).discarded, "an active model is not discarded"


def test_a_former_model_is_used_again(finished: RunFolder) -> None:
    activated = activate_model(finished.path)
    replace_activated_model(finished.path, "lesion-small")
    report = read_run(finished.path)
    assert (report.activated_as, report.replaced_by) == (None, "lesion-small")
    assert activate_model(finished.path) == activated, "the installed model, not a second copy"
    report = read_run(finished.path)
    assert (report.activated_as, report.replaced_by) == (activated.name, None)


def test_no_model_to_activate(finished: RunFolder) -> None:
    shutil.rmtree(finished.bundle)
    with pytest.raises(BundleError, match="is not a model bundle"):
        activate_model(finished.path)
    assert read_run(finished.path).activated_as is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"path": 3}'])
def test_an_unreadable_note_is_ignored(text: str, finished: RunFolder) -> None:
    (finished.path / "adopted.json").write_text(text)
    assert read_run(finished.path).activated_as is None
    assert activate_model(finished.path).name == "tiny"


def test_another_model_under_the_name_of_the_activated_one(finished: RunFolder) -> None:
    """Such as one that the user imported after the first was removed: it is not the model of the run."""
    activated = activate_model(finished.path)
    other = activated.config.model_copy(update={"threshold": 0.31})
    write_json(activated.path / "config.json", other.model_dump(mode="json"))
    again = activate_model(finished.path)
    assert (again.name, again.config.threshold) == ("tiny-2", activated.config.threshold)
