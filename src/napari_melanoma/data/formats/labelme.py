"""labelme: a JSON file with the shapes of each image, next to it."""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.core.files import write_json
from napari_melanoma.data.exports import DataExportSpec, ExportedData, ExportedImage, MaskArea
from napari_melanoma.data.formats._annotations import (
    AnnotationFormat,
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
from napari_melanoma.io.formats import DAMAGE_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOURCE = describe_format(
    "labelme",
    "labelme annotations",
    "https://github.com/wkentaro/labelme",
    "a JSON file for each image, with shapes",
)
EXPORT = DataExportSpec("labelme", "labelme (a JSON file next to each image)", needs_mask=False)
VERSION = "5.5.0"  # of the layout
_CIRCLE_POINTS = 360
_SHAPE_TYPES = ("polygon", "rectangle", "circle", "mask")


@dataclass(frozen=True)
class EncodedPatchArea(Area):
    """An encoded PNG of a part of the photograph, which begins at row ``top`` and column ``left``, as in labelme."""

    encoded: bytes
    top: int
    left: int

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Decode the image and paste it; pixels outside the photograph are cut off."""
        patch = self._decode()
        mask = np.zeros(size, bool)
        top, left = max(0, self.top), max(0, self.left)
        bottom, right = min(size[0], self.top + patch.shape[0]), min(size[1], self.left + patch.shape[1])
        if top < bottom and left < right:
            mask[top:bottom, left:right] = patch[
                top - self.top : bottom - self.top, left - self.left : right - self.left
            ]
        return resize_mask(mask, shape)

    def _decode(self) -> NDArray[np.bool_]:
        from napari_melanoma.io.pillow_images import open_undamaged, read_opaque_values

        try:
            with open_undamaged(io.BytesIO(self.encoded), "PNG") as picture:
                return read_opaque_values(picture, "L") > 0
        except DAMAGE_ERRORS as error:
            raise DataSetError(f"a mask inside the file is not a PNG ({error}). Save the annotation again.") from error


def is_labelme(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether JSON content is labelme: an object with shapes."""
    return isinstance(content, dict) and "shapes" in content


def read_labelme(content: dict[str, Any], file: Path) -> Iterator[MaskObject | str]:
    """Yield the shapes of a labelme file, or the description of a shape left out because it has no area."""
    size = parse_image_size(content.get("imageHeight"), content.get("imageWidth"))
    for number, shape in enumerate(get_value(content, "shapes", list, str(file))):
        where = f"{file}: shape {number}"
        kind = find_text(shape, "shape_type") or "polygon"
        area = _parse_shape(shape, kind, where)
        if area is None:
            yield f"shapes of type {kind}" if kind not in _SHAPE_TYPES else f"shapes of type {kind} with too few points"
            continue
        yield MaskObject(
            image=find_text(content, "imagePath") or file.stem,
            area=area,
            label=find_text(shape, "label"),
            size=size,
            diagnosis=_find_flag_diagnosis(shape.get("flags")) or _find_flag_diagnosis(content.get("flags")),
        )


def _parse_shape(shape: Any, kind: str, where: str) -> Area | None:  # noqa: ANN401
    """Parse the area of a shape; None if it has none."""
    if kind not in _SHAPE_TYPES:
        return None
    points = get_value(shape, "points", list, where)
    if kind == "polygon" or (kind == "rectangle" and len(points) == 4):  # X-AnyLabeling writes all four corners
        outline = parse_ring(points, where)
        return None if outline is None else PolygonArea([[outline]])
    # parse_ring checks that the points are numbers, but needs three of them: so the two corners are repeated
    corners = parse_ring([*points, *points], where)
    if corners is None or len(points) != 2:
        return None
    (top, left), (bottom, right) = corners[0], corners[1]
    if kind == "rectangle":
        return PolygonArea([[np.array([[top, left], [top, right], [bottom, right], [bottom, left]])]])
    if kind == "circle":  # the center and a point on the border
        angles = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
        around = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        return PolygonArea([[corners[0] + np.hypot(bottom - top, right - left) * around]])
    try:
        encoded = base64.b64decode(get_value(shape, "mask", str, where), validate=True)
    except binascii.Error as error:
        raise DataSetError(f"{where}: its mask is not base64 text ({error}).") from error
    return EncodedPatchArea(encoded, round(min(top, bottom)), round(min(left, right)))


def _find_flag_diagnosis(flags: Any) -> str:  # noqa: ANN401
    """Return the only flag that is set; labelme stores properties of the whole image as flags."""
    if isinstance(flags, dict):
        chosen = [name for name, is_set in flags.items() if is_set is True]
        return find_text(flags, "diagnosis") or (chosen[0] if len(chosen) == 1 else "")
    return ""


FORMAT = AnnotationFormat("labelme", is_labelme, read_labelme)
find = partial(find_annotated, format_=FORMAT)


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
