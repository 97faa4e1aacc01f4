"""What can be asked of a phantom cohort; apart from the drawing, so that the command line can list it."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config


class CohortConfig(Config):
    """Which cohort to draw; the same values give the same patients, images and labels."""

    seed: int = Field(0, ge=0, description="what all is drawn from")
    count: int = Field(400, ge=10, le=100_000, description="patients, half of them with a metastasis")
    random_labels: bool = Field(
        False, description="shuffle who has a metastasis, so that nothing can be learnt: the control"
    )
    patch_px: int = Field(512, ge=64, le=3000, description="height and width of a patch in pixels")
    patch_mm: float = Field(3.0, ge=0.5, le=6.0, description="height and width of a patch in mm, as P3 cuts them")
    test_share: float = Field(0.2, ge=0, le=0.8, description="of the patients, kept back, in looks never trained on")
    folds: int = Field(5, ge=2, le=20, description="of the other patients, for a cross-validation")
    slides: int = Field(0, ge=0, description="whole slides of so many patients who are kept back")
