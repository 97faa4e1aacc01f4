"""Lesions in the folder of a slide: ``lesions.geojson`` is what holds, table and ``result.json`` follow from it.

Whoever analyses again finds lesions anew: those that were saved meanwhile, as corrections by hand are, are kept under
another name, and the user is told of it.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from napari_melanoma.analysis.slide_lesions import LESION_COLUMNS, LesionConfig, SlideLesion, lesions_table
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.files import atomic_file, finite, save_error, write_json
from napari_melanoma.core.ownership import locked
from napari_melanoma.core.validity import Validity
from napari_melanoma.io.geojson import Annotation, write_geojson
from napari_melanoma.io.geojson_reading import read_geojson
from napari_melanoma.io.results import read_table, write_table
from napari_melanoma.io.slide_folder import LESIONS, OUTLINES, RESULT, read_content, validity_in

COLOURS = {"malignant": (200, 0, 0), "benign": (0, 160, 0)}
UNSAID = (220, 120, 0)  # of a lesion that may be either
NUMBERS = tuple(name for name in LESION_COLUMNS if name not in ("label", "origin"))
MEASURED = tuple(name for name in NUMBERS if name != "index")
KEPT = "lesions-kept-{}"
LOCK, PATIENCE_S = ".lesions.lock", 20.0


def read_lesions(folder: Path) -> tuple[SlideLesion, ...] | None:
    """Read the lesions that were saved, with all corrections by hand.

    None where none were saved.
    """
    path = folder / OUTLINES
    if not path.is_file():
        return None
    found = read_geojson(path)
    try:
        if found.left_out:
            raise ValueError(found.left_out[0])
        if all("area_px" in one.measurements for one in found.annotations):
            return tuple(_lesion(one, _told(one)) for one in found.annotations)
        return _joined(found.annotations, read_table(folder / LESIONS))
    except (InputError, KeyError, ValueError) as error:
        raise InputError(
            f"the lesions in {path} cannot be read ({error}); nothing was changed. Bring back {OUTLINES} and {LESIONS} "
            "of one time from a copy, or move both away to have the lesions found anew."
        ) from error


def store_lesions(folder: Path, lesions: Sequence[SlideLesion], validity: Validity) -> tuple[str, str]:
    """Write the lesions that an analysis has found; what was saved meanwhile is kept.

    A hash of what was written, for ``result.json``; and what was kept, in words, or nothing.
    """
    path = folder / OUTLINES
    with locked(folder / LOCK, PATIENCE_S):
        mine, before = read_content(folder).get("outlines"), hash_of(path)
        with atomic_file(path) as temporary:
            write_geojson(temporary, (annotation_of(lesion, validity) for lesion in lesions))
            digest = hash_of(temporary)
            said = _kept(folder, move=False) if before not in ("", mine, digest) else ""
        write_lesions_table(folder / LESIONS, lesions, validity)
    return digest, said


def save_lesions(
    folder: Path, lesions: Sequence[SlideLesion], config: LesionConfig, *, corrected: bool | None = None
) -> None:
    """Write lesions as they are now into the slide's folder: outlines, table, and what ``result.json`` says of them."""
    with locked(folder / LOCK, PATIENCE_S):
        try:
            read_lesions(folder)
        except InputError:
            _kept(folder, move=False)  # what cannot be read today may be mended tomorrow
        content = read_content(folder)
        validity = validity_in(content) if content else None
        write_outlines(folder / OUTLINES, lesions, validity)
        write_lesions_table(folder / LESIONS, lesions, validity)
        if content:
            options = content.get("options", {})
            told = {
                "lesions": lesions_table(lesions),
                "lesions_asked": content.get("lesions_asked", options.get("lesions")),
                "options": {**options, "lesions": config.model_dump(mode="json")},
                "corrected_by_hand": _corrected(lesions) if corrected is None else corrected,
            }
            write_json(folder / RESULT, {**content, **told})


def settled(folder: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Bring table and ``result.json`` to what the outlines say, where somebody was killed while they were saved.

    Returns the same, or as it is now; where the lesions cannot be read, with a warning that says so.
    """
    if content.get("outlines") in (None, hash_of(folder / OUTLINES)):
        return content
    with locked(folder / LOCK, PATIENCE_S):
        try:
            lesions = read_lesions(folder) or ()
        except InputError as error:
            return {**content, "warnings": [*content.get("warnings", ()), str(error)]}
        if finite(lesions_table(lesions)) != content.get("lesions"):
            write_lesions_table(folder / LESIONS, lesions, validity_in(content))
            content = {**content, "lesions": lesions_table(lesions), "corrected_by_hand": True}
            write_json(folder / RESULT, content)
    return content


def set_aside(folder: Path) -> str:
    """Make room for lesions that are found anew: those that were saved by somebody are kept under another name.

    What was kept, in words; empty where nothing was.
    """
    if not (folder / OUTLINES).is_file():
        return ""
    with locked(folder / LOCK, PATIENCE_S):
        if hash_of(folder / OUTLINES) != read_content(folder).get("outlines"):
            return _kept(folder, move=True)
        for name in (OUTLINES, LESIONS):
            try:
                (folder / name).unlink(missing_ok=True)
            except OSError as error:
                raise save_error(folder / name, error) from error
    return ""


def write_lesions_table(path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None) -> None:
    """Write a row a lesion as CSV."""
    cells = {} if validity is None else validity.cells()
    write_table(path, [{**row, **cells} for row in lesions_table(lesions)], (*LESION_COLUMNS, *cells))


def write_outlines(path: Path, lesions: Sequence[SlideLesion], validity: Validity | None = None) -> None:
    """Write outlines of lesions as QuPath reads them, with all that was measured."""
    write_geojson(path, (annotation_of(lesion, validity) for lesion in lesions))


def annotation_of(lesion: SlideLesion, validity: Validity | None = None) -> Annotation:
    """Turn a lesion into what QuPath shows.

    ``lesion``: with its outline in pixels of level 0. Its outline, class and colour, what was measured, how it came
    about, and why its prediction is not valid.
    """
    (row,) = lesions_table([lesion])
    measured: dict[str, Any] = {name: row[name] for name in MEASURED if row[name] is not None}
    invalid = {"validity": validity.headline("")} if validity and not validity.valid else {}
    return Annotation(
        lesion.polygons,
        class_name=lesion.label,
        color=COLOURS.get(lesion.label, UNSAID),
        name=f"lesion {lesion.index}",
        measurements=measured,
        other={"metadata": {"origin": lesion.origin, **invalid}},
    )


def hash_of(path: Path) -> str:
    """Hash a file.

    SHA-256; empty where it is not there or cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def _corrected(lesions: Sequence[SlideLesion]) -> bool:
    """Whether one of the lesions says that somebody changed it."""
    return any(lesion.origin != "found" for lesion in lesions)


def _kept(folder: Path, *, move: bool) -> str:
    """Keep outlines and table under a free name, and say so."""
    number = 1
    while (folder / KEPT.format(number)).with_suffix(".geojson").exists():
        number += 1
    for name in (LESIONS, OUTLINES):
        source = folder / name
        kept = (folder / KEPT.format(number)).with_suffix(source.suffix)
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
        f"Lesions that had been saved, perhaps corrected by hand, are kept in {KEPT.format(number)}.geojson: take them "
        "back in the Slide dock (Export > Take over outlines)."
    )


def _told(one: Annotation) -> dict[str, Any]:
    """What an outline says of its lesion, as a row of the table would."""
    metadata = one.other.get("metadata")
    origin = metadata.get("origin", "found") if isinstance(metadata, dict) else "found"
    index = int(one.name.removeprefix("lesion "))
    return {**one.measurements, "index": index, "label": one.class_name, "origin": origin}


def _joined(outlines: Sequence[Annotation], rows: Sequence[Mapping[str, str]]) -> tuple[SlideLesion, ...]:
    """Lesions whose measurements are in the table alone, as an older version wrote them."""
    named = {one.name: one for one in outlines}
    if {f"lesion {row['index']}" for row in rows} != {*named} or len(rows) != len(outlines):
        raise ValueError(f"{LESIONS} has other lesions than {OUTLINES}")
    told = [{**row, **{name: float(row[name]) for name in NUMBERS if row[name]}} for row in rows]
    return tuple(_lesion(named[f"lesion {row['index']}"], one) for row, one in zip(rows, told, strict=True))


def _lesion(outline: Annotation, told: Mapping[str, Any]) -> SlideLesion:
    """One lesion; only what needs a scale may be missing."""
    values: dict[str, Any] = {name: _number(name, told.get(name)) for name in MEASURED}
    seed = values.pop("seed_row_px"), values.pop("seed_column_px")
    values |= {"index": int(told["index"]), "label": told["label"], "origin": told["origin"]}
    return SlideLesion(seed=seed, polygons=outline.polygons, **values)


def _number(name: str, value: Any) -> float | None:  # noqa: ANN401 - a number, or nothing
    """A number of a lesion: what is not known is not a number, or nothing where it needs a scale."""
    with suppress(TypeError, ValueError):
        return float(value)
    return None if name.endswith(("mm", "mm2")) else math.nan
