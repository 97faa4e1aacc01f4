"""Compare fluorescence channels read as colors on black with the same inverted to a bright background.

    python benchmarks/channel_colors.py DATA

DATA contains ``slides/small_vectra.qptiff`` and ``slides/LuCa-7color_reduced.zarr``. The truth of a cell is a channel
that the features do not see: whether its mean is among the highest 30 %. Rows are AUCs by logistic regression, in four
vertical strips of the slide, each predicted from the others; strips with one class only are left out.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.composite import CompositeSlide, complete_limits
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.tissue_classifier.cells import CELL_UM, CellGrid, list_cells
from napari_melanoma.slides.tissue_classifier.feature_sources import SHIPPED_SOURCES, open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures

STRIPS, TOP_SHARE = 4, 0.3


@dataclass(frozen=True)
class Case:
    """The channels that are read, and the one to predict."""

    slide: str
    channels: tuple[str, ...]
    target: str


CASES = (
    Case("small_vectra.qptiff", ("DAPI",), "Cy3"),
    Case("small_vectra.qptiff", ("DAPI", "FITC"), "Cy3"),
    Case("LuCa-7color_reduced.zarr/image0", ("DAPI", "CD8", "Autofluorescence"), "CK"),
    Case("LuCa-7color_reduced.zarr/image0", ("DAPI", "CK", "Autofluorescence"), "PDL1"),
)


class InvertedSlide(CompositeSlide):
    """The channels on a bright background."""

    def _to_rgb(self, pixels: NDArray) -> NDArray[np.uint8]:
        return 255 - super()._to_rgb(pixels)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    folder = parser.parse_args().data / "slides"
    print("| slide, channels -> truth | features | on black | inverted |\n|---|---|---|---|")
    for case in CASES:
        with open_slide(folder / case.slide) as slide:
            choice = complete_limits(ChannelChoice.of_names(case.channels), [slide])
            for name in SHIPPED_SOURCES:
                labels = bright_cells(slide, case.target)
                aucs = [measure(kind(slide, choice), name, labels) for kind in (CompositeSlide, InvertedSlide)]
                text = " | ".join(f"{auc:.3f}" for auc in aucs)
                print(f"| {case.slide}, {', '.join(case.channels)} -> {case.target} | {name} | {text} |", flush=True)


def bright_cells(slide: Slide, channel: str) -> NDArray[np.bool_]:
    """Return in which cells a channel is bright, bool (row, column)."""
    index = ChannelChoice.of_names([channel]).find(slide.info.channels, slide.info.name)[0]
    level, size = slide.info.levels[0], slide.info.pixel_size
    assert size is not None
    grid = CellGrid.plan(CompositeSlide(slide, complete_limits(ChannelChoice.of_names([channel]), [slide])).info, 1.0)
    values = slide.read_region(0, Box(0, 0, level.height, level.width))[..., index].astype(float)
    rows = np.minimum(np.arange(level.height) * size.y_um // CELL_UM, grid.shape[0] - 1).astype(int)
    columns = np.minimum(np.arange(level.width) * size.x_um // CELL_UM, grid.shape[1] - 1).astype(int)
    sums, counts = np.zeros(grid.shape), np.zeros(grid.shape)
    np.add.at(sums, (rows[:, None], columns), values)
    np.add.at(counts, (rows[:, None], columns), 1)
    means = sums / np.maximum(counts, 1)
    return means > np.quantile(means, 1 - TOP_SHARE)


def measure(slide: Slide, source: str, labels: NDArray[np.bool_]) -> float:
    """Return the mean AUC over strips of the slide."""
    with SlideFeatures.open(slide, open_feature_source(source)) as stored:
        cells = list_cells(Box(0, 0, *stored.grid.shape))
        stored.compute(stored.grid.blocks_of(cells), RunContext())
        features = stored.read(cells)
    truth, strip = labels.ravel(), cells[:, 1] * STRIPS // labels.shape[1]
    known = np.isfinite(features).all(axis=1)
    aucs = []
    for number in range(STRIPS):
        train, test = known & (strip != number), known & (strip == number)
        if len(np.unique(truth[test])) == 2:
            model = make_pipeline(
                StandardScaler(), LogisticRegression(C=0.1, max_iter=500, class_weight="balanced")
            ).fit(features[train], truth[train])
            aucs.append(roc_auc_score(truth[test], model.predict_proba(features[test])[:, 1]))
    return float(np.mean(aucs))


if __name__ == "__main__":
    main()
