"""Files of the lesions of a slide: outlines and table, their backups, and outlines of other programs.

``lesions.geojson`` states what is known of each lesion; everything else is derived from it.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import (
    FileStamp,
    atomic_file,
    back_up_if_changed,
    file_stamp,
    hash_file,
    remove_file,
    replace_non_finite,
    save_error,
)
from napari_melanoma.core.formatting import format_class, format_count
from napari_melanoma.core.geometry import Box, MapPlacement
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.polygons import Polygon, points_within, to_shapes
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
from napari_melanoma.io.slide_store import SlideResult
from napari_melanoma.slides.lesion_edits import carry_classes, measure_drawn_lesion
from napari_melanoma.slides.lesions import (
    LESION_COLUMNS,
    LabelOrigin,
    LesionClass,
    LesionConfig,
    LesionMaps,
    LesionOrigin,
    SlideLesion,
    area_noun,
    lesions_table,
)
from napari_melanoma.slides.outlines import covered_cells, rasterize_polygons
from napari_melanoma.slides.result_folder import PREVIOUS
from napari_melanoma.slides.results import read_lesion_maps

LABEL_COLORS = {"malignant": (200, 0, 0), "benign": (0, 160, 0)}
UNLABELED_COLOR = (220, 120, 0)  # for lesions with another class
MEASUREMENTS = tuple(name for name in LESION_COLUMNS if name not in ("index", "label", "origin", "label_origin"))
HAND_SET = ("classed", "drawn")  # origins of lesions whose class was set by a reader, in files without label_origin
BACKUP_NAME = "lesions-kept-{}"
LOCK, LOCK_TIMEOUT_S = ".lesions.lock", 20.0
# How the lesions were detected, as JSON: in the metadata of each feature, as QuPath keeps no members of the file; those
# of a file without features state it.
DETECTION = "detection"
EARLIER_SAVE = "lesions_asked"  # in result.json since a reader has saved lesions, in versions up to 2026-11-29
OWN_METADATA = {"number", "origin", "label_origin", "label", "outline", "validity", DETECTION}
MOVED_PX = 0.1  # distance of outlines that count as the same: other programs round positions
# Differences of areas that count as the same, in files that do not state the measured outline: a share of the area, and
# of the squared length, since drawings were measured on 1024 cells along the longer side.
AREA_SHARE, LENGTH_SHARE = 0.01, 0.25 / 1024

LESION_NAME = re.compile(r"(?:lesion|area) (\d{1,5})")


@dataclass(frozen=True)
class SavedLesions:
    """The lesions of a slide as its file states them: with the class and the thresholds that they were detected with.

    ``saved_by``: the model, if the file is exactly as an analysis wrote it. ``is_outdated``: the next analysis detects
    them again.
    """

    lesions: tuple[SlideLesion, ...]
    target: str = ""
    config: LesionConfig = field(default_factory=LesionConfig)
    saved_by: LabelOrigin = "reader"
    is_outdated: bool = False

    @property
    def is_edited(self) -> bool:
        """Whether a reader or another program has saved them, or some have a class that a reader has set."""
        is_found = all((one.origin, one.label_origin) == ("found", "model") for one in self.lesions)
        return self.saved_by == "reader" or not is_found

    def describe(self) -> dict[str, Any]:
        """Return what the file states on how the lesions were detected."""
        outdated = {"outdated": True} if self.is_outdated else {}
        options = self.config.model_dump(mode="json")
        return {"target": self.target, "options": options, **outdated}

    @classmethod
    def of_analysis(cls, content: Mapping[str, Any], lesions: Sequence[SlideLesion]) -> SavedLesions:
        """Return lesions with the class and the thresholds that are stated in the content of a ``result.json``."""
        config = read_lesion_config((content.get("options") or {}).get("lesions"))
        return cls(tuple(lesions), str(content.get("target") or ""), config)

    def add_to(self, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return the content of a ``result.json`` with these lesions, their class and their thresholds."""
        return {
            **content,
            "lesions": replace_non_finite(lesions_table(self.lesions)),
            "target": self.target or content.get("target"),
            "options": {**(content.get("options") or {}), "lesions": self.config.model_dump(mode="json")},
        }


def read_lesions(folder: Path) -> tuple[SlideLesion, ...] | None:
    """Read the saved lesions with all manual edits; None if none were saved."""
    saved = read_saved_lesions(folder)
    return None if saved is None else saved.lesions


def read_saved_lesions(folder: Path, origin: Origin | None = None) -> SavedLesions | None:
    """Read the file of the lesions; None if there is none.

    Outlines that were changed or added in another program are measured on the maps of the result. ``origin``: of
    positions, by default that of the slide of the folder.
    """
    path = folder / OUTLINES
    if not path.is_file():
        return None
    content = read_geojson(path, read_origin(folder) if origin is None else origin)
    try:
        if content.omitted:
            raise ValueError(content.omitted[0])
        saved = _read_detection(folder, content)

        @cache
        def read_maps() -> LesionMaps:
            return read_lesion_maps(folder, saved.target, SlideResult.open(folder).spec.size)

        numbers = _assign_numbers(content.annotations)
        shapes = _measure_outlines([outline.polygons for outline in content.annotations])
        lesions = (
            _build_lesion(outline, number)
            if _is_measured(outline, shape)
            else _measure_changed(outline, number, read_maps(), saved.config)
            for number, outline, shape in zip(numbers, content.annotations, shapes, strict=True)
        )
        return replace(saved, lesions=tuple(lesions))
    except (KeyError, ValueError, InputError) as error:
        raise InputError(
            f"the lesions in {path} cannot be read ({error}); nothing was changed. Restore {OUTLINES} from a backup, "
            f"or move it and {LESIONS} away to detect the lesions again."
        ) from error


def _read_detection(folder: Path, content: GeoJsonContent) -> SavedLesions:
    """Read how the lesions of a file were detected, and whether an analysis wrote it.

    Files of other programs do not state the first, nor those of versions up to 2026-11-29: it is in ``result.json``.
    """
    stated, result = _find_detection(content), read_slide_result(folder)
    is_as_written = result.get("outlines") == hash_file(folder / OUTLINES) and EARLIER_SAVE not in result
    saved_by: LabelOrigin = "model" if is_as_written else "reader"
    if stated is not None:
        config = read_lesion_config(stated.get("options"))
        return SavedLesions((), str(stated.get("target") or ""), config, saved_by, stated.get("outdated") is True)
    labels = {one.class_name for one in content.annotations}
    areas = (name for name in result.get("areas") or () if format_class(name) in labels)
    earlier = SavedLesions.of_analysis(result, ())
    return replace(earlier, target=earlier.target or next(areas, ""), saved_by=saved_by)


def _find_detection(content: GeoJsonContent) -> dict[str, Any] | None:
    """Find how the lesions of a file were detected; None if it is not stated.

    It is what most features state: some may have been copied from another slide.
    """
    texts = Counter(str(text) for one in content.annotations if (text := _read_metadata(one).get(DETECTION)))
    for text, _ in texts.most_common():
        with suppress(ValueError):
            if isinstance(stated := parse_json(text, DETECTION), dict):
                return stated
    stated = content.members.get(DETECTION)
    return stated if isinstance(stated, dict) else None


def read_lesion_config(options: Any) -> LesionConfig:  # noqa: ANN401 - any JSON value
    """Return the thresholds that lesions were detected at; the defaults where this version cannot read them."""
    values = options if isinstance(options, dict) else {}
    with suppress(ConfigError):
        return LesionConfig.parse({name: values[name] for name in LesionConfig.model_fields if name in values}, RESULT)
    return LesionConfig()


def read_analysis(folder: Path) -> dict[str, Any]:
    """Read the ``result.json`` of a slide with its lesions, their class and thresholds, which are those of their file.

    Empty if the analysis is unfinished. If the lesions cannot be read, they are None, with a warning.
    """
    content = read_slide_result(folder)
    if not content:
        return {}
    try:
        saved = read_saved_lesions(folder)
    except InputError as error:
        return {**content, "lesions": None, "warnings": [*(content.get("warnings") or ()), str(error)]}
    return {"lesions": [], **content} if saved is None else saved.add_to(content)


def write_detected_lesions(
    folder: Path, detected: SavedLesions, maps: LesionMaps, validity: Validity
) -> tuple[SavedLesions, str, str]:
    """Write the lesions that an analysis has detected, with the classes that a reader has set for them before.

    Returns them, the SHA-256 of the file, and a message on the backup of lesions that were saved or edited since the
    previous analysis; empty if there is none.
    """
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        previous, note = _back_up_edited(folder)
        if previous is not None:
            detected = replace(detected, lesions=carry_classes(detected.lesions, previous.lesions, maps))
        _write_lesions(folder, detected, validity)
        return detected, hash_file(folder / OUTLINES), note


def remove_lesions(folder: Path) -> str:
    """Remove the lesions of an earlier analysis; return a message on the backup of edited ones, else an empty text."""
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        _, note = _back_up_edited(folder)
        for name in (OUTLINES, LESIONS):
            try:
                remove_file(folder / name)
            except OSError as error:
                raise save_error(folder / name, error) from error
    return note


def back_up_edited_lesions(folder: Path) -> tuple[str, ...]:
    """Back up the lesions of a slide that a reader has saved or edited; return a message in a tuple, else an empty one.

    Call this before those of another class replace them.
    """
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        return tuple(filter(None, (_back_up_edited(folder)[1],)))


def _back_up_edited(folder: Path) -> tuple[SavedLesions | None, str]:
    """Back up the lesions of a slide, unless their file is as an analysis wrote it, before others replace them.

    Returns the lesions, and a message on the backup. Those of a result that is replaced are in its backup.
    """
    source = next((one for one in (folder, folder / PREVIOUS) if (one / OUTLINES).is_file()), folder)
    try:
        saved = read_saved_lesions(source, read_origin(folder))
    except InputError:  # the file may still be repaired
        return None, _back_up_outlines(source, folder)
    return saved, _back_up_outlines(source, folder) if saved is not None and saved.is_edited else ""


def save_lesions(
    folder: Path,
    lesions: Sequence[SlideLesion],
    config: LesionConfig,
    *,
    target: str = "",
    known: FileStamp | Literal["any"] | None = "any",
) -> tuple[FileStamp | None, tuple[str, ...]]:
    """Write lesions that a reader has edited into the folder of the slide: outlines with measurements, and the table.

    ``config``, ``target``: the thresholds and the class that they were detected with; the class of the results if it
    is empty. ``known``: stamp of the file when it was last read or saved, None if there was none; a file that was
    changed since is backed up first. Returns the new stamp, and messages on the backup.
    """
    path, notes = folder / OUTLINES, tuple[str, ...]()
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        if known == "any" or not target or file_stamp(path) != known:  # reading thousands of lesions takes a second
            try:
                previous = read_saved_lesions(folder)
            except InputError:
                notes = (_back_up_outlines(folder, folder),)  # the unreadable file may still be repaired
            else:
                notes = () if known == "any" else back_up_if_changed(path, known)
                target = target or (previous.target if previous is not None else "")
        content = read_slide_result(folder)
        saved = SavedLesions(tuple(lesions), target or str(content.get("target") or ""), config)
        _write_lesions(folder, saved, read_validity(content) if content else None)
        return file_stamp(path), notes


def request_detection(folder: Path) -> None:
    """Let the next analysis detect the lesions again, also if it is finished and has the same options."""
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        saved, content = read_saved_lesions(folder), read_slide_result(folder)
        if saved is not None and content:
            _write_lesions(folder, replace(saved, is_outdated=True), read_validity(content))


def rewrite_lesions_table(folder: Path) -> None:
    """Write the table of the lesions again: another program may have changed their file, or saving was interrupted."""
    with suppress(InputError), hold_lock(folder / LOCK, LOCK_TIMEOUT_S):  # what cannot be read is stated elsewhere
        if (lesions := read_lesions(folder)) is not None:
            write_lesions_table(folder / LESIONS, lesions, read_validity(read_slide_result(folder)))


def _write_lesions(folder: Path, saved: SavedLesions, validity: Validity | None) -> None:
    """Write the file of the lesions, and the table, which is derived from it."""
    write_outlines(folder / OUTLINES, saved.lesions, validity, read_origin(folder), saved.describe())
    write_lesions_table(folder / LESIONS, saved.lesions, validity)


def write_lesions_table(path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None) -> None:
    """Write a CSV file with a row for each lesion, and the validity of the predictions if known."""
    validity_columns = {} if validity is None else validity.to_columns()
    rows = [{**row, **validity_columns} for row in lesions_table(lesions)]
    write_table(path, rows, (*LESION_COLUMNS, *validity_columns))


def write_outlines(
    path: Path,
    lesions: Sequence[SlideLesion],
    validity: Validity | None = None,
    origin: Origin = CANVAS,
    detection: Mapping[str, Any] | None = None,
) -> None:
    """Write outlines and measurements of lesions as GeoJSON, as QuPath reads it.

    ``origin``: of its positions. ``detection``: of ``SavedLesions.describe``.
    """
    metadata = {} if detection is None else {DETECTION: json.dumps(detection, ensure_ascii=False)}
    annotations = lesions_to_annotations(lesions, validity, metadata)
    members = {} if lesions or detection is None else {DETECTION: detection}
    write_geojson(path, annotations, origin=origin, members=members)


def lesion_to_annotation(lesion: SlideLesion, validity: Validity | None = None) -> Annotation:
    """Convert a lesion to an annotation, as ``lesions_to_annotations`` does."""
    (annotation,) = lesions_to_annotations([lesion], validity)
    return annotation


def lesions_to_annotations(
    lesions: Sequence[SlideLesion], validity: Validity | None = None, further: Mapping[str, str] | None = None
) -> Iterator[Annotation]:
    """Convert lesions to annotations for QuPath, with class, measurements, origin and what QuPath has added.

    If the prediction is not valid, the annotations also state why. ``further``: metadata, which QuPath keeps.
    """
    stated = {} if validity is None or validity.valid else {"validity": validity.headline("")}
    stated |= further or {}
    shapes = _measure_outlines([lesion.polygons for lesion in lesions])
    for lesion, row, shape in zip(lesions, lesions_table(lesions), shapes, strict=True):
        measured: dict[str, Any] = {name: row[name] for name in MEASUREMENTS if row[name] is not None}
        metadata = {
            **lesion.others.get("metadata", {}),
            "number": str(lesion.index),
            "origin": lesion.origin,
            "label_origin": lesion.label_origin,
            "label": lesion.label,
            "outline": " ".join(f"{value:.3f}" for value in shape[:3]),
            **stated,
        }
        properties = {name: value for name, value in lesion.others.items() if name != "measurements"}
        yield Annotation(
            lesion.polygons,
            class_name=lesion.label,
            color=LABEL_COLORS.get(lesion.label, UNLABELED_COLOR),
            name=f"{area_noun(lesion.label)} {lesion.index}",
            measurements={**lesion.others.get("measurements", {}), **measured},
            id=lesion.id,
            properties={**properties, "metadata": metadata},
        )


def _back_up_outlines(source: Path, folder: Path) -> str:
    """Copy outlines and table to unused file names in the folder of the slide; return a message for the user.

    ``source``: the folder that contains them.
    """
    number = 1
    while (folder / BACKUP_NAME.format(number)).with_suffix(".geojson").exists():
        number += 1
    for name in (LESIONS, OUTLINES):
        if not (source / name).is_file():
            continue
        backup = (folder / BACKUP_NAME.format(number)).with_suffix(Path(name).suffix)
        try:
            with atomic_file(backup) as temporary:
                temporary.write_bytes((source / name).read_bytes())
        except OSError as error:
            raise save_error(backup, error) from error
    return (
        "Previously saved lesions, possibly with manual edits, were backed up in "
        f"{BACKUP_NAME.format(number)}.geojson. To use them again, import the file in the Slide dock (Export > Import "
        "outlines)."
    )


def _measure_outlines(outlines: Sequence[Sequence[Polygon]]) -> list[list[float]]:
    """Return area, center (row, column) and length of each outline, in pixels."""
    import shapely

    shapes = to_shapes(outlines)
    center = shapely.centroid(shapes)
    values = shapely.area(shapes), shapely.get_x(center), shapely.get_y(center), shapely.length(shapes)
    return np.column_stack(values).tolist()


def _is_measured(outline: Annotation, shape: Sequence[float]) -> bool:
    """Whether an outline has the measurements of a lesion, and is still the one that was measured.

    ``shape``: its area, center and length.
    """
    measured = outline.measurements.get("area_px")
    if measured is None:
        return False
    area, row, column, length = shape
    try:
        stated = tuple(map(float, str(_read_metadata(outline)["outline"]).split()))
    except (KeyError, ValueError):  # of an earlier version
        is_as_large = abs(area - measured) <= max(AREA_SHARE * measured, LENGTH_SHARE * length**2)
        return is_as_large and _contains_seed(outline)
    moved = max(abs(row - stated[1]), abs(column - stated[2])) if len(stated) == 3 else math.inf
    return moved <= MOVED_PX and abs(area - stated[0]) <= MOVED_PX * length


def _contains_seed(outline: Annotation) -> bool:
    """Whether the measured maximum of the probability lies within an outline; that of a small drawing may be beside."""
    row, column = (outline.measurements.get(name, math.nan) for name in ("seed_row_px", "seed_column_px"))
    return math.isfinite(row + column) and bool(points_within([(row, column)], outline.polygons).any())


def _build_lesion(outline: Annotation, number: int) -> SlideLesion:
    """Convert an annotation that ``lesion_to_annotation`` made back to a lesion."""
    values: dict[str, Any] = {name: _parse_measurement(name, outline.measurements.get(name)) for name in MEASUREMENTS}
    seed = values.pop("seed_row_px"), values.pop("seed_column_px")
    origin = _read_metadata(outline).get("origin", "found")
    label_origin = _read_label_origin(outline, "reader" if origin in HAND_SET else "model")
    lesion = SlideLesion(seed=seed, polygons=outline.polygons, index=number, label=_read_label(outline), **values)
    return replace(lesion, origin=origin, label_origin=label_origin, id=outline.id, others=_read_others(outline))


def _measure_changed(outline: Annotation, number: int, maps: LesionMaps, config: LesionConfig) -> SlideLesion:
    """Measure an outline that was changed or added in another program; a changed one keeps its class."""
    is_known = "origin" in _read_metadata(outline) and bool(outline.class_name)
    label = _read_label(outline) if is_known else _imported_label(outline)
    lesion = measure_drawn_lesion(outline.polygons, maps, config, index=number, label=label)
    label_origin: LabelOrigin = "model" if label is None else _read_label_origin(outline, "reader")
    origin: LesionOrigin = "refined" if is_known and _read_metadata(outline)["origin"] != "drawn" else "drawn"
    return replace(lesion, origin=origin, label_origin=label_origin, id=outline.id, others=_read_others(outline))


def _read_label(outline: Annotation) -> str:
    """Return the class of a lesion; one that was given in another program may have a name of that program."""
    is_own = _read_metadata(outline).get("label", outline.class_name) == outline.class_name
    return outline.class_name if is_own else _imported_label(outline) or outline.class_name


def _read_metadata(outline: Annotation) -> dict[str, Any]:
    """Return the metadata that ``lesion_to_annotation`` wrote; empty for other outlines."""
    metadata = outline.properties.get("metadata")
    return metadata if isinstance(metadata, dict) else {}


def _read_others(outline: Annotation) -> dict[str, Any]:
    """Return the properties that another program has added to a lesion, among them measurements and metadata."""
    added = {
        "measurements": {name: one for name, one in outline.measurements.items() if name not in MEASUREMENTS},
        "metadata": {name: one for name, one in _read_metadata(outline).items() if name not in OWN_METADATA},
    }
    others = {name: value for name, value in outline.properties.items() if name not in added}
    return others | {name: values for name, values in added.items() if values}


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

    The class that a model of the same target has predicted stays. Other names are read by ``class_to_label``; where
    they are unknown, the class is predicted.
    """
    unchanged = {(lesion.index, lesion.label, lesion.polygons): lesion for lesion in lesions}
    numbers = _assign_numbers(outlines, max((lesion.index for lesion in lesions), default=0))
    replaced = []
    for outline, number in zip(outlines, numbers, strict=True):
        lesion = unchanged.get((number, outline.class_name, outline.polygons))
        if lesion is None:
            is_own = bool(outline.class_name) and outline.class_name == maps.label
            label = outline.class_name if is_own else _imported_label(outline)
            lesion = measure_drawn_lesion(outline.polygons, maps, config, index=number, label=label)
            if label is not None:  # a class that was read as another one is not what a model has predicted
                label_origin = _read_label_origin(outline, "reader") if label == outline.class_name else "reader"
                lesion = replace(lesion, label_origin=label_origin)
            lesion = replace(lesion, id=outline.id, others=_read_others(outline))
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


def _assign_numbers(outlines: Sequence[Annotation], highest: int = 0) -> list[int]:
    """Return the numbers of lesions, by their names, or as stated beside other names; others follow the highest one.

    ``highest``: that of other lesions.
    """
    stated = [_stated_number(outline) for outline in outlines]
    following = count(max([highest, *stated]) + 1)
    used = {0}
    numbers = []
    for number in stated:
        numbers.append(next(following) if number in used else number)
        used.add(number)
    return numbers


def _stated_number(outline: Annotation) -> int:
    """Return the lesion number of an outline; 0 if there is none."""
    match = LESION_NAME.fullmatch(outline.name.strip())
    number = match[1] if match else str(_read_metadata(outline).get("number", ""))
    return int(number) if number.isdecimal() else 0
