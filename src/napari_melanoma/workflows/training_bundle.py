"""From a trained network to a bundle: its threshold, what it says of itself, and where it came from."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_melanoma.analysis.overlap import choose_best, jaccard_by_threshold
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.runs import RunContext
from napari_melanoma.models.bundle import BundleConfig
from napari_melanoma.training.prepare import Prepared
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.training_start import WORDS, Parent

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader

THRESHOLDS = np.linspace(0.5, 1.0, 51)[:50]  # the fifty of P4's search; at 1 nothing would be lesion
REVIEWED = ("accepted", "corrected")


def bundle_config(recipe: TrainRecipe, prepared: Prepared, parent: Parent | None) -> BundleConfig:
    """Say what the bundle of a run will say of itself, but for the threshold.

    Parameters
    ----------
    recipe : TrainRecipe
        Of the run.
    prepared : Prepared
        Its images.
    parent : Parent, optional
        The bundle that it started from; its network wants to be fed as before.

    Returns
    -------
    BundleConfig
        Names no folder of anybody's.
    """
    seen = [sample.modality for sample in prepared.samples.learn if sample.modality]
    kept: dict[str, Any] = parent.model_dump(include={"mean", "std", "threshold"}) if parent else {}
    return BundleConfig(
        name=recipe.name,
        title=recipe.title,
        architecture=recipe.model.architecture,
        options=recipe.model.options,
        input_size=recipe.model.input_size,
        modalities=tuple(dict.fromkeys([*recipe.modalities, *sorted(seen)])),
        licence=recipe.licence,
        provenance=_origin(recipe, prepared, parent),
        **kept,
    )


def choose_threshold(
    task: nn.Module, loader: DataLoader, run: RunContext, *, usual: float | None = None
) -> tuple[float, float]:
    """Find the threshold, of fifty in [0.5, 1), with the highest mean Jaccard index (as P4 does).

    A model that was fine-tuned keeps the threshold of its parent unless another is better by more than chance.

    Parameters
    ----------
    task : torch.nn.Module
        uint8 images (batch, 3, row, column) to logits (batch, 1, row, column).
    loader : torch.utils.data.DataLoader
        Batches of images, masks and keys that were not learnt from.
    run : RunContext
        Asked whether to go on.
    usual : float, optional
        The parent's threshold; none by default.

    Returns
    -------
    threshold, jaccard : float
        The threshold and its mean Jaccard index.
    """
    import torch

    task.eval()
    device = next(task.parameters()).device
    thresholds = THRESHOLDS if usual is None else np.union1d(THRESHOLDS, [usual])
    curves = []
    with torch.inference_mode():
        for images, masks, _ in run.track(loader, "Choosing the threshold"):
            probabilities = torch.sigmoid(task(images.to(device)))[:, 0].cpu().numpy()
            truths = (masks[:, 0] > 127).numpy()
            curves += [jaccard_by_threshold(p, t, thresholds) for p, t in zip(probabilities, truths, strict=True)]
    found = np.array(curves)
    best = choose_best(found, None if usual is None else int(np.searchsorted(thresholds, usual)))
    return round(float(thresholds[best]), 2), float(found[:, best].mean())


def _origin(recipe: TrainRecipe, prepared: Prepared, parent: Parent | None) -> dict[str, Any]:
    """Where a bundle comes from: parent, data, recipe, software."""
    parts = prepared.samples
    learnt = [*parts.learn, *prepared.base_samples]
    counts = dict(sorted(Counter(sample.domain for sample in learnt).items()))
    return {
        "parent": {"name": parent.name, "fingerprint": parent.fingerprint} if parent else None,
        "data": {
            "fingerprint": prepared.fingerprint,
            "learn": len(parts.learn),
            "base": len(prepared.base_samples),
            "tuning": len(parts.tuning),
            "held_out": len(parts.held_out),
            "domains": counts,
        },
        "corrections": sum(sample.review in REVIEWED for sample in parts.learn),
        "recipe": _without_folders(recipe),
        "train_images": counts,
        "tuning_images": len(parts.tuning),
        "seed": recipe.seed,
        "start": f"{parent.name}, weights {parent.fingerprint[:12]}" if parent else recipe.model.start,
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
