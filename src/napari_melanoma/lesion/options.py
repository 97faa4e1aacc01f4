"""Options of the analysis of photographs; apart from it, so that docks and the help of ``lesion`` open without it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from napari_melanoma.classification.prediction import ClassifyOptions
from napari_melanoma.core.config import Config
from napari_melanoma.core.roi_config import RoiConfig
from napari_melanoma.imaging.postprocessing import RefinementConfig
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.io.formats import Modality
from napari_melanoma.models import DEFAULT_BUNDLE


class LesionOptions(Config):
    """Options of a lesion analysis, shared by the docks, the command line and the results."""

    model: str = Field(DEFAULT_BUNDLE, min_length=1, description="name of a model, or the folder of a bundle or a run")
    threshold: float | None = Field(
        None, gt=0, lt=1, description="decision threshold of the lesion probability; by default that of the model"
    )
    refinement: RefinementConfig = RefinementConfig()
    roi: RoiConfig = RoiConfig()
    prompts: PromptOptions | None = Field(None, description="clicks and a box, for models that answer prompts")
    flips: bool = Field(
        False, description="test-time augmentation: average over four flips, and mark the uncertain band"
    )

    @model_validator(mode="after")
    def _check_flips(self) -> Self:
        if self.flips and self.prompts is not None:
            raise ValueError("flips is not available with prompts; leave one of them out")
        return self


class BatchOptions(Config):
    """Options of a batch of photographs."""

    lesion: LesionOptions = LesionOptions()
    classify: ClassifyOptions | None = Field(None, description="classification of the lesions; none: no classification")
    form: dict[str, str] = Field(default_factory=dict, description="clinical metadata of all photographs, by column")
    metadata: Path | None = Field(
        None, description="CSV with image_id (the file name without suffix), age, sex, site ..."
    )
    pixel_size_um: float | None = Field(
        None,
        gt=0,
        description="micrometers per pixel, for measurements in mm; by default as stated in each file",
    )
    modality: Modality | None = Field(
        None, description="type of the photographs; by default as stated by the table or each file, else recognized"
    )
    batch_size: int = Field(8, ge=1, le=512, description="photographs in one forward pass")
    workers: int = Field(0, ge=0, le=256, description="reading and writing threads; 0: two more than cores")
    force: bool = Field(False, description="replace existing results, except manually corrected ones")
