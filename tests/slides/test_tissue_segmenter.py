"""Classes of pixels and out-of-distribution tiles, with the models that the tests have trained on phantom slides."""

from __future__ import annotations

import numpy as np
import pytest
from slide_models import SKIN_TEST, TILE_TEST

from napari_melanoma.core.geometry import Box
from napari_melanoma.models.bundle import BundleInfo, read_bundle
from napari_melanoma.phantoms.slide.config import SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import render_region, render_truth
from napari_melanoma.slides.tile_models import TileNoveltyDetector
from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

MOST_BYTES = 4e5


@pytest.fixture(params=[TILE_TEST, SKIN_TEST], ids=lambda path: path.name)
def model(request: pytest.FixtureRequest) -> BundleInfo:
    return read_bundle(request.param)


def test_models_of_the_tests_are_small_demonstrations(model: BundleInfo) -> None:
    config = model.config
    assert config.is_slide_model
    assert config.is_demonstration
    assert config.tile is not None
    assert config.tile.side_px == config.input_size
    assert sum(path.stat().st_size for path in model.path.rglob("*") if path.is_file()) < MOST_BYTES


@pytest.mark.slow
def test_tissues_are_segmented() -> None:
    plan = plan_slide(SlidePhantomConfig(seed=77, size=(1024, 1024), mpp=1.0))
    labels = render_truth(plan, 4.0, Box(0, 0, 256, 256))  # 3 for both types of lesion
    rows, columns = np.nonzero(labels == 3)
    top, left = int(np.median(rows)) - 64, int(np.median(columns)) - 64
    box = Box(max(0, top), max(0, left), 128, 128)
    found = TissueSegmenter.load(read_bundle(SKIN_TEST), "cpu").predict_labels(render_region(plan, 2, box))
    assert (found.clip(max=3) == labels[box.slices]).mean() > 0.75


@pytest.mark.slow
def test_melanoma_and_nevus_are_distinguished() -> None:
    lesions = SlideLesionOptions(malignant=1, benign=1, breslow_mm=0.9)
    plan = plan_slide(SlidePhantomConfig(seed=78, size=(1536, 3072), mpp=1.0, lesions=lesions))
    labeler = TissueSegmenter.load(read_bundle(SKIN_TEST), "cpu")
    (section,) = plan.sections
    for lesion, (own, other) in zip(section.lesions, ((4, 3), (3, 4)), strict=True):
        along, depth = np.concatenate(lesion.nests).mean(axis=0)
        x, y = section.frame.to_slide(np.array([along]), np.array([depth]))[0] / 4
        box = Box(max(0, round(y) - 64), max(0, round(x) - 64), 128, 128)
        counts = np.bincount(labeler.predict_labels(render_region(plan, 2, box)).ravel(), minlength=5)
        assert counts[own] > 300
        assert counts[other] < counts[own] / 3


@pytest.mark.slow
def test_noise_is_out_of_distribution(model: BundleInfo) -> None:
    detector = TileNoveltyDetector.from_bundle(model, "cpu")
    assert detector is not None
    noise = np.random.default_rng(0).integers(0, 256, (2, model.config.input_size, model.config.input_size, 3))
    assert detector.is_out_of_distribution(noise.astype(np.uint8)).all()
