"""Networks of segmentation-models-pytorch over its own encoders and those of timm; ``smp`` builds any of them."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.models.zoo import ArchitectureSpec, OutputMaps, list_network

if TYPE_CHECKING:
    from torch import nn

TIMM_PREFIX = "tu-"  # prefix of timm encoders in segmentation-models-pytorch
LEVELS = 5  # of an encoder


class UNetConfig(Config):
    """Options of the U-Net decoder; its depth follows the number of decoder levels."""

    encoder: str = Field("tf_efficientnet_lite0", description="name of a timm encoder")
    decoder_channels: tuple[int, ...] = Field(
        (128, 64, 48, 32, 16), min_length=3, max_length=5, description="channels of each decoder level, deepest first"
    )
    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec(
        "unet",
        "U-Net",
        "Ronneberger et al. 2015, doi:10.1007/978-3-319-24574-4_28",
        config=UNetConfig,
        small={"encoder": "test_efficientnet", "decoder_channels": [16, 16, 8, 8, 8]},
    )
)
def unet(config: UNetConfig) -> nn.Module:
    channels = config.decoder_channels
    arguments = {"encoder_depth": len(channels), "decoder_channels": channels}
    return _build_smp("Unet", f"{TIMM_PREFIX}{config.encoder}", config.classes, **arguments)


class UNetPlusPlusConfig(Config):
    """Options of the dense U-Net++; its depth follows the number of decoder levels."""

    encoder: str = Field("tf_efficientnet_lite0", description="an encoder of segmentation-models-pytorch or timm")
    decoder_channels: tuple[int, ...] = Field(
        (256, 128, 64, 32, 16), min_length=3, max_length=5, description="channels of each decoder level, deepest first"
    )
    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec(
        "unetplusplus",
        "U-Net++ (dense)",
        "Zhou et al. 2018, doi:10.1007/978-3-030-00889-5_1",
        config=UNetPlusPlusConfig,
        small={"encoder": "test_efficientnet", "decoder_channels": [32, 16, 16, 8, 8]},
    )
)
def unetplusplus(config: UNetPlusPlusConfig) -> nn.Module:
    channels = config.decoder_channels
    arguments = {"encoder_depth": len(channels), "decoder_channels": channels}
    return _build_smp("UnetPlusPlus", config.encoder, config.classes, **arguments)


class DeepLabV3PlusConfig(Config):
    """Options of DeepLabv3+; the default encoder is EfficientNet-Lite0 (Tan and Le 2019, without SE and swish)."""

    encoder: str = Field("tf_efficientnet_lite0", description="name of a timm encoder")
    output_stride: Literal[8, 16] = Field(16, description="downsampling factor of the deepest features")
    levels_left_off: Literal[0, 1, 2] = Field(
        0, title="Omitted encoder levels", description="omitted last levels of the encoder, for a smaller network"
    )
    decoder_channels: int = Field(256, ge=16, description="channels of the decoder")
    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec(
        "deeplabv3plus",
        "DeepLabv3+",
        "Chen et al. 2018, doi:10.1007/978-3-030-01234-2_49",
        config=DeepLabV3PlusConfig,
        small={"encoder": "test_efficientnet", "decoder_channels": 16},
    )
)
def deeplabv3plus(config: DeepLabV3PlusConfig) -> nn.Module:
    from napari_melanoma.models.blocks.timm_encoder import remove_unused_blocks

    network: Any = _build_smp(
        "DeepLabV3Plus",
        f"{TIMM_PREFIX}{config.encoder}",
        config.classes,
        encoder_depth=LEVELS - config.levels_left_off,
        encoder_output_stride=config.output_stride,
        decoder_channels=config.decoder_channels,
    )
    if config.levels_left_off:
        remove_unused_blocks(network.encoder.model)
    return network


class SegFormerConfig(Config):
    """Options of SegFormer; 3.7 million weights with the smallest encoder, 24.7 million with ``mit_b2``."""

    encoder: str = Field("mit_b0", description="mit_b0 to mit_b5, or another of segmentation-models-pytorch or timm")
    decoder_channels: int = Field(256, ge=8, description="channels of the decoder")
    classes: OutputMaps = 1


@list_network(
    ArchitectureSpec(
        "segformer",
        "SegFormer",
        "Xie et al. 2021, arXiv:2105.15203",
        config=SegFormerConfig,
        small={"decoder_channels": 32},
    )
)
def segformer(config: SegFormerConfig) -> nn.Module:
    channels = config.decoder_channels
    return _build_smp("Segformer", config.encoder, config.classes, decoder_segmentation_channels=channels)


SmpArchitecture = Literal[
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "DeepLabV3",
    "DeepLabV3Plus",
    "PAN",
    "UPerNet",
    "Segformer",
    "DPT",
]
RESERVED_ARGUMENTS = ("encoder_name", "encoder_weights", "in_channels", "classes", "activation", "aux_params")


def _check_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Refuse arguments that other options set: inputs, outputs and initial weights."""
    if reserved := sorted(set(arguments) & set(RESERVED_ARGUMENTS)):
        raise ValueError(f"{', '.join(reserved)} cannot be set here: use encoder, classes and model.start")
    return arguments


class SmpConfig(Config):
    """Options of a network of segmentation-models-pytorch.

    DPT requires vision transformers of timm (``vit_base_patch16_224`` ...), PAN requires images of at least 128 pixels
    (256 with ``encoder_output_stride = 32``).
    """

    network: SmpArchitecture = Field("FPN", description="class of the network in segmentation-models-pytorch")
    encoder: str = Field("tf_efficientnet_lite0", description="an encoder of segmentation-models-pytorch or timm")
    arguments: Annotated[dict[str, Any], AfterValidator(_check_arguments)] = Field(
        title="Further arguments", default_factory=dict, description="further arguments of that class"
    )
    classes: OutputMaps = 1

    @property
    def least_size(self) -> int:
        """Smallest supported image side in pixels; PAN halves the deepest features three times more."""
        stride = self.arguments.get("encoder_output_stride", 16)
        return 8 * stride if self.network == "PAN" and isinstance(stride, int) else 32


@list_network(
    ArchitectureSpec(
        "smp",
        "Any of segmentation-models-pytorch",
        "Iakubovskii 2019, https://github.com/qubvel-org/segmentation_models.pytorch",
        config=SmpConfig,
        small={
            "encoder": "test_efficientnet",
            "arguments": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 64},
        },
    )
)
def smp(config: SmpConfig) -> nn.Module:
    any_size = {"dynamic_img_size": True} if config.network == "DPT" else {}
    return _build_smp(config.network, config.encoder, config.classes, **any_size | config.arguments)


class PromptedUNetConfig(Config):
    """Options of the network for segmentation by prompts; it segments one lesion."""

    encoder: str = Field("tf_efficientnet_lite0", description="name of a timm encoder")
    decoder_channels: int = Field(160, ge=16, multiple_of=16, description="channels of the decoder at its coarsest map")
    hypotheses: int = Field(3, ge=1, le=8, description="number of masks that are predicted for the same prompts")
    classes: Annotated[Literal[1], Computed()] = Field(1, description="number of output maps without prompts")


@list_network(
    ArchitectureSpec(
        "prompted_unet",
        "U-Net with prompts",
        "Sofiiuk et al. 2022 (RITM), doi:10.1109/ICIP46576.2022.9897365; Kirillov et al. 2023 (hypotheses and "
        "their quality), arXiv:2304.02643",
        config=PromptedUNetConfig,
        small={"encoder": "test_efficientnet", "decoder_channels": 16},
        answers_prompts=True,
    )
)
def prompted_unet(config: PromptedUNetConfig) -> nn.Module:
    """Build an encoder, which runs once for an image, and a light decoder, which runs for each prompt."""
    from segmentation_models_pytorch.encoders import get_encoder

    from napari_melanoma.models.blocks.prompted import PromptedUNet

    name = find_encoder_name(f"{TIMM_PREFIX}{config.encoder}")
    encoder = get_encoder(name, in_channels=3, depth=LEVELS, weights=None, output_stride=16)
    return PromptedUNet(encoder, encoder.out_channels, config.decoder_channels, config.hypotheses)


def _build_smp(network: SmpArchitecture, encoder: str, classes: int, **arguments: Any) -> nn.Module:  # noqa: ANN401 - arguments of that network
    """Build a network of segmentation-models-pytorch, whose images have sides divisible by 32.

    On the device "meta", a network that reads values of its tensors is built on the CPU.
    """
    import segmentation_models_pytorch
    import torch

    make: Callable[..., nn.Module] = getattr(segmentation_models_pytorch, network)
    build = partial(make, find_encoder_name(encoder), encoder_weights=None, classes=classes, **arguments)
    try:
        try:
            return build()
        except RuntimeError as error:
            if "meta tensors" not in str(error):
                raise
            with torch.device("cpu"):
                return build().to("meta")
    except (TypeError, ValueError, KeyError, RuntimeError, AttributeError, NotImplementedError) as error:
        name, given = encoder.removeprefix(TIMM_PREFIX), f" with {arguments}" if arguments else ""
        raise ConfigError(
            f"segmentation-models-pytorch cannot build {network} over '{name}'{given}: {error}. "
            "Choose another encoder, or remove its arguments."
        ) from error


def find_encoder_name(encoder: str) -> str:
    """Return the name of an encoder in segmentation-models-pytorch: its own, or that in timm with a prefix."""
    import timm
    from segmentation_models_pytorch.encoders import get_encoder_names

    smp_names = get_encoder_names()
    timm_name = encoder.removeprefix(TIMM_PREFIX)
    if encoder in smp_names:
        return encoder
    if timm.is_model(timm_name):
        return f"{TIMM_PREFIX}{timm_name}"
    similar = get_close_matches(timm_name, {*smp_names, *timm.list_models()}, n=3)
    hint = f" Did you mean {' or '.join(similar)}?" if similar else ""
    raise ConfigError(f"neither segmentation-models-pytorch nor timm has an encoder named '{timm_name}'.{hint}")
