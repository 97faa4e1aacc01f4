"""Photographs are preprocessed in the same way for training, validation, batches, docks and evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.prediction_config import PreprocessingConfig
from napari_melanoma.data.dataset import read_dataset
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.io.results import write_mask, write_rgb, write_table
from napari_melanoma.lesion.batch import BatchOptions, analyze_files
from napari_melanoma.lesion.segmentation import Segmenter
from napari_melanoma.lesion.uncertainty_ratings import rate_photograph
from napari_melanoma.models.bundle import BundleInfo, load_network, write_bundle
from napari_melanoma.models.inference import load_inference
from napari_melanoma.runs.starting_weights import find_parent
from napari_melanoma.training.data_checks import scan_files
from napari_melanoma.training.data_selection import decode_jobs
from napari_melanoma.training.pixel_store import ImageMaskPair, PixelStore, decode_missing
from napari_melanoma.training.recipe import TrainRecipe

PREPARED = PreprocessingConfig(remove_hair=True, color_constancy=True, working_size=128)


class Recording(Segmenter):
    """Record the inputs of the network."""

    def logits(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        self.given = list(inputs)
        return super().logits(inputs)


@pytest.fixture(scope="module")
def prepared_bundle(tiny_bundle: BundleInfo, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    """A model that was trained on preprocessed photographs."""
    config = tiny_bundle.config.model_copy(update={"name": "prepared", "preprocessing": PREPARED})
    return write_bundle(tmp_path_factory.mktemp("bundles") / "prepared", config, load_network(tiny_bundle), "# Card\n")


@pytest.fixture
def photograph(tmp_path: Path) -> Path:
    """A data set of one tinted photograph with a dark line across it."""
    rows, columns = np.mgrid[:120, :160]
    rgb = np.where(np.abs(rows - columns / 2 - 20)[..., None] < 1.5, (30, 25, 20), (210, 150, 110)).astype(np.uint8)
    rgb[::16, ::16] = (120, 180, 240)  # bright dots, which downsampling removes
    write_rgb(tmp_path / "data/images/one.png", rgb)
    write_mask(tmp_path / "data/masks/one.png", rows > 60)
    write_table(tmp_path / "data/dataset.csv", [{"image_id": "one"}])
    return tmp_path / "data/images/one.png"


def stored(folder: Path, data: Path, side: int, preprocessing: PreprocessingConfig) -> NDArray[np.uint8]:
    """Decode the photograph into a store and read it from there, as a training does."""
    run, (sample,) = RunContext(), read_dataset(data)
    with PixelStore.open_locked(folder, run, preprocessing) as store:
        contents = scan_files([sample.image, sample.mask], store.index, run).infos
        assert not decode_missing(store, decode_jobs(sample, contents, keep=True), side, run)
        return store.cache([ImageMaskPair(contents[sample.image].sha, contents[sample.mask].sha)], side).read([0])[0][0]


def test_patches_are_stored_with_normalized_stain(photograph: Path, tmp_path: Path) -> None:
    stain = PreprocessingConfig(stain="standardise", working_size=128)
    expected = prepare_network_input(read_photograph(photograph).rgb, 64, stain).transpose(2, 0, 1)
    assert np.array_equal(stored(tmp_path / "store", photograph.parents[1], 64, stain), expected)
    assert not np.array_equal(stored(tmp_path / "store", photograph.parents[1], 64, PreprocessingConfig()), expected)


def test_preprocessing_is_the_same_everywhere(prepared_bundle: BundleInfo, photograph: Path, tmp_path: Path) -> None:
    model = Recording(prepared_bundle, load_inference(prepared_bundle, "cpu"))
    rgb, side = read_photograph(photograph).rgb, prepared_bundle.config.input_size
    expected, plain = (
        prepare_network_input(rgb, side, PREPARED),
        prepare_network_input(rgb, side, PreprocessingConfig()),
    )
    assert np.abs(expected.astype(int) - plain).mean() > 10
    model.probability(rgb)
    given = {"the worker of the docks": model.given[0]}
    rate_photograph(model, photograph)
    given["a rating"] = model.given[0]
    analyze_files([photograph], tmp_path / "out", BatchOptions(), run=RunContext(), segmenter=model)
    given["a batch"] = model.given[0]
    given["a training"] = stored(tmp_path / "store", photograph.parents[1], side, PREPARED).transpose(1, 2, 0)
    for way, found in given.items():
        assert np.array_equal(found, expected), way


def test_preprocessed_images_are_separate_entries_of_the_store(photograph: Path, tmp_path: Path) -> None:
    lit = [PreprocessingConfig(color_constancy=True, grey_power=64, working_size=size) for size in (512, 128)]
    data, ways = photograph.parents[1], (PreprocessingConfig(), PREPARED, *lit)
    first = [stored(tmp_path / "store", data, 64, way) for way in ways]
    assert len({pixels.tobytes() for pixels in first}) == 4
    for way, pixels in zip(ways, first, strict=True):
        assert np.array_equal(
            pixels.transpose(1, 2, 0), prepare_network_input(read_photograph(photograph).rgb, 64, way)
        )
    again = [stored(tmp_path / "store", data, 64, way) for way in ways]
    assert [pixels.tobytes() for pixels in again] == [pixels.tobytes() for pixels in first]
    assert len(list((tmp_path / "store").rglob("*.npy"))) == 5  # the mask is the same for all


def test_start_model_with_preprocessing_requires_the_same_preprocessing(prepared_bundle: BundleInfo) -> None:
    config = prepared_bundle.config
    model = {"architecture": config.architecture, "options": config.options, "start": str(prepared_bundle.path)}
    recipe = TrainRecipe.parse({"data": {"datasets": ["x"]}, "model": model}, "the test")
    with pytest.raises(RunError, match=r"Set model.preprocessing = \{ remove_hair = true, .* working_size = 128 \}"):
        find_parent(recipe)
    requested = recipe.model.model_copy(update={"preprocessing": PREPARED})
    parent = find_parent(recipe.model_copy(update={"model": requested}))
    assert parent is not None
    assert parent.name == "prepared"


def test_an_older_bundle_has_the_same_input_as_before(tiny_bundle: BundleInfo) -> None:
    values = tiny_bundle.config.model_dump(exclude={"preprocessing"})
    config = type(tiny_bundle.config).parse(values, "an older bundle")
    assert replace(tiny_bundle, config=config).config.preprocessing == PreprocessingConfig()
