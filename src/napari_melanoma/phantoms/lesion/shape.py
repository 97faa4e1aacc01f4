"""Outline of a lesion: a closed curve with exactly known area, and the depth of each pixel inside it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.phantoms.lesion.traits import LesionTraits
from napari_melanoma.phantoms.plane import Map, Plane

_SAMPLES = 4096
_ANGLES = np.arange(_SAMPLES) * (2 * math.pi / _SAMPLES)
_HARMONICS = 40


@dataclass(frozen=True)
class LesionOutline:
    """A curve r(angle) around ``centre_mm`` (y, x), in an ellipse's frame turned by ``rotation`` (radians) and sheared.

    ``radii`` (4096,) contains r divided by the mean radius, at equal steps of the angle, such that the enclosed area is
    pi/4 * ``diameter_mm`` squared. ``shears`` (2, 2, waves) are cosine and sine amplitudes, over the diameter, of two
    shears, each along one axis by a smooth function of the other; a shear bends the curve and keeps the area.
    ``softness`` (4096,) is the local width of the fading border over its mean.
    """

    center_mm: tuple[float, float]
    diameter_mm: float
    elongation: float
    rotation: float
    radii: NDArray[np.float64]
    shears: NDArray[np.float64]
    softness: NDArray[np.float64]

    @property
    def area_mm2(self) -> float:
        """Area within the curve."""
        return math.pi / 4 * self.diameter_mm**2

    @property
    def axes_mm(self) -> tuple[float, float]:
        """Full lengths of the longer and the shorter axis of the ellipse under the curve."""
        stretch = math.sqrt(self.elongation)
        return self.diameter_mm * stretch, self.diameter_mm / stretch

    @cached_property
    def radius_mm(self) -> float:
        """Radius of a disk around the center that contains the curve."""
        bend = float(np.abs(self.shears).sum(axis=(1, 2)).max()) * self.diameter_mm
        return float(self.radii.max()) * self.axes_mm[0] / 2 + bend

    def depth_maps(self, plane: Plane) -> tuple[Map, Map, Map]:
        """Calculate how deep each pixel is inside the outline.

        ``plane``: the pixels. Returns three float32 (row, column): depth in mm, positive inside and 0 on the curve
        (exact there, and elsewhere to first order); the distance from the center divided by that of the curve; the
        softness of the
        """
        y, x = plane.y[:, None] - self.center_mm[0], plane.x[None] - self.center_mm[1]
        cosine, sine = math.cos(self.rotation), math.sin(self.rotation)
        along, across = x * cosine + y * sine, y * cosine - x * sine
        along = along + self._bend(across, 0)
        across = across + self._bend(along, 1)
        half_length, half_width = (axis / 2 for axis in self.axes_mm)
        u, v = along / np.float32(half_length), across / np.float32(half_width)
        r, angle = np.hypot(u, v), np.arctan2(v, u)
        curve, slope, softness = (self._interpolate(angle, table) for table in self._tables())
        depth = (curve - r) * np.float32(self.diameter_mm / 2) / np.sqrt(1 + slope * slope)
        return depth, r / curve, softness

    def _bend(self, position: Map, shear: int) -> Map:
        """Shift in mm along one axis at a position on the other."""
        phase = position * np.float32(2 * math.pi / self.diameter_mm)
        shift = np.zeros_like(phase)
        for wave, (cosine, sine) in enumerate(self.shears[shear].T, start=1):
            shift += np.float32(cosine) * np.cos(wave * phase) + np.float32(sine) * np.sin(wave * phase)
        return shift * np.float32(self.diameter_mm)

    def _tables(self) -> tuple[NDArray, NDArray, NDArray]:
        """Radius, its relative slope and the softness by angle."""
        slope = np.gradient(np.log(self.radii), _ANGLES[1])
        return self.radii, slope, self.softness

    @staticmethod
    def _interpolate(angle: Map, table: NDArray) -> Map:
        """Look up a periodic table by angle, linear between its samples."""
        position = np.mod(angle / np.float32(2 * math.pi), np.float32(1)) * np.float32(_SAMPLES)
        first = position.astype(np.int32)
        share = position - first
        values = np.concatenate([table, table[:2]]).astype(np.float32)
        return values[first] * (1 - share) + values[first + 1] * share


def draw_outline(traits: LesionTraits, rng: np.random.Generator) -> LesionOutline:
    """Generate the outline of a lesion around the origin."""
    order = np.arange(1, _HARMONICS + 1)
    waves = rng.standard_normal((2, _HARMONICS))
    rotation = rng.uniform(0, math.pi)
    lobes = np.where(order % 2, 0.12, 0.05) * (order <= 5) * (0.15 + traits.asymmetry) / order
    notches = 0.032 * (0.15 + traits.irregularity) * (order > 5) / (order / 6.0) ** 1.1
    ragged = np.exp(0.45 * _fourier_series(rng.standard_normal((2, 3)) / math.sqrt(3), order[:3]))
    log_radii = _fourier_series(waves * lobes, order) + np.clip(ragged, 0.4, 1.7) * _fourier_series(
        waves * notches, order
    )
    radii = np.exp(log_radii - log_radii.mean())
    radii /= math.sqrt(np.mean(radii**2))
    softness = np.exp(0.35 * _fourier_series(rng.standard_normal((2, 4)) / 2, order[:4]))
    strength = 0.012 + 0.018 * max(traits.asymmetry, traits.irregularity)
    shears = strength * rng.standard_normal((2, 2, 3)).clip(-2, 2) / np.sqrt([1, 2, 3])
    return LesionOutline((0.0, 0.0), traits.diameter_mm, traits.elongation, rotation, radii, shears, softness)


def _fourier_series(coefficients: NDArray, order: NDArray) -> NDArray:
    """Sum of cosines and sines of the angle, (4096,)."""
    phases = order[:, None] * _ANGLES
    waves = coefficients[0][:, None] * np.cos(phases) + coefficients[1][:, None] * np.sin(phases)
    return waves.sum(axis=0)
