"""Sets whose masks are annotations in JSON files: read their values, and draw them when the images are imported."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import normalize_name
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import free_name, safe_name
from napari_melanoma.data.dataset import CLASSES_FILE
from napari_melanoma.data.mask_areas import MaskObject, Size
from napari_melanoma.data.mask_values import NO_PHOTOGRAPH, ImageNames, find_stated_split
from napari_melanoma.data.source_files import SourceFile, SourceTree
from napari_melanoma.data.source_records import (
    TABLES,
    SourceRecord,
    SourceSpec,
    describe_own_files,
    pair_records,
    read_image_rows,
)
from napari_melanoma.imaging.masks import trace_contours
from napari_melanoma.io.discovery import SUFFIXES
from napari_melanoma.io.formats import MAX_PIXELS

JSON_NAME = re.compile(r"[^.].*\.(?:geo)?json(?:\.gz)?", re.IGNORECASE)
_MIN_POINTS = 3
_MAX_COORDINATE = 1e9  # pixels; larger values are invalid and would overflow


def get_value(values: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:  # noqa: ANN401
    """Return a value of a JSON object; raises if it is missing or of another type."""
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = " or ".join(type_.__name__ for type_ in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataSetError(f"{where}: expected '{key}' of type {names}, found {type(value).__name__}.")
    return value


def parse_ring(points: Any, where: str) -> NDArray[np.float64] | None:  # noqa: ANN401
    """Parse the points of an outline, [[x, y], ...] or [x, y, x, y, ...].

    Returns float64 (point, 2) in (row, column); None if there are too few points for an area.
    """
    try:
        if not isinstance(points, Sequence) or isinstance(points, str):
            raise TypeError
        flat = not points or isinstance(points[0], int | float)
        array = np.asarray(points if flat else [point[:2] for point in points], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, LookupError, ArithmeticError):
        array = np.full((1, 2), np.nan)
    if not np.isfinite(array).all():
        raise DataSetError(f"{where}: expected points as numbers [x, y], found {str(points)[:60]}.")
    return np.clip(array[:, ::-1], -_MAX_COORDINATE, _MAX_COORDINATE) if len(array) >= _MIN_POINTS else None


def parse_image_size(rows: Any, columns: Any) -> Size | None:  # noqa: ANN401
    """Return the size of an image; None if no photograph can have it."""
    are_sides = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in (rows, columns))
    return (rows, columns) if are_sides and rows * columns <= MAX_PIXELS else None


def find_text(values: Any, *keys: str) -> str:  # noqa: ANN401
    """Return the first text or integer of a JSON object under some keys, as text; "" if there is none."""
    candidates = [values.get(key) for key in keys] if isinstance(values, dict) else []
    return next(
        (
            str(candidate).strip()
            for candidate in candidates
            if isinstance(candidate, str | int) and not isinstance(candidate, bool)
        ),
        "",
    )


def as_list(value: Any) -> list[Any]:  # noqa: ANN401
    """Return a list; empty for any other value."""
    return value if isinstance(value, list) else []


MAX_DIFFERENCE = 0.35  # pixels from the polygon to the border of the area, at most


def trace_rings(mask: NDArray[np.bool_]) -> list[NDArray[np.float64]]:
    """Trace the outline of a connected area and then its holes: float64 (vertex, 2) as (x, y) from the image's corner.

    The first vertex is not repeated. Most programs have no holes in polygons: an area with several rings needs pixels.
    """
    rows, columns = mask.shape
    rings = [
        np.clip(contour[:-1].astype(np.float64) + 0.5, 0, (rows, columns))[:, ::-1] for contour in trace_contours(mask)
    ]
    return sorted(rings, key=lambda ring: -np.ptp(ring, axis=0).prod())  # a hole is within the box of the outline


_ImageInFile = tuple[str, Path]  # the name of an image, and the file that names it


class AnnotationFormat(NamedTuple):
    """A format of annotations: whether JSON is of it, and what reads its objects, or describes what was left out."""

    name: str
    is_format: Callable[[Any], bool]
    read: Callable[[Any, Path], Iterator[MaskObject | str]]


def describe_format(name: str, title: str, url: str, files: str) -> SourceSpec:
    layout = f"{files}\nthe images, in folders of any name\nmetadata.csv with patient_id ..., if known"
    return describe_own_files(name, title, url, layout)


def find_annotated(tree: SourceTree, format_: AnnotationFormat) -> list[SourceRecord]:
    """Find the images, with the objects that annotations of a format outline on them."""
    objects, splits = read_objects(tree, format_)
    if not objects:
        return []
    rows = read_image_rows(tree, TABLES, keep_folders=True)
    pictures = [file for file in tree.files if file.is_mask and not JSON_NAME.fullmatch(PurePosixPath(file.name).name)]
    images = tree.filter_files(lambda file: not file.is_mask)
    names = ImageNames(Path(file.name) for file in images.files if file.suffix in SUFFIXES)
    found_of = {key: names.find(*key) for key in {**objects, **splits}}
    named = {found[0].as_posix() for found in found_of.values() if len(found) == 1}
    records = _pair_named(images, rows, named)
    if pictures:
        tree.notes.append(
            ("annotations", f"not used, as no {format_.name}: {format_names([file.name for file in pictures])}")
        )
    objects_of: dict[str, list[MaskObject]] = defaultdict(list)
    split_of: dict[str, set[str]] = defaultdict(set)
    for (image, file), of_image in objects.items():
        candidates = found_of[image, file]
        if len(candidates) == 1:
            objects_of[candidates[0].as_posix()] += of_image
        else:
            several = f"may belong to {' or '.join(map(str, candidates[:3]))}: rename one of them"
            tree.faults.append((image, several if candidates else NO_PHOTOGRAPH))
    for key, split in splits.items():
        if len(candidates := found_of[key]) == 1:
            split_of[candidates[0].as_posix()].add(split)
    found, contradicting = [], []
    for record in records:
        name = record.image.name if record.image else ""
        stated = split_of.get(name, set())
        contradicting += [name] if len(stated) > 1 else []
        of_split = {"split": next(iter(stated))} if len(stated) == 1 else {}
        found.append(
            replace(record, mask=None, objects=tuple(objects_of.get(name, ())), values={**of_split, **record.values})
        )
    if contradicting:
        note = f"none is used for {format_names(contradicting)}, which are in files of several splits"
        tree.notes.append(("split", note))
    return found


def _pair_named(tree: SourceTree, rows: Mapping[str, Mapping[str, str]], named: Container[str]) -> list[SourceRecord]:
    """Pair images with rows; of several whose names differ in their suffix, those that annotations name are used."""
    groups: dict[tuple[str, str], list[SourceFile]] = defaultdict(list)
    for file in tree.files:
        if file.suffix in SUFFIXES and file.name in named:
            groups[file.name.rpartition("/")[0], normalize_name(file.stem)].append(file)
    kept = {of_name[0] for of_name in groups.values()}

    def is_first(file: SourceFile) -> bool:
        key = file.name.rpartition("/")[0], normalize_name(file.stem)
        return file.suffix not in SUFFIXES or key not in groups or file in kept

    records = pair_records(tree.filter_files(is_first), rows, {})
    used = {record.image_id.lower() for record in records}
    by_file = {record.image: record for record in records}
    for first, *others in groups.values():
        for file in others if first in by_file else ():
            image_id = free_name(safe_name(file.stem), used)
            used.add(image_id.lower())
            records.append(replace(by_file[first], image_id=image_id, image=file))
    unnamed = [file.name for file in tree.files if not is_first(file) and file.name not in named]
    if unnamed:
        note = f"not used, as annotations name others of these names: {format_names(unnamed)}"
        tree.notes.append(("files", note))
    return records


def read_objects(
    tree: SourceTree, format_: AnnotationFormat
) -> tuple[dict[_ImageInFile, list[MaskObject]], dict[_ImageInFile, str]]:
    """Read the objects of each image in each file, and the splits of the images that files of COCO list."""
    objects: dict[_ImageInFile, list[MaskObject]] = defaultdict(list)
    splits: dict[_ImageInFile, str] = {}
    left_out: Counter[str] = Counter()
    others: list[str] = []
    for file in tree.files:
        name = file.name.rpartition("/")[2]
        if not JSON_NAME.fullmatch(name) or name == CLASSES_FILE:
            continue
        path, content = Path(file.name), parse_json(tree.read_content(file), file.name, allow_nan=True)
        listed = as_list(content.get("images")) if format_.name == "coco" and isinstance(content, dict) else []
        if split := find_stated_split(path):
            splits |= {(find_text(image, "file_name"), path): split for image in listed}  # also without annotations
        if not format_.is_format(content):
            others += [] if listed else [file.name]
            continue
        for one in format_.read(content, path):
            if isinstance(one, str):
                left_out[one] += 1
            else:
                objects[one.image, path].append(replace(one, file=path))
    tree.notes += [("annotations", f"left out: {count} {what}") for what, count in left_out.items()]
    tree.notes += [("annotations", f"not used, as no {format_.name}: {format_names(others)}")] if others else []
    return objects, splits
