"""A window on a section: labels, positions in the section and textures of its pixels, from which the rest is drawn."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box
from napari_melanoma.data.phantom.slide.kinds import Kind
from napari_melanoma.data.phantom.slide.looks import Look
from napari_melanoma.data.phantom.slide.polygons import inside
from napari_melanoma.data.phantom.slide.section import SectionPlan
from napari_melanoma.data.phantom.slide.textures import CLOUD_UM, Textures, smooth_sample, textures

Floats = NDArray[np.floating[Any]]


def label_pixels(section: SectionPlan, box: Box, downsample: float = 1.0) -> NDArray[np.uint8]:
    """Say what the centre of each pixel of a box is.

    ``box``: pixels, counted at the downsample. ``downsample``: side of such a pixel in pixels of level 0. Kinds and
    lesions, uint8 (row, column).
    """
    labels = np.zeros((box.height, box.width), np.uint8)
    top, left, bottom, right = section.boxes.T / downsample
    rows = (bottom > box.top) & (top < box.top + box.height)
    meets = rows & (right > box.left) & (left < box.left + box.width)
    for index in np.flatnonzero(meets):
        part = inside(section.polygons[index], box, downsample)
        if part is not None:
            rows_columns, mask = part
            if index and section.labels[index] != Kind.CRUST:  # all else is seen only where there is tissue
                mask &= labels[rows_columns] != Kind.GLASS
            labels[rows_columns][mask] = section.labels[index]
    return labels


@dataclass(frozen=True)
class Window:
    """Pixels of level 0 of one section; ``labels`` are uint8 (row, column)."""

    section: SectionPlan
    look: Look
    mpp: float
    box: Box
    labels: NDArray[np.uint8]
    seed: int

    @cached_property
    def x_um(self) -> Floats:
        """Centres of the columns, float64 (column,)."""
        return (self.box.left + np.arange(self.box.width) + 0.5) * self.mpp

    @cached_property
    def y_um(self) -> Floats:
        """Centres of the rows, float64 (row,)."""
        return (self.box.top + np.arange(self.box.height) + 0.5) * self.mpp

    @property
    def textures(self) -> Textures:
        """Those of the look."""
        return textures(self.look.name)

    @cached_property
    def places(self) -> tuple[Floats, Floats]:
        """Along and depth of each pixel, float32 (row, column)."""
        return self.section.frame.to_section(self.x_um[None], self.y_um[:, None])

    def pixels(self, label: int) -> Pixels:
        """Gather the pixels of a label.

        Returns all of them, in reading order.
        """
        index = np.flatnonzero(self.labels == label).astype(np.int32)
        along, depth = (part.ravel()[index] for part in self.places)
        row, column = np.divmod(index, np.int32(self.box.width))
        return Pixels(self, row, column, along, depth)

    @cached_property
    def present(self) -> tuple[int, ...]:
        """Labels that occur, in rising order."""
        return tuple(np.flatnonzero(np.bincount(self.labels.ravel(), minlength=256)).tolist())

    def at(self, x_um: Floats, y_um: Floats) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Find the pixels below positions.

        ``x_um``, ``y_um``: micrometres (point,). Returns row and column of each, which may lie outside.
        """
        row = np.floor(y_um / self.mpp).astype(np.int64) - self.box.top
        column = np.floor(x_um / self.mpp).astype(np.int64) - self.box.left
        return row, column


@dataclass(frozen=True)
class Pixels:
    """Some pixels of a window: rows, columns, and positions in the section in micrometres, float32 (pixel,)."""

    window: Window
    row: NDArray[np.integer[Any]]
    column: NDArray[np.integer[Any]]
    along: Floats
    depth: Floats

    @cached_property
    def x_um(self) -> Floats:
        """Positions on the slide, float64 (pixel,)."""
        return self.window.x_um[self.column]

    @cached_property
    def y_um(self) -> Floats:
        """Positions on the slide, float64 (pixel,)."""
        return self.window.y_um[self.row]

    @cached_property
    def below_surface(self) -> Floats:
        """Depth below the granular layer, float32 (pixel,)."""
        layers = self.window.section.layers
        return self.depth - layers.at(layers.granular, self.along).astype(np.float32)

    @cached_property
    def cloud(self) -> Floats:
        """What changes slowly over the tissue, with detail, 0 to 1."""
        return smooth_sample(self.window.textures.clouds, self.along, self.depth, CLOUD_UM)

    @cached_property
    def patch(self) -> Floats:
        """What changes very slowly and smoothly over the tissue, 0 to 1."""
        shift = np.float32(977 * self.window.section.index)
        return smooth_sample(self.window.textures.patches, self.along + shift, self.depth, CLOUD_UM)
