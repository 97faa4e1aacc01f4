"""How far the map of a network differs from that of the painted classifier of all strokes, between the strokes.

The true class of these cells is unknown. Where the painted classifier is certain, another class is a reason to look.
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
from napari_melanoma.slides.tissue_classifier.unpainted_tiles import UNPAINTED_TABLE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.polygons import Point

CERTAIN = 0.9  # probability of the class that the painted classifier predicts
MIN_CELLS = 50  # of a class, to state how many of them differ
MAX_DIFFERENT = 0.1  # share of the certain cells of a class; beyond, the maps differ widely
MAX_PLACES = 8
FACT = "map_difference"  # in the facts of a comparison


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
