"""Placement of a coarse map (tiles, tissue, heatmap) on its slide: conversion of cells to slide pixels and mm.

Points on a slide are (row, column) in pixels of its finest level, counted from the outer corner of the first pixel, as
in QuPath and GeoJSON: pixel ``r`` covers ``r`` to ``r + 1``. napari counts from the center of the first pixel;
``translate`` below accounts for that half.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from napari_melanoma.core.geometry import PixelSize


@dataclass(frozen=True)
class MapPlacement:
    """Corner and step of a map on its slide.

    ``top``, ``left``: outer corner of the map's first cell, in pixels of the finest level. ``step_y``, ``step_x``:
    height and width of a cell, in pixels of the finest level.
    """

    top: float
    left: float
    step_y: float
    step_x: float
    pixel_size: PixelSize | None = None

    @classmethod
    def from_thumbnail(
        cls, shape: tuple[int, ...], slide: tuple[int, int], pixel_size: PixelSize | None = None
    ) -> MapPlacement:
        """Place an image of the whole slide.

        ``slide``: height and width of the slide's finest level, in pixels. Rows and columns are scaled independently.
        """
        return cls(0.0, 0.0, slide[0] / shape[0], slide[1] / shape[1], pixel_size)

    def to_slide(self, cells: ArrayLike) -> NDArray[np.float64]:
        """Convert points on the map to points on the slide.

        ``cells``: (..., 2) as (row, column) in cells, counted from the outer corner of the first: its center is (0.5,
        0.5). Returns float64, same shape, in pixels of the finest level.
        """
        return np.asarray(cells, np.float64) * (self.step_y, self.step_x) + (self.top, self.left)

    def to_map(self, points: ArrayLike) -> NDArray[np.float64]:
        """Convert points on the slide to points on the map: the inverse of ``to_slide``.

        ``points``: (..., 2) as (row, column) in pixels of the finest level. Returns float64, same shape, in cells.
        """
        return (np.asarray(points, np.float64) - (self.top, self.left)) / (self.step_y, self.step_x)

    @property
    def cell_um(self) -> tuple[float, float] | None:
        """Height and width of a cell in micrometers; None without a scale."""
        if self.pixel_size is None:
            return None
        return self.step_y * self.pixel_size.y_um, self.step_x * self.pixel_size.x_um

    @property
    def cell_area_px(self) -> float:
        """Area of a cell in pixels of the finest level."""
        return self.step_y * self.step_x

    @property
    def cell_area_mm2(self) -> float | None:
        """Area of a cell in square millimeters; None without a scale."""
        return None if self.pixel_size is None else self.cell_area_px * self.pixel_size.pixel_area_mm2

    @property
    def scale(self) -> tuple[float, float]:
        """Scale of a napari layer of the map: micrometers per cell, or slide pixels without a scale."""
        return self.cell_um or (self.step_y, self.step_x)

    @property
    def translate(self) -> tuple[float, float]:
        """Position of a napari layer of the map: the center of its first cell, in the unit of ``scale``.

        The slide's own layer has the center of its first pixel at (0, 0).
        """
        y_unit, x_unit = (self.pixel_size.y_um, self.pixel_size.x_um) if self.pixel_size else (1.0, 1.0)
        return (self.top + self.step_y / 2 - 0.5) * y_unit, (self.left + self.step_x / 2 - 0.5) * x_unit
