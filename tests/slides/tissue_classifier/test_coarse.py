"""A coarse map predicts the classes of the full one, from a few known blocks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pytest
from painted_phantoms import draw_phantom

from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import DamagedTile
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS
from napari_melanoma.slides.tissue_classifier.classifier import compute_painted, join_painted
from napari_melanoma.slides.tissue_classifier.coarse import CoarseClassifier, CoarseFeatures
from napari_melanoma.slides.tissue_classifier.feature_sources import TextureFeatures
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import CellClassifier, fit_classifier

BLOCKS = np.argwhere(np.ones((3, 3))).astype(np.int32)
KNOWN, OTHERS = BLOCKS[::2], BLOCKS[1::2]
CENTER = 24.0, 24.0


class Painted(NamedTuple):
    """The features of every second block of a phantom and of all, and a classifier of them."""

    known: SlideFeatures
    whole: SlideFeatures
    classifier: CellClassifier


@pytest.fixture(scope="module")
def painted(tmp_path_factory: pytest.TempPathFactory) -> Painted:
    folder = tmp_path_factory.mktemp("coarse")
    phantom = draw_phantom(folder / "skin.tif")
    slide, source = open_slide(phantom.path), TextureFeatures()
    known, whole = (SlideFeatures.open(slide, source, folder / name) for name in ("known", "whole"))
    cells, _ = join_painted([compute_painted(phantom.strokes(5), whole, NULL_CONTEXT)], ())
    known.compute(KNOWN, NULL_CONTEXT)
    whole.compute(OTHERS, NULL_CONTEXT)
    return Painted(known, whole, fit_classifier(cells, "logistic"))


def predict(features: SlideFeatures, classifier: CellClassifier) -> dict[tuple[int, int], np.ndarray]:
    coarse = CoarseFeatures(features.slide, features.grid)
    fitted = CoarseClassifier.fit(coarse, features, classifier, CENTER, NULL_CONTEXT)
    assert fitted is not None
    return {tuple(block.tolist()): values for block, values in fitted.predict(OTHERS, NULL_CONTEXT)}


@pytest.mark.slow
def test_a_coarse_map_resembles_the_full_one(painted: Painted) -> None:
    found = predict(painted.known, painted.classifier)
    assert set(found) == {tuple(block) for block in OTHERS.tolist()}
    same, largest = [], []
    for block, probability in found.items():
        values = painted.whole.read_block(block)
        assert values is not None
        expected = painted.classifier.predict(values.reshape(-1, values.shape[-1])).argmax(axis=1)
        np.testing.assert_allclose(probability.sum(axis=-1), 1, atol=1e-5)
        same.append((probability.argmax(axis=-1).ravel() == expected).mean())
        largest.append(np.bincount(expected).max() / len(expected))
    assert np.mean(same) > 0.85
    assert np.mean(same) > np.mean(largest)
    assert not painted.known.known(OTHERS * BLOCK_CELLS).any()  # nothing is stored


@pytest.mark.slow
def test_coarse_features_do_not_depend_on_the_blocks_that_are_read_with_them(painted: Painted) -> None:
    slide, grid = painted.whole.slide, painted.whole.grid
    together = CoarseFeatures(slide, grid)
    for block, values in together.read(BLOCKS, NULL_CONTEXT):
        ((_, expected),) = CoarseFeatures(slide, grid).read(block[None], NULL_CONTEXT)
        # The Gaussian and the gradient continue the image beyond its border, where only contexts extend to.
        middle = slice(3, -3), slice(3, -3)
        np.testing.assert_allclose(values[middle], expected[middle], rtol=0.02, atol=0.02)
        ((_, again),) = together.read(block[None], NULL_CONTEXT)
        assert again is values


@pytest.mark.slow
def test_one_class_makes_no_coarse_map_and_damaged_parts_are_left_out(
    painted: Painted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known, classifier = painted.known, painted.classifier
    coarse, nothing = CoarseFeatures(known.slide, known.grid), SlideFeatures.open(known.slide, known.source, tmp_path)
    assert CoarseClassifier.fit(coarse, nothing, classifier, CENTER, NULL_CONTEXT) is None
    one_class: Any = SimpleNamespace(classes=("fat", "dermis"), predict=lambda values: np.eye(2)[[0] * len(values)])
    assert CoarseClassifier.fit(coarse, known, one_class, CENTER, NULL_CONTEXT) is None

    fitted = CoarseClassifier.fit(coarse, known, classifier, CENTER, NULL_CONTEXT)
    assert fitted is not None

    def fail(level: int, box: Box) -> None:
        raise DamagedTile("damaged", level, box)

    monkeypatch.setattr(known.slide, "read_region", fail)
    damaged = replace(fitted, features=CoarseFeatures(known.slide, known.grid))
    assert not list(damaged.predict(OTHERS, NULL_CONTEXT))
