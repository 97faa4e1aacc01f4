"""What a recipe says of a classifier: the question, what of photograph and patient it gets, how it is kept honest."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.region import ViewConfig
from napari_melanoma.core.tabular import TabularChoices
from napari_melanoma.training.depth_learning import DepthConfig


class AdaptationConfig(Config):
    """How two domains are brought together; ``to`` names data sets whose answers are not used.

    The domains are those of the images that are learnt from, and those of ``to``.
    """

    method: Literal["none", "adversarial", "coral", "adabn", "fourier", "pseudo_labels"] = Field(
        "none",
        description="adversarial: features must not tell the domain (gradient reversal); coral: their covariances are "
        "drawn together; adabn: normalisation is measured on `to` at the end; fourier: low frequencies are swapped; "
        "pseudo_labels: sure answers for `to` are learnt from",
    )
    strength: float = Field(0.1, ge=0, le=10, description="weight of the second loss; of fourier, share of the images")
    reach: float = Field(0.05, gt=0, le=0.5, description="of fourier: how far from the mean, as a share of the side")
    to: tuple[str, ...] = Field((), description="folders of data sets without answers, seen by the second loss alone")
    sure: float = Field(0.9, gt=0.5, lt=1, description="of pseudo_labels: probability from which an answer is a label")


class ClassificationConfig(Config):
    """A classification: the column that is told, what the network gets, and how its answers are made honest."""

    target: str = Field("melanoma", min_length=1, description="column of the table that holds the answer")
    classes: tuple[str, ...] = Field(
        (), description="words of the column, in order; none: all of the training rows, of 1/0: other and the column"
    )
    positive: str = Field("melanoma", min_length=1, description="the class that sensitivity is about")
    view: ViewConfig = ViewConfig()
    masks: Literal["reference", "predicted"] = Field(
        "reference", description="where the roi comes from: the data set's masks, or those that a model draws"
    )
    segmenter: str = Field("lesion-small", min_length=1, description="the model that draws them")
    tabular: TabularChoices | None = Field(None, description="columns of the table that the network gets; none: pixels")
    features: str = Field("", description="a table of `data features`, whose columns can be chosen too")
    drop_field: float = Field(0.1, ge=0, lt=1, description="chance that a field of a row is taken away while learning")
    drop_form: float = Field(0.25, ge=0, lt=1, description="chance that a row is shown without any of them")
    class_weight: Literal["none", "balanced"] = Field("none", description="balanced: rare classes count more")
    label_smoothing: float = Field(0.0, ge=0, lt=0.5)
    focal_gamma: float = Field(2.0, ge=0, le=10, description="of the focal loss")
    mixup: float = Field(0.0, ge=0, le=1, description="chance that an image is blended with another, answers too")
    cutmix: float = Field(0.0, ge=0, le=1, description="chance that a patch of another image covers it, answers too")
    freeze_encoder: bool = Field(False, description="only what stands behind the encoder learns")
    stages: Literal[1, 2] = Field(
        1, description="2: image and depth learn first, by themselves; then the head alone, over what they have learnt"
    )
    first_stage: float = Field(0.6, gt=0, lt=1, description="of two stages, share of the epochs that the first takes")
    depth: DepthConfig | None = Field(None, description="a depth that is learnt beside the class")
    mirrored: bool = Field(False, description="the model answers by the mean over a view and its mirror images")
    sensitivity: float = Field(0.9, gt=0, lt=1, description="at which the operating point is chosen")
    coverage: float = Field(0.9, gt=0, lt=1, description="how often the set of classes shall hold the true one")
    neighbours: bool = Field(False, description="keep the ids of the training cases, to show those that are alike")
    adaptation: AdaptationConfig = AdaptationConfig()

    @model_validator(mode="after")
    def _classes_fit(self) -> Self:
        if self.classes and len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {self.classes}, expected two or more, each once")
        if self.classes and self.positive not in self.classes:
            raise ValueError(f"positive is '{self.positive}', expected one of the classes ({', '.join(self.classes)})")
        return self
