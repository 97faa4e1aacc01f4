"""COCO: one JSON file per split with an annotation for each connected area, as polygons or run lengths."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.files import write_json
from napari_melanoma.data.export_catalog import DataExportSpec, ExportedData, ExportedImage, MaskArea
from napari_melanoma.data.exports._outlines import trace_rings
from napari_melanoma.imaging.masks import bounding_box

if TYPE_CHECKING:
    from numpy.typing import NDArray

SPEC = DataExportSpec("coco", "COCO instances (images/, annotations/instances_SPLIT.json)")


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
    for split, of_split in images.items():
        content = {
            "info": {"description": data.name},
            "images": of_split,
            "annotations": annotations[split],
            "categories": [{"id": number, "name": name} for name, number in categories.items()],
        }
        write_json(folder / "annotations" / f"instances_{split}.json", content)


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
