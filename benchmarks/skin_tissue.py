"""Accuracy of ``skin-tissue`` on a slide left out and on points of others, and how many strokes starting from it saves.

The slides are not part of the project: ``python benchmarks/skin_tissue.py FOLDER``, with the folder that contains them;
``--sample FILE`` is the skin slide of the samples. Features are kept in ``--cache``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import NULL_CONTEXT
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.results import read_table
from napari_melanoma.metrics.statistics import bootstrap_interval, draw_statistics
from napari_melanoma.models import SKIN_MODEL
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.tissue_classifier.classifier import gather_cells, merge_colors
from napari_melanoma.slides.tissue_classifier.feature_sources import open_feature_source
from napari_melanoma.slides.tissue_classifier.feature_store import SlideFeatures
from napari_melanoma.slides.tissue_classifier.fitting import (
    SCANNED,
    CellClassifier,
    TrainingCells,
    balanced_accuracy,
    fit_classifier,
)
from napari_melanoma.slides.tissue_classifier.painted_files import find_painted_slides
from napari_melanoma.slides.tissue_classifier.stain_variants import VariantFeatures
from napari_melanoma.slides.tissue_classifier.start import load_start

ROOT = Path(__file__).parents[1]
STROKES, POINTS = ROOT / "recipes" / "skin-tissue", ROOT / "tests" / "slides" / "skin_points"
SLIDES = ("morphea_section1_20x", "molluscum_half")
PIXEL_SIZE = PixelSize(0.526624, 0.526624, "given")
VARIANTS, STRENGTH = 6, 0.003
COMPARED = ("Epidermis", "Dermis", "Background")
DRAWS, MAX_STROKES = 40, 4  # the rarest class has five points
SOURCE = open_feature_source("imagenet")
Points = tuple[NDArray[np.float32], NDArray[np.str_]]


def gather(folder: Path, cache: Path | None, name: str) -> TrainingCells:
    """Compute the features of the strokes of a slide, also in other stains."""
    found = find_painted_slides([folder / f"{name}.tif"], [STROKES / f"{name}.geojson"], PIXEL_SIZE)
    painted = [replace(one, folder=None if cache is None else cache / name) for one in found]
    classes = tuple(merge_colors(painted))
    variants = [gather_cells(painted, VariantFeatures(SOURCE, number), classes)[0] for number in range(VARIANTS)]
    return replace(gather_cells(painted, SOURCE, classes)[0].add_variants(variants), strength=STRENGTH)


def read_points(slide: Path, cache: Path | None) -> Points:
    """Compute the features of the cells at the marked points of a slide; return them with their classes."""
    rows = read_table(POINTS / f"{slide.stem}.csv")
    folder = None if cache is None else cache / slide.stem
    with open_slide(slide) as opened, SlideFeatures.open(opened, SOURCE, folder) as features:
        cells = features.grid.cell_of([(float(row["row"]), float(row["column"])) for row in rows])
        features.compute(features.grid.blocks_of(cells), NULL_CONTEXT)
        return features.read(cells), np.array([row["class"] for row in rows])


def predict(classifier: CellClassifier, features: NDArray[np.float32]) -> NDArray[np.str_]:
    """Return the names of the predicted classes."""
    return np.array(classifier.classes)[classifier.predict(features).argmax(axis=1)]


def describe(hits: NDArray[np.bool_], groups: NDArray[np.intp]) -> str:
    """Describe a share with its 95 % interval, from a bootstrap over groups."""
    value, drawn = draw_statistics(lambda weights: {"": (weights @ hits) / weights.sum(axis=1)}, groups)[""]
    low, high = bootstrap_interval(value, drawn, len(np.unique(groups)), bounds=(0.0, 1.0))
    return f"{value:.2f} ({low:.2f} to {high:.2f})"


def judge_points(classifier: CellClassifier, points: Points) -> dict[str, object]:
    """Compare predictions with marked points; a follicle that is called epidermis, and the reverse, is an error."""
    features, truth = points
    predicted = predict(classifier, features)
    main = np.isin(truth, COMPARED)
    hits, every = predicted == truth, np.arange(len(truth))
    wrong = sorted(f"{a} as {b}" for a, b in zip(truth, predicted, strict=True) if a != b)
    return {
        "epidermis, dermis, glass": describe(hits[main], every[: main.sum()]),
        "all": describe(hits, every),
        "points": len(truth),
        "wrong": {one: wrong.count(one) for one in dict.fromkeys(wrong)},
    }


def judge_left_out(cells: Sequence[TrainingCells]) -> Iterator[tuple[str, dict[str, object]]]:
    """Fit on one slide and predict the strokes of the other, both directions; by class and for those in common."""
    for fitted, judged, name in ((cells[0], cells[1], SLIDES[1]), (cells[1], cells[0], SLIDES[0])):
        own = judged.own
        names = np.array(own.classes)[own.labels]
        hits = predict(fit_classifier(fitted, "logistic"), own.features) == names
        recall = {one: describe(hits[names == one], own.stroke[names == one]) for one in own.classes}
        yield name, {"recall": recall, "mean of the three": _mean_recall(hits, names, COMPARED)}


def _mean_recall(hits: NDArray[np.bool_], names: NDArray[np.str_], classes: Sequence[str]) -> float:
    return round(float(np.mean([hits[names == one].mean() for one in classes])), 3)


def count_saved(started: TrainingCells, points: Points) -> dict[str, list[float]]:
    """Draw points of a slide as strokes, and predict its other points: from nothing, and from the model.

    Returns the mean balanced accuracy with 0, 1 ... strokes of each class.
    """
    features, truth = points
    classes, labels = np.unique(truth, return_inverse=True)
    found: dict[str, list[float]] = {"from nothing": [], "from skin-tissue": []}
    for count in range(MAX_STROKES + 1):
        rng, accuracy = np.random.default_rng(0), {name: list[float]() for name in found}
        for _ in range(DRAWS):
            order = rng.permutation(len(truth))
            rank = np.array(
                [np.flatnonzero(order[labels[order] == labels[one]] == one)[0] for one in range(len(truth))]
            )
            chosen = (rank < count) & (np.bincount(labels)[labels] > count)
            own = TrainingCells(
                features[chosen],
                labels[chosen],
                np.arange(chosen.sum()),
                np.zeros(chosen.sum(), np.intp),
                tuple(classes.tolist()),
                np.full(chosen.sum(), SCANNED, np.int8),
            )
            for name, cells in (("from nothing", own), ("from skin-tissue", own.add(started))):
                if count or name != "from nothing":
                    hits = predict(fit_classifier(cells, "logistic"), features[~chosen]) == truth[~chosen]
                    weights = np.ones((1, len(hits)))
                    accuracy[name].append(float(balanced_accuracy(hits.astype(float), labels[~chosen], weights)[0]))
        for name, values in accuracy.items():
            found[name].append(round(float(np.mean(values)), 3) if values else float("nan"))
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("slides", type=Path)
    parser.add_argument("--sample", type=Path)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    cells = [gather(options.slides, options.cache, name) for name in SLIDES]
    joined = replace(cells[0].add(cells[1]), strength=STRENGTH)
    classifier = fit_classifier(joined, "logistic")
    found: dict[str, object] = {"slide left out": dict(judge_left_out(cells))}
    other = read_points(options.slides / "CMU-1-Small-Region.svs", options.cache)
    found["points of CMU-1-Small-Region"] = judge_points(classifier, other)
    if options.sample is not None:
        found["points of the sample"] = judge_points(classifier, read_points(options.sample, options.cache))
    found["strokes of each class"] = count_saved(load_start(SKIN_MODEL).cells, other)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
