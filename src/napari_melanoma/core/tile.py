"""The tile that a model of slides was trained on, as a value that recipe, bundle and analysis share."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config

TOLERANCE = 0.05  # share by which the scale of tiles may differ


class TileConfig(Config):
    """At which physical scale a model looks at a slide: a square tile of so many pixels at so many micrometres each."""

    mpp: float = Field(gt=0, le=100, description="micrometres per pixel of the tiles that it was trained on")
    side_px: int = Field(ge=32, le=2048, description="side of these tiles in pixels")

    def differs(self, mpp: tuple[float, float] | None) -> bool:
        """Say whether tiles of a slide are of another scale.

        ``mpp``: micrometres per pixel down and across, as a network sees it; None where nobody knows. True from 5 % on:
        tiles have whole pixels of a level, so that slides differ a little.
        """
        return mpp is not None and any(abs(one / self.mpp - 1) > TOLERANCE for one in mpp)

    @property
    def side_um(self) -> float:
        """Side of a tile in micrometres."""
        return self.mpp * self.side_px
