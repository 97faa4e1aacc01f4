"""Comparison of a network that was trained on strokes with the classifier that was painted with the same strokes.

Both predict the cells of the same strokes, which were held back from both; the table has a row for each stroke. Both
also predict cells between the strokes, whose true class is unknown: where the painted classifier is certain, another
class is a reason to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.core.errors import RunError
from napari_melanoma.core.formatting import format_count, rank_counts
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.evaluation.comparison_results import DECIDES, Advice, ComparedModel, Comparison
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics
from napari_melanoma.slides.model_loading import LoadOptions, load_tile_model
from napari_melanoma.slides.tile_models import to_array
from napari_melanoma.slides.tissue_classifier.fitting import balanced_accuracy
from napari_melanoma.slides.tissue_classifier.stroke_data_set import ARCHITECTURE, HELD_BACK, UNPAINTED, UNPAINTED_TABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from pandas import DataFrame

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.polygons import Point
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.training.recipe import TrainRecipe

TASK, PAINTED = "cells", "painted classifier"
METRIC = DECIDES[TASK]
MIN_SLIDES = 5  # with fewer, the interval is over strokes: it does not cover the variation between slides
STAYS = "The network is not measurably better: the painted classifier stays."
BETTER = "The network is better on them."
WORSE = "The network is worse on them: the painted classifier stays."
CERTAIN = 0.9  # probability of the class that the painted classifier predicts
MIN_CELLS = 50  # of a class, to state how many of them differ
MAX_DIFFERENT = 0.1  # share of the certain cells of a class; beyond, the maps differ widely
MAX_PLACES = 8
FACT = "map_difference"  # in the facts of a comparison


def find_held_back(recipe: TrainRecipe) -> Path | None:
    """Return the data set of a run that trains on strokes, with the cells that were held back; None for other runs."""
    folders = [expand_user(name) for name in recipe.data.datasets]
    if recipe.model.architecture != ARCHITECTURE or len(folders) != 1:
        return None
    return folders[0] if (folders[0] / HELD_BACK).is_file() else None


def compare_with_painted(data: Path, model: BundleInfo, run: RunContext) -> Comparison:
    """Compare a network with the painted classifier on the cells that were held back from both.

    ``data``: the data set of strokes. The network is recommended only if the interval of the difference in balanced
    accuracy is above 0, and its map does not differ widely between the strokes.
    """
    cells, unpainted = read_held_back(data), read_unpainted(data)
    strokes = group_by_stroke(cells, predict_cells(data / "images", cells, model, run))
    maps = None
    if unpainted is not None:
        maps = MapDifference.measure(unpainted, predict_cells(data / UNPAINTED, unpainted, model, run))
    slides = strokes["slide"].nunique()
    by_slide = slides >= MIN_SLIDES
    old, new, difference = estimate_strokes(strokes, by_slide=by_slide)
    advice: Advice = "keep"
    verdict = BETTER if difference.low > 0 else WORSE if difference.high < 0 else STAYS
    if verdict == BETTER:
        advice = "inconclusive" if maps is not None and maps.is_wide else "activate"
    units = "slide" if by_slide else "stroke"
    return Comparison(
        old=ComparedModel(PAINTED, "", 0.5, {METRIC: old}),
        new=ComparedModel(model.name, model.fingerprint, 0.5, {METRIC: new}),
        difference={METRIC: difference},
        domains=(),
        better=(),
        worse=(),
        advice=advice,
        reason=f"{describe_difference(old, new, difference, units)}, on {format_count(len(strokes), 'stroke')} "
        f"held back of {format_count(slides, 'slide')}. {verdict}{'' if maps is None else f' {maps.describe()}'}",
        images=cells["image_id"].nunique(),
        patients=slides,
        facts={
            "interval": f"95 % intervals: bootstrap over {units}s that were held back",
            "classes": list(model.config.classes),
            "provenance": collect_provenance(),
            **({} if maps is None else {FACT: asdict(maps)}),
        },
        task=TASK,
    )


def describe_difference(old: Estimate, new: Estimate, difference: Estimate, units: str) -> str:
    """Describe a comparison, such as ``balanced accuracy 0.91 against 0.87 of the painted classifier, +0.04 (...)``."""
    interval = f"no interval: too few {units}s"
    if difference.has_interval:
        interval = difference.format_interval("+.2f", f"95 % interval over {units}s ")
    return (
        f"Balanced accuracy {new.mean:.2f} against {old.mean:.2f} of the painted classifier, {difference.mean:+.2f} "
        f"({interval})"
    )


# Tables of cells, and of strokes.


def read_held_back(data: Path) -> DataFrame:
    """Read the cells that were held back: tile, row and column in it, slide, stroke, class, painted prediction."""
    cells = _read_cells(data / HELD_BACK, "slide", "stroke", "class")
    if cells.empty:
        raise RunError(f"{data / HELD_BACK} lists no cell that was held back. Paint more strokes, and train again.")
    return cells


def read_unpainted(data: Path) -> DataFrame | None:
    """Read cells between strokes: as ``read_held_back``, and probability, slide and center on it; None without them."""
    path, numbers = data / UNPAINTED_TABLE, ("center_row_px", "center_column_px", "probability")
    return _read_cells(path, "fingerprint", numbers=numbers) if path.is_file() else None


def _read_cells(path: Path, *words: str, numbers: Sequence[str] = ()) -> DataFrame:
    import pandas as pd

    try:
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        cells = cells.astype({"row": int, "column": int, **dict.fromkeys(numbers, float)})
        return cells[["image_id", "row", "column", "painted", *words, *numbers]]
    except (OSError, ValueError, KeyError) as error:
        raise RunError(f"{path} cannot be read ({error}). Train the network again on the strokes.") from error


def predict_cells(folder: Path, cells: DataFrame, model: BundleInfo, run: RunContext) -> NDArray[np.str_]:
    """Return the class of each cell that a network predicts, str (cell,), as in an analysis of the slide.

    ``folder``: of the tiles that contain the cells.
    """
    loaded = load_tile_model(str(model.path), LoadOptions())
    names, positions = np.array(model.config.classes), cells[["row", "column"]].to_numpy()
    predicted = np.empty(len(cells), names.dtype)
    for image in run.track(cells["image_id"].unique().tolist(), "Comparing with the painted classifier"):
        tile = read_photograph(folder / f"{image}.png").rgb
        dense = to_array(loaded.predict(tile[None])["dense"])[0]
        chosen = np.flatnonzero(cells["image_id"] == image)
        rows, columns = positions[chosen].T
        predicted[chosen] = names[dense[:, rows, columns].argmax(axis=0)]
    return predicted


def group_by_stroke(cells: DataFrame, network: NDArray[np.str_]) -> DataFrame:
    """Return the strokes: class, slide, and the share of cells that both classifiers predict correctly.

    ``cells``: from ``read_held_back``. ``network``: from ``predict_cells``.
    """
    right = {"painted": cells["painted"] == cells["class"], "network": network == cells["class"]}
    strokes = cells.assign(**right).groupby("stroke")
    return strokes.agg({"class": "first", "slide": "first", "painted": "mean", "network": "mean"})


def estimate_strokes(strokes: DataFrame, *, by_slide: bool) -> tuple[Estimate, Estimate, Estimate]:
    """Estimate the balanced accuracy of the painted classifier and of the network, and the difference.

    ``strokes``: from ``group_by_stroke``. ``by_slide``: whether intervals are over slides instead of strokes.
    """
    labels = strokes["class"].factorize(sort=True)[0]

    def measure(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        shares = (strokes[name].to_numpy(np.float64) for name in ("painted", "network"))
        old, new = (balanced_accuracy(share, labels, weights) for share in shares)
        return {"old": old, "new": new, "difference": new - old}

    groups = strokes["slide"].to_numpy(str) if by_slide else np.arange(len(strokes))
    count = len(np.unique(groups))
    old, new, difference = (
        Estimate(value, *bootstrap_interval(value, drawn, count, bounds=bounds), count)
        for (value, drawn), bounds in zip(
            draw_statistics(measure, groups).values(), ((0.0, 1.0), (0.0, 1.0), (-1.0, 1.0)), strict=True
        )
    )
    return old, new, difference


# Between the strokes.


@dataclass(frozen=True)
class ClassDifference:
    """Of the ``cells`` that are certainly a class, the ``share`` with another one, most often ``predicted``."""

    name: str
    cells: int
    share: float
    predicted: str


@dataclass(frozen=True)
class DifferentPlace:
    """A tile in which many certain cells differ; ``center``: of one of them, (row, column) in pixels of the slide.

    ``image``: name of the tile. ``fingerprint``: of the slide. ``painted``, ``network``: the most frequent classes.
    """

    image: str
    fingerprint: str
    center: Point
    cells: int
    painted: str
    network: str


@dataclass(frozen=True)
class MapDifference:
    """How far two maps differ in the ``cells`` where the painted classifier is certain; ``share``: that differ.

    ``classes``: those with enough cells, the largest difference first. ``places``: the largest differences first.
    """

    cells: int
    share: float
    classes: tuple[ClassDifference, ...] = ()
    places: tuple[DifferentPlace, ...] = ()

    @classmethod
    def measure(cls, unpainted: DataFrame, network: NDArray[np.str_]) -> Self:
        """Compare the maps; ``unpainted``: from ``read_unpainted``, ``network``: from ``predict_cells``."""
        certain = unpainted.assign(network=network)[unpainted["probability"] >= CERTAIN]
        different = certain[certain["painted"] != certain["network"]]
        classes = []
        for name in unpainted["painted"].unique():
            own, others = (part[part["painted"] == name] for part in (certain, different))
            if len(own) >= MIN_CELLS:
                share = len(others) / len(own)
                classes.append(ClassDifference(name, len(own), share, _most_frequent(others["network"])))
        places = []
        for image, cells in [*rank_counts(Counter(different["image_id"])).items()][:MAX_PLACES]:
            own = different[different["image_id"] == image]
            centers = own[["center_row_px", "center_column_px"]].to_numpy()
            middle = np.square(centers - centers.mean(axis=0)).sum(axis=1).argmin()
            row, column = centers[middle].tolist()
            old, new = _most_frequent(own["painted"]), _most_frequent(own["network"])
            places.append(DifferentPlace(image, own["fingerprint"].iloc[middle], (row, column), cells, old, new))
        ordered = tuple(sorted(classes, key=lambda one: -one.share))
        return cls(len(certain), len(different) / max(1, len(certain)), ordered, tuple(places))

    @property
    def is_wide(self) -> bool:
        """Whether a class differs in more than ``MAX_DIFFERENT`` of its cells."""
        return any(one.share > MAX_DIFFERENT for one in self.classes)

    def describe(self) -> str:
        """State how far both agree, and where they do not."""
        if not self.cells:
            return (
                f"The maps were not compared between the strokes: no painted class has a probability of {CERTAIN:.0%}."
            )
        text = (
            "Between the strokes, it predicts the class of the painted classifier of all strokes in "
            f"{1 - self.share:.0%} of {self.cells} cells with a probability of at least {CERTAIN:.0%}."
        )
        wide = [one for one in self.classes if one.share > MAX_DIFFERENT]
        listed = ", ".join(f"{one.share:.0%} of '{one.name}' become mostly '{one.predicted}'" for one in wide)
        return f"{text} The maps differ widely: {listed}." if wide else text


def _most_frequent(values: Iterable[str]) -> str:
    return next(iter(rank_counts(Counter(values))), "")
