"""Names and formats of result files: masks, probabilities, labels, tables, arrays and ``result.json``."""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from numbers import Integral, Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.csv_files import CsvError, CsvReader, CsvWriter, read_csv_dicts
from napari_melanoma.core.errors import InputError, UnreadableImage
from napari_melanoma.core.files import atomic_file, open_regular
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, Format, identify_format
from napari_melanoma.io.pillow_images import open_undamaged, read_opaque_values

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

# Level 1 with run lengths and one filter writes a 6 Mpx overlay in 0.11 s (Pillow at its level 1: 0.43 s) and a mask in
# 7 ms, with the same file sizes; filter Up is best for smooth gray, Paeth for color.
_PNG_LEVEL, _PNG_RUN_LENGTHS, _PNG_UP, _PNG_PAETH = 1, 3, 0x20, 0x80
_SIGNIFICANT_DIGITS = 6

RESULT, TISSUE, HEATMAP = "result.json", "tissue.png", "heatmap.ome.tif"
LESIONS, OUTLINES, CLASS_REGIONS = "lesions.csv", "lesions.geojson", "classes.geojson"
POINTING_FILES = ("pointing.csv", "pointing.json")
RISK_TABLE, RISK_FILE = "risk.csv", "risk.json"
SOURCE = "slide.json"  # records the slide of a result folder
_AREA, _AREA_SIDES = "scanned_area_px", {"y": "top", "x": "left", "height": "height", "width": "width"}


def write_mask(path: Path, mask: NDArray[np.bool_]) -> None:
    """Write a mask as 8-bit gray PNG, 255 inside and 0 outside.

    ``mask``: bool (row, column).
    """
    _write_png(path, np.asarray(mask, dtype=bool).astype(np.uint8) * np.uint8(255))


def write_probability(path: Path, probability: NDArray[np.float32]) -> None:
    """Write a probability as 8-bit gray PNG, 0 as black and 1 as white.

    ``probability``: float (row, column) from 0 to 1; values outside are clipped.
    """
    _write_png(path, np.rint(np.clip(probability, 0.0, 1.0) * 255.0).astype(np.uint8))


def write_rgb(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write an image as PNG.

    ``rgb``: uint8 (row, column, channel=3), sRGB.
    """
    _write_png(path, rgb)


def read_mask(path: Path) -> NDArray[np.bool_]:
    """Read a mask from a PNG, JPEG, BMP or WebP with the values 0 and 255, as from ``write_mask``, or 0 and 1.

    Returns bool (row, column): values above 127, or above 0 if all others are equal, and of more than 8 bits above half
    of the largest; False where it is transparent. Raises ``UnreadableImage`` for several values that are all dark, as
    of a label image: its classes would be no lesion.
    """
    try:
        with _open_image(path, ("PNG", "JPEG", "BMP", "WebP")) as image:
            is_deep = image.mode.startswith("I")  # Pillow would clip the values to 8 bits
            is_exact = image.format != "JPEG"
            values = read_opaque_values(image, image.mode if is_deep else "L")
    except DAMAGE_ERRORS as error:
        raise UnreadableImage(
            f"{path} cannot be read as a mask ({error}): expected a PNG with 0 outside and 255 inside. "
            "Save the mask again."
        ) from error
    largest = int(values.max(initial=0))
    if not is_deep and not ((values > 0) & (values < largest)).any():
        return values > 0
    if is_exact and not is_deep and largest <= 127:
        raise UnreadableImage(
            f"{path} cannot be read as a mask: its values up to {largest} are those of a label image of several "
            "classes. Import it with the values of the lesion (napari-melanoma data import folder DIR --values 1)."
        )
    return values > (largest // 2 if is_deep else 127)


def write_labels(path: Path, labels: NDArray[np.uint8]) -> None:
    """Write a label image as 8-bit gray PNG, with the class number as value.

    ``labels``: uint8 (row, column).
    """
    _write_png(path, np.asarray(labels, dtype=np.uint8))


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read a label image from a PNG, BMP or lossless WebP: one 8-bit value per pixel, the class number.

    Returns uint8 (row, column), as stored; 0 where it is transparent.
    """
    try:
        with _open_image(path, ("PNG", "BMP", "WebP")) as image:
            values = read_opaque_values(image, {"RGBA": "RGB", "LA": "L"}.get(image.mode, image.mode))
            if image.mode == "1":
                values = values.astype(np.uint8)
            elif image.mode not in ("L", "P", "LA"):
                values = _read_gray(values)
    except DAMAGE_ERRORS as error:
        raise UnreadableImage(
            f"{path} cannot be read as a label image ({error}): expected an 8-bit PNG with one value per pixel, the "
            "class number. Save the labels again."
        ) from error
    return values


@contextmanager
def _open_image(path: Path, formats: tuple[Format, ...]) -> Iterator[ImageFile]:
    """Open an undamaged image of one of several formats."""
    with open_regular(path) as file:
        kind = identify_format(file.read(HEAD_BYTES))
        file.seek(0)
        if kind not in formats:
            raise ValueError(f"found {kind or 'no image'}")
        with open_undamaged(file, kind) as image:
            yield image


def _read_gray(values: NDArray) -> NDArray[np.uint8]:
    """Return the gray values of an image stored with three or four channels; raise ``ValueError`` for colors."""
    colors = values[..., :3] if values.ndim == 3 and values.shape[2] >= 3 else None
    if colors is None or values.dtype != np.uint8 or (colors != colors[..., :1]).any():
        raise ValueError("found colors, or more than 8 bits")
    return colors[..., 0]


def write_table(
    path: Path,
    rows: Iterable[Mapping[str, object]],
    columns: Sequence[str] | None = None,
    exact: Collection[str] = (),
) -> None:
    """Write rows as CSV: UTF-8, with a header line, commas (tabs in a file .tsv) and line feeds.

    Floating-point numbers have six significant digits and no exponent, and integers all digits, so that spreadsheets
    and pandas read the same values. ``None`` and NaN are empty cells; booleans are ``true`` and ``false``.

    ``columns``: by default all keys of the rows, in the order of their first occurrence. ``exact``: columns of numbers
    with all digits, as they are read again and compared with a threshold.
    """
    if columns is None:
        rows = list(rows)
        columns = list(dict.fromkeys(key for row in rows for key in row))
    text = io.StringIO()
    table = CsvWriter(text, _delimiter(path))
    table.write_row(columns)
    formats = [_format_exactly if column in exact else format_cell for column in columns]
    table.write_rows([form(row.get(column)) for form, column in zip(formats, columns, strict=True)] for row in rows)
    with atomic_file(path) as temporary:
        # A file name that is not valid Unicode must not prevent writing the table.
        temporary.write_bytes(text.getvalue().encode("utf-8", "backslashreplace"))


def _delimiter(path: Path) -> str:
    return "\t" if path.suffix == ".tsv" else ","


def check_replaceable(path: Path, columns: Collection[str]) -> None:
    """Raise if ``path`` exists and is not a table of these columns, such as the table of a data set."""
    if not path.exists():
        return
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            header = next(CsvReader(file, _delimiter(path)), [])
    except (OSError, UnicodeDecodeError, CsvError):
        header = [""]
    if not set(header) <= set(columns):
        raise InputError(f"{path} exists, and is another table or file, which would be lost. Name another file.")


def read_table(path: Path) -> list[dict[str, str]]:
    """Read a CSV table as a dict per row, column name to text; "" for empty cells."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(read_csv_dicts(file, strict=True))
    except FileNotFoundError as error:
        raise InputError(f"there is no file {path}: expected a CSV table in UTF-8.") from error
    except (OSError, UnicodeDecodeError, CsvError) as error:
        raise InputError(
            f"{path} cannot be read as a table ({error}): expected CSV in UTF-8. Save it again."
        ) from error
    for number, row in enumerate(rows, start=1):
        if None in row:
            raise InputError(f"{path}: row {number} has more cells than the header. Quote cells that contain commas.")
    return rows


def encode_png(pixels: NDArray[np.uint8]) -> bytes:
    """Encode an image as PNG: uint8 (row, column), or (row, column, channel=3) in sRGB."""
    import imagecodecs

    encoded = imagecodecs.png_encode(
        np.ascontiguousarray(pixels),
        level=_PNG_LEVEL,
        strategy=_PNG_RUN_LENGTHS,
        filter=_PNG_UP if pixels.ndim == 2 else _PNG_PAETH,
    )
    return bytes(encoded)


def _write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write an image as PNG; it is encoded before the file is created."""
    encoded = encode_png(pixels)
    with atomic_file(path) as temporary:
        temporary.write_bytes(encoded)


def format_cell(value: object) -> str:
    """Format one cell of a table as ``write_table`` does."""
    if value is None:
        return ""
    if isinstance(value, float):
        return _format_number(float(value))
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, Real) and not isinstance(value, Integral):
        return _format_number(float(value))
    return str(value)


def _format_exactly(value: object) -> str:
    """Format one cell like ``format_cell``, a number with all digits that distinguish it from others."""
    if isinstance(value, float) and math.isfinite(value):
        return np.format_float_positional(value + 0.0, trim="-")
    return format_cell(value)


def _format_number(value: float) -> str:
    """Format a number with six significant digits, or more if it has more before the point, and no exponent."""
    if not math.isfinite(value):
        return "" if math.isnan(value) else str(value)
    digits = max(_SIGNIFICANT_DIGITS, len(str(abs(int(value)))))
    text = f"{value + 0.0:.{digits}g}"  # six times faster than NumPy, whose digits are the same
    if "e" not in text:
        return text
    return np.format_float_positional(value + 0.0, precision=digits, unique=False, fractional=False, trim="-")


def read_risk_prediction(path: Path) -> dict[str, Any]:
    """Read a risk prediction (``risk.json``); empty if it does not exist or cannot be read."""
    return rename_keys("risk", read_object_or_empty(path))


def read_slide_result(folder: Path) -> dict[str, Any]:
    """Read ``result.json`` of a slide; empty if the analysis is unfinished or the file cannot be read."""
    return read_object_or_empty(folder / RESULT)


def describe_scanned_area(area: Box | None) -> dict[str, Any]:
    """Return the entry of ``slide.json`` for the scanned area of a slide; none if the slide states no area."""
    return {} if area is None else {_AREA: {side: getattr(area, name) for side, name in _AREA_SIDES.items()}}


def read_scanned_area(folder: Path) -> Box | None:
    """Return the scanned area of the slide of a result folder, in pixels of the finest level; None if unknown."""
    stated: Any = read_object_or_empty(folder / SOURCE).get(_AREA)
    try:
        return Box(**{name: int(stated[side]) for side, name in _AREA_SIDES.items()})
    except (KeyError, TypeError, ValueError):
        return None


def read_origin(folder: Path) -> tuple[int, int]:
    """Return row and column of the corner of the scanned area, from which GeoJSON files are counted."""
    area = read_scanned_area(folder)
    return (0, 0) if area is None else (area.top, area.left)
