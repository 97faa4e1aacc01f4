"""Train a model: from a recipe to a run folder whose last part is a bundle."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.analysis.overlap import jaccard_by_threshold
from napari_melanoma.core.config import read_toml, write_toml
from napari_melanoma.core.errors import RunError
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.run_folder import ListeningContext, RunFolder
from napari_melanoma.core.runs import Cancelled, RunContext
from napari_melanoma.data.dataset import Sample, read_dataset, with_masks
from napari_melanoma.data.splits import hold_out
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, load_network, write_bundle
from napari_melanoma.models.imagenet import load_imagenet
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.models.zoo import architectures, build_network, encoder_of
from napari_melanoma.training.cache import build_cache
from napari_melanoma.training.engine import fit
from napari_melanoma.training.loader import check_sizes, training_loader, tuning_loader
from napari_melanoma.training.recipe import TrainRecipe
from napari_melanoma.workflows.model_card import draft_card

if TYPE_CHECKING:
    from torch import nn
    from torch.utils.data import DataLoader

EVERY_SPLIT = "all"
log = logging.getLogger(__name__)
THRESHOLDS = np.linspace(0.5, 1.0, 51)[:50]  # the fifty of P4's search; at 1 nothing would be lesion


@dataclass(frozen=True)
class TrainingData:
    """The images of a run: what is learnt from, and what picks epoch and threshold; no patient is in both."""

    train: list[Sample]
    tuning: list[Sample]


def train(recipe: TrainRecipe, out: Path, *, resume: bool, run: RunContext) -> BundleInfo:
    """Run a recipe.

    Parameters
    ----------
    recipe : TrainRecipe
        What to learn, from what, and how.
    out : pathlib.Path
        The run folder; it must be new unless ``resume``.
    resume : bool
        Go on from the last finished epoch of an earlier run of the same recipe.
    run : RunContext
        Told of the progress, asked whether to go on.

    Returns
    -------
    BundleInfo
        The model of the best epoch, in ``out/bundle``.

    Raises
    ------
    DataSetError
        Where the data cannot serve; nothing was trained.
    RunError
        Where the folder holds another run, or there is nothing to resume.
    Cancelled
        Where the user stopped it; the folder can be resumed.
    """
    data = load_data(recipe)
    network = start_network(recipe)  # before anything is written: a start that fails leaves no folder in its own way
    folder = _prepare(recipe, out, resume)
    folder.tell("started", train=len(data.train), tuning=len(data.tuning), resumed=resume, **provenance())
    with folder.logged():
        try:
            bundle = _run(recipe, data, network, folder, ListeningContext(run, folder))
        except Cancelled:
            folder.tell("cancelled")
            raise
        except Exception as error:
            log.exception("the run failed")
            folder.tell("failed", type=type(error).__name__, message=str(error))
            raise
    folder.tell("finished", threshold=bundle.config.threshold)
    return bundle


def load_data(recipe: TrainRecipe) -> TrainingData:
    """Read and split what a recipe learns from.

    Parameters
    ----------
    recipe : TrainRecipe
        Names the data sets.

    Returns
    -------
    TrainingData
        Samples with masks.

    Raises
    ------
    DataSetError
        Where a data set is missing or faulty.
    RunError
        Where there are too few images.
    """
    split = None if recipe.data.split == EVERY_SPLIT else recipe.data.split
    samples = [
        sample for name in recipe.data.datasets for sample in with_masks(read_dataset(Path(name).expanduser()), split)
    ]
    kept, aside = hold_out(samples, recipe.data.tuning_fraction, recipe.seed)
    fault = check_sizes(kept, aside, recipe.batch_size)
    if fault:
        raise RunError(fault)
    return TrainingData(kept, aside)


def start_network(recipe: TrainRecipe) -> nn.Module:
    """Build the network of a recipe with the weights that it starts from.

    Parameters
    ----------
    recipe : TrainRecipe
        Its ``model`` part and seed.

    Returns
    -------
    torch.nn.Module
        Ready to learn.

    Raises
    ------
    BundleError
        Where the weights to start from are missing or do not fit.
    """
    import torch

    torch.manual_seed(recipe.seed)
    network = build_network(recipe.model.architecture, recipe.model.options)
    if recipe.model.start == "imagenet":
        _start_encoder(network, recipe)
    elif recipe.model.start != "none":
        network.load_state_dict(load_network(find_bundle(recipe.model.start)).state_dict())
    return network


def _start_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    """Put ImageNet weights into the network's encoder."""
    encoder = encoder_of(network)
    config = architectures()[recipe.model.architecture].spec.config.parse(recipe.model.options, "model.options")
    if encoder is None:
        raise RunError(f"{recipe.model.architecture} has no encoder for ImageNet weights. Start from 'none'.")
    load_imagenet(encoder, config.model_dump()["encoder"])


def _prepare(recipe: TrainRecipe, out: Path, resume: bool) -> RunFolder:
    """Make the run folder, or check that the one that is there can be resumed."""
    folder = RunFolder(out)
    if not resume:
        if folder.config.exists():
            raise RunError(f"{out} holds a run already. Name a new folder, or resume it with --resume.")
        write_toml(folder.config, recipe)
    elif not folder.config.exists():
        raise RunError(f"{out} holds no run to resume: it has no config.toml. Start one without --resume.")
    elif read_toml(folder.config, TrainRecipe) != recipe:
        raise RunError(f"{out} was started with another recipe. Resume it with its own: --config {folder.config}.")
    folder.ask("run")
    return folder


def _run(recipe: TrainRecipe, data: TrainingData, network: nn.Module, folder: RunFolder, run: RunContext) -> BundleInfo:
    """Decode, train, choose the threshold, write the bundle."""
    import torch
    from platformdirs import user_cache_path

    from napari_melanoma.training.segmentation import SegmentationTask

    caches = user_cache_path("napari-melanoma", appauthor=False) / "training"
    train_cache = build_cache(data.train, recipe.data.cache_size, caches, run=run)
    tuning_cache = build_cache(data.tuning, recipe.data.cache_size, caches, run=run)
    config = _bundle_config(recipe, data)
    task = SegmentationTask(network, recipe, config)
    if folder.last_checkpoint.exists():
        state = torch.load(folder.last_checkpoint, map_location="cpu", weights_only=True)
        folder.keep_metrics_before(int(state["epoch"]) + 1)
    loaders = training_loader(train_cache, recipe), tuning_loader(tuning_cache, recipe)
    fit(task, loaders, recipe, folder, run)
    threshold, jaccard = choose_threshold(task, loaders[1], run)
    provenance_ = {**config.provenance, "tuning_jaccard": round(jaccard, 4)}
    config = config.model_copy(update={"threshold": threshold, "provenance": provenance_})
    log.info("best tuning Jaccard %.4f at threshold %.2f", jaccard, threshold)
    return write_bundle(folder.bundle, config, task.network, draft_card(config))


def choose_threshold(task: nn.Module, loader: DataLoader, run: RunContext) -> tuple[float, float]:
    """Find the threshold, of fifty in [0.5, 1), with the highest mean Jaccard index (as P4 does).

    Parameters
    ----------
    task : torch.nn.Module
        uint8 images (batch, 3, row, column) to logits (batch, 1, row, column).
    loader : torch.utils.data.DataLoader
        Batches of images and masks that were not learnt from.
    run : RunContext
        Asked whether to go on.

    Returns
    -------
    threshold, jaccard : float
        The threshold and its mean Jaccard index.
    """
    import torch

    task.eval()
    curves = []
    with torch.inference_mode():
        for images, masks in run.track(loader, "Choosing the threshold"):
            probabilities = torch.sigmoid(task(images))[:, 0].numpy()
            truths = (masks[:, 0] > 127).numpy()
            curves += [jaccard_by_threshold(p, t, THRESHOLDS) for p, t in zip(probabilities, truths, strict=True)]
    mean = np.mean(curves, axis=0)
    best = int(mean.argmax())
    return round(float(THRESHOLDS[best]), 2), float(mean[best])


def _bundle_config(recipe: TrainRecipe, data: TrainingData) -> BundleConfig:
    """Say what the bundle of a recipe will say of itself, but for the threshold."""
    domains = {sample.domain for sample in data.train}
    counts = {domain: sum(sample.domain == domain for sample in data.train) for domain in sorted(domains)}
    return BundleConfig(
        name=recipe.name,
        title=recipe.title,
        architecture=recipe.model.architecture,
        options=recipe.model.options,
        input_size=recipe.model.input_size,
        modalities=recipe.modalities,
        licence=recipe.licence,
        provenance={
            "train_images": counts,
            "tuning_images": len(data.tuning),
            "seed": recipe.seed,
            "start": _start_name(recipe.model.start),
            "epochs": recipe.epochs,
            "loss": recipe.loss,
            "lightning": version("lightning"),
            **provenance(),
        },
    )


def _start_name(start: str) -> str:
    """Say what a run started from without naming anybody's folder."""
    if start in ("imagenet", "none"):
        return start
    bundle = find_bundle(start)
    return f"{bundle.name}, weights {bundle.fingerprint[:12]}"
