"""Which part of a photograph is cut out for a classifier: values that recipes, bundles and their users share."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_melanoma.core.config import Config


class RoiConfig(Config):
    """How the square is cut: margin, what happens to the skin around the lesion, and the side of the result."""

    margin: float = Field(
        0.1, ge=0, le=2, description="added on each side, as a fraction of the longer side of the bounding box"
    )
    background: Literal["zero", "keep"] = Field("zero", description="pixels outside the mask: black, or as they are")
    side_px: int = Field(224, ge=8, le=4096, description="side of the square after resizing, in pixels")


class ViewConfig(Config):
    """What a classifier sees of a photograph, before it is fitted to the network's input."""

    region: Literal["roi", "photograph"] = Field(
        "roi", description="roi: the square around the mask; photograph: all of it, squeezed, no mask needed"
    )
    margin: float = Field(0.1, ge=0, le=2, description="of the roi, as a fraction of the longer side of the lesion")
    background: Literal["zero", "keep"] = Field("keep", description="skin around the lesion: black, or as it is")

    def roi(self, side_px: int) -> RoiConfig:
        """Say how the square is cut for an input of that side.

        ``side_px``: in pixels.
        """
        return RoiConfig(margin=self.margin, background=self.background, side_px=side_px)
