"""COCO JSON: all images of a set in one file, with polygons or run lengths (``iscrowd``, and what SAM exports)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.masks.areas import Area, MaskObject, PolygonArea, RunLengthArea, decompress_run_lengths
from napari_melanoma.data.masks.json_files import (
    find_text,
    get_value,
    list_json_files,
    parse_image_size,
    parse_ring,
    read_json,
)


def is_coco(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether the content of a JSON file looks like COCO.

    True for an object with images and annotations.
    """
    return isinstance(content, dict) and "annotations" in content and "images" in content


def read_coco(path: Path) -> Iterator[MaskObject | str]:
    """Read the annotations of a COCO file, or of each in a folder.

    Yields an object, or what kind of annotation was left out because it encloses nothing.
    """
    for file in list_json_files(path):
        content = read_json(file)
        if is_coco(content):
            yield from _read_objects(content, file)


def _read_objects(content: dict[str, Any], file: Path) -> Iterator[MaskObject | str]:
    """Objects of one file."""
    lists = {key: get_value(content, key, list, str(file)) for key in ("images", "annotations")}
    names = {find_text(one, "id"): find_text(one, "name") for one in _as_list(content.get("categories"))}
    images = {get_value(one, "id", (int, str), f"{file}: an image"): one for one in lists["images"]}
    for number, one in enumerate(lists["annotations"]):
        where = f"{file}: annotation {number}"
        image = images.get(get_value(one, "image_id", (int, str), where))
        if image is None:
            raise DataSetError(f"{where} belongs to the image {one['image_id']}, which the file does not list.")
        area = _parse_area(one.get("segmentation"), where)
        if area is None:
            yield "annotations without an outline"
            continue
        size = parse_image_size(image.get("height"), image.get("width"))
        yield MaskObject(
            image=get_value(image, "file_name", str, f"{file}: an image"),
            area=area,
            label=names.get(find_text(one, "category_id"), ""),
            size=area.size if isinstance(area, RunLengthArea) else size,
            diagnosis=_find_diagnosis(one) or _find_diagnosis(image),
        )


def _parse_area(segmentation: Any, where: str) -> Area | None:  # noqa: ANN401
    """Polygons or run lengths; None where there is no area."""
    if isinstance(segmentation, dict):
        stated = get_value(segmentation, "size", list, where)
        counts = get_value(segmentation, "counts", (list, str), where)
        size = parse_image_size(*stated) if len(stated) == 2 else None
        if size is None:
            raise DataSetError(f"{where}: expected 'size' as [rows, columns], found {stated}.")
        try:
            runs = decompress_run_lengths(counts) if isinstance(counts, str) else [int(count) for count in counts]
        except (DataSetError, TypeError, ValueError, ArithmeticError) as error:
            raise DataSetError(f"{where}: {error}") from error
        return RunLengthArea(runs, size)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    rings = [found for part in parts if (found := parse_ring(part, where)) is not None]
    return PolygonArea([[one] for one in rings]) if rings else None


def _as_list(found: Any) -> list[Any]:  # noqa: ANN401
    """A list, empty where it is none."""
    return found if isinstance(found, list) else []


def _find_diagnosis(values: dict[str, Any]) -> str:
    """A diagnosis beside the geometry, where some tools put attributes."""
    return find_text(values, "diagnosis") or find_text(values.get("attributes"), "diagnosis")
