"""Values in the JSON of annotations, which are checked where they are used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import DataSetError
from napari_melanoma.data.mask_areas import Size
from napari_melanoma.io.formats import MAX_PIXELS

if TYPE_CHECKING:
    from numpy.typing import NDArray

JSON_NAME = re.compile(r"[^.].*\.(?:geo)?json(?:\.gz)?", re.IGNORECASE)
_MIN_POINTS = 3
_MAX_COORDINATE = 1e9  # pixels; larger values are invalid and would overflow


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


def as_list(value: Any) -> list[Any]:  # noqa: ANN401
    """Return a list; empty for any other value."""
    return value if isinstance(value, list) else []
