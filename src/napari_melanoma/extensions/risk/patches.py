"""Patches of a risk prediction: cut out of a slide, or read from an image."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import UM_PER_MM, Box, PixelSize
from napari_melanoma.core.validity import read_validity
from napari_melanoma.data.dataset import MODALITY_WORDS
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.depth.readings import Line
from napari_melanoma.extensions.risk.prediction import RiskOptions
from napari_melanoma.imaging.modality import recognize_modality
from napari_melanoma.io.photographs import Photograph, format_damage_warning, read_photograph
from napari_melanoma.phantoms import is_phantom
from napari_melanoma.slides.depth_readings import DEEPEST_PATCH, LESION_PATCH
from napari_melanoma.slides.reading.opening import open_slide
from napari_melanoma.slides.reading.slide import Slide
from napari_melanoma.slides.results import list_tumors
from napari_melanoma.slides.tissue import TissueConfig, read_overview, tissue_of_overview

Point = tuple[float, float]  # (row, column), of a position or of a scale
MARGIN_ABOVE_MM = 0.2  # of glass and keratin above the surface, as in the training patches
MIN_CENTER_DISTANCE = 0.5  # as a share of a patch's side: patches with closer centers show the same tissue
MAX_PX = 1024  # largest side of a patch as it is read; input sizes of networks are smaller
SCALE_TOLERANCE = 0.1  # relative difference in size from the patches in training, or between height and width
LOOKS_LIKE_SKIN = "this looks like a {} photograph of skin, not like a section: the prediction is meaningless"
WIDTH_UNKNOWN = (
    "the width of the patch is unknown and assumed to be {:g} mm (set it with --mpp, or mpp_x and mpp_y of a table)"
)
# Descriptions of patches, as stored in results.
TISSUE_PATCH = "tissue"
MIN_TISSUE_SHARE = 0.05  # of a patch; the rest is glass


@dataclass(frozen=True)
class PatchPosition:
    """The position of a patch; its center is (row, column) in pixels of the finest level."""

    center: Point
    side_mm: float
    description: str

    def box(self, um_per_px: Point) -> Box:
        """Return the box in pixels of the finest level, square in mm; it may extend beyond the slide.

        ``um_per_px``: micrometers per pixel of rows and columns.
        """
        height, width = (max(1, round(self.side_mm * UM_PER_MM / um)) for um in um_per_px)
        return Box(round(self.center[0] - height / 2), round(self.center[1] - width / 2), height, width)


def patch_center(surface: Point, deepest: Point, um_per_px: Point, side_mm: float) -> Point:
    """Return the center of a patch that begins a little above the surface and extends along the thickness line.

    ``surface``, ``deepest``: ends of the line, (row, column) in pixels of the finest level. Returns (row, column) in
    those pixels; straight below the surface if the line has no length.
    """
    scale = np.asarray(um_per_px) / UM_PER_MM
    start, end = np.asarray(surface) * scale, np.asarray(deepest) * scale
    length = float(np.hypot(*(end - start)))
    down = (end - start) / length if length > 0 else np.array([1.0, 0.0])
    row, column = (start + down * (side_mm / 2 - MARGIN_ABOVE_MM)) / scale
    return float(row), float(column)


def choose_patch_positions(
    lines: Sequence[tuple[Point, Point]],
    lesions: Sequence[Point],
    um_per_px: Point,
    side_mm: float,
    max_patches: int,
) -> tuple[PatchPosition, ...]:
    """Choose positions at the thickness lines, then at lesions; empty without lines and lesions.

    Positions close to an earlier one are left out, as their patches would show the same tissue.

    ``lines``: surface and deepest point, the greatest depth first. ``lesions``: points. All points are (row, column) in
    pixels of the finest level. ``um_per_px``: micrometers per pixel of rows and columns.
    """
    candidates = [
        PatchPosition(
            patch_center(*line, um_per_px, side_mm), side_mm, DEEPEST_PATCH if number == 0 else "another depth"
        )
        for number, line in enumerate(lines)
    ]
    candidates += [PatchPosition(center, side_mm, LESION_PATCH) for center in lesions]
    chosen: list[PatchPosition] = []
    for position in candidates:
        if all(_distance_mm(position, earlier, um_per_px) >= MIN_CENTER_DISTANCE * side_mm for earlier in chosen):
            chosen.append(position)
    return tuple(chosen[:max_patches])


def cover_tissue(
    mask: NDArray[np.bool_], size_px: tuple[int, int], um_per_px: Point, side_mm: float
) -> tuple[PatchPosition, ...]:
    """Return the positions of patches side by side that cover the tissue, without those that show hardly any.

    ``mask``: bool (row, column), the tissue on an overview of the slide. ``size_px``: height and width of the slide in
    pixels of the finest level. ``um_per_px``: micrometers per pixel of rows and columns.
    """
    if not mask.any():
        return ()
    side = [side_mm * UM_PER_MM / um for um in um_per_px]
    scale = [count / length for count, length in zip(mask.shape, size_px, strict=True)]
    starts = []
    for axis in (0, 1):
        cells = np.flatnonzero(mask.any(axis=1 - axis)) / scale[axis]
        first, extent = cells[0], cells[-1] - cells[0] + 1 / scale[axis]
        count = max(1, math.ceil(extent / side[axis]))
        start = first - (count * side[axis] - extent) / 2 + side[axis] * np.arange(count)
        starts.append(np.clip(start, 0, max(0.0, size_px[axis] - side[axis])))  # inside the slide
    positions = []
    for top, left in itertools.product(*starts):
        rows, columns = (
            slice(int(start * ratio), max(int(start * ratio) + 1, math.ceil((start + length) * ratio)))
            for start, length, ratio in zip((top, left), side, scale, strict=True)
        )
        if mask[rows, columns].mean() >= MIN_TISSUE_SHARE:
            center = (float(top + side[0] / 2), float(left + side[1] / 2))
            positions.append(PatchPosition(center, side_mm, TISSUE_PATCH))
    return tuple(positions)


def _distance_mm(first: PatchPosition, second: PatchPosition, um_per_px: Point) -> float:
    """Return the distance between the centers of two patches."""
    rows, columns = (
        (first_center - second_center) * um / UM_PER_MM
        for first_center, second_center, um in zip(first.center, second.center, um_per_px, strict=True)
    )
    return float(np.hypot(rows, columns))


@dataclass(frozen=True, eq=False)
class PatchImage:
    """The pixels of a patch, and what is known about it.

    ``rgb``: uint8 (row, column, channel=3). ``box``: its position in pixels of the finest level; None for a single
    image. ``notes``: warnings for the user. ``width_mm``: the smaller side of the part within the slide; None if
    unknown. ``modality``: ``"slide"``, or the kind of photograph that it certainly is. ``damage``: why a file was read
    only partly. ``synthetic``: whether it shows a phantom.
    """

    rgb: NDArray[np.uint8]
    description: str
    box: Box | None = None
    notes: tuple[str, ...] = ()
    width_mm: float | None = None
    modality: str | None = None
    damage: str | None = None
    synthetic: bool = False


def read_patch_image(path: Path, metadata: Mapping[str, str], options: RiskOptions) -> PatchImage:
    """Read an image that is a single patch; refuse photographs of skin and patches of another size.

    ``metadata``: may state the scale as ``mpp_x`` and ``mpp_y``.
    """
    photograph = read_photograph(path)
    _check_not_photograph(path.name, photograph, metadata)
    rgb = photograph.rgb
    given = {"mpp_y": options.mpp_y or options.mpp, "mpp_x": options.mpp}
    table_mpp = {name: read_number(metadata.get(name)) for name in given}
    mpp = {name: um if um > 0 else given[name] for name, um in table_mpp.items()}
    for name, count in (("mpp_y", rgb.shape[0]), ("mpp_x", rgb.shape[1])):
        side_mm = (mpp[name] or math.nan) * count / UM_PER_MM
        if abs(side_mm - options.patch_mm) > SCALE_TOLERANCE * options.patch_mm:
            raise InputError(
                f"{path.name} is {side_mm:.2f} mm wide or high according to {name} or --mpp; the model expects "
                f"patches of {options.patch_mm:g} mm. Crop it, correct the table, or set the size with --patch-mm."
            )
    notes = () if mpp["mpp_x"] else (WIDTH_UNKNOWN.format(options.patch_mm),)
    if photograph.damage:
        notes = (format_damage_warning(photograph.damage), *notes)
    recognized, modality = recognize_modality(rgb), "slide"
    if recognized.is_certain and recognized.kind != "neither":
        notes, modality = (LOOKS_LIKE_SKIN.format(recognized.kind), *notes), recognized.kind
    return PatchImage(
        rgb,
        "the given patch",
        notes=notes,
        width_mm=options.patch_mm if mpp["mpp_x"] else None,
        modality=modality,
        damage=photograph.damage,
        synthetic=is_phantom(path),
    )


def _check_not_photograph(name: str, photograph: Photograph, metadata: Mapping[str, str]) -> None:
    """Refuse photographs and patches that are not square."""
    height, width = photograph.rgb.shape[:2]
    if abs(height - width) > SCALE_TOLERANCE * max(height, width):
        raise InputError(
            f"{name} has {width} x {height} pixels, expected a slide or a square patch of a slide. The models were not "
            "trained on photographs of skin or on regions of other shapes. Crop a square patch, or select the slide."
        )
    modality = photograph.modality or metadata.get("modality") or "wsi"
    if modality in MODALITY_WORDS:
        raise InputError(f"{name} is a photograph of skin ({modality}), expected a slide, or a square patch of one.")


def cut_slide_patches(
    path: Path, lines: Sequence[Line], content: Mapping[str, Any], options: RiskOptions
) -> list[PatchImage]:
    """Cut patches out of a slide at the positions of greatest depth and at its lesions, or over all tissue.

    ``lines``: thickness lines. ``content``: of the result of the slide.
    """
    pixel_size = None if options.mpp is None else PixelSize(options.mpp_y or options.mpp, options.mpp)
    with open_slide(path, pixel_size) as slide:
        size = slide.info.pixel_size
        if size is None:
            raise ScaleMissing(
                f"pixel size is missing: a patch of {options.patch_mm:g} mm requires micrometers per pixel, and "
                f"{path.name} has none. Set it under Scale in the Slide dock (command line: --mpp)."
            )
        um = (size.y_um, size.x_um)
        if options.cover == "tissue":
            return [_read_patch(slide, position, um) for position in _tissue_positions(slide, um, options.patch_mm)]
        positions = choose_patch_positions(lines, _lesion_positions(content), um, options.patch_mm, options.patches)
        if not positions:
            nothing = "no tumor found: the analysis found neither a thickness nor a lesion"
            raise InputError(
                f"{path.name}: {read_validity(content).headline(nothing)}. Measure the thickness by hand in the "
                "Slide dock, or select a patch instead."
            )
        return [_read_patch(slide, position, um) for position in positions]


def _tissue_positions(slide: Slide, um_per_px: Point, side_mm: float) -> tuple[PatchPosition, ...]:
    """Return the positions of patches that cover the tissue of a slide."""
    _require_brightfield(slide)
    full = slide.info.levels[0]
    mask, _ = tissue_of_overview(slide.info, read_overview(slide), TissueConfig(), PixelSize(*um_per_px))
    positions = cover_tissue(mask, (full.height, full.width), um_per_px, side_mm)
    if not positions:
        raise InputError(f"{slide.info.path.name}: no tissue was found, only glass. Check the slide in the Slide dock.")
    return positions


def _lesion_positions(content: Mapping[str, Any]) -> list[Point]:
    """Return the positions of the areas that may be a tumor, (row, column) in pixels of the finest level."""
    positions = []
    for lesion in list_tumors(content):
        row, column = lesion.get("seed_row_px"), lesion.get("seed_column_px")
        if row is not None and column is not None:
            positions.append((float(row), float(column)))
    return positions


def _require_brightfield(slide: Slide) -> None:
    if slide.info.kind != "brightfield":
        raise InputError(
            f"{slide.info.path.name} is not a brightfield slide: the models were trained on stained tissue."
        )


def _read_patch(slide: Slide, position: PatchPosition, um_per_px: Point) -> PatchImage:
    """Read a patch at the coarsest sufficient level."""
    _require_brightfield(slide)
    box = position.box(um_per_px)
    rgb = _read_box(slide, box)
    width = min(_size_on_slide_mm(box, slide, um_per_px))
    return PatchImage(
        rgb, position.description, box, width_mm=width, modality="slide", synthetic=is_phantom(slide.info.path)
    )


def _read_box(slide: Slide, box: Box) -> NDArray[np.uint8]:
    return slide.read_square(box, min(MAX_PX, max(box.height, box.width)))


def read_stored_patches(path: Path, boxes: Sequence[Box]) -> tuple[list[NDArray[np.uint8]], tuple[int, int]]:
    """Read the patches of a stored prediction again, as they were for it, and the size of the slide.

    Returns uint8 (row, column, channel=3) of each box, and height and width in pixels of the finest level.
    """
    with open_slide(path) as slide:
        full = slide.info.levels[0]
        return [_read_box(slide, box) for box in boxes], (full.height, full.width)


def _size_on_slide_mm(box: Box, slide: Slide, um_per_px: Point) -> tuple[float, float]:
    """Return height and width in mm of the part of a box within the slide."""
    full = slide.info.levels[0]
    bottom, right = min(box.top + box.height, full.height), min(box.left + box.width, full.width)
    size_px = bottom - max(box.top, 0), right - max(box.left, 0)
    return max(0, size_px[0]) * um_per_px[0] / UM_PER_MM, max(0, size_px[1]) * um_per_px[1] / UM_PER_MM
