"""Read masks made elsewhere: folders of image files, COCO, labelme and GeoJSON.

Each format is read into objects with an area, which can be drawn as a mask.
"""

from __future__ import annotations

import base64
import binascii
import io
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from napari_melanoma.core import parsing
from napari_melanoma.core.errors import DataSetError, InputError, MalformedFile, UnreadableImage
from napari_melanoma.core.files import normalize_name
from napari_melanoma.core.polygons import as_array, rasterize_rings, untangle_polygon
from napari_melanoma.data.mask_values import (
    ARRAY_SUFFIX,
    ClassValues,
    LesionValues,
    read_lesion_mask,
    strip_mask_suffix,
)
from napari_melanoma.data.nnunet import read_nnunet_labels
from napari_melanoma.io.formats import DAMAGE_ERRORS, MAX_PIXELS
from napari_melanoma.io.geojson import read_features
from napari_melanoma.io.photographs import read_image_size

if TYPE_CHECKING:
    from numpy.typing import NDArray


Size = tuple[int, int]  # rows, columns


class Area(ABC):
    """An area that can be drawn as a mask of a photograph."""

    @abstractmethod
    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Draw the area, outlined on an image of ``size``, as bool (row, column) of ``shape``."""

    def count_points_outside(self, size: Size) -> int:
        """Count the points of an outline that lie outside the image and are cut off; 0 for an area without points."""
        return 0


@dataclass(frozen=True)
class MaskObject:
    """One outlined object of an image.

    ``image`` is the file name or stem of the image; ``label`` is the class of the object and ``diagnosis`` a diagnosis,
    "" if there is none; ``size`` is the size of the image on which the object was outlined, None if the format does not
    state it.
    """

    image: str
    area: Area
    label: str = ""
    size: Size | None = None
    diagnosis: str = ""


@dataclass(frozen=True, eq=False)
class PolygonArea(Area):
    """The union of polygons; each is an outer ring and its holes: float64 (point, 2) in (row, column).

    Coordinates refer to pixel edges, as in COCO, labelme and QuPath: the first pixel extends from 0 to 1.
    """

    polygons: Sequence[Sequence[NDArray[np.float64]]]

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Fill the polygons."""
        scale = np.divide(shape, size)
        mask = np.zeros(shape, bool)
        for rings in self.polygons:
            mask |= rasterize_rings([ring * scale for ring in rings], shape)
        return mask

    def count_points_outside(self, size: Size) -> int:
        """Count the points more than half a pixel outside; smaller distances are considered rounding errors."""
        points = np.concatenate([ring for rings in self.polygons for ring in rings])
        return int(np.count_nonzero(((points < -0.5) | (points > np.add(size, 0.5))).any(axis=1)))


@dataclass(frozen=True, eq=False)
class RunLengthArea(Area):
    """Run lengths of pixels, alternately outside and inside, column by column, as in COCO."""

    counts: Sequence[int]
    size: Size

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Decode the runs."""
        return resize_mask(decode_run_lengths(self.counts, self.size), shape)


@dataclass(frozen=True)
class ImageFileArea(Area):
    """An image file with one value inside and 0 outside, or a label image with ``lesion_values`` inside."""

    path: Path
    lesion_values: LesionValues = None
    class_names: ClassValues = field(default_factory=dict)

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Read the file."""
        try:
            return resize_mask(read_lesion_mask(self.path, self.path.name, self.lesion_values, self.class_names), shape)
        except UnreadableImage as error:
            raise DataSetError(str(error)) from error


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


def resize_mask(mask: NDArray[np.bool_], shape: Size) -> NDArray[np.bool_]:
    """Scale a mask to a shape; a pixel that is at least half inside is inside.

    ``mask``: bool (row, column). Returns bool (row, column); the mask itself if it has the shape already.
    """
    if mask.shape == shape:
        return mask
    from PIL import Image

    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) >= 128


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


MaskFormat = Literal["png", "coco", "labelme", "geojson"]
JSON_NAME = re.compile(r"[^.].*\.(?:geo)?json(?:\.gz)?", re.IGNORECASE)
_MIN_POINTS = 3
_MAX_BYTES = 2**30  # annotations of a large data set in one file
_MAX_COORDINATE = 1e9  # pixels; larger values are invalid and would overflow
_GEOJSON_TYPES = ("FeatureCollection", "Feature", "GeometryCollection", "Polygon", "MultiPolygon")
_CIRCLE_POINTS = 360
_SHAPE_TYPES = ("polygon", "rectangle", "circle", "mask")
IMAGE_SUFFIXES = (".png", ".bmp", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ARRAY_SUFFIX)
LABEL_FOLDER = re.compile(r"labels(?:tr|ts|val)", re.IGNORECASE)  # folders of nnU-Net, next to imagesTr


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    try:
        return parsing.read_json(path, _MAX_BYTES, allow_nan=True)  # measurements may be NaN; points are checked
    except (OSError, MalformedFile) as error:
        raise DataSetError(
            f"{path} cannot be read as JSON ({parsing.parse_error_reason(error)}). Export the annotations again."
        ) from error


def list_json_files(path: Path) -> list[Path]:
    """List the JSON files of a folder and its subfolders, sorted, without hidden ones; a file is returned as it is."""
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if JSON_NAME.fullmatch(file.name))


def get_value(values: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:  # noqa: ANN401
    """Return a value of a JSON object; raises if it is missing or of another type."""
    value = values.get(key) if isinstance(values, dict) else None
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        names = " or ".join(type_.__name__ for type_ in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataSetError(f"{where}: expected '{key}' of type {names}, found {type(value).__name__}.")
    return value


def parse_ring(points: Any, where: str) -> NDArray[np.float64] | None:  # noqa: ANN401
    """Parse the points of an outline, [[x, y], ...] or [x, y, x, y, ...].

    Returns float64 (point, 2) in (row, column); None if there are too few points for an area.
    """
    try:
        if not isinstance(points, Sequence) or isinstance(points, str):
            raise TypeError
        flat = not points or isinstance(points[0], int | float)
        array = np.asarray(points if flat else [point[:2] for point in points], np.float64).reshape(-1, 2)
    except (TypeError, ValueError, LookupError, ArithmeticError):
        array = np.full((1, 2), np.nan)
    if not np.isfinite(array).all():
        raise DataSetError(f"{where}: expected points as numbers [x, y], found {str(points)[:60]}.")
    return np.clip(array[:, ::-1], -_MAX_COORDINATE, _MAX_COORDINATE) if len(array) >= _MIN_POINTS else None


def parse_image_size(rows: Any, columns: Any) -> Size | None:  # noqa: ANN401
    """Return the size of an image; None if no photograph can have it."""
    are_sides = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in (rows, columns))
    return (rows, columns) if are_sides and rows * columns <= MAX_PIXELS else None


def find_text(values: Any, *keys: str) -> str:  # noqa: ANN401
    """Return the first text or integer of a JSON object under some keys, as text; "" if there is none."""
    candidates = [values.get(key) for key in keys] if isinstance(values, dict) else []
    return next(
        (
            str(candidate).strip()
            for candidate in candidates
            if isinstance(candidate, str | int) and not isinstance(candidate, bool)
        ),
        "",
    )


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
            yield MaskObject(file.name, ImageFileArea(file, class_names=names), size=(stored[1], stored[0]))


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
    names = {find_text(category, "id"): find_text(category, "name") for category in _as_list(content.get("categories"))}
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


def _as_list(value: Any) -> list[Any]:  # noqa: ANN401
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
    "geojson": read_geojson_masks,
}
_DETECTORS: dict[MaskFormat, Callable[[object], bool]] = {
    "coco": is_coco,
    "labelme": is_labelme,
    "geojson": is_geojson,
}


def read_masks(path: Path, format_: MaskFormat | None = None) -> tuple[list[MaskObject], list[str]]:
    """Read masks that were made elsewhere, without drawing them.

    Also returns a description of each annotation that was left out.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist. Name a folder of masks, or a COCO, labelme or GeoJSON file.")
    chosen = format_ or detect_format(path)
    results = list(read_image_masks(path) if chosen == "png" else _read_annotations(path, chosen))
    objects = [result for result in results if isinstance(result, MaskObject)]
    if not objects:
        raise DataSetError(
            f"{path} contains no mask{f' in the format {format_}' if format_ else ''}. Expected a folder of PNG files, "
            "or JSON of COCO, labelme or GeoJSON; --format names one of them."
        )
    return objects, [result for result in results if isinstance(result, str)]


def _read_annotations(path: Path, format_: MaskFormat) -> Iterator[MaskObject | str]:
    """Read the JSON files of one format; those of other formats are described."""
    for file in list_json_files(path):
        content = read_json(file)
        if _DETECTORS[format_](content):
            yield from _READERS[format_](content, file)
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
        f"{path} contains no masks in a supported format: expected PNG files, or JSON of COCO, labelme or GeoJSON. "
        "Export the masks as one of these."
    )
