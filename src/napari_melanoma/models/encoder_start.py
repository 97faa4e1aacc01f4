"""The encoder of a bundle as the start of another network: what a segmentation model has learnt to see of lesions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.normalisation import norms_of, refitted
from napari_melanoma.models.zoo import encoder_of

if TYPE_CHECKING:
    from torch import Tensor, nn

TIMM = "model."  # under which segmentation-models-pytorch and our classifiers hold what timm built
COUNTER = "num_batches_tracked"  # of batch normalisation; no weight


def load_encoder(network: nn.Module, info: BundleInfo) -> str:
    """Put the weights of a bundle's encoder into that of another network; all else of it stays as it is.

    What was taken, for a person.
    """
    source, target = encoder_of(load_network(info)), encoder_of(network)
    if source is None or target is None or not list(target.parameters()):
        lacking = (
            f"the network of '{info.name}' ({info.config.architecture})" if source is None else "the recipe's network"
        )
        raise BundleError(f"{lacking} has no encoder, so none can be taken over. Start from another model, or 'none'.")
    weights = _by_our_names(source, target)
    _refuse_another(info, weights, target)
    norms = norms_of(target)
    epsilons = {_bare(name): norm.eps for name, norm in norms_of(source).items()}
    fitted = refitted(weights, norms, {name: epsilons.get(_bare(name), norm.eps) for name, norm in norms.items()})
    target.load_state_dict(fitted)
    count = sum(not name.endswith(COUNTER) for name in fitted)
    return f"start: the encoder, {count} tensors, comes from '{info.name}'; the rest is random."


def _by_our_names(source: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """Find each tensor of an encoder in the other; either may hold it as what timm built, or directly."""
    known = {_bare(name): value for name, value in source.state_dict().items()}
    return {name: known[_bare(name)] for name in target.state_dict() if _bare(name) in known}


def _bare(name: str) -> str:
    """Name a tensor as timm does."""
    return name.removeprefix(TIMM)


def _refuse_another(info: BundleInfo, weights: dict[str, Tensor], target: nn.Module) -> None:
    """Refuse an encoder that lacks tensors, or has them in other shapes."""
    wanted = target.state_dict()
    fit = [name for name, value in weights.items() if value.shape == wanted[name].shape]
    if len(fit) == len(wanted):
        return
    encoder = info.config.options.get("encoder", f"that of {info.config.architecture}")
    own = getattr(target, "name", type(target).__name__)
    raise BundleError(
        f"the encoder of '{info.name}' ({encoder}) is another than the recipe's ({own}): {len(fit)} of {len(wanted)} "
        "tensors fit. Set model.options.encoder to the same name."
    )
