"""The options of a batch of photographs; apart from ``batch`` and ``options``, so that help and docks open at once."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from napari_melanoma.classification.prediction import ClassifyOptions
from napari_melanoma.core.config import Config
from napari_melanoma.io.formats import Modality
from napari_melanoma.lesion.options import LesionOptions

ScaleOrigin = Literal["stated", "ruler"]


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
        description="micrometers per pixel, for measurements in mm, of photographs whose row in the table states none "
        "(mpp_x, mpp_y); by default as stated by each file",
    )
    scale: ScaleOrigin = Field(
        "stated",
        description="origin of the scale: as stated (pixel size, table or file), or, if none is stated, the ruler in "
        "the photograph (ruler)",
    )
    modality: Modality | None = Field(
        None,
        description="type of the photographs whose row in the table states none; by default as stated by each file, "
        "else recognized",
    )
    batch_size: int = Field(8, ge=1, le=512, description="photographs in one forward pass")
    workers: int = Field(0, ge=0, le=256, description="reading and writing threads; 0: two more than cores")
    force: bool = Field(False, description="replace existing results, except manually corrected ones")
