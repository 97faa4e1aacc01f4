"""Accuracy on two real skin slides, from strokes and against outlines that were drawn by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.classifier import (
    PaintedSlideFile,
    TissueFitOptions,
    fit_tissue_classifier,
)
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.strokes import cells_of_stroke, read_strokes

DRAWN = Path(__file__).parent / "real_skin"
FILES = {"morphea": "morphea_section1_20x.tif", "molluscum": "molluscum_half.tif"}
PIXEL_SIZE = {"morphea": None, "molluscum": PixelSize(0.5266, 0.5266)}  # not stated in the file, see the benchmark
SHARED = {"epidermis", "dermis", "glass"}  # painted on both slides
JUDGED_CELLS = 150  # of each outline, the first in reading order, which share blocks
SAME_SLIDE, OTHER_SLIDE = 0.9, 0.6  # lowest balanced accuracy; see docs/explanation/measurements.md


def strokes(name):
    return read_strokes(DRAWN / f"{name}_strokes.geojson")


def balanced_accuracy(model, name, folder, classes):
    """Predict cells within the outlines that were not painted; return the mean recall of the classes."""
    slide_path, source = folder / FILES[name], open_feature_source(model.source)
    hits = {label: [] for label in classes}
    with open_slide(slide_path, PIXEL_SIZE[name]) as slide, SlideFeatures.open(slide, source) as features:
        painted = {tuple(cell) for one in strokes(name) for cell in cells_of_stroke(one, features.grid).tolist()}
        for outline in read_strokes(DRAWN / f"{name}_reference.geojson"):
            if outline.class_name in hits:
                inside = cells_of_stroke(outline, features.grid).tolist()
                cells = [cell for cell in inside if tuple(cell) not in painted][:JUDGED_CELLS]
                features.compute(features.grid.blocks_of(cells), RunContext())
                predicted = model.predict(features.read(cells)).argmax(axis=1)
                hits[outline.class_name] += [model.classes[label] == outline.class_name for label in predicted]
    return float(np.mean([np.mean(of_class) for of_class in hits.values()]))


@pytest.mark.slow
@pytest.mark.parametrize("painted", list(FILES))
def test_ten_strokes_a_class_classify_skin(shared_data, painted):
    folder = shared_data / "slides"
    (other,) = set(FILES) - {painted}
    slide = PaintedSlideFile(folder / FILES[painted], strokes(painted), pixel_size=PIXEL_SIZE[painted])
    model = fit_tissue_classifier([slide], TissueFitOptions(sources=("imagenet",)))
    assert balanced_accuracy(model, painted, folder, set(model.classes)) > SAME_SLIDE
    assert balanced_accuracy(model, other, folder, SHARED) > OTHER_SLIDE
