"""labelme: a JSON file next to each image."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np

from napari_melanoma.core.files import write_json
from napari_melanoma.data.export_catalog import DataExportSpec, ExportedData, ExportedImage, MaskArea
from napari_melanoma.data.exports._outlines import trace_rings
from napari_melanoma.imaging.masks import bounding_box

SPEC = DataExportSpec("labelme", "labelme (a JSON file next to each image)", needs_mask=False)
VERSION = "5.5.0"  # of the layout


def write(data: ExportedData, folder: Path) -> None:
    """Write images and annotations; an image without a mask has none, and is opened by labelme to be annotated."""

    def write_image(image: ExportedImage) -> None:
        path, (height, width) = image.copy_image(folder)
        if image.mask is None:
            return
        diagnosis = image.row.get("diagnosis")
        content = {
            "version": VERSION,
            "flags": {diagnosis: True} if diagnosis else {},
            "shapes": [_describe_shape(area, data.options.areas) for area in image.read_areas((height, width))],
            "imagePath": path.name,
            "imageData": None,
            "imageHeight": height,
            "imageWidth": width,
        }
        write_json(path.with_suffix(".json"), content)

    for _ in data.write_each(write_image):
        pass


def _describe_shape(area: MaskArea, areas: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"label": area.class_name, "group_id": None, "description": "", "flags": {}, "mask": None}
    rings = trace_rings(area.mask)
    if areas == "polygons" and len(rings) == 1:
        return {**shape, "shape_type": "polygon", "points": np.round(rings[0], 2).tolist()}
    from PIL import Image

    box = bounding_box(area.mask)
    assert box is not None  # areas are not empty
    encoded = io.BytesIO()
    Image.fromarray(area.mask[box.slices]).save(encoded, "PNG")
    corners = [[box.left, box.top], [box.left + box.width - 1, box.top + box.height - 1]]
    return {**shape, "shape_type": "mask", "points": corners, "mask": base64.b64encode(encoded.getvalue()).decode()}
