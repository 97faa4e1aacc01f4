"""Which formats of masks there are, and which one a path holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal, get_args

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.data.masks import coco, geojson, image_folder, labelme
from napari_melanoma.data.masks.areas import MaskObject
from napari_melanoma.data.masks.json_files import list_json_files, read_json

MaskFormat = Literal["png", "coco", "labelme", "geojson"]
MASK_FORMATS: tuple[MaskFormat, ...] = get_args(MaskFormat)
_READERS: dict[MaskFormat, Callable[[Path], Iterator[MaskObject | str]]] = {
    "png": image_folder.read_image_masks,
    "coco": coco.read_coco,
    "labelme": labelme.read_labelme,
    "geojson": geojson.read_geojson_masks,
}
_DETECTORS: dict[MaskFormat, Callable[[object], bool]] = {
    "coco": coco.is_coco,
    "labelme": labelme.is_labelme,
    "geojson": geojson.is_geojson,
}


def read_masks(path: Path, format_: MaskFormat | None = None) -> tuple[list[MaskObject], list[str]]:
    """Read masks that were made elsewhere.

    Nothing is drawn yet. What kind of annotation was left out, once for each.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist. Name a folder of masks, or a COCO, labelme or GeoJSON file.")
    found = list(_READERS[format_ or detect_format(path)](path))
    objects = [one for one in found if isinstance(one, MaskObject)]
    if not objects:
        raise DataSetError(
            f"{path} holds no mask{f' in the format {format_}' if format_ else ''}. Expected a folder of PNG files, or "
            "JSON of COCO, labelme or GeoJSON; --format names one of them."
        )
    return objects, [one for one in found if isinstance(one, str)]


def detect_format(path: Path) -> MaskFormat:
    """Tell which format a path holds."""
    if not path.is_dir() and path.suffix.lower() in image_folder.SUFFIXES:
        return "png"
    for file in list_json_files(path):
        content = read_json(file)
        format_ = next((name for name, recognises in _DETECTORS.items() if recognises(content)), None)
        if format_:
            return format_
    if path.is_dir() and image_folder.list_image_files(path):
        return "png"
    raise DataSetError(
        f"{path} holds no masks that are known here: expected PNG files, or JSON of COCO, labelme or GeoJSON. "
        "Export the masks as one of these."
    )
