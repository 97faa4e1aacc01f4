"""Tiles of a slide that cannot be decoded: how that is said, and where they were found."""

from __future__ import annotations

import logging
from pathlib import Path
from textwrap import shorten

from napari_melanoma.core.geometry import Box
from napari_melanoma.io.slides.slide import DamagedTile

logger = logging.getLogger(__name__)

MOST_NAMED = 20  # in the log; a truncated slide may have thousands


class FoundDamage:
    """Where damaged tiles were found; the first ones are named in the log, each once."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[int, Box], None] = {}

    def add(self, fault: DamagedTile) -> None:
        """Keep where a tile is that cannot be decoded."""
        known = len(self._found)
        self._found.setdefault((fault.level, fault.box))
        if len(self._found) == known:
            return
        if known < MOST_NAMED:
            logger.warning("%s", fault)
        elif known == MOST_NAMED:
            logger.warning("more tiles of %s cannot be decoded; they are not named here.", self._path.name)

    def at(self, level: int, downsample: float) -> tuple[Box, ...]:
        """Say where tiles of one level were found to be damaged.

        In pixels of level 0.
        """
        return tuple(_scaled(box, downsample) for found, box in tuple(self._found) if found == level)


def damaged(path: Path, level: int, box: Box, error: Exception) -> DamagedTile:
    """Make the error that says which tile is damaged, and what to do.

    ``box``: where it is, in pixels of that level.
    """
    reason = shorten(str(error), width=160, placeholder=" ...") or type(error).__name__
    said = (
        f"a tile of {path.name} cannot be decoded (level {level}, row {box.top}, column {box.left}, "
        f"{box.height} x {box.width} pixels): {reason}. The rest of the slide can be read; copy the file again "
        "from its source, or export it again, to get this part too."
    )
    return DamagedTile(said, level, box)


def _scaled(box: Box, step: float) -> Box:
    """A box of a level in pixels of level 0."""
    return Box(*(round(side * step) for side in (box.top, box.left, box.height, box.width)))
