"""Read slides with OpenSlide, and check DICOM frames before, as OpenSlide crashes on damaged ones."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from itertools import chain, islice
from os import SEEK_END
from pathlib import Path
from textwrap import shorten
from threading import Lock
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import open_regular
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, identify_format
from napari_melanoma.io.tiff import TRUNCATED, is_truncated
from napari_melanoma.privacy.personal_data import filter_private_properties
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.reading.pyramids import remove_padding, stated_downsample
from napari_melanoma.slides.reading.slide import (
    SlideInfo,
    SlideKind,
    override_pixel_size,
    validate_scale,
)
from napari_melanoma.slides.reading.tiff import DARK_LEVEL, MAX_TILE_BYTES
from napari_melanoma.slides.reading.tiled import SlideExtras, TiledSlide, TileSource, describe_levels, fill_pyramid

if TYPE_CHECKING:
    from openslide import OpenSlide
    from PIL.Image import Image
    from pydicom import Dataset

TILE_PX = 512  # side of tiles if the format has none of a usual size
USUAL_TILE_PX = range(200, 1025)
_FORMATS = {
    "hamamatsu": "Hamamatsu NDPI",
    "mirax": "3DHISTECH MRXS",
    "leica": "Leica SCN",
    "ventana": "Ventana BIF",
    "philips-tiff": "Philips TIFF",
    "zeiss": "Zeiss CZI",
    "sakura": "Sakura SVSLIDE",
    "trestle": "Trestle TIFF",
    "dicom": "DICOM",
    "aperio": "Aperio SVS",
}
FINE_CAMERAS = ("mirax", "zeiss")  # vendors of scanners with 0.23 um at 20x
# TIFF tags of NDPI files: name of the fluorescence filter, offset of the focus in nanometers, and magnification, which
# is not positive in images of the whole glass
_NDPI_TAGS = _FILTER_TAG, _FOCUS_TAG, _MAGNIFICATION_TAG = 65434, 65424, 65421
_SAMPLE_PX = 256
_SINGLE_COLOR_SHARE = 0.1  # a color with less than this share of the strongest one is compression noise


class OpenSlideHandle:
    """Handle of OpenSlide that is reopened after an error, as OpenSlide otherwise repeats the error at each read."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, Lock()
        self.slide = self._open()

    def read(self, level: int, location: tuple[int, int], size: tuple[int, int]) -> Image:
        """Read a region with OpenSlide, as RGBA.

        ``location``: column and row in pixels of level 0. ``size``: width and height in pixels of the level.
        """
        from openslide import OpenSlideError

        slide = self.slide
        try:
            return slide.read_region(location, level, size)
        except OpenSlideError as error:
            with self._lock, suppress(OpenSlideError):  # not available now: the next read tries again
                if self.slide is slide:
                    self.slide = self._open()
            raise OSError(str(error)) from error

    def _open(self) -> OpenSlide:
        from openslide import OpenSlide

        return OpenSlide(self._path)


class OpenSlideSource(TileSource):
    """One level read with OpenSlide; ``single``: it is read as a single channel."""

    def __init__(self, handle: OpenSlideHandle, level: int, *, single: bool) -> None:
        width, height = handle.slide.level_dimensions[level]
        sides = [_tile_side(handle.slide.properties, level, axis) for axis in ("height", "width")]
        square = TILE_PX if None in sides else None
        super().__init__(height, width, square or sides[0] or TILE_PX, square or sides[1] or TILE_PX)
        self._handle, self._level, self._single = handle, level, single
        self._downsample = handle.slide.level_downsamples[level]

    def read_tile(self, row: int, column: int) -> NDArray[np.uint8]:
        """Read one tile; unscanned pixels are white."""
        height, width = self.size_of(row, column)
        location = (column * self.tile_width * self._downsample, row * self.tile_height * self._downsample)
        image = self._handle.read(self._level, (round(location[0]), round(location[1])), (width, height))
        pixels = rgba_over_white(image)
        return pixels.max(axis=2, keepdims=True) if self._single else pixels


def detect_vendor(path: Path) -> str | None:
    """Return the vendor of a file according to OpenSlide; None if it is unknown or the file cannot be read."""
    from openslide import OpenSlide, OpenSlideError

    try:
        return OpenSlide.detect_format(path)
    except OpenSlideError:
        return None


def rgba_over_white(image: Image) -> NDArray[np.uint8]:
    """Blend an RGBA image over white; returns uint8 (row, column, channel=3)."""
    from PIL import Image as PillowImage

    alpha = image.getchannel("A")
    rgb = image.convert("RGB")
    if alpha.getextrema() == (255, 255):
        return np.asarray(rgb)
    white = PillowImage.new("RGB", image.size, "white")
    return np.asarray(PillowImage.composite(rgb, white, alpha))


def open_with_openslide(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a slide with OpenSlide.

    ``pixel_size``: that of level 0, set by the user, which takes precedence over that in the file. The caller closes
    the slide.
    """
    from openslide import OpenSlideError

    spacings = check_dicom_frames(path) if detect_vendor(path) == "dicom" else {}
    try:
        handle = OpenSlideHandle(path)
        return _build_slide(path, handle, pixel_size, spacings)
    except OpenSlideError as error:
        reason = shorten(str(error), width=160, placeholder=" ...")
        raise UnreadableImage(
            f"{path.name} cannot be opened as a slide with OpenSlide: {reason}. It is truncated or damaged, or files "
            "that belong to it are missing. Copy it again with all its files."
        ) from error


def _build_slide(
    path: Path, handle: OpenSlideHandle, given: PixelSize | None, spacings: Mapping[tuple[int, int], Spacing]
) -> TiledSlide:
    """Build a slide; ``spacings``: pixel size of each level of a DICOM slide, by its width and height."""
    slide, properties = handle.slide, handle.slide.properties
    vendor = properties.get("openslide.vendor", "")
    kind, channels, colors = _detect_kind(path, handle)
    single = len(channels) == 1
    in_file = [OpenSlideSource(handle, n, single=single) for n in range(slide.level_count)]
    stated: list[Spacing] = [spacings.get(size, (None, None)) for size in slide.level_dimensions]
    remove_padding(in_file, [stated_downsample(stated[0], spacing) for spacing in stated])
    sources = fill_pyramid(in_file)
    power = _number_property(properties, "openslide.objective-power")
    um: Spacing = _number_property(properties, "openslide.mpp-y"), _number_property(properties, "openslide.mpp-x")
    height_mm, width_mm = stated[0]
    if height_mm is not None and width_mm is not None:  # OpenSlide 4.0.0 exchanges them
        um = 1000 * height_mm, 1000 * width_mm
    scale = override_pixel_size(validate_scale(*um, power, fine_camera=vendor in FINE_CAMERAS), given)
    info = SlideInfo(
        path=path,
        name=path.parent.name if vendor == "dicom" else path.stem,
        format=_FORMATS.get(vendor, vendor or "OpenSlide"),
        levels=describe_levels(sources),
        pixel_size=scale.pixel_size,
        magnification=scale.magnification,
        bounds=scanned_bounds(properties),
        kind=kind,
        channels=channels,
        colors=colors,
        properties=filter_private_properties(properties),
        associated=tuple(slide.associated_images),
        has_profile="openslide.icc-size" in properties,
        warnings=((TRUNCATED,) if is_truncated(path) else ()) + scale.warnings + _describe_focal_planes(path),
        scale_warnings=scale.warnings,
        fingerprint=slide_fingerprint(path),
    )
    extras = SlideExtras(
        partial(_read_profile, handle), lambda: handle.slide.close(), partial(_read_associated_image, handle)
    )
    return TiledSlide(info, [grid for grid, _ in sources], np.dtype(np.uint8), extras)


def _detect_kind(
    path: Path, handle: OpenSlideHandle
) -> tuple[SlideKind, tuple[str, ...], tuple[tuple[int, int, int], ...]]:
    """Detect whether a slide is brightfield or fluorescence; return also the names and colors of the channels.

    OpenSlide returns RGB for both; fluorescence is dark in the background. Hamamatsu scanners store one filter in
    shades of one color, which is one channel.
    """
    pixels = _read_sample(handle)
    if np.median(pixels.max(axis=2)) >= DARK_LEVEL:
        return "brightfield", ("red", "green", "blue"), ()
    strength = pixels.reshape(-1, 3).mean(axis=0)
    shown = [int(value) for value in np.where(strength > _SINGLE_COLOR_SHARE * strength.max(), 255, 0)]
    if sum(shown) == 255 or _filter_name(path):
        return "fluorescence", (_filter_name(path) or "fluorescence",), ((shown[0], shown[1], shown[2]),)
    return "fluorescence", ("red", "green", "blue"), ((255, 0, 0), (0, 255, 0), (0, 0, 255))


def _read_sample(handle: OpenSlideHandle) -> NDArray[np.uint8]:
    """Read a small part of the coarsest level around its center; white where unscanned."""
    slide = handle.slide
    level = slide.level_count - 1
    width, height = slide.level_dimensions[level]
    size = (min(width, _SAMPLE_PX), min(height, _SAMPLE_PX))
    ratio = slide.level_downsamples[level]
    corner = (round((width - size[0]) / 2 * ratio), round((height - size[1]) / 2 * ratio))
    return rgba_over_white(handle.read(level, corner, size))


def _filter_name(path: Path) -> str | None:
    pages = _read_ndpi_tags(path, 1)
    name = pages[0][_FILTER_TAG] if pages else None
    return name if isinstance(name, str) and name else None


def _read_ndpi_tags(path: Path, limit: int | None = None) -> list[dict[int, Any]]:
    """Read the tags of the first pages of an NDPI file, all by default; empty for other files, and for damaged ones."""
    from tifffile import TiffFile

    if path.suffix.lower() != ".ndpi":
        return []
    try:
        with path.open("rb") as file:
            head, size = file.read(12), file.seek(0, SEEK_END)
        has_long_offsets = int.from_bytes(head[4:], "little") < size  # those of small files may be as in any TIFF
        with TiffFile(path, is_ndpi=has_long_offsets) as tiff:
            pages = [page.aspage().tags for page in islice(tiff.pages, limit)]
            return [{tag: tags.valueof(tag) for tag in _NDPI_TAGS} for tags in pages]
    except DAMAGE_ERRORS:  # OpenSlide opens the file, and may read it
        return []


def _describe_focal_planes(path: Path) -> tuple[str, ...]:
    """Describe that only one of the focal planes of an NDPI file is read; empty for others."""
    pages = _read_ndpi_tags(path)
    heights = {int(tags[_FOCUS_TAG] or 0) for tags in pages if (tags[_MAGNIFICATION_TAG] or 0) > 0}
    if len(heights) < 2:
        return ()
    others = ", ".join(f"{height / 1000:g}" for height in sorted(heights - {0}))
    return (f"only the focal plane at 0 of {len(heights)} is shown; the others are at {others} um.",)


def _tile_side(properties: Mapping[str, str], level: int, axis: str) -> int | None:
    """Return height or width of the tiles in the file; None if it is unusual."""
    side = int(properties.get(f"openslide.level[{level}].tile-{axis}", 0))
    return side if side in USUAL_TILE_PX else None


def scanned_bounds(properties: Mapping[str, str]) -> Box | None:
    """Return the scanned area in pixels of level 0; None if the file does not state it."""
    names = ("openslide.bounds-y", "openslide.bounds-x", "openslide.bounds-height", "openslide.bounds-width")
    if not all(name in properties for name in names):
        return None
    top, left, height, width = (int(properties[name]) for name in names)
    return Box(top, left, height, width)


def _number_property(properties: Mapping[str, str], name: str) -> float | None:
    try:
        return float(properties.get(name, ""))
    except ValueError:
        return None


def _read_profile(handle: OpenSlideHandle) -> bytes | None:
    profile = handle.slide.color_profile
    return None if profile is None else profile.tobytes()


def _read_associated_image(handle: OpenSlideHandle, name: str) -> NDArray[np.uint8]:
    """Read an image that is stored with the slide, uint8 (row, column, channel=3)."""
    from openslide import OpenSlideError

    try:
        return rgba_over_white(handle.slide.associated_images[name])
    except OpenSlideError as error:
        raise OSError(str(error)) from error


# DICOM tags of pixel data and of an item, and an undefined length, as bytes.
_PIXELS, _ITEM, _UNDEFINED = b"\xe0\x7f\x10\x00", b"\xfe\xff\x00\xe0", b"\xff\xff\xff\xff"
_CHECKED_TAGS = [
    "SeriesInstanceUID",
    "Rows",
    "Columns",
    "NumberOfFrames",
    "ExtendedOffsetTable",
    "TotalPixelMatrixRows",
    "TotalPixelMatrixColumns",
    "SharedFunctionalGroupsSequence",
]
Spacing = tuple[float | None, float | None]  # height and width of a pixel
_ITEM_BYTES = 8  # tag and length before each frame
_BYTES_PER_PIXEL = 4  # of pixels decoded by OpenSlide


def check_dicom_frames(file: Path) -> dict[tuple[int, int], Spacing]:
    """Raise UnreadableImage if a DICOM slide has too many or too large frames, or frame offsets out of order.

    All files of the series in the same folder are checked, as OpenSlide reads all of them. Returns the pixel size of
    each level, by its width and height.
    """
    first, spacings = _read_frame_table(file), dict[tuple[int, int], Spacing]()
    if first is None:
        return spacings
    series = first[0].get("SeriesInstanceUID")
    others = (other for other in sorted(file.parent.iterdir()) if other != file and other.is_file())
    for path, table in chain([(file, first)], ((other, _read_frame_table(other)) for other in others)):
        if table is not None and table[0].get("SeriesInstanceUID") == series:
            _check_frame_size(path, table[0])
            _check_frame_order(path, table[1])
            size = table[0].get("TotalPixelMatrixColumns"), table[0].get("TotalPixelMatrixRows")
            spacings[size] = dicom_spacing(table[0])
    return spacings


def dicom_spacing(head: Dataset) -> Spacing:
    """Return height and width of a pixel of a level in millimeters; None if the header does not state them."""
    try:
        height, width = head.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing
        return float(height), float(width)
    except (AttributeError, IndexError, TypeError, ValueError):
        return None, None


def _read_frame_table(path: Path) -> tuple[Dataset, NDArray[np.uint64]] | None:
    """Read header and frame offsets of a DICOM file; None for other files, and if OpenSlide reports the error."""
    from pydicom import dcmread

    try:
        with open_regular(path) as content:
            if identify_format(content.read(HEAD_BYTES)) != "DICOM":
                return None
            content.seek(0)
            head = dcmread(content, stop_before_pixels=True, specific_tags=_CHECKED_TAGS)
            return head, _frame_offsets(head, content)
    except Exception:  # noqa: BLE001 - pydicom raises many kinds of errors; a file of another slide may not be readable
        return None


def _check_frame_size(path: Path, head: Dataset) -> None:
    """Raise UnreadableImage if a header states more or larger frames than the file can contain."""
    frames = int(head.get("NumberOfFrames") or 0)
    if frames > path.stat().st_size:  # memory is allocated for each
        raise UnreadableImage(
            f"{path.name} states {frames:,} frames, but has only {path.stat().st_size:,} bytes. It is damaged. Copy it "
            "again from its source."
        )
    rows, columns = int(head.get("Rows") or 0), int(head.get("Columns") or 0)
    if rows * columns * _BYTES_PER_PIXEL > MAX_TILE_BYTES:
        raise UnreadableImage(
            f"{path.name} states frames of {rows:,} x {columns:,} pixels, but at most {MAX_TILE_BYTES / 2**20:.0f} MB "
            "per frame are supported. It is damaged. Copy it again from its source."
        )


def _check_frame_order(path: Path, offsets: NDArray[np.uint64]) -> None:
    """Raise UnreadableImage if frames are not stored in order: OpenSlide crashes on a length of 0 or less."""
    before, after = offsets[:-1], offsets[1:]
    # Compared without a sum, which could overflow.
    wrong = ((after < before) | (after - before <= _ITEM_BYTES)).nonzero()[0]
    if wrong.size:
        raise UnreadableImage(
            f"{path.name} has a damaged table of frames: frame {int(wrong[0]) + 2} of {len(offsets)} starts before "
            "the end of the previous one. Copy the slide again from its source."
        )


def _frame_offsets(head: Dataset, content: BinaryIO) -> NDArray[np.uint64]:
    """Return the offsets of the compressed frames in bytes; empty if they are not compressed or not listed.

    ``content``: positioned at the pixel data element, where pydicom stopped.
    """
    if "ExtendedOffsetTable" in head:
        return np.frombuffer(head.ExtendedOffsetTable, "<u8")
    element, item = content.read(12), content.read(_ITEM_BYTES)
    if element[:4] != _PIXELS or element[8:] != _UNDEFINED or item[:4] != _ITEM:
        return np.empty(0, np.uint64)
    table = content.read(int.from_bytes(item[4:], "little"))
    return np.frombuffer(table[: len(table) // 4 * 4], "<u4").astype(np.uint64)
