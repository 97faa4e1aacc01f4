"""Files of the lesions of a slide: outlines and table, their backups, and outlines of other programs."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_file, move, remove_file, replace_non_finite, save_error, write_json
from napari_melanoma.core.formatting import format_count
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.validity import Validity, read_validity
from napari_melanoma.data.class_names import BENIGN, MALIGNANT, read_class_name
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
from napari_melanoma.slides.lesion_edits import measure_drawn_lesion
from napari_melanoma.slides.lesions import (
    LESION_COLUMNS,
    LabelOrigin,
    LesionClass,
    LesionConfig,
    LesionMaps,
    SlideLesion,
    area_noun,
    lesions_table,
)
from napari_melanoma.slides.outlines import covered_cells, rasterize_polygons

LABEL_COLORS = {"malignant": (200, 0, 0), "benign": (0, 160, 0)}
UNLABELED_COLOR = (220, 120, 0)  # for lesions with another class
MEASUREMENTS = tuple(name for name in LESION_COLUMNS if name not in ("index", "label", "origin", "label_origin"))
HAND_SET = ("classed", "drawn")  # origins of lesions whose class was set by a reader, in files without label_origin
BACKUP_NAME = "lesions-kept-{}"
LOCK, LOCK_TIMEOUT_S = ".lesions.lock", 20.0

LESION_NAME = re.compile(r"(?:lesion|area) (\d{1,5})")


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
    folder: Path,
    lesions: Sequence[SlideLesion],
    config: LesionConfig,
    *,
    corrected: bool | None = None,
    target: str = "",
) -> None:
    """Write edited lesions into the folder of the slide: outlines, table, and their values in ``result.json``.

    ``config``: the thresholds that they were detected at. ``corrected``: whether there are manual edits; by default,
    if a lesion is not as detected. ``target``: the class that they were detected with; empty for that of the results.
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
                "target": target or content.get("target"),
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
        name=f"{area_noun(lesion.label)} {lesion.index}",
        measurements=measured,
        properties={"metadata": {"origin": lesion.origin, "label_origin": lesion.label_origin, "label": lesion.label}},
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
    origin = _read_metadata(outline).get("origin", "found")
    label_origin = _read_label_origin(outline, "reader" if origin in HAND_SET else "model")
    index = int(outline.name.removeprefix("lesion ").removeprefix("area "))
    lesion = SlideLesion(seed=seed, polygons=outline.polygons, index=index, label=outline.class_name, **values)
    return replace(lesion, origin=origin, label_origin=label_origin)


def _read_metadata(outline: Annotation) -> dict[str, Any]:
    """Return the metadata that ``lesion_to_annotation`` wrote; empty for other outlines."""
    metadata = outline.properties.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _read_label_origin(outline: Annotation, default: LabelOrigin) -> LabelOrigin:
    """Return who set the class of an outline; a class that was changed in another program was set by a reader."""
    metadata = _read_metadata(outline)
    if "label_origin" not in metadata:
        return default
    return "model" if (metadata["label_origin"], metadata.get("label")) == ("model", outline.class_name) else "reader"


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
    """Replace the lesions of a slide by imported outlines; unchanged lesions keep their measurements.

    Names of classes are read by ``class_to_label``; where they are unknown, the class is predicted.
    """
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
        lesion = unchanged.get((number, outline.class_name, outline.polygons))
        if lesion is None:
            label = _imported_label(outline)
            lesion = measure_drawn_lesion(outline.polygons, maps, config, index=number, label=label)
            lesion = lesion if label is None else replace(lesion, label_origin=_read_label_origin(outline, "reader"))
        replaced.append(lesion)
    return tuple(replaced)


def class_to_label(class_name: str) -> LesionClass | None:
    """Map a class name of another program to benign or malignant; None if it is neither, or open which.

    The default set of QuPath has *Tumor*, which is malignant.
    """
    meaning = read_class_name(class_name)
    if meaning in BENIGN:
        return "benign"
    return "malignant" if meaning in (*MALIGNANT, "tumor") else None


def _imported_label(outline: Annotation) -> str | None:
    """Return the label of an imported lesion: benign, malignant or, if its class states neither, its own name.

    None if the class is unknown or names a lesion of any kind.
    """
    name = outline.class_name
    stays = read_class_name(name) in ("ambiguous", "structure", "background")
    return class_to_label(name) or (name if stays else None)


def _imported_number(outline: Annotation) -> int:
    """Return the lesion number in the name of an outline; 0 if there is none."""
    match = LESION_NAME.fullmatch(outline.name.strip())
    return int(match[1]) if match else 0
