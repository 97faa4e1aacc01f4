"""Options of the analysis of a photograph; a separate module, so that the dock opens without loading the analysis."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.models import DEFAULT_BUNDLE


class LesionOptions(Config):
    """Options of a lesion analysis, shared by the docks, the command line and the results."""

    model: str = Field(DEFAULT_BUNDLE, min_length=1, description="name of a model, or the folder of a bundle or a run")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="decision threshold of the lesion probability; by default that of the model"
    )
    refinement: RefinementConfig = RefinementConfig()
    roi: RoiConfig = RoiConfig()
    prompts: PromptOptions | None = Field(None, description="clicks and a box, for models that segment by clicks")
    flips: bool = Field(
        False, description="test-time augmentation: average over four flips, and mark the uncertain band"
    )

    @model_validator(mode="after")
    def _check_flips(self) -> Self:
        if self.flips and self.prompts is not None:
            raise ValueError("flips is not available with prompts; leave one of them out")
        return self
