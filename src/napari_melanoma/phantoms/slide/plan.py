"""The plan of a phantom slide, from which its pixels are rendered: layout, sections, stains and artifacts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import ConfigError
from napari_melanoma.phantoms import random_stream
from napari_melanoma.phantoms.slide.config import SlidePhantomConfig, TissueKind
from napari_melanoma.phantoms.slide.lesions import (
    PhantomLesion,
    PhantomLesionRequest,
    add_necrosis,
    grow_melanoma,
    grow_nevus,
)
from napari_melanoma.phantoms.slide.looks import NUCLEUS_TYPE_INDEX, Floats, SlideLook, family_looks, get_look
from napari_melanoma.phantoms.slide.tissue import (
    SectionDrawing,
    SkinLayers,
    SurfaceFrame,
    TissueOutline,
    add_scars,
    fill_dermis,
    grow_layers,
    polygon_bounds,
    random_curve,
    resample_outline,
)

MM = 1000.0  # micrometers
_SMALLEST_UM = 300.0  # width and depth of a section
MAX_DEPTH_SHARE = 0.75  # largest depth of a lesion, as a share of the depth of its section


@dataclass(frozen=True)
class LayoutCell:
    """A part of the slide for one section, in micrometers."""

    top: float
    left: float
    height: float
    width: float


@dataclass(frozen=True)
class SectionSite:
    """The position and the size of a section."""

    frame: SurfaceFrame
    width_um: float
    depth_um: float


def lay_out_sections(config: SlidePhantomConfig) -> list[LayoutCell]:
    """Divide the slide into cells for its sections, in rows."""
    height, width = (side * config.mpp for side in config.size)
    count = config.sections
    if not count:
        return []

    def room(columns: int) -> float:
        return min(width / columns / 1.5, height / -(-count // columns))

    columns = max(range(1, count + 1), key=room)
    rows = -(-count // columns)
    size = height / rows, width / columns
    return [LayoutCell((n // columns) * size[0], (n % columns) * size[1], *size) for n in range(count)]


def find_section_site(config: SlidePhantomConfig, rng: np.random.Generator, cell: LayoutCell) -> SectionSite:
    """Choose size and position of a section in its cell, as requested or the largest that fits."""
    options = config.section
    needed = (config.lesions.breslow_mm or 0) * MM / MAX_DEPTH_SHARE + 1
    if _section_height(needed) > cell.height:
        raise too_thick_error(needed * MAX_DEPTH_SHARE, cell.height)
    width = rng.uniform(0.8, 0.95) * min(cell.width, 22000)
    depth = max(rng.uniform(0.62, 0.88) * min(cell.height, 7000), needed)
    width = width if options.width_mm is None else options.width_mm * MM
    depth = depth if options.depth_mm is None else options.depth_mm * MM
    angle = np.radians(rng.uniform(-9, 9) if options.rotation_deg is None else options.rotation_deg)
    curvature = float(rng.uniform(-0.35, 1.0) * min(0.9 / width, 0.35 / depth))
    for _ in range(80):
        site = _center_site(SectionSite(SurfaceFrame(0, 0, angle, curvature), width, depth), cell)
        if site is not None:
            return site
        width *= 1 if options.width_mm is not None else 0.96
        depth = depth if options.depth_mm is not None else max(0.985 * depth, needed)
        angle *= 1 if options.rotation_deg is not None else 0.9
        curvature *= 0.9
        if width < _SMALLEST_UM or depth < _SMALLEST_UM:
            break
    raise ConfigError(
        f"a section of {width / MM:.2f} x {depth / MM:.2f} mm does not fit into the {cell.width / MM:.2f} x "
        f"{cell.height / MM:.2f} mm that the slide has for it: choose a larger size, fewer sections, or another "
        "section.width_mm, depth_mm or rotation_deg."
    )


def too_thick_error(breslow_um: float, depth_um: float) -> ConfigError:
    """Return the error for a melanoma that does not fit; the caller raises it."""
    return ConfigError(
        f"a Breslow thickness of {breslow_um / MM:.2f} mm does not fit into {depth_um / MM:.2f} mm of depth: choose "
        f"at most {0.85 * MAX_DEPTH_SHARE * depth_um / MM:.2f} mm, a larger size, fewer sections or a "
        "greater section.depth_mm."
    )


def _section_height(depth_um: float) -> float:
    """Return the height of a straight section, from a surface that a lesion raises to the uneven bottom."""
    return 1.03 * depth_um + min(500.0, 0.12 * depth_um) + 80


def _center_site(site: SectionSite, cell: LayoutCell) -> SectionSite | None:
    """Move a section into the middle of its cell; None if it does not fit or its arc closes on itself."""
    frame, bend = site.frame, abs(site.frame.curvature)
    if bend * site.width_um > 2.8 or site.frame.curvature * site.depth_um > 0.8:
        return None
    along = np.linspace(-site.width_um / 2 - 30, site.width_um / 2 + 30, 60)
    above, below = 1.03 * site.depth_um - _section_height(site.depth_um), 1.03 * site.depth_um
    edges = [frame.to_slide(along, np.full(60, depth)) for depth in (above, below)]
    points = np.concatenate(edges)
    (left, top), (right, bottom) = points.min(axis=0), points.max(axis=0)
    if right - left > cell.width or bottom - top > cell.height:
        return None
    x = cell.left + cell.width / 2 - (left + right) / 2
    y = cell.top + cell.height / 2 - (top + bottom) / 2
    return SectionSite(SurfaceFrame(float(x), float(y), frame.angle, frame.curvature), site.width_um, site.depth_um)


_INSET_UM = 4.5  # distance of the nuclei that line an outline from that outline


@dataclass(frozen=True)
class AlignedNuclei:
    """Nuclei in rows, sorted by ``y``: positions on the slide in micrometers, directions in radians, and types.

    A nucleus is drawn only if the pixel at its center has the label ``label``.
    """

    x: Floats
    y: Floats
    angle: Floats
    species: NDArray[np.int16]
    label: NDArray[np.uint8]


@dataclass(frozen=True)
class SectionPlan:
    """The plan of one section.

    ``polygons``: (vertex, 2) as x, y in pixels of level 0; later polygons cover earlier ones. ``labels``: the label of
    each polygon; ``boxes``: (polygon, 4), top, left, bottom, right of each. ``elastosis``: sun damage of the upper
    dermis, 0 to 1. ``folds``: lines (point, 2) as x, y in micrometers.
    """

    index: int
    frame: SurfaceFrame
    layers: SkinLayers
    lesions: tuple[PhantomLesion, ...]
    polygons: tuple[Floats, ...]
    labels: tuple[int, ...]
    boxes: Floats
    aligned_nuclei: AlignedNuclei
    elastosis: float
    folds: tuple[Floats, ...] = ()

    @cached_property
    def box(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right of the visible part (the tissue, and crusts on it) in pixels of level 0."""
        is_visible = np.array([index == 0 or label == TissueKind.CRUST for index, label in enumerate(self.labels)])
        top, left = self.boxes[is_visible, :2].min(axis=0)
        bottom, right = self.boxes[is_visible, 2:].max(axis=0)
        return float(top), float(left), float(bottom), float(right)

    def box_um(self, mpp: float) -> tuple[float, float, float, float]:
        """Return top, left, bottom and right of the visible part in micrometers; ``mpp``: micrometers per pixel."""
        top, left, bottom, right = self.box
        return top * mpp, left * mpp, bottom * mpp, right * mpp


def make_layer_outlines(rng: np.random.Generator, layers: SkinLayers) -> list[TissueOutline]:
    """Convert the layers to the outlines of tissue, fat, keratin and epidermis."""
    fat = np.minimum(layers.fat, layers.bottom)
    return [
        TissueOutline(TissueKind.DERMIS, _tissue_outline(rng, layers)),
        TissueOutline(TissueKind.FAT, _layer_outline(layers, fat, layers.bottom)),
        TissueOutline(TissueKind.KERATIN, _layer_outline(layers, layers.top, layers.granular)),
        TissueOutline(TissueKind.EPIDERMIS, _layer_outline(layers, layers.granular, layers.junction)),
    ]


def _layer_outline(layers: SkinLayers, upper: Floats, lower: Floats) -> Floats:
    along = layers.along[::2]
    above, below = np.stack([along, upper[::2]], axis=1), np.stack([along, lower[::2]], axis=1)
    return np.concatenate([above, below[::-1]])


def _tissue_outline(rng: np.random.Generator, layers: SkinLayers) -> Floats:
    """Return the outline of the tissue, with uneven ends."""
    outline = _layer_outline(layers, layers.top, layers.bottom)
    half = len(outline) // 2
    ends = []
    for side, corner in ((1.0, half - 1), (-1.0, 0)):
        above, below = outline[corner, 1] + 90, outline[len(outline) - 1 - corner, 1]
        depth = np.arange(above, below, 3.0)
        along = outline[corner, 0] + side * np.abs(9 + 7 * random_curve(rng, len(depth), 25))
        ends.append(np.stack([along, depth], axis=1))
    return np.concatenate([outline[:half], ends[0], outline[half:], ends[1][::-1]])


def place_outlines(
    frame: SurfaceFrame, outlines: list[TissueOutline], mpp: float
) -> tuple[tuple[Floats, ...], tuple[int, ...], Floats]:
    """Convert outlines to slide coordinates: ``polygons``, ``labels`` and ``boxes`` of ``SectionPlan``.

    ``mpp``: micrometers per pixel.
    """
    polygons = tuple(frame.to_slide(*outline.points.T) / mpp for outline in outlines)
    boxes = np.array([polygon_bounds(polygon) for polygon in polygons])
    return polygons, tuple(int(outline.label) for outline in outlines), boxes


def align_nuclei(
    rng: np.random.Generator, frame: SurfaceFrame, layers: SkinLayers, drawing: SectionDrawing
) -> AlignedNuclei:
    """Place nuclei in rows: the basal layer, and those that line glands and vessels."""
    rows = [_basal_nuclei(rng, layers)]
    rows += [_ring_nuclei(rng, outline) for outline in drawing.outlines if outline.ring]
    along, depth, turn, kind, label = (np.concatenate(column) for column in zip(*rows, strict=True))
    x, y = frame.to_slide(along, depth).T
    angle = turn + frame.heading(along)
    order = np.argsort(y)
    return AlignedNuclei(x[order], y[order], angle[order], kind[order].astype(np.int16), label[order].astype(np.uint8))


def _basal_nuclei(rng: np.random.Generator, layers: SkinLayers) -> tuple[Floats, ...]:
    """Place the nuclei of the basal layer, perpendicular to the junction.

    Returns position along the section, depth, direction, type and label of each nucleus, as ``_ring_nuclei`` does.
    """
    curve = np.stack([layers.along, layers.junction], axis=1)
    points, direction = resample_outline(np.concatenate([curve, curve[::-1]]), 5.2)
    keep = np.arange(len(points)) < len(points) // 2
    points, direction = points[keep], direction[keep]
    points = points + rng.normal(0, 0.8, points.shape)
    points[:, 0] += 4.2 * np.sin(direction)
    points[:, 1] -= 4.2 * np.cos(direction)
    count = len(points)
    turn = direction + np.pi / 2 + rng.normal(0, 0.2, count)
    species = np.full(count, NUCLEUS_TYPE_INDEX["basal"])
    return points[:, 0], points[:, 1], turn, species, np.full(count, TissueKind.EPIDERMIS)


def _ring_nuclei(rng: np.random.Generator, outline: TissueOutline) -> tuple[Floats, ...]:
    """Place nuclei along the inside of an outline."""
    points, direction = resample_outline(outline.points, outline.pitch)
    x, y = outline.points.T
    clockwise = np.sign(np.dot(x, np.roll(y, -1)) - np.dot(y, np.roll(x, -1)))
    inset = _INSET_UM if outline.across else 0.5 * _INSET_UM
    points = points + rng.normal(0, 0.7, points.shape)
    points[:, 0] -= clockwise * inset * np.sin(direction)
    points[:, 1] += clockwise * inset * np.cos(direction)
    turn = direction + (np.pi / 2 if outline.across else 0) + rng.normal(0, 0.2, len(points))
    species = np.full(len(points), NUCLEUS_TYPE_INDEX[outline.ring or ""])
    return points[:, 0], points[:, 1], turn, species, np.full(len(points), outline.label)


# Artifacts

# Optical density of inks in red, green, blue
INKS = {
    "blue": (2.1, 1.35, 0.35),
    "green": (1.9, 0.55, 1.25),
    "black": (2.0, 1.95, 1.8),
    "red": (0.12, 1.5, 1.3),
}


@dataclass(frozen=True)
class PenMark:
    """A pen mark: the color of its ink, a line (point, 2) as x, y in micrometers, and half of its width."""

    ink: str
    line: Floats
    half_width_um: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Top, left, bottom, right in micrometers."""
        (left, top), (right, bottom) = self.line.min(axis=0), self.line.max(axis=0)
        margin = 1.3 * self.half_width_um
        return top - margin, left - margin, bottom + margin, right + margin


@dataclass(frozen=True)
class SlideSpots:
    """Round spots on the slide (dust, or areas out of focus): centers and radii in micrometers, float64 (spot,)."""

    x: Floats
    y: Floats
    radius: Floats

    def find_in_box(self, top: float, left: float, bottom: float, right: float) -> NDArray[np.int64]:
        """Return the indices of the spots that overlap a rectangle in micrometers."""
        rows = (self.y + self.radius > top) & (self.y - self.radius < bottom)
        return np.flatnonzero(rows & (self.x + self.radius > left) & (self.x - self.radius < right))


def draw_pen(rng: np.random.Generator, box: tuple[float, float, float, float]) -> PenMark:
    """Generate a pen mark: a circle in an area, or a line or a dot at its edge.

    ``box``: top, left, bottom, right of the area in micrometers.
    """
    top, left, bottom, right = box
    height, width = bottom - top, right - left
    side = min(height, width)
    kind = rng.choice(["loop", "line", "dot"])
    if kind == "loop":
        turn = np.linspace(0, 2 * np.pi * rng.uniform(0.85, 1.05), 60) + rng.uniform(0, 6)
        center = left + width * rng.uniform(0.3, 0.7), top + height * rng.uniform(0.3, 0.7)
        reach = side * rng.uniform(0.2, 0.45)
        line = np.stack([center[0] + 1.3 * reach * np.cos(turn), center[1] + reach * np.sin(turn)], axis=1)
    else:
        start = np.array([left + width * rng.uniform(0, 1), top + height * rng.choice([0.02, 0.98])])
        length = side * (rng.uniform(0.3, 0.7) if kind == "line" else 0.02)
        t, way = np.linspace(0, 1, 30)[:, None], rng.uniform(0, np.pi)
        line = start + t * length * np.array([np.cos(way), np.sin(way)])
        line = line + 0.03 * length * np.sin(5 * t + rng.uniform(0, 6))
    return PenMark(str(rng.choice(list(INKS))), line, float(np.clip(side * rng.uniform(0.012, 0.03), 60, 400)))


def line_distance(line: Floats, x: Floats, y: Floats) -> Floats:
    """Measure the distance of pixels from a line, float32 (row, column).

    ``x``, ``y``: positions of columns (column,) and rows (row,).
    """
    nearest = np.full((len(y), len(x)), np.inf, np.float32)
    for (x0, y0), (x1, y1) in pairwise(line.tolist()):
        step_x, step_y = x1 - x0, y1 - y0
        across, down = (x - x0).astype(np.float32)[None], (y - y0).astype(np.float32)[:, None]
        square = max(step_x**2 + step_y**2, 1e-9)
        share = np.clip((across * np.float32(step_x / square)) + down * np.float32(step_y / square), 0, 1)
        np.minimum(
            nearest, (across - share * np.float32(step_x)) ** 2 + (down - share * np.float32(step_y)) ** 2, out=nearest
        )
    return np.sqrt(nearest)


def ink_density(pen: PenMark, x: Floats, y: Floats) -> Floats:
    """Return the density of ink on pixels, which is streaky and darker at its edge.

    ``x``, ``y``: positions of columns and rows in micrometers. Returns float32 (row, column): 0 without ink, about 1 in
    the middle of the line.
    """
    distance = line_distance(pen.line, x, y) / np.float32(pen.half_width_um)
    ragged_edge = 1 + 0.05 * np.sin(x / 37.0)[None] * np.sin(y / 29.0)[:, None]
    amount = np.clip((ragged_edge.astype(np.float32) - distance) / 0.08, 0, 1)
    streaks = 0.8 + 0.06 * np.sin(x / 53.0 + 2)[None] + 0.06 * np.sin((y[:, None] + 0.4 * x[None]) / 71.0)
    return amount * streaks.astype(np.float32) * (0.8 + 0.35 * np.clip(distance, 0, 1) ** 4)


# The whole plan


@dataclass(frozen=True, eq=False)
class PhantomSlidePlan:
    """The complete plan of a slide.

    ``stains``: (4, 3), optical densities of hematoxylin, eosin, melanin and blood in red, green, blue.
    """

    config: SlidePhantomConfig
    look: SlideLook
    stains: Floats
    sections: tuple[SectionPlan, ...]
    pens: tuple[PenMark, ...]
    dust: SlideSpots
    defocus: SlideSpots

    @property
    def breslow_mm(self) -> float | None:
        """Breslow thickness of the thickest melanoma in mm; None without a melanoma."""
        depths = [lesion.breslow_um for section in self.sections for lesion in section.lesions if lesion.breslow_um]
        return max(depths) / MM if depths else None

    @property
    def levels(self) -> int:
        if self.config.levels is not None:
            return self.config.levels
        return max(1, int(np.ceil(np.log2(max(self.config.size) / 256))) + 1)

    def level_size(self, level: int) -> tuple[int, int]:
        """Return height and width of a level in its pixels."""
        height, width = self.config.size
        return -(-height // 2**level), -(-width // 2**level)


def plan_slide(config: SlidePhantomConfig | None = None) -> PhantomSlidePlan:
    """Make all random choices of a slide; raise ``ConfigError`` if it is too small for its content."""
    config = config or SlidePhantomConfig()
    looks = (get_look(config.look),) if config.look else family_looks(config.family)
    look = looks[int(random_stream(config.seed, "look").integers(len(looks)))]
    cells = lay_out_sections(config)
    sections = tuple(_plan_section(config, index, cell) for index, cell in enumerate(cells))
    rng = random_stream(config.seed, "pens")
    boxes = [section.box_um(config.mpp) for section in sections]
    whole_slide = (0.0, 0.0, config.size[0] * config.mpp, config.size[1] * config.mpp)
    pens = tuple(
        draw_pen(rng, boxes[number % len(boxes)] if boxes else whole_slide) for number in range(config.artefacts.pens)
    )
    stains = _draw_stains(config, look)
    return PhantomSlidePlan(config, look, stains, sections, pens, _draw_dust(config), _draw_defocus(config, sections))


def _draw_stains(config: SlidePhantomConfig, look: SlideLook) -> Floats:
    """Return the stain vectors of the look with random variation, multiplied by the strength of each dye, (4, 3)."""
    rng = random_stream(config.seed, "stain")
    stain = look.stain
    vectors = np.array([stain.hematoxylin, stain.eosin, stain.melanin, stain.blood])
    vectors = np.clip(vectors + 0.05 * config.stain_variation * rng.standard_normal((4, 3)), 0.01, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(0.22 * config.stain_variation * rng.standard_normal(4)) * [stain.nuclei, stain.cytoplasm, 1, 1]
    strength[:2] *= config.stain_strength
    return (vectors * strength[:, None]).astype(np.float32)


def _draw_dust(config: SlidePhantomConfig) -> SlideSpots:
    """Choose specks on the glass, about one in two square millimeters."""
    rng = random_stream(config.seed, "dust")
    height, width = (side * config.mpp for side in config.size)
    count = rng.poisson(0.45 * height * width / MM**2)
    return SlideSpots(
        rng.uniform(0, width, count), rng.uniform(0, height, count), 3 + rng.exponential(7, count).clip(0, 40)
    )


def _draw_defocus(config: SlidePhantomConfig, sections: tuple[SectionPlan, ...]) -> SlideSpots:
    """Choose round areas on the sections that are out of focus."""
    rng = random_stream(config.seed, "defocus")
    count = config.artefacts.defocus if sections else 0
    chosen = rng.integers(max(len(sections), 1), size=count)
    boxes = np.array([sections[index].box for index in chosen]).reshape(-1, 4) * config.mpp
    shares = rng.uniform(0.1, 0.9, (2, count))
    y = boxes[:, 0] + shares[0] * (boxes[:, 2] - boxes[:, 0])
    x = boxes[:, 1] + shares[1] * (boxes[:, 3] - boxes[:, 1])
    side = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return SlideSpots(x, y, side * rng.uniform(0.12, 0.3, count))


def _plan_section(config: SlidePhantomConfig, index: int, cell: LayoutCell) -> SectionPlan:
    seed = config.seed
    site = find_section_site(config, random_stream(seed, "section", index, "site"), cell)
    stretch = 1 / np.cos(np.radians(config.section.oblique_deg))
    rng = random_stream(seed, "section", index, "layers")
    layers = grow_layers(rng, site.width_um, site.depth_um, stretch)
    drawing = SectionDrawing()
    dermis_rng = random_stream(seed, "section", index, "dermis")
    amounts = {
        "follicles": dermis_rng.uniform(0.2, 0.9),
        "inflammation": dermis_rng.uniform(0, 1),
        "stretch": stretch,
    }
    elastosis = dermis_rng.uniform(0, 1) ** 1.5
    requests = _draw_requests(config, index, site)
    melanomas = [request for request in requests if request.kind == "malignant"]
    masses = [np.array([request.along, request.half_width_um, request.depth_um]) for request in melanomas]
    scar_rng = random_stream(seed, "section", index, "scars")
    add_scars(drawing, scar_rng, layers, masses, scar_rng.uniform(0.8, 1.4))
    fill_dermis(drawing, dermis_rng, layers, amounts)
    layers, lesions = _grow_lesions(config, index, requests, layers, drawing)
    outlines = make_layer_outlines(random_stream(seed, "section", index, "ends"), layers) + drawing.outlines
    nuclei = align_nuclei(random_stream(seed, "section", index, "lined"), site.frame, layers, drawing)
    plan = SectionPlan(
        index, site.frame, layers, lesions, *place_outlines(site.frame, outlines, config.mpp), nuclei, elastosis
    )
    return replace(plan, folds=_draw_folds(config, index, site, layers))


def _requested_or(requested: float | None, random_value: float) -> float:
    """Return the requested value, or else the random one."""
    return float(random_value if requested is None else requested)


def _draw_folds(config: SlidePhantomConfig, index: int, site: SectionSite, layers: SkinLayers) -> tuple[Floats, ...]:
    """Choose the lines along which the tissue is folded, (point, 2) as x, y in micrometers."""
    rng = random_stream(config.seed, "section", index, "folds")
    folds = []
    for _ in range(config.artefacts.folds):
        t = np.linspace(-0.1, 1.1, 26)
        along = rng.uniform(layers.start, layers.end) + site.width_um * rng.uniform(-0.25, 0.25) * t
        along = along + 0.015 * site.width_um * np.sin(rng.uniform(2, 6) * t + rng.uniform(0, 6))
        folds.append(site.frame.to_slide(along, t * site.depth_um))
    return tuple(folds)


def _grow_lesions(
    config: SlidePhantomConfig,
    index: int,
    requests: list[PhantomLesionRequest],
    layers: SkinLayers,
    drawing: SectionDrawing,
) -> tuple[SkinLayers, tuple[PhantomLesion, ...]]:
    """Generate all lesions of a section, side by side."""
    lesions = []
    for request in requests:
        rng = random_stream(config.seed, "section", index, "lesion", request.index)
        grow = grow_melanoma if request.kind == "malignant" else grow_nevus
        layers, lesion = grow(drawing, rng, layers, request)
        if request.kind == "malignant":
            necrosis_rng = random_stream(config.seed, "section", index, "necrosis", request.index)
            lesion = add_necrosis(drawing, necrosis_rng, lesion, config.lesions.necrosis)
        lesions.append(lesion)
    return layers, tuple(lesions)


def _draw_requests(config: SlidePhantomConfig, index: int, site: SectionSite) -> list[PhantomLesionRequest]:
    """Choose the properties and position of each lesion."""
    options, rng = config.lesions, random_stream(config.seed, "section", index, "lesions")
    kinds = ["malignant"] * options.malignant + ["benign"] * options.benign
    if not kinds:
        return []
    middles, widths = _divide_section(rng, kinds, site.width_um)
    requests = []
    for number, kind in enumerate(kinds):
        depth = _draw_depth(config, site, rng, index, number) if kind == "malignant" else rng.uniform(180, 650)
        half_width = _draw_half_width(config, rng, number, kind, depth, widths[number])
        along = middles[number] + rng.uniform(-0.06, 0.06) * widths[number]
        is_first = number == 0
        if is_first and options.position is not None:
            along = (options.position - 0.5) * site.width_um
        if is_first and options.ulceration is not None:
            ulcerated = options.ulceration
        else:
            ulcerated = bool(rng.random() < 0.08 + 0.1 * depth / MM)
        requests.append(
            PhantomLesionRequest(
                "malignant" if kind == "malignant" else "benign",
                number,
                float(along),
                float(half_width),
                float(depth),
                _requested_or(options.pigment, rng.beta(0.7, 1.6)),
                ulcerated and kind == "malignant",
                _requested_or(options.mitoses_per_mm2, rng.uniform(0, 3) + 4 * rng.random() * depth / MM),
            )
        )
    return requests


def _divide_section(rng: np.random.Generator, kinds: list[str], width_um: float) -> tuple[list[float], list[float]]:
    """Divide a section among its lesions, in random order; melanomas get twice as much as nevi.

    Returns the middle and the width of each part in micrometers.
    """
    weights = np.array([2.0 if kind == "malignant" else 1.0 for kind in kinds])
    widths = width_um * weights / weights.sum()
    order = rng.permutation(len(kinds))
    ends = np.cumsum(widths[order])
    middles = np.empty(len(kinds))
    middles[order] = ends - widths[order] / 2 - width_um / 2
    return middles.tolist(), widths.tolist()


def _draw_half_width(
    config: SlidePhantomConfig, rng: np.random.Generator, number: int, kind: str, depth: float, available_um: float
) -> float:
    """Choose half of the width of a lesion, limited so that it fits into its part of the section."""
    if number == 0 and kind == "malignant" and config.lesions.width_mm is not None:
        return config.lesions.width_mm * MM / 2
    half_width = rng.uniform(300, 900) + (rng.uniform(0.4, 0.9) * depth if kind == "malignant" else 0)
    return min(half_width, 0.34 * available_um)


def _draw_depth(
    config: SlidePhantomConfig, site: SectionSite, rng: np.random.Generator, section: int, lesion: int
) -> float:
    """Choose the Breslow thickness of a melanoma in micrometers; the first of the first section is the thickest.

    ``section``, ``lesion``: indices of the section and of the lesion in it.
    """
    max_depth = MAX_DEPTH_SHARE * site.depth_um
    depth = np.exp(rng.uniform(np.log(250), np.log(min(4500, max(0.8 * max_depth, 300)))))
    slide_rng = random_stream(config.seed, "breslow")
    requested = config.lesions.breslow_mm
    thickest = (
        requested * MM
        if requested is not None
        else np.exp(slide_rng.uniform(np.log(280), np.log(min(4500, max(0.85 * max_depth, 320)))))
    )
    if thickest > max_depth:
        raise too_thick_error(float(thickest), site.depth_um)
    if section == 0 and lesion == 0:
        return float(thickest)
    return float(np.clip(min(depth, 0.95 * thickest) if lesion else thickest * rng.uniform(0.6, 0.97), 150, None))
