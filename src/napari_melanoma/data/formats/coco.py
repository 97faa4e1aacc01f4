"""COCO: JSON files of images and their annotations, as polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.paths import ids_to_file_names
from napari_melanoma.data.exports import DataExportSpec, ExportedData, ExportedImage, MaskArea
from napari_melanoma.data.formats._annotations import (
    AnnotationFormat,
    as_list,
    describe_format,
    find_annotated,
    find_text,
    get_value,
    parse_image_size,
    parse_ring,
    trace_rings,
)
from napari_melanoma.data.mask_areas import Area, MaskObject, PolygonArea, Size, resize_mask
from napari_melanoma.imaging.masks import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = describe_format(
    "coco",
    "COCO annotations",
    "https://cocodataset.org/#format-data",
    "JSON with images, annotations (polygons or run lengths) and categories,\n"
    "for a split if its name has the word train, val or test, or its folder is named so",
)
EXPORT = DataExportSpec("coco", "COCO instances (images/, annotations/instances_SPLIT.json)")


@dataclass(frozen=True, eq=False)
class RunLengthArea(Area):
    """Run lengths of pixels, alternately outside and inside, column by column, as in COCO."""

    counts: Sequence[int]
    size: Size

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Decode the runs."""
        return resize_mask(decode_run_lengths(self.counts, self.size), shape)


def is_coco(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether JSON content is COCO: an object with images and annotations."""
    return isinstance(content, dict) and "annotations" in content and "images" in content


def read_coco(content: dict[str, Any], file: Path) -> Iterator[MaskObject | str]:
    """Yield the objects of a COCO file, or the description of an annotation left out because it has no area.

    An image with several ids was annotated by several: each id is one annotator.
    """
    lists = {key: get_value(content, key, list, str(file)) for key in ("images", "annotations")}
    names = {find_text(category, "id"): find_text(category, "name") for category in as_list(content.get("categories"))}
    images, ids_of = dict[int | str, dict[str, Any]](), defaultdict[str, list[int | str]](list)
    for image in lists["images"]:
        number = get_value(image, "id", (int, str), f"{file}: an image")
        name = get_value(image, "file_name", str, f"{file}: an image")
        if (other := images.setdefault(number, image)["file_name"]) != name:
            raise DataSetError(
                f"{file}: the image id {number} is that of {other} and of {name}, so it is not clear which of them its "
                "annotations are of. Export the annotations again, with an id for each image."
            )
        ids_of[name].append(number)
    for number, annotation in enumerate(lists["annotations"]):
        where = f"{file}: annotation {number}"
        image = images.get(get_value(annotation, "image_id", (int, str), where))
        if image is None:
            yield "annotations of an image that is not in the file"
            continue
        area = _parse_segmentation(annotation.get("segmentation"), where)
        if area is None:
            yield "annotations without an outline"
            continue
        size = parse_image_size(image.get("height"), image.get("width"))
        yield MaskObject(
            image=image["file_name"],
            area=area,
            label=names.get(find_text(annotation, "category_id"), ""),
            size=area.size if isinstance(area, RunLengthArea) else size,
            diagnosis=_find_attribute_diagnosis(annotation) or _find_attribute_diagnosis(image),
            annotator=f"image {image['id']}" if len({*ids_of[image["file_name"]]}) > 1 else "",
        )


def _parse_segmentation(segmentation: Any, where: str) -> Area | None:  # noqa: ANN401
    """Parse polygons or run lengths; None if there is no area."""
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
    rings = [ring for part in parts if (ring := parse_ring(part, where)) is not None]
    return PolygonArea([[ring] for ring in rings]) if rings else None


def _find_attribute_diagnosis(values: dict[str, Any]) -> str:
    """Find a diagnosis in the attributes, where some tools store it."""
    return find_text(values, "diagnosis") or find_text(values.get("attributes"), "diagnosis")


FORMAT = AnnotationFormat("coco", is_coco, read_coco)
find = partial(find_annotated, format_=FORMAT)


def write(data: ExportedData, folder: Path) -> None:
    """Write images and annotations; images without a split are in instances_all.json."""
    categories = {name: number for number, name in enumerate(data.classes, start=1)}
    images: dict[str, list[dict[str, Any]]] = defaultdict(list)
    annotations: dict[str, list[dict[str, Any]]] = defaultdict(list)

    def write_image(image: ExportedImage) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        path, (height, width) = image.copy_image(folder / "images")
        areas = [
            {"category_id": categories[area.class_name], **_describe_area(area, data.options.areas)}
            for area in image.read_areas((height, width))
        ]
        diagnosis = {"diagnosis": image.row["diagnosis"]} if image.row.get("diagnosis") else {}
        return {"file_name": path.name, "height": height, "width": width, **diagnosis}, areas

    for number, (image, (entry, areas)) in enumerate(data.write_each(write_image), start=1):
        split = image.split or "all"
        images[split].append({"id": number, **entry})
        for area in areas:
            area_id = sum(map(len, annotations.values())) + 1
            annotations[split].append({"id": area_id, "image_id": number, **area})
    names = ids_to_file_names(images)
    for split, of_split in images.items():
        content = {
            "info": {"description": data.name},
            "images": of_split,
            "annotations": annotations[split],
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
        }
        write_json(folder / "annotations" / f"instances_{names[split]}.json", content)


def _describe_area(area: MaskArea, areas: str) -> dict[str, Any]:
    """Describe an area as an annotation; its box and number of pixels are exact."""
    box = bounding_box(area.mask)
    assert box is not None  # areas are not empty
    rings = trace_rings(area.mask)
    segmentation: Any = [np.round(rings[0], 2).ravel().tolist()]
    if areas == "pixels" or len(rings) > 1:
        segmentation = {"size": list(area.mask.shape), "counts": _encode_runs(area.mask)}
    return {
        "segmentation": segmentation,
        "area": int(area.mask.sum()),
        "bbox": [box.left, box.top, box.width, box.height],
        "iscrowd": 0,
    }


def _encode_runs(mask: NDArray[np.bool_]) -> list[int]:
    """Return the numbers of pixels outside, inside, outside ..., column by column."""
    pixels = mask.ravel(order="F")
    borders = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs = np.diff([0, *borders, pixels.size]).tolist()
    return [0, *runs] if pixels[0] else runs


# Compressed run lengths of COCO: code of the digit 0, bits of a digit, and the bits for "more digits" and the sign
_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


def decode_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode run lengths, column by column.

    ``counts``: numbers of pixels outside, inside, outside ... Returns bool (row, column).
    """
    if sum(counts) != size[0] * size[1] or min(counts, default=0) < 0:
        raise DataSetError(
            f"run lengths add up to {sum(counts)} pixels, but {size[0]} rows of {size[1]} were expected. "
            "Export the masks again."
        )
    inside = np.arange(len(counts)) % 2 == 1
    return np.repeat(inside, counts).reshape(size, order="F")


def decompress_run_lengths(text: str) -> list[int]:
    """Decode the compressed run lengths of COCO's tools.

    Each number is written in digits of five bits, the lowest first, as characters from ``0`` on; a sixth bit is set if
    more digits follow. From the fourth number on, the difference to the number two positions before is stored.
    """
    counts: list[int] = []
    value = shift = 0
    for character in text:
        digit = ord(character) - _FIRST
        if not 0 <= digit < 2 * _MORE:
            raise DataSetError(f"'{character}' does not occur in compressed run lengths. Export the masks again.")
        value |= (digit & (_MORE - 1)) << shift
        shift += _BITS
        if digit & _MORE:
            continue
        if digit & _SIGN:
            value -= 1 << shift
        counts.append(value + counts[-2] if len(counts) > 2 else value)
        value = shift = 0
    if shift:
        raise DataSetError("compressed run lengths end in the middle of a number. Export the masks again.")
    return counts
