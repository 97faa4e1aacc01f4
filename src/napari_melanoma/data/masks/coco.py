"""COCO JSON: all images of a set in one file, with polygons or run lengths (``iscrowd``, and what SAM exports)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.masks.areas import Area, MaskObject, Polygons, RunLengths, decompress
from napari_melanoma.data.masks.json_files import image_size, json_files, read_json, ring, take, text_of


def recognises(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether the content of a JSON file looks like COCO.

    True for an object with images and annotations.
    """
    return isinstance(content, dict) and "annotations" in content and "images" in content


def read(path: Path) -> Iterator[MaskObject | str]:
    """Read the annotations of a COCO file, or of each in a folder.

    Yields an object, or what kind of annotation was left out because it encloses nothing.
    """
    for file in json_files(path):
        content = read_json(file)
        if recognises(content):
            yield from _objects(content, file)


def _objects(content: dict[str, Any], file: Path) -> Iterator[MaskObject | str]:
    """Objects of one file."""
    lists = {key: take(content, key, list, str(file)) for key in ("images", "annotations")}
    names = {text_of(one, "id"): text_of(one, "name") for one in _list(content.get("categories"))}
    images = {take(one, "id", (int, str), f"{file}: an image"): one for one in lists["images"]}
    for number, one in enumerate(lists["annotations"]):
        where = f"{file}: annotation {number}"
        image = images.get(take(one, "image_id", (int, str), where))
        if image is None:
            raise DataSetError(f"{where} belongs to the image {one['image_id']}, which the file does not list.")
        area = _area(one.get("segmentation"), where)
        if area is None:
            yield "annotations without an outline"
            continue
        size = image_size(image.get("height"), image.get("width"))
        yield MaskObject(
            image=take(image, "file_name", str, f"{file}: an image"),
            area=area,
            label=names.get(text_of(one, "category_id"), ""),
            size=area.size if isinstance(area, RunLengths) else size,
            diagnosis=_diagnosis(one) or _diagnosis(image),
        )


def _area(segmentation: Any, where: str) -> Area | None:  # noqa: ANN401
    """Polygons or run lengths; None where there is no area."""
    if isinstance(segmentation, dict):
        stated = take(segmentation, "size", list, where)
        counts = take(segmentation, "counts", (list, str), where)
        size = image_size(*stated) if len(stated) == 2 else None
        if size is None:
            raise DataSetError(f"{where}: expected 'size' as [rows, columns], found {stated}.")
        try:
            runs = decompress(counts) if isinstance(counts, str) else [int(count) for count in counts]
        except (DataSetError, TypeError, ValueError, ArithmeticError) as error:
            raise DataSetError(f"{where}: {error}") from error
        return RunLengths(runs, size)
    if not isinstance(segmentation, list) or not segmentation:
        return None
    parts = segmentation if isinstance(segmentation[0], list) else [segmentation]
    rings = [found for part in parts if (found := ring(part, where)) is not None]
    return Polygons([[one] for one in rings]) if rings else None


def _list(found: Any) -> list[Any]:  # noqa: ANN401
    """A list, empty where it is none."""
    return found if isinstance(found, list) else []


def _diagnosis(values: dict[str, Any]) -> str:
    """A diagnosis beside the geometry, where some tools put attributes."""
    return text_of(values, "diagnosis") or text_of(values.get("attributes"), "diagnosis")
