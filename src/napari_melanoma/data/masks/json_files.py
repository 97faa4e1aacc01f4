"""Reading JSON that somebody else wrote: every value that is not as expected becomes one error that says where."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core import parsing
from napari_melanoma.core.errors import DataSetError, MalformedFile
from napari_melanoma.data.masks.areas import Size
from napari_melanoma.io.formats import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

SUFFIXES = (".json", ".geojson")
_MIN_POINTS = 3
_MAX_BYTES = 2**30  # annotations of a large data set in one file
_MAX_COORDINATE = 1e9  # pixels; farther points are nonsense, and arithmetic with them overflows


def read_json(path: Path) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """Read a JSON file."""
    try:
        return parsing.read_json(path, _MAX_BYTES)
    except (OSError, MalformedFile) as error:
        raise DataSetError(
            f"{path} cannot be read as JSON ({parsing.parse_error_reason(error)}). Export the annotations again."
        ) from error


def list_json_files(path: Path) -> list[Path]:
    """List the JSON files that a path stands for.

    Sorted; hidden ones are left out.
    """
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES and not file.name.startswith("."))


def get_value(values: Any, key: str, kind: type | tuple[type, ...], where: str) -> Any:  # noqa: ANN401
    """Take a value out of an object, if it is there and of the right kind."""
    found = values.get(key) if isinstance(values, dict) else None
    if not isinstance(found, kind) or (isinstance(found, bool) and kind is not bool):
        names = " or ".join(one.__name__ for one in (kind if isinstance(kind, tuple) else (kind,)))
        raise DataSetError(f"{where}: expected '{key}' of type {names}, found {type(found).__name__}.")
    return found


def parse_ring(points: Any, where: str) -> NDArray[np.float64] | None:  # noqa: ANN401
    """Read the points of an outline.

    Returns float64 (point, 2) in (row, column); None where there are too few points to enclose anything.
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
    """Read the size of an image.

    Returns rows and columns; None where they are no size that a photograph could have.
    """
    are_sides = all(isinstance(side, int) and not isinstance(side, bool) and side > 0 for side in (rows, columns))
    return (rows, columns) if are_sides and rows * columns <= MAX_PIXELS else None


def find_text(values: Any, *keys: str) -> str:  # noqa: ANN401
    """Give the first text found under some keys.

    Returns "" where there is none.
    """
    found = [values.get(key) for key in keys] if isinstance(values, dict) else []
    return next((str(one).strip() for one in found if isinstance(one, str | int) and not isinstance(one, bool)), "")
