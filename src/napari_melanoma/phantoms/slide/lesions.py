"""Melanomas and nevi of a phantom section, with ulceration and necrosis.

Positions are (along, depth) in micrometers: along the surface of the section, and below it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from napari_melanoma.phantoms.slide.config import FIRST_LESION_LABEL, TissueKind
from napari_melanoma.phantoms.slide.looks import Floats
from napari_melanoma.phantoms.slide.tissue import (
    STEP_UM,
    SectionDrawing,
    SkinLayers,
    blob_outline,
    polygon_area,
    random_curve,
    smooth_bump,
)

Point = tuple[float, float]  # (along, depth)


@dataclass(frozen=True)
class PhantomLesionRequest:
    """Requested properties of a lesion.

    ``index``: number of the lesion in its section, from 0; ``along``: position of its middle; ``depth_um``: Breslow
    thickness of a melanoma, or depth of a nevus.
    """

    kind: Literal["malignant", "benign"]
    index: int
    along: float
    half_width_um: float
    depth_um: float
    pigment: float
    ulcerated: bool
    mitoses_per_mm2: float


@dataclass(frozen=True)
class PhantomLesion:
    """A lesion: its nests (vertex, 2), and the line along which its thickness is measured.

    ``depth_line``: the ends of the thickest part of a melanoma, from the granular layer or the base of the ulcer to the
    deepest point; None for a nevus. ``ulcer``: first and last position along the section. ``cell_um``: distance between
    cells. ``tone``: color of the cytoplasm, from -1 (pale, pink) to 1. ``desmoplastic``: share with few cells.
    ``bodies``: number of nests that are the main mass of a melanoma; they are the first of ``nests``. ``necrosis``:
    outlines of necrotic areas in them.
    """

    request: PhantomLesionRequest
    nests: tuple[Floats, ...]
    depth_line: tuple[Point, Point] | None
    ulcer: tuple[float, float] | None
    cell_um: float
    tone: float
    desmoplastic: float = 0.0
    bodies: int = 0
    necrosis: tuple[Floats, ...] = ()

    @property
    def breslow_um(self) -> float | None:
        """Breslow thickness in micrometers."""
        return None if self.depth_line is None else self.depth_line[1][1] - self.depth_line[0][1]


def grow_melanoma(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, request: PhantomLesionRequest
) -> tuple[SkinLayers, PhantomLesion]:
    """Generate an invasive melanoma of exactly the requested thickness.

    Returns the layers of the skin with the lesion, and the lesion.
    """
    healthy = _lift_skin(layers, rng, request)
    ulcer = _draw_ulcer_range(rng, request) if request.ulcerated else None
    skin = healthy if ulcer is None else _add_ulcer(drawing, rng, healthy, ulcer, request)
    satellite = rng.uniform(34, 80) if request.depth_um > 600 and rng.random() < 0.3 else 0.0
    lower = _lower_border(rng, healthy, skin, request, request.depth_um - satellite)
    label = FIRST_LESION_LABEL + request.index
    _add_lymphocytes(drawing, rng, skin, lower, request)
    nests = _body_outlines(skin, lower)
    bodies = len(nests)
    if satellite:
        nests.append(_deepest_nest(rng, skin, lower, request, satellite))
    nests += _fringe_nests(rng, skin, lower, request)
    measure = _breslow_line(skin, nests)
    nests += _junctional_nests(rng, skin, lower, request)
    for nest in nests:
        drawing.add(label, nest)
    cell = float(rng.uniform(11.5, 15))
    tone, poor = float(rng.uniform(-1, 1)), float(rng.uniform(0.1, 0.5))
    return skin, PhantomLesion(request, tuple(nests), measure, ulcer, cell, tone, poor, bodies)


def _relative_position(layers: SkinLayers, request: PhantomLesionRequest) -> Floats:
    """Return the distance of each position from the lesion's middle, in half widths of the lesion."""
    return (layers.along - request.along) / request.half_width_um


def _lift_skin(layers: SkinLayers, rng: np.random.Generator, request: PhantomLesionRequest) -> SkinLayers:
    """Raise the skin over a melanoma, and efface its ridges."""
    t = _relative_position(layers, request)
    lift = min(rng.uniform(0.02, 0.16) * request.depth_um, 500.0) * smooth_bump(t / 1.3)
    thin = rng.uniform(34, 55) + 4 * random_curve(rng, len(t), 90)
    effaced = 0.92 * smooth_bump(t / 1.15) ** 0.5
    thickness = (layers.junction - layers.granular) * (1 - effaced) + effaced * thin
    calm = (1 - 0.75 * smooth_bump(t / 1.2)) * layers.granular
    keratin = layers.granular - layers.top
    granular = calm - lift
    return layers.with_upper_layers(top=granular - keratin, granular=granular, junction=granular + thickness)


def _draw_ulcer_range(rng: np.random.Generator, request: PhantomLesionRequest) -> tuple[float, float]:
    """Choose the first and last position of an ulcer."""
    half = rng.uniform(0.18, 0.42) * request.half_width_um
    middle = request.along + rng.uniform(-0.25, 0.25) * request.half_width_um
    return middle - half, middle + half


def _add_ulcer(
    drawing: SectionDrawing,
    rng: np.random.Generator,
    layers: SkinLayers,
    ulcer: tuple[float, float],
    request: PhantomLesionRequest,
) -> SkinLayers:
    """Replace the epidermis by a crust."""
    along = layers.along
    middle, half = (ulcer[0] + ulcer[1]) / 2, (ulcer[1] - ulcer[0]) / 2
    rim = np.clip((1 - np.abs(along - middle) / half) / 0.45, 0, 1)
    open_to_air = rim > 0
    sunk = layers.junction - layers.granular + min(rng.uniform(30, 160), 0.2 * request.depth_um)
    base = layers.granular + rim * rim * (3 - 2 * rim) * sunk * (1 + 0.08 * random_curve(rng, len(along), 60))
    where = np.flatnonzero(open_to_air)[::2]
    thick = rim[where] ** 0.4 * rng.uniform(35, 110) * (1 + 0.3 * random_curve(rng, len(along), 50)[where])
    upper = np.stack([along[where], base[where] - np.maximum(thick, 2)], axis=1)
    drawing.add(TissueKind.CRUST, np.concatenate([upper, np.stack([along[where], base[where] + 1], axis=1)[::-1]]))
    healed = layers.top, layers.granular, layers.junction
    return layers.with_upper_layers(*(np.where(open_to_air, base, depths) for depths in healed))


def _lower_border(
    rng: np.random.Generator, healthy: SkinLayers, skin: SkinLayers, request: PhantomLesionRequest, depth_um: float
) -> Floats:
    """Return the depth of the lower border at each position; its deepest point is ``depth_um`` below ``skin``.

    ``healthy``: the skin without the ulcer; ``skin``: the skin with it.
    """
    t = _relative_position(healthy, request)
    roundness = rng.uniform(2.0, 3.2)
    lean = rng.uniform(-0.25, 0.25)
    dome = np.clip(1 - np.abs((t - lean * (1 - t**2)) / 0.93) ** roundness, 0, None) ** rng.uniform(0.4, 0.62)
    lobes = 1 + 0.11 * random_curve(rng, len(t), 0.3 * request.half_width_um) + 0.03 * random_curve(rng, len(t), 70)
    shape = dome * lobes
    ulcerated_um = skin.granular - healthy.granular
    is_thick = shape > 0.15 * shape.max()
    scale = np.min((depth_um + ulcerated_um[is_thick]) / shape[is_thick])
    return healthy.granular + scale * shape


def _body_outlines(skin: SkinLayers, lower: Floats) -> list[Floats]:
    """Return the outlines of the areas between the junction and the lower border."""
    bodies = []
    thick = lower > skin.junction + 6
    edges = np.flatnonzero(np.diff(np.concatenate([[0], thick, [0]])))
    for first, stop in zip(edges[::2], edges[1::2], strict=True):
        if stop - first >= 24:
            part = np.unique(
                np.append(np.arange(first, stop, 2), first + np.argmax((lower - skin.granular)[first:stop]))
            )
            along = skin.along[part]
            upper = np.stack([along, skin.junction[part]], axis=1)
            bodies.append(np.concatenate([upper, np.stack([along, lower[part]], axis=1)[::-1]]))
    return bodies


def _deepest_value(layers: SkinLayers, depths: Floats, along: float, half: float) -> float:
    """Return the largest depth of a layer at most ``half`` from a position."""
    around = along + np.arange(-half, half + STEP_UM, STEP_UM)
    return float(layers.depth_at(depths, around).max())


def _deepest_nest(
    rng: np.random.Generator, skin: SkinLayers, lower: Floats, request: PhantomLesionRequest, room: float
) -> Floats:
    """Draw a nest below the body that reaches exactly the requested thickness."""
    radius = 0.36 * room
    at = float(skin.along[np.argmax(lower - skin.granular)])
    nest = blob_outline(rng, (at, 0.0), (radius * rng.uniform(1, 1.5), radius), 0.08)
    below = nest[:, 1] - skin.depth_at(skin.granular, nest[:, 0])
    return nest + np.array([0.0, request.depth_um - float(below.max())])


def _fringe_nests(
    rng: np.random.Generator, skin: SkinLayers, lower: Floats, request: PhantomLesionRequest
) -> list[Floats]:
    """Draw separate nests around the body that do not touch each other or exceed the requested thickness."""
    nests: list[Floats] = []
    placed: list[tuple[float, float, float]] = []
    for _ in range(int(request.half_width_um / 13)):
        along = request.along + rng.uniform(-0.95, 0.95) * request.half_width_um
        radius = rng.uniform(11, 36)
        depth = (
            _deepest_value(skin, np.maximum(lower, skin.junction), along, 2 * radius)
            + 1.7 * radius
            + rng.exponential(35)
        )
        limit = -_deepest_value(skin, -skin.granular, along, 2.2 * radius) + request.depth_um - 12
        clear = all(np.hypot(along - a, depth - d) > 1.8 * (radius + r) for a, d, r in placed)
        if clear and depth + 1.7 * radius < limit and skin.start + 80 < along < skin.end - 80:
            placed.append((along, depth, radius))
            nests.append(blob_outline(rng, (along, depth), (radius * rng.uniform(0.9, 1.3), radius), 0.12))
    return nests


def _junctional_nests(
    rng: np.random.Generator, skin: SkinLayers, lower: Floats, request: PhantomLesionRequest
) -> list[Floats]:
    """Draw nests in the epidermis: at the junction beside the body, and smaller, higher ones above the body."""
    nests = []
    along = request.along - 1.4 * request.half_width_um
    while along < request.along + 1.4 * request.half_width_um:
        along += rng.uniform(45, 120)
        if not skin.start + 60 < along < skin.end - 60:
            continue
        index = int((along - skin.start) / STEP_UM)
        top, bottom = float(skin.granular[index]), float(skin.junction[index])
        over_body = bool(
            np.any(lower[max(0, index - 60) : index + 60] > skin.junction[max(0, index - 60) : index + 60] + 4)
        )
        radius = min(rng.uniform(7, 11) if over_body else rng.uniform(12, 26), (bottom - top) / 3.4)
        if radius > 6:
            depth = bottom - 1.55 * radius if over_body else bottom - 0.5 * radius
            nests.append(blob_outline(rng, (along, depth), (radius * rng.uniform(1, 1.4), radius), 0.06))
    return nests


def _add_lymphocytes(
    drawing: SectionDrawing, rng: np.random.Generator, skin: SkinLayers, lower: Floats, request: PhantomLesionRequest
) -> None:
    for _ in range(int(rng.uniform(0.1, 1) * request.half_width_um / 60)):
        along = request.along + rng.uniform(-1.05, 1.05) * request.half_width_um
        depth = float(skin.depth_at(np.maximum(lower, skin.junction), np.array([along]))[0]) + rng.uniform(-10, 70)
        size = rng.uniform(22, 60)
        drawing.add(TissueKind.INFILTRATE, blob_outline(rng, (along, depth), (size * rng.uniform(1, 2.6), size), 0.3))


def _breslow_line(skin: SkinLayers, nests: list[Floats]) -> tuple[Point, Point]:
    """Return the ends of the line from the surface straight down to the deepest point."""
    points = np.concatenate(nests)
    above = skin.depth_at(skin.granular, points[:, 0])
    deepest = int(np.argmax(points[:, 1] - above))
    along, depth = points[deepest]
    return (float(along), float(above[deepest])), (float(along), float(depth))


def grow_nevus(
    drawing: SectionDrawing, rng: np.random.Generator, layers: SkinLayers, request: PhantomLesionRequest
) -> tuple[SkinLayers, PhantomLesion]:
    """Generate a nevus: regular nests at the tips of the ridges and below them, smaller with depth.

    Returns the layers of the skin with the lesion, and the lesion.
    """
    t = _relative_position(layers, request)
    lift = rng.uniform(0, 0.3) * request.depth_um * smooth_bump(t / 1.3)
    skin = layers.with_upper_layers(
        top=layers.top - lift,
        granular=layers.granular - lift,
        junction=layers.junction - lift + 12 * smooth_bump(t / 1.2),
    )
    nests = _ridge_nests(rng, skin, request) + _dermal_nests(rng, skin, request)
    for nest in nests:
        drawing.add(FIRST_LESION_LABEL + request.index, nest)
    return skin, PhantomLesion(
        request, tuple(nests), None, None, float(rng.uniform(8.6, 10)), float(rng.uniform(-1, 1))
    )


def _ridge_nests(rng: np.random.Generator, skin: SkinLayers, request: PhantomLesionRequest) -> list[Floats]:
    inner = skin.junction[1:-1]
    tips = np.flatnonzero((inner >= skin.junction[:-2]) & (inner > skin.junction[2:])) + 1
    nests, last = [], -np.inf
    for tip in tips[np.abs(_relative_position(skin, request)[tips]) < 1]:
        along, depth = float(skin.along[tip]), float(skin.junction[tip])
        if along - last > 85 and depth - skin.granular[tip] > 65 and rng.random() < 0.75:
            last = along
            nests.append(blob_outline(rng, (along, depth - 12), (rng.uniform(17, 25), rng.uniform(17, 24)), 0.04))
    return nests


def _dermal_nests(rng: np.random.Generator, skin: SkinLayers, request: PhantomLesionRequest) -> list[Floats]:
    """Draw rows of nests below the junction that do not touch each other."""
    nests: list[Floats] = []
    placed = np.zeros((0, 3))
    below = 0.0
    while below < request.depth_um:
        share = below / request.depth_um
        radius = 36 - 24 * share
        reach = request.half_width_um * (1 - 0.55 * share**1.5)
        along = request.along - reach + rng.uniform(0, 2) * radius
        while along < request.along + reach:
            size = radius * rng.uniform(0.6, 1.1)
            depth = (
                _deepest_value(skin, skin.junction, along, 70)
                + 1.5 * radius
                + 10
                + below
                + rng.uniform(-0.3, 0.3) * radius
            )
            floor = float(skin.depth_at(skin.bottom, np.array([along]))[0])
            dense = rng.random() < 0.95 - 0.3 * share
            clear = np.all(np.hypot(placed[:, 0] - along, placed[:, 1] - depth) > 1.22 * (placed[:, 2] + size) + 2)
            if dense and clear and skin.start + 60 < along < skin.end - 60 and depth + 2 * radius < floor:
                placed = np.append(placed, [[along, depth, size]], axis=0)
                nests.append(
                    blob_outline(rng, (along, depth), (size * rng.uniform(1.0, 1.2), size * rng.uniform(0.85, 1)), 0.06)
                )
            along += radius * rng.uniform(1.0, 2.0)
        below += 1.5 * radius
    return nests


# Necrosis

_RADII_UM = 75.0, 250.0  # range of half axes; such areas are visible at 6 micrometers per pixel
_MARGIN_UM, _MIN_HEIGHT_UM = 24.0, 90.0  # margin of viable tumor; height that a body needs for necrosis
_MAX_TRIES = 500


@dataclass(frozen=True)
class _MelanomaBody:
    """One body of a melanoma: depth of its upper and lower border (position,) at positions ``along``."""

    along: Floats
    upper: Floats
    lower: Floats

    @property
    def inner_height(self) -> Floats:
        """Height at each position, without the margins."""
        return self.lower - self.upper - 2 * _MARGIN_UM


def add_necrosis(
    drawing: SectionDrawing, rng: np.random.Generator, lesion: PhantomLesion, share: float
) -> PhantomLesion:
    """Add necrosis to a melanoma's bodies, away from their borders, so that outline and thickness are unchanged.

    ``share``: requested share of the area of the bodies, 0 to 1; it may not be reached if there is not enough space.
    """
    bodies = [_parse_body(nest) for nest in lesion.nests[: lesion.bodies]]
    requested_area = share * sum(map(polygon_area, lesion.nests[: lesion.bodies]))
    weights = np.concatenate(
        [np.clip(body.inner_height + 2 * _MARGIN_UM - _MIN_HEIGHT_UM, 0, None) for body in bodies] or [[]]
    )
    if requested_area <= 0 or not weights.any():
        return lesion
    # Positions of all bodies in one array: the body of each, and the index of the first position of each body.
    body_index = np.repeat(np.arange(len(bodies)), [len(body.along) for body in bodies])
    first = np.cumsum([0] + [len(body.along) for body in bodies])
    chances = weights / weights.sum()
    outlines: list[Floats] = []
    ellipses = np.zeros((0, 4))
    for _ in range(_MAX_TRIES):
        if sum(map(polygon_area, outlines)) >= requested_area:
            break
        position = int(rng.choice(len(chances), p=chances))
        body = bodies[body_index[position]]
        ellipse = _draw_ellipse(rng, body, position - int(first[body_index[position]]))
        distance = np.hypot(*((ellipses[:, :2] - ellipse[:2]) / (ellipses[:, 2:] + ellipse[2:])).T)
        if np.all(distance > 1.1):
            ellipses = np.vstack([ellipses, ellipse])
            outlines.append(_clip_to_body(body, _draw_ragged_outline(rng, ellipse)))
    for outline in outlines:
        drawing.add(TissueKind.NECROSIS, outline)
    return replace(lesion, necrosis=tuple(outlines))


def _parse_body(outline: Floats) -> _MelanomaBody:
    """Split the outline of a body, which is the upper border followed by the reversed lower border."""
    half = len(outline) // 2
    upper, lower = outline[:half], outline[half:][::-1]
    return _MelanomaBody(upper[:, 0], upper[:, 1], lower[:, 1])


def _draw_ellipse(rng: np.random.Generator, body: _MelanomaBody, index: int) -> Floats:
    """Choose center (along, depth) and half axes of an ellipse, (4,), that fits into a body at a position."""
    radius = rng.uniform(*_RADII_UM)
    half_height = min(radius * rng.uniform(0.6, 1.0), float(body.inner_height[index]) / 2)
    top, bottom = body.upper[index] + _MARGIN_UM + half_height, body.lower[index] - _MARGIN_UM - half_height
    return np.array([body.along[index], rng.uniform(top, max(top, bottom)), radius, half_height])


def _draw_ragged_outline(rng: np.random.Generator, ellipse: Floats) -> Floats:
    """Draw an outline with coarse lobes and fine teeth around an ellipse."""
    outline = blob_outline(rng, (0.0, 0.0), (float(ellipse[2]), float(ellipse[3])), 0.16)
    turn = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    teeth = np.ones(len(turn))
    for lobe in (11, 17, 23, 31):
        teeth += 0.035 * np.cos(lobe * turn + rng.uniform(0, 2 * np.pi))
    return outline * teeth[:, None] + ellipse[:2]


def _clip_to_body(body: _MelanomaBody, outline: Floats) -> Floats:
    """Move points outside the body back to its margin."""
    middle = int(np.searchsorted(body.along, outline[:, 0].mean()).clip(0, len(body.along) - 1))
    narrow = np.flatnonzero(body.inner_height < 4)
    first = narrow[narrow < middle].max(initial=-1) + 1
    last = narrow[narrow > middle].min(initial=len(body.along)) - 1
    along = np.clip(outline[:, 0], body.along[first], body.along[last])
    upper = np.interp(along, body.along, body.upper) + _MARGIN_UM
    lower = np.interp(along, body.along, body.lower) - _MARGIN_UM
    return np.stack([along, np.clip(outline[:, 1], upper, np.maximum(upper, lower))], axis=1)
