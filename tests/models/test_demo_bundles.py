"""The bundled demonstration slide models: description, size and predictions."""

from __future__ import annotations

import numpy as np
import pytest

from napari_melanoma.core.geometry import Box
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.phantoms.slide.config import SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.phantoms.slide.plan import plan_slide
from napari_melanoma.phantoms.slide.render import render_region, render_truth
from napari_melanoma.slides.tile_models import TileNoveltyDetector
from napari_melanoma.slides.tissue_segmenter import TissueSegmenter

MOST_BYTES = 2.5e6


@pytest.fixture(params=["tile-demo", "skin-demo"])
def demo(request: pytest.FixtureRequest) -> BundleInfo:
    return find_bundle(request.param)


def test_it_is_described(demo: BundleInfo) -> None:
    config = demo.config
    assert config.is_slide_model
    assert config.tile is not None
    assert config.tile.side_px == config.input_size
    assert "demonstration, trained on synthetic slides" in config.title
    assert "**A demonstration, trained on synthetic slides only. Not valid for real slides.**" in demo.card
    assert "phantom slides in unseen looks" in demo.card
    assert config.licence == "BSD-3-Clause"


def test_it_is_small(demo: BundleInfo) -> None:
    assert sum(path.stat().st_size for path in demo.path.iterdir()) < MOST_BYTES


@pytest.mark.slow
def test_tissues_of_an_unseen_appearance_are_segmented() -> None:
    info = find_bundle("skin-demo")
    plan = plan_slide(SlidePhantomConfig(seed=77, size=(1024, 1024), mpp=1.0, family="test"))
    labels = render_truth(plan, 4.0, Box(0, 0, 256, 256))  # 3 for both types of lesion
    rows, columns = np.nonzero(labels == 3)
    top, left = int(np.median(rows)) - 64, int(np.median(columns)) - 64
    box = Box(max(0, top), max(0, left), 128, 128)
    found = TissueSegmenter.load(info, "cpu").predict_labels(render_region(plan, 2, box))
    assert (found.clip(max=3) == labels[box.slices]).mean() > 0.75


@pytest.mark.slow
def test_melanoma_and_nevus_of_an_unseen_appearance_are_distinguished() -> None:
    lesions = SlideLesionOptions(malignant=1, benign=1, breslow_mm=0.9)
    plan = plan_slide(SlidePhantomConfig(seed=78, size=(1536, 3072), mpp=1.0, family="test", lesions=lesions))
    labeller = TissueSegmenter.load(find_bundle("skin-demo"), "cpu")
    (section,) = plan.sections
    for lesion, (own, other) in zip(section.lesions, ((4, 3), (3, 4)), strict=True):
        along, depth = np.concatenate(lesion.nests).mean(axis=0)
        x, y = section.frame.to_slide(np.array([along]), np.array([depth]))[0] / 4
        box = Box(max(0, round(y) - 64), max(0, round(x) - 64), 128, 128)
        counts = np.bincount(labeller.predict_labels(render_region(plan, 2, box)).ravel(), minlength=5)
        assert counts[own] > 500
        assert counts[other] < counts[own] / 20


@pytest.mark.slow
def test_noise_is_out_of_distribution(demo: BundleInfo) -> None:
    familiar = TileNoveltyDetector.from_bundle(demo, "cpu")
    assert familiar is not None
    noise = np.random.default_rng(0).integers(0, 256, (2, demo.config.input_size, demo.config.input_size, 3))
    assert familiar.is_out_of_distribution(noise.astype(np.uint8)).all()
