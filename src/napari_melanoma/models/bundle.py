"""Model bundles: folders with a configuration, weights, a model card and reference cases; read, checked and written."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field, model_validator

from napari_melanoma.core.config import Config, omit_unset
from napari_melanoma.core.errors import BundleError, ConfigError, MalformedFile, SaveError
from napari_melanoma.core.files import atomic_file, atomic_folder, hash_file, write_json, write_text
from napari_melanoma.core.formatting import format_repr
from napari_melanoma.core.parsing import parse_error_reason, parse_json, read_limited, shorten
from napari_melanoma.core.prediction_config import (
    ClassifierConfig,
    CloserViews,
    EncoderConfig,
    PreprocessingConfig,
    TabularEncoding,
    TileConfig,
    TissueClassifierConfig,
    TurnedViews,
)
from napari_melanoma.core.provenance import describe_other_version

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
# Fields of the configuration, and of its classifier, that affect predictions
PREDICTION_FIELDS = (
    "task",
    "architecture",
    "options",
    "members",
    "input_size",
    "mean",
    "std",
    "classes",
    "tile",
    "closer_views",
    "turned_views",
)
CALIBRATION_FIELDS = ("test_time_augmentation", "temperature", "bias")
Divisor = Annotated[float, Field(gt=0)]  # division by 0 would make all inputs NaN
SLIDE = "slide"  # the modality of whole-slide images


REFERENCE_FILE = "reference.safetensors"
MAX_CASES = 4096  # training cases in a bundle; 2.6 MB with 320 features
REFERENCE_ARRAYS = {  # name: type, number of dimensions
    "logits": (np.float32, 2),
    "labels": (np.int64, 1),
    "groups": (np.int64, 1),
    "embeddings": (np.float16, 2),
    "embedded_labels": (np.int64, 1),
}
TEXTURES = "textures"  # optional array, float16 (tile, feature)
_CHUNK_VALUES = 4 * 1024**2  # weights that are checked at once, which limits the memory


class PluginReference(Config):
    """The plug-in that the network of a bundle is part of; it is named in messages, and never loaded from a bundle."""

    model_config = ConfigDict(extra="ignore")

    package: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$", description="the package")
    version: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.+!_-]{0,127}$", description="its version")
    entry_point: str = Field(max_length=512, description="the entry point of the network")

    def describe_missing(self) -> str:
        """State what is missing, and how to get it."""
        return (
            f"its network is part of the plug-in {self.package} {self.version} ({self.entry_point}), which is not "
            f"installed. If you trust its authors, install it: pip install {self.package}=={self.version}"
        )


class BundleConfig(Config):
    """The content of ``config.json`` of a bundle: how to build the network, prepare its input and read its output."""

    format_version: Literal[1] = 1
    name: str = Field(min_length=1, description="the name in lists and in --model")
    title: str = Field(description="one line for lists of models")
    task: Literal["segmentation", "classification", "embedding"] = "segmentation"
    architecture: str = Field(description="name of the architecture")
    options: dict[str, Any] = Field(default_factory=dict, description="the architecture's own options")
    input_size: int = Field(256, ge=32, le=8192, description="side in pixels that a photograph is resized to")
    preprocessing: PreprocessingConfig = PreprocessingConfig()
    tabular: TabularEncoding | None = Field(None, description="encoding of the clinical metadata inputs")
    classifier: ClassifierConfig | None = Field(None, description="for a classifier: view and calibration")
    mean: tuple[float, float, float] = Field((0.5, 0.5, 0.5), description="mean that is subtracted from RGB in [0, 1]")
    std: tuple[Divisor, Divisor, Divisor] = Field(
        (0.5, 0.5, 0.5), description="standard deviation that divides the result"
    )
    classes: tuple[str, ...] = Field(
        ("lesion",), description="names of the classes, in the order of the output maps; none for embeddings"
    )
    threshold: float = Field(
        0.5,
        gt=0,
        lt=1,
        description="decision threshold of a lesion probability; with several classes the most probable one is "
        "assigned",
    )
    closer_views: CloserViews = ()
    turned_views: TurnedViews | None = None
    novelty_threshold: float | None = Field(
        None,
        gt=0,
        description="for a slide model: texture distance above which a tile is out of distribution",
    )
    modalities: tuple[str, ...] = Field((), description="types of photograph in the training data, or 'slide'")
    tile: TileConfig | None = Field(None, description="for a slide model: scale and size of the training tiles")
    encoder: EncoderConfig | None = Field(
        None, description="for a model of whole slides: the encoder of the tile embeddings"
    )
    tissue: TissueClassifierConfig | None = Field(
        None, description="for a tissue classifier: its kind, and the features of cells that it was fitted on"
    )
    members: int | None = Field(
        None, ge=2, le=100, description="for an ensemble: the number of networks, whose logits are averaged"
    )
    plugin: PluginReference | None = Field(None, description="for a network of a plug-in: the package that adds it")
    licence: str = "unknown"
    provenance: dict[str, Any] = Field(default_factory=dict, description="training data, recipe and software")

    _omit_unset = omit_unset("plugin", "members", "closer_views", "turned_views")

    @property
    def role_names(self) -> tuple[str, ...]:
        """The classes by the names that a depth measurement requires: the roles of those of a tissue classifier."""
        return self.classes if self.tissue is None else self.tissue.name_roles(self.classes)

    @model_validator(mode="after")
    def _check_task(self) -> Self:
        if (self.task == "classification") != (self.classifier is not None):
            raise ValueError(f"task is {self.task}: 'classifier' is required for classification, and valid for it only")
        if self.tile is not None and SLIDE not in self.modalities:
            raise ValueError(f"'tile' requires a slide model, but modalities are {self.modalities}: add '{SLIDE}'")
        for name in ("closer_views", "turned_views"):
            if getattr(self, name):
                self._check_views(name)
        if self.task == "embedding":
            if self.tile is None or self.classes:
                raise ValueError("task is embedding: it requires 'tile', and has no classes")
            return self
        if self.encoder is not None and (self.tile is None or self.classifier is None):
            raise ValueError("'encoder' requires a classifier of whole slides, with 'tile' and 'classifier'")
        if self.tissue is not None and (self.tile is None or self.task != "segmentation"):
            raise ValueError("'tissue' requires a segmentation model of slides, with 'tile'")
        if self.tissue is not None and (others := {*self.tissue.roles.values()} - {*self.classes}):
            raise ValueError(f"'roles' has {', '.join(sorted(others))}, expected classes: {', '.join(self.classes)}")
        if self.classifier is None:
            return self._check_classes()
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {', '.join(self.classes)}, expected two or more, each once")
        if self.classifier.positive not in self.classes:
            raise ValueError(f"positive is '{self.classifier.positive}', expected one of {', '.join(self.classes)}")
        if len(self.classifier.bias) not in (0, len(self.classes)):
            raise ValueError(
                f"bias has {len(self.classifier.bias)} values, expected {len(self.classes)}, one per class"
            )
        return self

    def _check_views(self, name: str) -> None:
        """Refuse closer or turned views for a model that does not find the lesion of a photograph by itself."""
        if not self.segments_one_class or self.is_slide_model:
            raise ValueError(f"'{name}' requires a segmentation model of photographs with one class: remove it")
        if self.answers_prompts:
            raise ValueError(f"'{name}' is not available for a model that answers prompts: remove it")

    def _check_classes(self) -> Self:
        """Refuse segmentation classes that do not match the network."""
        maps = self.options.get("classes", 1)
        if len(set(self.classes)) != len(self.classes) or maps != len(self.classes):
            raise ValueError(
                f"classes are {', '.join(self.classes)}, expected {maps} as in the network's options, each once"
            )
        return self

    @property
    def segments_one_class(self) -> bool:
        """Whether the model segments a lesion with a decision threshold.

        Other segmentation models assign the most probable of several classes to each pixel, without a threshold.
        """
        return self.task == "segmentation" and len(self.classes) == 1

    @property
    def decision_threshold(self) -> float | None:
        """The probability from which a pixel is lesion, or a case positive; None if the model has no threshold."""
        if self.classifier is not None:
            return None if self.classifier.operating_point is None else self.classifier.operating_point.threshold
        return self.threshold if self.segments_one_class else None

    def describe_views(self) -> list[str]:
        """State what the model predicts in addition to the whole, upright photograph."""
        texts = []
        if self.closer_views:
            sides = " and ".join(f"{factor:g}" for factor in self.closer_views)
            texts.append(
                f"Closer views: squares around the largest lesion, with sides of {sides} times its length, are "
                "predicted in addition to the whole photograph; the logits of all views of a pixel are averaged"
            )
        if self.turned_views:
            turned = {4: "turned by quarter turns", 8: "turned by quarter turns and mirrored"}[self.turned_views]
            texts.append(f"Turned views: the logits are means over {self.turned_views} views, {turned}")
        return texts

    @property
    def answers_prompts(self) -> bool:
        """Whether the network segments by clicks and other prompts."""
        from napari_melanoma.models.zoo import answers_prompts

        return answers_prompts(self.architecture)

    @property
    def margin_px(self) -> int:
        """Border of a tile that is context only, in pixels of the input; 0 for models without one."""
        if self.tissue is not None:
            return self.tissue.margin_px
        from napari_melanoma.models.zoo import list_architectures

        architecture = list_architectures().get(self.architecture)
        if architecture is None or not hasattr(architecture.spec.config, "margin_px"):
            return 0
        return int(architecture.spec.config.parse(self.options, "options").margin_px)

    @property
    def synthetic_share(self) -> float:
        """Share of synthetic images (phantoms) in the training data; 0 if unknown."""
        data = self.provenance.get("data")
        counts = data if isinstance(data, dict) else {}
        total = counts.get("train", 0) + counts.get("replay", 0)
        return counts.get("drawn", 0) / total if total else 0.0

    @property
    def is_demonstration(self) -> bool:
        """Whether the model is a demonstration: trained on synthetic data only, or so named in its title."""
        return self.synthetic_share >= 1 or "demonstration" in self.title.lower()

    @property
    def is_slide_model(self) -> bool:
        """Whether the model is for slides, and cannot be used for photographs."""
        return SLIDE in self.modalities

    @property
    def classifies_patches(self) -> bool:
        """Whether the model classifies single patches of slides, unlike models of bags of embeddings."""
        return self.is_slide_model and self.classifier is not None and self.encoder is None


@dataclass(frozen=True)
class BundleInfo:
    """A bundle on disk with its configuration; weights are read only when a network is loaded."""

    path: Path
    config: BundleConfig

    def __repr__(self) -> str:
        """Return a short text, without the details of ``config``."""
        shown = {"name": self.name, "task": self.config.task, "classes": self.config.classes}
        return format_repr(self, **shown, path=str(self.path))

    @property
    def name(self) -> str:
        """The name in lists and in ``--model``."""
        return self.config.name

    @property
    def card(self) -> str:
        """The model card in Markdown; empty if the bundle has none."""
        card = self.path / CARD
        return card.read_text(encoding="utf-8") if card.is_file() else ""

    @property
    def patient_data_columns(self) -> tuple[str, ...]:
        """Columns of patient data that a classifier uses, such as ``("age", "sex")``; empty if it uses none."""
        return () if self.config.tabular is None else self.config.tabular.fields

    @property
    def used_columns(self) -> frozenset[str]:
        """Columns of patient data that change the predictions of a classifier, such as its figures for an age group."""
        classifier = self.config.classifier
        return frozenset((*self.patient_data_columns, *(("age",) if classifier and classifier.ages else ())))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of the weights file, which identifies the weights in results."""
        return hash_file(self.path / WEIGHTS)

    @cached_property
    def settings_digest(self) -> str:
        """SHA-256 of the configuration without the name: a model that is only calibrated again has the same weights."""
        settings = self.config.model_dump_json(exclude={"name"}, exclude_defaults=True)
        return hashlib.sha256(settings.encode()).hexdigest()

    def prediction_fingerprint(self, *, calibrated: bool = True) -> str:
        """Hash the settings that affect predictions: network, input and calibration, but not the threshold."""
        settings = self.config.model_dump(mode="json", include={*PREDICTION_FIELDS})
        if calibrated and self.config.classifier is not None:
            settings["classifier"] = self.config.classifier.model_dump(mode="json", include={*CALIBRATION_FIELDS})
        if self.config.tissue is not None:
            settings["tissue"] = self.config.tissue.model_dump(mode="json", exclude={"colors", "novelty_limit"})
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class ReferenceCases:
    """Validation cases for calibration, and training cases for similarity.

    ``logits``: float32 (case, class), before temperature scaling. ``labels``: class indices, int64 (case,). ``groups``:
    anonymous numbers of the patients or lesions, int64 (case,). ``embeddings``: float16 (training case, feature).
    ``embedded_labels``: int64 (training case,). ``embedded_ids``: image ids of the training cases, or empty.
    ``textures``: float16 (training tile, feature), from ``models.blocks.timm_encoder``; None if not stored.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    embeddings: NDArray[np.float16]
    embedded_labels: NDArray[np.int64]
    embedded_ids: tuple[str, ...] = ()
    textures: NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays of inconsistent lengths."""
        fits = len(self.logits) == len(self.labels) == len(self.groups)
        fits &= len(self.embeddings) == len(self.embedded_labels)
        if not fits or len(self.embedded_ids) not in (0, len(self.embeddings)):
            raise ValueError(
                "the arrays of the reference cases have different lengths: "
                f"{len(self.logits)} logits, {len(self.labels)} labels, {len(self.groups)} groups; "
                f"{len(self.embeddings)} embeddings, {len(self.embedded_labels)} labels, {len(self.embedded_ids)} ids."
            )


def user_models_folder() -> Path:
    """Return the folder of the user's own bundles; it need not exist."""
    from platformdirs import user_data_path

    return user_data_path("napari-melanoma", appauthor=False) / "models"


def read_bundle(path: Path) -> BundleInfo:
    """Read the configuration of a bundle and check that its card is readable; weights are not read."""
    for name in (CONFIG, WEIGHTS):
        if not (path / name).is_file():
            raise BundleError(
                f"{path} is not a model bundle: {name} is missing. A bundle contains {CONFIG} and {WEIGHTS}."
            )
    try:
        content = read_limited(path / CONFIG)
    except (OSError, ValueError) as error:
        raise _unreadable_config(path / CONFIG, error) from error
    info = BundleInfo(path, _parse_config(content, path / CONFIG))
    try:
        _ = info.card
    except (OSError, UnicodeDecodeError) as error:
        raise BundleError(
            f"cannot read {path / CARD}, the card of the model, as text in UTF-8. Save it as UTF-8, or download "
            "or copy the bundle again."
        ) from error
    return info


@lru_cache(maxsize=64)  # a dock reads all bundles several times as it opens
def _parse_config(content: bytes, path: Path) -> BundleConfig:
    try:
        values = parse_json(content, str(path))
    except ValueError as error:
        raise _unreadable_config(path, error) from error
    if not isinstance(values, dict):
        raise BundleError(f"{path} contains a {type(values).__name__}, expected an object with keys and values.")
    try:
        return BundleConfig.parse(values, str(path))
    except ConfigError as error:
        provenance = values.get("provenance")
        if advice := describe_other_version(provenance if isinstance(provenance, dict) else {}):
            raise ConfigError(f"{error} {advice}", error.faults) from None
        raise


def _unreadable_config(path: Path, error: Exception) -> BundleError:
    return BundleError(f"cannot read {path}: {parse_error_reason(error)}. Download or copy the bundle again.")


def read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    """Read the arrays of a bundle's weights file by name; torch is not needed."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    check_weights(path)
    try:
        return load_file(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise BundleError(
            f"cannot read {path}: {parse_error_reason(error)}. Download or copy the bundle again."
        ) from error


def load_network(info: BundleInfo) -> nn.Module:
    """Build a bundle's network with its weights, in float32 and evaluation mode.

    The network maps normalized float (batch, 3, row, column) to logits (batch, class, row, column).
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if info.config.tissue is not None:
        raise BundleError(
            f"'{info.name}' classifies cells of slides by the features '{info.config.tissue.source}', and has no "
            "network of its own. Use it for slides: nm.analyze_slide, or napari-melanoma slide."
        )
    if reason := explain_missing_network(info.config.architecture, info.config.plugin):
        raise BundleError(f"the model '{info.name}' cannot be used: {reason}")
    check_weights(info.path / WEIGHTS)
    try:
        weights = load_file(info.path / WEIGHTS)
    except (OSError, SafetensorError) as error:
        raise BundleError(
            f"cannot read {info.path / WEIGHTS}: {parse_error_reason(error)}. Download or copy the bundle again."
        ) from error
    _check_fits_network(info, {name: value.shape for name, value in weights.items()}, _build_on_meta_device(info))
    network = _build_network(info.config)
    network.load_state_dict(weights)
    return network.float().eval()


def name_plugin(architecture: str) -> PluginReference | None:
    """Return the plug-in that adds an architecture; None for those of this package."""
    from napari_melanoma.models.zoo import NETWORKS

    plugin = NETWORKS.find_plugin(architecture)
    if plugin is None:
        return None
    return PluginReference(package=plugin.package, version=plugin.version, entry_point=plugin.entry_point)


def explain_missing_network(architecture: str, plugin: PluginReference | None) -> str:
    """Explain why an architecture is not available, and how to get it; "" if it is."""
    from napari_melanoma.models.zoo import NETWORKS

    if architecture in NETWORKS.members:
        return ""
    if reason := NETWORKS.explain_unknown(architecture):
        return reason
    if plugin is not None:
        return plugin.describe_missing()
    return f"its architecture '{architecture}' is not installed (installed: {', '.join(NETWORKS.members)})."


def _build_network(config: BundleConfig) -> nn.Module:
    """Build the network of a bundle, or its ensemble, with random weights."""
    from napari_melanoma.models.zoo import build_network

    if config.members is None:
        return build_network(config.architecture, config.options)
    from napari_melanoma.models.blocks.ensemble import build_ensemble

    members = [build_network(config.architecture, options) for options in list_member_options(config)]
    return build_ensemble(members, len(config.classes))


def list_member_options(config: BundleConfig) -> list[dict[str, Any]]:
    """Return the options of each network of an ensemble, which differ in the sizes of their tabular inputs."""
    encodings = config.tabular.members if config.tabular is not None else None
    if encodings is None:
        return [config.options] * (config.members or 1)
    return [{**config.options, "tabular": encoding.shape.model_dump(mode="json")} for encoding in encodings]


def _build_on_meta_device(info: BundleInfo) -> nn.Module:
    """Build a bundle's network without allocating its weights, because its options may require any amount of memory."""
    import torch

    try:
        with torch.device("meta"):
            return _build_network(info.config)
    except (RuntimeError, ConfigError) as error:  # such as a tensor whose size in bytes overflows
        # Networks that compute with values during construction cannot be built there
        if isinstance(error, RuntimeError) and "meta" in str(error):
            return _build_network(info.config)
        reason = str(error).rstrip(".")
        raise BundleError(
            f"bundle '{info.name}' cannot be built with its options: {reason}. Download or copy the bundle again."
        ) from error


def write_bundle(
    path: Path,
    config: BundleConfig,
    network: nn.Module,
    card: str,
    reference: ReferenceCases | None = None,
    extra_files: Sequence[Path] = (),
) -> BundleInfo:
    """Write a bundle atomically; floating-point weights are stored in half precision, if it has room for them."""
    import torch
    from safetensors.torch import save

    def shorten_weights(value: Tensor) -> Tensor:
        exceeds = value.is_floating_point() and bool((value.abs() > torch.finfo(torch.half).max).any())
        return value.half() if value.is_floating_point() and not exceeds else value

    weights = {name: shorten_weights(value).detach().cpu().contiguous() for name, value in network.state_dict().items()}
    with atomic_folder(path) as folder:
        write_json(folder / CONFIG, config.model_dump(mode="json"))
        write_text(folder / CARD, card)
        # save_file of safetensors would make the file unreadable for other users
        (folder / WEIGHTS).write_bytes(save(weights))
        if reference is not None:
            write_reference(folder, reference)
        for file in extra_files:
            shutil.copyfile(file, folder / file.name)
    return BundleInfo(path, config)


def _check_fits_network(info: BundleInfo, shapes: dict[str, Any], network: nn.Module) -> None:
    """Refuse weights that do not fit the network, and list the first misfits of each kind.

    ``shapes``: shape of each stored tensor.
    """
    expected = {name: value.shape for name, value in network.state_dict().items()}
    faults = {
        "missing": sorted(expected.keys() - shapes.keys()),
        "surplus": sorted(shapes.keys() - expected.keys()),
        "of another shape": sorted(name for name in expected.keys() & shapes.keys() if expected[name] != shapes[name]),
    }
    listed = [f"{len(names)} {kind} ({', '.join(names[:3])})" for kind, names in faults.items() if names]
    if listed:
        raise BundleError(
            f"the weights of bundle '{info.name}' do not fit its architecture '{info.config.architecture}': expected "
            f"{len(expected)} tensors, found {len(shapes)}; {'; '.join(listed)}. Download or copy the bundle again."
        )


class _FloatLayout(NamedTuple):
    """The unsigned integer type with the size of a float, and the bits that are all set in NaN and infinity."""

    integer: str
    mask: int


_FLOATS = {
    "F64": _FloatLayout("<u8", 0x7FF0_0000_0000_0000),
    "F32": _FloatLayout("<u4", 0x7F80_0000),
    "F16": _FloatLayout("<u2", 0x7C00),
    "BF16": _FloatLayout("<u2", 0x7F80),
}


def check_header(path: Path) -> None:
    """Refuse a safetensors file with an invalid header, or whose size does not match its tensors.

    Only the header is read, which takes milliseconds for a model of any size.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # refuses offsets, sizes and shapes that do not fit each other
            pass
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        raise BundleError(
            f"cannot read {path}: the weights are incomplete or damaged ({shorten(parse_error_reason(error))}). "
            "Download or copy the bundle again."
        ) from error


def check_weights(path: Path) -> None:
    """Refuse a safetensors file with an invalid header, or with NaN or infinite weights."""
    check_header(path)
    try:
        content = np.memmap(path, np.uint8, mode="r")
        start = 8 + int.from_bytes(content[:8].tobytes(), "little")
        header = parse_json(content[8:start].tobytes(), str(path))
        for name, tensor in header.items():
            if name != "__metadata__" and tensor["dtype"] in _FLOATS:
                _check_tensor(path, name, content[start:][slice(*tensor["data_offsets"])], _FLOATS[tensor["dtype"]])
    except (OSError, MalformedFile, ValueError, MemoryError) as error:
        raise BundleError(
            f"cannot read {path}: {shorten(parse_error_reason(error))}. Download or copy the bundle again."
        ) from error


def _check_tensor(path: Path, name: str, content: np.ndarray, layout: _FloatLayout) -> None:
    """Refuse a tensor with NaN or infinity; ``content`` are its bytes."""
    bits = content.view(layout.integer)
    for first in range(0, len(bits), _CHUNK_VALUES):
        part = bits[first : first + _CHUNK_VALUES] & layout.mask
        if part.max() == layout.mask:
            position = first + int(np.argmax(part == layout.mask))
            raise BundleError(
                f"the weights in {path} are damaged: value {position + 1} of {len(bits)} in tensor '{shorten(name)}' "
                "is NaN or infinite. Download or copy the bundle again."
            )


def number_groups(names: ArrayLike) -> NDArray[np.int64]:
    """Replace the names of patients or lesions by anonymous numbers.

    Returns int64 (case,): numbers from 0, in the order of first occurrence.
    """
    _, first, index = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[index]


def choose_training_cases(labels: ArrayLike, max_count: int = MAX_CASES) -> NDArray[np.int64]:
    """Choose the training cases of a bundle: all, or a random subset with the same class frequencies.

    ``labels``: class index of each case. Returns ascending indices, int64 (chosen,).
    """
    truth = np.asarray(labels, np.int64)
    if len(truth) <= max_count:
        return np.arange(len(truth))
    random = np.random.default_rng(0)
    chosen = []
    for label in np.unique(truth):
        members = np.flatnonzero(truth == label)
        number = max(1, round(max_count * len(members) / len(truth)))
        chosen.append(random.choice(members, min(number, len(members)), replace=False))
    return np.sort(np.concatenate(chosen))


def make_texture_reference(textures: NDArray[np.float16], classes: int) -> ReferenceCases:
    """Create reference cases with textures only, as for a segmentation model.

    ``textures``: float16 (training tile, feature).
    """
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, 0), np.float16)
    return ReferenceCases(np.zeros((0, classes), np.float32), none, none, empty, none, textures=textures)


def read_reference(info: BundleInfo) -> ReferenceCases | None:
    """Read the reference cases of a bundle; None if it has none."""
    path = info.path / REFERENCE_FILE
    if not path.is_file():
        return None
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in REFERENCE_ARRAYS}
            textures = file.get_tensor(TEXTURES) if TEXTURES in file.keys() else None  # noqa: SIM118 - no mapping
            ids = tuple(parse_json((file.metadata() or {}).get("embedded_ids", "[]"), str(path)))
        reference = ReferenceCases(**arrays, embedded_ids=ids, textures=textures)
        _check_shapes(reference, len(info.config.classes))
    except (OSError, SafetensorError, ValueError, TypeError) as error:
        raise BundleError(
            f"cannot read {path}: {parse_error_reason(error)}. Download or copy the bundle again."
        ) from error
    return reference


def write_reference(folder: Path, reference: ReferenceCases) -> None:
    from safetensors.numpy import save

    arrays = {
        name: np.ascontiguousarray(getattr(reference, name), dtype=kind) for name, (kind, _) in REFERENCE_ARRAYS.items()
    }
    if reference.textures is not None:
        arrays[TEXTURES] = np.ascontiguousarray(reference.textures, dtype=np.float16)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise SaveError(f"cannot save {folder / REFERENCE_FILE}: its logits or embeddings are not finite.")
    metadata = {"embedded_ids": json.dumps(reference.embedded_ids)} if reference.embedded_ids else None
    with atomic_file(folder / REFERENCE_FILE) as temporary:
        temporary.write_bytes(save(arrays, metadata))


def _check_shapes(reference: ReferenceCases, classes: int) -> None:
    """Refuse arrays of the wrong type or shape, or with labels that are not classes of the bundle."""
    for name, (kind, dimensions) in REFERENCE_ARRAYS.items():
        array = getattr(reference, name)
        if array.ndim != dimensions or array.dtype != kind:
            raise ValueError(
                f"{name} is {array.dtype} with {array.ndim} dimensions, expected {np.dtype(kind)} with {dimensions}"
            )
    if reference.textures is not None and (reference.textures.ndim != 2 or reference.textures.dtype != np.float16):
        raise ValueError(f"textures are {reference.textures.dtype}, expected float16 with 2 dimensions")
    if reference.logits.shape[1] != classes:
        raise ValueError(f"logits have {reference.logits.shape[1]} classes, expected {classes}")
    for labels in (reference.labels, reference.embedded_labels):
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"labels range from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
