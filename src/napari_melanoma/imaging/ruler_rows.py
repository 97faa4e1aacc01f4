"""Straight rows of dark points in a photograph: lines, and rows of parallel ticks, along which a scale may lie."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Map = NDArray[np.float32]

GRAY = np.array([0.5, 0.35, 0.15], np.float32)  # weights of red, green, blue: skin is bright in red, print is not
RIDGE_SIGMAS = (1.0, 1.8)  # px
RIDGE_QUANTILE = 0.93  # pixels above it are points of ridges
LINE_ROWS, TICK_ROWS = 8, 4  # most conspicuous rows of each kind that are tried
LINE_BIN, TICK_BIN = 1.5, 6.0  # px, widths across the row in which its points are counted
ANGLES = 180  # directions, one per degree
SPREAD = 2  # degrees to each side to which a point of a ridge is counted, too
MIN_LENGTH = 0.06  # of the longer side
MAX_GAP = 0.045  # of the longer side
MIN_POINTS = 15


@dataclass(frozen=True)
class DarkRow:
    """A straight row of dark points.

    ``start``: float64 (row, column) in pixels of the photograph. ``along``: unit vector (row, column). ``length``: in
    pixels. ``across`` points to the right-hand side of ``along``, which is down if ``along`` points right.
    """

    start: NDArray[np.float64]
    along: NDArray[np.float64]
    length: float

    @property
    def across(self) -> NDArray[np.float64]:
        """Unit vector (row, column) across the row."""
        return np.array([self.along[1], -self.along[0]])

    def point_at(self, along_px: float, across_px: float) -> NDArray[np.float64]:
        """Return a point (row, column) from its distances along and across the row."""
        return self.start + along_px * self.along + across_px * self.across


@dataclass(frozen=True)
class GrayView:
    """A photograph in gray, reduced: float32 (row, column), and its pixels per pixel of the photograph."""

    values: Map
    scale: float

    @classmethod
    def from_photograph(cls, rgb: NDArray[np.uint8], longer_side: int) -> GrayView:
        """Reduce the longer side of a photograph, uint8 (row, column, channel=3), to at most ``longer_side``."""
        from PIL import Image

        height, width = rgb.shape[:2]
        scale = min(1.0, longer_side / max(height, width))
        if scale < 1:
            size = (max(1, round(width * scale)), max(1, round(height * scale)))
            image = Image.fromarray(np.ascontiguousarray(rgb))
            rgb = np.asarray(image.resize(size, Image.Resampling.BILINEAR, reducing_gap=2.0))
        return cls(rgb.astype(np.float32) @ GRAY, scale)

    @property
    def longer_side(self) -> int:
        """Longer side in pixels of the view."""
        return max(self.values.shape)

    def to_view(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points of the photograph to points of the view; whole numbers are pixel centers in both."""
        return (points + 0.5) * self.scale - 0.5

    def to_photograph(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert points of the view to points of the photograph: the inverse of ``to_view``."""
        return (points + 0.5) / self.scale - 0.5

    def cut_strip(self, row: DarkRow, half_width: float, step: float) -> Map:
        """Return the strip along a row, float32 (across, along), NaN outside the photograph.

        ``half_width``: in pixels of the view, to each side; ``step``: along, in pixels of the view; across, it is one.
        """
        from scipy.ndimage import map_coordinates

        start = self.to_view(row.start)
        along = np.arange(0, row.length * self.scale, step)
        across = np.arange(-half_width, half_width + 1)
        points = (
            start[:, None, None]
            + row.across[:, None, None] * across[:, None]
            + row.along[:, None, None] * along[None, None]
        )
        return map_coordinates(self.values, points, order=1, mode="constant", cval=np.nan)


@dataclass(frozen=True)
class _Points:
    """Points of ridges: position from the center of the view in pixels, direction in radians, weight."""

    y: NDArray[np.float32]
    x: NDArray[np.float32]
    direction: NDArray[np.float32]
    weight: NDArray[np.float32]


@dataclass(frozen=True)
class _Line:
    """A line by its direction in radians, its distance from the center of the view, and its extent along it."""

    direction: float
    offset: float
    start: float = 0.0
    end: float = 0.0


def flatten_light(gray: Map) -> Map:
    """Return how dark each pixel is in its surroundings, in units of the contrast there, clipped.

    ``gray``: float32 (row, column). Returns float32 of the same shape, positive where darker.
    """
    from scipy.ndimage import uniform_filter

    size = max(5, round(0.04 * max(gray.shape)))
    dark = uniform_filter(gray, size, mode="nearest") - gray
    contrast = np.sqrt(np.maximum(uniform_filter(dark * dark, 2 * size, mode="nearest"), 0))
    return np.clip(dark / (contrast + 0.5 * np.median(contrast) + 1e-3), -1.5, 3)


def find_dark_rows(view: GrayView, *, light: bool = False) -> Iterator[DarkRow]:
    """Yield the most conspicuous straight rows of dark (or of light) points, lines first.

    Each point of a ridge is counted for the lines through it along the ridge, as a part of a line, and across it, as a
    tick of a row.
    """
    values = -view.values if light else view.values
    dark = flatten_light(values)
    points = _find_ridge_points(dark)
    for turn, width, count, tolerance in (
        (0.0, LINE_BIN, LINE_ROWS, 3.0),
        (math.pi / 2, TICK_BIN, TICK_ROWS, 8.0),
    ):
        turned = replace(points, direction=points.direction + np.float32(turn))
        for line in _count_lines(turned, dark.shape, width, count):
            fitted = _fit_line(turned, line, view.longer_side, tolerance)
            if fitted is not None:
                yield _to_row(fitted, view)


def _find_ridge_points(dark: Map) -> _Points:
    from scipy.ndimage import gaussian_filter

    found = []
    for sigma in RIDGE_SIGMAS:
        xx, yy, xy = (gaussian_filter(dark, sigma, order=order) for order in ((0, 2), (2, 0), (1, 1)))
        strength = np.hypot((xx - yy) / 2, xy) - (xx + yy) / 2
        limit = max(float(np.quantile(strength, RIDGE_QUANTILE)), 1e-6)
        at = np.nonzero(strength > limit)
        direction = 0.5 * np.arctan2(2 * xy[at], xx[at] - yy[at])
        found.append((*at, direction, np.minimum(strength[at] / limit, 3)))
    y, x, directions, weights = (np.concatenate(part).astype(np.float32) for part in zip(*found, strict=True))
    height, width = dark.shape
    return _Points(y - (height - 1) / 2, x - (width - 1) / 2, directions, weights)


def _count_lines(points: _Points, shape: tuple[int, ...], width: float, count: int) -> list[_Line]:
    """Return the lines with the most points (Hough transform of points with directions)."""
    from scipy.ndimage import maximum_filter, median_filter

    reach = math.hypot(*shape) / 2
    bins = int(2 * reach / width) + 3
    votes = np.zeros(ANGLES * bins)
    nearest = np.rint(np.degrees(points.direction)).astype(np.int64)
    for turn in range(-SPREAD, SPREAD + 1):
        angle = (nearest + turn) % ANGLES
        offset = points.y * np.cos(np.radians(angle)) - points.x * np.sin(np.radians(angle))
        index = angle * bins + np.rint((offset + reach) / width).astype(np.int64)
        votes += np.bincount(index, points.weight * (1 - 0.25 * abs(turn)), len(votes))
    table = votes.reshape(ANGLES, bins)
    table = table + 0.5 * (np.roll(table, 1, axis=1) + np.roll(table, -1, axis=1))
    above = table - median_filter(table, (1, 9))
    peaks = np.argwhere((above == maximum_filter(above, (7, 5))) & (above > 0))
    best = peaks[np.argsort(-above[peaks[:, 0], peaks[:, 1]])][:count]
    return [_Line(math.radians(angle), float(offset) * width - reach) for angle, offset in best]


def _fit_line(points: _Points, line: _Line, longer_side: int, tolerance: float) -> _Line | None:
    """Fit a line through the points near it in their longest part without a gap; None if they are few."""
    for limit in (10.0, 7.0, 7.0):
        sine, cosine = math.sin(line.direction), math.cos(line.direction)
        along = points.y * sine + points.x * cosine
        off = points.y * cosine - points.x * sine - line.offset
        turned = np.abs((points.direction - line.direction + math.pi / 2) % math.pi - math.pi / 2)
        near = (np.abs(off) < tolerance) & (turned < math.radians(limit))
        if np.count_nonzero(near) < MIN_POINTS:
            return None
        start, end = _longest_part(np.sort(along[near]), MAX_GAP * longer_side)
        near &= (along >= start) & (along <= end)
        if np.count_nonzero(near) < MIN_POINTS or end - start < MIN_LENGTH * longer_side:
            return None
        slope, shift = np.polyfit(along[near], off[near], 1, w=points.weight[near])
        middle = (start + end) / 2
        offset = line.offset + slope * middle + shift
        y, x = sine * middle + cosine * offset, cosine * middle - sine * offset
        direction = line.direction + math.atan(slope)
        sine, cosine = math.sin(direction), math.cos(direction)
        middle, half = y * sine + x * cosine, (end - start) / 2
        line = _Line(direction, y * cosine - x * sine, middle - half, middle + half)
        tolerance = max(1.6, 0.7 * tolerance) if tolerance < TICK_BIN else tolerance
    return line


def _longest_part(along: NDArray[np.float32], max_gap: float) -> tuple[float, float]:
    """Return start and end of the part with most of the sorted values that has no larger gap."""
    cuts = np.flatnonzero(np.diff(along) > max_gap)
    starts, ends = np.append(0, cuts + 1), np.append(cuts, len(along) - 1)
    best = int(np.argmax(ends - starts))
    return float(along[starts[best]]), float(along[ends[best]])


def _to_row(line: _Line, view: GrayView) -> DarkRow:
    along = np.array([math.sin(line.direction), math.cos(line.direction)])
    across = np.array([along[1], -along[0]])
    center = (np.array(view.values.shape) - 1) / 2
    start = center + along * line.start + across * line.offset
    return DarkRow(view.to_photograph(start), along, (line.end - line.start) / view.scale)
