"""The sections of a recipe on cross-validation and distillation, which ``train --folds`` and ``--distill`` write."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from napari_melanoma.core.config import Config


class FoldConfig(Config):
    """How a run uses the folds of a cross-validation; ``train --folds`` and ``train --distill`` write it."""

    number: Annotated[int, Field(ge=1)] | None = Field(
        None,
        description="the fold whose images are the test set; those of other folds are trained on. None: all folds are "
        "trained on, and the test set are the images in no fold with the test split",
    )
    table: str = Field(min_length=1, description="folds.csv of the cross-validation: the fold of each image")


class TeacherConfig(Config):
    """Distillation: a trained model predicts targets for the training images (Hinton et al. 2015, arXiv:1503.02531)."""

    bundle: str = Field(
        title="Teacher",
        min_length=1,
        description="a model, its folder, or the folder of `train --folds`: each image is then predicted by the models "
        "that were not trained on it",
    )
    weight: float = Field(
        0.5,
        title="Weight of the teacher",
        gt=0,
        le=1,
        description="share of the teacher's predictions in the loss; the labels have the rest",
    )
    temperature: float = Field(
        2.0,
        ge=1,
        le=20,
        description="divides the logits of both models in the loss of the teacher; a higher one gives improbable "
        "classes more weight",
    )
