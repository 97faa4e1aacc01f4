"""Files of published encoders that the user has selected: recognize them, and remember that their license was accepted.

Nothing here imports torch: the viewer uses it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.parsing import read_json
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.models.published_encoders import FOUNDATION_ENCODERS, TIMM, hash_weights
from napari_melanoma.slides.tissue_classifier.published_features import fingerprint_features

ENCODERS_FILE = "encoders.json"
DINO_PAGE = "https://github.com/facebookresearch/dinov2"
DINO_TITLES = {
    "small": "DINOv2 ViT-S/14",
    "base": "DINOv2 ViT-B/14",
    "large": "DINOv2 ViT-L/14",
    "giant": "DINOv2 ViT-g/14",
}
DINO_WIDTHS = {384: "small", 768: "base", 1024: "large", 1536: "giant"}
DINO_TOKENS = 1000  # DINOv2 has 1369 positions, histology encoders of the same shape 256
PATCHES = "patch_embed.proj.weight"
# Width, side of a patch and number of register tokens of histology encoders
HISTOLOGY_SHAPES = {
    (1024, 16, 0): "uni",
    (1536, 14, 8): "uni2-h",
    (1280, 14, 4): "virchow2",
    (1536, 16, 0): "gigapath",
    (1536, 14, 4): "h-optimus-0",
}
UNKNOWN_LICENCE = "not known to this program: see where you downloaded the file"


class EncoderFile(Config):
    """The file with the weights of a published encoder. ``name``: see ``open_feature_source``."""

    name: str = Field(min_length=1, description="name of the source of the features")
    weights: Path = Field(description="file with the weights")
    sha256: str = Field(description="hash of the file")
    bytes: int = Field(ge=0, description="size of the file")
    changed: int = Field(description="time of the last change of the file in nanoseconds since 1970")
    accepted: str = Field("", description="when the user accepted the license, ISO 8601; empty if not")

    @property
    def is_unchanged(self) -> bool:
        """Whether the file exists, with the same size and time of change."""
        return _stamp(self.weights) == (self.bytes, self.changed)

    @property
    def fingerprint(self) -> str:
        """Fingerprint of the features."""
        return fingerprint_features(self.name, self.sha256)


@dataclass(frozen=True)
class EncoderTerms:
    """What the user reads before a published encoder is used."""

    title: str
    licence: str
    page: str = ""


def describe_encoder(name: str) -> EncoderTerms:
    """Return title and license of an encoder by its name."""
    encoder = FOUNDATION_ENCODERS.get(name)
    if encoder is not None:
        return EncoderTerms(encoder.name, encoder.licence, encoder.page)
    size = next((size for size in DINO_TITLES if name in (_dino_name(size, 0), _dino_name(size, 4))), None)
    if size is None:
        return EncoderTerms(name.removeprefix(TIMM), UNKNOWN_LICENCE)
    registers = " with registers" if name == _dino_name(size, 4) else ""
    return EncoderTerms(f"{DINO_TITLES[size]}{registers}", "Apache-2.0", DINO_PAGE)


def list_encoder_names() -> list[str]:
    """List the names of encoders whose license is known."""
    return [*FOUNDATION_ENCODERS, *(_dino_name(size, registers) for size in DINO_TITLES for registers in (0, 4))]


def _dino_name(size: str, registers: int) -> str:
    return f"{TIMM}vit_{size}_patch14_{'reg4_' if registers else ''}dinov2"


def guess_encoder(shapes: Mapping[str, Sequence[int]]) -> str:
    """Return the name of the encoder whose tensors have these names and shapes; empty if it is not recognized."""
    prefix = next((name.removesuffix(PATCHES) for name in shapes if name.endswith(PATCHES)), None)
    if prefix is None:
        return ""
    if prefix.startswith("visual."):
        return "conch"
    width, _, side, _ = shapes[f"{prefix}{PATCHES}"]
    registers = shapes.get(f"{prefix}reg_token", (1, 0))[1]
    tokens = shapes.get(f"{prefix}pos_embed", (1, 0))[1]
    if side == 14 and registers in (0, 4) and tokens > DINO_TOKENS and width in DINO_WIDTHS:
        return _dino_name(DINO_WIDTHS[width], registers)
    is_scaled = f"{prefix}blocks.0.ls1.gamma" in shapes  # of all of these, not of the first transformers
    return HISTOLOGY_SHAPES.get((width, side, registers), "") if is_scaled else ""


def guess_by_path(path: Path) -> str:
    """Return the histology encoder whose repository or name is in a path, such as that of a cache; empty for none."""
    parts = [part.lower() for part in path.parts]
    for name, encoder in FOUNDATION_ENCODERS.items():
        repository = encoder.hub.split("/")[-1].lower()
        if any(part in (name, repository) or part.endswith(f"--{repository}") for part in parts):
            return name
    return ""


def inspect_encoder(path: Path) -> EncoderFile:
    """Recognize an encoder by its file; ``name`` is ``timm:`` if it is not recognized. Raises ``BundleError``."""
    sha256 = hash_weights(path)
    size, changed = _stamp(path)
    known = next((one for one in read_accepted() if one.sha256 == sha256), None)
    name = known.name if known else guess_encoder(_read_shapes(path)) or guess_by_path(path) or TIMM
    accepted = known.accepted if known else ""
    return EncoderFile(name=name, weights=path, sha256=sha256, bytes=size, changed=changed, accepted=accepted)


def _read_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Read names and shapes of the tensors of a safetensors file; those of other files need torch, and are unknown."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (OSError, SafetensorError):
        return {}


def _stamp(path: Path) -> tuple[int, int]:
    try:
        status = path.stat()
    except OSError:
        return -1, 0
    return status.st_size, status.st_mtime_ns


def _encoders_path() -> Path:
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / ENCODERS_FILE


def read_accepted() -> list[EncoderFile]:
    """Read the encoders whose license the user has accepted, the latest first."""
    path = _encoders_path()
    try:
        values: Any = read_json(path)
        return [EncoderFile.parse(one, str(path)) for one in values["encoders"]]
    except (OSError, ValueError, KeyError, TypeError, MelanomaError):
        return []  # missing, or written by another version: the user is asked again


def accept_encoder(encoder: EncoderFile) -> EncoderFile:
    """Remember that the user has accepted the license of an encoder, and where its file is."""
    accepted = encoder.model_copy(update={"accepted": encoder.accepted or utc_time()})
    others = [one for one in read_accepted() if one.sha256 != encoder.sha256]
    path = _encoders_path()
    path.parent.mkdir(parents=True, exist_ok=True)
    write_json(path, {"encoders": [one.model_dump(mode="json") for one in (accepted, *others)]})
    return accepted


def find_weights(source: str, fingerprint: str) -> Path | None:
    """Find the file of an encoder that was used before, by name and fingerprint of its features; None if unknown."""
    found = (one for one in read_accepted() if one.name == source and one.fingerprint == fingerprint)
    return next((one.weights for one in found if one.is_unchanged), None)
