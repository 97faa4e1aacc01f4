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
from napari_melanoma.core.prediction import TabularEncoding
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleConfig, load_network
from napari_melanoma.models.published_encoders import imagenet_name, imagenet_normalisation, load_encoder, load_imagenet
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.models.weights_location import fingerprint, weights_file, why_absent
from napari_melanoma.models.zoo import architectures, build_network, encoder_of
from napari_melanoma.training.engine import read_start
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)
SETTLED = "settled.json"
WAIT_S, ASK_AGAIN_S = 3600.0, 0.2


class Parent(Config):
    """The bundle that a run started from: enough to know it again, and to feed its network the same way.

    ``part`` is what was taken: of a model of another task its encoder alone, so that there is nothing to compare with.
    """

    part: Literal["all", "encoder"] = "all"
    name: str
    fingerprint: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    threshold: float


def encoding_of_start(recipe: TrainRecipe) -> TabularEncoding | None:
    """Give the encoding of the classifier that a run goes on from: its weights know no other.

    None where the run starts from no classifier, or from one without a table.
    """
    if recipe.classification is None or not recipe.model.starts_from_bundle:
        return None
    bundle = find_bundle(recipe.model.start)
    if not recipe.goes_on_from(bundle.config):
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


class Settled(Config):
    """What a recipe left open, as it was found when the run began; a resumed run does not ask again."""

    batch_size: int
    pieces: int = 1
    precision: Literal["fp32", "bf16"] | None = None  # runs that began before 2026-11-21 went by what the processor has
    parent: Parent | None = None

    @property
    def whole(self) -> Parent | None:
        """The model that the run goes on from; None where it took an encoder or nothing."""
        return self.parent if self.parent and self.parent.part == "all" else None


def parent_of(recipe: TrainRecipe) -> Parent | None:
    """Look up the bundle that a recipe starts from.

    None where it starts from ImageNet, from a file of weights or from nothing.
    """
    if not recipe.model.starts_from_bundle:
        return None
    bundle = find_bundle(recipe.model.start)
    config: BundleConfig = bundle.config
    known = {key: getattr(config, key) for key in ("name", "mean", "std", "threshold")}
    if not recipe.goes_on_from(config):
        return Parent(part="encoder", fingerprint=bundle.fingerprint, **known)
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
    return Parent(fingerprint=bundle.fingerprint, **known)


def check_start(recipe: TrainRecipe) -> None:
    """Refuse a start that is not there, or that the network has no use for; reads no weights."""
    parent_of(recipe)
    encoding_of_start(recipe)
    file = weights_file(recipe.model.start)
    if file is not None and not file.is_file():
        raise BundleError(why_absent(file))
    if recipe.model.start == "imagenet":
        _imagenet_name(recipe)


def start_network(
    recipe: TrainRecipe,
    options: Mapping[str, Any] | None = None,
    *,
    weights: bool = True,
    tell: Callable[[str], None] = log.warning,
) -> nn.Module:
    """Build the network of a recipe with the weights that it starts from."""
    import torch

    from napari_melanoma.models.published_weights import load_file

    torch.manual_seed(recipe.seed)
    options = dict(recipe.model.options if options is None else options)
    network = build_network(recipe.model.architecture, options)
    if not weights or recipe.model.start == "none":
        return network
    if recipe.model.start == "imagenet":
        _start_encoder(network, recipe)
        return network
    if file := weights_file(recipe.model.start):
        tell(load_file(network, file))
        return network
    bundle = find_bundle(recipe.model.start)
    if not recipe.goes_on_from(bundle.config):
        tell(load_encoder(network, bundle))
        return network
    try:
        network.load_state_dict(load_network(bundle).state_dict())
    except RuntimeError as error:
        raise RunError(
            f"the weights of '{recipe.model.start}' do not fit the recipe's model.options {recipe.model.options}. "
            "Give the options that the bundle has: napari-melanoma models show NAME."
        ) from error
    return network


def describe_start(recipe: TrainRecipe, parent: Parent | None) -> str:
    """Say for a model's provenance what its training started from, without naming a folder.

    A word, or a name with the beginning of the hash of the weights; a file that has gone has its name alone.
    """
    if parent:
        part = "encoder of " if parent.part == "encoder" else ""
        return f"{part}{parent.name}, weights {parent.fingerprint[:12]}"
    file = weights_file(recipe.model.start)
    if file is None:
        return recipe.model.start
    return f"{file.name}, weights {fingerprint(file)[:12]}" if file.is_file() else file.name


def fed_as(recipe: TrainRecipe, parent: Parent | None) -> dict[str, tuple[float, float, float]]:
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
    mean, std = imagenet_normalisation(_imagenet_name(recipe))
    return {"mean": mean, "std": std}


def weights_of_start(recipe: TrainRecipe, folder: RunFolder, parent: Parent) -> Mapping[str, Tensor] | None:
    """Find the weights that a run started from: in its folder, or else in the bundle, if that is still the same.

    Name to value; None where they are lost.
    """
    kept = read_start(folder.start_weights)
    if kept is not None:
        return kept
    try:
        bundle = find_bundle(recipe.model.start)
        return load_network(bundle).state_dict() if bundle.fingerprint == parent.fingerprint else None
    except MelanomaError as error:
        log.warning("the bundle that the run started from cannot be read: %s", error)
        return None


def settle(folder: RunFolder, settled: Settled) -> None:
    """Write down what was settled."""
    write_json(folder.path / SETTLED, settled.model_dump(mode="json"))


def settled_in(folder: RunFolder) -> Settled | None:
    """Read what was settled when a run began.

    None where nothing was yet.
    """
    path: Path = folder.path / SETTLED
    return Settled.parse(read_json(path), str(path)) if path.is_file() else None


def wait_for_settled(folder: RunFolder, run: RunContext) -> Settled:
    """Wait, in a further process of a run, until the first one has settled what all must know.

    Returns as the first process found it.
    """
    end = time.monotonic() + WAIT_S
    while time.monotonic() < end:
        run.check()
        if (found := settled_in(folder)) is not None:
            return found
        time.sleep(ASK_AGAIN_S)
    raise RunError(f"the first process of the run did not prepare {folder.path}. Its own output says why.")


def _start_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    """Put ImageNet weights into the network's encoder."""
    name, encoder = _imagenet_name(recipe), encoder_of(network)
    if encoder is None:
        raise RunError(f"{recipe.model.architecture} has no encoder for ImageNet weights. Start from 'none'.")
    load_imagenet(encoder, name)


def _imagenet_name(recipe: TrainRecipe) -> str:
    """Name the encoder that ImageNet weights are for."""
    config = architectures()[recipe.model.architecture].spec.config.parse(recipe.model.options, "model.options")
    name = imagenet_name(config)
    if name is None:
        options = f" with {recipe.model.options}" if recipe.model.options else ""
        raise RunError(
            f"there are no ImageNet weights for {recipe.model.architecture}{options}. Start from 'none' or a model, or "
            "choose a network with an encoder, in its usual width."
        )
    return name
