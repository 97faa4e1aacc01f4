"""Read large images without a pyramid as slides: PNG, JPEG and uncompressed TIFF."""

from __future__ import annotations

import math
import mmap
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import IO

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import UnreadableImage
from napari_melanoma.core.files import temporary_prefix
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.io.color_conversion import apply_orientation_view
from napari_melanoma.io.formats import DAMAGE_ERRORS, HEAD_BYTES, MAX_PIXELS, identify_format
from napari_melanoma.io.photographs import read_image_size, read_photograph
from napari_melanoma.io.pillow_images import is_deep_png, open_lazily
from napari_melanoma.slides.reading.files import FileReader, slide_fingerprint
from napari_melanoma.slides.reading.slide import (
    SlideInfo,
    blend_over_white,
    override_pixel_size,
    validate_scale,
)
from napari_melanoma.slides.reading.tiled import SlideExtras, TiledSlide, TileSource, describe_levels, fill_pyramid

_SAMPLES = {"L": 1, "RGB": 3, "RGBA": 4}  # mode of Pillow to samples per pixel
TILE_PX = 512
BAND_ROWS = 64  # rows of a tile that are read and averaged at once
SAMPLED_ROWS = 4  # rows of the file that are averaged for a row of a coarser level, so that overviews read few of them
_DISK_RESERVE = 2**30  # bytes that must remain free on the disk
_ORIENTATION, _UPRIGHT = 274, 1  # Exif tag, and its value for an upright image


@dataclass(frozen=True)
class PixelBlock:
    """Contiguous pixels in a file; ``offset``: in bytes, ``shape``: (row, column, sample), ``dtype``: as stored."""

    reader: FileReader
    offset: int
    shape: tuple[int, int, int]
    dtype: np.dtype

    def read_line(self, row: int, left: int, right: int) -> NDArray:
        """Read a part of one line, (column, sample), in the stored type."""
        _, width, samples = self.shape
        pixel = samples * self.dtype.itemsize
        start = self.offset + (row * width + left) * pixel
        return np.frombuffer(self.reader.read(start, (right - left) * pixel), self.dtype).reshape(-1, samples)


def open_flat_image(path: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open a PNG or JPEG image as a slide; the caller closes it.

    These formats cannot be read in parts, so the image is decoded as a whole, into a temporary file instead of memory.
    The file is deleted when the slide is closed or the process ends.

    ``pixel_size``: set by the user, as these formats do not state a meaningful one.
    """
    folder = tempfile.TemporaryDirectory(prefix=temporary_prefix("slide"), ignore_cleanup_errors=True)
    try:
        block, profile, notes = _decode(path, Path(folder.name))
    except UnreadableImage as fault:
        folder.cleanup()
        raise UnreadableImage(f"{path.name} {fault}") from None
    except (*DAMAGE_ERRORS, MemoryError) as error:
        folder.cleanup()
        reason = shorten(str(error), width=160, placeholder=" ...")
        raise UnreadableImage(
            f"{path.name} cannot be decoded ({reason}): it is truncated or damaged. Copy or export it again."
        ) from error

    def close() -> None:
        block.reader.close()
        folder.cleanup()

    levels = fill_pyramid([FlatImageSource(block, _as_rgb)])
    scale = override_pixel_size(validate_scale(None, None), pixel_size)
    info = SlideInfo(
        path=path,
        name=path.stem,
        format="large image",
        levels=describe_levels(levels),
        pixel_size=scale.pixel_size,
        has_profile=profile is not None,
        warnings=(*scale.warnings, *notes),
        scale_warnings=scale.warnings,
        fingerprint=slide_fingerprint(path),
    )
    return TiledSlide(info, [grid for grid, _ in levels], np.dtype(np.uint8), SlideExtras(lambda: profile, close=close))


def _decode(path: Path, folder: Path) -> tuple[PixelBlock, bytes | None, tuple[str, ...]]:
    """Decode an image into a file of raw pixels.

    Returns the pixels, an ICC profile that is not applied yet, and notes on what was assumed.
    """
    size = read_image_size(path)
    if size is not None and size[0] * size[1] <= MAX_PIXELS:  # any mode, rotated upright, converted to sRGB
        photograph = read_photograph(path)
        photograph.rgb.tofile(folder / "pixels")
        return _open_block(folder / "pixels", photograph.rgb.shape), None, photograph.notes
    with path.open("rb") as file:
        kind = identify_format(file.read(HEAD_BYTES))
        file.seek(0)
        image = open_lazily(file, kind or "JPEG")
        if kind == "PNG" and is_deep_png(path):
            raise UnreadableImage(
                f"has 16 bits per channel, but PNG images of more than {MAX_PIXELS / 1e6:.0f} million pixels are "
                "supported only with 8 bits. Save it as a tiled TIFF."
            )
        if kind not in ("JPEG", "PNG") or image.mode not in _SAMPLES:
            raise UnreadableImage(
                f"is a {kind} image of mode {image.mode}, but images of more than {MAX_PIXELS / 1e6:.0f} million "
                "pixels are supported only as PNG or JPEG with 8-bit gray, RGB or RGBA. Save it as a tiled TIFF."
            )
        shape = (image.height, image.width, _SAMPLES[image.mode])
        needed, free = math.prod(shape), shutil.disk_usage(folder).free
        if needed + _DISK_RESERVE > free:
            raise UnreadableImage(
                f"needs {needed / 1e9:.1f} GB when decoded, but {folder.parent} has {free / 1e9:.1f} GB free. Free "
                "some space, or save it as a tiled TIFF, which needs no temporary space."
            )
        profile, orientation = image.info.get("icc_profile"), image.getexif().get(_ORIENTATION, _UPRIGHT)
        pixels = _decode_to_memmap(file, kind, folder / "unpacked", shape)
    if orientation == _UPRIGHT:
        return _open_block(folder / "unpacked", shape), profile, ()
    view = apply_orientation_view(pixels, orientation)
    upright = np.memmap(folder / "pixels", np.uint8, "w+", shape=view.shape)
    np.copyto(upright, view)
    return _open_block(folder / "pixels", view.shape), profile, ()


def _decode_to_memmap(file: IO[bytes], kind: str, target: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """Decode an open file into a memory-mapped file, uint8 (row, column, sample), which needs little memory."""
    import imagecodecs

    pixels = np.memmap(target, np.uint8, "w+", shape=shape)
    decode = imagecodecs.png_decode if kind == "PNG" else imagecodecs.jpeg8_decode
    with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as compressed:
        decode(compressed, out=pixels if shape[2] > 1 else pixels[..., 0])
    pixels.flush()
    return pixels


def _open_block(path: Path, shape: tuple[int, ...]) -> PixelBlock:
    return PixelBlock(FileReader(path), 0, (shape[0], shape[1], shape[2]), np.dtype(np.uint8))


def _as_rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Convert gray, RGB or RGBA to RGB, blended over white."""
    return blend_over_white(pixels) if pixels.shape[2] > 1 else np.repeat(pixels, 3, axis=2)


class FlatImageSource(TileSource):
    """A level of an uncompressed image, at its own resolution or coarser by an integer factor.

    Lines are read, not mapped into memory: if a mapped file is truncated or its drive is lost, the process is killed.

    ``convert``: conversion of samples to pixels of the slide. ``step``: pixels of the file along one pixel of the
    level.
    """

    def __init__(self, block: PixelBlock, convert: Callable[[NDArray], NDArray], step: int = 1) -> None:
        height, width = (math.ceil(side / step) for side in block.shape[:2])
        super().__init__(height, width, TILE_PX, TILE_PX)
        self._block, self._convert, self.step = block, convert, step

    def half_resolution(self) -> FlatImageSource:
        """Return the same image at half the resolution."""
        return FlatImageSource(self._block, self._convert, 2 * self.step)

    def read_tile(self, row: int, column: int) -> NDArray:
        """Read one tile line by line; the lines of a coarser level are averaged."""
        height, width = self.size_of(row, column)
        top, left = row * TILE_PX * self.step, column * TILE_PX * self.step
        right = min(left + width * self.step, self._block.shape[1])
        bands = [
            self._band(top + first * self.step, min(BAND_ROWS, height - first), left, right)
            for first in range(0, height, BAND_ROWS)
        ]
        return self._convert(np.concatenate(bands))

    def _band(self, top: int, height: int, left: int, right: int) -> NDArray:
        """Read some rows of a tile, each the average of lines; only some, as the lines of coarse levels are long.

        ``top``, ``left``, ``right``: in pixels of the file. ``height``: in rows of the tile.
        """
        offsets = range(0, self.step, max(1, self.step // SAMPLED_ROWS))
        last = self._block.shape[0] - 1
        numbers = [min(top + index * self.step + offset, last) for index in range(height) for offset in offsets]
        lines = np.stack([self._block.read_line(number, left, right) for number in numbers])
        lines = lines.astype(self._block.dtype.newbyteorder("="), copy=False)
        if self.step == 1:
            return lines
        averaged = _average_columns(lines, self.step)
        total = averaged.reshape(height, len(offsets), *averaged.shape[1:]).sum(axis=1, dtype=_sum_dtype(lines.dtype))
        return _divide(total, np.uint32(len(offsets))).astype(lines.dtype)


def _average_columns(lines: NDArray, step: int) -> NDArray:
    """Average every ``step`` columns; fewer at the end.

    ``lines``: (row, column, sample).
    """
    if lines.dtype == np.uint8 and lines.shape[2] == 3:
        from PIL import Image

        return np.asarray(Image.fromarray(lines).reduce((step, 1)))  # many times as fast as numpy
    starts = np.arange(0, lines.shape[1], step)
    lengths = np.diff(starts, append=lines.shape[1]).astype(np.uint32)
    sums = np.add.reduceat(lines, starts, axis=1, dtype=_sum_dtype(lines.dtype))
    return _divide(sums, lengths[:, None]).astype(lines.dtype)


def _sum_dtype(dtype: np.dtype) -> np.dtype:
    return np.dtype(np.float64 if dtype.kind == "f" else np.uint32)


def _divide(sums: NDArray, counts: NDArray[np.uint32] | np.uint32) -> NDArray:
    """Divide sums by counts; quotients of integers are rounded."""
    return sums / counts if sums.dtype.kind == "f" else (sums + counts // 2) // counts
