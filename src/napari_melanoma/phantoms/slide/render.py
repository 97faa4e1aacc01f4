"""Render the plan of a phantom slide, and write it as a pyramid of tiles with its ground truth and outlines."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.context import Progress, RunContext
from napari_melanoma.core.files import atomic_file, write_json
from napari_melanoma.core.formatting import format_duration
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import Polygon
from napari_melanoma.io.formats import TRUTH_SUFFIX
from napari_melanoma.io.geojson import Annotation
from napari_melanoma.phantoms import PHANTOM_DESCRIPTION
from napari_melanoma.phantoms.slide.config import CLASS_OF, FIRST_LESION_LABEL, SlidePhantomConfig, TissueKind
from napari_melanoma.phantoms.slide.lesions import PhantomLesion
from napari_melanoma.phantoms.slide.looks import Floats, make_stamp_bank
from napari_melanoma.phantoms.slide.pixels import (
    EOSIN,
    HEMATOXYLIN,
    SectionWindow,
    label_pixels,
    paint_ground,
    place_nuclei,
)
from napari_melanoma.phantoms.slide.plan import (
    INKS,
    PhantomSlidePlan,
    SectionPlan,
    SlideSpots,
    ink_density,
    line_distance,
    plan_slide,
)
from napari_melanoma.phantoms.slide.tissue import hash_uniform, polygon_area, polygon_perimeter

Rgb = NDArray[np.uint8]  # sRGB, (row, column, channel)
BLOCK = 256  # pixels along each side of a block or tile
# Margins around a block in pixels, for the blur of the optics and for that of areas out of focus.
_SOFT_MARGIN, _BLUR_MARGIN = 2, 20
_OPTICAL_BLUR = 0.2  # half of the variance of the blur, in square pixels of level 0
_CACHED_BLOCKS = 96


def render_region(plan: PhantomSlidePlan, level: int, box: Box) -> Rgb:
    """Render a part of a level.

    ``level``: 0 is the finest; each pixel of a further level is the mean of two by two pixels of the level before.
    ``box``: in pixels of that level; everything outside the slide is glass. Returns uint8 sRGB (row, column, channel).
    """
    rgb = np.empty((box.height, box.width, 3), np.uint8)
    for row in range(box.top // BLOCK, -(-(box.top + box.height) // BLOCK)):
        for column in range(box.left // BLOCK, -(-(box.left + box.width) // BLOCK)):
            top, left = row * BLOCK - box.top, column * BLOCK - box.left
            rows = slice(max(top, 0), min(top + BLOCK, box.height))
            columns = slice(max(left, 0), min(left + BLOCK, box.width))
            block = get_block(plan, level, row, column)
            inner = block[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
            rgb[rows, columns] = inner
    return rgb


def render_truth(plan: PhantomSlidePlan, downsample: float, box: Box) -> NDArray[np.uint8]:
    """Render the ground truth of a part of the slide.

    ``downsample``: side of a pixel in pixels of level 0; any positive number. ``box``: in such pixels. Returns the
    class at the center of each pixel, uint8 (row, column): 0 background, including structures above the granular layer
    (keratin, the crust of an ulcer), 1 dermis with all structures in and below it, 2 epidermis, 3 tumor.
    """
    classes = np.zeros((box.height, box.width), np.uint8)
    for section in plan.sections:
        if _overlaps_box(section.box, box, downsample):
            classes = np.maximum(classes, CLASS_OF[label_pixels(section, box, downsample)])
    return classes


def is_glass(plan: PhantomSlidePlan, level: int, box: Box) -> bool:
    """Whether a box of a level certainly contains only clean glass, with the color ``plan.look.stain.glass``."""
    scale = float(2**level)
    margin = _SOFT_MARGIN + 1
    if any(_overlaps_box(section.box, box, scale, margin) for section in plan.sections):
        return False
    um = scale * plan.config.mpp
    edges = (
        box.top * um - margin,
        box.left * um - margin,
        (box.top + box.height) * um + margin,
        (box.left + box.width) * um + margin,
    )
    if len(plan.dust.find_in_box(*edges)):
        return False
    return not any(_overlap(pen.box, edges) for pen in plan.pens)


def _overlaps_box(edges: tuple[float, float, float, float], box: Box, scale: float, margin: float = 0.0) -> bool:
    """Whether a rectangle in pixels of level 0, enlarged by a margin, overlaps a box in pixels ``scale`` times as wide.

    ``edges``: top, left, bottom, right.
    """
    rows = edges[0] - margin < (box.top + box.height) * scale and edges[2] + margin > box.top * scale
    return rows and edges[1] - margin < (box.left + box.width) * scale and edges[3] + margin > box.left * scale


def _overlap(first: tuple[float, float, float, float], second: tuple[float, float, float, float]) -> bool:
    """Whether two rectangles (top, left, bottom, right) overlap."""
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


@lru_cache(maxsize=_CACHED_BLOCKS)
def get_block(plan: PhantomSlidePlan, level: int, row: int, column: int) -> Rgb:
    """Render one block of ``BLOCK`` by ``BLOCK`` pixels of a level; the blocks used last are cached.

    Returns uint8 sRGB (row, column, channel), read-only.
    """
    box = Box(row * BLOCK, column * BLOCK, BLOCK, BLOCK)
    if is_glass(plan, level, box):
        block = np.broadcast_to(np.array(plan.look.stain.glass, np.uint8), (BLOCK, BLOCK, 3))
    elif level == 0:
        block = draw_region(plan, box)
    else:  # from four blocks of the finer level
        parts = [[get_block(plan, level - 1, 2 * row + i, 2 * column + j) for j in (0, 1)] for i in (0, 1)]
        block = np.block([[[downsample_by_two(part)] for part in line] for line in parts])
    block.flags.writeable = False
    return block


def downsample_by_two(rgb: Rgb) -> Rgb:
    """Average two by two pixels.

    ``rgb``: uint8 (row, column, channel), of even height and width. Returns uint8 of half the size.
    """
    row_sums = rgb[0::2].astype(np.uint16)
    row_sums += rgb[1::2]
    return ((row_sums[:, 0::2] + row_sums[:, 1::2] + 2) >> 2).astype(np.uint8)


def draw_region(plan: PhantomSlidePlan, box: Box, level: int = 0) -> Rgb:
    """Render a part of a level at once.

    ``level``: above 0, pixels are sampled at their centers; ``render_region`` averages the pixels of level 0 instead.
    ``box``: in pixels of that level. Returns uint8 sRGB (row, column, channel).
    """
    mpp = plan.config.mpp * 2**level
    edges = (box.top * mpp, box.left * mpp, (box.top + box.height) * mpp, (box.left + box.width) * mpp)
    blurred = plan.defocus.find_in_box(*edges)
    margin = _BLUR_MARGIN if len(blurred) else _SOFT_MARGIN
    wide = Box(box.top - margin, box.left - margin, box.height + 2 * margin, box.width + 2 * margin)
    density = np.zeros((3, wide.height, wide.width), np.float32)
    for section in plan.sections:
        if _overlaps_box(section.box, wide, float(2**level)):
            density += _section_density(plan, section, wide, level)
    density = _blur_optically(density, np.float32(_OPTICAL_BLUR / 2**level))
    if len(blurred):
        density = _blur_defocused(plan, density, wide, blurred, mpp)
    _add_dust(plan, density, wide, mpp)
    _add_ink(plan, density, wide, mpp)
    inner = density[:, margin : margin + box.height, margin : margin + box.width]
    glass = np.array(plan.look.stain.glass, np.float32)[:, None, None]
    return np.ascontiguousarray(np.moveaxis(np.rint(glass * np.exp(-inner)).astype(np.uint8), 0, 2))


def _section_density(plan: PhantomSlidePlan, section: SectionPlan, box: Box, level: int) -> Floats:
    """Return the optical density of one section, (3, row, column) in red, green and blue."""
    mpp = plan.config.mpp * 2**level
    stamps = make_stamp_bank(plan.look.name, mpp)
    reach = stamps.reach
    wide = Box(box.top - reach, box.left - reach, box.height + 2 * reach, box.width + 2 * reach)
    labels = label_pixels(section, wide, float(2**level))
    inner = labels[reach:-reach, reach:-reach]
    if not labels.any():
        return np.zeros((3, box.height, box.width), np.float32)
    seed = plan.config.seed
    dyes = paint_ground(SectionWindow(section, plan.look, mpp, box, inner, seed))
    canvas = np.zeros((2, wide.height + 2 * reach, wide.width + 2 * reach), np.float32)
    for nuclei in place_nuclei(SectionWindow(section, plan.look, mpp, wide, labels, seed)):
        stamps.draw_nuclei(canvas, nuclei.column + reach, nuclei.row + reach, nuclei.stamp)
    canvas = canvas[:, 2 * reach : -2 * reach, 2 * reach : -2 * reach] * (inner != TissueKind.GLASS)
    dyes[:2] *= 1 - 0.85 * canvas[1]
    dyes[EOSIN] += 0.22 * np.minimum(canvas[0], 1)
    dyes[HEMATOXYLIN] += 1.05 * canvas[0]
    density = np.tensordot(plan.stains.T, dyes, axes=1)
    return density * _fold_thickness(section, box, mpp)


def _fold_thickness(section: SectionPlan, box: Box, mpp: float) -> Floats | float:
    """Return the factor of the density in each pixel: about 2 in folds, where tissue overlaps, and 1 elsewhere."""
    x, y = (box.left + np.arange(box.width) + 0.5) * mpp, (box.top + np.arange(box.height) + 0.5) * mpp
    layers: Floats | float = 1.0
    for number, line in enumerate(section.folds):
        half = 45.0 + 35.0 * float(hash_uniform(np.array([number]), np.array([section.index]), 77)[0])
        (left, top), (right, bottom) = line.min(axis=0) - half, line.max(axis=0) + half
        if _overlap((top, left, bottom, right), (y[0], x[0], y[-1], x[-1])):
            distance = line_distance(line, x, y)
            layers = layers + 0.95 * np.clip((half - distance) / 6, 0, 1)
            layers = layers + 0.3 * np.exp(-(((distance - half) / 5) ** 2))
    return layers


def _blur_optically(density: Floats, weight: np.float32) -> Floats:
    """Blur as the optics do, in place; ``weight``: of each neighbor, half of the variance in square pixels."""
    center = 1 - 2 * weight
    density[:, 1:-1] = weight * (density[:, :-2] + density[:, 2:]) + center * density[:, 1:-1]
    density[:, :, 1:-1] = weight * (density[:, :, :-2] + density[:, :, 2:]) + center * density[:, :, 1:-1]
    return density


def _blur_defocused(
    plan: PhantomSlidePlan, density: Floats, box: Box, blurred: NDArray[np.int64], mpp: float
) -> Floats:
    """Blur areas out of focus, more towards their middle; ``blurred``: indices of the areas."""
    from scipy.ndimage import gaussian_filter1d

    spots = plan.defocus
    x, y = (box.left + np.arange(box.width) + 0.5) * mpp, (box.top + np.arange(box.height) + 0.5) * mpp
    share = np.zeros(density.shape[1:], np.float32)
    for index in blurred:
        distance = np.hypot(x[None] - spots.x[index], y[:, None] - spots.y[index]) / spots.radius[index]
        np.maximum(share, np.clip((1 - distance) / 0.35, 0, 1), out=share)
    sigma = 2.5 / mpp
    radius = min(int(3 * sigma), _BLUR_MARGIN - _SOFT_MARGIN)
    soft = gaussian_filter1d(gaussian_filter1d(density, sigma, axis=1, radius=radius), sigma, axis=2, radius=radius)
    return density + share * (soft - density)


def _add_dust(plan: PhantomSlidePlan, density: Floats, box: Box, mpp: float) -> None:
    """Draw dark specks with uneven, soft edges."""
    dust = plan.dust
    x, y = (box.left + np.arange(box.width) + 0.5) * mpp, (box.top + np.arange(box.height) + 0.5) * mpp
    for index in dust.find_in_box(y[0], x[0], y[-1], x[-1]):
        reach = dust.radius[index]
        rows = slice(*np.searchsorted(y, (dust.y[index] - reach, dust.y[index] + reach)))
        columns = slice(*np.searchsorted(x, (dust.x[index] - reach, dust.x[index] + reach)))
        across, down = x[None, columns] - dust.x[index], y[rows, None] - dust.y[index]
        angle = np.arctan2(down, across)
        unevenness = 1 + 0.25 * np.sin(2 * angle + index) + 0.15 * np.sin(3 * angle + 2 * index)
        distance = np.hypot(across, down) / (0.7 * dust.radius[index] * unevenness)
        density[:, rows, columns] += (0.55 * np.clip((1 - distance) / 0.3, 0, 1)).astype(np.float32)


def _add_ink(plan: PhantomSlidePlan, density: Floats, box: Box, mpp: float) -> None:
    """Draw pen marks over tissue and glass."""
    x, y = (box.left + np.arange(box.width) + 0.5) * mpp, (box.top + np.arange(box.height) + 0.5) * mpp
    for pen in plan.pens:
        if _overlap(pen.box, (y[0], x[0], y[-1], x[-1])):
            density += np.array(INKS[pen.ink], np.float32)[:, None, None] * ink_density(pen, x, y)


# The pyramid

Row = dict[int, Rgb]  # tiles of a row by column; a missing tile is clean glass


class _TileSpool:
    """Encoded tiles of a coarser level, stored in a temporary file until the finer levels are written."""

    def __init__(self, folder: Path) -> None:
        self._file: IO[bytes] = TemporaryFile(dir=folder)  # noqa: SIM115 - lives as long as the spool
        self._lengths: list[int] = []

    def add(self, tile: bytes | None) -> None:
        """Append a tile; ``None`` is glass."""
        self._lengths.append(0 if tile is None else len(tile))
        self._file.write(tile or b"")

    def tiles(self, glass: bytes) -> Iterator[bytes]:
        """Yield the tiles in their order."""
        self._file.seek(0)
        for length in self._lengths:
            yield self._file.read(length) if length else glass

    def close(self) -> None:
        self._file.close()


class PhantomPyramid:
    """The tiles of all levels of a slide, which are generated while the slide is written.

    Coarser levels are made from the rows of level 0 as these are rendered.
    """

    def __init__(self, plan: PhantomSlidePlan, folder: Path, run: RunContext) -> None:
        self._plan, self._run = plan, run
        self._glass = np.broadcast_to(np.array(plan.look.stain.glass, np.uint8), (BLOCK, BLOCK, 3))
        self._encoded_glass = self._encode(np.ascontiguousarray(self._glass))
        self._spools = [_TileSpool(folder) for _ in range(plan.levels - 1)]
        self._pending_rows: dict[int, Row] = {}

    def __enter__(self) -> PhantomPyramid:
        return self

    def __exit__(self, *stop: object) -> None:
        for spool in self._spools:
            spool.close()

    def tiles(self, level: int) -> Iterator[bytes]:
        """Yield the tiles of a level, row by row, each a JPEG of ``BLOCK`` by ``BLOCK`` pixels.

        Level 0 must be requested first, because the others are made from its tiles.
        """
        if level:
            yield from self._spools[level - 1].tiles(self._encoded_glass)
            return
        for row, columns in enumerate(self._iter_tissue_columns()):
            tiles = {column: self._draw_tile(row, column) for column in sorted(columns)}
            # Before the tiles are yielded: tifffile does not resume the generator after the last tile.
            self._add_finer_row(1, row, tiles)
            for column in range(self._grid(0)[1]):
                yield self._encode(tiles[column]) if column in tiles else self._encoded_glass

    def _draw_tile(self, row: int, column: int) -> Rgb:
        """Render a tile of level 0."""
        self._run.check()
        return draw_region(self._plan, Box(row * BLOCK, column * BLOCK, BLOCK, BLOCK))

    def _grid(self, level: int) -> tuple[int, int]:
        """Return the numbers of rows and columns of tiles of a level."""
        height, width = self._plan.level_size(level)
        return -(-height // BLOCK), -(-width // BLOCK)

    def _iter_tissue_columns(self) -> Iterator[set[int]]:
        """Yield the columns of each row of level 0 that contain more than glass; reports progress."""
        rows, columns = self._grid(0)
        tissue_columns = [self._find_tissue_columns(row, columns) for row in range(rows)]
        total, done, start = sum(map(len, tissue_columns)), 0, time.monotonic()
        for row in tissue_columns:
            self._run.check()
            if done:
                left = (time.monotonic() - start) * (total - done) / done
                self._run.report(Progress(done, total, f"Rendering tiles, about {format_duration(left)} left"))
            yield row
            done += len(row)

    def _find_tissue_columns(self, row: int, columns: int) -> set[int]:
        """Return the columns of a row of level 0 that contain more than glass."""
        self._run.check()
        boxes = (Box(row * BLOCK, column * BLOCK, BLOCK, BLOCK) for column in range(columns))
        return {column for column, box in enumerate(boxes) if not is_glass(self._plan, 0, box)}

    def _add_finer_row(self, level: int, finer_row: int, finer: Row) -> None:
        """Add a row of tiles of the next finer level; two of them make a row of this level."""
        if level > len(self._spools):
            return
        last = finer_row == self._grid(level - 1)[0] - 1
        if finer_row % 2 == 0 and not last:
            self._pending_rows[level] = finer
            return
        pair = (self._pending_rows.pop(level), finer) if finer_row % 2 else (finer, {})
        coarse_columns = sorted({column // 2 for row in pair for column in row})
        tiles = {column: self._join_tiles(pair, column) for column in coarse_columns}
        for column in range(self._grid(level)[1]):
            self._spools[level - 1].add(self._encode(tiles[column]) if column in tiles else None)
        self._add_finer_row(level + 1, finer_row // 2, tiles)

    def _join_tiles(self, pair: tuple[Row, Row], column: int) -> Rgb:
        """Make a tile from four tiles of the next finer level."""
        tile = np.empty((BLOCK, BLOCK, 3), np.uint8)
        half = BLOCK // 2
        for down, row in enumerate(pair):
            for across in (0, 1):
                finer = row.get(2 * column + across, self._glass)
                tile[down * half : (down + 1) * half, across * half : (across + 1) * half] = downsample_by_two(finer)
        return tile

    def _encode(self, tile: Rgb) -> bytes:
        import imagecodecs

        encoded: Any = imagecodecs.jpeg8_encode(tile, level=85, colorspace="RGB", subsampling="420")
        return bytes(encoded)


def write_pyramid(plan: PhantomSlidePlan, path: Path, run: RunContext) -> None:
    """Write a slide as a tiled BigTIFF with all its levels, the finest first."""
    import tifffile

    per_cm = 1e4 / plan.config.mpp
    with tifffile.TiffWriter(path, bigtiff=True) as writer, PhantomPyramid(plan, path.parent, run) as pyramid:
        for level in range(plan.levels):
            writer.write(
                pyramid.tiles(level),
                shape=(*plan.level_size(level), 3),
                dtype=np.uint8,
                tile=(BLOCK, BLOCK),
                photometric="ycbcr",
                subsampling=(2, 2),
                compression="jpeg",
                resolution=(per_cm / 2**level, per_cm / 2**level),
                resolutionunit="CENTIMETER",
                subfiletype=1 if level else 0,
                description=PHANTOM_DESCRIPTION if level == 0 else None,
                software=False,
                metadata=None,
            )


# Files

FORMAT = 1  # of the truth file
_LESION_CLASSES = {"malignant": ("Melanoma", (200, 0, 0)), "benign": ("Nevus", (150, 110, 60))}
_LAYER_CLASSES = {
    TissueKind.DERMIS: ("Tissue", (255, 170, 190)),
    TissueKind.KERATIN: ("Keratin", (240, 200, 120)),
    TissueKind.EPIDERMIS: ("Epidermis", (140, 60, 200)),
}


@dataclass(frozen=True)
class SlidePhantomFiles:
    """The files of a slide: image, truth and outlines."""

    image: Path
    truth: Path
    outlines: Path


def write_slide(
    config: SlidePhantomConfig, folder: Path, name: str, run: RunContext | None = None
) -> SlidePhantomFiles:
    """Generate a slide and write ``NAME.tif``, ``NAME.truth.json`` and ``NAME.geojson``; the slide last."""
    from napari_melanoma.io.geojson import write_geojson

    plan = plan_slide(config)
    files = SlidePhantomFiles(*(folder / f"{name}{suffix}" for suffix in (".tif", TRUTH_SUFFIX, ".geojson")))
    write_json(files.truth, describe_slide_truth(plan))
    write_geojson(files.outlines, make_annotations(plan))
    with atomic_file(files.image) as temporary:
        write_pyramid(plan, temporary, run or RunContext())
    return files


def describe_slide_truth(plan: PhantomSlidePlan) -> dict[str, Any]:
    """Describe the ground truth of a slide, as JSON values.

    Positions are (row, column) in pixels of level 0, from the outer corner of the first pixel.
    """
    sections = [_describe_section(plan, section) for section in plan.sections]
    malignant = [lesion for section in sections for lesion in section["lesions"] if lesion["class"] == "malignant"]
    thickest = max(malignant, key=lambda lesion: lesion["breslow_mm"], default=None)
    mpp = plan.config.mpp
    return {
        "format": FORMAT,
        "config": plan.config.model_dump(mode="json"),
        "look": plan.look.name,
        "family": plan.look.family,
        "mpp": mpp,
        "size": list(plan.config.size),
        "levels": plan.levels,
        "stain_vectors": np.round(plan.stains, 5).tolist(),
        "breslow_mm": thickest["breslow_mm"] if thickest else None,
        "breslow_perpendicular_mm": thickest["breslow_perpendicular_mm"] if thickest else None,
        "ulceration": bool(thickest and thickest["ulceration"]),
        "sections": sections,
        "pens": [
            {"ink": pen.ink, "line": _to_pixels(pen.line, mpp), "width_px": 2 * pen.half_width_um / mpp}
            for pen in plan.pens
        ],
        "defocus": _describe_spots(plan.defocus, mpp),
        "dust": len(plan.dust.x),
    }


def _to_pixels(points_um: Floats, mpp: float) -> list[list[float]]:
    """Convert points (x, y) in micrometers to (row, column) in pixels."""
    return [[round(float(y) / mpp, 2), round(float(x) / mpp, 2)] for x, y in points_um]


def _describe_spots(spots: SlideSpots, mpp: float) -> list[dict[str, Any]]:
    """Describe round areas by centers and radii."""
    return [
        {"centre": [round(float(y / mpp), 1), round(float(x / mpp), 1)], "radius_px": round(float(r / mpp), 1)}
        for x, y, r in zip(spots.x, spots.y, spots.radius, strict=True)
    ]


def _describe_section(plan: PhantomSlidePlan, section: SectionPlan) -> dict[str, Any]:
    mpp = plan.config.mpp
    top, left, bottom, right = section.box
    return {
        "index": section.index,
        "box": [round(edge, 1) for edge in (top, left, bottom, right)],
        "width_mm": round((section.layers.end - section.layers.start) / 1000, 4),
        "curvature_per_mm": 1000 * section.frame.curvature,
        "rotation_deg": float(np.degrees(section.frame.angle)),
        "oblique_deg": plan.config.section.oblique_deg,
        "elastosis": section.elastosis,
        "folds": [_to_pixels(line, mpp) for line in section.folds],
        "lesions": [_describe_lesion(plan, section, lesion) for lesion in section.lesions],
    }


def _describe_lesion(plan: PhantomSlidePlan, section: SectionPlan, lesion: PhantomLesion) -> dict[str, Any]:
    mpp, request = plan.config.mpp, lesion.request
    label = FIRST_LESION_LABEL + request.index
    nests = [polygon for polygon, kind in zip(section.polygons, section.labels, strict=True) if kind == label]
    ends = np.array(lesion.depth_line) if lesion.depth_line else np.zeros((0, 2))
    line = section.frame.to_slide(ends[:, 0], ends[:, 1])
    thickness = lesion.breslow_um
    perpendicular_share = float(np.cos(np.radians(plan.config.section.oblique_deg)))
    boxes = section.boxes[np.array(section.labels) == label]
    edges = [*boxes[:, :2].min(axis=0), *boxes[:, 2:].max(axis=0)] if len(boxes) else []
    area_px = sum(map(polygon_area, nests))
    return {
        "index": request.index,
        "class": request.kind,
        "breslow_mm": None if thickness is None else round(thickness / 1000, 4),
        "breslow_perpendicular_mm": None if thickness is None else round(thickness * perpendicular_share / 1000, 4),
        "breslow_line": _to_pixels(line, mpp),
        "clark_level": _clark_level(section, lesion),
        "ulceration": lesion.ulcer is not None,
        "at_edge": _touches_edge(section, lesion),
        "area_mm2": round(area_px * (mpp / 1000) ** 2, 6),
        "perimeter_mm": round(sum(map(polygon_perimeter, nests)) * mpp / 1000, 4),
        "box": [round(float(edge), 1) for edge in edges],
        "nests": len(nests),
        "necrosis": _describe_necrosis(section, lesion, mpp, area_px),
        "pigment": round(request.pigment, 4),
        "mitoses_per_mm2": round(request.mitoses_per_mm2, 3) if request.kind == "malignant" else 0.0,
    }


def _describe_necrosis(section: SectionPlan, lesion: PhantomLesion, mpp: float, lesion_px: float) -> dict[str, Any]:
    """Describe the necrosis of a lesion: area, share of the lesion, and outlines (row, column) in pixels."""
    outlines = necrosis_outlines(section, lesion, mpp)
    area_px = sum(map(polygon_area, outlines))
    return {
        "area_mm2": round(area_px * (mpp / 1000) ** 2, 6),
        "share": round(area_px / lesion_px, 4) if outlines else 0.0,
        "outlines": [np.round(outline[:, ::-1], 1).tolist() for outline in outlines],
    }


def necrosis_outlines(section: SectionPlan, lesion: PhantomLesion, mpp: float) -> list[Floats]:
    """Return the outlines of a lesion's necrosis.

    ``mpp``: micrometers per pixel. Returns vertices (vertex, 2) as x, y in pixels of level 0.
    """
    return [section.frame.to_slide(*outline.T) / mpp for outline in lesion.necrosis]


def _touches_edge(section: SectionPlan, lesion: PhantomLesion) -> bool:
    """Whether the section's end or bottom cuts the lesion."""
    layers = section.layers
    return any(
        nest[:, 0].min() <= layers.start + 2
        or nest[:, 0].max() >= layers.end - 2
        or bool(np.any(nest[:, 1] >= layers.depth_at(layers.bottom, nest[:, 0]) - 2))
        for nest in lesion.nests
    )


def _clark_level(section: SectionPlan, lesion: PhantomLesion) -> int | None:
    """Return the Clark level of the deepest point of a melanoma; None for a nevus.

    The level is 5 in the fat; otherwise 4 at more than 250 micrometers below the junction, 3 at more than 170, else 2.
    """
    if lesion.depth_line is None:
        return None
    along, deepest = np.array([lesion.depth_line[1][0]]), lesion.depth_line[1][1]
    layers = section.layers
    if deepest > float(layers.depth_at(layers.fat, along)[0]):
        return 5
    below = deepest - float(layers.depth_at(layers.junction, along)[0])
    return 4 if below > 250 else 3 if below > 170 else 2


def make_annotations(plan: PhantomSlidePlan) -> list[Annotation]:
    """Return annotations for QuPath: tissue, keratin and epidermis of each section, each lesion and its necrosis."""
    from napari_melanoma.io.geojson import Annotation

    annotations = []
    for section in plan.sections:
        labeled = list(zip(section.labels, section.polygons, strict=True))
        for kind, (class_name, color) in _LAYER_CLASSES.items():
            first = next(polygon for label, polygon in labeled if label == kind)
            name = f"{class_name} {section.index + 1}"
            annotations.append(Annotation((_make_polygon(first),), class_name, color, name))
        for lesion in section.lesions:
            nests = tuple(
                _make_polygon(polygon)
                for label, polygon in labeled
                if label == FIRST_LESION_LABEL + lesion.request.index
            )
            class_name, color = _LESION_CLASSES[lesion.request.kind]
            name = f"{class_name} {section.index + 1}.{lesion.request.index + 1}"
            numbers = {"Breslow thickness mm": lesion.breslow_um / 1000} if lesion.breslow_um else {}
            if nests:
                annotations.append(Annotation(nests, class_name, color, name, numbers))
            if necrosis := tuple(map(_make_polygon, necrosis_outlines(section, lesion, plan.config.mpp))):
                name = name.replace(class_name, "Necrosis")
                annotations.append(Annotation(necrosis, "Necrosis", (230, 190, 90), name, {}))
    return annotations


def _make_polygon(points: Floats) -> Polygon:
    """Convert vertices (x, y) to a polygon."""
    from napari_melanoma.core.polygons import Polygon, as_ring

    return Polygon(as_ring(points[:, ::-1]))
