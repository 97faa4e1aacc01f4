"""What a network that tells a depth says of it: its scale, where a measured one stands among its inputs, how sure."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_melanoma.core.config import Config

DEPTH = "depth_mm"  # the column of the harmonised table
T_EDGES = (0.75, 1.05, 2.05, 4.05)  # mm: where T1a, T1b, T2, T3 and T4 meet, to the nearest 0.1 mm (AJCC, 8th edition)


class DepthScale(Config):
    """Between millimetres and the numbers that a network learns: 0 is the mean of training cases, 1 their spread."""

    log: bool = Field(False, description="of log(1 + mm), so that an error counts relative to the depth")
    mean: float = Field(0.0, description="of the training cases, on that scale")
    std: float = Field(1.0, gt=0, description="of the training cases, on that scale")


class MeasuredDepth(Config):
    """Where a network finds a measured depth among its inputs: standardised, and behind it 1 where it is not known."""

    place: int = Field(ge=0, description="of the number among the continuous inputs")
    mean: float = Field(description="mm, subtracted before")
    std: float = Field(gt=0, description="mm, divided by before")


class DepthAnswer(Config):
    """The depth that a bundle tells of a picture: on which scale, and how well on images that it did not learn."""

    column: str = Field(DEPTH, min_length=1, description="of the table, that it learnt to tell")
    scale: DepthScale = DepthScale()
    images: int = Field(0, ge=0, description="of the tuning images, how many have a depth")
    mae_mm: float | None = Field(None, ge=0, description="mean absolute error on these; none: too few")
    pearson: float | None = Field(None, ge=-1, le=1, description="correlation with what was measured")
    margin: float | None = Field(
        None, ge=0, description="half of the interval on the scale, in units of its own spread where it tells one"
    )
    coverage: float = Field(0.9, gt=0, lt=1, description="how often the interval shall hold the true depth")


DepthSource = Literal["predicted", "measured", "none"]
DepthEncoding = Literal["number", "one_hot", "both"]
