"""Warning about test images that the starting model was trained on, in the Train dock and `train --check`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import write_json
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.data.training_images import FILE_NAME, hash_images, make_training_images, training_images_statement
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.installed_bundles import install_bundle
from napari_melanoma.runs.train import describe_start_overlap
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.ui.train.recipe_check import check_recipe_data

pytestmark = pytest.mark.usefixtures("user_folders")


def corrections(folder: Path) -> Path:
    for seed in range(14):
        coarse = np.random.default_rng(seed).integers(90, 256, (12, 12, 3), dtype=np.uint8)
        rgb = np.asarray(Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC))
        write_rgb(folder / f"images/c{seed}.png", rgb)
        write_mask(folder / f"masks/c{seed}.png", np.pad(np.ones((40, 40), bool), 28))
    write_table(folder / "dataset.csv", [{"image_id": f"c{seed}"} for seed in range(14)])
    return folder


@pytest.mark.parametrize("known", [True, False])
def test_test_images_that_the_initial_model_was_trained_on(
    tmp_path: Path, tiny_bundle: BundleInfo, known: bool
) -> None:
    data = corrections(tmp_path / "corrections")
    start = install_bundle(tiny_bundle)
    samples = read_dataset(data) if known else []
    make_training_images(hash_images(samples, RunContext())).write(start.path / FILE_NAME)
    values = {**start.config.model_dump(mode="json"), "provenance": training_images_statement(start.path / FILE_NAME)}
    write_json(start.path / "config.json", values)
    start = read_bundle(start.path)
    model = {"start": start.name, "options": start.config.options, "input_size": 64}
    recipe = TrainRecipe.parse({"data": {"datasets": [str(data)]}, "model": model}, "the test")
    parts = check_recipe_data(recipe, RunContext())
    assert parts.training + parts.validation + parts.test == 14
    assert parts.sets.startswith(f"{parts.training} training, {parts.validation} validation, {parts.test} test image")
    assert describe_start_overlap(recipe, RunContext()) == parts.warning
    count = parts.test
    if known:
        start_of_warning = f"{count} of {count} test images cannot be used to compare the models: 'tiny'"
        assert parts.warning.startswith(start_of_warning)
        assert "more photographs" in parts.warning
    else:
        assert parts.warning == ""
