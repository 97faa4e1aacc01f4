"""Areas in masks and annotations of other programs: polygons, run lengths and image files, drawn as masks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

import numpy as np

from napari_melanoma.core.errors import DataSetError, InputError
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.polygons import rasterize_rings
from napari_melanoma.data.mask_values import (
    ARRAY_SUFFIX,
    IGNORE,
    ClassValues,
    LesionValues,
    read_lesion_mask,
    resolve_class_values,
)
from napari_melanoma.data.source_files import SourceFile
from napari_melanoma.imaging.masks import bounding_box
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.photographs import read_image_size

if TYPE_CHECKING:
    from numpy.typing import NDArray


Size = tuple[int, int]  # rows, columns
UNNAMED = "object"  # class of objects without one
_ASPECT_TOLERANCE = 0.01  # relative difference of aspect ratios


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
        """The annotator, or else the folder of an image file, or the file, for a message."""
        is_picture = isinstance(self.area, ImageFileArea) and len(self.file.parts) > 1
        return self.annotator or (self.file.parts[-2] if is_picture else "/".join(self.file.parts[-2:]))

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


@dataclass(frozen=True)
class ImageFileArea(Area):
    """An image file with one value inside and 0 outside, or a label image."""

    file: SourceFile

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Read a file with one value inside."""
        return resize_mask(self.read(MaskReading()), shape)

    def read(self, reading: MaskReading, shape: Size | None = None) -> NDArray:
        """Read the file, for an image of ``shape`` if given: bool, or classes as uint8 (row, column)."""
        with self.file.on_disk() as path:
            if shape is not None:  # compared before decoding: the header may declare a huge size
                stored = read_array_size(path) if path.suffix.lower() == ARRAY_SUFFIX else read_image_size(path)
                reading.check_size(stored[::-1] if stored else shape, shape)
            return read_lesion_mask(path, self.file.name, reading.values, reading.names)


@dataclass(frozen=True)
class MaskReading:
    """How the masks of a set are read.

    ``values``: those of the lesion; ``names``: classes with their values, of objects or label images. ``majority``:
    annotators vote on each pixel, instead of all areas being united; ``resize``: masks of another size are scaled.
    """

    values: LesionValues = None
    names: ClassValues = field(default_factory=dict)
    majority: bool = False
    resize: bool = False

    def check_size(self, size: Size, shape: Size) -> None:
        """Raise if a mask of ``size`` cannot be used for an image of ``shape``."""
        if size == shape:
            return
        problem = f"has {shape[1]} x {shape[0]} pixels, its mask {size[1]} x {size[0]}"
        is_turned = size == shape[::-1]
        if is_turned or abs((size[0] * shape[1]) / (size[1] * shape[0]) - 1) > _ASPECT_TOLERANCE:
            turned = " (turned by its EXIF orientation?)" if is_turned else ""
            raise DataSetError(f"{problem}{turned}: expected the size of the upright image")
        if not self.resize:
            raise DataSetError(f"{problem}: scale it (command line: --resize)")


class DrawnMask(NamedTuple):
    """A mask, bool or classes as uint8 (row, column), and what was changed.

    ``resized``: scaled objects. ``points_cut_off``: points outside. ``hidden``: objects of which nothing is left, as
    later ones of other classes cover them.
    """

    mask: NDArray
    resized: int = 0
    points_cut_off: int = 0
    hidden: int = 0


def draw_mask(objects: Sequence[MaskObject], shape: Size, reading: MaskReading) -> DrawnMask:
    """Draw the mask of an image of ``shape``; with the values "keep", later objects over earlier ones.

    Raises if it is empty, unless classes are kept, or if an object cannot be drawn.
    """
    groups = group_by_annotator(objects) if reading.majority else [objects]
    drawn = [_draw_union(of_one, shape, reading) for of_one in groups]
    mask = find_majority([one.mask for one in drawn])
    if reading.values != "keep" and not mask.any():
        raise DataSetError("its mask is empty")
    changes = zip(*(one[1:] for one in drawn), strict=True)
    return DrawnMask(mask, *map(sum, changes))


def _draw_union(objects: Sequence[MaskObject], shape: Size, reading: MaskReading) -> DrawnMask:
    chosen = resolve_class_values(reading.values, reading.names) if isinstance(reading.values, tuple) else None
    labels, resized, cut_off = np.zeros(shape, np.uint8), 0, 0
    stored: list[tuple[Box, NDArray[np.bool_], int]] = []  # areas within their boxes, and their values
    for one in objects:
        if isinstance(one.area, ImageFileArea):
            values = one.area.read(reading, shape)
            resized += values.shape != shape
            values = resize_mask(values, shape)
            labels[values > 0] = values[values > 0]
            continue
        value, size = reading.names[one.label or UNNAMED][0], one.size or shape
        if chosen is None and one.label.lower() == IGNORE:
            raise DataSetError(
                f"it has an outline of the class '{one.label}', whose pixels were not annotated: outline what is in it "
                "and remove it, or name the classes that are lesion with --class"
            )
        if chosen is None or value in chosen:
            reading.check_size(size, shape)
            resized += size != shape
            cut_off += one.area.count_points_outside(size)
            area = one.area.draw(size, shape)
            labels[area] = value if reading.values == "keep" else 1
            if reading.values == "keep" and (box := bounding_box(area)) is not None:
                stored.append((box, area[box.slices].copy(), value))
    hidden = sum(value not in labels[box.slices][area] for box, area, value in stored)
    return DrawnMask(labels if reading.values == "keep" else labels > 0, resized, cut_off, hidden)


def group_by_annotator(objects: Iterable[MaskObject]) -> list[list[MaskObject]]:
    """Group the objects of an image by who outlined them, in the order of their files."""
    groups: dict[Hashable, list[MaskObject]] = defaultdict(list)
    for one in objects:
        groups[one.source].append(one)
    return list(groups.values())


def find_majority(masks: Sequence[NDArray]) -> NDArray:
    """Return the value that more than half of the masks have in a pixel, else 0; (row, column) of their type."""
    if len(masks) == 1:
        return masks[0]
    found = np.zeros_like(masks[0])
    for value in filter(None, np.unique(masks)):
        found[2 * np.sum([mask == value for mask in masks], axis=0) > len(masks)] = value
    if not found.any() and np.any(masks):
        raise DataSetError(f"no pixel is in the masks of more than half of its {len(masks)} annotators")
    return found


def number_classes(objects: Iterable[MaskObject]) -> ClassValues:
    """Number the classes of outlined objects from 1 on, in alphabetical order; image files have no class."""
    names = sorted({one.label or UNNAMED for one in objects if not isinstance(one.area, ImageFileArea)})
    return {name: (number,) for number, name in enumerate(names, start=1)}


def read_array_size(path: Path) -> tuple[int, int] | None:
    """Read width and height of an array from its header; None if it is no array of two dimensions."""
    try:
        shape = np.squeeze(np.load(path, mmap_mode="r", allow_pickle=False)).shape
    except DAMAGE_ERRORS:
        return None
    return (shape[1], shape[0]) if len(shape) == 2 else None


def resize_mask(mask: NDArray, shape: Size) -> NDArray:
    """Scale a mask to a shape; a pixel that is at least half inside is inside, and classes keep their values.

    ``mask``: bool, or classes as uint8 (row, column). Returns the same type; the mask itself if it has the shape.
    """
    if mask.shape == shape:
        return mask
    from PIL import Image

    if mask.dtype != bool:
        return np.asarray(Image.fromarray(mask).resize((shape[1], shape[0]), Image.Resampling.NEAREST))

    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) >= 128


UNION, MAJORITY = "union", "majority"
DESCRIPTION = (
    "of an image with masks of several: the name of an annotator, or of a folder or file of masks; union: unite them; "
    "majority: pixels in the masks of more than half of them"
)
Image = TypeVar("Image", bound=Hashable)


def select_annotator(
    objects_of: Mapping[Image, Sequence[MaskObject]], annotator: str
) -> tuple[dict[Image, list[MaskObject]], list[tuple[str, str]]]:
    """Select the objects of each image by their annotators; also returns notes (topic and message).

    ``annotator``: a name, "union" or "majority", or "" for the annotation that is the default of its format, else all.
    """
    if annotator in (UNION, MAJORITY):
        return {image: list(objects) for image, objects in objects_of.items()}, []
    if annotator:
        return _select_one(objects_of, annotator)
    selected = {image: [one for one in objects if one.is_default] for image, objects in objects_of.items()}
    several = {image: objects for image, objects in objects_of.items() if len({one.source for one in objects}) > 1}
    united = [image for image in several if len({one.source for one in selected[image]}) > 1]
    chosen = [image for image in several if image not in united]
    how = f"--annotator NAME selects one, --annotator {UNION} or {MAJORITY} combines them"
    notes = []
    for images, outcome in (
        (united, "which were united"),
        (chosen, "of which one was used (the ground truth, else the last of a task, or the first of several files)"),
    ):
        if images:
            names = format_names(dict.fromkeys(one.author for image in images for one in several[image]))
            count = format_count(len(images), "image")
            notes.append(("annotators", f"{count} with masks of several ({names}), {outcome}; {how}"))
    return selected, notes


def _select_one(
    objects_of: Mapping[Image, Sequence[MaskObject]], annotator: str
) -> tuple[dict[Image, list[MaskObject]], list[tuple[str, str]]]:
    """Select the objects of one annotator, or of the folders or files of that name."""
    selected = {image: [one for one in objects if annotator in one.names] for image, objects in objects_of.items()}
    if not any(selected.values()):
        known = format_names(dict.fromkeys(one.author for objects in objects_of.values() for one in objects), 12)
        raise InputError(
            f"no mask is by '{annotator}': expected an annotator, or the name of a folder or file of masks, found "
            f"{known or 'no annotations'}."
        )
    without = sum(bool(objects_of[image]) and not objects for image, objects in selected.items())
    note = f"{format_count(without, 'image')} with masks, but none by {annotator}: left without a mask"
    return selected, [("annotators", note)] if without else []
