"""What a classifying bundle says beyond its network: what it looks at, what it is asked, how sure its answers are."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.depth import DepthAnswer
from napari_melanoma.core.region import ViewConfig

Interval = tuple[float, float]
SetRule = Literal[
    "lac", "aps", "class_conditional"
]  # how a set of classes is made; analysis.conformal says what each is


class OperatingPoint(Config):
    """Where probabilities are cut in two: the sensitivity that was asked for, and what was found there."""

    asked: float = Field(gt=0, lt=1, description="sensitivity that was asked for")
    cut: float = Field(ge=0, le=1, description="calibrated probability at or above which the positive class is said")
    sensitivity: float = Field(ge=0, le=1)
    sensitivity_interval: Interval = Field(description="95 %")
    specificity: float = Field(ge=0, le=1)
    specificity_interval: Interval = Field(description="95 %")


class AgeGroup(Config):
    """How often it was right about people of some ages, at the operating point, on images that it had not seen."""

    at_least: float = Field(ge=0, description="years")
    below: float | None = Field(None, gt=0, description="years; none: no upper end")
    images: int = Field(ge=1)
    positives: int = Field(ge=0, description="how many of the images were of the positive class")
    sensitivity: float = Field(ge=0, le=1)
    sensitivity_interval: Interval = Field(description="95 %")
    specificity: float = Field(ge=0, le=1)
    specificity_interval: Interval = Field(description="95 %")

    def holds(self, age: float) -> bool:
        """Say whether an age is one of these.

        ``age``: years; not a number where it is not known. False where it is not known.
        """
        return age >= self.at_least and (self.below is None or age < self.below)


class ClassifierConfig(Config):
    """How a classifying bundle is fed and how its answers are read."""

    positive: str = Field("melanoma", min_length=1, description="the class that the operating point is about")
    view: ViewConfig = ViewConfig()
    mirrored: bool = Field(False, description="its logits are means over the view and the view's three mirror images")
    temperature: float = Field(1.0, gt=0, description="logits are divided by it before softmax")
    bias: tuple[float, ...] = Field(
        (), description="added to the divided logits, one a class; what class weights or sampling moved; none: zeros"
    )
    set_rule: SetRule = Field(
        "class_conditional", description="by which the set of classes is made: each class covered as often as asked"
    )
    operating_point: OperatingPoint | None = Field(None, description="none: it was never chosen")
    ages: tuple[AgeGroup, ...] = Field(
        (), description="at the operating point by the patient's age, cross-validated; none: it was never measured"
    )
    coverage: float = Field(0.9, gt=0, lt=1, description="how often the set of classes shall hold the true one")
    prevalence: float | None = Field(
        None, gt=0, lt=1, description="share of the positive class where it was calibrated"
    )
    depth: DepthAnswer | None = Field(None, description="of one that tells a depth beside the class")
    unlike: float | None = Field(
        None, gt=0, description="distance of embeddings from which a picture is unlike those it was trained on"
    )
