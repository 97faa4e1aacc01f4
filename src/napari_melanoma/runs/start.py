"""What a run starts from, settled once: network and weights, the parent bundle, batch size; kept for resuming."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, MelanomaError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleConfig, load_network
from napari_melanoma.models.published_encoders import (
    find_imagenet_name,
    imagenet_normalization,
    load_encoder,
    load_imagenet_weights,
)
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.models.weights_location import explain_missing, find_weights_file, fingerprint_weights
from napari_melanoma.models.zoo import build_network, find_encoder, list_architectures
from napari_melanoma.training.engine import read_initial_weights
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)
RESOLVED_FILE = "settled.json"
WAIT_S, POLL_S = 3600.0, 0.2


class ParentModel(Config):
    """The bundle that a run started from: enough to know it again, and to feed its network the same way.

    ``part`` is what was taken: of a model of another task its encoder alone, so that there is nothing to compare with.
    """

    part: Literal["all", "encoder"] = "all"
    name: str
    fingerprint: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    threshold: float


def find_start_encoding(recipe: TrainRecipe) -> TabularEncoding | None:
    """Give the encoding of the classifier that a run goes on from: its weights know no other.

    None where the run starts from no classifier, or from one without a table.
    """
    if recipe.classification is None or not recipe.model.starts_from_bundle:
        return None
    bundle = find_bundle(recipe.model.start)
    if not recipe.continues_from(bundle.config):
        return None
    encoding, chosen = bundle.config.tabular, recipe.classification.tabular
    wanted = {column.name for column in (*chosen.numbers, *chosen.words)} if chosen else set()
    there = set(encoding.fields) if encoding else set()
    if wanted != there:
        raise RunError(
            f"'{bundle.name}' has learnt from the columns {', '.join(sorted(there)) or '(none)'}, the recipe names "
            f"{', '.join(sorted(wanted)) or 'none'}. Set classification.tabular to those of the model."
        )
    return encoding


class ResolvedSettings(Config):
    """What a recipe left open, as it was found when the run began; a resumed run does not ask again."""

    batch_size: int
    pieces: int = 1
    precision: Literal["fp32", "bf16"] | None = None  # runs that began before 2026-11-21 went by what the processor has
    parent: ParentModel | None = None

    @property
    def continued_model(self) -> ParentModel | None:
        """The model that the run goes on from; None where it took an encoder or nothing."""
        return self.parent if self.parent and self.parent.part == "all" else None


def find_parent(recipe: TrainRecipe) -> ParentModel | None:
    """Look up the bundle that a recipe starts from.

    None where it starts from ImageNet, from a file of weights or from nothing.
    """
    if not recipe.model.starts_from_bundle:
        return None
    bundle = find_bundle(recipe.model.start)
    config: BundleConfig = bundle.config
    known = {key: getattr(config, key) for key in ("name", "mean", "std", "threshold")}
    if not recipe.continues_from(config):
        return ParentModel(part="encoder", fingerprint=bundle.fingerprint, **known)
    if config.architecture != recipe.model.architecture:
        raise RunError(
            f"'{bundle.name}' is a {config.architecture}, the recipe asks for a {recipe.model.architecture}. "
            f'Set model.architecture = "{config.architecture}" and model.options to those of the bundle.'
        )
    if config.preprocessing.is_on and not recipe.model.preprocessing.is_on:
        asked = ", ".join(f"{key} = {json.dumps(value)}" for key, value in config.preprocessing.model_dump().items())
        raise RunError(
            f"'{bundle.name}' learnt from photographs that were prepared, the recipe prepares none. "
            f"Set model.preprocessing = {{ {asked} }}."
        )
    return ParentModel(fingerprint=bundle.fingerprint, **known)


def check_start(recipe: TrainRecipe) -> None:
    """Refuse a start that is not there, or that the network has no use for; reads no weights."""
    find_parent(recipe)
    find_start_encoding(recipe)
    file = find_weights_file(recipe.model.start)
    if file is not None and not file.is_file():
        raise BundleError(explain_missing(file))
    if recipe.model.start == "imagenet":
        _imagenet_name(recipe)


def create_network(
    recipe: TrainRecipe,
    options: Mapping[str, Any] | None = None,
    *,
    weights: bool = True,
    notify: Callable[[str], None] = log.warning,
) -> nn.Module:
    """Build the network of a recipe with the weights that it starts from."""
    import torch

    from napari_melanoma.models.published_weights import load_weights_file

    torch.manual_seed(recipe.seed)
    options = dict(recipe.model.options if options is None else options)
    network = build_network(recipe.model.architecture, options)
    if not weights or recipe.model.start == "none":
        return network
    if recipe.model.start == "imagenet":
        _load_imagenet_encoder(network, recipe)
        return network
    if file := find_weights_file(recipe.model.start):
        notify(load_weights_file(network, file))
        return network
    bundle = find_bundle(recipe.model.start)
    if not recipe.continues_from(bundle.config):
        notify(load_encoder(network, bundle))
        return network
    try:
        network.load_state_dict(load_network(bundle).state_dict())
    except RuntimeError as error:
        raise RunError(
            f"the weights of '{recipe.model.start}' do not fit the recipe's model.options {recipe.model.options}. "
            "Give the options that the bundle has: napari-melanoma models show NAME."
        ) from error
    return network


def describe_start(recipe: TrainRecipe, parent: ParentModel | None) -> str:
    """Say for a model's provenance what its training started from, without naming a folder.

    A word, or a name with the beginning of the hash of the weights; a file that has gone has its name alone.
    """
    if parent:
        part = "encoder of " if parent.part == "encoder" else ""
        return f"{part}{parent.name}, weights {parent.fingerprint[:12]}"
    file = find_weights_file(recipe.model.start)
    if file is None:
        return recipe.model.start
    return f"{file.name}, weights {fingerprint_weights(file)[:12]}" if file.is_file() else file.name


def find_normalization(recipe: TrainRecipe, parent: ParentModel | None) -> dict[str, tuple[float, float, float]]:
    """Say how images are normalised for the weights that a run starts from.

    Returns ``mean`` and ``std`` of RGB in [0, 1]: as the bundle says, or as the published weights of a classifier's
    encoder were learnt, from whatever file they come. Empty where neither has a say.
    """
    if parent:
        return {"mean": parent.mean, "std": parent.std}
    if recipe.model.pixels == "unit":
        return {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if recipe.task != "classification" or recipe.model.start == "none":
        return {}
    mean, std = imagenet_normalization(_imagenet_name(recipe))
    return {"mean": mean, "std": std}


def find_start_weights(recipe: TrainRecipe, folder: RunFolder, parent: ParentModel) -> Mapping[str, Tensor] | None:
    """Find the weights that a run started from: in its folder, or else in the bundle, if that is still the same.

    Name to value; None where they are lost.
    """
    kept = read_initial_weights(folder.start_weights)
    if kept is not None:
        return kept
    try:
        bundle = find_bundle(recipe.model.start)
        return load_network(bundle).state_dict() if bundle.fingerprint == parent.fingerprint else None
    except MelanomaError as error:
        log.warning("the bundle that the run started from cannot be read: %s", error)
        return None


def write_resolved(folder: RunFolder, resolved: ResolvedSettings) -> None:
    """Write down what was settled."""
    write_json(folder.path / RESOLVED_FILE, resolved.model_dump(mode="json"))


def read_resolved(folder: RunFolder) -> ResolvedSettings | None:
    """Read what was settled when a run began.

    None where nothing was yet.
    """
    path: Path = folder.path / RESOLVED_FILE
    return ResolvedSettings.parse(read_json(path), str(path)) if path.is_file() else None


def wait_for_resolved(folder: RunFolder, run: RunContext) -> ResolvedSettings:
    """Wait, in a further process of a run, until the first one has settled what all must know.

    Returns as the first process found it.
    """
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        run.check()
        if (found := read_resolved(folder)) is not None:
            return found
        time.sleep(POLL_S)
    raise RunError(f"the first process of the run did not prepare {folder.path}. Its own output says why.")


def _load_imagenet_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    """Put ImageNet weights into the network's encoder."""
    name, encoder = _imagenet_name(recipe), find_encoder(network)
    if encoder is None:
        raise RunError(f"{recipe.model.architecture} has no encoder for ImageNet weights. Start from 'none'.")
    load_imagenet_weights(encoder, name)


def _imagenet_name(recipe: TrainRecipe) -> str:
    """Name the encoder that ImageNet weights are for."""
    config = list_architectures()[recipe.model.architecture].spec.config.parse(recipe.model.options, "model.options")
    name = find_imagenet_name(config)
    if name is None:
        options = f" with {recipe.model.options}" if recipe.model.options else ""
        raise RunError(
            f"there are no ImageNet weights for {recipe.model.architecture}{options}. Start from 'none' or a model, or "
            "choose a network with an encoder, in its usual width."
        )
    return name
