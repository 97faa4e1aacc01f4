"""label-studio: tasks with annotations, or predictions to be corrected, and the labeling interface."""

from __future__ import annotations

from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from napari_melanoma.core.files import write_json
from napari_melanoma.data.brush_runs import encode_brush
from napari_melanoma.data.export_catalog import (
    DataExportSpec,
    ExportedData,
    ExportedImage,
    MaskArea,
    write_lines,
)
from napari_melanoma.data.exports._outlines import trace_rings

SPEC = DataExportSpec("label-studio", "label-studio (tasks.json, interface.xml, images/)", needs_mask=False)
POLYGONS, BRUSH = ("polygonlabels", "PolygonLabels"), ("brushlabels", "BrushLabels")


def write(data: ExportedData, folder: Path) -> None:
    """Write the tasks; masks that were not reviewed are predictions, which annotators accept or correct."""

    def write_task(image: ExportedImage) -> dict[str, Any]:
        path, shape = image.copy_image(folder / "images")
        # below the document root of label-studio, which is the parent of the exported folder
        name = quote(f"{data.folder_name}/images/{path.name}")
        task: dict[str, Any] = {"data": {"image": f"/data/local-files/?d={name}", "image_id": image.image_id}}
        if image.mask is None:
            return task
        result = [
            _describe_area(area, data.options.areas, f"{image.image_id}-{number}")
            for number, area in enumerate(image.read_areas(shape), start=1)
        ]
        if image.is_reviewed:
            return {**task, "annotations": [{"result": result}]}
        return {**task, "predictions": [{"model_version": "napari-melanoma", "result": result}]}

    write_json(folder / "tasks.json", [task for _, task in data.write_each(write_task)])
    labels = [f'    <Label value="{escape(name)}"/>' for name in data.classes]
    controls = [
        line
        for kind, tag in (POLYGONS, BRUSH)
        for line in (f'  <{tag} name="{kind}" toName="image">', *labels, f"  </{tag}>")
    ]
    write_lines(folder / "interface.xml", ["<View>", '  <Image name="image" value="$image"/>', *controls, "</View>"])


def _describe_area(area: MaskArea, areas: str, area_id: str) -> dict[str, Any]:
    rows, columns = area.mask.shape
    rings = trace_rings(area.mask)
    if areas == "polygons" and len(rings) == 1:
        kind = POLYGONS[0]
        points = np.round(rings[0] * 100 / (columns, rows), 4).tolist()
        value: dict[str, Any] = {"points": points, "closed": True}
    else:
        kind, value = BRUSH[0], {"format": "rle", "rle": encode_brush(area.mask)}
    return {
        "id": area_id,
        "type": kind,
        "from_name": kind,
        "to_name": "image",
        "original_width": columns,
        "original_height": rows,
        "image_rotation": 0,
        "value": {**value, kind: [area.class_name]},
    }
