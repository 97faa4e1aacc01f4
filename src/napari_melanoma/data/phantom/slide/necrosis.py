"""Necrosis: pale, ragged areas of dead cells inside of a melanoma, which no table tells of and the image shows."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_melanoma.data.phantom.slide.kinds import Kind
from napari_melanoma.data.phantom.slide.lesions import Lesion
from napari_melanoma.data.phantom.slide.polygons import area
from napari_melanoma.data.phantom.slide.shapes import Drawing, Floats, blob

# Half axes in micrometres: 150 to 500 across are seen at 6 micrometres per pixel.
_RADII = 75.0, 250.0
# So much living tumour stays around it, and a body thinner than the last has no room for any.
_MARGIN_UM, _THINNEST_UM = 24.0, 90.0
_TRIES = 500


@dataclass(frozen=True)
class _Body:
    """One body of a melanoma: its upper and lower border (position,) in micrometres."""

    along: Floats
    upper: Floats
    lower: Floats

    @property
    def room(self) -> Floats:
        """Height inside of the margins."""
        return self.lower - self.upper - 2 * _MARGIN_UM


def add_necrosis(drawing: Drawing, rng: np.random.Generator, lesion: Lesion, share: float) -> Lesion:
    """Let parts of a melanoma's bodies die, away from their borders, so that outline and thickness stay.

    ``share``: of the area of its bodies, 0 to 1; what has no room is left out.
    """
    bodies = [_read(nest) for nest in lesion.nests[: lesion.bodies]]
    wanted = share * sum(map(area, lesion.nests[: lesion.bodies]))
    weights = np.concatenate([np.clip(body.room + 2 * _MARGIN_UM - _THINNEST_UM, 0, None) for body in bodies] or [[]])
    if wanted <= 0 or not weights.any():
        return lesion
    owner = np.repeat(np.arange(len(bodies)), [len(body.along) for body in bodies])
    first = np.cumsum([0] + [len(body.along) for body in bodies])
    chances = weights / weights.sum()
    found: list[Floats] = []
    taken = np.zeros((0, 4))
    for _ in range(_TRIES):
        if sum(map(area, found)) >= wanted:
            break
        place = int(rng.choice(len(chances), p=chances))
        body = bodies[owner[place]]
        ellipse = _ellipse(rng, body, place - int(first[owner[place]]))
        apart = np.hypot(*((taken[:, :2] - ellipse[:2]) / (taken[:, 2:] + ellipse[2:])).T)
        if np.all(apart > 1.1):
            taken = np.vstack([taken, ellipse])
            found.append(_within(body, _ragged(rng, ellipse)))
    for outline in found:
        drawing.add(Kind.NECROSIS, outline)
    return replace(lesion, necrosis=tuple(found))


def _read(outline: Floats) -> _Body:
    """Take the outline of a body apart: the upper border, then the lower one backwards."""
    half = len(outline) // 2
    upper, lower = outline[:half], outline[half:][::-1]
    return _Body(upper[:, 0], upper[:, 1], lower[:, 1])


def _ellipse(rng: np.random.Generator, body: _Body, index: int) -> Floats:
    """Middle (along, depth) and half axes of an area at a position of a body, of a height that has room there."""
    radius = rng.uniform(*_RADII)
    tall = min(radius * rng.uniform(0.6, 1.0), float(body.room[index]) / 2)
    top, bottom = body.upper[index] + _MARGIN_UM + tall, body.lower[index] - _MARGIN_UM - tall
    return np.array([body.along[index], rng.uniform(top, max(top, bottom)), radius, tall])


def _ragged(rng: np.random.Generator, ellipse: Floats) -> Floats:
    """An outline with coarse lobes and fine teeth around an ellipse."""
    outline = blob(rng, (0.0, 0.0), (float(ellipse[2]), float(ellipse[3])), 0.16)
    turn = np.linspace(0, 2 * np.pi, len(outline), endpoint=False)
    teeth = np.ones(len(turn))
    for lobe in (11, 17, 23, 31):
        teeth += 0.035 * np.cos(lobe * turn + rng.uniform(0, 2 * np.pi))
    return outline * teeth[:, None] + ellipse[:2]


def _within(body: _Body, outline: Floats) -> Floats:
    """Move what would leave the body back to its margin."""
    middle = int(np.searchsorted(body.along, outline[:, 0].mean()).clip(0, len(body.along) - 1))
    narrow = np.flatnonzero(body.room < 4)
    first = narrow[narrow < middle].max(initial=-1) + 1
    last = narrow[narrow > middle].min(initial=len(body.along)) - 1
    along = np.clip(outline[:, 0], body.along[first], body.along[last])
    upper = np.interp(along, body.along, body.upper) + _MARGIN_UM
    lower = np.interp(along, body.along, body.lower) - _MARGIN_UM
    return np.stack([along, np.clip(outline[:, 1], upper, np.maximum(upper, lower))], axis=1)
