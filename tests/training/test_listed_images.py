"""A run lists its training and validation images and those of its initial model, and is evaluated on none of them."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.training_images import read_training_images
from napari_melanoma.evaluation.comparison_results import read_comparison
from napari_melanoma.evaluation.masks import EvaluationOptions, evaluate_masks
from napari_melanoma.io.results import write_table
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.models.installed_bundles import install_bundle
from napari_melanoma.runs.acceptance import compare_run
from napari_melanoma.runs.train import train
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("user_folders")]
Change = Callable[..., TrainRecipe]
RUN = RunContext()


def copies(source: Path, target: Path, names: list[str]) -> Path:
    """The same pictures as a clinic may have them: re-encoded, under other names, without patients."""
    for folder in ("images", "masks"):
        (target / folder).mkdir(parents=True)
    for name in names:
        with Image.open(source / f"images/{name}.png") as image:
            image.save(target / f"images/photo-{name}.jpg", quality=95)
        shutil.copyfile(source / f"masks/{name}.png", target / f"masks/photo-{name}.png")
    write_table(target / "dataset.csv", [{"image_id": f"photo-{name}"} for name in names])
    return target


@pytest.fixture(scope="module")
def trained_once(recipe: TrainRecipe, tmp_path_factory: pytest.TempPathFactory, change: Change) -> Path:
    """A run with sixteen training, four validation and four test images."""
    folder = tmp_path_factory.mktemp("trained") / "run"
    train(change(recipe, epochs=1, samples=0), folder, resume=False, run=RUN, evaluate=False)
    return folder


@pytest.fixture
def trained(trained_once: Path, user_folders: Path) -> BundleInfo:
    """The model of that run, in the folder of the user."""
    return install_bundle(read_bundle(trained_once / "bundle"))


def test_a_run_is_not_evaluated_on_its_training_images_or_those_of_its_start(
    trained: BundleInfo,
    trained_once: Path,
    recipe: TrainRecipe,
    blobs: Path,
    tmp_path: Path,
    change: Change,
    draw: Callable[..., Path],
) -> None:
    listed = read_training_images(trained)
    assert listed is not None
    assert listed.counts == {"images": 20, "patients": 10}
    rows = read_data(RunFolder(trained_once).data)
    names = [row.sample.image_id for row in rows if row.part in ("train", "validation")]
    model, options = Segmenter.load(trained), EvaluationOptions(difficulty=False)
    with pytest.raises(DataSetError, match="All 20 images are left out"):
        train_split = options.model_copy(update={"split": "train"})
        evaluate_masks(model, [blobs], tmp_path / "evaluation", train_split, run=RUN)
    clinic = copies(blobs, tmp_path / "clinic", names[:3])
    with pytest.raises(DataSetError, match="All 3 images are left out"):
        evaluate_masks(model, [clinic], tmp_path / "evaluation", options, run=RUN)
    found = evaluate_masks(model, [blobs], tmp_path / "evaluation", options, run=RUN)
    assert found.parts["all"]["DI"].count == 4
    assert "Only 4 images of 2 patients or lesions can be used: at least 5 images and 5 patients" in " ".join(
        found.warnings
    )

    second = draw(tmp_path / "second", count=12, seed=7)
    child = train(_from(trained, recipe, [second], change), tmp_path / "child", resume=False, run=RUN, evaluate=False)
    assert child is not None
    inherited = read_training_images(child)
    assert inherited is not None
    assert inherited.counts == {"images": 28, "patients": 14}
    with pytest.raises(DataSetError, match=f"because '{child.name}' was trained"):
        evaluate_masks(Segmenter.load(child), [clinic], tmp_path / "evaluation", options, run=RUN)


def test_corrections_of_training_images_of_the_start_are_not_evaluated(
    trained: BundleInfo, recipe: TrainRecipe, blobs: Path, tmp_path: Path, change: Change
) -> None:
    names = [f"b{n:02}" for n in range(20)]
    corrections = copies(blobs, tmp_path / "corrections", names)
    data = {"split": "train", "test_fraction": 0.25}
    run = tmp_path / "again"
    train(_from(trained, recipe, [corrections], change, data), run, resume=False, run=RUN)
    found = read_comparison(run)
    assert (found.images, found.advice, found.decisive) == (0, "inconclusive", None)
    assert found.reason.startswith("Not compared: the models were trained on all test images")
    assert "Correct about 20 more photographs" in found.reason
    overlap = found.facts["training_overlap"]
    assert (overlap["evaluated"], overlap["verdict"]) == (0, False)
    assert len(overlap["left_out"]) == overlap["images"] > 0
    notices = [e["message"] for e in RunFolder(run).read_events() if e["kind"] == "notice"]
    listed = f"validation images are among the training and validation images of '{trained.name}'"
    assert any(listed in message for message in notices)
    assert compare_run(run, run=RUN).images == 0


def _from(
    start: BundleInfo, recipe: TrainRecipe, data: list[Path], change: Change, more: dict[str, object] | None = None
) -> TrainRecipe:
    folders = {"datasets": [str(folder) for folder in data], **(more or {})}
    return change(recipe, epochs=1, samples=0, data=folders, model={"start": start.name})
