"""Tissue classifiers of fluorescence slides: from strokes on a phantom to a bundle, its map, and its errors."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from painted_phantoms import CHANNELS, CLASSES, PURE, Phantom, draw_fluorescence, draw_phantom

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.models.bundle import CARD, CONFIG, BundleInfo, read_bundle
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.composite import CompositeSlide
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions, fit_tissue_classifier
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.strokes import read_stroke_file, write_strokes

pytestmark = pytest.mark.slow  # renders slides and computes their features: 10 s
OPTIONS = TissueFitOptions(sources=("texture",), channels=",".join(CHANNELS))


@pytest.fixture(scope="module")
def brightfield(tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return draw_phantom(tmp_path_factory.mktemp("phantom") / "skin.tif")


@pytest.fixture(scope="module")
def phantom(brightfield: Phantom, tmp_path_factory: pytest.TempPathFactory) -> Phantom:
    return draw_fluorescence(brightfield, tmp_path_factory.mktemp("fluorescence") / "skin.ome.tif")


@pytest.fixture(scope="module")
def bundle(phantom: Phantom, tmp_path_factory: pytest.TempPathFactory) -> BundleInfo:
    classifier = fit_tissue_classifier([phantom.painted()], OPTIONS)
    return write_tissue_bundle(tmp_path_factory.mktemp("bundle") / "channels", classifier)


def test_bundle_states_the_channels_and_limits(bundle: BundleInfo) -> None:
    stored = json.loads((bundle.path / CONFIG).read_text())["tissue"]["channels"]["channels"]
    assert [one["name"] for one in stored] == list(CHANNELS)
    assert all(100 < one["low"] < 300 < one["high"] for one in stored)  # the offset of the phantom is 200
    tissue = read_bundle(bundle.path).config.tissue
    assert tissue is not None
    assert tissue.channels is not None
    card = (bundle.path / CARD).read_text()
    assert "DAPI red, Collagen green, Melanin blue" in card
    assert tissue.channels.label in card


def test_colors_of_other_channels_are_not_mixed(bundle: BundleInfo, brightfield: Phantom, phantom: Phantom) -> None:
    with pytest.raises(InputError, match=r"have the colors of DAPI.* read as brightfield"):
        fit_tissue_classifier([brightfield.painted()], TissueFitOptions(start_from=str(bundle.path)))
    with pytest.raises(InputError, match=r"have the colors of brightfield, .* read as DAPI"):
        fit_tissue_classifier(
            [phantom.painted()], TissueFitOptions(start_from="skin-tissue", channels=",".join(CHANNELS))
        )


def test_map_of_the_whole_slide(bundle: BundleInfo, phantom: Phantom, tmp_path: Path) -> None:
    outcome = analyze_slide(phantom.path, tmp_path / "out", SlideOptions(model=str(bundle.path)), RunContext())
    assert set(outcome.content["areas"]) <= set(CLASSES)
    probability = SlideResult.open(tmp_path / "out").array("map")[:]  # (class, cell row, cell column)
    truth = phantom.truth
    assert probability.shape[1:] == truth.shape[:2]
    known = probability.any(axis=0) & (truth.max(axis=2) >= PURE)
    predicted, labels = probability.argmax(axis=0), truth.argmax(axis=2)
    recall = [(predicted[known & (labels == label)] == label).mean() for label in (1, 2, 3)]
    assert np.mean(recall) > 0.9


def test_features_of_other_limits_are_stored_separately(phantom: Phantom, tmp_path: Path) -> None:
    stores = set()
    for text in ("DAPI=200:3000", "DAPI=200:2000", "Melanin=200:2000"):
        with (
            CompositeSlide(open_slide(phantom.path), ChannelChoice.from_text(text)) as slide,
            SlideFeatures.open(slide, TextureFeatures(), tmp_path),
        ):
            stores = {path.name for path in (tmp_path / "features").glob("*.zarr")}
    assert len(stores) == 3


def test_slides_that_the_classifier_cannot_read(
    bundle: BundleInfo, phantom: Phantom, brightfield: Phantom, tmp_path: Path
) -> None:
    options = SlideOptions(model=str(bundle.path))
    with pytest.raises(InputError, match="is a brightfield slide"):
        analyze_slide(brightfield.path, tmp_path / "a", options, RunContext())
    with pytest.raises(InputError, match=r"skin\.ome\.tif shows fluorescence .*DAPI, Collagen, Melanin"):
        fit_tissue_classifier([phantom.painted()], TissueFitOptions(sources=("texture",)))
    with pytest.raises(InputError, match=r"skin\.tif has no channel DAPI"):
        fit_tissue_classifier([phantom.painted(), brightfield.painted()], OPTIONS)
    with pytest.raises(ConfigError, match="no stain to normalize"):
        stain = SlideOptions(model=str(bundle.path), stain={"method": "reinhard"})
        analyze_slide(phantom.path, tmp_path / "b", stain, RunContext())


def test_channels_of_a_painted_slide_are_stored_with_its_strokes(phantom: Phantom, tmp_path: Path) -> None:
    choice = ChannelChoice.from_text("DAPI=200:3000,Collagen=100:900,Melanin=1.5:9")
    write_strokes(tmp_path / "strokes.geojson", phantom.strokes(1), channels=choice)
    assert read_stroke_file(tmp_path / "strokes.geojson").channels == choice
