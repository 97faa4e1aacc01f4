"""The ensemble of the runs of a cross-validation as one bundle."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import or_
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.core.errors import BundleError, RunError
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.data.tabular_encoding import join_encodings
from napari_melanoma.data.training_images import FILE_NAME, TrainingImages
from napari_melanoma.evaluation.classes import read_predictions
from napari_melanoma.evaluation.model_card import draft_card
from napari_melanoma.evaluation.pipeline import measured_rows, read_evaluation
from napari_melanoma.models.bundle import (
    BundleInfo,
    ReferenceCases,
    load_network,
    number_groups,
    read_bundle,
    read_reference,
    write_bundle,
)
from napari_melanoma.models.graphs import add_graphs
from napari_melanoma.runs.bundling import fit_decisions
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.training.run_data import read_data, training_images_statement

if TYPE_CHECKING:
    from torch import nn

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.core.prediction_config import TabularEncoding
    from napari_melanoma.models.bundle import BundleConfig

SAME_FIELDS = ("task", "architecture", "options", "input_size", "preprocessing", "mean", "std", "classes")
TITLE = "{title}, ensemble of {count} folds"
CARD = """## Ensemble

The mean of the logits of {count} networks, each of which was trained without one fold of the images. {threshold}
Each image was predicted by the network that it was not used for:

| metric | mean of the folds | 95 % interval |
|---|---|---|
{rows}
"""
MASK_THRESHOLD = "The decision threshold is the mean of theirs."
CLASS_THRESHOLD = (
    "Temperature, bias and decision threshold were fitted to the predictions for these images; similar cases, and "
    "whether an image is out of distribution, are those of the first network."
)
SMALLEST = 1e-6  # probability, so that its logarithm is finite
FoldMetrics = dict[str, tuple[str, str]]


def find_obstacle(recipe: TrainRecipe) -> str:
    """Return why the models of a recipe cannot be combined in an ensemble; "" if they can."""
    if recipe.prompts is not None:
        return "it answers prompts"
    if recipe.classification is not None and recipe.classification.depth is not None:
        return "it predicts a depth"
    if recipe.model.architecture == "cell_network":
        return "it classifies cells of slides"
    return ""


def write_ensemble(
    folders: Sequence[RunFolder], path: Path, recipe: TrainRecipe, metrics: FoldMetrics, run: RunContext
) -> tuple[BundleInfo, str]:
    """Write the ensemble of finished and evaluated runs.

    ``recipe``: that of the cross-validation. ``metrics``: label to mean and interval, for the card. Returns the bundle,
    and why it has no graphs, or "".
    """
    from napari_melanoma.models.blocks.ensemble import build_ensemble

    members = [read_bundle(folder.bundle) for folder in folders]
    _check_same(members)
    config = _create_config(members, folders, recipe)
    network, reference = build_ensemble([load_network(info) for info in members], len(config.classes)), None
    if config.classifier is not None:
        assert recipe.classification is not None
        _set_calibration(network, members)
        reference = _collect_reference(folders, members[0])
        config = fit_decisions(config, reference, recipe.classification.sensitivity)
    lists = [TrainingImages.read(folder.path / FILE_NAME) for folder in folders]
    with TemporaryDirectory() as temporary:
        listed = Path(temporary, FILE_NAME)
        reduce(or_, lists).write(listed)
        provenance = {**config.provenance, **training_images_statement(listed)}
        config = config.model_copy(update={"provenance": provenance})
        card = f"{draft_card(config)}\n{_describe_ensemble(config, metrics)}"
        bundle = write_bundle(path, config, network, card, reference, [listed])
    return bundle, add_graphs(bundle, run)


def _check_same(members: Sequence[BundleInfo]) -> None:
    """Refuse members that differ in more than their weights and calibration."""
    first, *others = (_dump_shared(info) for info in members)
    for info, values in zip(members[1:], others, strict=True):
        if different := [name for name, value in values.items() if value != first[name]]:
            raise RunError(
                f"'{members[0].name}' and '{info.name}' cannot be combined in an ensemble, because they differ in "
                f"{', '.join(different)}. Use the models of the folds."
            )


def _dump_shared(info: BundleInfo) -> dict[str, Any]:
    """Return what the members of an ensemble share; the sizes of tabular inputs may differ."""
    values = info.config.model_dump(mode="json", include={*SAME_FIELDS})
    options = {name: value for name, value in info.config.options.items() if name != "tabular"}
    return {
        **values,
        "options": options,
        "patient data": info.patient_data_columns,
        "closer views": info.config.closer_views,
        "turned views": info.config.turned_views,
    }


def _create_config(members: Sequence[BundleInfo], folders: Sequence[RunFolder], recipe: TrainRecipe) -> BundleConfig:
    """Return the configuration of an ensemble; a classifier is not calibrated yet."""
    config = members[0].config
    values: dict[str, Any] = {
        "name": recipe.name,
        "title": TITLE.format(title=config.title, count=len(members)),
        "members": len(members),
        "threshold": round(float(np.mean([info.config.threshold for info in members])), 2),
        "modalities": tuple(dict.fromkeys(name for info in members for name in info.config.modalities)),
        "tabular": None if config.tabular is None else _join_tabular(members),
        "novelty_threshold": None,
        "provenance": _create_provenance(members, folders, recipe.seed),
    }
    return config.model_copy(update=values)


def _join_tabular(members: Sequence[BundleInfo]) -> TabularEncoding:
    """Return the encoding of patient data of an ensemble."""
    encodings = [info.config.tabular for info in members]
    return join_encodings([encoding for encoding in encodings if encoding is not None])


def _create_provenance(members: Sequence[BundleInfo], folders: Sequence[RunFolder], seed: int) -> dict[str, Any]:
    """Return the provenance: that of the first member, with all images of the folds."""
    images = [row.sample for folder in folders for row in read_data(folder.data) if row.part == "test"]
    counts = dict(sorted(Counter(sample.domain for sample in images).items()))
    first = dict(members[0].config.provenance)
    data = {**first["data"], "train": len(images), "validation": 0, "test": 0, "domains": counts}
    data["drawn"] = sum(sample.synthetic for sample in images)
    del data["fingerprint"]
    recipe = {**first["recipe"], "data": {**first["recipe"]["data"], "fold": None}, "seed": seed}
    metrics: dict[str, float] = {}
    for name in ("validation_jaccard", "validation_dice"):
        values = [info.config.provenance.get(name) for info in members]
        if None not in values:
            metrics[name] = round(float(np.mean(np.asarray(values, np.float64))), 4)
    return {
        **first,
        **metrics,
        "data": data,
        "recipe": recipe,
        "seed": seed,
        "train_images": counts,
        "members": [{"name": info.name, "fingerprint": info.fingerprint} for info in members],
        **collect_provenance(),
    }


def _set_calibration(network: nn.Module, members: Sequence[BundleInfo]) -> None:
    """Set temperature and bias of each member, so that calibrated logits are averaged."""
    import torch

    for index, info in enumerate(members):
        classifier = info.config.classifier
        assert classifier is not None
        network.get_buffer("temperature")[index] = classifier.temperature
        if classifier.bias:
            network.get_buffer("bias")[index] = torch.tensor(classifier.bias)


def _collect_reference(folders: Sequence[RunFolder], first: BundleInfo) -> ReferenceCases:
    """Return the reference cases: each image with the prediction of the member that was not trained on it."""
    reference = read_reference(first)
    if reference is None:
        raise BundleError(f"'{first.name}' has no reference cases. Train the fold again.")
    evaluations = [read_evaluation(folder.evaluation) for folder in folders]
    stored = [
        read_predictions(measured_rows(one.table), one.classes, one.positive, one.threshold) for one in evaluations
    ]
    probabilities = np.concatenate([predictions.probabilities for predictions in stored])
    return replace(
        reference,
        logits=np.log(np.clip(probabilities, SMALLEST, None)).astype(np.float32),
        labels=np.concatenate([predictions.labels for predictions in stored]).astype(np.int64),
        groups=number_groups(np.concatenate([predictions.groups for predictions in stored])),
        textures=None,
    )


def _describe_ensemble(config: BundleConfig, metrics: FoldMetrics) -> str:
    """Return the section of the card."""
    rows = "\n".join(f"| {label} | {mean} | {interval} |" for label, (mean, interval) in metrics.items())
    threshold = MASK_THRESHOLD if config.classifier is None else CLASS_THRESHOLD
    return CARD.format(count=config.members, threshold=threshold, rows=rows)
