"""Fluorescence slides read as RGB: three channels as red, green and blue, black where there is no signal.

Inverted to a bright background, features of cells separated tissues no better.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.channel_choice import ChannelChoice
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import Box
from napari_melanoma.slides.reading.slide import CONTRAST_PERCENTILES, Slide, SlideInfo

OVERVIEW_PX = 2048  # longer side of the overview from which limits are estimated


class CompositeSlide(Slide):
    """Three channels of a fluorescence slide as red, green and blue.

    Parameters
    ----------
    slide : Slide
        The open slide, which is closed with this one.
    choice : ChannelChoice
        The channels with their limits.
    """

    def __init__(self, slide: Slide, choice: ChannelChoice) -> None:
        self._slide = slide
        self._indices = list(choice.find(slide.info.channels, slide.info.path.name))
        if not choice.is_complete:
            raise ValueError(f"the channels have no limits: {choice.label}")
        self._low = np.array([channel.low for channel in choice.channels], np.float32)
        self._scale = 255 / (np.array([channel.high for channel in choice.channels], np.float32) - self._low)
        self.info = replace(slide.info, composite=choice)

    def read_region(self, level: int, box: Box) -> NDArray[np.uint8]:
        """Read a rectangle of pixels, uint8 (row, column, channel=3); black without signal and outside the level."""
        return self._to_rgb(self._slide.read_region(level, box))

    def read_around_damage(self, level: int, box: Box) -> tuple[NDArray[np.uint8], tuple[Box, ...]]:
        """Read a rectangle of pixels as RGB, also if tiles cannot be decoded, see ``Slide``."""
        pixels, boxes = self._slide.read_around_damage(level, box)
        return self._to_rgb(pixels), boxes

    def associated_image(self, name: str) -> NDArray[np.uint8]:
        """Read an image that is stored with the slide, see ``Slide``."""
        return self._slide.associated_image(name)

    def close(self) -> None:
        """Close the slide."""
        self._slide.close()

    def _to_rgb(self, pixels: NDArray) -> NDArray[np.uint8]:
        signal = (pixels[..., self._indices].astype(np.float32) - self._low) * self._scale
        np.clip(signal, 0, 255, out=signal)
        np.rint(signal, out=signal)
        return signal.astype(np.uint8)


def read_as_rgb(slide: Slide, choice: ChannelChoice | None, reader: str) -> Slide:
    """Return a slide whose pixels are RGB: itself if it is brightfield, else three of its channels.

    ``choice``: channels of fluorescence; None for brightfield. ``reader``: what reads the slide, with which messages
    start, such as a model. Raises ``InputError`` if the slide is of the other kind, or lacks a channel.
    """
    info = slide.info
    if info.is_rgb and choice is None:
        return slide
    if info.is_rgb and choice is not None:
        raise InputError(
            f"{reader} reads three channels of fluorescence ({choice.description}), but {info.path.name} is a "
            "brightfield slide. Select a model that was fitted on brightfield slides."
        )
    if choice is None:
        raise fluorescence_error(info, reader)
    return CompositeSlide(slide, choice)


def fluorescence_error(info: SlideInfo, reader: str) -> InputError:
    """Return the error for a fluorescence slide that is read without a choice of channels."""
    return InputError(
        f"{reader} reads brightfield stains such as H&E, but {info.path.name} shows fluorescence (channels: "
        f"{', '.join(info.channels)}). Fit a tissue classifier on three of its channels: in the Paint section of the "
        "Slide dock (Python: options={'channels': 'A,B,C'}, command line: tissue fit --channels A,B,C)."
    )


def complete_limits(choice: ChannelChoice, slides: Sequence[Slide]) -> ChannelChoice:
    """Return a choice with the full names of its channels, and with limits from the overviews of slides.

    Limits that are set are kept. Others range from the background to nearly the maximum of all slides together.
    """
    if choice.is_complete and not slides:
        return choice
    indices = [choice.find(slide.info.channels, slide.info.path.name) for slide in slides]
    names = [slides[0].info.channels[index] for index in indices[0]]
    if choice.is_complete:
        limits = [(channel.low, channel.high) for channel in choice.channels]
    else:
        overviews = [_read_overview(slide) for slide in slides]
        limits = []
        for part, channel in enumerate(choice.channels):
            values = [overview[..., index[part]] for overview, index in zip(overviews, indices, strict=True)]
            limits.append((channel.low, channel.high) if channel.low is not None else _estimate_limits(values))
    channels = [{"name": name, "low": low, "high": high} for name, (low, high) in zip(names, limits, strict=True)]
    return ChannelChoice.parse({"channels": channels}, "channels")


def _read_overview(slide: Slide) -> NDArray:
    """Read all channels of the coarsest level that is fine enough, (row, column, channel)."""
    full = slide.info.levels[0]
    index = slide.best_level(max(full.height, full.width) / OVERVIEW_PX)
    level = slide.info.levels[index]
    return slide.read_around_damage(index, Box(0, 0, level.height, level.width))[0]


def _estimate_limits(images: Sequence[NDArray]) -> tuple[float, float]:
    """Return the percentiles of the values of images, with four digits, so that they read well."""
    values = np.concatenate([np.asarray(image).ravel() for image in images])
    low, high = (float(f"{value:.4g}") for value in np.percentile(values, CONTRAST_PERCENTILES))
    return low, high if high > low else low + 1
