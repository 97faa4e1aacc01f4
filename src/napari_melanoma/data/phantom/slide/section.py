"""A section as it is planned: its place, its layers, its lesions, and all outlines and lined-up nuclei on the slide."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.slide.frame import Frame
from napari_melanoma.data.phantom.slide.kinds import Kind
from napari_melanoma.data.phantom.slide.layers import Layers, wander
from napari_melanoma.data.phantom.slide.lesions import Lesion
from napari_melanoma.data.phantom.slide.polygons import bounds
from napari_melanoma.data.phantom.slide.shapes import Drawing, Floats, Outline, resampled

# Nuclei that line an outline lie this far inside of it.
_INSET_UM = 4.5


@dataclass(frozen=True)
class Lined:
    """Nuclei whose place was planned, sorted by ``y``: positions in micrometres on the slide, directions, species.

    Each is drawn only where the pixel below it is of kind ``label``.
    """

    x: Floats
    y: Floats
    angle: Floats
    species: NDArray[np.int16]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class SectionPlan:
    """All of one section.

    ``polygons`` are (vertex, 2) as x, y in pixels of level 0, laid over each other in their order, each with a label;
    ``boxes`` (polygon, 4) their top, left, bottom, right.
    """

    index: int
    frame: Frame
    layers: Layers
    lesions: tuple[Lesion, ...]
    polygons: tuple[Floats, ...]
    labels: tuple[int, ...]
    boxes: Floats
    lined: Lined
    elastosis: float
    folds: tuple[Floats, ...] = ()

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right of what is seen of it in pixels of level 0: the tissue, and crusts on it."""
        seen = np.array([index == 0 or label == Kind.CRUST for index, label in enumerate(self.labels)])
        top, left = self.boxes[seen, :2].min(axis=0)
        bottom, right = self.boxes[seen, 2:].max(axis=0)
        return float(top), float(left), float(bottom), float(right)

    def box_um(self, mpp: float) -> tuple[float, float, float, float]:
        """Give the same in micrometres.

        ``mpp``: micrometres per pixel. Top, left, bottom, right.
        """
        top, left, bottom, right = self.box
        return top * mpp, left * mpp, bottom * mpp, right * mpp


def layer_outlines(rng: np.random.Generator, layers: Layers) -> list[Outline]:
    """Turn the layers into outlines.

    Tissue, fat, keratin, epidermis.
    """
    fat = np.minimum(layers.fat, layers.bottom)
    return [
        Outline(Kind.DERMIS, _whole(rng, layers)),
        Outline(Kind.FAT, _band(layers, fat, layers.bottom)),
        Outline(Kind.KERATIN, _band(layers, layers.top, layers.granular)),
        Outline(Kind.EPIDERMIS, _band(layers, layers.granular, layers.junction)),
    ]


def _band(layers: Layers, upper: Floats, lower: Floats) -> Floats:
    """Outline between two layers."""
    along = layers.along[::2]
    above, below = np.stack([along, upper[::2]], axis=1), np.stack([along, lower[::2]], axis=1)
    return np.concatenate([above, below[::-1]])


def _whole(rng: np.random.Generator, layers: Layers) -> Floats:
    """Outline of the tissue, with uneven ends."""
    outline = _band(layers, layers.top, layers.bottom)
    half = len(outline) // 2
    ends = []
    for side, corner in ((1.0, half - 1), (-1.0, 0)):
        above, below = outline[corner, 1] + 90, outline[len(outline) - 1 - corner, 1]
        depth = np.arange(above, below, 3.0)
        along = outline[corner, 0] + side * np.abs(9 + 7 * wander(rng, len(depth), 25))
        ends.append(np.stack([along, depth], axis=1))
    return np.concatenate([outline[:half], ends[0], outline[half:], ends[1][::-1]])


def place(frame: Frame, outlines: list[Outline], mpp: float) -> tuple[tuple[Floats, ...], tuple[int, ...], Floats]:
    """Put outlines on the slide.

    ``mpp``: micrometres per pixel. Returns ``polygons``, ``labels`` and ``boxes`` as ``SectionPlan`` has them.
    """
    polygons = tuple(frame.to_slide(*outline.points.T) / mpp for outline in outlines)
    boxes = np.array([bounds(polygon) for polygon in polygons])
    return polygons, tuple(int(outline.label) for outline in outlines), boxes


def line_up(rng: np.random.Generator, frame: Frame, layers: Layers, drawing: Drawing, species: dict[str, int]) -> Lined:
    """Place the nuclei that stand in a row: the basal layer, and those that line glands and vessels."""
    rows = [_basal(rng, layers, species)]
    rows += [_ring(rng, outline, species) for outline in drawing.outlines if outline.ring]
    along, depth, turn, kind, label = (np.concatenate(column) for column in zip(*rows, strict=True))
    x, y = frame.to_slide(along, depth).T
    angle = turn + frame.heading(along)
    order = np.argsort(y)
    return Lined(x[order], y[order], angle[order], kind[order].astype(np.int16), label[order].astype(np.uint8))


def _basal(rng: np.random.Generator, layers: Layers, species: dict[str, int]) -> tuple[Floats, ...]:
    """The basal layer, along the junction, each nucleus standing on it."""
    curve = np.stack([layers.along, layers.junction], axis=1)
    points, direction = resampled(np.concatenate([curve, curve[::-1]]), 5.2)
    keep = np.arange(len(points)) < len(points) // 2
    points, direction = points[keep], direction[keep]
    points = points + rng.normal(0, 0.8, points.shape)
    points[:, 0] += 4.2 * np.sin(direction)
    points[:, 1] -= 4.2 * np.cos(direction)
    count = len(points)
    turn = direction + np.pi / 2 + rng.normal(0, 0.2, count)
    return points[:, 0], points[:, 1], turn, np.full(count, species["basal"]), np.full(count, Kind.EPIDERMIS)


def _ring(rng: np.random.Generator, outline: Outline, species: dict[str, int]) -> tuple[Floats, ...]:
    """Nuclei along the inside of an outline."""
    points, direction = resampled(outline.points, outline.pitch)
    x, y = outline.points.T
    clockwise = np.sign(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    inset = _INSET_UM if outline.across else 0.5 * _INSET_UM
    points = points + rng.normal(0, 0.7, points.shape)
    points[:, 0] -= clockwise * inset * np.sin(direction)
    points[:, 1] += clockwise * inset * np.cos(direction)
    turn = direction + (np.pi / 2 if outline.across else 0) + rng.normal(0, 0.2, len(points))
    count = len(points)
    return points[:, 0], points[:, 1], turn, np.full(count, species[outline.ring or ""]), np.full(count, outline.label)
