"""Areas of masks: polygons, run lengths and image files, drawn as arrays."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.core.errors import DataSetError, UnreadableImage
from napari_melanoma.data.masks.label_values import LesionValues, read_lesion_mask
from napari_melanoma.io.formats import DAMAGE_ERRORS

if TYPE_CHECKING:
    from numpy.typing import NDArray

Size = tuple[int, int]


class Area(Protocol):
    """An area that can be drawn as a mask of a photograph."""

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Draw the area as bool (row, column)."""

    def count_points_outside(self, size: Size) -> int:
        """Count the points of its outline outside the image, where they are cut off; 0 for other areas."""


@dataclass(frozen=True)
class MaskObject:
    """One outlined object of an image.

    ``image`` is the image's file name or stem; ``label`` the object's class and ``diagnosis`` a diagnosis, "" where
    there is none; ``size`` rows and columns of the image that it was outlined on, None where the format does not give
    it.
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
            mask |= fill_rings([ring * scale for ring in rings], shape)
        return mask

    def count_points_outside(self, size: Size) -> int:
        """Count the points outside; up to half a pixel is taken as rounding."""
        points = np.concatenate([ring for rings in self.polygons for ring in rings])
        return int(np.count_nonzero(((points < -0.5) | (points > np.add(size, 0.5))).any(axis=1)))


@dataclass(frozen=True, eq=False)
class RunLengthArea(Area):
    """Run lengths of pixels outside and inside alternately, column by column, as in COCO."""

    counts: Sequence[int]
    size: Size

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Decode the runs."""
        return resize_mask(decode_run_lengths(self.counts, self.size), shape)

    def count_points_outside(self, size: Size) -> int:
        """Return 0: runs have no points."""
        return 0


@dataclass(frozen=True)
class ImageFileArea(Area):
    """A file with one value inside and 0 outside; of a label image ``lesion_values`` are the values inside."""

    path: Path
    lesion_values: LesionValues = None
    class_names: Mapping[str, int] = field(default_factory=dict)

    def draw(self, size: Size, shape: Size) -> NDArray[np.bool_]:
        """Read the file."""
        try:
            return resize_mask(read_lesion_mask(self.path, self.path.name, self.lesion_values, self.class_names), shape)
        except UnreadableImage as error:
            raise DataSetError(str(error)) from error

    def count_points_outside(self, size: Size) -> int:
        """Return 0: an image has no points."""
        return 0


@dataclass(frozen=True)
class EncodedPatchArea(Area):
    """An encoded image of a part of the photograph, with its first pixel at ``top`` and ``left``, as in labelme."""

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

    def count_points_outside(self, size: Size) -> int:
        """Return 0: an image has no points."""
        return 0

    def _decode(self) -> NDArray[np.bool_]:
        from napari_melanoma.io.pillow_images import open_undamaged

        try:
            with open_undamaged(io.BytesIO(self.encoded), "PNG") as picture:
                return np.asarray(picture.convert("L")) > 0
        except DAMAGE_ERRORS as error:
            raise DataSetError(f"a mask inside the file is not a PNG ({error}). Save the annotation again.") from error


def resize_mask(mask: NDArray[np.bool_], shape: Size) -> NDArray[np.bool_]:
    """Scale a mask; a pixel that is at least half inside is inside.

    ``mask``: bool (row, column). Returns bool (row, column); the mask itself where it has that shape.
    """
    if mask.shape == shape:
        return mask
    from PIL import Image

    picture = Image.fromarray(mask.astype(np.uint8) * np.uint8(255))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)) >= 128


def fill_rings(rings: Iterable[NDArray[np.float64]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill the area inside an odd number of rings.

    Each edge crosses some rows at a column, from which the row's pixels are toggled. ``skimage.draw`` tests each pixel
    against each edge instead: 600 points on 3000 x 2000 pixels take 10 s, here 0.06 s.

    ``rings``: float64 (point, 2) each, in (row, column) of pixel edges: the first pixel's center is at (0.5, 0.5). They
    are closed implicitly. Returns bool (row, column).
    """
    changes = np.zeros((shape[0], shape[1] + 1), bool)
    for ring in rings:
        for (row, column), (next_row, next_column) in zip(ring, np.roll(ring, -1, axis=0), strict=True):
            first, last = np.ceil(np.clip(sorted((row, next_row)), -1.0, shape[0] + 1.0) - 0.5).astype(int)
            rows = np.arange(max(first, 0), min(last, shape[0]))
            if rows.size:
                crossing = column + (rows + 0.5 - row) * (next_column - column) / (next_row - row)
                changes[rows, np.ceil(np.clip(crossing - 0.5, 0, shape[1])).astype(int)] ^= True
    return np.logical_xor.accumulate(changes, axis=1)[:, :-1]


_FIRST, _BITS, _MORE, _SIGN = 48, 5, 0x20, 0x10


def decode_run_lengths(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Decode run lengths.

    ``counts``: pixels outside, inside, outside ... Returns bool (row, column).
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

    Each number is written in digits of five bits, the lowest first, as characters from ``0`` on, with a sixth bit if
    more follow; from the fourth number on, the difference to the last but one is stored.
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
