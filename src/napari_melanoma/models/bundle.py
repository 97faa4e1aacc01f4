"""Model bundles: a folder with ``config.json``, ``model.safetensors`` and a card, laid out as the hub does."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from napari_melanoma.core.classifier import ClassifierConfig
from napari_melanoma.core.config import Config
from napari_melanoma.core.encoder import EncoderConfig
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.files import atomic_folder, write_json, write_text
from napari_melanoma.core.parsing import read_json, reason_of
from napari_melanoma.core.preprocessing import PreprocessingConfig
from napari_melanoma.core.tabular import TabularEncoding
from napari_melanoma.core.tile import TileConfig
from napari_melanoma.models.reference import Reference, write_reference
from napari_melanoma.models.weights_check import check_weights

if TYPE_CHECKING:
    from torch import nn

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
ANSWERING = ("task", "architecture", "options", "input_size", "mean", "std", "classes", "tile")
CALIBRATION = ("mirrored", "temperature", "bias")
Divisor = Annotated[float, Field(gt=0)]  # by 0 all that a network sees becomes not-a-number
SLIDE = "slide"  # the modality of whole-slide images


class BundleConfig(Config):
    """What ``config.json`` of a bundle says: enough to build the network, feed it and read its answer."""

    format_version: Literal[1] = 1
    name: str = Field(min_length=1, description="what users and --model call it")
    title: str = Field(description="one line for a list")
    task: Literal["segmentation", "classification"] = "segmentation"
    architecture: str = Field(description="a name of the zoo")
    options: dict[str, Any] = Field(default_factory=dict, description="the architecture's own options")
    input_size: int = Field(256, ge=32, le=8192, description="side in pixels that a photograph is resized to")
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    tabular: TabularEncoding | None = Field(None, description="what of a patient's data it gets, and how")
    classifier: ClassifierConfig | None = Field(None, description="of a classifier: what it looks at, how sure it is")
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="subtracted from RGB in [0, 1]")
    std: tuple[Divisor, Divisor, Divisor] = Field((0.5, 0.5, 0.5), description="divides what is left")
    classes: tuple[str, ...] = Field(("lesion",), min_length=1, description="in the order of the network's maps")
    threshold: float = Field(
        0.5, gt=0, lt=1, description="a probability at or above it is lesion; of several classes the most probable wins"
    )
    unlike: float | None = Field(
        None,
        gt=0,
        description="of a model of slides: distance of a texture above which a tile is unlike the training",
    )
    modalities: tuple[str, ...] = Field((), description="kinds of photograph it was trained on, or 'slide'")
    tile: TileConfig | None = Field(
        None, description="of a model of slides: scale and size of the tiles it learnt from"
    )
    encoder: EncoderConfig | None = Field(
        None, description="of a model of whole slides: what makes the embeddings of tiles that it answers from"
    )
    licence: str = "unknown"
    provenance: dict[str, Any] = Field(default_factory=dict, description="data, recipe and software behind it")

    @model_validator(mode="after")
    def _fits_its_task(self) -> Self:
        if (self.task == "classification") != (self.classifier is not None):
            raise ValueError(f"task is {self.task}: 'classifier' belongs to classification, which needs it")
        if self.tile is not None and SLIDE not in self.modalities:
            raise ValueError(f"'tile' is of a model of slides, and modalities are {self.modalities}: add '{SLIDE}'")
        if self.encoder is not None and (self.tile is None or self.classifier is None):
            raise ValueError("'encoder' is of a classifier of whole slides, which needs 'tile' and 'classifier'")
        if self.classifier is None:
            return self._with_a_map_a_class()
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {', '.join(self.classes)}, expected two or more, each once")
        if self.classifier.positive not in self.classes:
            raise ValueError(f"positive is '{self.classifier.positive}', expected one of {', '.join(self.classes)}")
        if len(self.classifier.bias) not in (0, len(self.classes)):
            raise ValueError(f"bias has {len(self.classifier.bias)} values, expected {len(self.classes)}, one a class")
        return self

    def _with_a_map_a_class(self) -> Self:
        """Refuse classes of a segmentation that are not the network's."""
        maps = self.options.get("classes", 1)
        if len(set(self.classes)) != len(self.classes) or maps != len(self.classes):
            raise ValueError(
                f"classes are {', '.join(self.classes)}, expected {maps} as the network's options say, each once"
            )
        return self

    @property
    def draws_one_class(self) -> bool:
        """Whether it draws a lesion against the rest, cut at its threshold.

        Otherwise each pixel has one probability for each of several classes, by a softmax over the network's maps, and
        is of the most probable one; there is no threshold.
        """
        return self.task == "segmentation" and len(self.classes) == 1

    @property
    def drawn_share(self) -> float:
        """Which share of the images that it has learnt from are phantoms; 0 where nothing says so."""
        data = self.provenance.get("data")
        known = data if isinstance(data, dict) else {}
        learnt = known.get("learn", 0) + known.get("base", 0)
        return known.get("drawn", 0) / learnt if learnt else 0.0

    @property
    def is_demonstration(self) -> bool:
        """Whether it says that it is a demonstration, trained on synthetic data only."""
        return self.drawn_share >= 1 or "demonstration" in self.title.lower()

    @property
    def is_of_slides(self) -> bool:
        """Whether it looks at tiles of slides; then no photograph is shown to it."""
        return SLIDE in self.modalities


@dataclass(frozen=True)
class BundleInfo:
    """A bundle on disk, known by its configuration; weights are read only when a network is asked for."""

    path: Path
    config: BundleConfig

    @property
    def name(self) -> str:
        """What users and ``--model`` call it."""
        return self.config.name

    @property
    def card(self) -> str:
        """The model card in Markdown; empty where the bundle has none."""
        card = self.path / CARD
        return card.read_text(encoding="utf-8") if card.is_file() else ""

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights file, so that a result can say which weights made it."""
        with (self.path / WEIGHTS).open("rb") as weights:
            return hashlib.file_digest(weights, "sha256").hexdigest()

    def answering(self, *, calibrated: bool = True) -> str:
        """Hash what turns the weights into answers: network, input, calibration; no title, card or cut."""
        told = self.config.model_dump(mode="json", include={*ANSWERING})
        if calibrated and self.config.classifier is not None:
            told["classifier"] = self.config.classifier.model_dump(mode="json", include={*CALIBRATION})
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def read_bundle(path: Path) -> BundleInfo:
    """Read what a bundle says of itself; no weights, no torch."""
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise BundleError(f"{path} is no model bundle: it has no {name}. A bundle holds {CONFIG} and {WEIGHTS}.")
    try:
        values = read_json(path / CONFIG)
    except (OSError, ValueError) as error:
        raise BundleError(
            f"cannot read {path / CONFIG}: {reason_of(error)}. Get the bundle again from where it came."
        ) from error
    if not isinstance(values, dict):
        raise BundleError(f"{path / CONFIG} holds a {type(values).__name__}, expected an object with keys and values.")
    info = BundleInfo(path, BundleConfig.parse(values, str(path / CONFIG)))
    try:
        _ = info.card
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"cannot read {path / CARD}, the card of the model, as text in UTF-8. Save it as UTF-8, or get the bundle "
            "again from where it came."
        ) from error
    return info


def load_network(info: BundleInfo) -> nn.Module:
    """Build a bundle's network with its weights, in float32 and evaluation mode.

    Normalised float (batch, 3, row, column) to logits (batch, class, row, column).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from napari_melanoma.models.zoo import build_network

    check_weights(info.path / WEIGHTS)
    try:
        weights = load_file(info.path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BundleError(
            f"cannot read {info.path / WEIGHTS}: {reason_of(error)}. Get the bundle again from where it came."
        ) from error
    _check_weights(info, {name: value.shape for name, value in weights.items()}, _outline(info))
    network = build_network(info.config.architecture, info.config.options)
    network.load_state_dict(weights)
    return network.float().eval()


def _outline(info: BundleInfo) -> nn.Module:
    """Build a bundle's network without memory for its weights: its options may ask for any amount."""
    import torch

    from napari_melanoma.models.zoo import build_network

    try:
        with torch.device("meta"):
            return build_network(info.config.architecture, info.config.options)
    except RuntimeError as error:  # a tensor of more bytes than there are numbers for
        if "meta" in str(error):  # networks that compute with values while they are built have no outline
            return build_network(info.config.architecture, info.config.options)
        raise BundleError(
            f"bundle '{info.name}' cannot be built with its options: {error}. Get the bundle again from where it came."
        ) from error


def write_bundle(
    path: Path,
    config: BundleConfig,
    network: nn.Module,
    card: str,
    reference: Reference | None = None,
    beside: Sequence[Path] = (),
) -> BundleInfo:
    """Write a bundle as a whole; floating weights are stored in half precision."""
    from safetensors.torch import save

    weights = {
        name: (value.half() if value.is_floating_point() else value).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    with atomic_folder(path) as folder:
        write_json(folder / CONFIG, config.model_dump(mode="json"))
        write_text(folder / CARD, card)
        (folder / WEIGHTS).write_bytes(save(weights))  # its own save_file lets nobody else read the file
        if reference is not None:
            write_reference(folder, reference)
        for file in beside:
            shutil.copyfile(file, folder / file.name)
    return BundleInfo(path, config)


def _check_weights(info: BundleInfo, found: dict[str, Any], network: nn.Module) -> None:
    """Refuse weights that do not fit the network, naming the first few that do not."""
    expected = {name: value.shape for name, value in network.state_dict().items()}
    faults = {
        "missing": sorted(expected.keys() - found.keys()),
        "surplus": sorted(found.keys() - expected.keys()),
        "of another shape": sorted(name for name in expected.keys() & found.keys() if expected[name] != found[name]),
    }
    said = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in faults.items() if names]
    if said:
        raise BundleError(
            f"the weights of bundle '{info.name}' do not fit its architecture '{info.config.architecture}': expected "
            f"{len(expected)} tensors, found {len(found)}; {'; '.join(said)}. Get the bundle again from where it came."
        )
