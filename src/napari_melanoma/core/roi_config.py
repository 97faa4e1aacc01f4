"""Configuration of the region of interest; a module of its own, so that docks open without importing much else."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_melanoma.core.config import Config


class RoiConfig(Config):
    """How the region of interest (ROI), a square around the lesion, is extracted from a photograph."""

    margin: float = Field(
        0.1, ge=0, le=2, description="margin on each side, as a fraction of the longer side of the bounding box"
    )
    background: Literal["zero", "keep"] = Field(
        "zero", description="pixels outside the mask: zero (black) or keep (unchanged)"
    )
    side_px: int = Field(224, ge=8, le=4096, description="side of the square ROI after resizing, in pixels")
