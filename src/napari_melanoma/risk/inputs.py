"""What is known of a melanoma beside its image, and the patches that a risk is predicted from."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.errors import InputError, ScaleMissing
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.validity import Validity
from napari_melanoma.data.dataset import MODALITY_WORDS
from napari_melanoma.data.features.encoding import read_number
from napari_melanoma.depth.readings import DepthReading, Line, SlideDepthProposals, read_depth
from napari_melanoma.imaging.modality import recognize_modality
from napari_melanoma.io.photographs import Photograph, format_damage_warning, read_photograph
from napari_melanoma.io.results import read_slide_result, read_slide_validity
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
    """What is known: a row of the harmonized table, the depth with its source, and lines of thickness on the slide."""

    row: dict[str, str]
    depth: RiskDepth
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    validity: Validity = field(default_factory=Validity)  # of the analysis that depth and places come from


def case_of_patch(metadata: Mapping[str, str]) -> RiskCase:
    """Take what a table says of the melanoma in a patch.

    Its depth is from the table, or not known.
    """
    check_plausible_depth(metadata)
    return RiskCase(dict(metadata), _depth_from_metadata(metadata) or RiskDepth(None, "unknown"))


def case_of_slide(folder: Path, metadata: Mapping[str, str], reader: str | None) -> RiskCase:
    """Put together what readers, a table and the analysis say of the melanoma on a slide.

    Its depth is that of the reader, else that of the analysis, else that of the table.
    """
    check_plausible_depth(metadata)
    reading, found = _select_reading(folder, reader), read_proposals(folder)
    analysed = found.validity.with_reasons(read_slide_validity(read_slide_result(folder)))
    automatic = _depth_from_analysis(folder, found, analysed)
    depth = _depth_from_reading(reading) or automatic or _depth_from_metadata(metadata) or RiskDepth(None, "unknown")
    own = () if reading is None or reading.line is None else (reading.line,)
    is_measured = bool(own) and depth.source == "reader"
    # Beside a reading nothing else says that what the analysis estimates is not valid.
    told = _values_from_analysis(found) if analysed.valid or not is_measured else {}
    row = {**told, **{name: cell for name, cell in metadata.items() if cell}, **_values_from_reading(reading)}
    row.pop(DEPTH_COLUMN, None)
    if depth.mm is not None:
        row[DEPTH_COLUMN] = f"{depth.mm:g}"
    may_be_more = depth.at_least and depth.mm and not depth.not_valid
    notes = [f"the thickness is at least {depth.mm:.2f} mm: it may be more"] if may_be_more else []
    lines = (*own, *(one.line for one in found.proposals))
    notes = [*notes, *found.notes] if analysed.valid else notes
    return RiskCase(row, depth, lines, tuple(notes), Validity() if is_measured else analysed)


def _select_reading(folder: Path, reader: str | None) -> DepthReading | None:
    """The reading that counts."""
    readings = [one for one in read_depth(folder).readings if one.when]
    if reader is not None:
        mine = next((one for one in readings if one.reader == reader), None)
        if mine is None:
            there = ", ".join(f"'{one.reader}'" for one in readings) or "nobody"
            raise InputError(
                f"{folder.name}: '{reader}' has measured nothing there (readings by {there}). Name one of these."
            )
        return mine
    return max(readings, key=lambda one: one.when, default=None)


def _depth_from_reading(reading: DepthReading | None) -> RiskDepth | None:
    """The thickness that a reader measured."""
    if reading is None or reading.mm is None:
        return None
    return RiskDepth(reading.mm, "reader", reading.interval_mm, reading.at_least, reading.reader)


def _depth_from_analysis(folder: Path, found: SlideDepthProposals, validity: Validity) -> RiskDepth | None:
    """The thickness that the analysis measured."""
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


def _depth_from_metadata(form: Mapping[str, str]) -> RiskDepth | None:
    """The thickness that a table says."""
    mm = read_number(form.get(DEPTH_COLUMN))
    return None if mm != mm else RiskDepth(float(mm), "metadata")


def _values_from_analysis(found: SlideDepthProposals) -> dict[str, str]:
    """What the analysis estimates beside the thickness."""
    told = {} if found.clark is None else {"clark": str(found.clark)}
    return told if found.ulcerated is None else {**told, "ulceration": str(int(found.ulcerated))}


def _values_from_reading(reading: DepthReading | None) -> dict[str, str]:
    """What a reader set beside the thickness."""
    if reading is None:
        return {}
    mitoses = reading.mitoses.per_mm2
    said = {
        "clark": None if reading.clark is None else str(reading.clark),
        "ulceration": None if reading.ulcerated is None else str(int(reading.ulcerated)),
        "mitoses_per_mm2": None if mitoses is None else f"{mitoses:g}",
    }
    return {name: cell for name, cell in said.items() if cell is not None}


MAX_PX = 1024  # side of a patch as it is read: networks look at less
SCALE_TOLERANCE = 0.1  # share by which a patch may be larger or smaller than the model has learnt them
LOOKS_LIKE_SKIN = "this looks like a {} photograph of skin, and not like a section: then the answer means nothing"
WIDTH_UNKNOWN = (
    "nothing says how wide the patch is: taken for {:g} mm (state it with --mpp, or mpp_x and mpp_y of a table)"
)
BENIGN_LABELS = ("benign", "naevus", "nevus")


@dataclass(frozen=True, eq=False)
class PatchImage:
    """Pixels of a patch, uint8 (row, column, channel=3), what is there, its box in the slide's finest pixels, notes.

    ``wide_mm`` is the width of the slide within it, None where that is unknown; ``modality`` is ``slide``, or what else
    it certainly shows; ``synthetic`` says that it is of a phantom.
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
    """List the slides and patches that files, folders and patterns name.

    Each once, in the order in which they were named.
    """
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
    """Return whether a folder is one slide.

    True of DICOM and OME-Zarr.
    """
    return path.is_dir() and is_slide(path)


def read_patch_image(path: Path, metadata: Mapping[str, str], options: RiskOptions) -> PatchImage:
    """Read a picture that is one patch."""
    photograph = read_photograph(path)
    _check_not_photograph(path.name, photograph, metadata)
    rgb = photograph.rgb
    stated = {name: read_number(metadata.get(name)) for name in ("mpp_y", "mpp_x")}
    mpp = {name: um if um > 0 else options.mpp for name, um in stated.items()}
    for name, count in (("mpp_y", rgb.shape[0]), ("mpp_x", rgb.shape[1])):
        side_mm = (mpp[name] or math.nan) * count / UM
        if abs(side_mm - options.patch_mm) > SCALE_TOLERANCE * options.patch_mm:
            raise InputError(
                f"{path.name} shows {side_mm:.2f} mm, as {name} or --mpp says; the model looks at patches of "
                f"{options.patch_mm:g} mm. Cut it to that, correct the table, or name the model's own with --patch-mm."
            )
    notes = () if mpp["mpp_x"] else (WIDTH_UNKNOWN.format(options.patch_mm),)
    if photograph.damage:
        notes = (format_damage_warning(photograph.damage), *notes)
    seen, modality = recognize_modality(rgb), "slide"
    if seen.is_certain and seen.kind != "neither":
        notes, modality = (LOOKS_LIKE_SKIN.format(seen.kind), *notes), seen.kind
    return PatchImage(
        rgb,
        "the patch that was given",
        notes=notes,
        width_mm=options.patch_mm if mpp["mpp_x"] else None,
        modality=modality,
        damage=photograph.damage,
        synthetic=is_phantom(path),
    )


def _check_not_photograph(name: str, photograph: Photograph, form: Mapping[str, str]) -> None:
    """Refuse what is surely no patch of a section."""
    height, width = photograph.rgb.shape[:2]
    if abs(height - width) > SCALE_TOLERANCE * max(height, width):
        raise InputError(
            f"{name} has {width} x {height} pixels: expected a slide, or a square patch of one. A photograph of skin, "
            "or a region of another form, is nothing that a model of patches has learnt from. Cut a patch, or name the "
            "slide."
        )
    told = photograph.modality or form.get("modality") or "wsi"
    if told in MODALITY_WORDS:
        raise InputError(f"{name} is a photograph of skin ({told}): expected a slide, or a square patch of one.")


def cut_slide_patches(
    path: Path, lines: Sequence[Line], content: Mapping[str, Any], options: RiskOptions
) -> list[PatchImage]:
    """Cut patches out of a slide, at its deepest places and its lesions."""
    given = None if options.mpp is None else PixelSize(options.mpp, options.mpp)
    with open_slide(path, given) as slide:
        size = slide.info.pixel_size
        if size is None:
            raise ScaleMissing(
                f"pixel size is missing: a patch of {options.patch_mm:g} mm needs micrometers per pixel, and "
                f"{path.name} carries none. Name it with --mpp."
            )
        um = (size.y_um, size.x_um)
        places = choose_patch_positions(lines, _lesion_positions(content), um, options.patch_mm, options.patches)
        if not places:
            nothing = "there is no tumor to look at: the analysis found neither a thickness nor a lesion"
            raise InputError(
                f"{path.name}: {read_slide_validity(content).headline(nothing)}. Measure the thickness by hand in the Slide "
                "dock, or name a patch in its place."
            )
        return [_read_patch(slide, place, um) for place in places]


def _lesion_positions(content: Mapping[str, Any]) -> list[Point]:
    """Places of the lesions that are not harmless, in their order."""
    found = []
    for lesion in content.get("lesions") or []:
        row, column = lesion.get("seed_row_px"), lesion.get("seed_column_px")
        if lesion.get("label") not in BENIGN_LABELS and row is not None and column is not None:
            found.append((float(row), float(column)))
    return found


def _read_patch(slide: Slide, place: PatchPosition, um_per_px: Point) -> PatchImage:
    """Read a patch, no finer than needed."""
    from napari_melanoma.slides.reading.slide import resize_rgb

    box = place.box(um_per_px)
    side = min(MAX_PX, max(box.height, box.width))
    index = slide.best_level(min(box.height, box.width) / side)
    down = slide.info.levels[index].downsample
    part = Box(*(round(value / down) for value in (box.top, box.left, box.height, box.width)))
    pixels = slide.read_region(index, part)
    if slide.info.kind != "brightfield":
        raise InputError(f"{slide.info.path.name} is no brightfield slide: networks have learnt from stained tissue.")
    rgb = resize_rgb(pixels.astype("uint8", copy=False), side, side)
    wide = min(_size_on_slide_mm(box, slide, um_per_px))
    return PatchImage(
        rgb, place.description, box, width_mm=wide, modality="slide", synthetic=is_phantom(slide.info.path)
    )


def _size_on_slide_mm(box: Box, slide: Slide, um_per_px: Point) -> tuple[float, float]:
    """Height and width in mm of the part of a box that lies on the slide."""
    full = slide.info.levels[0]
    bottom, right = min(box.top + box.height, full.height), min(box.left + box.width, full.width)
    sides = bottom - max(box.top, 0), right - max(box.left, 0)
    return max(0, sides[0]) * um_per_px[0] / UM, max(0, sides[1]) * um_per_px[1] / UM
