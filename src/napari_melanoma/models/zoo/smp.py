"""All networks of segmentation-models-pytorch, with the names of networks, encoders and arguments in that library."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, Field

from napari_melanoma.core.config import Computed, Config
from napari_melanoma.models.zoo import ArchitectureSpec

if TYPE_CHECKING:
    from torch import nn

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
    classes: Annotated[int, Computed()] = Field(1, ge=1, description="number of output maps")

    @property
    def least_size(self) -> int:
        """Smallest supported image side in pixels; PAN halves the deepest features three times more."""
        stride = self.arguments.get("encoder_output_stride", 16)
        return 8 * stride if self.network == "PAN" and isinstance(stride, int) else 32


SPEC = ArchitectureSpec(
    name="smp",
    title="Any of segmentation-models-pytorch",
    reference="Iakubovskii 2019, https://github.com/qubvel-org/segmentation_models.pytorch",
    config=SmpConfig,
    small={
        "encoder": "test_efficientnet",
        "arguments": {"decoder_pyramid_channels": 32, "decoder_segmentation_channels": 64},
    },
)


def build(config: SmpConfig) -> nn.Module:
    """Build the network with random weights.

    Maps float (batch, 3, row, column) with sides divisible by 32 to logits (batch, class, row, column).
    """
    import segmentation_models_pytorch

    from napari_melanoma.models.smp_networks import build_smp

    network = getattr(segmentation_models_pytorch, config.network)
    any_size = {"dynamic_img_size": True} if config.network == "DPT" else {}
    return build_smp(network, config.encoder, config.classes, **any_size | config.arguments)
