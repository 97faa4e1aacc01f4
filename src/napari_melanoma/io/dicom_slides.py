"""Headers of the images of a DICOM slide, and positions in their pixels and in the slide coordinate system."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.io.dicom import damage_as_value_error, read_pixel_size
from napari_melanoma.io.formats import DAMAGE_ERRORS

if TYPE_CHECKING:
    from pydicom import Dataset


def read_slide_headers(slide: Path) -> list[Dataset]:
    """Read the headers of the levels of a DICOM slide, the finest first; empty for other files.

    ``slide``: one of its files, whose series is read, or its folder.
    """
    folder, series = (slide, None) if slide.is_dir() else (slide.parent, _series_uid(slide))
    if series == "":
        return []
    headers = [header for path in sorted(folder.iterdir()) if (header := read_dicom_header(path)) is not None]
    levels = [
        header
        for header in headers
        if "VOLUME" in header.get("ImageType", ())
        and "TotalPixelMatrixRows" in header
        and series in (None, header.get("SeriesInstanceUID"))
    ]
    return sorted(levels, key=lambda header: -matrix_size(header)[0] * matrix_size(header)[1])


def read_dicom_header(path: Path) -> Dataset | None:
    """Read a DICOM file without its pixels; None for other files, and for one that is damaged."""
    import pydicom

    try:
        with damage_as_value_error():
            return pydicom.dcmread(path, stop_before_pixels=True)
    except DAMAGE_ERRORS:
        return None


def _series_uid(slide: Path) -> str:
    header = read_dicom_header(slide)
    return "" if header is None else str(header.get("SeriesInstanceUID", ""))


def matrix_size(header: Dataset) -> tuple[int, int]:
    """Return height and width of the total pixel matrix of a level."""
    return int(header.TotalPixelMatrixRows), int(header.TotalPixelMatrixColumns)


@dataclass(frozen=True)
class MatrixPlacement:
    """Position of the total pixel matrix of a level in the slide coordinate system, in millimeters.

    ``origin``: (x, y) of the center of the first pixel. ``steps``: (x, y) from a pixel to that below it, and to that
    right of it.
    """

    frame_of_reference: str
    origin: tuple[float, float]
    steps: tuple[tuple[float, float], tuple[float, float]]

    @property
    def pixel_mm(self) -> tuple[float, float]:
        """Height and width of a pixel."""
        down, right = self.steps
        return float(np.hypot(*down)), float(np.hypot(*right))

    def to_mm(self, points: Sequence[Sequence[float]]) -> NDArray[np.float64]:
        """Convert (row, column) from the outer corner of the first pixel to (x, y, z); returns float64 (point, 3)."""
        xy = (np.array(points, np.float64).reshape(-1, 2) - 0.5) @ np.array(self.steps) + self.origin
        return np.column_stack([xy, np.zeros(len(xy))])

    def to_pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Convert (x, y, z) to (row, column), float64 (point, 2); z is ignored."""
        pixels: NDArray[np.float64] = (points[:, :2] - self.origin) @ np.linalg.inv(np.array(self.steps)) + 0.5
        return pixels


def read_matrix_placement(header: Dataset) -> MatrixPlacement | None:
    """Return the position of a level on the slide; None if its header does not state it."""
    origins, cosines = header.get("TotalPixelMatrixOriginSequence"), header.get("ImageOrientationSlide")
    size, frame = read_pixel_size(header), str(header.get("FrameOfReferenceUID") or "")
    if not origins or cosines is None or len(cosines) != 6 or size is None or not frame:
        return None
    right, down = np.array(cosines[:2], np.float64) * size.x_um / 1000, np.array(cosines[3:5]) * size.y_um / 1000
    if np.linalg.det([down, right]) == 0:
        return None
    origin = origins[0]
    try:
        x, y = float(origin.XOffsetInSlideCoordinateSystem), float(origin.YOffsetInSlideCoordinateSystem)
    except (AttributeError, TypeError, ValueError):
        return None
    return MatrixPlacement(frame, (x, y), (tuple(down.tolist()), tuple(right.tolist())))


def frame_corner(header: Dataset, number: int) -> tuple[int, int] | None:
    """Return (row, column) of the first pixel of a frame in the total pixel matrix; None if the header lacks it.

    ``number``: of the frame, from 1.
    """
    if header.get("DimensionOrganizationType") == "TILED_FULL":
        (height, width), rows, columns = matrix_size(header), int(header.Rows), int(header.Columns)
        across, down = -(-width // columns), -(-height // rows)
        index = (number - 1) % (across * down)  # every optical path and focal plane repeats the tiles
        return index // across * rows, index % across * columns
    try:
        position = header.PerFrameFunctionalGroupsSequence[number - 1].PlanePositionSlideSequence[0]
        return int(position.RowPositionInTotalImagePixelMatrix) - 1, (
            int(position.ColumnPositionInTotalImagePixelMatrix) - 1
        )
    except (AttributeError, IndexError):
        return None
