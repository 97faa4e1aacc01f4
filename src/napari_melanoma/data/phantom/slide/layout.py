"""Where sections lie on the glass, and how large they may be."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.data.phantom.slide.config import SlidePhantomConfig
from napari_melanoma.data.phantom.slide.frame import Frame

MM = 1000.0
_SMALLEST_UM = 300.0
# A lesion may reach so deep into its section, as a share.
DEEPEST = 0.75


@dataclass(frozen=True)
class Cell:
    """A part of the slide for one section, in micrometres."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class Site:
    """Where and how large a section is."""

    frame: Frame
    width_um: float
    depth_um: float


def lay_out(config: SlidePhantomConfig) -> list[Cell]:
    """Divide the slide among its sections, in rows."""
    height, width = (side * config.mpp for side in config.size)
    count = config.sections
    if not count:
        return []

    def room(columns: int) -> float:
        return min(width / columns / 1.5, height / -(-count // columns))

    columns = max(range(1, count + 1), key=room)
    rows = -(-count // columns)
    size = height / rows, width / columns
    return [Cell((n // columns) * size[0], (n % columns) * size[1], *size) for n in range(count)]


def find_site(config: SlidePhantomConfig, rng: np.random.Generator, cell: Cell) -> Site:
    """Find the largest place for a section, or the one that is asked for."""
    asked = config.section
    needed = (config.lesions.breslow_mm or 0) * MM / DEEPEST + 1
    if _height(needed) > cell.height:
        raise too_thick(needed * DEEPEST, cell.height)
    width = rng.uniform(0.8, 0.95) * min(cell.width, 22000)
    depth = max(rng.uniform(0.62, 0.88) * min(cell.height, 7000), needed)
    width = width if asked.width_mm is None else asked.width_mm * MM
    depth = depth if asked.depth_mm is None else asked.depth_mm * MM
    angle = np.radians(rng.uniform(-9, 9) if asked.rotation_deg is None else asked.rotation_deg)
    bend = rng.uniform(-0.35, 1.0) * min(0.9 / width, 0.35 / depth) if asked.curvature_per_mm is None else None
    curvature = asked.curvature_per_mm / MM if asked.curvature_per_mm is not None else float(bend or 0.0)
    for _ in range(80):
        site = _centred(Site(Frame(0, 0, angle, curvature), width, depth), cell)
        if site is not None:
            return site
        width *= 1 if asked.width_mm is not None else 0.96
        depth = depth if asked.depth_mm is not None else max(0.985 * depth, needed)
        angle *= 1 if asked.rotation_deg is not None else 0.9
        curvature *= 1 if asked.curvature_per_mm is not None else 0.9
        if width < _SMALLEST_UM or depth < _SMALLEST_UM:
            break
    raise ConfigError(
        f"a section of {width / MM:.2f} x {depth / MM:.2f} mm does not fit into the {cell.width / MM:.2f} x "
        f"{cell.height / MM:.2f} mm that the slide has for it: ask for a larger size, fewer sections, or another "
        "section.width_mm, depth_mm or rotation_deg."
    )


def too_thick(breslow_um: float, depth_um: float) -> ConfigError:
    """Say that a melanoma does not fit; the caller raises it."""
    return ConfigError(
        f"a Breslow thickness of {breslow_um / MM:.2f} mm does not fit into {depth_um / MM:.2f} mm of depth: ask for "
        f"at most {0.85 * DEEPEST * depth_um / MM:.2f} mm, a larger size, fewer sections or a greater section.depth_mm."
    )


def _height(depth_um: float) -> float:
    """Room that a straight section takes, from where a lesion lifts its surface to its uneven bottom."""
    return 1.03 * depth_um + min(500.0, 0.12 * depth_um) + 80


def _centred(site: Site, cell: Cell) -> Site | None:
    """Move a section into the middle of its cell; ``None`` where it does not fit or its arc closes on itself."""
    frame, bend = site.frame, abs(site.frame.curvature)
    if bend * site.width_um > 2.8 or site.frame.curvature * site.depth_um > 0.8:
        return None
    along = np.linspace(-site.width_um / 2 - 30, site.width_um / 2 + 30, 60)
    above, below = 1.03 * site.depth_um - _height(site.depth_um), 1.03 * site.depth_um
    edges = [frame.to_slide(along, np.full(60, depth)) for depth in (above, below)]
    points = np.concatenate(edges)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if right - left > cell.width or bottom - top > cell.height:
        return None
    x = cell.left + cell.width / 2 - (left + right) / 2
    y = cell.top + cell.height / 2 - (top + bottom) / 2
    return Site(Frame(float(x), float(y), frame.angle, frame.curvature), site.width_um, site.depth_um)
