"""Inputs of a risk prediction: clinical metadata, depth, and patches of a slide."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.validity import Validity, read_slide_validity
from napari_melanoma.data.dataset import MODALITY_WORDS
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.depth.readings import DepthReading, Line, SlideDepthProposals, read_depth
from napari_melanoma.imaging.modality import recognize_modality
from napari_melanoma.io.photographs import Photograph, format_damage_warning, read_photograph
from napari_melanoma.io.results import read_slide_result
from napari_melanoma.phantoms.markers import is_phantom
from napari_melanoma.risk.prediction import (
    UM,
    PatchPosition,
    Point,
    RiskDepth,
    RiskOptions,
    check_plausible_depth,
    choose_patch_positions,
)
from napari_melanoma.slides.depth_readings import read_proposals
from napari_melanoma.slides.reading.opening import find_slides, is_slide, open_slide

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.slides.reading.slide import Slide


@dataclass(frozen=True)
class RiskCase:
    """Inputs of a case: a row of the harmonized table, the depth with its source, and thickness lines on the slide."""

    row: dict[str, str]
    depth: RiskDepth
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    validity: Validity = field(default_factory=Validity)  # of the analysis that provided depth and positions


def case_of_patch(metadata: Mapping[str, str]) -> RiskCase:
    """Collect the inputs of a single patch; the depth comes from the table or is unknown."""
    check_plausible_depth(metadata)
    return RiskCase(dict(metadata), _depth_from_metadata(metadata) or RiskDepth(None, "unknown"))


def case_of_slide(folder: Path, metadata: Mapping[str, str], reader: str | None) -> RiskCase:
    """Collect the inputs of a slide from readings, table and analysis.

    The depth is that of the reader, else that of the analysis, else that of the table.
    """
    check_plausible_depth(metadata)
    reading, found = _select_reading(folder, reader), read_proposals(folder)
    validity = found.validity.with_reasons(read_slide_validity(read_slide_result(folder)))
    automatic = _depth_from_analysis(folder, found, validity)
    depth = _depth_from_reading(reading) or automatic or _depth_from_metadata(metadata) or RiskDepth(None, "unknown")
    own = () if reading is None or reading.line is None else (reading.line,)
    is_measured = bool(own) and depth.source == "reader"
    # With a reading, no other message would state that the estimates of the analysis are not valid.
    estimates = _values_from_analysis(found) if validity.valid or not is_measured else {}
    row = {**estimates, **{name: cell for name, cell in metadata.items() if cell}, **_values_from_reading(reading)}
    row.pop(DEPTH_COLUMN, None)
    if depth.mm is not None:
        row[DEPTH_COLUMN] = f"{depth.mm:g}"
    may_be_more = depth.at_least and depth.mm and not depth.not_valid
    notes = [f"the thickness is at least {depth.mm:.2f} mm and may be greater"] if may_be_more else []
    lines = (*own, *(one.line for one in found.proposals))
    notes = [*notes, *found.notes] if validity.valid else notes
    return RiskCase(row, depth, lines, tuple(notes), Validity() if is_measured else validity)


def _select_reading(folder: Path, reader: str | None) -> DepthReading | None:
    """Select the reading to use."""
    readings = [one for one in read_depth(folder).readings if one.when]
    if reader is not None:
        mine = next((one for one in readings if one.reader == reader), None)
        if mine is None:
            there = ", ".join(f"'{one.reader}'" for one in readings) or "none"
            raise InputError(
                f"{folder.name}: no reading by '{reader}' (readings by: {there}). Select one of these readers."
            )
        return mine
    return max(readings, key=lambda one: one.when, default=None)


def _depth_from_reading(reading: DepthReading | None) -> RiskDepth | None:
    if reading is None or reading.mm is None:
        return None
    return RiskDepth(reading.mm, "reader", reading.interval_mm, reading.at_least, reading.reader)


def _depth_from_analysis(folder: Path, found: SlideDepthProposals, validity: Validity) -> RiskDepth | None:
    content, why = read_slide_result(folder), "" if validity.valid else validity.headline("")
    best = found.proposals[0] if found.proposals else None
    mm = content.get("breslow_mm")
    if isinstance(mm, int | float):
        ends = content.get("breslow_interval_mm")
        interval = (float(ends[0]), float(ends[1])) if isinstance(ends, list) and len(ends) == 2 else None
        return RiskDepth(float(mm), "automatic", interval, best is not None and best.at_least, not_valid=why)
    if best is None:
        return None
    return RiskDepth(best.mm, "automatic", best.interval_mm, best.at_least, not_valid=why)


def _depth_from_metadata(metadata: Mapping[str, str]) -> RiskDepth | None:
    mm = read_number(metadata.get(DEPTH_COLUMN))
    return None if mm != mm else RiskDepth(float(mm), "metadata")


def _values_from_analysis(found: SlideDepthProposals) -> dict[str, str]:
    """Clark level and ulceration as estimated by the analysis."""
    values = {} if found.clark is None else {"clark": str(found.clark)}
    return values if found.ulcerated is None else {**values, "ulceration": str(int(found.ulcerated))}


def _values_from_reading(reading: DepthReading | None) -> dict[str, str]:
    """Clark level, ulceration and mitoses of a reading."""
    if reading is None:
        return {}
    mitoses = reading.mitoses.per_mm2
    values = {
        "clark": None if reading.clark is None else str(reading.clark),
        "ulceration": None if reading.ulcerated is None else str(int(reading.ulcerated)),
        "mitoses_per_mm2": None if mitoses is None else f"{mitoses:g}",
    }
    return {name: cell for name, cell in values.items() if cell is not None}


MAX_PX = 1024  # side of a patch as it is read; input sizes of networks are smaller
SCALE_TOLERANCE = 0.1  # relative difference in size from the patches that the model was trained on
LOOKS_LIKE_SKIN = "this looks like a {} photograph of skin, not like a section: the prediction is meaningless"
WIDTH_UNKNOWN = (
    "the width of the patch is unknown and assumed to be {:g} mm (set it with --mpp, or mpp_x and mpp_y of a table)"
)
BENIGN_LABELS = ("benign", "naevus", "nevus")


@dataclass(frozen=True, eq=False)
class PatchImage:
    """Pixels of a patch, uint8 (row, column, channel=3), its content, its box in the finest pixels of the slide, notes.

    ``width_mm`` is the width of the slide within it, None if unknown; ``modality`` is ``slide``, or what else it
    certainly shows; ``synthetic`` marks phantoms.
    """

    rgb: NDArray[np.uint8]
    description: str
    box: Box | None = None
    notes: tuple[str, ...] = ()
    width_mm: float | None = None
    modality: str | None = None
    damage: str | None = None
    synthetic: bool = False


def find_risk_inputs(inputs: Sequence[str]) -> list[Path]:
    """List the slides and patches that files, folders and patterns name, without duplicates, in the given order."""
    from napari_melanoma.io.discovery import find_photographs

    found: dict[Path, None] = {}
    for named in inputs:
        path = Path(named).expanduser()
        if path.is_file() or is_slide_folder(path):
            found[path] = None
            continue
        both: dict[Path, None] = {}
        faults = []
        for find in (find_slides, find_photographs):
            try:
                both |= dict.fromkeys(find([named]))
            except InputError as error:
                faults.append(error)
        if not both:
            raise faults[0]
        found |= both
    return list(found)


def is_slide_folder(path: Path) -> bool:
    """Whether a folder is a single slide, as in DICOM and OME-Zarr."""
    return path.is_dir() and is_slide(path)


def read_patch_image(path: Path, metadata: Mapping[str, str], options: RiskOptions) -> PatchImage:
    """Read an image that is a single patch."""
    photograph = read_photograph(path)
    _check_not_photograph(path.name, photograph, metadata)
    rgb = photograph.rgb
    stated = {name: read_number(metadata.get(name)) for name in ("mpp_y", "mpp_x")}
    mpp = {name: um if um > 0 else options.mpp for name, um in stated.items()}
    for name, count in (("mpp_y", rgb.shape[0]), ("mpp_x", rgb.shape[1])):
        side_mm = (mpp[name] or math.nan) * count / UM
        if abs(side_mm - options.patch_mm) > SCALE_TOLERANCE * options.patch_mm:
            raise InputError(
                f"{path.name} is {side_mm:.2f} mm wide or high according to {name} or --mpp; the model expects "
                f"patches of {options.patch_mm:g} mm. Crop it, correct the table, or set the size with --patch-mm."
            )
    notes = () if mpp["mpp_x"] else (WIDTH_UNKNOWN.format(options.patch_mm),)
    if photograph.damage:
        notes = (format_damage_warning(photograph.damage), *notes)
    seen, modality = recognize_modality(rgb), "slide"
    if seen.is_certain and seen.kind != "neither":
        notes, modality = (LOOKS_LIKE_SKIN.format(seen.kind), *notes), seen.kind
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
    """Cut patches out of a slide at the positions of greatest depth and at its lesions."""
    given = None if options.mpp is None else PixelSize(options.mpp, options.mpp)
    with open_slide(path, given) as slide:
        size = slide.info.pixel_size
        if size is None:
            raise ScaleMissing(
                f"pixel size is missing: a patch of {options.patch_mm:g} mm requires micrometers per pixel, and "
                f"{path.name} has none. Set it under Scale in the Slide dock (command line: --mpp)."
            )
        um = (size.y_um, size.x_um)
        positions = choose_patch_positions(lines, _lesion_positions(content), um, options.patch_mm, options.patches)
        if not positions:
            nothing = "no tumor found: the analysis found neither a thickness nor a lesion"
            raise InputError(
                f"{path.name}: {read_slide_validity(content).headline(nothing)}. Measure the thickness by hand in the "
                "Slide dock, or select a patch instead."
            )
        return [_read_patch(slide, position, um) for position in positions]


def _lesion_positions(content: Mapping[str, Any]) -> list[Point]:
    """Positions of the lesions that are not benign, in their order."""
    found = []
    for lesion in content.get("lesions") or []:
        row, column = lesion.get("seed_row_px"), lesion.get("seed_column_px")
        if lesion.get("label") not in BENIGN_LABELS and row is not None and column is not None:
            found.append((float(row), float(column)))
    return found


def _read_patch(slide: Slide, position: PatchPosition, um_per_px: Point) -> PatchImage:
    """Read a patch at the coarsest sufficient level."""
    if slide.info.kind != "brightfield":
        raise InputError(
            f"{slide.info.path.name} is not a brightfield slide: the models were trained on stained tissue."
        )
    box = position.box(um_per_px)
    rgb = slide.read_square(box, min(MAX_PX, max(box.height, box.width)))
    width = min(_size_on_slide_mm(box, slide, um_per_px))
    return PatchImage(
        rgb, position.description, box, width_mm=width, modality="slide", synthetic=is_phantom(slide.info.path)
    )


def _size_on_slide_mm(box: Box, slide: Slide, um_per_px: Point) -> tuple[float, float]:
    """Height and width in mm of the part of a box within the slide."""
    full = slide.info.levels[0]
    bottom, right = min(box.top + box.height, full.height), min(box.left + box.width, full.width)
    sides = bottom - max(box.top, 0), right - max(box.left, 0)
    return max(0, sides[0]) * um_per_px[0] / UM, max(0, sides[1]) * um_per_px[1] / UM
