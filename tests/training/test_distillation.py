"""Distillation: what a teacher predicts for whom, its checks, its effect on the student, and continuing such a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import expit, softmax

import napari_melanoma as nm
from napari_melanoma.classification.classifier import Classifier, LesionInput
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import TrainingImages
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_mask, write_mask, write_table
from napari_melanoma.io.tables import iterate_rows
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import load_network, read_bundle
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.runs import teachers
from napari_melanoma.runs.folds import distill_recipe, train_folds
from napari_melanoma.runs.teachers import TEACHER_FILE, find_teacher
from napari_melanoma.runs.train import check_recipe, train
from napari_melanoma.training.augmentation import BatchAugmentation
from napari_melanoma.training.augmentation_config import AugmentationConfig
from napari_melanoma.training.data_selection import select_samples
from napari_melanoma.training.fold_config import TeacherConfig
from napari_melanoma.training.losses import distillation_loss
from napari_melanoma.training.pixel_store import pixel_path, user_store_folder
from napari_melanoma.training.random_numbers import PartnerSampler
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

RUN = RunContext()
Stop = Callable[..., None]


def on(recipe: TrainRecipe, folder: Path, **values: Any) -> TrainRecipe:
    """Return the recipe for another data set, with other values; those of a section are given as a dict."""
    content = recipe.model_dump(mode="json")
    content["data"]["datasets"] = [str(folder)]
    for name, value in values.items():
        content[name] = {**content.get(name, {}), **value} if isinstance(value, dict) else value
    return TrainRecipe.parse(content, "the test")


def change_rows(folder: Path, change: Callable[[dict[str, str]], dict[str, str]]) -> None:
    write_table(folder / "dataset.csv", [change(dict(row)) for row in iterate_rows(folder / "dataset.csv")])


@pytest.mark.parametrize("classes", [1, 3])
def test_the_loss_is_least_where_both_models_agree(classes: int) -> None:
    """Its gradient is that of the difference of the softened probabilities, whatever the temperature."""
    random = np.random.default_rng(0)
    logits = torch.tensor(random.normal(size=(4, classes, 2, 2)), requires_grad=True)
    target = random.normal(size=(4, classes, 2, 2))
    teacher = expit(target / 3) if classes == 1 else softmax(target / 3, axis=1)
    distillation_loss(logits, torch.tensor(teacher), 3.0).backward()
    softened = logits.detach().numpy() / 3
    student = expit(softened) if classes == 1 else softmax(softened, axis=1)
    np.testing.assert_allclose(logits.grad, 9 / 3 * (student - teacher) / 16, atol=1e-12)  # a mean over 16 pixels


@pytest.mark.parametrize("classes", [1, 3])
def test_maps_of_a_teacher_are_warped_like_the_image(classes: int) -> None:
    """Also in mosaics and patches of other images; the mask is the same as without a teacher."""
    random = np.random.default_rng(0)
    off = {name: 0.0 for name in AugmentationConfig.model_fields if name.endswith("_probability")}
    values = {**off, "brightness": 0.0, "contrast": 0.0, "saturation": 0.0, "hue": 0.0, "rotation": 30.0}
    config = AugmentationConfig(**{**values, "mosaic_probability": 0.5, "cutmix_probability": 0.5})
    augment = BatchAugmentation(config, 32, 0, classes)
    keys = np.stack([np.zeros(6, np.int64), np.arange(6)], axis=1)
    count = 6 + len(PartnerSampler(config, 0, 6).sample(keys))
    images = torch.tensor(random.integers(0, 256, (count, 3, 48, 48)), dtype=torch.uint8)
    masks = torch.tensor(random.integers(0, classes, (count, 1, 48, 48)), dtype=torch.uint8)
    masks = masks if classes > 1 else 255 * (masks > 0).to(torch.uint8)
    maps = images[:, :classes]
    alone = augment(images.clone(), masks.clone(), keys)
    warped, both = augment(images.clone(), torch.cat([masks, maps], dim=1), keys)
    assert torch.equal(alone[0], warped)
    assert torch.equal(alone[1], both[:, :1])
    assert both.shape[1] == 1 + classes
    np.testing.assert_allclose(both[:, 1:], warped[:, :classes], atol=0.51)


@pytest.mark.parametrize("kind", ["bags", "prompts"])
def test_recipes_that_have_no_teacher(recipe: TrainRecipe, kind: str) -> None:
    content = recipe.model_dump(mode="json") | {"teacher": {"bundle": "lesion-small"}}
    content |= {"prompts": {}, "model": {"architecture": "prompted_unet", "start": "none"}} if kind == "prompts" else {}
    if kind == "bags":
        content = {"task": "classification", "bags": {}, "data": {"datasets": ["x"]}, "teacher": content["teacher"]}
    with pytest.raises(ConfigError, match="teacher"):
        TrainRecipe.parse(content, "the test")


def test_a_recipe_without_teacher_has_no_such_key(recipe: TrainRecipe) -> None:
    assert "teacher" not in recipe.model_dump()


@pytest.mark.parametrize(
    ("bundle", "values", "message"),
    [
        ("nowhere", {}, "there is no model named 'nowhere'"),
        ("melanoma-small", {}, "is for classification, the recipe for segmentation"),
        ("lesion-click", {}, "answers prompts"),
        ("skin-demo", {}, "was trained on tiles of .* micrometers, the recipe is for photographs"),
    ],
)
def test_a_teacher_that_does_not_match(recipe: TrainRecipe, blobs: Path, bundle: str, values, message: str) -> None:
    with pytest.raises(nm.MelanomaError, match=message):
        check_recipe(on(recipe, blobs, teacher={"bundle": bundle}, **values), RUN)


def test_a_teacher_of_other_classes_is_read_once(
    class_recipe: TrainRecipe, by_image: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(teachers, "find_bundle", lambda name: read.append(name) or find_bundle(name))
    with pytest.raises(RunError, match="the classes melanoma, nevus, seborrheic keratosis, the data other, melanoma"):
        check_recipe(on(class_recipe, by_image, teacher={"bundle": "melanoma-small"}), RUN)
    assert read == ["melanoma-small"]


def test_photographs_of_a_type_unknown_to_the_teacher(recipe: TrainRecipe, draw, tmp_path: Path) -> None:
    folder = draw(tmp_path / "blobs")
    bundle = tmp_path / "teacher"
    shutil.copytree(find_bundle("lesion-small").path, bundle)
    config = json.loads((bundle / "config.json").read_text()) | {"modalities": ["dermoscopic"]}
    write_json(bundle / "config.json", config)
    with pytest.raises(RunError, match="was trained on dermoscopic photographs, but the data sets have 24 macroscopic"):
        check_recipe(on(recipe, folder, teacher={"bundle": str(bundle)}), RUN)


def wrong_masks(folder: Path) -> Path:
    """Replace the masks by the left half of the image."""
    for path in (folder / "masks").glob("*.png"):
        mask = np.zeros_like(read_mask(path))
        mask[:, : mask.shape[1] // 2] = True
        write_mask(path, mask)
    return folder


@pytest.fixture(scope="module")
def teacher(recipe: TrainRecipe, draw, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of a model that segments blobs well, on data of its own."""
    out = tmp_path_factory.mktemp("teacher")
    data = draw(out / "own", seed=5)
    train(on(recipe, data, epochs=12, learning_rate=0.01, patience=12), out / "run", resume=False, run=RUN)
    return out / "run"


def mean_difference(folder: Path, one: Path, other: Path) -> float:
    """Return the mean absolute difference of the probabilities of two models."""
    models = [Segmenter.load(read_bundle(path)) for path in (one, other)]
    images = [read_photograph(path).rgb for path in sorted((folder / "images").glob("*.png"))]
    maps = [np.stack(model.probabilities(images)) for model in models]
    return float(np.abs(maps[0] - maps[1]).mean())


@pytest.mark.slow
def test_a_student_learns_from_its_teacher_alone(
    recipe: TrainRecipe, teacher: Path, draw, tmp_path: Path, quick_figures
) -> None:
    """Its masks are wrong; with the whole weight on the teacher, it predicts as the teacher on new images."""
    data, new = wrong_masks(draw(tmp_path / "blobs", seed=1)), draw(tmp_path / "new", seed=2)
    values = {"epochs": 12, "learning_rate": 0.01, "patience": 12, "keep": "last"}
    train(on(recipe, data, **values), tmp_path / "without", resume=False, run=RUN)
    config = {"bundle": str(teacher / "bundle"), "weight": 1.0}
    train(on(recipe, data, teacher=config, **values), tmp_path / "with", resume=False, run=RUN)
    without, distilled = (
        mean_difference(new, tmp_path / name / "bundle", teacher / "bundle") for name in ("without", "with")
    )
    assert distilled < 0.5 * without
    bundle = read_bundle(tmp_path / "with/bundle")
    assert bundle.config.provenance["teacher"] | {"fingerprint": "", "version": ""} == {
        "name": "blobs",
        "fingerprint": "",
        "version": "",
        "weight": 1.0,
        "temperature": 2.0,
        "out_of_fold": False,
        "train_images": {"own": 20 - 4},
    }
    assert "Distilled from `blobs`" in bundle.card
    assert str(tmp_path) not in bundle.card + (bundle.path / "config.json").read_text()


@pytest.mark.slow
def test_images_of_the_teacher_count_as_those_of_the_student(
    recipe: TrainRecipe, teacher: Path, blobs: Path, tmp_path: Path, quick_figures
) -> None:
    out = tmp_path / "student"
    train(on(recipe, blobs, epochs=1, teacher={"bundle": str(teacher / "bundle")}), out, resume=False, run=RUN)
    lists = [TrainingImages.read(folder / "training_images.safetensors") for folder in (out, teacher)]
    assert lists[0].counts["images"] == 20 + lists[1].counts["images"]
    measured = nm.evaluate(out / "bundle", teacher.parent / "own", tmp_path / "evaluation")
    assert measured.metrics["JA"].count == 4  # the test images of the teacher


@pytest.mark.slow
def test_a_resumed_run_needs_no_teacher(
    recipe: TrainRecipe, teacher: Path, blobs: Path, stop: Stop, tmp_path: Path, quick_figures
) -> None:
    """Its predictions are stored, and the resumed run equals an uninterrupted one."""
    moved = tmp_path / "teacher"
    shutil.copytree(teacher / "bundle", moved)
    augmentation = {"mosaic_probability": 0.4, "cutmix_probability": 0.4}
    student = on(recipe, blobs, epochs=3, teacher={"bundle": str(moved)}, augmentation=augmentation)
    train(student, tmp_path / "whole", resume=False, run=RUN)
    stop(student, tmp_path / "parts", "Epoch 2 of 3, ")
    shutil.rmtree(moved)
    train(student, tmp_path / "parts", resume=True, run=RUN)
    networks = [load_network(read_bundle(tmp_path / name / "bundle")).state_dict() for name in ("whole", "parts")]
    assert all(torch.equal(value, networks[1][name]) for name, value in networks[0].items())


@pytest.mark.slow
@pytest.mark.usefixtures("user_folders")
def test_each_image_is_predicted_by_the_fold_that_did_not_see_it(
    recipe: TrainRecipe, draw, tmp_path: Path, quick_figures
) -> None:
    """The student is trained on the images of all folds, and tested on those of the table."""
    folder, folds, out = draw(tmp_path / "blobs"), tmp_path / "folds", tmp_path / "student"
    change_rows(folder, lambda row: {**row, "split": "test" if row["image_id"] < "b04" else ""})
    train_folds(on(recipe, folder, epochs=1), 2, folds, resume=False, run=RUN)
    student = distill_recipe(str(folds))
    assert (student.name, student.teacher) == ("blobs-distilled", TeacherConfig(bundle=str(folds)))
    parts = select_samples(student).parts
    assert {sample.image_id for sample in parts.test} == {"b00", "b01", "b02", "b03"}
    assert len(parts.training) + len(parts.validation) == 20
    train(student, out, resume=False, run=RUN)
    assert sum(row.part == "test" for row in read_data(RunFolder(out).data)) == 4

    teacher = find_teacher(TeacherConfig(bundle=str(folds)))
    models = [Segmenter.load(info) for info in teacher.models]
    (version,) = user_store_folder().glob("teacher-*-lesion-48")
    rows = [row for row in read_data(RunFolder(out).data) if row.part == "train"]
    for row in rows:
        (index,) = teacher.select(row.image_sha)
        tested = {one.image_sha for one in read_data(RunFolder(folds / f"fold-{index + 1}").data) if one.part == "test"}
        assert row.image_sha in tested
        rgb = read_photograph(row.sample.image).rgb  # of 48 pixels, the size of the decoded images
        logits = np.log(probability := models[index].probability(rgb)) - np.log1p(-probability)
        stored = np.load(pixel_path(version, row.image_sha))[0] / 255
        assert np.abs(stored - expit(logits / 2)).max() < 0.003  # in 8 bits
    assert len(list(version.rglob("*.npy"))) == len(rows)


def test_what_distill_needs(recipe: TrainRecipe, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"is not a folder of train --folds, so it has no recipe\. Add --config"):
        distill_recipe("lesion-small")
    student = distill_recipe("lesion-small", recipe)
    assert student.teacher == TeacherConfig(bundle="lesion-small")
    assert student.data == recipe.data
    (tmp_path / "run/bundle").mkdir(parents=True)
    assert distill_recipe(str(tmp_path / "run"), recipe).teacher == TeacherConfig(bundle=str(tmp_path / "run/bundle"))
    with pytest.raises(RunError, match="a teacher has seen the images of the folds"):
        train_folds(student, 2, tmp_path / "out", resume=False, run=RUN)


@pytest.mark.slow
def test_a_classifier_is_distilled_with_its_patient_data(
    class_recipe: TrainRecipe, by_table: Path, tmp_path: Path, quick_figures
) -> None:
    """The teacher has the classes in another order; mixed images have mixed predictions."""
    ordered = {"classes": ["melanoma", "other"]}
    train(on(class_recipe, by_table, epochs=1, classification=ordered), tmp_path / "teacher", resume=False, run=RUN)
    student = on(
        class_recipe,
        by_table,
        epochs=1,
        teacher={"bundle": str(tmp_path / "teacher/bundle")},
        classification={"mixup": 0.5},
    )
    train(student, tmp_path / "student", resume=False, run=RUN)
    stored = json.loads((tmp_path / "student" / TEACHER_FILE).read_text())
    assert stored["classes"] == ["other", "melanoma"]
    model = Classifier.load(read_bundle(tmp_path / "teacher/bundle"))
    table = {row["image_id"]: row for row in map(dict, iterate_rows(by_table / "dataset.csv"))}
    rows = [row for row in read_data(RunFolder(tmp_path / "student").data) if row.part == "train"]
    assert len(stored["probabilities"]) == len(rows)
    for row, found in list(zip(rows, stored["probabilities"], strict=True))[:5]:
        assert row.sample.mask is not None
        columns = {name: table[row.sample.image_id][name] for name in ("age", "sex")}
        lesion = LesionInput(read_photograph(row.sample.image).rgb, read_mask(row.sample.mask), columns)
        logits = model.logits([lesion])[0] / model.config.temperature + np.array(model.config.bias or 0)
        np.testing.assert_allclose(found, softmax(logits[::-1] / 2), atol=1e-3)
