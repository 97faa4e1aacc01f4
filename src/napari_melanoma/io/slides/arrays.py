"""Levels of a slide as arrays that a viewer slices: shape, type, chunks, and pixels that are read when asked for."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.geometry import Box

if TYPE_CHECKING:
    from numpy.typing import DTypeLike, NDArray

    from napari_melanoma.io.slides.tiled import TiledSlide


class LevelArray:
    """One level, or a rectangle of it, as an array; a tile that cannot be decoded is a striped mark.

    ``box``: in pixels of that level; the whole level by default. ``channel``: of fluorescence: one channel, (row,
    column). Without it (row, column, channel).
    """

    def __init__(self, slide: TiledSlide, level: int, box: Box | None = None, channel: int | None = None) -> None:
        size = slide.info.levels[level]
        self.slide, self.level, self.channel = slide, level, channel
        self.box = box or Box(0, 0, size.height, size.width)
        source, number = slide.sources[level], len(slide.info.channels)
        self.dtype = slide.dtype
        self.shape: tuple[int, ...] = (self.box.height, self.box.width)
        self.chunks: tuple[int, ...] = (source.tile_height, source.tile_width)
        if channel is None:
            self.shape, self.chunks = (*self.shape, number), (*self.chunks, number)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes of the whole level, were it read at once."""
        return self.size * self.dtype.itemsize

    def __len__(self) -> int:
        """Rows."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> NDArray:  # noqa: ANN401 - whatever numpy takes
        """Read what slices and whole numbers name; nothing more than the rectangle around it is decoded."""
        row_key, column_key, *rest = _expanded(key, self.ndim)
        top, bottom, rows = _span(row_key, self.shape[0])
        left, right, columns = _span(column_key, self.shape[1])
        box = Box(self.box.top + top, self.box.left + left, bottom - top, right - left)
        pixels = self.slide.read_shown(self.level, box)
        if self.channel is not None:
            pixels = pixels[..., self.channel]
        return pixels[(rows, columns, *rest)]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> NDArray:
        """Read all of it: meant for the coarsest level."""
        pixels = self[...]
        return pixels if dtype is None else pixels.astype(dtype, copy=False)


def _expanded(key: Any, ndim: int) -> tuple[Any, ...]:  # noqa: ANN401 - whatever numpy takes
    """An index for each axis."""
    keys = key if isinstance(key, tuple) else (key,)
    if Ellipsis not in keys:
        keys = (*keys, Ellipsis)
    before = keys.index(Ellipsis)
    fill = (slice(None),) * (ndim - len(keys) + 1)
    return (*keys[:before], *fill, *keys[before + 1 :])


def _span(key: Any, length: int) -> tuple[int, int, int | slice]:  # noqa: ANN401 - a slice or a whole number
    """First and last pixel that an index needs, and the index within them."""
    if isinstance(key, slice):
        chosen = range(length)[key]
        if chosen.step < 0:
            raise IndexError("a level of a slide is read forwards: steps must be positive")
        return (chosen[0], chosen[-1] + 1, slice(None, None, chosen.step)) if chosen else (0, 0, slice(None))
    index = range(length)[operator.index(key)]
    return index, index + 1, 0
