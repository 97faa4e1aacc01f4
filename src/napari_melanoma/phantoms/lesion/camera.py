"""The photograph of phantom skin: light, objects on the skin (hairs, bubbles, ink, rulers), optics and noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.phantoms import random_stream
from napari_melanoma.phantoms.lesion.skin import LesionOutline, Plane, SkinTissue, noise, ramp
from napari_melanoma.phantoms.lesion.traits import VEIL, CameraTraits, Map, PhantomModality, encode_srgb, reflectance

Light = NDArray[np.float32]  # linear sRGB, (row, column, channel)
APERTURE = 0.485  # radius of the round field of a dermatoscope, as a share of the width of the view


def illuminate(tissue: SkinTissue, plane: Plane, traits: CameraTraits, modality: PhantomModality, seed: int) -> Light:
    """Calculate the light that the skin reflects, without objects on it, float32 linear sRGB (row, column, channel)."""
    light = reflectance(tissue.melanin, tissue.blood)
    light += tissue.veil[..., None] * (_veil_color(tissue) - light)
    if modality == "macroscopic" or traits.shine > 0:
        rng = random_stream(seed, "camera", "relief")
        shade, glint = _relief(tissue.relief_mm, plane, rng)
        light *= shade[..., None]
        light += np.float32(0.35 * traits.shine) * glint[..., None]
    return light


def expose(light: Light, plane: Plane, traits: CameraTraits, seed: int) -> NDArray[np.uint8]:
    """Simulate the exposure of the photograph.

    ``light``: float32 linear sRGB (row, column, channel) of the scene in even light; changed in place. ``plane``: its
    pixels. Returns uint8 sRGB (row, column, channel).
    """
    light *= _illumination(plane, traits, random_stream(seed, "camera", "light"))[..., None]
    light *= _white_balance(traits.cast, random_stream(seed, "camera", "cast"))
    if traits.aperture:
        light *= _aperture(plane)[..., None]
        light += np.float32(0.004)
    light = _blur(light, traits.blur_mm / plane.pixel_mm)
    return encode_srgb(_add_noise(light, traits.noise, random_stream(seed, "camera", "noise")))


def _veil_color(tissue: SkinTissue) -> NDArray[np.float32]:
    """Return the color of a blue-white veil, which is darker on darker skin."""
    melanin, blood = (np.full((1, 1), value, np.float32) for value in tissue.base)
    return VEIL * (np.float32(0.15) + np.float32(1.5) * reflectance(melanin, blood).mean())


def _relief(height_mm: Map, plane: Plane, rng: np.random.Generator) -> tuple[Map, Map]:
    """Calculate the effect of slanting light: shading, a factor of about 1, and specular reflections, 0 to 1."""
    slope_y, slope_x = (slope / np.float32(plane.pixel_mm) for slope in np.gradient(height_mm))
    azimuth, elevation = rng.uniform(0, 2 * math.pi), math.radians(rng.uniform(42, 60))
    light_y, light_x = np.array([math.sin(azimuth), math.cos(azimuth)], np.float32) / np.float32(math.tan(elevation))
    slope_from_light = slope_y * light_y + slope_x * light_x
    shade = np.clip(1 - np.float32(0.75) * slope_from_light, 0.45, 1.5)
    patches = ramp(noise(plane, rng, 3.5) + np.float32(0.6) * noise(plane, rng, 0.25), 0.5, 2.4)
    return shade, ramp(-slope_from_light, 0.02, 0.5) * patches


def _illumination(plane: Plane, traits: CameraTraits, rng: np.random.Generator) -> Map:
    """Return the brightness of the light in each pixel: more from one side, less in the corners."""
    half_diagonal = math.hypot(*plane.extent_mm) / 2
    y, x = plane.y[:, None] / np.float32(half_diagonal), plane.x[None] / np.float32(half_diagonal)
    direction = rng.uniform(0, 2 * math.pi)
    slant = (y * math.sin(direction) + x * math.cos(direction)).astype(np.float32)
    uneven = np.float32(traits.gradient) * (np.float32(0.42) * slant - np.float32(0.14) * slant * slant)
    radius = np.sqrt(y * y + x * x)
    corners = np.float32(0.75 * traits.vignette) * radius**3
    return np.float32(rng.uniform(1.02, 1.25)) * (1 + uneven) * (1 - corners)


def _white_balance(cast: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Choose the gains of red, green and blue: warmer or colder, greener or pinker."""
    warm, pink = np.clip(rng.normal(0, (0.16, 0.05)), -0.28, 0.28) * cast
    return np.exp(np.array([warm + pink, -pink, -warm + pink], np.float32))


def _aperture(plane: Plane) -> Map:
    """Return the round field of a dermatoscope: 1 inside, 0 outside, with a soft edge."""
    radius = np.hypot(plane.y[:, None], plane.x[None])
    edge = APERTURE * plane.extent_mm[1]
    return ramp(radius, edge * 1.012, edge * 0.985)


def _blur(light: Light, sigma_px: float) -> Light:
    """Blur the image with a Gaussian; below 0.2 pixels this would be invisible and is skipped."""
    from scipy.ndimage import gaussian_filter

    if sigma_px < 0.2:
        return light
    return np.stack([gaussian_filter(channel, sigma_px, truncate=3) for channel in np.moveaxis(light, -1, 0)], axis=-1)


def _add_noise(light: Light, amount: float, rng: np.random.Generator) -> Light:
    """Add noise that grows with the square root of the light and is mostly equal in the three channels."""
    if amount == 0:
        return light
    grain = rng.standard_normal(light.shape, dtype=np.float32)
    grain += np.float32(0.66) * grain.sum(axis=-1, keepdims=True)
    grain *= np.float32(0.011 * amount) * np.sqrt(np.maximum(light, np.float32(1e-4)))
    grain += light
    return grain


# Objects on the skin

# Linear sRGB of the darkest and the fairest hair.
_DARK_HAIR, _FAIR_HAIR = np.array([0.008, 0.006, 0.005]), np.array([0.20, 0.12, 0.06])
_INK = np.array([0.13, 0.06, 0.42], np.float32)  # share of red, green and blue light that ink transmits


def blend_color(light: Light, coverage: Map, color: NDArray) -> None:
    """Blend a color over the image.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``coverage``: share of the color, 0 to 1,
    (row, column).
    """
    covered = coverage > 0
    background = light[covered]
    light[covered] = background + coverage[covered][:, None] * (color.astype(np.float32) - background)


def add_hairs(light: Light, plane: Plane, count: int, skin_type: int, rng: np.random.Generator) -> None:
    """Draw hairs on the skin: curved, tapered, mostly along one direction, each with a highlight and a shadow.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    direction = rng.uniform(0, 2 * math.pi)
    fairness = rng.uniform(0, 0.9) if skin_type <= 2 else rng.uniform(0, 0.12)
    hair, gloss, shadow = (np.zeros(plane.shape, np.float32) for _ in range(3))
    for _ in range(count):
        curve, half_width = _choose_hair(plane, direction, rng)
        toward_light = np.array([-1.0, 0.6]) * half_width[:, None]
        draw_stroke(shadow, curve - 1.6 * toward_light, 1.2 * half_width)
        draw_stroke(hair, curve, half_width)
        start = int(rng.integers(4, 40))
        shiny = slice(start, start + int(rng.integers(6, 22)))
        draw_stroke(gloss, (curve + 0.4 * toward_light)[shiny], 0.22 * half_width[shiny])
    color = _DARK_HAIR + fairness * (_FAIR_HAIR - _DARK_HAIR)
    light *= 1 - np.float32(0.16) * shadow[..., None]
    blend_color(light, np.float32(0.97) * hair, color)
    blend_color(light, np.float32(0.4) * gloss * hair, color + 0.22)


def _choose_hair(plane: Plane, direction: float, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Choose the curve (n, 2) and half widths (n,) in pixels of one hair, thick at its root, thin at its tip."""
    root = (rng.random(2) - 0.5) * plane.extent_mm
    length, angle, bend = rng.uniform(2.5, 11), direction + rng.normal(0, 0.45), rng.normal(0, 0.13)
    if rng.random() < 0.12:
        angle += math.pi / 2
    heading = np.array([math.sin(angle), math.cos(angle)])
    sideways = np.array([heading[1], -heading[0]])
    corners = np.stack([root, root + length * (heading / 2 + bend * sideways), root + length * heading])
    curve = bezier_points(plane.to_pixels(corners))
    taper = np.clip(np.linspace(1.0, -0.05, len(curve)), 0.12, None) ** 0.6
    return curve, taper * rng.uniform(0.024, 0.046) / plane.pixel_mm


def add_bubbles(light: Light, plane: Plane, count: int, rng: np.random.Generator) -> None:
    """Draw air bubbles in the gel, close together: a bright rim, a darker ring within it, a glint.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    cluster_center = (rng.random(2) - 0.5) * plane.extent_mm
    for _ in range(count):
        radius = float(np.clip(rng.lognormal(-1.25, 0.55), 0.08, 1.1))
        center = cluster_center + rng.normal(0, 2.6, 2)
        glint = rng.uniform(0, 2 * math.pi)
        box = plane.box_around((float(center[0]), float(center[1])), 1.3 * radius)
        part = plane.crop(box)
        if box.height and box.width:
            _draw_bubble(light[box.slices], part, center, radius, glint)


def _draw_bubble(light: Light, part: Plane, center: NDArray, radius: float, glint: float) -> None:
    """Draw one bubble on its part of the image; ``glint``: direction of its reflection in radians."""
    y, x = (part.y[:, None] - center[0]) / radius, (part.x[None] - center[1]) / radius
    r = np.hypot(y, x).astype(np.float32)
    soft = 0.8 * part.pixel_mm / radius
    rim = ramp(np.abs(r - 0.95), 0.05 + soft, 0.0)
    ring = ramp(r, 0.55, 0.86) * ramp(r, 0.97, 0.90)
    light_side = 0.55 + 0.45 * (y * math.sin(glint) + x * math.cos(glint)) / np.maximum(r, 1e-3)
    spot = ramp(np.hypot(y - 0.55 * math.sin(glint), x - 0.55 * math.cos(glint)).astype(np.float32), 0.16 + soft, 0.0)
    light *= (1 - np.float32(0.22) * ring + np.float32(0.07) * ramp(r, 0.9, 0.4))[..., None]
    blend_color(light, (np.float32(0.62) * rim * light_side).astype(np.float32), np.ones(3))
    blend_color(light, (np.float32(0.85) * spot).astype(np.float32), np.ones(3))


def add_ink(light: Light, plane: Plane, outline: LesionOutline, rng: np.random.Generator) -> None:
    """Draw a surgeon's pen line at a distance around a lesion; it is not closed, and its ink is uneven.

    ``light``: float32 linear sRGB (row, column, channel), changed in place. ``plane``: its pixels.
    """
    angle = np.linspace(0, 2 * math.pi * rng.uniform(0.55, 0.98), 160) + rng.uniform(0, 2 * math.pi)
    phase, wave = rng.uniform(0, 2 * math.pi, 2), rng.uniform(0.02, 0.07, 2)
    radius = outline.radius_mm * rng.uniform(1.12, 1.3) + rng.uniform(0.3, 0.8)
    radius *= 1 + wave[0] * np.cos(2 * angle + phase[0]) + wave[1] * np.cos(3 * angle + phase[1])
    points = outline.center_mm + radius[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=1)
    line = np.zeros(plane.shape, np.float32)
    draw_stroke(line, plane.to_pixels(points), np.full(160, rng.uniform(0.18, 0.36) / plane.pixel_mm))
    flow = np.clip(0.62 + 0.22 * noise(plane, rng, 0.8) + 0.15 * noise(plane, rng, 0.15), 0.05, 0.95)
    light *= 1 - (line * flow)[..., None] * (1 - _INK)


_PRINT_COLOR = np.array([0.02, 0.02, 0.025], np.float32)
_PAPER_COLOR = np.array([0.80, 0.79, 0.74], np.float32)
_STRIP_MM = 9.0  # width of a paper ruler
# Lines of each character in a box of width 1 and height 2, (x, y) with y down.
_GLYPHS: dict[str, list[list[tuple[float, float]]]] = {
    "0": [[(0.3, 0), (0.7, 0), (1, 0.4), (1, 1.6), (0.7, 2), (0.3, 2), (0, 1.6), (0, 0.4), (0.3, 0)]],
    "1": [[(0.1, 0.45), (0.55, 0), (0.55, 2)]],
    "2": [[(0, 0.45), (0.3, 0), (0.7, 0), (1, 0.4), (0.9, 0.9), (0, 2), (1, 2)]],
    "3": [[(0, 0.2), (0.4, 0), (0.9, 0.3), (0.8, 0.85), (0.4, 0.95), (0.9, 1.1), (1, 1.6), (0.5, 2), (0, 1.8)]],
    "4": [[(0.75, 2), (0.75, 0), (0, 1.4), (1, 1.4)]],
    "5": [[(0.95, 0), (0.15, 0), (0.05, 0.9), (0.6, 0.8), (1, 1.2), (0.9, 1.75), (0.5, 2), (0, 1.8)]],
    "6": [[(0.85, 0), (0.2, 0.7), (0, 1.4), (0.3, 2), (0.7, 2), (1, 1.5), (0.7, 1), (0.3, 1), (0.05, 1.3)]],
    "7": [[(0, 0), (1, 0), (0.4, 2)]],
    "8": [[(0.5, 0.9), (0.1, 0.5), (0.5, 0), (0.9, 0.5), (0.5, 0.9), (0, 1.5), (0.5, 2), (1, 1.5), (0.5, 0.9)]],
    "9": [[(0.95, 0.7), (0.7, 1), (0.3, 1), (0, 0.5), (0.3, 0), (0.7, 0), (1, 0.6), (0.8, 1.4), (0.15, 2)]],
    "m": [
        [(0, 2), (0, 0.9)],
        [(0, 1.1), (0.25, 0.9), (0.5, 1.1), (0.5, 2)],
        [(0.5, 1.1), (0.75, 0.9), (1, 1.1), (1, 2)],
    ],
}


@dataclass(frozen=True)
class RulerPlacement:
    """Position of a ruler with a tick each millimeter.

    ``first_mm``: first tick (y, x) in mm from the center of the view; ``rotation``: direction of the row of ticks in
    radians; ``ticks``: their number; ``inward``: 1 if the middle of the view is below the row of ticks, -1 if it is
    above.
    """

    first_mm: tuple[float, float]
    rotation: float
    ticks: int
    inward: int

    @property
    def along(self) -> NDArray[np.float64]:
        """Unit vector (y, x) from tick to tick."""
        return np.array([math.sin(self.rotation), math.cos(self.rotation)])

    @property
    def across(self) -> NDArray[np.float64]:
        """Unit vector (y, x) across the row of ticks, towards the middle of the view."""
        return self.inward * np.array([math.cos(self.rotation), -math.sin(self.rotation)])

    def point_at(self, along_mm: float, across_mm: float) -> NDArray[np.float64]:
        """Return a point of the ruler, (y, x) in mm from the center of the view."""
        return np.array(self.first_mm) + along_mm * self.along + across_mm * self.across

    def ends_mm(self) -> NDArray[np.float64]:
        """Return the first and the last tick, (2, (y, x)) in mm from the center of the view."""
        return np.stack([self.point_at(0, 0), self.point_at(self.ticks - 1, 0)])


def place_ruler(
    plane: Plane, modality: PhantomModality, outlines: Sequence[LesionOutline], rng: np.random.Generator
) -> RulerPlacement:
    """Place a ruler along the upper or the lower edge, whichever is further from the lesions."""
    height, width = plane.extent_mm
    above = min((outline.center_mm[0] - outline.radius_mm for outline in outlines), default=0.0) + height / 2
    below = height / 2 - max((outline.center_mm[0] + outline.radius_mm for outline in outlines), default=0.0)
    inward, room = (1, above) if above > below else (-1, below)
    if modality == "macroscopic":
        share, offset = 0.94, min(_STRIP_MM, max(0.16 * height, room - 1.0))
    else:
        share, offset = rng.uniform(0.36, 0.54), 0.09 * height
    ticks = max(2, int(share * width))
    turn = rng.uniform(-0.05, 0.05)
    middle = -inward * (height / 2 - offset)
    start = -math.cos(turn) * (ticks - 1) / 2
    return RulerPlacement((middle + math.tan(turn) * start, start), turn, ticks, inward)


def add_ruler(
    light: Light, plane: Plane, ruler: RulerPlacement, modality: PhantomModality, rng: np.random.Generator
) -> None:
    """Draw a ruler into ``light``, float32 linear sRGB (row, column, channel).

    It is a numbered strip of paper in macroscopic photographs, and a scale on the glass in dermoscopic ones.
    """
    marks = np.zeros(plane.shape, np.float32)
    if modality == "macroscopic":
        _draw_paper(light, plane, ruler, rng)
        _draw_ticks(marks, plane, ruler, (-1.6, -2.4, -3.2), 0.09)
        for tick in range(0, ruler.ticks, 10):
            _draw_text(marks, plane, ruler, str(tick // 10), (tick, -5.6), 0.85)
    else:
        _draw_ticks(marks, plane, ruler, (0.45, 0.8, 0.8), 0.045)
        draw_stroke(marks, plane.to_pixels(ruler.ends_mm()), np.full(2, 0.045 / plane.pixel_mm))
        _draw_text(marks, plane, ruler, "mm", (-1.2, 0.25), 0.4)
    blend_color(light, np.float32(0.88) * marks, _PRINT_COLOR)


def _draw_ticks(
    marks: Map, plane: Plane, ruler: RulerPlacement, lengths_mm: tuple[float, float, float], half_width_mm: float
) -> None:
    """Draw the ticks.

    ``lengths_mm``: of most ticks, of each fifth and of each tenth; positive towards the middle of the view, negative
    away from it.
    """
    for tick in range(ruler.ticks):
        length = lengths_mm[2] if tick % 10 == 0 else lengths_mm[1] if tick % 5 == 0 else lengths_mm[0]
        ends = np.stack([ruler.point_at(tick, 0), ruler.point_at(tick, length)])
        draw_stroke(marks, plane.to_pixels(ends), np.full(2, half_width_mm / plane.pixel_mm))


def _draw_text(
    marks: Map, plane: Plane, ruler: RulerPlacement, text: str, at_mm: tuple[float, float], width_mm: float
) -> None:
    """Draw characters centered on a point of the ruler (along, across), upright in the image."""
    down = np.array([ruler.along[1], -ruler.along[0]])
    corner = ruler.point_at(*at_mm) - width_mm * (down + ruler.along * (0.5 + 0.75 * (len(text) - 1)))
    for position, character in enumerate(text):
        for line in _GLYPHS[character]:
            points = [corner + width_mm * ((x + 1.5 * position) * ruler.along + y * down) for x, y in line]
            half_widths = np.full(len(line), 0.1 * width_mm / plane.pixel_mm)
            draw_stroke(marks, plane.to_pixels(np.array(points)), half_widths)


def _draw_paper(light: Light, plane: Plane, ruler: RulerPlacement, rng: np.random.Generator) -> None:
    """Draw a white paper strip on the skin, from the ticks outwards, with a soft shadow along its edge."""
    y, x = plane.y[:, None] - ruler.first_mm[0], plane.x[None] - ruler.first_mm[1]
    inward_mm = (y * ruler.across[0] + x * ruler.across[1]).astype(np.float32)
    paper = ramp(inward_mm, 0.5 * plane.pixel_mm, -0.5 * plane.pixel_mm) * ramp(
        inward_mm, -_STRIP_MM - 0.05, -_STRIP_MM
    )
    light *= 1 - np.float32(0.3) * (ramp(inward_mm, 0.7, 0.0) * (1 - paper))[..., None]
    grain = 1 + np.float32(0.025) * noise(plane, rng, 0.3)
    light += paper[..., None] * (_PAPER_COLOR * grain[..., None] - light)


def draw_stroke(coverage: Map, points: NDArray, half_widths: NDArray) -> None:
    """Draw an anti-aliased line into a map of coverage; larger values in the map are kept.

    ``coverage``: float32 (row, column), 0 to 1; changed in place. ``points``: corners of the line (n, 2) as (row,
    column), whole numbers at pixel centers; they may be outside the image. ``half_widths``: half the width in pixels at
    each corner, (n,). A line that is thinner than a pixel is one pixel wide and fainter.
    """
    points, half_widths = _densify(points, half_widths)
    reach = math.ceil(float(half_widths.max()) + 0.5)
    rows, columns = np.mgrid[-reach : reach + 1, -reach : reach + 1].reshape(2, -1)
    nearest = np.rint(points).astype(np.int64)
    row, column = nearest[:, :1] + rows, nearest[:, 1:] + columns
    distance = np.hypot(row - points[:, :1], column - points[:, 1:])
    covered = np.clip(half_widths[:, None] + 0.5 - distance, 0, np.minimum(1, 2 * half_widths[:, None]))
    drawn = (covered > 0) & (row >= 0) & (row < coverage.shape[0]) & (column >= 0) & (column < coverage.shape[1])
    index = row[drawn] * coverage.shape[1] + column[drawn]
    np.maximum.at(coverage.reshape(-1), index, covered[drawn].astype(np.float32))


def bezier_points(corners: NDArray, samples: int = 64) -> NDArray:
    """Return points on a quadratic Bezier curve, (samples, 2)."""
    t = np.linspace(0, 1, samples)[:, None]
    return (1 - t) ** 2 * corners[0] + 2 * t * (1 - t) * corners[1] + t**2 * corners[2]


def _densify(points: NDArray, half_widths: NDArray) -> tuple[NDArray, NDArray]:
    """Interpolate points and half widths of a line, so that points are at most half a pixel apart."""
    lengths = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(points, axis=0).T))])
    positions = np.linspace(0, lengths[-1], max(2, math.ceil(2 * lengths[-1]) + 1))
    dense_points = np.stack([np.interp(positions, lengths, axis) for axis in points.T], axis=1)
    return dense_points, np.interp(positions, lengths, half_widths)
