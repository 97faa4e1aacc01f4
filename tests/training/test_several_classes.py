"""Segmentation of several classes: valid recipes and label images, and training on a phantom."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, DataSetError, RunError
from napari_melanoma.evaluation.comparison_results import read_comparison
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import read_labels, write_labels, write_rgb, write_table
from napari_melanoma.models.bundle import BundleInfo, load_network, read_bundle
from napari_melanoma.runs.acceptance import activate_model, compare_run
from napari_melanoma.runs.train import train
from napari_melanoma.slides.tile_models import TileNoveltyDetector
from napari_melanoma.slides.tissue_segmenter import TissueSegmenter
from napari_melanoma.training.data_preparation import check_data
from napari_melanoma.training.recipe import TrainRecipe

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]

Stop = Callable[..., None]
CLASSES = ("glass", "stroma", "nest")
COLOURS = np.array([[235, 232, 236], [205, 130, 165], [120, 60, 130]])
SIDE, COUNT = 48, 24


def draw_tiles(folder: Path, count: int = COUNT, seed: int = 0) -> Path:
    """Write tiles with glass above and stroma below, which contains a nest."""
    rng = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    table = []
    for index in range(count):
        labels = (rows > rng.uniform(6, 18) + 3 * np.sin(columns / rng.uniform(3, 9))).astype(np.uint8)
        centre = rng.uniform((26, 12), (38, 36))
        labels[np.hypot(rows - centre[0], columns - centre[1]) < rng.uniform(6, 11)] = 2
        rgb = COLOURS[labels] + rng.normal(0, 14, (SIDE, SIDE, 3)) + rng.normal(0, 10, 3)
        write_rgb(folder / f"images/t{index:02}.png", rgb.clip(0, 255).astype(np.uint8))
        write_labels(folder / f"masks/t{index:02}.png", labels)
        split = "train" if index < count - 4 else "test"
        table.append({"image_id": f"t{index:02}", "patient_id": f"s{index // 2}", "split": split})
    write_table(folder / "dataset.csv", table)
    return folder


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return draw_tiles(tmp_path_factory.mktemp("slides") / "tiles")


def values_of(data: Path, **more: Any) -> dict[str, Any]:
    return {
        "name": "tissues",
        "classes": list(CLASSES),
        "epochs": 3,
        "batch_size": 4,
        "learning_rate": 0.02,
        "device": "cpu",
        "precision": "fp32",
        "samples": 2,
        "tile": {"mpp": 1.0, "side_px": SIDE},
        "data": {"datasets": [str(data)], "validation_fraction": 0.2, "cache_size": SIDE},
        "model": {
            "options": {"encoder": "test_efficientnet", "decoder_channels": 16},
            "start": "none",
            "input_size": 32,
        },
        **more,
    }


def recipe_of(data: Path, **more: Any) -> TrainRecipe:
    return TrainRecipe.parse(values_of(data, **more), "the test")


class Refused(NamedTuple):
    """Contradictory values of a recipe, and the message."""

    name: str
    values: dict[str, Any]
    fault: str


REFUSED = [
    Refused("one class", {"classes": ["tumour"]}, "expected two or more, each once"),
    Refused("a class twice", {"classes": ["a", "b", "a"]}, "expected two or more, each once"),
    Refused("another number of maps", {"model": {"options": {"classes": 2}}}, "remove it from the options"),
    Refused(
        "maps without names", {"classes": [], "model": {"options": {"classes": 3}}}, "list the values of the label"
    ),
    Refused("a loss of one lesion", {"loss": "bce_dice"}, "for several classes use ce, ce_dice"),
    Refused("a weight of lesions", {"lesion_weight": 2.0}, "remove it or set 'auto'"),
    Refused("of a classifier", {"task": "classification", "model": {}}, "classification.classes"),
]


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_a_contradictory_recipe_is_refused(case: Refused, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=case.fault):
        recipe_of(tmp_path, **case.values)


def test_classes_determine_other_values_of_a_recipe(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path)
    assert (recipe.loss, recipe.model.options["classes"], recipe.mask_kind) == ("ce_dice", 3, "labels")
    assert TrainRecipe.parse(recipe.model_dump(mode="json"), "again") == recipe


def spoilt(tiles: Path, folder: Path, change: Callable[[np.ndarray], np.ndarray], only: int | None = None) -> Path:
    """Copy a data set with other label images."""
    import shutil

    shutil.copytree(tiles, folder)
    for index in range(COUNT) if only is None else [only]:
        path = folder / f"masks/t{index:02}.png"
        write_labels(path, change(read_labels(path)))
    return folder


class Fault(NamedTuple):
    """A change of the label images, and the message."""

    name: str
    change: Callable[[np.ndarray], np.ndarray]
    only: int | None
    fault: str


FAULTS = [
    Fault(
        "an unknown value", lambda labels: np.where(labels == 2, 7, labels), 3, r"0 glass, 1 stroma, 2 nest.*t03.*\(7\)"
    ),
    Fault("in a held-out image too", lambda labels: labels + 2, 23, r"found others in 1 of them.*t23"),
    Fault("masks of one lesion", lambda labels: (labels > 0) * 255, None, "255 marks the lesion in masks of one class"),
    Fault(
        "one class only",
        lambda labels: labels * 0 + 1,
        None,
        r"no pixel is of 0 \(glass\), 2 \(nest\); found only stroma",
    ),
    Fault("a class is missing", lambda labels: np.minimum(labels, 1), None, r"no pixel is of 2 \(nest\)"),
    Fault("another size", lambda labels: labels[:-1], 5, "expected masks of the same size as their image"),
]


@pytest.mark.parametrize("case", FAULTS, ids=lambda case: case.name)
def test_unusable_label_images_are_refused(case: Fault, tiles: Path, tmp_path: Path) -> None:
    data = spoilt(tiles, tmp_path / "spoilt", lambda labels: case.change(labels).astype(np.uint8), case.only)
    with pytest.raises(DataSetError, match=case.fault):
        check_data(recipe_of(data), RunContext())


def test_colors_are_no_labels(tiles: Path, tmp_path: Path) -> None:
    data = spoilt(tiles, tmp_path / "spoilt", lambda labels: labels, 0)
    Image.fromarray(COLOURS.astype(np.uint8)[read_labels(data / "masks/t00.png")]).save(data / "masks/t00.png")
    with pytest.raises(DataSetError, match="found colors"):
        check_data(recipe_of(data), RunContext())


def test_augmentation_keeps_labels_whole() -> None:
    """The result contains only classes, at their position; two classes give the same as a mask, except for ties."""
    import torch

    from napari_melanoma.training.augmentation import BatchAugmentation
    from napari_melanoma.training.augmentation_config import AugmentationConfig

    keys = np.stack([np.zeros(6, np.int64), np.arange(6)], axis=1)
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (6, 1, 6, 6)).astype(np.uint8))
    labels = labels.repeat_interleave(8, 2).repeat_interleave(8, 3)
    images = (labels * 100).expand(-1, 3, -1, -1).contiguous()
    still = AugmentationConfig(
        scale=(1, 1), aspect=1, shift=0, rotation=0, flip=False, elsewhere_probability=0, brightness=0, contrast=0
    )
    _, same = BatchAugmentation(still, 48, 0, classes=3)(images, labels, keys)
    assert torch.equal(same, labels)
    _, moved = BatchAugmentation(AugmentationConfig(), 32, 0, classes=3)(images, labels, keys)
    assert set(moved.unique().tolist()) == {0, 1, 2}
    two = (labels > 0).to(torch.uint8)
    _, by_mask = BatchAugmentation(AugmentationConfig(), 32, 0)(images, two * 255, keys)
    _, by_label = BatchAugmentation(AugmentationConfig(), 32, 0, classes=2)(images, two, keys)
    assert (by_mask // 255 != by_label).float().mean() < 0.001


def test_weights_of_classes() -> None:
    from napari_melanoma.training.tasks.segmentation import MAX_WEIGHT, label_weights

    shares = (0.9, 0.0999, 0.0001)
    weights = label_weights(shares)
    assert float(sum(weight * share for weight, share in zip(weights, shares, strict=True))) == pytest.approx(1)
    assert float(weights[1] / weights[0]) == pytest.approx(0.9 / 0.0999)
    assert float(weights[2] / weights[0]) == pytest.approx(MAX_WEIGHT)


@pytest.fixture(scope="module")
def trained(tiles: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[TrainRecipe, Path]:
    recipe = recipe_of(
        tiles, epochs=6, augmentation={"mosaic_probability": 0.3, "cutmix_probability": 0.3}, lesion_weight="auto"
    )
    out = tmp_path_factory.mktemp("runs") / "whole"
    train(recipe, out, resume=False, run=RunContext())
    return recipe, out


def bundle_of(trained: tuple[TrainRecipe, Path]) -> BundleInfo:
    return read_bundle(trained[1] / "bundle")


def test_tissue_model_learns_phantom_tiles(trained: tuple[TrainRecipe, Path], tiles: Path) -> None:
    info = bundle_of(trained)
    assert (info.config.classes, info.config.modalities, info.config.tile) == (CLASSES, ("slide",), trained[0].tile)
    assert info.config.provenance["validation_dice"] > 0.8
    assert set(info.config.provenance["validation_dice_of_classes"]) == set(CLASSES)
    model = TissueSegmenter.load(info, "cpu")
    rgb, truth = read_photograph(tiles / "images/t23.png").rgb, read_labels(tiles / "masks/t23.png")
    probability = model.probabilities(rgb)
    assert probability.shape == (3, SIDE, SIDE)
    assert np.allclose(probability.sum(0), 1, atol=1e-5)
    assert (model.predict_labels(rgb) == truth).mean() > 0.85


def test_the_files_of_a_run_of_several_classes(trained: tuple[TrainRecipe, Path]) -> None:
    folder = trained[1]
    assert len(list((folder / "samples" / "epoch-0006").glob("*.png"))) == 2
    assert (folder / "evaluation" / "summary.html").is_file()
    assert not (folder / "comparison").exists()
    card = bundle_of(trained).card
    assert "Classes of pixels: glass, stroma, nest" in card
    assert "For whole-slide images" in card
    with pytest.raises(RunError, match="did not start from a model of its classes"):
        compare_run(folder, run=RunContext())


def test_a_continued_model_is_compared_with_the_old_one(
    trained: tuple[TrainRecipe, Path], tiles: Path, tmp_path: Path
) -> None:
    model = {**trained[0].model.model_dump(mode="json"), "start": str(trained[1] / "bundle")}
    recipe = recipe_of(tiles, epochs=1, model=model)
    train(recipe, tmp_path / "on", resume=False, run=RunContext())
    found = read_comparison(tmp_path / "on" / "comparison")
    assert {f"{index} {name}" for index in ("JA", "DI") for name in CLASSES} <= set(found.difference)
    assert found.facts["lesion_class"] == "nest"
    assert found.old.metrics["JA"].mean > 0.5
    assert found.new.metrics["JA"].mean == pytest.approx(found.old.metrics["JA"].mean + found.difference["JA"].mean)
    assert not (tmp_path / "on" / "evaluation").exists()
    assert "Lesion class 'nest'" in found.reason or found.advice == "inconclusive"
    activate_model(tmp_path / "on", "nests")
    assert "Comparison with its start model" in read_bundle(tmp_path / "on" / "bundle").card


def test_out_of_distribution_input_is_reported(trained: tuple[TrainRecipe, Path], tiles: Path) -> None:
    familiar = TileNoveltyDetector.from_bundle(bundle_of(trained), "cpu")
    assert familiar is not None
    known = [read_photograph(path).rgb for path in sorted((tiles / "images").iterdir())]
    green = [np.full((SIDE, SIDE, 3), (10, 200, 40), np.uint8)] * 3
    assert familiar.is_out_of_distribution(known).mean() < 0.2
    assert familiar.is_out_of_distribution(green).all()
    assert familiar.distances([]).shape == (0,)


def test_a_resumed_run_equals_an_uninterrupted_one(
    trained: tuple[TrainRecipe, Path], tmp_path: Path, stop: Stop
) -> None:
    import torch

    recipe, whole = trained
    stop(recipe, tmp_path / "parts", "Epoch 3 of 6, ")
    train(recipe, tmp_path / "parts", resume=True, run=RunContext())
    networks = [load_network(read_bundle(out / "bundle")).state_dict() for out in (whole, tmp_path / "parts")]
    for name, value in networks[0].items():
        assert torch.equal(value, networks[1][name]), name


def test_only_the_encoder_of_a_model_of_other_classes_is_used(trained: tuple[TrainRecipe, Path], tiles: Path) -> None:
    info = bundle_of(trained)
    same, other = recipe_of(tiles), recipe_of(tiles, classes=["a", "b", "c"])
    assert same.continues_from(info.config)
    assert not other.continues_from(info.config)
    lesion = TrainRecipe.parse({"data": {"datasets": [str(tiles)]}}, "one lesion")
    assert not lesion.continues_from(info.config)


@pytest.mark.parametrize("of_slides", [True, False])
def test_the_check_states_what_a_model_of_photographs_cannot_do(tiles: Path, of_slides: bool) -> None:
    recipe = recipe_of(tiles, **({} if of_slides else {"tile": None}))
    warnings = check_data(recipe, RunContext()).warnings
    assert any("but lesion, the Lesion dock" in warning for warning in warnings) is not of_slides
