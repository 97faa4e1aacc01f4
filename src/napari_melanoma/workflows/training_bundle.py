"""From a trained network to a bundle: its threshold, what it says of itself, and where it came from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.overlap import choose_best, jaccard_by_threshold
from napari_melanoma.core.classifier import ClassifierConfig
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.models.bundle import SLIDE, BundleConfig
from napari_melanoma.models.weights_files import WORDS
from napari_melanoma.models.zoo import architectures
from napari_melanoma.models.zoo.biomarker import BiomarkerConfig
from napari_melanoma.training.bag_prepare import PreparedBags
from napari_melanoma.training.depth_learning import depth_options
from napari_melanoma.training.prepare import Prepared
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.training_start import Parent, describe_start, fed_as

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch.utils.data import DataLoader

    from napari_melanoma.data.dataset import Sample
    from napari_melanoma.training.task import Task

THRESHOLDS = np.linspace(0.5, 1.0, 51)[:50]  # the fifty of P4's search; at 1 nothing would be lesion
HALF = np.array([0.5])
REVIEWED = ("accepted", "corrected")
PHANTOM, PARTLY = "phantom-trained, demonstration", "phantoms among what it was trained on"


def bundle_config(recipe: TrainRecipe, prepared: Prepared, parent: Parent | None) -> BundleConfig:
    """Say what the bundle of a run will say of itself, but for the threshold."""
    kept: dict[str, Any] = {**fed_as(recipe, parent)}
    if parent and parent.part == "all":
        kept["threshold"] = parent.threshold
    if recipe.classes:
        kept["classes"] = recipe.classes
    asked, data = recipe.classification, prepared.classes
    if asked is not None and data is not None:
        told = ClassifierConfig(
            positive=asked.positive, view=asked.view, mirrored=asked.mirrored, coverage=asked.coverage
        )
        kept |= {"task": "classification", "classes": data.names, "tabular": data.encoding, "classifier": told}
    if isinstance(prepared, PreparedBags) and prepared.kind is not None:
        kept["encoder"] = prepared.kind.encoder
    tile = prepared.kind.tile if isinstance(prepared, PreparedBags) and prepared.kind else recipe.tile
    named = recipe.modalities
    if tile is not None and SLIDE not in named:
        named = (*named, SLIDE)
    return BundleConfig(
        name=recipe.name,
        title=_title(recipe.title, [*prepared.samples.learn, *prepared.base_samples]),
        architecture=recipe.model.architecture,
        options=network_options(recipe, prepared),
        input_size=recipe.model.input_size,
        preprocessing=recipe.model.preprocessing,
        modalities=kinds_of(named, [sample.modality for sample in prepared.samples.learn]),
        tile=tile,
        licence=recipe.licence,
        provenance=_origin(recipe, prepared, parent),
        **kept,
    )


def _title(title: str, learnt: Sequence[Sample]) -> str:
    """The title of a recipe; of a model that has learnt from phantoms it says so, wherever the model is listed."""
    drawn = sum(sample.drawn for sample in learnt)
    if not drawn or PHANTOM in title:
        return title
    return f"{title}: {PHANTOM}" if drawn == len(learnt) else f"{title}: {PARTLY}"


def network_options(recipe: TrainRecipe, prepared: Prepared) -> dict[str, Any]:
    """Give the options of a network: those of the recipe, and for a classifier what its data decide."""
    data = prepared.classes
    if data is None:
        return recipe.model.options
    if isinstance(prepared, PreparedBags) and prepared.kind is not None:
        return {**recipe.model.options, "classes": len(data.names), "features": prepared.kind.encoder.features}
    shape = data.encoding.shape.model_dump(mode="json") if data.encoding else {}
    known = {**recipe.model.options, "classes": len(data.names), "tabular": shape}
    config = architectures()[recipe.model.architecture].spec.config.parse(known, "model.options")
    # What a model says that the run goes on from stays: its weights know no other scale.
    return {**depth_options(config, data), **known} if isinstance(config, BiomarkerConfig) else known


def kinds_of(named: Sequence[str], seen: Sequence[str | None]) -> tuple[str, ...]:
    """Say which kinds of photograph a model is for; nothing where that would leave out what it has learnt from.

    Those that are named first; empty where none is and the kind of some images is not known. A photograph of such a
    kind would be warned of as one that the model does not know.
    """
    if not named and None in seen:
        return ()
    return tuple(dict.fromkeys([*named, *sorted(kind for kind in seen if kind)]))


def choose_threshold(
    task: Task, loader: DataLoader, recipe: TrainRecipe, config: BundleConfig, run: RunContext
) -> BundleConfig:
    """Choose the threshold of a bundle by the rule of its recipe.

    ``task``: uint8 images (batch, 3, row, column) to logits (batch, 1, row, column). Returns the same with the
    threshold, and in its provenance with the rule and the mean Jaccard index at that threshold.
    """
    rule, usual = recipe.threshold_rule, config.threshold if config.provenance["parent"] else None
    thresholds = {
        "half": HALF,
        "best": THRESHOLDS,
        "steady": THRESHOLDS if usual is None else np.union1d(THRESHOLDS, [usual]),
    }[rule]
    curves = _jaccard_curves(task, loader, thresholds, run)
    kept = int(np.searchsorted(thresholds, usual)) if rule == "steady" and usual is not None else None
    best = choose_best(curves, kept)
    found = {"threshold_rule": rule, "tuning_jaccard": round(float(curves[:, best].mean()), 4)}
    threshold = round(float(thresholds[best]), 2)
    return config.model_copy(update={"threshold": threshold, "provenance": {**config.provenance, **found}})


def _jaccard_curves(
    task: Task, loader: DataLoader, thresholds: NDArray[np.float64], run: RunContext
) -> NDArray[np.float64]:
    """Jaccard index of each tuning image at each threshold, (image, threshold)."""
    import torch

    task.eval()
    curves = []
    with torch.inference_mode():
        for images, masks, _ in run.track(loader, "Choosing the threshold"):
            probabilities = torch.sigmoid(task(images.to(task.device)))[:, 0].cpu().numpy()
            truths = (masks[:, 0] > 127).numpy()
            curves += [jaccard_by_threshold(p, t, thresholds) for p, t in zip(probabilities, truths, strict=True)]
    return np.array(curves)


def _origin(recipe: TrainRecipe, prepared: Prepared, parent: Parent | None) -> dict[str, Any]:
    """Where a bundle comes from: parent, data, recipe, software."""
    parts = prepared.samples
    learnt = [*parts.learn, *prepared.base_samples]
    counts = dict(sorted(Counter(sample.domain for sample in learnt).items()))
    return {
        "parent": {"name": parent.name, "fingerprint": parent.fingerprint} if parent and parent.part == "all" else None,
        "data": {
            "fingerprint": prepared.fingerprint,
            "learn": len(parts.learn),
            "base": len(prepared.base_samples),
            "tuning": len(parts.tuning),
            "held_out": len(parts.held_out),
            "domains": counts,
            "drawn": sum(sample.drawn for sample in learnt),
        },
        "corrections": sum(sample.review in REVIEWED for sample in parts.learn),
        "recipe": _without_folders(recipe),
        "train_images": counts,
        "tuning_images": len(parts.tuning),
        "seed": recipe.seed,
        "start": describe_start(recipe, parent),
        "epochs": recipe.epochs,
        "loss": recipe.loss,
        **provenance(),
    }


def _without_folders(recipe: TrainRecipe) -> dict[str, Any]:
    """Dump a recipe; of folders the last part of the name stays."""
    values = recipe.model_dump(mode="json")
    for key in ("datasets", "base"):
        values["data"][key] = [Path(name).name for name in values["data"][key]]
    if recipe.model.start not in WORDS:
        values["model"]["start"] = Path(recipe.model.start).name
    return values
