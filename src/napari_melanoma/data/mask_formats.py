"""Read masks made elsewhere: folders of image files, COCO, labelme, label-studio and GeoJSON.

Each format is read into objects with an area, which can be drawn as a mask.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.files import normalize_name
from napari_melanoma.core.polygons import as_array, untangle_polygon
from napari_melanoma.data.annotation_json import (
    find_text,
    get_value,
    list_json_files,
    parse_image_size,
    parse_ring,
    read_json,
)
from napari_melanoma.data.label_studio import is_label_studio, read_label_studio
from napari_melanoma.data.mask_areas import (
    Area,
    EncodedPatchArea,
    ImageFileArea,
    MaskObject,
    PolygonArea,
    RunLengthArea,
    decompress_run_lengths,
)
from napari_melanoma.data.mask_values import ARRAY_SUFFIX, strip_mask_suffix
from napari_melanoma.data.nnunet import read_nnunet_labels
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.geojson import read_features
from napari_melanoma.io.photographs import read_image_size

if TYPE_CHECKING:
    pass


_JSON_FORMATS = "COCO, labelme, label-studio or GeoJSON"
MaskFormat = Literal["png", "coco", "labelme", "label-studio", "geojson"]
_GEOJSON_TYPES = ("FeatureCollection", "Feature", "GeometryCollection", "Polygon", "MultiPolygon")
_CIRCLE_POINTS = 360
_SHAPE_TYPES = ("polygon", "rectangle", "circle", "mask")
IMAGE_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ARRAY_SUFFIX)
LABEL_FOLDER = re.compile(r"labels(?:tr|ts|val)", re.IGNORECASE)  # folders of nnU-Net, next to imagesTr


def read_image_masks(path: Path) -> Iterator[MaskObject | str]:
    """List the masks of a folder and its subfolders.

    In a folder with photographs and masks (``x.jpg`` and ``x_mask.png``) only files with such a suffix are masks; in
    the layout of nnU-Net, only files in ``labelsTr``, ``labelsTs`` or ``labelsVal``.

    Yields a mask, or the description of a file that was left out because it is not an image.
    """
    names = read_nnunet_labels(path if path.is_dir() else path.parent)
    for file in _select_masks(list_image_files(path)):
        stored = read_array_size(file) if file.suffix.lower() == ARRAY_SUFFIX else read_image_size(file)
        if stored is None:
            yield f"files that are not images ({file.name})"
        else:
            area = ImageFileArea(file, class_names=names)
            yield MaskObject(file.name, area, size=(stored[1], stored[0]), file=file)


def read_array_size(path: Path) -> tuple[int, int] | None:
    """Read width and height of an array from its header; None if it is no array of two dimensions."""
    try:
        shape = np.squeeze(np.load(path, mmap_mode="r", allow_pickle=False)).shape
    except DAMAGE_ERRORS:
        return None
    return (shape[1], shape[0]) if len(shape) == 2 else None


def list_image_files(path: Path) -> list[Path]:
    """List the image files of a folder and its subfolders, sorted, without hidden ones; a file is checked likewise."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in files if file.suffix.lower() in IMAGE_SUFFIXES and not file.name.startswith(".")]


def _select_masks(files: list[Path]) -> list[Path]:
    """Select the masks of pairs such as ``x.jpg`` and ``x_mask.png`` or ``x.npy``, or of nnU-Net folders; else all."""
    labels = [file for file in files if any(LABEL_FOLDER.fullmatch(part) for part in file.parts[:-1])]
    if labels and len(labels) < len(files):
        return labels
    arrays = [file for file in files if file.suffix.lower() == ARRAY_SUFFIX]
    if arrays and len(arrays) < len(files):
        return arrays
    with_suffix = [file for file in files if strip_mask_suffix(file.stem) != normalize_name(file.stem)]
    photographs = {(file.parent, normalize_name(file.stem)) for file in files}
    pairs = any((file.parent, strip_mask_suffix(file.stem)) in photographs for file in with_suffix)
    return with_suffix if pairs else files


def is_coco(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether JSON content is COCO: an object with images and annotations."""
    return isinstance(content, dict) and "annotations" in content and "images" in content


def read_coco(content: dict[str, Any], file: Path) -> Iterator[MaskObject | str]:
    """Yield the objects of a COCO file, or the description of an annotation left out because it has no area."""
    lists = {key: get_value(content, key, list, str(file)) for key in ("images", "annotations")}
    names = {find_text(category, "id"): find_text(category, "name") for category in as_list(content.get("categories"))}
    images = {get_value(image, "id", (int, str), f"{file}: an image"): image for image in lists["images"]}
    for number, annotation in enumerate(lists["annotations"]):
        where = f"{file}: annotation {number}"
        image = images.get(get_value(annotation, "image_id", (int, str), where))
        if image is None:
            raise DataSetError(f"{where} refers to the image {annotation['image_id']}, which is not in the file.")
        area = _parse_segmentation(annotation.get("segmentation"), where)
        if area is None:
            yield "annotations without an outline"
            continue
        size = parse_image_size(image.get("height"), image.get("width"))
        yield MaskObject(
            image=get_value(image, "file_name", str, f"{file}: an image"),
            area=area,
            label=names.get(find_text(annotation, "category_id"), ""),
            size=area.size if isinstance(area, RunLengthArea) else size,
            diagnosis=_find_attribute_diagnosis(annotation) or _find_attribute_diagnosis(image),
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


def as_list(value: Any) -> list[Any]:  # noqa: ANN401
    """Return a list; empty for any other value."""
    return value if isinstance(value, list) else []


def _find_attribute_diagnosis(values: dict[str, Any]) -> str:
    """Find a diagnosis in the attributes, where some tools store it."""
    return find_text(values, "diagnosis") or find_text(values.get("attributes"), "diagnosis")


def is_geojson(content: Any) -> bool:  # noqa: ANN401 - whatever JSON can hold
    """Whether JSON content is GeoJSON: a feature, collection, polygon, or (older QuPath) a list of features."""
    first = content[0] if isinstance(content, list) and content else content
    return isinstance(first, dict) and first.get("type") in _GEOJSON_TYPES


def read_geojson_masks(content: Any, file: Path) -> Iterator[MaskObject | str]:  # noqa: ANN401 - any JSON value
    """Yield the features of a GeoJSON file, read by the rules for the regions of slides.

    The image is named by the property ``image``, ``file_name`` or ``image_id``, or else by the file's stem. Also yields
    the description of a geometry that was left out because it has no area.
    """
    features = read_features(content, file)
    for annotation in features.annotations:
        polygons = [part for polygon in annotation.polygons for part in untangle_polygon(polygon)]
        if not polygons:  # such as a hole over all of its polygon
            yield "geometries (their holes leave no area)"
            continue
        yield MaskObject(
            image=find_text(annotation.properties, "image", "file_name", "image_id") or file.stem,
            area=PolygonArea([[as_array(ring) for ring in polygon.rings] for polygon in polygons]),
            label=annotation.class_name or find_text(annotation.properties, "label", "class") or annotation.name,
            diagnosis=find_text(annotation.properties, "diagnosis"),
        )
    yield from (f"geometries ({reason.partition(': ')[2]})" for reason in features.omitted)


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


_READERS: dict[MaskFormat, Callable[[Any, Path], Iterator[MaskObject | str]]] = {
    "coco": read_coco,
    "labelme": read_labelme,
    "label-studio": read_label_studio,
    "geojson": read_geojson_masks,
}
_DETECTORS: dict[MaskFormat, Callable[[object], bool]] = {
    "coco": is_coco,
    "labelme": is_labelme,
    "label-studio": is_label_studio,
    "geojson": is_geojson,
}


def read_masks(path: Path, format_: MaskFormat | None = None) -> tuple[list[MaskObject], list[str]]:
    """Read masks that were made elsewhere, without drawing them.

    Also returns a description of each annotation that was left out.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist. Name a folder of masks, or a file of {_JSON_FORMATS}.")
    chosen = format_ or detect_format(path)
    results = list(read_image_masks(path) if chosen == "png" else _read_files(path, chosen))
    objects = [result for result in results if isinstance(result, MaskObject)]
    if not objects:
        raise DataSetError(
            f"{path} contains no mask{f' in the format {format_}' if format_ else ''}. Expected a folder of PNG files, "
            f"or JSON of {_JSON_FORMATS}; --format names one of them."
        )
    return objects, [result for result in results if isinstance(result, str)]


def _read_files(path: Path, format_: MaskFormat) -> Iterator[MaskObject | str]:
    """Read the JSON files of one format; those of other formats are described."""
    for file in list_json_files(path):
        yield from read_annotations(read_json(file), file, format_)


def read_annotations(content: Any, file: Path, format_: MaskFormat) -> Iterator[MaskObject | str]:  # noqa: ANN401
    """Read JSON content of one format; that of another format is described, and other content ignored."""
    if _DETECTORS[format_](content):
        for one in _READERS[format_](content, file):
            yield one if isinstance(one, str) else replace(one, file=file)
    elif other := identify_annotations(content):
        yield f"files of another format (--format {other} reads them)"


def identify_annotations(content: object) -> MaskFormat | None:
    """Return the format of annotations in JSON; None for other content."""
    return next((name for name, is_format in _DETECTORS.items() if is_format(content)), None)


def detect_format(path: Path) -> MaskFormat:
    if not path.is_dir() and path.suffix.lower() in IMAGE_SUFFIXES:
        return "png"
    for file in list_json_files(path):
        if format_ := identify_annotations(read_json(file)):
            return format_
    if path.is_dir() and list_image_files(path):
        return "png"
    raise DataSetError(
        f"{path} contains no masks in a supported format: expected PNG files, or JSON of {_JSON_FORMATS}. Export "
        "the masks as one of these."
    )
