"""Model bundles: configuration, checked weights, the card, and the reference cases of a classifier."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

import numpy as np
from pydantic import Field, model_validator

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import BundleError, MalformedFile, SaveError
from napari_melanoma.core.files import atomic_folder, write_json, write_text
from napari_melanoma.core.parsing import parse_error_reason, parse_json, read_json, shorten
from napari_melanoma.core.prediction_config import (
    ClassifierConfig,
    EncoderConfig,
    PreprocessingConfig,
    TabularEncoding,
    TileConfig,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray
    from torch import nn

CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "README.md"
PREDICTION_FIELDS = ("task", "architecture", "options", "input_size", "mean", "std", "classes", "tile")
CALIBRATION_FIELDS = ("mirrored", "temperature", "bias")
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
    def _check_task(self) -> Self:
        if (self.task == "classification") != (self.classifier is not None):
            raise ValueError(f"task is {self.task}: 'classifier' belongs to classification, which needs it")
        if self.tile is not None and SLIDE not in self.modalities:
            raise ValueError(f"'tile' is of a model of slides, and modalities are {self.modalities}: add '{SLIDE}'")
        if self.encoder is not None and (self.tile is None or self.classifier is None):
            raise ValueError("'encoder' is of a classifier of whole slides, which needs 'tile' and 'classifier'")
        if self.classifier is None:
            return self._check_classes()
        if len(set(self.classes)) < max(2, len(self.classes)):
            raise ValueError(f"classes are {', '.join(self.classes)}, expected two or more, each once")
        if self.classifier.positive not in self.classes:
            raise ValueError(f"positive is '{self.classifier.positive}', expected one of {', '.join(self.classes)}")
        if len(self.classifier.bias) not in (0, len(self.classes)):
            raise ValueError(f"bias has {len(self.classifier.bias)} values, expected {len(self.classes)}, one a class")
        return self

    def _check_classes(self) -> Self:
        """Refuse classes of a segmentation that are not the network's."""
        maps = self.options.get("classes", 1)
        if len(set(self.classes)) != len(self.classes) or maps != len(self.classes):
            raise ValueError(
                f"classes are {', '.join(self.classes)}, expected {maps} as the network's options say, each once"
            )
        return self

    @property
    def segments_one_class(self) -> bool:
        """Whether it draws a lesion against the rest, cut at its threshold.

        Otherwise each pixel has one probability for each of several classes, by a softmax over the network's maps, and
        is of the most probable one; there is no threshold.
        """
        return self.task == "segmentation" and len(self.classes) == 1

    @property
    def synthetic_share(self) -> float:
        """Which share of the images that it has learnt from are phantoms; 0 where nothing says so."""
        data = self.provenance.get("data")
        known = data if isinstance(data, dict) else {}
        learnt = known.get("learn", 0) + known.get("base", 0)
        return known.get("drawn", 0) / learnt if learnt else 0.0

    @property
    def is_demonstration(self) -> bool:
        """Whether it says that it is a demonstration, trained on synthetic data only."""
        return self.synthetic_share >= 1 or "demonstration" in self.title.lower()

    @property
    def is_slide_model(self) -> bool:
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

    def prediction_fingerprint(self, *, calibrated: bool = True) -> str:
        """Hash what turns the weights into answers: network, input, calibration; no title, card or cut."""
        told = self.config.model_dump(mode="json", include={*PREDICTION_FIELDS})
        if calibrated and self.config.classifier is not None:
            told["classifier"] = self.config.classifier.model_dump(mode="json", include={*CALIBRATION_FIELDS})
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
            f"cannot read {path / CONFIG}: {parse_error_reason(error)}. Get the bundle again from where it came."
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
            f"cannot read {info.path / WEIGHTS}: {parse_error_reason(error)}. Get the bundle again from where it came."
        ) from error
    _check_weights(info, {name: value.shape for name, value in weights.items()}, _build_on_meta_device(info))
    network = build_network(info.config.architecture, info.config.options)
    network.load_state_dict(weights)
    return network.float().eval()


def _build_on_meta_device(info: BundleInfo) -> nn.Module:
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
    reference: ReferenceCases | None = None,
    extra_files: Sequence[Path] = (),
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
        for file in extra_files:
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


_CHUNK_VALUES = 4 * 1024**2  # at a time, so that the check of a large model takes little memory


class _FloatLayout(NamedTuple):
    """An unsigned integer of the size of a float, and its bits that are all set where it is not finite."""

    integer: str
    mask: int


_FLOATS = {
    "F64": _FloatLayout("<u8", 0x7FF0_0000_0000_0000),
    "F32": _FloatLayout("<u4", 0x7F80_0000),
    "F16": _FloatLayout("<u2", 0x7C00),
    "BF16": _FloatLayout("<u2", 0x7F80),
    "F8_E5M2": _FloatLayout("u1", 0x7C),
    "F8_E4M3": _FloatLayout("u1", 0x7F),
}


def check_header(path: Path) -> None:
    """Refuse a safetensors file whose header is not valid, or whose size is not the one that its tensors need.

    Reads the header alone, so that it takes milliseconds whatever the size of the model.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):  # refuses offsets, sizes and shapes that do not fit each other
            pass
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        raise BundleError(
            f"cannot read {path}: the weights are incomplete or corrupt ({shorten(parse_error_reason(error))}). Get the "
            "bundle again from where it came."
        ) from error


def check_weights(path: Path) -> None:
    """Refuse a safetensors file whose header does not describe its data, or whose weights are NaN or infinite."""
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
            f"cannot read {path}: {shorten(parse_error_reason(error))}. Get the bundle again from where it came."
        ) from error


def _check_tensor(path: Path, name: str, content: np.ndarray, layout: _FloatLayout) -> None:
    """Refuse a tensor with a value that is not finite."""
    bits = content.view(layout.integer)
    for first in range(0, len(bits), _CHUNK_VALUES):
        part = bits[first : first + _CHUNK_VALUES] & layout.mask
        if part.max() == layout.mask:
            at = first + int(np.argmax(part == layout.mask))
            raise BundleError(
                f"the weights in {path} are damaged: value {at + 1} of {len(bits)} in tensor '{shorten(name)}' is "
                "NaN or infinite. Get the bundle again from where it came."
            )


REFERENCE_FILE = "reference.safetensors"
MAX_CASES = 4096  # training cases that a bundle remembers: 2.6 MB of 320 features
REFERENCE_ARRAYS = {
    "logits": (np.float32, 2),
    "labels": (np.int64, 1),
    "groups": (np.int64, 1),
    "embeddings": (np.float16, 2),
    "embedded_labels": (np.int64, 1),
}
TEXTURES = "textures"  # float16 (tile, feature), of models of slides alone


@dataclass(frozen=True)
class ReferenceCases:
    """Cases that were held back, and training cases.

    ``logits`` is float32 (case, class) before temperature, ``labels`` int64 (case,) indices of classes, ``groups``
    int64 (case,) the patient or lesion, as a number that says nothing else. ``embeddings`` is float16 (training case,
    feature), ``embedded_labels`` int64 (training case,), ``embedded_ids`` their image ids or (). ``textures`` is
    float16 (training tile, feature), as ``models.blocks.texture`` gives them; None where it remembers none.
    """

    logits: NDArray[np.float32]
    labels: NDArray[np.int64]
    groups: NDArray[np.int64]
    embeddings: NDArray[np.float16]
    embedded_labels: NDArray[np.int64]
    embedded_ids: tuple[str, ...] = ()
    textures: NDArray[np.float16] | None = None

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit each other."""
        fits = len(self.logits) == len(self.labels) == len(self.groups)
        fits &= len(self.embeddings) == len(self.embedded_labels)
        if not fits or len(self.embedded_ids) not in (0, len(self.embeddings)):
            raise ValueError(
                "cases of a reference do not fit each other: "
                f"{len(self.logits)} logits, {len(self.labels)} labels, {len(self.groups)} groups; "
                f"{len(self.embeddings)} embeddings, {len(self.embedded_labels)} labels, {len(self.embedded_ids)} ids."
            )


def number_groups(names: ArrayLike) -> NDArray[np.int64]:
    """Turn names of patients or lesions into numbers that say nothing but which are the same.

    Returns int64 (case,), from 0 in the order in which names first occur.
    """
    _, first, index = np.unique(np.asarray(names), return_index=True, return_inverse=True)
    place = np.empty(len(first), np.int64)
    place[np.argsort(first)] = np.arange(len(first))
    return place[index]


def choose_training_cases(labels: ArrayLike, most: int = MAX_CASES, seed: int = 0) -> NDArray[np.int64]:
    """Choose which training cases a bundle remembers: all of them, or so many at random, each class in its share.

    Returns int64 (chosen,): places, ascending.
    """
    truth = np.asarray(labels, np.int64)
    if len(truth) <= most:
        return np.arange(len(truth))
    random = np.random.default_rng(seed)
    chosen = []
    for one in np.unique(truth):
        places = np.flatnonzero(truth == one)
        number = max(1, round(most * len(places) / len(truth)))
        chosen.append(random.choice(places, min(number, len(places)), replace=False))
    return np.sort(np.concatenate(chosen))


def make_texture_reference(textures: NDArray[np.float16], classes: int) -> ReferenceCases:
    """Make what a model remembers that has no cases of its own, such as one that draws.

    ``textures``: float16 (training tile, feature).
    """
    none = np.zeros(0, np.int64)
    empty = np.zeros((0, 0), np.float16)
    return ReferenceCases(np.zeros((0, classes), np.float32), none, none, empty, none, textures=textures)


def read_reference(info: BundleInfo) -> ReferenceCases | None:
    """Read what a bundle remembers of cases.

    None where it remembers nothing.
    """
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
            f"cannot read {path}: {parse_error_reason(error)}. Get the bundle again from where it came."
        ) from error
    return reference


def write_reference(folder: Path, reference: ReferenceCases) -> None:
    """Write what a bundle remembers of cases."""
    from safetensors.numpy import save

    from napari_melanoma.core.files import atomic_file

    arrays = {
        name: np.ascontiguousarray(getattr(reference, name), dtype=kind) for name, (kind, _) in REFERENCE_ARRAYS.items()
    }
    if reference.textures is not None:
        arrays[TEXTURES] = np.ascontiguousarray(reference.textures, dtype=np.float16)
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise SaveError(f"cannot save {folder / REFERENCE_FILE}: logits or embeddings are not finite.")
    metadata = {"embedded_ids": json.dumps(reference.embedded_ids)} if reference.embedded_ids else None
    with atomic_file(folder / REFERENCE_FILE) as temporary:
        temporary.write_bytes(save(arrays, metadata))


def _check_shapes(reference: ReferenceCases, classes: int) -> None:
    """Refuse arrays of another shape than the bundle's classes say."""
    for name, (kind, dimensions) in REFERENCE_ARRAYS.items():
        array = getattr(reference, name)
        if array.ndim != dimensions or array.dtype != kind:
            raise ValueError(
                f"{name} is {array.dtype} of {array.ndim} dimensions, expected {np.dtype(kind)} of {dimensions}"
            )
    if reference.textures is not None and (reference.textures.ndim != 2 or reference.textures.dtype != np.float16):
        raise ValueError(f"textures are {reference.textures.dtype}, expected float16 of 2 dimensions")
    if reference.logits.shape[1] != classes:
        raise ValueError(f"logits are of {reference.logits.shape[1]} classes, expected {classes}")
    for labels in (reference.labels, reference.embedded_labels):
        if len(labels) and not 0 <= labels.min() <= labels.max() < classes:
            raise ValueError(f"labels reach from {labels.min()} to {labels.max()}, expected 0 to {classes - 1}")
