"""Published encoders of histology tiles, by name: how each is built, fed and read, and under which licence it comes.

None is shipped and none is fetched unasked: their licences bind whoever uses them. Weights are read as data alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari_melanoma.core.errors import BundleError

if TYPE_CHECKING:
    from torch import Tensor, nn

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
WEIGHTS_FILE = "pytorch_model.bin"
GATED = "gated: accept it on its page, then 'hf auth login'"

Reading = Literal["pooled", "class_and_patches", "contrast"]


@dataclass(frozen=True)
class FoundationEncoder:
    """One published encoder."""

    name: str
    hub: str
    licence: str
    architecture: str
    features: int
    options: dict[str, Any] = field(default_factory=dict, hash=False)
    reading: Reading = "pooled"
    side_px: int = 224
    mpp: float = 0.5
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    @property
    def page(self) -> str:
        """Where its card, its licence and its weights are."""
        return f"https://huggingface.co/{self.hub}"


_GIANT = {"img_size": 224, "patch_size": 14, "embed_dim": 1536, "depth": 24, "num_heads": 24, "no_embed_class": True}
_KNOWN = (
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
        reading="class_and_patches",
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
        reading="contrast",
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
FOUNDATION_ENCODERS = {encoder.name: encoder for encoder in _KNOWN}
_SWIGLU = ("uni2-h", "virchow2")  # built with packed SwiGLU and SiLU, as their pages say


def build_foundation(encoder: FoundationEncoder) -> nn.Module:
    """Build an encoder with random weights.

    Normalised float (batch, 3, row, column) to embeddings (batch, feature).
    """
    import timm
    from torch import nn

    from napari_melanoma.models.blocks.token_readings import ClassAndPatches, Contrast

    options = dict(encoder.options)
    if encoder.name in _SWIGLU:
        from timm.layers import SwiGLUPacked

        options |= {"mlp_layer": SwiGLUPacked, "act_layer": nn.SiLU}
    trunk = timm.create_model(encoder.architecture, pretrained=False, num_classes=0, **options)
    if encoder.reading == "pooled":
        return trunk
    if encoder.reading == "class_and_patches":
        return ClassAndPatches(trunk, 1 + int(encoder.options.get("reg_tokens", 0)))
    return Contrast(trunk, encoder.features)


def load_foundation(encoder: FoundationEncoder, weights: Path) -> nn.Module:
    """Build an encoder with the weights of a file.

    Returns as ``build_foundation`` gives it, in evaluation mode.
    """
    network, found = build_foundation(encoder), read_weights(weights)
    if encoder.reading == "class_and_patches":
        found = {f"trunk.{name}": value for name, value in found.items()}
    if encoder.reading == "contrast":
        names = {name.removeprefix("visual."): name for name in found if name.startswith("visual.")}
        found = {own: found[names[own]] for own in network.state_dict() if own in names}
    fit_weights(network, found, weights)
    return network.eval()


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors from a file that cannot run code by being read."""
    import pickle

    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (OSError, RuntimeError, SafetensorError, pickle.UnpicklingError, EOFError, ValueError) as error:
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BundleError(f"cannot read weights from {path}: {said}. Get the file again from where it came.") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise BundleError(f"{path} holds no weights by name. Expected a state dict, as the encoder's page offers it.")
    return found


def fit_weights(network: nn.Module, found: dict[str, Tensor], origin: Path) -> None:
    """Put weights into a network, all of them or none."""
    try:
        network.load_state_dict(found)
    except RuntimeError as error:
        said = " ".join(str(error).split())[:300]
        raise BundleError(
            f"the weights in {origin} are of another network: {said}. Name the encoder that they are of."
        ) from error
