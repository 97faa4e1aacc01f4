"""labelme JSON: a file an image, with polygons, rectangles, circles and painted masks."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.masks.areas import Area, EncodedPatchArea, MaskObject, PolygonArea
from napari_melanoma.data.masks.json_files import (
    find_text,
    get_value,
    list_json_files,
    parse_image_size,
    parse_ring,
    read_json,
)

_CIRCLE_POINTS = 360


def is_labelme(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether the content of a JSON file looks like labelme's.

    True for an object with shapes.
    """
    return isinstance(content, dict) and "shapes" in content


def read_labelme(path: Path) -> Iterator[MaskObject | str]:
    """Read the shapes of a labelme file, or of each in a folder.

    Yields an object, or what kind of shape was left out because it encloses nothing.
    """
    for file in list_json_files(path):
        content = read_json(file)
        if is_labelme(content):
            yield from _read_objects(content, file)


def _read_objects(content: dict[str, Any], file: Path) -> Iterator[MaskObject | str]:
    """Objects of one file."""
    size = parse_image_size(content.get("imageHeight"), content.get("imageWidth"))
    for number, shape in enumerate(get_value(content, "shapes", list, str(file))):
        where = f"{file}: shape {number}"
        kind = find_text(shape, "shape_type") or "polygon"
        area = _parse_area(shape, kind, where)
        if area is None:
            yield f"shapes of type {kind}" if kind not in _AREA_TYPES else f"shapes of type {kind} with too few points"
            continue
        yield MaskObject(
            image=find_text(content, "imagePath") or file.stem,
            area=area,
            label=find_text(shape, "label"),
            size=size,
            diagnosis=_find_diagnosis(shape.get("flags")) or _find_diagnosis(content.get("flags")),
        )


def _parse_area(shape: Any, kind: str, where: str) -> Area | None:  # noqa: ANN401
    """What a shape encloses; None where it encloses nothing."""
    if kind not in _AREA_TYPES:
        return None
    points = get_value(shape, "points", list, where)
    if kind == "polygon":
        outline = parse_ring(points, where)
        return None if outline is None else PolygonArea([[outline]])
    corners = parse_ring([*points, *points], where)  # two points say it all; ring checks that they are numbers
    if corners is None or len(points) != 2:
        return None
    (top, left), (bottom, right) = corners[0], corners[1]
    if kind == "rectangle":
        return PolygonArea([[np.array([[top, left], [top, right], [bottom, right], [bottom, left]])]])
    if kind == "circle":  # a centre and a point on the border
        angles = np.linspace(0, 2 * np.pi, _CIRCLE_POINTS, endpoint=False)
        around = np.stack([np.sin(angles), np.cos(angles)], axis=1)
        return PolygonArea([[corners[0] + np.hypot(bottom - top, right - left) * around]])
    try:
        encoded = base64.b64decode(get_value(shape, "mask", str, where), validate=True)
    except binascii.Error as error:
        raise DataSetError(f"{where}: its mask is no base64 text ({error}).") from error
    return EncodedPatchArea(encoded, round(min(top, bottom)), round(min(left, right)))


_AREA_TYPES = ("polygon", "rectangle", "circle", "mask")


def _find_diagnosis(flags: Any) -> str:  # noqa: ANN401
    """The one flag that is set; labelme has no other place for what is true of a whole image."""
    if isinstance(flags, dict):
        chosen = [name for name, is_set in flags.items() if is_set is True]
        return find_text(flags, "diagnosis") or (chosen[0] if len(chosen) == 1 else "")
    return ""
