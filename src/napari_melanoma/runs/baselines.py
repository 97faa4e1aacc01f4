"""The baselines of a model of slide and patient data: patient data alone, depth alone, and the slide alone.

They are trained on the same patients as the model, after it, and stored in ``baselines`` in the run folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.classification.comparators import BRESLOW_COLUMNS, TableLogistic, fit_table_logistic
from napari_melanoma.core.config import Config
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, TabularConfig
from napari_melanoma.evaluation.slides import PatientDataBaseline, SlideAloneBaseline, SlideBaseline
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.slides.bag_models import BagModel
from napari_melanoma.training.data_preparation import read_part_table
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.run_folder import RunFolder

FOLDER, TABLES_FILE, SLIDE_ALONE = "baselines", "patient-data.json", "slide-alone"
PATIENT_DATA, DEPTH = "patient_data", "depth"


class TableBaselines(Config):
    """The regressions of patient data, by name."""

    format_version: int = 1
    regressions: dict[str, TableLogistic]


class Trainer(Protocol):
    """``runs.train.train``."""

    def __call__(
        self, recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext, evaluate: bool, check_place: bool
    ) -> object: ...


def train_baselines(recipe: TrainRecipe, folder: RunFolder, train: Trainer, *, run: RunContext) -> None:
    """Train the baselines of a run; finished ones are kept.

    The network of the slide alone has the same split, seed and settings as that of the run.
    """
    fit_table_baselines(recipe, folder)
    assert recipe.classification is not None
    without_table = recipe.classification.model_copy(update={"tabular": None})
    slide_recipe = recipe.model_copy(update={"classification": without_table, "name": f"{recipe.name}-slide-alone"})
    out = folder.path / FOLDER / SLIDE_ALONE
    if (out / "bundle").is_dir():
        return
    resume = (out / "config.toml").is_file()
    train(slide_recipe, out, resume=resume, run=run, evaluate=False, check_place=False)


def fit_table_baselines(recipe: TrainRecipe, folder: RunFolder) -> None:
    """Fit the regressions of patient data, and of the depth if it is a field, on training and validation patients."""
    config = recipe.classification
    assert config is not None
    assert config.tabular is not None
    classes, labels, rows = read_part_table(folder.path, read_data(folder.data), ("train", "validation"))
    positive = labels == classes.index(config.positive)
    has_depth = any(column.name == DEPTH_COLUMN for column in config.tabular.numbers)
    title = "Patient data and depth alone" if has_depth else "Patient data alone"
    choices: dict[str, tuple[str, TabularConfig]] = {PATIENT_DATA: (title, config.tabular)}
    if has_depth and len(config.tabular.numbers) + len(config.tabular.words) > 1:
        choices[DEPTH] = "Depth (Breslow thickness) alone", BRESLOW_COLUMNS
    regressions = {
        name: fit_table_logistic(rows, np.asarray(positive, bool), columns, config.target, heading)
        for name, (heading, columns) in choices.items()
    }
    path = folder.path / FOLDER / TABLES_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, TableBaselines(regressions=regressions).model_dump(mode="json"))


def read_baselines(folder: RunFolder) -> Sequence[SlideBaseline]:
    """Read the baselines of a run; empty for a model without patient data."""
    path = folder.path / FOLDER / TABLES_FILE
    if not path.is_file():
        return ()
    tables = TableBaselines.parse(read_json(path), str(path)).regressions
    baselines: list[SlideBaseline] = [PatientDataBaseline(name, regression) for name, regression in tables.items()]
    slide_alone = folder.path / FOLDER / SLIDE_ALONE / "bundle"
    if slide_alone.is_dir():
        baselines.append(SlideAloneBaseline(BagModel.load(read_bundle(slide_alone))))
    return baselines


def needs_baselines(recipe: TrainRecipe) -> bool:
    """Whether a recipe trains a model of slide and patient data."""
    return recipe.bags is not None and recipe.classification is not None and recipe.classification.tabular is not None
