"""Which three channels of a fluorescence slide are read as red, green and blue, and at which limits.

The limits are numbers, so that a value has the same color on all slides of a set, and on each part of a slide.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.formatting import format_names

PARTS = 3  # red, green and blue
SEPARATOR = ","  # of channels in text
EXAMPLE = "DAPI,CD8,PanCK, or with limits DAPI=200:4000,CD8=150:2500,PanCK=100:3000"


class ChannelLimits(Config):
    """A channel, with the values that have no and full signal."""

    name: str = Field(min_length=1, description="name of the channel, or its number from 1")
    low: float | None = Field(None, description="value without signal; none: estimated")
    high: float | None = Field(None, description="value of full signal; none: estimated")

    @model_validator(mode="after")
    def _check_limits(self) -> Self:
        if (self.low is None) != (self.high is None):
            raise ValueError(f"{self.name} has one limit: expected both or none")
        if self.low is not None and self.high is not None:
            if not (math.isfinite(self.low) and math.isfinite(self.high)):
                raise ValueError(f"the limits of {self.name} are {self.low:g} and {self.high:g}: expected numbers")
            if self.high <= self.low:
                raise ValueError(f"the limits of {self.name} are {self.low:g} and {self.high:g}: expected low < high")
        return self

    @property
    def label(self) -> str:
        """Name and limits as text, as ``ChannelChoice.from_text`` reads them."""
        if self.low is None or self.high is None:
            return self.name
        return f"{self.name}={_format_exactly(self.low)}:{_format_exactly(self.high)}"


class ChannelChoice(Config):
    """The channels that are read as red, green and blue."""

    channels: tuple[ChannelLimits, ...] = Field(min_length=PARTS, max_length=PARTS, description="red, green, blue")

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Parse one to three channels with commas in between, each as ``NAME`` or ``NAME=LOW:HIGH``."""
        parts = [part.strip() for part in text.split(SEPARATOR)]
        if not 1 <= len(parts) <= PARTS or not all(parts):
            raise ConfigError(f"channels are {text!r}: expected one to three names, such as {EXAMPLE}.")
        channels = [_parse_channel(part) for part in parts]
        return cls(channels=(*channels, *[channels[-1]] * (PARTS - len(channels))))

    @property
    def is_complete(self) -> bool:
        return all(channel.low is not None for channel in self.channels)

    @property
    def label(self) -> str:
        """The channels with their limits, as ``from_text`` reads them."""
        return SEPARATOR.join(channel.label for channel in self.channels)

    @property
    def description(self) -> str:
        """The channels by color, such as ``DAPI red, CD8 green, PanCK blue``."""
        colors: dict[str, list[str]] = {}
        for channel, color in zip(self.channels, ("red", "green", "blue"), strict=True):
            colors.setdefault(channel.name, []).append(color)
        return ", ".join(f"{name} {' and '.join(part)}" for name, part in colors.items())

    def find(self, channels: Sequence[str], slide: str) -> tuple[int, ...]:
        """Return the index of each chosen channel among those of a slide.

        ``slide``: its name, for messages. A name also matches by number, and by its start if only one channel does.
        Raises ``InputError`` if the slide has no such channel.
        """
        found = [_find_channel(channel.name, channels) for channel in self.channels]
        missing = [one.name for one, index in zip(self.channels, found, strict=True) if index is None]
        if missing:
            raise InputError(
                f"{slide} has no channel {format_names(list(dict.fromkeys(missing)))}. Its channels: "
                f"{', '.join(channels)}. Select others under Channels in the Paint section (Python: "
                "options={'channels': 'A,B,C'}, command line: --channels A,B,C), or apply a model that was fitted on "
                "these."
            )
        return tuple(index for index in found if index is not None)


def _format_exactly(value: float) -> str:
    """Format a number as short as reading it again allows."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


def _parse_channel(text: str) -> ChannelLimits:
    name, equals, limits = text.rpartition("=")
    if not equals:
        return ChannelLimits.parse({"name": text}, "channels")
    low, _, high = limits.partition(":")
    try:
        values = {"low": float(low), "high": float(high)}
    except ValueError:
        raise ConfigError(f"channels contain {text!r}: expected NAME=LOW:HIGH, such as {EXAMPLE}.") from None
    return ChannelLimits.parse({"name": name.strip(), **values}, "channels")


def _find_channel(name: str, channels: Sequence[str]) -> int | None:
    """Return the index of a channel by its name, its number from 1, or the start of its name; None if there is none.

    A name in the same case precedes one in another case.
    """
    if name in channels:
        return channels.index(name)
    lower = [channel.lower() for channel in channels]
    wanted = name.lower()
    if wanted in lower:
        return lower.index(wanted)
    if name.isdecimal() and 1 <= int(name) <= len(channels):
        return int(name) - 1
    started = [index for index, channel in enumerate(lower) if channel.startswith(wanted)]
    return started[0] if len(started) == 1 else None
