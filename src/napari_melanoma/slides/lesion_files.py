"""Lesions in the folder of a slide: ``lesions.geojson``, the table, masks, and outlines imported from elsewhere."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_file, replace_non_finite, save_error, write_json
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.locks import hold_lock
from napari_melanoma.core.validity import Validity
from napari_melanoma.io.geojson import Annotation, FittedAnnotations, fit_to_slide, read_geojson, write_geojson
from napari_melanoma.io.results import (
    LESIONS,
    OUTLINES,
    RESULT,
    read_slide_result,
    read_slide_validity,
    read_table,
    write_table,
)
from napari_melanoma.slides.cell_polygons import rasterize_polygons
from napari_melanoma.slides.lesion_edits import measure_drawn_lesion
from napari_melanoma.slides.lesions import LESION_COLUMNS, LesionConfig, SlideLesion, lesions_table

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.placement import MapPlacement
    from napari_melanoma.slides.lesions import LesionClass, LesionMaps

LABEL_COLORS = {"malignant": (200, 0, 0), "benign": (0, 160, 0)}
UNLABELED_COLOR = (220, 120, 0)  # of a lesion that may be either
NUMERIC_COLUMNS = tuple(name for name in LESION_COLUMNS if name not in ("label", "origin"))
MEASUREMENT_NAMES = tuple(name for name in NUMERIC_COLUMNS if name != "index")
BACKUP_NAME = "lesions-kept-{}"
LOCK, LOCK_TIMEOUT_S = ".lesions.lock", 20.0


def read_lesions(folder: Path) -> tuple[SlideLesion, ...] | None:
    """Read the lesions that were saved, with all corrections by hand.

    None where none were saved.
    """
    path = folder / OUTLINES
    if not path.is_file():
        return None
    found = read_geojson(path)
    try:
        if found.omitted:
            raise ValueError(found.omitted[0])
        if all("area_px" in one.measurements for one in found.annotations):
            return tuple(_lesion(one, _annotation_values(one)) for one in found.annotations)
        return _join_table(found.annotations, read_table(folder / LESIONS))
    except (InputError, KeyError, ValueError) as error:
        raise InputError(
            f"the lesions in {path} cannot be read ({error}); nothing was changed. Bring back {OUTLINES} and {LESIONS} "
            "of one time from a copy, or move both away to have the lesions found anew."
        ) from error


def write_found_lesions(folder: Path, lesions: Sequence[SlideLesion], validity: Validity) -> tuple[str, str]:
    """Write the lesions that an analysis has found; what was saved meanwhile is kept.

    A hash of what was written, for ``result.json``; and what was kept, in words, or nothing.
    """
    path = folder / OUTLINES
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        mine, before = read_slide_result(folder).get("outlines"), hash_file(path)
        with atomic_file(path) as temporary:
            write_geojson(temporary, (lesion_to_annotation(lesion, validity) for lesion in lesions))
            digest = hash_file(temporary)
            said = _back_up_outlines(folder, move=False) if before not in ("", mine, digest) else ""
        write_lesions_table(folder / LESIONS, lesions, validity)
    return digest, said


def save_lesions(
    folder: Path, lesions: Sequence[SlideLesion], config: LesionConfig, *, corrected: bool | None = None
) -> None:
    """Write lesions as they are now into the slide's folder: outlines, table, and what ``result.json`` says of them."""
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        try:
            read_lesions(folder)
        except InputError:
            _back_up_outlines(folder, move=False)  # what cannot be read today may be mended tomorrow
        content = read_slide_result(folder)
        validity = read_slide_validity(content) if content else None
        write_outlines(folder / OUTLINES, lesions, validity)
        write_lesions_table(folder / LESIONS, lesions, validity)
        if content:
            options = content.get("options", {})
            told = {
                "lesions": lesions_table(lesions),
                "lesions_asked": content.get("lesions_asked", options.get("lesions")),
                "options": {**options, "lesions": config.model_dump(mode="json")},
                "corrected_by_hand": _has_corrections(lesions) if corrected is None else corrected,
            }
            write_json(folder / RESULT, {**content, **told})


def sync_with_outlines(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Bring table and ``result.json`` to what the outlines say, where somebody was killed while they were saved.

    Returns the same, or as it is now; where the lesions cannot be read, with a warning that says so.
    """
    if content.get("outlines") in (None, hash_file(folder / OUTLINES)):
        return content
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        try:
            lesions = read_lesions(folder) or ()
        except InputError as error:
            return {**content, "warnings": [*content.get("warnings", ()), str(error)]}
        if replace_non_finite(lesions_table(lesions)) != content.get("lesions"):
            write_lesions_table(folder / LESIONS, lesions, read_slide_validity(content))
            content = {**content, "lesions": lesions_table(lesions), "corrected_by_hand": True}
            write_json(folder / RESULT, content)
    return content


def back_up_corrected_lesions(folder: Path) -> str:
    """Make room for lesions that are found anew: those that were saved by somebody are kept under another name.

    What was kept, in words; empty where nothing was.
    """
    if not (folder / OUTLINES).is_file():
        return ""
    with hold_lock(folder / LOCK, LOCK_TIMEOUT_S):
        if hash_file(folder / OUTLINES) != read_slide_result(folder).get("outlines"):
            return _back_up_outlines(folder, move=True)
        for name in (OUTLINES, LESIONS):
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise save_error(folder / name, error) from error
    return ""


def write_lesions_table(path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None) -> None:
    """Write a row a lesion as CSV."""
    cells = {} if validity is None else validity.to_columns()
    write_table(path, [{**row, **cells} for row in lesions_table(lesions)], (*LESION_COLUMNS, *cells))


def write_outlines(path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None) -> None:
    """Write outlines of lesions as QuPath reads them, with all that was measured."""
    write_geojson(path, (lesion_to_annotation(lesion, validity) for lesion in lesions))


def lesion_to_annotation(lesion: SlideLesion, validity: Validity | None = None) -> Annotation:
    """Turn a lesion into what QuPath shows.

    ``lesion``: with its outline in pixels of level 0. Its outline, class and color, what was measured, how it came
    about, and why its prediction is not valid.
    """
    (row,) = lesions_table([lesion])
    measured: dict[str, Any] = {name: row[name] for name in MEASUREMENT_NAMES if row[name] is not None}
    invalid = {"validity": validity.headline("")} if validity and not validity.valid else {}
    return Annotation(
        lesion.polygons,
        class_name=lesion.label,
        color=LABEL_COLORS.get(lesion.label, UNLABELED_COLOR),
        name=f"lesion {lesion.index}",
        measurements=measured,
        properties={"metadata": {"origin": lesion.origin, **invalid}},
    )


def hash_file(path: Path) -> str:
    """Hash a file.

    SHA-256; empty where it is not there or cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _has_corrections(lesions: Sequence[SlideLesion]) -> bool:
    """Whether one of the lesions says that somebody changed it."""
    return any(lesion.origin != "found" for lesion in lesions)


def _back_up_outlines(folder: Path, *, move: bool) -> str:
    """Keep outlines and table under a free name, and say so."""
    number = 1
    while (folder / BACKUP_NAME.format(number)).with_suffix(".geojson").exists():
        number += 1
    for name in (LESIONS, OUTLINES):
        source = folder / name
        kept = (folder / BACKUP_NAME.format(number)).with_suffix(source.suffix)
        if not source.is_file():
            continue
        try:
            if move:
                source.replace(kept)
            else:
                with atomic_file(kept) as temporary:
                    temporary.write_bytes(source.read_bytes())
        except OSError as error:
            raise save_error(kept, error) from error
    return (
        f"Lesions that had been saved, perhaps corrected by hand, are kept in {BACKUP_NAME.format(number)}.geojson: take them "
        "back in the Slide dock (Export > Take over outlines)."
    )


def _annotation_values(one: Annotation) -> dict[str, Any]:
    """What an outline says of its lesion, as a row of the table would."""
    metadata = one.properties.get("metadata")
    origin = metadata.get("origin", "found") if isinstance(metadata, dict) else "found"
    index = int(one.name.removeprefix("lesion "))
    return {**one.measurements, "index": index, "label": one.class_name, "origin": origin}


def _join_table(outlines: Sequence[Annotation], rows: Sequence[Mapping[str, str]]) -> tuple[SlideLesion, ...]:
    """Lesions whose measurements are in the table alone, as an older version wrote them."""
    named = {one.name: one for one in outlines}
    if {f"lesion {row['index']}" for row in rows} != {*named} or len(rows) != len(outlines):
        raise ValueError(f"{LESIONS} has other lesions than {OUTLINES}")
    told = [{**row, **{name: float(row[name]) for name in NUMERIC_COLUMNS if row[name]}} for row in rows]
    return tuple(_lesion(named[f"lesion {row['index']}"], one) for row, one in zip(rows, told, strict=True))


def _lesion(outline: Annotation, told: Mapping[str, Any]) -> SlideLesion:
    """One lesion; only what needs a scale may be missing."""
    values: dict[str, Any] = {name: _number(name, told.get(name)) for name in MEASUREMENT_NAMES}
    seed = values.pop("seed_row_px"), values.pop("seed_column_px")
    values |= {"index": int(told["index"]), "label": told["label"], "origin": told["origin"]}
    return SlideLesion(seed=seed, polygons=outline.polygons, **values)


def _number(name: str, value: Any) -> float | None:  # noqa: ANN401 - a number, or nothing
    """A number of a lesion: what is not known is not a number, or nothing where it needs a scale."""
    with suppress(TypeError, ValueError):
        return float(value)
    return None if name.endswith(("mm", "mm2")) else math.nan


def label_image(lesions: Sequence[SlideLesion], place: MapPlacement, shape: tuple[int, int]) -> NDArray[np.uint16]:
    """Draw lesions as numbers.

    Returns uint16 (row, column): the number of the lesion that holds the center of the cell, 0 where there is none.
    """
    if max((lesion.index for lesion in lesions), default=0) > np.iinfo(np.uint16).max:
        raise InputError("lesions are numbered above 65535: too many for a mask. Raise the threshold or merge some.")
    labels = np.zeros(shape, np.uint16)
    for lesion in reversed(lesions):
        box = lesion.box
        corners = place.to_map([(box.top, box.left), (box.top + box.height, box.left + box.width)])
        first = np.clip(np.floor(corners[0]).astype(int), 0, shape)
        last = np.clip(np.ceil(corners[1]).astype(int), first, shape)
        window = Box(int(first[0]), int(first[1]), int(last[0] - first[0]), int(last[1] - first[1]))
        labels[window.slices][rasterize_polygons(lesion.polygons, place, window)] = lesion.index
    return labels


# Of class names, each word of which is looked at: QuPath's own set has 'Tumor', ours 'malignant' and 'benign'.
BENIGN = ("benign", "naevus", "nevus", "naevi", "nevi")
MALIGNANT = ("malignant", "melanoma", "tumor", "tumour", "metastasis", "invasive")
LESION_NAME = re.compile(r"lesion (\d{1,5})")


def import_outlines(path: Path, size: tuple[int, int]) -> FittedAnnotations:
    """Read outlines for a slide.

    ``size``: height and width of the slide's finest level, in pixels. At least one, and in words what was changed or
    left out.
    """
    found = fit_to_slide(read_geojson(path), size)
    if not found.annotations:
        said = f" ({'; '.join(found.changed[:3])})" if found.changed else ""
        raise InputError(f"{path.name} holds no area on this slide{said}. Export the annotations of this slide.")
    return found


def replace_lesions(
    lesions: Sequence[SlideLesion], outlines: Sequence[Annotation], maps: LesionMaps, config: LesionConfig
) -> tuple[SlideLesion, ...]:
    """Make outlines the lesions of a slide: what is not among them is dropped, what did not change stays as it was.

    In the order of the outlines.
    """
    known = {(lesion.index, lesion.label, lesion.polygons): lesion for lesion in lesions}
    told = [_imported_number(outline) for outline in outlines]
    free = max([0, *(number for number in told if number), *(lesion.index for lesion in lesions)]) + 1
    taken: set[int] = set()
    made = []
    for outline, wanted in zip(outlines, told, strict=True):
        number = wanted
        if not number or number in taken:
            number, free = free, free + 1
        taken.add(number)
        same = known.get((number, outline.class_name, outline.polygons))
        label = class_to_label(outline.class_name)
        made.append(same or measure_drawn_lesion(outline.polygons, maps, config, index=number, label=label))
    return tuple(made)


def class_to_label(class_name: str) -> LesionClass | None:
    """Tell what a class of another program says of a lesion.

    Benign or malignant; None where the name says neither.
    """
    words = set(re.findall(r"[a-z]+", class_name.lower()))
    if words & set(BENIGN):
        return "benign"
    return "malignant" if words & set(MALIGNANT) else None


def _imported_number(outline: Annotation) -> int:
    """Number that a name tells; 0 where it tells none."""
    found = LESION_NAME.fullmatch(outline.name.strip())
    return int(found[1]) if found else 0
