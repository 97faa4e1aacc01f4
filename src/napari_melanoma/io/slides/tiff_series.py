"""Which pages of a TIFF file are the slide, from fine to coarse, and which are pictures beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from napari_melanoma.core.errors import UnreadableImage

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

_SAME_SHAPE = 0.02  # levels are cut to whole pixels
_PLANE_AXES = {"Y", "X", "S"}
_AXIS_WORDS = {"Z": "focal planes", "T": "points in time"}


@dataclass(frozen=True)
class Planes:
    """The pages of one level, one for each channel where they are apart, and what was left out of a stack."""

    pages: tuple[TiffPage, ...]
    left_out: tuple[str, ...] = ()


def main_and_others(tiff: TiffFile) -> tuple[list[TiffPageSeries], dict[str, TiffPageSeries]]:
    """Tell the slide's levels from the pictures beside it.

    Of the image with the most pixels, from fine to coarse. Label, macro and the like by name, in lower case.
    """
    found = [series for series in tiff.series if {"Y", "X"} <= set(series.axes) and min(_size(series)) > 0]
    if not found:
        raise UnreadableImage(
            "cannot be opened as a slide: it holds no image with rows and columns, so it is truncated or damaged. "
            "Copy it again from its source."
        )
    main = max(found, key=lambda series: _size(series)[0] * _size(series)[1])
    levels, others = list(main.levels), [series for series in found if series is not main]
    if len(levels) == 1:
        levels += [series for series in others if _is_smaller_copy(series, main)]
        others = [series for series in others if series not in levels]
    levels.sort(key=_size, reverse=True)
    names = [series.name.lower() or f"image {index}" for index, series in enumerate(others, start=1)]
    return levels, dict(zip(names, others, strict=True))


def planes_of(level: TiffPageSeries) -> Planes:
    """Pick the pages of a level: all channels, and the first plane of what else is stacked.

    Returns the pages; with a warning where focal planes or points in time were left out.
    """
    stacked = [(axis, length) for axis, length in zip(level.axes, level.shape, strict=True) if axis not in _PLANE_AXES]
    if len(level.pages) == 1:
        return Planes((level.keyframe,))
    numbers = np.arange(len(level.pages)).reshape([length for _, length in stacked])
    left_out = []
    for axis, length in reversed(stacked):
        if axis == "C":
            continue
        position = [name for name, _ in stacked].index(axis)
        if length > 1:
            left_out.append(f"of {length} {_AXIS_WORDS.get(axis, f'planes ({axis})')}, the first is shown.")
        numbers = numbers.take([0], axis=position)
    pages = tuple(cast("TiffPage", level.pages[int(number)]).aspage() for number in numbers.ravel())
    return Planes(pages, tuple(left_out))


def _size(series: TiffPageSeries) -> tuple[int, int]:
    """Height and width of a series."""
    lengths = dict(zip(series.axes, series.shape, strict=True))
    return lengths["Y"], lengths["X"]


def _is_smaller_copy(series: TiffPageSeries, main: TiffPageSeries) -> bool:
    """Whether a series that nothing marks as a level is one all the same: of the same shape, samples and layout."""
    (height, width), (full_height, full_width) = _size(series), _size(main)
    same_kind = series.axes == main.axes and series.dtype == main.dtype
    same_layout = series.keyframe.is_tiled and main.keyframe.is_tiled
    ratio = (full_height / height) / (full_width / width)
    return same_kind and same_layout and height < full_height and abs(ratio - 1) < _SAME_SHAPE
