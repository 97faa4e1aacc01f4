"""The section of a recipe on cross-validation, which ``train --folds`` writes."""

from __future__ import annotations

from pydantic import Field

from napari_melanoma.core.config import Config


class FoldConfig(Config):
    """How a run uses the folds of a cross-validation; ``train --folds`` writes it."""

    number: int = Field(ge=1, description="the fold whose images are the test set; those of other folds are trained on")
    table: str = Field(min_length=1, description="folds.csv of the cross-validation: the fold of each image")
