"""The slide as every other part sees it: its levels, its scale, what its file says, and regions on request."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import TYPE_CHECKING, Literal, Self, cast

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import Box, PixelSize

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Kind = Literal["brightfield", "fluorescence"]

_AS_FINE = 1.01  # levels are cut to whole pixels, so that their downsample is off by some parts in a thousand


class DamagedTile(MelanomaError):  # noqa: N818 - reads as what it is at the place it is raised
    """A tile of a slide cannot be decoded; the others can.

    ``box``: where it is, in pixels of that level.
    """

    def __init__(self, message: str, level: int, box: Box) -> None:
        super().__init__(message)
        self.level, self.box = level, box

    def __reduce__(self) -> tuple[type[DamagedTile], tuple[str, int, Box]]:
        """Travel between processes with level and box."""
        return type(self), (str(self), self.level, self.box)


@dataclass(frozen=True)
class Level:
    """One resolution of a slide: its size in pixels of its own, and how many pixels of level 0 one of them spans.

    ``built`` says that the file has no such level: it is computed from the next finer one as it is asked for.
    """

    height: int
    width: int
    downsample: float
    built: bool = False


@dataclass(frozen=True)
class SlideInfo:
    """What is known of a slide without looking at its pixels.

    ``pixel_size``: micrometres per pixel of level 0; None where neither the file nor the user says. ``bounds``: where
    tissue was scanned, in pixels of level 0; None where the file does not say. ``kind``: brightfield is read as RGB,
    anything else as channels. ``colours``: an 8-bit RGB colour for each channel; empty where the file does not say.
    """

    path: Path
    name: str
    format: str
    levels: tuple[Level, ...]
    pixel_size: PixelSize | None = None
    magnification: float | None = None
    bounds: Box | None = None
    kind: Kind = "brightfield"
    channels: tuple[str, ...] = ("red", "green", "blue")
    colours: tuple[tuple[int, int, int], ...] = ()
    properties: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    associated: tuple[str, ...] = ()
    has_profile: bool = False
    warnings: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    fingerprint: str = ""


class Slide(ABC):
    """An open slide; safe to read from several threads."""

    info: SlideInfo

    @abstractmethod
    def read_region(self, level: int, box: Box) -> NDArray[np.uint8] | NDArray[np.uint16]:
        """Read a rectangle of pixels.

        ``box``: in pixels of that level; it may reach outside. Brightfield: uint8 (row, column, channel=3), white
        outside. Fluorescence: uint8 or uint16 (row, column, channel), zero outside. The caller may change it.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file; reading afterwards is an error."""

    def profile(self) -> bytes | None:
        """Give the ICC profile, where there is one."""
        return None

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Read the label, macro or another image beside the slide, which may show the patient's name.

        Returns uint8 (row, column, channel=3).
        """
        raise KeyError(name)

    def thumbnail(self, side_px: int) -> NDArray[np.uint8]:
        """Read the whole slide as a small picture.

        Returns uint8 (row, column, channel=3); channels of fluorescence are laid over each other in their colours.
        """
        return self._small(self.read_region, side_px)

    def thumbnail_around_damage(self, side_px: int) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
        """Read the whole slide as a small picture, also where tiles cannot be decoded.

        Returns as ``thumbnail``, with marks in the place of what is damaged. Where that is, in pixels of level 0.
        """
        return self._around_damage(side_px)

    def _around_damage(self, side_px: int) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
        """As ``thumbnail_around_damage`` says; a reader that knows its tiles does better."""
        return self.thumbnail(side_px), ()

    def _small(self, read: Callable[[int, Box], NDArray], side_px: int) -> NDArray[np.uint8]:
        """Scale what is read of the level that fits a small picture."""
        from napari_melanoma.io.slides.pictures import fitted, in_colours

        full = self.info.levels[0]
        index = self.best_level(max(full.height, full.width) / side_px)
        level = self.info.levels[index]
        pixels = read(index, Box(0, 0, level.height, level.width))
        if self.info.kind != "brightfield":
            pixels = in_colours(pixels, self.info.colours)
        rgb = cast("NDArray[np.uint8]", pixels)
        scale = side_px / max(full.height, full.width)
        return fitted(rgb, max(1, round(full.height * scale)), max(1, round(full.width * scale)))

    def best_level(self, downsample: float) -> int:
        """Find the coarsest level that is at least as fine as asked.

        ``downsample``: pixels of level 0 that one pixel may span. Index in ``info.levels``; 0 where the slide itself is
        coarser.
        """
        fine = [index for index, level in enumerate(self.info.levels) if level.downsample <= downsample * _AS_FINE]
        return max(fine, default=0)

    def __enter__(self) -> Self:
        """Use the slide in a ``with`` block, which closes it."""
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, at: TracebackType | None) -> None:
        """Close the slide."""
        self.close()


def downsample_of(full: tuple[int, int], size: tuple[int, int]) -> float:
    """How many pixels of level 0 one pixel of a level spans, freed of the cutting to whole pixels.

    A whole number where the sizes allow it.
    """
    ratios = [whole / part for whole, part in zip(full, size, strict=True)]
    whole_number = round(sum(ratios) / 2)
    allowed = ({math.floor(side / max(whole_number, 1)), math.ceil(side / max(whole_number, 1))} for side in full)
    if whole_number >= 1 and all(side in sides for side, sides in zip(size, allowed, strict=True)):
        return float(whole_number)
    return sum(ratios) / 2


def apply_profile(rgb: NDArray[np.uint8], slide: Slide) -> NDArray[np.uint8]:
    """Convert pixels of a slide to sRGB by its ICC profile.

    ``rgb``: uint8 (row, column, channel=3), as ``read_region`` gives them. ``slide``: whose pixels they are. Returns
    uint8, same shape; the pixels as they are where the slide has no profile, or one that is damaged.
    """
    profile = slide.profile()
    if not profile:
        return rgb
    from PIL import Image

    from napari_melanoma.io.color import srgb

    return srgb(Image.fromarray(rgb), profile)
