"""Lesions that a reader corrected: edits by hand, also applied to lesions of another threshold, and their files."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_file, move, remove_file, replace_non_finite, save_error, write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.polygons import Polygon, joint_box
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.imaging.masks import bounding_box, label_components
from napari_melanoma.imaging.measurements import crofton_perimeter
from napari_melanoma.io.dicom_codes import LESION
from napari_melanoma.io.dicom_report import FINDING, is_dicom_report, read_measurement_report
from napari_melanoma.io.geojson import (
    CANVAS,
    Annotation,
    FittedAnnotations,
    GeoJsonContent,
    Origin,
    fit_to_slide,
    read_geojson,
    write_geojson,
)
from napari_melanoma.io.results import LESIONS, OUTLINES, RESULT, read_origin, read_slide_result, write_table
from napari_melanoma.slides.lesions import (
    LESION_COLUMNS,
    CellRegion,
    LesionClass,
    LesionConfig,
    LesionMaps,
    LesionOrigin,
    SlideLesion,
    lesions_table,
    measure_region,
    region_from_polygons,
)
from napari_melanoma.slides.outlines import (
    OutlineClick,
    cell_polygons,
    covered_cells,
    find_clicked_outline,
    rasterize_polygons,
    refine_polygons,
)

Lesions = tuple["SlideLesion", ...]
SAME_LESION_SHARE = 0.5  # share of its cells from which on a lesion counts as present in others
RASTER_SIDE = 1024  # cells along the longer side of a drawing: its area is accurate to 0.2 %
# An outline crosses itself if its area by the shoelace formula and the rasterized one differ by more than this share.
SELF_CROSSING_SHARE = 0.02


def merge_lesions(
    lesions: Sequence[SlideLesion], indices: Collection[int], maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Merge lesions into one, which keeps the lowest number and may have several parts.

    Returns all lesions of the slide, with the merged one at the position of its first part.
    """
    chosen = [_lesion_with_index(lesions, index) for index in sorted(set(indices))]
    if len(chosen) < 2:
        raise InputError("merging requires at least two lesions. Select their rows in the table, or draw around them.")
    joined = region_from_polygons([polygon for lesion in chosen for polygon in lesion.polygons], maps)
    merged = _measure_manual(joined, chosen[0].index, "merged", maps, config)
    others = {lesion.index for lesion in chosen[1:]}
    return tuple(merged if one.index == merged.index else one for one in lesions if one.index not in others)


def split_lesion(
    lesions: Sequence[SlideLesion], index: int, line: ArrayLike, maps: LesionMaps, config: LesionConfig
) -> Lesions:
    """Split a lesion along a line; the largest part keeps the number, the others are given new numbers.

    Cells under the line are assigned to the nearest part. Separate parts of a merged lesion become separate lesions,
    regardless of the line.

    ``line``: (vertex, 2), (row, column) in pixels of the finest level, at least two vertices. Returns all lesions of
    the slide, the new ones last.
    """
    lesion = _lesion_with_index(lesions, index)
    region = region_from_polygons(lesion.polygons, maps)
    parts, count = label_components(region.mask & ~_cells_on_line(maps.placement.to_map(line), region))
    if count < 2:
        raise InputError(
            f"the line does not split lesion {index}. Draw it across the lesion, from outside on one side to outside "
            "on the other."
        )
    parts = _nearest_part(parts, region.mask)
    order = (np.argsort(-np.bincount(parts.ravel())[1:], kind="stable") + 1).tolist()
    next_index = max(lesion.index for lesion in lesions) + 1
    numbers = [index, *range(next_index, next_index + len(order) - 1)]
    created = [
        _measure_manual(CellRegion(region.top, region.left, parts == part), number, "split", maps, config)
        for part, number in zip(order, numbers, strict=True)
    ]
    return (*(created[0] if one.index == index else one for one in lesions), *created[1:])


def set_lesion_class(lesions: Sequence[SlideLesion], index: int, label: LesionClass) -> Lesions:
    """Set the class of a lesion by hand; the predicted probability is kept."""
    changed = replace(_lesion_with_index(lesions, index), label=label, origin="classed")
    return tuple(changed if one.index == index else one for one in lesions)


def remove_lesion(lesions: Sequence[SlideLesion], index: int) -> Lesions:
    """Remove a lesion; the others keep their numbers."""
    removed = _lesion_with_index(lesions, index)
    return tuple(one for one in lesions if one is not removed)


def add_lesion(
    lesions: Sequence[SlideLesion],
    polygons: Sequence[Polygon],
    maps: LesionMaps,
    config: LesionConfig,
    label: LesionClass | None = None,
) -> Lesions:
    """Add a drawn lesion with the next free number; return all lesions of the slide, the new one last.

    ``polygons``: the drawing, in pixels of the finest level. ``label``: its class; predicted if None.
    """
    number = max((one.index for one in lesions), default=0) + 1
    return (*lesions, measure_drawn_lesion(polygons, maps, config, index=number, label=label))


def refine_lesion(
    lesions: Sequence[SlideLesion],
    indices: Collection[int],
    click: OutlineClick,
    maps: LesionMaps,
    config: LesionConfig,
) -> Lesions:
    """Refine the outline of the lesion that a click is in or next to.

    Number and class stay, and the lesion is measured as a drawn one. It is removed if the click erases all of it.

    ``indices``: numbers of the lesions that take precedence, such as the selected ones.
    """
    index = find_clicked_outline(((one.index, one.polygons) for one in lesions), click, indices)
    lesion = _lesion_with_index(lesions, index)
    polygons = refine_polygons(lesion.polygons, click)
    if not polygons:
        return remove_lesion(lesions, index)
    measured = measure_drawn_lesion(polygons, maps, config, index=index, label=lesion.label)
    return tuple(replace(measured, origin="refined") if one is lesion else one for one in lesions)


def _lesion_with_index(lesions: Sequence[SlideLesion], index: int) -> SlideLesion:
    for lesion in lesions:
        if lesion.index == index:
            return lesion
    known = ", ".join(str(one.index) for one in lesions) or "none"
    raise InputError(f"there is no lesion {index} on this slide (lesions: {known}).")


def _measure_manual(
    region: CellRegion, index: int, origin: LesionOrigin, maps: LesionMaps, config: LesionConfig
) -> SlideLesion:
    box = bounding_box(region.mask)
    assert box is not None, "callers pass at least one cell"
    cropped = CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    return replace(measure_region(cropped, maps, config, index=index, tissue=maps.tissue_cells), origin=origin)


def _cells_on_line(line: NDArray[np.float64], region: CellRegion) -> NDArray[np.bool_]:
    """Mark the cells that a line crosses, 4-connected, so that the parts beside it do not touch at a corner.

    ``line``: (vertex, 2), (row, column) in cells of the map.
    """
    points = [line[:1]]
    for start, end in pairwise(line):
        steps = max(2, int(4 * np.abs(end - start).max()) + 1)
        points.append(start + np.linspace(0, 1, steps)[1:, None] * (end - start))
    cells = np.floor(np.concatenate(points)).astype(int) - (region.top, region.left)
    corners = np.stack([cells[1:, 0], cells[:-1, 1]], axis=1)
    cells = np.concatenate([cells, corners])
    inside = ((cells >= 0) & (cells < region.mask.shape)).all(axis=1)
    under = np.zeros_like(region.mask)
    under[cells[inside, 0], cells[inside, 1]] = True
    return under


def _nearest_part(parts: NDArray[np.int32], mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """Assign the cells of a mask that have no part to the nearest part."""
    from scipy import ndimage

    rows, columns = ndimage.distance_transform_edt(parts == 0, return_distances=False, return_indices=True)
    return np.where(mask, parts[rows, columns], 0)


def manual_lesions(lesions: Sequence[SlideLesion]) -> Lesions:
    """Return the lesions that were drawn, refined, merged, split or classified by hand."""
    return tuple(one for one in lesions if one.origin != "found")


def removed_lesions(previous: Sequence[SlideLesion], now: Sequence[SlideLesion], maps: LesionMaps) -> Lesions:
    """Return the lesions of ``previous`` that were removed: most of their cells are in none of the lesions ``now``."""
    occupied, present = _lesion_cells(now, maps), {id(lesion) for lesion in now}
    missing = (lesion for lesion in previous if id(lesion) not in present)
    return tuple(
        lesion
        for lesion in missing
        if _share(region_from_polygons(lesion.polygons, maps), occupied) < SAME_LESION_SHARE
    )


def apply_edits(
    found: Sequence[SlideLesion],
    corrected: Sequence[SlideLesion],
    removed: Sequence[SlideLesion],
    maps: LesionMaps,
    config: LesionConfig,
) -> Lesions:
    """Apply manual edits to lesions that were detected at another threshold.

    Manual lesions come first, unchanged. Detected lesions follow, without their overlap with manual lesions; they are
    left out if at least half of their cells lie in manual or removed lesions.

    ``found``: the detected lesions. ``corrected``: the lesions of the slide after the edits. ``removed``: those that
    were removed.
    """
    manual = manual_lesions(corrected)
    occupied, excluded = _lesion_cells(manual, maps), _lesion_cells((*manual, *removed), maps)
    number = max((one.index for one in manual), default=0)
    lesions = list(manual)
    for lesion in found:
        region = region_from_polygons(lesion.polygons, maps)
        if _share(region, excluded) >= SAME_LESION_SHARE:
            continue
        number += 1
        if _share(region, occupied):
            region = replace(region, mask=region.mask & ~occupied[region.slices])
            lesion = measure_region(region, maps, config, index=number, tissue=maps.tissue_cells)
        lesions.append(replace(lesion, index=number))
    return tuple(lesions)


def _lesion_cells(lesions: Sequence[SlideLesion], maps: LesionMaps) -> NDArray[np.bool_]:
    """Return the mask of the cells in any of the lesions, bool (row, column) of the maps."""
    cells = np.zeros(maps.shape, bool)
    for lesion in lesions:
        region = region_from_polygons(lesion.polygons, maps)
        cells[region.slices] |= region.mask
    return cells


def _share(region: CellRegion, cells: NDArray[np.bool_]) -> float:
    """Return the share of a region that lies in a mask; 0 for a region without cells, such as a small drawing."""
    size = int(region.mask.sum())
    return float((region.mask & cells[region.slices]).sum()) / size if size else 0.0


def measure_drawn_lesion(
    polygons: Sequence[Polygon], maps: LesionMaps, config: LesionConfig, *, index: int, label: str | None = None
) -> SlideLesion:
    """Measure and classify a drawn lesion.

    Its shape is measured on the drawing itself, not on cells. Probability and tissue are those of the cells whose
    centers lie within the drawing, or of the cell at its center if it is smaller than that; the probability is NaN if
    no tile was analyzed there. If an outline crosses itself, the outer edge of the enclosed area becomes the outline.

    ``polygons``: the drawing, in pixels of the finest level, at least one. ``label``: its class; predicted if None.
    """
    cells, tissue = _cells_within(polygons, maps), maps.tissue_cells
    lesion = measure_region(cells, maps, config, index=index, tissue=tissue)
    if maps.malignancy is not None and lesion.presence < config.low:
        # Where hardly any lesion is predicted, the malignant share of its probability is noise.
        problem = f"the model predicts no lesion in the drawn area (probability of a lesion: {lesion.presence:.2f})"
        lesion = replace(lesion, malignancy=lesion.probability)
    else:
        problem = "no tile was analyzed in the drawn area" if math.isnan(lesion.probability) else ""
    if label is None and problem:
        raise InputError(f"{problem}, so the class cannot be predicted. Choose malignant or benign.")
    drawn = _with_drawn_shape(lesion, polygons, maps.placement)
    share = lesion.tissue_share * drawn.area_px / lesion.area_px
    return replace(drawn, label=label or lesion.label, tissue_share=share, origin="drawn")


def _cells_within(polygons: Sequence[Polygon], maps: LesionMaps) -> CellRegion:
    """Return the cells whose centers lie within a drawing; without such cells, the cell at its center."""
    region = region_from_polygons(polygons, maps)
    box = bounding_box(region.mask)
    if box is not None:
        return CellRegion(region.top + box.top, region.left + box.left, region.mask[box.slices])
    drawing_box = joint_box(tuple(polygons))
    middle = (drawing_box.top + drawing_box.height / 2, drawing_box.left + drawing_box.width / 2)
    row, column = np.floor(maps.placement.to_map(middle)).astype(int).tolist()
    if not (0 <= row < maps.presence.shape[0] and 0 <= column < maps.presence.shape[1]):
        raise InputError("the drawing lies outside the analyzed part of the slide. Draw within it.")
    return CellRegion(row, column, np.ones((1, 1), bool))


def _with_drawn_shape(lesion: SlideLesion, polygons: Sequence[Polygon], place: MapPlacement) -> SlideLesion:
    """Return the lesion with the outline of the drawing and the measurements of its shape."""
    drawing_box = joint_box(tuple(polygons))
    step = max(drawing_box.height, drawing_box.width, 1) / RASTER_SIDE
    fine = MapPlacement(float(drawing_box.top), float(drawing_box.left), step, step, place.pixel_size)
    window = Box(0, 0, math.ceil(drawing_box.height / step), math.ceil(drawing_box.width / step))
    mask = rasterize_polygons(polygons, fine, window)
    box, um = bounding_box(mask), fine.cell_um
    if box is None:
        raise InputError("the drawing encloses no area. Draw around the lesion.")
    cells = float(np.count_nonzero(mask))
    area = cells * fine.cell_area_px
    crosses_itself = abs(sum(polygon.area for polygon in polygons) / area - 1) > SELF_CROSSING_SHARE
    return replace(
        lesion,
        area_px=area,
        perimeter_px=crofton_perimeter(mask, (step, step)),
        area_mm2=None if um is None else cells * um[0] * um[1] / 1e6,
        perimeter_mm=None if um is None else crofton_perimeter(mask, (um[0] / 1e3, um[1] / 1e3)),
        height_mm=None if um is None else box.height * um[0] / 1e3,
        width_mm=None if um is None else box.width * um[1] / 1e3,
        extent=cells / (box.height * box.width),
        polygons=cell_polygons(mask, fine) if crosses_itself else tuple(polygons),
    )


LABEL_COLORS = {"malignant": (200, 0, 0), "benign": (0, 160, 0)}
UNLABELED_COLOR = (220, 120, 0)  # for lesions with another class
MEASUREMENTS = tuple(name for name in LESION_COLUMNS if name not in ("index", "label", "origin"))
BACKUP_NAME = "lesions-kept-{}"
LOCK, LOCK_TIMEOUT_S = ".lesions.lock", 20.0

# Words in class names of other programs; the default set of QuPath has 'Tumor'.
BENIGN = ("benign", "naevus", "nevus", "naevi", "nevi")
MALIGNANT = ("malignant", "melanoma", "tumor", "tumour", "metastasis", "invasive")
LESION_NAME = re.compile(r"lesion (\d{1,5})")


def read_lesions(folder: Path) -> tuple[SlideLesion, ...] | None:
    """Read the saved lesions with all manual edits; None if none were saved."""
    path = folder / OUTLINES
    if not path.is_file():
        return None
    content = read_geojson(path, read_origin(folder))
    try:
        if content.omitted:
            raise ValueError(content.omitted[0])
        return tuple(map(_build_lesion, content.annotations))
    except (KeyError, ValueError) as error:
        raise InputError(
            f"the lesions in {path} cannot be read ({error}); nothing was changed. Restore {OUTLINES} from a backup, "
            f"or move it and {LESIONS} away to detect the lesions again."
        ) from error


def write_found_lesions(folder: Path, lesions: Sequence[SlideLesion], validity: Validity) -> tuple[str, str]:
    """Write the lesions that an analysis has detected; lesions that a user saved in the meantime are backed up.

    Returns a hash of the written file for ``result.json``, and a message on the backup; empty if there is none.
    """
    path = folder / OUTLINES
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        expected, previous = read_slide_result(folder).get("outlines"), hash_file(path)
        with atomic_file(path) as temporary:
            write_outlines(temporary, lesions, validity, read_origin(folder))
            digest = hash_file(temporary)
            backup_note = _back_up_outlines(folder, keep=True) if previous not in ("", expected, digest) else ""
        write_lesions_table(folder / LESIONS, lesions, validity)
    return digest, backup_note


def save_lesions(
    folder: Path, lesions: Sequence[SlideLesion], config: LesionConfig, *, corrected: bool | None = None
) -> None:
    """Write edited lesions into the folder of the slide: outlines, table, and their values in ``result.json``.

    ``config``: the thresholds that they were detected at. ``corrected``: whether there are manual edits; by default,
    if a lesion is not as detected.
    """
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        try:
            read_lesions(folder)
        except InputError:
            _back_up_outlines(folder, keep=True)  # the unreadable file may still be repaired
        content = read_slide_result(folder)
        validity = read_validity(content) if content else None
        write_outlines(folder / OUTLINES, lesions, validity, read_origin(folder))
        write_lesions_table(folder / LESIONS, lesions, validity)
        if content:
            options = content.get("options", {})
            if corrected is None:
                corrected = any(lesion.origin != "found" for lesion in lesions)
            updates = {
                "lesions": lesions_table(lesions),
                "lesions_asked": content.get("lesions_asked", options.get("lesions")),
                "options": {**options, "lesions": config.model_dump(mode="json")},
                "corrected_by_hand": corrected,
            }
            write_json(folder / RESULT, {**content, **updates})


def sync_with_outlines(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Update table and ``result.json`` from the outlines, in case a process was killed while saving.

    ``content``: that of ``result.json``. Returns the updated content; if the lesions cannot be read, the content with a
    warning.
    """
    if content.get("outlines") in (None, hash_file(folder / OUTLINES)):
        return content
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        try:
            lesions = read_lesions(folder) or ()
        except InputError as error:
            return {**content, "warnings": [*content.get("warnings", ()), str(error)]}
        if replace_non_finite(lesions_table(lesions)) != content.get("lesions"):
            write_lesions_table(folder / LESIONS, lesions, read_validity(content))
            content = {**content, "lesions": lesions_table(lesions), "corrected_by_hand": True}
            write_json(folder / RESULT, content)
    return content


def back_up_corrected_lesions(folder: Path) -> str:
    """Remove the lesions before they are detected again; lesions that a user saved are backed up.

    Returns a message on the backup; empty if there is none.
    """
    if not (folder / OUTLINES).is_file():
        return ""
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        if hash_file(folder / OUTLINES) != read_slide_result(folder).get("outlines"):
            return _back_up_outlines(folder, keep=False)
        for name in (OUTLINES, LESIONS):
            try:
                remove_file(folder / name)
            except OSError as error:
                raise save_error(folder / name, error) from error
    return ""


def write_lesions_table(path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None) -> None:
    """Write a CSV file with a row for each lesion, and the validity of the predictions if known."""
    validity_columns = {} if validity is None else validity.to_columns()
    rows = [{**row, **validity_columns} for row in lesions_table(lesions)]
    write_table(path, rows, (*LESION_COLUMNS, *validity_columns))


def write_outlines(
    path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None, origin: Origin = CANVAS
) -> None:
    """Write outlines and measurements of lesions as GeoJSON, as QuPath reads it; ``origin``: of its positions."""
    write_geojson(path, (lesion_to_annotation(lesion, validity) for lesion in lesions), origin=origin)


def lesion_to_annotation(lesion: SlideLesion, validity: Validity | None = None) -> Annotation:
    """Convert a lesion to an annotation for QuPath, with class, measurements and origin.

    If the prediction is not valid, the annotation also states why.
    """
    (row,) = lesions_table([lesion])
    measured: dict[str, Any] = {name: row[name] for name in MEASUREMENTS if row[name] is not None}
    annotation = Annotation(
        lesion.polygons,
        class_name=lesion.label,
        color=LABEL_COLORS.get(lesion.label, UNLABELED_COLOR),
        name=f"lesion {lesion.index}",
        measurements=measured,
        properties={"metadata": {"origin": lesion.origin}},
    )
    return annotation if validity is None else mark_validity(annotation, validity)


def mark_validity(annotation: Annotation, validity: Validity) -> Annotation:
    """State in the metadata of an annotation why its prediction is not valid."""
    if validity.valid:
        return annotation
    metadata = {**annotation.properties.get("metadata", {}), "validity": validity.headline("")}
    return replace(annotation, properties={**annotation.properties, "metadata": metadata})


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file; empty if it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _back_up_outlines(folder: Path, *, keep: bool) -> str:
    """Copy, or without ``keep`` move, outlines and table to unused file names; return a message for the user."""
    number = 1
    while (folder / BACKUP_NAME.format(number)).with_suffix(".geojson").exists():
        number += 1
    for name in (LESIONS, OUTLINES):
        source = folder / name
        backup = (folder / BACKUP_NAME.format(number)).with_suffix(source.suffix)
        if not source.is_file():
            continue
        try:
            if keep:
                with atomic_file(backup) as temporary:
                    temporary.write_bytes(source.read_bytes())
            else:
                move(source, backup)
        except OSError as error:
            raise save_error(backup, error) from error
    return (
        "Previously saved lesions, possibly with manual edits, were backed up in "
        f"{BACKUP_NAME.format(number)}.geojson. To use them again, import the file in the Slide dock (Export > Import "
        "outlines)."
    )


def _build_lesion(outline: Annotation) -> SlideLesion:
    """Convert an annotation that ``lesion_to_annotation`` made back to a lesion."""
    if "area_px" not in outline.measurements:
        raise ValueError(f"{outline.name} has no measurements")
    values: dict[str, Any] = {name: _parse_measurement(name, outline.measurements.get(name)) for name in MEASUREMENTS}
    seed = values.pop("seed_row_px"), values.pop("seed_column_px")
    metadata = outline.properties.get("metadata")
    origin: Any = metadata.get("origin", "found") if isinstance(metadata, dict) else "found"
    index = int(outline.name.removeprefix("lesion "))
    return SlideLesion(
        seed=seed, polygons=outline.polygons, index=index, label=outline.class_name, origin=origin, **values
    )


def _parse_measurement(name: str, value: Any) -> float | None:  # noqa: ANN401 - a number, or nothing
    """Convert a measurement of a lesion; if it is missing, None for a length or area in mm, else NaN."""
    with suppress(TypeError, ValueError):
        return float(value)
    return None if name.endswith(("mm", "mm2")) else math.nan


def label_image(lesions: Sequence[SlideLesion], place: MapPlacement, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Draw lesions as a label image.

    Returns uint16 (row, column) of ``shape``: the number of the lesion that contains the center of the cell, the first
    of the lesions if they overlap; 0 for none.
    """
    if max((lesion.index for lesion in lesions), default=0) > np.iinfo(np.uint16).max:
        raise InputError("lesion numbers above 65535 do not fit into a mask. Raise the threshold, or merge lesions.")
    labels = np.zeros(shape, np.uint16)
    for lesion in reversed(lesions):
        window = covered_cells(lesion.box, place, Box(0, 0, *shape))
        labels[window.slices][rasterize_polygons(lesion.polygons, place, window)] = lesion.index
    return labels


def import_outlines(
    path: Path, size: tuple[int, int], origin: Origin = CANVAS, slide: Path | None = None
) -> FittedAnnotations:
    """Read the outlines in a GeoJSON file or a DICOM report that are on the slide.

    ``size``: height and width of the finest level, in pixels. ``origin``: the corner of the scanned area. ``slide``:
    its file, which reports need. Also returns messages on what was changed or left out. Raises InputError if no
    outline is on the slide.
    """
    is_report = slide is not None and is_dicom_report(path)
    content = _read_reported_lesions(path, slide) if slide and is_report else read_geojson(path, origin)
    fitted = fit_to_slide(content, size)
    if not fitted.annotations:
        reasons = f" ({'; '.join(fitted.changed[:3])})" if fitted.changed else ""
        raise InputError(f"no area in {path.name} is on this slide{reasons}. Export the annotations of this slide.")
    return fitted


def _read_reported_lesions(path: Path, slide: Path) -> GeoJsonContent:
    """Read the lesions of a DICOM report; all areas if none is stated to be a lesion."""
    content = read_measurement_report(path, slide)
    lesions = tuple(one for one in content.annotations if one.properties.get(FINDING) == LESION.meaning)
    count = len(content.annotations) - len(lesions) if lesions else 0
    left_out = [f"{format_count(count, 'area')} of other findings: left out"] if count else []
    values = (("measurement", content.lines), ("depth reading", content.depths))
    if counts := [format_count(len(found), noun) for noun, found in values if found]:
        left_out.append(f"{' and '.join(counts)}: left out. Import the file in the Regions section to add them")
    return replace(content, annotations=lesions or content.annotations, omitted=(*content.omitted, *left_out))


def replace_lesions(
    lesions: Sequence[SlideLesion], outlines: Sequence[Annotation], maps: LesionMaps, config: LesionConfig
) -> tuple[SlideLesion, ...]:
    """Replace the lesions of a slide by imported outlines; unchanged lesions keep their measurements."""
    unchanged = {(lesion.index, lesion.label, lesion.polygons): lesion for lesion in lesions}
    numbers = [_imported_number(outline) for outline in outlines]
    next_index = max([0, *(number for number in numbers if number), *(lesion.index for lesion in lesions)]) + 1
    used: set[int] = set()
    replaced = []
    for outline, imported in zip(outlines, numbers, strict=True):
        number = imported
        if not number or number in used:
            number, next_index = next_index, next_index + 1
        used.add(number)
        label = class_to_label(outline.class_name)
        replaced.append(
            unchanged.get((number, outline.class_name, outline.polygons))
            or measure_drawn_lesion(outline.polygons, maps, config, index=number, label=label)
        )
    return tuple(replaced)


def class_to_label(class_name: str) -> LesionClass | None:
    """Map a class name of another program to benign or malignant; None if it is neither."""
    words = set(re.findall(r"[a-z]+", class_name.lower()))
    if words & set(BENIGN):
        return "benign"
    return "malignant" if words & set(MALIGNANT) else None


def _imported_number(outline: Annotation) -> int:
    """Return the lesion number in the name of an outline; 0 if there is none."""
    match = LESION_NAME.fullmatch(outline.name.strip())
    return int(match[1]) if match else 0
