"""Read OME-Zarr images as slides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import MalformedFile, UnreadableImage
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.paths import UnsafePath
from napari_melanoma.io.color_conversion import describe_dtype
from napari_melanoma.io.formats import DAMAGE_ERRORS
from napari_melanoma.io.zarr import ConfinedStore, check_metadata
from napari_melanoma.slides.reading.files import image_name, slide_fingerprint
from napari_melanoma.slides.reading.pyramids import remove_padding, stated_downsample
from napari_melanoma.slides.reading.slide import (
    ScaleInfo,
    SlideInfo,
    override_pixel_size,
    read_lengths_um,
    to_finite_float32,
    validate_scale,
)
from napari_melanoma.slides.reading.tiff import PRIMARIES, is_bright
from napari_melanoma.slides.reading.tiff_series import AXIS_WORDS
from napari_melanoma.slides.reading.tiled import TiledSlide, TileSource, describe_levels, fill_pyramid

if TYPE_CHECKING:
    from zarr import Array, Group

ColorRGB = tuple[int, int, int]
MAX_COUNTED_CHUNKS = 1_000_000
RGB = ("red", "green", "blue")
_TILE_PX = range(128, 2049)  # chunks of other sizes are read as tiles of ``_DEFAULT_PX``
_DEFAULT_PX = 512
_AXES = "tczyx"  # the axes of version 0.2, which does not name them


class ZarrSource(TileSource):
    """One level of an OME-Zarr image."""

    def __init__(self, array: Array, axes: Sequence[str]) -> None:
        sides = {axis: (length, chunk) for axis, length, chunk in zip(axes, array.shape, array.chunks, strict=True)}
        (height, chunk_height), (width, chunk_width) = sides["y"], sides["x"]
        tile_height, tile_width = (chunk if chunk in _TILE_PX else _DEFAULT_PX for chunk in (chunk_height, chunk_width))
        super().__init__(height, width, tile_height, tile_width)
        self._array, self._axes = array, tuple(axes)
        self.dtype = np.dtype(np.float32) if array.dtype.kind == "f" else array.dtype

    def read_tile(self, row: int, column: int) -> NDArray:
        height, width = self.size_of(row, column)
        top, left = row * self.tile_height, column * self.tile_width
        slices = {"y": slice(top, top + height), "x": slice(left, left + width), "c": slice(None)}
        # Of other axes, the first plane is read.
        pixels = np.asarray(self._array[tuple(slices.get(axis, 0) for axis in self._axes)])
        axes = [axis for axis in self._axes if axis in slices]
        if "c" not in axes:
            axes, pixels = [*axes, "c"], pixels[..., None]
        tile = np.ascontiguousarray(pixels.transpose([axes.index(axis) for axis in "yxc"]))
        return to_finite_float32(tile) if tile.dtype.kind == "f" else tile


def open_zarr(folder: Path, pixel_size: PixelSize | None = None) -> TiledSlide:
    """Open an OME-Zarr folder as a slide.

    ``pixel_size``: that of level 0, set by the user, which takes precedence over the metadata. The caller closes the
    slide.
    """
    import zarr

    try:
        check_metadata(folder)
        group = zarr.open_group(ConfinedStore(folder), mode="r")
        return _build_slide(folder, group, pixel_size)
    except UnsafePath as fault:
        raise UnreadableImage(str(fault)) from None
    except UnreadableImage as fault:
        raise UnreadableImage(f"{_image_name(folder)} {fault}") from None
    except MalformedFile as fault:
        raise UnreadableImage(f"{_image_name(folder)} cannot be opened as a slide: {fault}") from fault
    except DAMAGE_ERRORS as error:
        reason = shorten(str(error), width=160, placeholder=" ...")
        raise UnreadableImage(
            f"{_image_name(folder)} cannot be opened as a slide: expected an OME-Zarr image, but its metadata or "
            f"arrays cannot be read ({reason}). Copy the whole folder again, or select the folder of the image within "
            "it."
        ) from error


def _build_slide(folder: Path, group: Group, given: PixelSize | None) -> TiledSlide:
    attributes: dict[str, Any] = dict(group.attrs)
    metadata = attributes.get("ome", attributes)
    multiscale = _first_multiscale(metadata)
    axes = _read_axes(multiscale, group)
    levels_stated = [(_get_array(group, dataset["path"]), dataset) for dataset in multiscale["datasets"]]
    levels_stated.sort(key=lambda level: -math.prod(level[0].shape[axes.index(axis)] for axis in "yx"))
    arrays, datasets = [array for array, _ in levels_stated], [dataset for _, dataset in levels_stated]
    sources = [ZarrSource(array, axes) for array in arrays]
    dtype = sources[0].dtype
    kind, channels, colors = _read_channels(metadata, sources, dtype)
    factors = [_read_factors(multiscale, axes, dataset) for dataset in datasets]
    omitted = _describe_omitted(metadata, axes, arrays[0].shape)
    remove_padding(sources, [stated_downsample(factors[0], factor) for factor in factors])
    levels = fill_pyramid(sources)
    scale = override_pixel_size(_read_scale(multiscale, axes, factors[0]), given)
    info = SlideInfo(
        path=folder,
        name=image_name(folder).removesuffix(".zarr").removesuffix(".ome"),
        format="OME-Zarr",
        levels=describe_levels(levels),
        pixel_size=scale.pixel_size,
        kind=kind,
        channels=channels,
        colors=colors,
        warnings=(*scale.warnings, *omitted, *_describe_missing_chunks(arrays)),
        scale_warnings=scale.warnings,
        fingerprint=slide_fingerprint(folder),
    )
    return TiledSlide(info, [grid for grid, _ in levels], dtype)


def _first_multiscale(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    images = metadata.get("multiscales")
    if not images or not images[0].get("datasets"):
        raise UnreadableImage(
            "is a Zarr folder without a multiscale image (`multiscales`), as required by OME-Zarr. Select the folder "
            "of the image within it, or export it again as OME-Zarr."
        )
    return images[0]


def _get_array(group: Group, path: str) -> Array:
    from zarr import Array

    array = group[path]
    if not isinstance(array, Array):
        raise UnreadableImage(f"lists {path} as a level, but it is not an array. Copy the whole folder again.")
    return array


def _describe_omitted(metadata: Mapping[str, Any], axes: Sequence[str], shape: Sequence[int]) -> tuple[str, ...]:
    """Describe planes and images that are not read."""
    planes = [
        f"only the first of {length} {AXIS_WORDS.get(axis.upper(), f'planes ({axis})')} is shown."
        for axis, length in zip(axes, shape, strict=True)
        if axis not in "cyx" and length > 1
    ]
    images = len(metadata["multiscales"])
    return (*planes, *([f"only the first of {images} images of the folder is shown."] if images > 1 else []))


def _describe_missing_chunks(arrays: Sequence[Array]) -> tuple[str, ...]:
    """Describe how many chunks are not stored: writers omit those of one value, and copies may lose others."""
    # Zarr lists the name of every chunk: of an array that claims a giant shape, this would take for ever.
    missing = [
        array.nchunks - array.nchunks_initialized if array.nchunks <= MAX_COUNTED_CHUNKS else 0 for array in arrays
    ]
    if not any(missing):
        return ()
    counts = ", ".join(
        f"{count:,} of {array.nchunks:,} (level {level})"
        for level, (count, array) in enumerate(zip(missing, arrays, strict=True))
        if count > 0
    )
    return (
        f"parts of the image are not stored, and read as {arrays[0].fill_value}: {counts} chunks. Some programs leave "
        "out empty parts; if the image has gaps, copy the whole folder again.",
    )


def _read_axes(multiscale: Mapping[str, Any], group: Group) -> list[str]:
    """Return the names of the axes, for any version of OME-Zarr."""
    ndim = _get_array(group, multiscale["datasets"][0]["path"]).ndim
    named = _list_axes(multiscale) or list(_AXES[-ndim:])
    axes = [axis["name"] if isinstance(axis, Mapping) else str(axis) for axis in named]
    if not {"y", "x"} <= set(axes) or len(axes) != ndim:
        raise UnreadableImage(
            f"has axes {', '.join(axes)}, but an image must have y and x. Export it again as OME-Zarr."
        )
    return axes


def _list_axes(multiscale: Mapping[str, Any]) -> Sequence[Any]:
    """Return the axes as stated, from version 0.6 on those of the coordinate system of the levels; empty before 0.3."""
    systems = multiscale.get("coordinateSystems")
    if not systems:
        return multiscale.get("axes") or ()
    stated = multiscale["datasets"][0].get("coordinateTransformations") or [{}]
    output = stated[0].get("output")
    name = output.get("name") if isinstance(output, Mapping) else output
    axes: Sequence[Any] = next((one for one in systems if one.get("name") == name), systems[0])["axes"]
    return axes


def _image_name(folder: Path) -> str:
    """Name an image in messages: by its folder, with that of the Zarr folder that contains it."""
    return f"{folder.parent.name}/{folder.name}" if folder.parent.suffix == ".zarr" else folder.name


def _read_channels(
    metadata: Mapping[str, Any], sources: Sequence[ZarrSource], dtype: np.dtype
) -> tuple[Any, tuple[str, ...], tuple[ColorRGB, ...]]:
    """Return the kind of the slide, names and colors of the channels.

    Red, green and blue of 8 bits are brightfield if the image is bright.
    """
    if dtype not in (np.uint8, np.uint16, np.float32):
        raise UnreadableImage(
            f"has {describe_dtype(dtype)}, but a slide must have 8- or 16-bit unsigned integers or floating-point "
            "samples. Convert it to one of these types."
        )
    number = sources[0].read_tile(0, 0).shape[2]
    stated = (metadata.get("omero") or {}).get("channels") or []
    colors = tuple(_parse_hex_color(channel.get("color", "")) for channel in stated)
    if number == 3 and dtype == np.uint8 and colors in ((), PRIMARIES) and is_bright(sources[-1]):
        return "brightfield", RGB, ()
    if len(stated) != number:
        return "fluorescence", tuple(f"channel {index + 1}" for index in range(number)) if number > 1 else ("gray",), ()
    names = tuple(str(channel.get("label") or f"channel {index}") for index, channel in enumerate(stated, start=1))
    return "fluorescence", names, colors


def _parse_hex_color(text: str) -> ColorRGB:
    """Parse a color of six hexadecimal digits; white if it is invalid."""
    try:
        value = int(text.removeprefix("#")[:6], 16)
    except ValueError:
        return 255, 255, 255
    return value >> 16, value >> 8 & 255, value & 255


def _read_scale(multiscale: Mapping[str, Any], axes: Sequence[str], factors: Sequence[float | None]) -> ScaleInfo:
    described = _list_axes(multiscale) or [None] * len(axes)
    units = [axis.get("unit") if isinstance(axis, Mapping) else None for axis in described]
    y_unit, x_unit = (units[axes.index(axis)] for axis in "yx")
    if not y_unit or not x_unit:
        return validate_scale(None, None)
    stated = [None if factor is None else str(factor) for factor in factors]
    (y_um, x_um), unusable = read_lengths_um(stated, (y_unit, x_unit))
    return validate_scale(y_um, x_um, origin="OME metadata", unusable=unusable)


def _read_factors(multiscale: Mapping[str, Any], axes: Sequence[str], dataset: Mapping[str, Any]) -> list[float | None]:
    """Return height and width of a pixel of a level, by its scale and that of the whole image; None if not stated."""
    stated = list(dataset.get("coordinateTransformations") or ())
    if not multiscale.get("coordinateSystems"):  # from version 0.6 on, those of the image lead to other systems
        stated += multiscale.get("coordinateTransformations") or ()
    factors = _multiply_scales(stated, len(axes))
    return [None if factors is None else factors[axes.index(axis)] for axis in "yx"]


def _multiply_scales(transformations: Sequence[Mapping[str, Any]], ndim: int) -> list[float] | None:
    """Return the scale of each axis after all transformations; None if none is a scale, or one is not understood."""
    scales: list[Sequence[float] | None] = []
    for transformation in transformations:
        kind = transformation.get("type")
        if kind == "sequence":
            scales.append(_multiply_scales(transformation["transformations"], ndim))
        elif kind == "scale":
            scales.append(transformation["scale"])
        elif kind not in ("identity", "translation"):
            return None
    if not scales or None in scales:
        return None
    return [math.prod(factors) for factors in zip([1.0] * ndim, *filter(None, scales), strict=True)]
