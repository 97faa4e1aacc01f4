"""Thin smooth lines with a width in pixels that may change along them: hairs, ticks, pen lines, digits."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.data.phantom.plane import Map


def draw_stroke(coverage: Map, points: NDArray, half_widths: NDArray) -> None:
    """Draw an anti-aliased line into a map of coverage, keeping what is already there where it covers more.

    ``coverage``: float32 (row, column), 0 to 1; changed in place. ``points``: corners of the line (n, 2) as (row,
    column) of pixel centres; may leave the image. ``half_widths``: half the width in pixels at each corner, (n,). A
    line thinner than a pixel gets fainter, not thinner.
    """
    points, half_widths = _dense(points, half_widths)
    reach = math.ceil(float(half_widths.max()) + 0.5)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    nearest = np.rint(points).astype(np.int64)
    row, column = nearest[:, :1] + rows, nearest[:, 1:] + columns
    distance = np.hypot(row - points[:, :1], column - points[:, 1:])
    covered = np.clip(half_widths[:, None] + 0.5 - distance, 0, np.minimum(1, 2 * half_widths[:, None]))
    seen = (covered > 0) & (row >= 0) & (row < coverage.shape[0]) & (column >= 0) & (column < coverage.shape[1])
    index = row[seen] * coverage.shape[1] + column[seen]
    np.maximum.at(coverage.reshape(-1), index, covered[seen].astype(np.float32))


def bezier(corners: NDArray, samples: int = 64) -> NDArray:
    """Points on a quadratic Bezier curve.

    Returns (samples, 2).
    """
    t = np.linspace(0, 1, samples)[:, None]
    return (1 - t) ** 2 * corners[0] + 2 * t * (1 - t) * corners[1] + t**2 * corners[2]


def _dense(points: NDArray, half_widths: NDArray) -> tuple[NDArray, NDArray]:
    """Fill in points until they are at most half a pixel apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    at = np.linspace(0, along[-1], max(2, math.ceil(2 * along[-1]) + 1))
    filled = np.stack([np.interp(at, along, axis) for axis in points.T], axis=1)
    return filled, np.interp(at, along, half_widths)
