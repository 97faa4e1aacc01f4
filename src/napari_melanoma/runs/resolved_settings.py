"""The settings that a recipe leaves open, determined once from recipe, data and machine, and recorded by the run.

``device``, ``devices`` and ``nodes`` are not among them: a resumed run uses the devices that it finds.
"""

from __future__ import annotations

import time
from typing import Any, Literal

import numpy as np

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import DataSetError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.prediction_config import DEPTH_COLUMN, DepthInputConfig, DepthScale, TabularEncoding
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.metrics.agreement import standardize_depth
from napari_melanoma.models.blocks.options import BiomarkerConfig
from napari_melanoma.models.zoo import list_architectures
from napari_melanoma.runs.starting_weights import ParentModel, find_parent
from napari_melanoma.training.batch_size import find_batch_size, find_precision
from napari_melanoma.training.data_preparation import ClassData, PreparedData
from napari_melanoma.training.engine import process_count
from napari_melanoma.training.loader import divide_step
from napari_melanoma.training.recipe import SLIDES_PER_STEP, TrainRecipe, check_depth_count
from napari_melanoma.training.whole_slides import PreparedBags

RESOLVED_FILE = "resolved_settings.json"
WAIT_S, POLL_S = 3600.0, 0.2  # seconds that a helper process waits for the first process
MAX_LESION_WEIGHT = 20.0  # without a limit, a data set with hardly any lesion pixels would suppress skin entirely


class ResolvedSettings(Config):
    """Settings that are determined by the run and reused when it is resumed.

    ``accumulate_batches``: number of parts of a batch whose gradients are accumulated; increased if memory runs out.
    ``precision``: None for the default of the device. ``lesion_weight``: None except for a segmentation of one class.
    ``network_options``: those of the recipe, and those that depend on the data.
    """

    batch_size: int
    accumulate_batches: int = 1
    precision: Literal["fp32", "bf16"] | None = None
    lesion_weight: float | None = None
    network_options: dict[str, Any] = {}
    parent: ParentModel | None = None

    @property
    def continued_model(self) -> ParentModel | None:
        """The model that the run continues from; None if it started from an encoder or from scratch."""
        return self.parent if self.parent and self.parent.part == "all" else None

    def apply(self, recipe: TrainRecipe) -> TrainRecipe:
        """Return the recipe with the precision and the lesion weight that it left open."""
        known = {"precision": self.precision, "lesion_weight": self.lesion_weight}
        return recipe.model_copy(update={name: value for name, value in known.items() if value is not None})


def resolve_settings(recipe: TrainRecipe, prepared: PreparedData, run: RunContext) -> ResolvedSettings:
    """Determine the settings that a recipe leaves open.

    Nothing is measured for a run on slides, whose steps are fast.
    """
    size, precision = recipe.batch_size, find_precision(recipe, run) if recipe.bags is None else None
    if size == "auto" and recipe.bags is not None:
        size = SLIDES_PER_STEP
    elif size == "auto":
        size = find_batch_size(recipe.model_copy(update={"precision": precision}), len(prepared.train))
        # Check now, because the stored size cannot be changed later.
        check_step(recipe, size, len(prepared.train), len(prepared.replay or ()))
    of_one_class = recipe.task == "segmentation" and not recipe.classes
    return ResolvedSettings(
        batch_size=size,
        accumulate_batches=recipe.accumulate_batches,
        precision=precision,
        parent=find_parent(recipe),
        network_options=collect_network_options(recipe, prepared),
        lesion_weight=compute_lesion_weight(recipe, prepared.lesion_share) if of_one_class else None,
    )


def compute_lesion_weight(recipe: TrainRecipe, lesion_share: float) -> float:
    """Return the weight of lesion pixels in the cross-entropy.

    ``lesion_share``: share of lesion pixels in the training set, 0 to 1. With ``"auto"``, lesion and skin have the
    same total weight; the weight is at most 20.
    """
    if recipe.lesion_weight != "auto":
        return recipe.lesion_weight
    return min(MAX_LESION_WEIGHT, (1 - lesion_share) / lesion_share) if lesion_share > 0 else 1.0


def check_step(recipe: TrainRecipe, batch_size: int, train: int, replay: int) -> None:
    """Raise an error if a step cannot be divided evenly among the devices."""
    step, processes = divide_step(recipe.data, batch_size, train, replay).total, process_count(recipe)
    parts = processes * recipe.accumulate_batches
    if step % parts:
        raise RunError(
            f"a step of {step} images cannot be divided evenly among {processes} devices with "
            f"gradient accumulation {recipe.accumulate_batches}. Set batch_size to a multiple of {parts}, at most "
            "the number of images."
        )


def collect_network_options(recipe: TrainRecipe, prepared: PreparedData) -> dict[str, Any]:
    """Return the options of a network: those of the recipe, and for a classifier those that depend on the data."""
    data = prepared.classes
    if data is None:
        return recipe.model.options
    shape = data.encoding.shape.model_dump(mode="json") if data.encoding else {}
    if isinstance(prepared, PreparedBags):
        features = prepared.kind.encoder.features
        return {**recipe.model.options, "classes": len(data.names), "features": features, "tabular": shape}
    options = {**recipe.model.options, "classes": len(data.names), "tabular": shape}
    config = list_architectures()[recipe.model.architecture].spec.config.parse(options, "model.options")
    # The options of a starting model take precedence: its weights depend on its depth scale.
    return {**depth_options(config, data), **options} if isinstance(config, BiomarkerConfig) else options


def depth_options(options: BiomarkerConfig, data: ClassData) -> dict[str, Any]:
    """Return the options of a depth network that depend on the training data.

    ``depth_mean`` and ``depth_std``, on the network's scale; and ``measured``, the position of measured depths among
    the tabular inputs, if the classifier uses them.
    """
    options_from_data: dict[str, Any] = {}
    if options.predicts_depth:
        standardized = standardize_depth(data.train.depth_mm, DepthScale(log=options.depth_log))
        known_depths = standardized[~np.isnan(standardized)]
        check_depth_count(len(known_depths), len(standardized))
        options_from_data = {
            "depth_mean": round(float(known_depths.mean()), 6),
            "depth_std": round(float(known_depths.std()) or 1.0, 6),
        }
    if options.predicts_depth and options.depth_source == "measured":
        options_from_data["measured"] = _measured_depth_input(data.encoding).model_dump(mode="json")
    return options_from_data


def _measured_depth_input(encoding: TabularEncoding | None) -> DepthInputConfig:
    """Return the position and scale of the measured depth among the tabular inputs."""
    columns = encoding.numbers if encoding else ()
    for column in columns:
        if column.name == DEPTH_COLUMN and column.encoding == "standardised" and column.has_indicator:
            assert encoding is not None
            position = [input_column.field for input_column in encoding.continuous].index(DEPTH_COLUMN)
            return DepthInputConfig(place=position, mean=column.mean, std=column.std)
    raise DataSetError(
        f'depth_source = "measured" needs {{ name = "{DEPTH_COLUMN}", missing = "unknown" }} among '
        "classification.tabular.numbers. Add it, or set model.options.depth_source to predicted."
    )


def write_resolved(folder: RunFolder, resolved: ResolvedSettings) -> None:
    write_json(folder.path / RESOLVED_FILE, resolved.model_dump(mode="json"))


def read_resolved(folder: RunFolder) -> ResolvedSettings | None:
    """Read the settings that were determined when a run began; None if they are not determined yet."""
    path = folder.path / RESOLVED_FILE
    return ResolvedSettings.parse(read_json(path), str(path)) if path.is_file() else None


def wait_for_resolved(folder: RunFolder, run: RunContext) -> ResolvedSettings:
    """Wait in a helper process of a run until the first process has determined the settings."""
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        run.check()
        if (resolved := read_resolved(folder)) is not None:
            return resolved
        time.sleep(POLL_S)
    raise RunError(
        f"the first process of the run did not prepare {folder.path} in time. See its output for the reason."
    )
