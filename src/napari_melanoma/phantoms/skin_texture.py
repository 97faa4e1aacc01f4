"""Random textures of phantom skin on a plane in millimeters, and named streams of random numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# A value for each pixel (row, column), or for each position along an axis; stored as float32.
Map = NDArray[np.floating[Any]]
# Standard deviation along one axis of white noise under a cubic B-spline, averaged over the positions between nodes.
_SPLINE_SD = math.sqrt(151 / 315)


@dataclass(frozen=True)
class Plane:
    """Positions of pixel centers in mm from the center of the view: ``y`` (row,) down, ``x`` (column,) to the right.

    ``pixel_mm``: side of a pixel; ``extent_mm``: (height, width) of the whole view, even if the plane is only a part.
    """

    y: Map
    x: Map
    pixel_mm: float
    extent_mm: tuple[float, float]

    @classmethod
    def from_size(cls, size: tuple[int, int], field_mm: float) -> Self:
        """Return the plane of a whole image.

        ``size``: height and width in pixels. ``field_mm``: width of the view, from the left edge of the first pixel to
        the right edge of the last. Pixels are square, the origin is the middle of the image.
        """
        height, width = size
        pixel_mm = field_mm / width
        y, x = ((np.arange(n) + 0.5 - n / 2) * pixel_mm for n in size)
        return cls(y.astype(np.float32), x.astype(np.float32), pixel_mm, (height * pixel_mm, field_mm))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.y), len(self.x)

    def crop(self, box: Box) -> Self:
        """Return a part of the plane; textures on it are those of the whole."""
        rows, columns = box.slices
        return replace(self, y=self.y[rows], x=self.x[columns])

    def box_around(self, center_mm: tuple[float, float], reach_mm: float) -> Box:
        """Return the box of the pixels inside a square; it is empty if there are none.

        ``center_mm``: center of the square (y, x) in mm. ``reach_mm``: half of its side.
        """
        top, bottom = np.searchsorted(self.y, (center_mm[0] - reach_mm, center_mm[0] + reach_mm))
        left, right = np.searchsorted(self.x, (center_mm[1] - reach_mm, center_mm[1] + reach_mm))
        return Box(int(top), int(left), int(bottom - top), int(right - left))

    def to_pixels(self, points_mm: NDArray) -> NDArray:
        """Convert points to pixels.

        ``points_mm``: points (..., 2) as (y, x) in mm. Returns the same points as (row, column), where 0 is the center
        of the first pixel.
        """
        return (points_mm - np.array([self.y[0], self.x[0]])) / self.pixel_mm


def noise(plane: Plane, rng: np.random.Generator, scale_mm: float) -> Map:
    """Generate a smooth random texture of mean 0 and standard deviation 1, float32 (row, column).

    ``scale_mm``: size of its details.
    """
    nodes = [math.ceil(extent / scale_mm) + 4 for extent in plane.extent_mm]
    values = rng.standard_normal(nodes, dtype=np.float32)
    along_y = _spline(plane.y, plane.extent_mm[0], scale_mm, nodes[0])
    along_x = _spline(plane.x, plane.extent_mm[1], scale_mm, nodes[1])
    texture = (along_x @ (along_y @ values).T).T / np.float32(_SPLINE_SD**2)
    return np.ascontiguousarray(texture)


def fractal(plane: Plane, rng: np.random.Generator, scale_mm: float, octaves: int = 3) -> Map:
    """Generate a random texture with details of several sizes, mean 0, standard deviation 1, float32 (row, column).

    It is a sum of ``octaves`` textures of ``noise``, each with half the scale and 0.6 times the amplitude of the
    previous one.
    """
    amplitudes = 0.6 ** np.arange(octaves)
    total = np.zeros(plane.shape, np.float32)
    for octave, amplitude in enumerate(amplitudes):
        total += np.float32(amplitude) * noise(plane, rng, scale_mm / 2**octave)
    return total / np.float32(np.sqrt(np.sum(amplitudes**2)))


def ramp(values: Map, start: float, end: float) -> Map:
    """Map values to a smooth ramp from 0 at ``start`` to 1 at ``end``, which may be smaller."""
    share = np.clip((values - np.float32(start)) / np.float32(end - start), 0, 1)
    return share * share * (3 - 2 * share)


def _spline(positions: Map, extent_mm: float, scale_mm: float, nodes: int) -> csr_array:
    """Return the cubic B-spline weights (position, node) of a lattice of nodes that covers the extent.

    They are sparse, also because a dense product runs on all cores, which is slow on a busy machine.
    """
    from scipy.sparse import csr_array

    in_nodes = (positions + extent_mm / 2) / scale_mm + 1
    first = np.floor(in_nodes).astype(int)
    t = (in_nodes - first).astype(np.float32)
    pieces = ((1 - t) ** 3, 3 * t**3 - 6 * t**2 + 4, -3 * t**3 + 3 * t**2 + 3 * t + 1, t**3)
    weights = np.stack(pieces, axis=1) / np.float32(6)
    columns = np.clip(first[:, None] + np.arange(-1, 3), 0, nodes - 1)
    starts = np.arange(0, 4 * len(positions) + 1, 4)
    return csr_array((weights.ravel(), columns.ravel(), starts), shape=(len(positions), nodes))


def random_stream(seed: int, *name: str | int) -> np.random.Generator:
    """Return the random generator of one element of a phantom; its numbers do not depend on other elements.

    ``name``: of the element, such as ``"lesion", 0, "shape"``.
    """
    key = tuple(crc32(str(part).encode()) for part in name)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
