"""Comparison of a network that was trained on strokes with the classifier that was painted with the same strokes.

Both predict the cells of the same strokes, which were held back from both; the table has a row for each stroke. Both
also predict cells between the strokes, whose true class is unknown: where the painted classifier is certain, another
class is a reason to look.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from napari_melanoma.core.csv_files import read_csv_dicts
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.paths import expand_user
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.evaluation.comparison import DECIDES, Advice, ComparedModel, Comparison
from napari_melanoma.io.photographs import read_photograph
from napari_melanoma.metrics.statistics import Estimate, bootstrap_interval, draw_statistics
from napari_melanoma.slides.model_loading import LoadOptions, load_tile_model
from napari_melanoma.slides.tile_passes import to_array
from napari_melanoma.slides.tissue_classifier.stroke_data_set import ARCHITECTURE, HELD_BACK
from napari_melanoma.slides.tissue_classifier.unpainted_tiles import UNPAINTED, UNPAINTED_TABLE
from napari_melanoma.slides.tissue_classifier.validation import balanced_accuracy

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    cells, unpainted = HeldBackCells.read(data), UnpaintedCells.read(data)
    strokes = cells.of_strokes(cells.predict(data, model, run))
    maps = None
    if unpainted is not None:
        classes = predict_cells(data / UNPAINTED, unpainted.image, unpainted.position, model, run)
        maps = MapDifference.measure(unpainted, classes)
    slides = len(np.unique(strokes.slides))
    by_slide = slides >= MIN_SLIDES
    old, new, difference = strokes.estimate(by_slide=by_slide)
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
        reason=f"{describe_difference(old, new, difference, units)}, on {format_count(len(strokes.classes), 'stroke')} "
        f"held back of {format_count(slides, 'slide')}. {verdict}{'' if maps is None else f' {maps.describe()}'}",
        images=len(set(cells.image)),
        patients=difference.count,
        facts={
            "interval": f"95 % intervals: bootstrap over {units}s that were held back",
            "classes": list(model.config.classes),
            "provenance": collect_provenance(),
            **({} if maps is None else {FACT: maps.to_json()}),
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


@dataclass(frozen=True, eq=False)
class HeldBackStrokes:
    """Strokes that were held back.

    ``classes``, ``slides``: of each stroke. ``painted``, ``network``: share of its cells that the painted classifier
    and the network predict correctly, float64 (stroke,).
    """

    classes: tuple[str, ...]
    slides: tuple[str, ...]
    painted: NDArray[np.float64]
    network: NDArray[np.float64]

    def estimate(self, *, by_slide: bool) -> tuple[Estimate, Estimate, Estimate]:
        """Estimate the balanced accuracy of the painted classifier and of the network, and the difference.

        ``by_slide``: whether intervals are over slides instead of strokes.
        """
        labels = np.unique(self.classes, return_inverse=True)[1]

        def measure(weights: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
            old, new = (balanced_accuracy(hits, labels, weights) for hits in (self.painted, self.network))
            return {"old": old, "new": new, "difference": new - old}

        groups = np.array(self.slides) if by_slide else np.arange(len(self.slides))
        count = len(np.unique(groups))
        old, new, difference = (
            Estimate(value, *bootstrap_interval(value, drawn, count, bounds=bounds), count)
            for (value, drawn), bounds in zip(
                draw_statistics(measure, groups).values(), ((0.0, 1.0), (0.0, 1.0), (-1.0, 1.0)), strict=True
            )
        )
        return old, new, difference


@dataclass(frozen=True)
class HeldBackCells:
    """The cells that were held back: their tile, row and column in it, slide, stroke, and classes."""

    image: tuple[str, ...]
    position: tuple[tuple[int, int], ...]
    slide: tuple[str, ...]
    stroke: tuple[str, ...]
    true: tuple[str, ...]
    painted: tuple[str, ...]

    @classmethod
    def read(cls, data: Path) -> HeldBackCells:
        """Read ``held_back.csv`` of a data set."""
        path = data / HELD_BACK
        try:
            with path.open(newline="", encoding="utf-8") as table:
                rows = list(read_csv_dicts(table))
            names = [[row[name] for row in rows] for name in ("image_id", "slide", "stroke", "class", "painted")]
            position = tuple((int(row["row"]), int(row["column"])) for row in rows)
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path} cannot be read ({error}). Train the network again on the strokes.") from error
        if not rows:
            raise RunError(f"{path} lists no cell that was held back. Paint more strokes, and train again.")
        image, slide, stroke, true, painted = map(tuple, names)
        return cls(image, position, slide, stroke, true, painted)

    def predict(self, data: Path, model: BundleInfo, run: RunContext) -> NDArray[np.str_]:
        """Return the class of each cell that a network predicts, as in an analysis of the slide."""
        return predict_cells(data / "images", self.image, self.position, model, run)

    def of_strokes(self, network: NDArray[np.str_]) -> HeldBackStrokes:
        """Return the share of correct cells of each stroke; ``network``: from ``predict``."""
        _, first, index = np.unique(self.stroke, return_index=True, return_inverse=True)
        true = np.array(self.true)
        painted, trained = (
            np.bincount(index, weights=predicted == true) / np.bincount(index)
            for predicted in (np.array(self.painted), network)
        )
        classes, slides = (tuple(values[one] for one in first.tolist()) for values in (self.true, self.slide))
        return HeldBackStrokes(classes, slides, painted, trained)


def predict_cells(
    folder: Path, tiles: Sequence[str], position: Sequence[tuple[int, int]], model: BundleInfo, run: RunContext
) -> NDArray[np.str_]:
    """Return the class of each cell that a network predicts, str (cell,), as in an analysis of the slide.

    ``tiles``: name of the image in ``folder`` that contains the cell; ``position``: row and column in it.
    """
    loaded = load_tile_model(str(model.path), LoadOptions())
    names, images = np.array(model.config.classes), np.array(tiles)
    predicted = np.empty(len(images), names.dtype)
    for image in run.track(list(dict.fromkeys(tiles)), "Comparing with the painted classifier"):
        tile = read_photograph(folder / f"{image}.png").rgb
        dense = to_array(loaded.predict(tile[None])["dense"])[0]
        chosen = np.flatnonzero(images == image)
        rows, columns = np.array(position)[chosen].T
        predicted[chosen] = names[dense[:, rows, columns].argmax(axis=0)]
    return predicted


# Between the strokes.


@dataclass(frozen=True)
class UnpaintedCells:
    """Cells between strokes: tile and position in it, slide, center on the slide, and the painted prediction."""

    image: tuple[str, ...]
    position: tuple[tuple[int, int], ...]
    fingerprint: tuple[str, ...]
    center: tuple[Point, ...]
    painted: tuple[str, ...]
    probability: tuple[float, ...]

    @classmethod
    def read(cls, data: Path) -> Self | None:
        """Read the cells of a data set; None if it was made without them."""
        path = data / UNPAINTED_TABLE
        if not path.is_file():
            return None
        try:
            with path.open(newline="", encoding="utf-8") as table:
                rows = list(read_csv_dicts(table))
            return cls(
                tuple(row["image_id"] for row in rows),
                tuple((int(row["row"]), int(row["column"])) for row in rows),
                tuple(row["fingerprint"] for row in rows),
                tuple((float(row["center_row_px"]), float(row["center_column_px"])) for row in rows),
                tuple(row["painted"] for row in rows),
                tuple(float(row["probability"]) for row in rows),
            )
        except (OSError, ValueError, KeyError) as error:
            raise RunError(f"{path} cannot be read ({error}). Train the network again on the strokes.") from error


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
    def measure(cls, unpainted: UnpaintedCells, network: NDArray[np.str_]) -> Self:
        """Compare the maps; ``network``: the predictions of the network, str (cell,)."""
        painted, images = np.array(unpainted.painted), np.array(unpainted.image)
        is_certain = np.array(unpainted.probability) >= CERTAIN
        differs = is_certain & (painted != network)
        classes = []
        for name in dict.fromkeys(unpainted.painted):
            own = is_certain & (painted == name)
            if own.sum() >= MIN_CELLS:
                share = float(differs[own].mean())
                classes.append(ClassDifference(name, int(own.sum()), share, _most_frequent(network[own & differs])))
        places = []
        for image, cells in Counter(images[differs].tolist()).most_common(MAX_PLACES):
            own = np.flatnonzero(differs & (images == image))
            centers = np.array(unpainted.center)[own]
            middle = own[np.square(centers - centers.mean(axis=0)).sum(axis=1).argmin()]
            old, new = (_most_frequent(values[own]) for values in (painted, network))
            place = DifferentPlace(image, unpainted.fingerprint[middle], unpainted.center[middle], cells, old, new)
            places.append(place)
        total = int(is_certain.sum())
        ordered = tuple(sorted(classes, key=lambda one: -one.share))
        return cls(total, float(differs.sum() / max(1, total)), ordered, tuple(places))

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

    def to_json(self) -> dict[str, Any]:
        """Return the values for ``comparison.json``."""
        return asdict(self)


def _most_frequent(values: Sequence[str] | NDArray[np.str_]) -> str:
    counts = Counter(np.asarray(values).tolist()).most_common(1)
    return str(counts[0][0]) if counts else ""
