"""The network and weights that a run starts from, and its parent bundle."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import BundleError, MelanomaError, RunError
from napari_melanoma.core.prediction_config import CloserViews, TabularEncoding, TurnedViews
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.models.bundle import BundleConfig, BundleInfo, load_network
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.models.published_encoders import (
    explain_missing_weights,
    find_imagenet_name,
    imagenet_normalization,
    load_encoder,
    load_imagenet_weights,
)
from napari_melanoma.models.weights_files import find_weights_file, fingerprint_weights, load_weights_file
from napari_melanoma.models.zoo import build_network, find_encoder
from napari_melanoma.training.engine import read_initial_weights
from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

log = logging.getLogger(__name__)


class ParentModel(Config):
    """The bundle that a run started from: its identity and input normalization.

    ``part`` is ``"encoder"`` if only its encoder is used: for another task or other classes, or with
    ``model.start_weights = "encoder"``. The new model is then not compared with it.
    """

    part: Literal["all", "encoder"] = "all"
    name: str
    fingerprint: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    threshold: float
    closer_views: CloserViews = ()
    turned_views: TurnedViews | None = None


def find_start_encoding(recipe: TrainRecipe) -> TabularEncoding | None:
    """Return the encoding of patient data in the classifier that a run continues from; None without."""
    if recipe.classification is None or not recipe.model.starts_from_bundle:
        return None
    bundle = find_bundle(recipe.model.start)
    if not recipe.continues_from(bundle.config):
        return None
    encoding, columns = bundle.config.tabular, recipe.classification.tabular
    expected = {column.name for column in (*columns.numbers, *columns.words)} if columns else set()
    present = set(encoding.fields) if encoding else set()
    if expected != present:
        other = ", or model.start_weights to 'encoder' for a new head with the columns of the recipe"
        raise RunError(
            f"'{bundle.name}' was trained on the columns {', '.join(sorted(present)) or '(none)'}, the recipe names "
            f"{', '.join(sorted(expected)) or 'none'}. Set classification.tabular to those of the "
            f"model{other if _has_same_encoder(recipe, bundle) else ''}."
        )
    return encoding


def _has_same_encoder(recipe: TrainRecipe, bundle: BundleInfo) -> bool:
    try:
        load_encoder(build_network(recipe.model.architecture, recipe.model.options), bundle)
    except MelanomaError:
        return False
    return True


def find_parent(recipe: TrainRecipe) -> ParentModel | None:
    """Return the bundle that a recipe starts from; None for ImageNet, a weights file or random weights.

    Raises ``RunError`` if the recipe does not match the bundle.
    """
    if not recipe.model.starts_from_bundle:
        return None
    bundle = find_bundle(recipe.model.start)
    config: BundleConfig = bundle.config
    values = {key: getattr(config, key) for key in ("name", "mean", "std", "threshold")}
    if not recipe.continues_from(config):
        return ParentModel(part="encoder", fingerprint=bundle.fingerprint, **values)
    if config.architecture != recipe.model.architecture:
        raise RunError(
            f"'{bundle.name}' is a {config.architecture}, the recipe requires a {recipe.model.architecture}. "
            f'Set model.architecture = "{config.architecture}" and model.options to those of the bundle.'
        )
    if config.preprocessing.is_on and not recipe.model.preprocessing.is_on:
        options = ", ".join(f"{key} = {json.dumps(value)}" for key, value in config.preprocessing.model_dump().items())
        raise RunError(
            f"'{bundle.name}' was trained with preprocessing, but the recipe has none. "
            f"Set model.preprocessing = {{ {options} }}."
        )
    views = {"closer_views": config.closer_views, "turned_views": config.turned_views}
    return ParentModel(fingerprint=bundle.fingerprint, **values, **views)


def check_parent(recipe: TrainRecipe, parent: ParentModel | None) -> None:
    """Raise an error if the bundle that a run began with was replaced before its weights were trained."""
    if parent is not None and find_bundle(recipe.model.start).fingerprint != parent.fingerprint:
        raise RunError(
            f"'{recipe.model.start}' is not the model that the run began with: it was replaced since. Restore it, or "
            "start a new run in another folder."
        )


def check_start(recipe: TrainRecipe) -> None:
    """Raise an error if the starting weights are missing, or of a bundle that does not match the recipe.

    The shapes of the weights are not checked, as they are not read.
    """
    find_parent(recipe)
    find_start_encoding(recipe)
    file = find_weights_file(recipe.model.start)
    if file is not None and not file.is_file():
        raise BundleError(f"no weights file {file} was found. Select an existing file.")
    if recipe.model.start == "imagenet" and (why := explain_missing_weights(_imagenet_name(recipe))):
        raise BundleError(why)


def create_network(
    recipe: TrainRecipe,
    options: Mapping[str, Any] | None = None,
    *,
    weights: bool = True,
    notify: Callable[[str], None] = log.warning,
) -> nn.Module:
    """Build the network of a recipe with its starting weights.

    ``options``: of the network; by default those of the recipe. ``weights``: False leaves the weights random, for a run
    that is resumed from a checkpoint. ``notify``: called with a sentence about weights that were only partly used.
    """
    import torch

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
    """Describe the starting weights for the provenance, without paths: a word, or a name with a fingerprint."""
    if parent:
        part = "encoder of " if parent.part == "encoder" else ""
        return f"{part}{parent.name}, weights {parent.fingerprint[:12]}"
    file = find_weights_file(recipe.model.start)
    if file is None:
        return recipe.model.start
    return f"{file.name}, weights {fingerprint_weights(file)[:12]}" if file.is_file() else file.name


def find_normalization(recipe: TrainRecipe, parent: ParentModel | None) -> dict[str, tuple[float, float, float]]:
    """Return the normalization of images, ``mean`` and ``std`` of RGB in [0, 1], that the starting weights require.

    It is that of the parent bundle; without one, mean 0 and standard deviation 1 if the recipe scales pixels to [0, 1],
    or that of the published weights of a classifier's encoder. Empty in other cases, also for a weights file if
    no weights are published for the encoder.
    """
    if parent:
        return {"mean": parent.mean, "std": parent.std}
    if recipe.model.pixels == "unit":
        return {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}
    if recipe.task != "classification" or recipe.model.start == "none":
        return {}
    name = find_imagenet_name(recipe.model.architecture, recipe.model.options)
    if name is None and recipe.model.start != "imagenet":
        return {}
    mean, std = imagenet_normalization(name or _imagenet_name(recipe))
    return {"mean": mean, "std": std}


def find_start_weights(recipe: TrainRecipe, folder: RunFolder, parent: ParentModel) -> Mapping[str, Tensor] | None:
    """Find the starting weights of a run in its folder, or in its parent bundle; None if they are lost.

    A bundle with this name but other weights is not used.
    """
    saved = read_initial_weights(folder.start_weights)
    if saved is not None:
        return saved
    try:
        bundle = find_bundle(recipe.model.start)
        return load_network(bundle).state_dict() if bundle.fingerprint == parent.fingerprint else None
    except MelanomaError as error:
        log.warning("the bundle that the run started from cannot be read: %s", error)
        return None


def _load_imagenet_encoder(network: nn.Module, recipe: TrainRecipe) -> None:
    name, encoder = _imagenet_name(recipe), find_encoder(network)
    if encoder is None:
        raise RunError(f"{recipe.model.architecture} has no encoder for ImageNet weights. Set model.start to 'none'.")
    load_imagenet_weights(encoder, name)


def _imagenet_name(recipe: TrainRecipe) -> str:
    name = find_imagenet_name(recipe.model.architecture, recipe.model.options)
    if name is None:
        options = f" with {recipe.model.options}" if recipe.model.options else ""
        raise RunError(
            f"there are no ImageNet weights for {recipe.model.architecture}{options}. Set model.start to 'none' "
            "or a model, or choose a network with an encoder of standard width."
        )
    return name
