"""Areas in masks and annotations of other programs: polygons, run lengths and image files, drawn as masks."""

from __future__ import annotations

import io
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.core.polygons import rasterize_rings
from napari_melanoma.data.mask_values import (
    ClassValues,
    LabelImageError,
    LesionValues,
    read_lesion_mask,
    resolve_class_values,
)
from napari_melanoma.io.formats import DAMAGE_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray


Size = tuple[int, int]  # rows, columns
UNNAMED = "object"  # class of objects without one


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
    state it. ``annotator`` is who outlined it, "" if the format does not state it, and ``file`` the file that it is
    from; ``is_default``: it is used unless the user selects an annotator.
    """

    image: str
    area: Area
    label: str = ""
    size: Size | None = None
    diagnosis: str = ""
    annotator: str = ""
    file: Path = Path()
    is_default: bool = True

    @property
    def source(self) -> tuple[str, Path]:
        """Who outlined the object, as far as known: two files are two annotators."""
        return self.annotator, self.file

    @property
    def author(self) -> str:
        """The annotator, or else the file, for a message."""
        return self.annotator or "/".join(self.file.parts[-2:])

    @property
    def names(self) -> set[str]:
        """The names by which the user may select the annotator."""
        return {self.annotator, self.file.stem, *self.file.parts} - {""}


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


def draw_objects(
    objects: Sequence[MaskObject],
    shape: Size,
    lesion_values: LesionValues,
    names: ClassValues,
    *,
    majority: bool = False,
) -> NDArray:
    """Draw annotated objects as the mask of an image of ``shape``.

    ``names``: classes with their values, as in a label image. Returns bool (row, column), or with ``lesion_values``
    "keep" uint8 with the values of the classes, later objects over earlier ones. ``majority``: what more than half of
    the annotators have outlined, instead of all. Raises ``LabelImageError`` if there are several classes and the user
    has not stated which are lesions.
    """
    if majority:
        return find_majority(
            [draw_objects(of_one, shape, lesion_values, names) for of_one in group_by_annotator(objects)]
        )
    for one in objects:
        if one.size not in (None, shape):
            raise DataSetError(
                f"has {shape[1]} x {shape[0]} pixels, its mask {one.size[1]} x {one.size[0]}: expected the same size"
            )
    drawn = [(names[one.label or UNNAMED][0], one.area) for one in objects]
    if lesion_values == "keep":
        labels = np.zeros(shape, np.uint8)
        for value, area in drawn:
            labels[area.draw(shape, shape)] = value
        return labels
    if lesion_values is None and len(names) > 1:
        raise LabelImageError((0, *(value for values in names.values() for value in values)), names)
    chosen = resolve_class_values(lesion_values, names) if isinstance(lesion_values, tuple) else None
    mask = np.zeros(shape, bool)
    for value, area in drawn:
        if chosen is None or value in chosen:
            mask |= area.draw(shape, shape)
    return mask


def group_by_annotator(objects: Iterable[MaskObject]) -> list[list[MaskObject]]:
    """Group the objects of an image by who outlined them, in the order of their files."""
    groups: dict[Hashable, list[MaskObject]] = defaultdict(list)
    for one in objects:
        groups[one.source].append(one)
    return list(groups.values())


def find_majority(masks: Sequence[NDArray]) -> NDArray:
    """Return the value that more than half of the masks have in a pixel, else 0; (row, column) of their type."""
    found = np.zeros_like(masks[0])
    for value in filter(None, np.unique(masks)):
        found[2 * np.sum([mask == value for mask in masks], axis=0) > len(masks)] = value
    if not found.any() and np.any(masks):
        raise DataSetError(f"no pixel is in the masks of more than half of its {len(masks)} annotators")
    return found


def number_classes(objects: Iterable[MaskObject]) -> ClassValues:
    """Number the classes of objects from 1 on, in alphabetical order."""
    names = sorted({one.label or UNNAMED for one in objects})
    return {name: (number,) for number, name in enumerate(names, start=1)}


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
