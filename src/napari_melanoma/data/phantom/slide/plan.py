"""From what is asked for to a plan: pure geometry, from which any part of the slide can be drawn."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from napari_melanoma.data.phantom.slide.adnexa import add_scars, furnish
from napari_melanoma.data.phantom.slide.artefacts import Pen, Spots, draw_pen
from napari_melanoma.data.phantom.slide.config import SlidePhantomConfig
from napari_melanoma.data.phantom.slide.layers import Layers, grow_layers
from napari_melanoma.data.phantom.slide.layout import DEEPEST, Cell, Site, find_site, lay_out, too_thick
from napari_melanoma.data.phantom.slide.lesions import Lesion, Request, grow_melanoma, grow_naevus
from napari_melanoma.data.phantom.slide.looks import Look, family_looks, find_look
from napari_melanoma.data.phantom.slide.necrosis import add_necrosis
from napari_melanoma.data.phantom.slide.section import SectionPlan, layer_outlines, line_up, place
from napari_melanoma.data.phantom.slide.shapes import Drawing, Floats
from napari_melanoma.data.phantom.slide.species import NUMBER
from napari_melanoma.data.phantom.streams import stream

MM = 1000.0


@dataclass(frozen=True, eq=False)
class SlidePlan:
    """All that is on a slide; ``stains`` (4, 3): haematoxylin, eosin, melanin, blood in red, green, blue."""

    config: SlidePhantomConfig
    look: Look
    stains: Floats
    sections: tuple[SectionPlan, ...]
    pens: tuple[Pen, ...]
    dust: Spots
    defocus: Spots

    @property
    def breslow_mm(self) -> float | None:
        """Breslow thickness of the thickest lesion in mm, ``None`` where there is no melanoma."""
        thick = [lesion.breslow_um for section in self.sections for lesion in section.lesions if lesion.breslow_um]
        return max(thick) / MM if thick else None

    @property
    def levels(self) -> int:
        """How many levels the pyramid has."""
        if self.config.levels is not None:
            return self.config.levels
        return max(1, int(np.ceil(np.log2(max(self.config.size) / 256))) + 1)

    def level_size(self, level: int) -> tuple[int, int]:
        """Give the size of a level.

        Height and width in its pixels.
        """
        height, width = self.config.size
        return -(-height // 2**level), -(-width // 2**level)


def plan_slide(config: SlidePhantomConfig | None = None) -> SlidePlan:
    """Plan a slide."""
    config = config or SlidePhantomConfig()
    looks = (find_look(config.look),) if config.look else family_looks(config.family)
    look = looks[int(stream(config.seed, "look").integers(len(looks)))]
    cells = lay_out(config)
    sections = tuple(_plan_section(config, index, cell) for index, cell in enumerate(cells))
    rng = stream(config.seed, "pens")
    boxes = [section.box_um(config.mpp) for section in sections]
    everything = (0.0, 0.0, config.size[0] * config.mpp, config.size[1] * config.mpp)
    pens = tuple(
        draw_pen(rng, boxes[number % len(boxes)] if boxes else everything) for number in range(config.artefacts.pens)
    )
    stains = _stains(config, look)
    return SlidePlan(config, look, stains, sections, pens, _dust(config), _defocus(config, sections))


def _stains(config: SlidePhantomConfig, look: Look) -> Floats:
    """Stain vectors of this slide: those of the look, a little off, times the strength of each dye."""
    rng = stream(config.seed, "stain")
    stain = look.stain
    vectors = np.array([stain.haematoxylin, stain.eosin, stain.melanin, stain.blood])
    vectors = np.clip(vectors + 0.05 * config.stain_variation * rng.standard_normal((4, 3)), 0.01, None)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    strength = np.exp(0.22 * config.stain_variation * rng.standard_normal(4)) * [stain.nuclei, stain.cytoplasm, 1, 1]
    strength[:2] *= config.stain_strength
    return (vectors * strength[:, None]).astype(np.float32)


def _dust(config: SlidePhantomConfig) -> Spots:
    """Specks on the glass, about one in two square millimetres."""
    rng = stream(config.seed, "dust")
    height, width = (side * config.mpp for side in config.size)
    count = rng.poisson(1.5 * config.artefacts.dust * height * width / MM**2)
    return Spots(rng.uniform(0, width, count), rng.uniform(0, height, count), 3 + rng.exponential(7, count).clip(0, 40))


def _defocus(config: SlidePhantomConfig, sections: tuple[SectionPlan, ...]) -> Spots:
    """Round areas on the sections that are out of focus."""
    rng = stream(config.seed, "defocus")
    count = config.artefacts.defocus if sections else 0
    chosen = rng.integers(max(len(sections), 1), size=count)
    boxes = np.array([sections[index].box for index in chosen]).reshape(-1, 4) * config.mpp
    shares = rng.uniform(0.1, 0.9, (2, count))
    y = boxes[:, 0] + shares[0] * (boxes[:, 2] - boxes[:, 0])
    x = boxes[:, 1] + shares[1] * (boxes[:, 3] - boxes[:, 1])
    side = np.minimum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
    return Spots(x, y, side * rng.uniform(0.12, 0.3, count))


def _plan_section(config: SlidePhantomConfig, index: int, cell: Cell) -> SectionPlan:
    """Plan one section in its part of the slide."""
    seed = config.seed
    site = find_site(config, stream(seed, "section", index, "site"), cell)
    stretch = 1 / np.cos(np.radians(config.section.oblique_deg))
    rng = stream(seed, "section", index, "layers")
    layers = grow_layers(rng, site.width_um, site.depth_um, stretch)
    options, drawing = config.section, Drawing()
    furnishing = stream(seed, "section", index, "dermis")
    amounts = {
        "follicles": _or(options.follicles_per_mm, furnishing.uniform(0.2, 0.9)),
        "inflammation": _or(options.inflammation, furnishing.uniform(0, 1)),
        "stretch": stretch,
    }
    elastosis = _or(options.elastosis, furnishing.uniform(0, 1) ** 1.5)
    requests = _requests(config, index, site)
    masses = [np.array([r.along, r.half_width_um, r.depth_um]) for r in requests if r.kind == "malignant"]
    scars = stream(seed, "section", index, "scars")
    add_scars(drawing, scars, layers, masses, _or(options.cellular, scars.uniform(0.8, 1.4)))
    furnish(drawing, furnishing, layers, amounts)
    layers, lesions = _grow_lesions(config, index, requests, layers, drawing)
    outlines = layer_outlines(stream(seed, "section", index, "ends"), layers) + drawing.outlines
    lined = line_up(stream(seed, "section", index, "lined"), site.frame, layers, drawing, NUMBER)
    plan = SectionPlan(index, site.frame, layers, lesions, *place(site.frame, outlines, config.mpp), lined, elastosis)
    return replace(plan, folds=_folds(config, index, site, layers))


def _or(given: float | None, drawn: float) -> float:
    """Take what was given, else what was drawn."""
    return float(drawn if given is None else given)


def _folds(config: SlidePhantomConfig, index: int, site: Site, layers: Layers) -> tuple[Floats, ...]:
    """Lines (point, 2) as x, y in micrometres along which the tissue lies double."""
    rng = stream(config.seed, "section", index, "folds")
    folds = []
    for _ in range(config.artefacts.folds):
        t = np.linspace(-0.1, 1.1, 26)
        along = rng.uniform(layers.start, layers.end) + site.width_um * rng.uniform(-0.25, 0.25) * t
        along = along + 0.015 * site.width_um * np.sin(rng.uniform(2, 6) * t + rng.uniform(0, 6))
        folds.append(site.frame.to_slide(along, t * site.depth_um))
    return tuple(folds)


def _grow_lesions(
    config: SlidePhantomConfig, index: int, requests: list[Request], layers: Layers, drawing: Drawing
) -> tuple[Layers, tuple[Lesion, ...]]:
    """Grow all lesions of a section, one beside the other."""
    lesions = []
    for request in requests:
        rng = stream(config.seed, "section", index, "lesion", request.index)
        grow = grow_melanoma if request.kind == "malignant" else grow_naevus
        layers, lesion = grow(drawing, rng, layers, request)
        if request.kind == "malignant":
            dying = stream(config.seed, "section", index, "necrosis", request.index)
            lesion = add_necrosis(drawing, dying, lesion, config.lesions.necrosis)
        lesions.append(lesion)
    return layers, tuple(lesions)


def _requests(config: SlidePhantomConfig, index: int, site: Site) -> list[Request]:
    """Decide what each lesion shall be and where."""
    options, rng = config.lesions, stream(config.seed, "section", index, "lesions")
    kinds = ["malignant"] * options.malignant + ["benign"] * options.benign
    if not kinds:
        return []
    middles, rooms = _shared_out(rng, kinds, site.width_um)
    requests = []
    for number, kind in enumerate(kinds):
        depth = _depth(config, site, rng, (index, number)) if kind == "malignant" else rng.uniform(180, 650)
        half = _half_width(config, rng, number, kind, depth, rooms[number])
        along = middles[number] + rng.uniform(-0.06, 0.06) * rooms[number]
        if number == 0 and options.position is not None:
            along = (options.position - 0.5) * site.width_um
        first = number == 0
        ulcer = (
            options.ulceration if first and options.ulceration is not None else rng.random() < 0.08 + 0.1 * depth / MM
        )
        requests.append(
            Request(
                "malignant" if kind == "malignant" else "benign",
                number,
                float(along),
                float(half),
                float(depth),
                _or(options.pigment, rng.beta(0.7, 1.6)),
                bool(ulcer) and kind == "malignant",
                _or(options.mitoses_per_mm2, rng.uniform(0, 3) + 4 * rng.random() * depth / MM),
            )
        )
    return requests


def _shared_out(rng: np.random.Generator, kinds: list[str], width_um: float) -> tuple[list[float], list[float]]:
    """Share a section among its lesions in any order, melanomas getting twice as much: middles and widths."""
    weights = np.array([2.0 if kind == "malignant" else 1.0 for kind in kinds])
    rooms = width_um * weights / weights.sum()
    order = rng.permutation(len(kinds))
    ends = np.cumsum(rooms[order])
    middles = np.empty(len(kinds))
    middles[order] = ends - rooms[order] / 2 - width_um / 2
    return middles.tolist(), rooms.tolist()


def _half_width(
    config: SlidePhantomConfig, rng: np.random.Generator, number: int, kind: str, depth: float, room: float
) -> float:
    """Half of the width of a lesion, such that it stays in its part of the section."""
    if number == 0 and kind == "malignant" and config.lesions.width_mm is not None:
        return config.lesions.width_mm * MM / 2
    wanted = rng.uniform(300, 900) + (rng.uniform(0.4, 0.9) * depth if kind == "malignant" else 0)
    return min(wanted, 0.34 * room)


def _depth(config: SlidePhantomConfig, site: Site, rng: np.random.Generator, which: tuple[int, int]) -> float:
    """Breslow thickness of a melanoma in micrometres; the first of the first section is the thickest."""
    most = DEEPEST * site.depth_um
    drawn = np.exp(rng.uniform(np.log(250), np.log(min(4500, max(0.8 * most, 300)))))
    first = stream(config.seed, "breslow")
    asked = config.lesions.breslow_mm
    thickest = (
        asked * MM
        if asked is not None
        else np.exp(first.uniform(np.log(280), np.log(min(4500, max(0.85 * most, 320)))))
    )
    if thickest > most:
        raise too_thick(float(thickest), site.depth_um)
    if which == (0, 0):
        return float(thickest)
    return float(np.clip(min(drawn, 0.95 * thickest) if which[1] else thickest * rng.uniform(0.6, 0.97), 150, None))
