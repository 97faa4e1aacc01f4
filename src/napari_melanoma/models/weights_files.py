"""Files of weights that a training can start from: find, identify and read them, and load what fits a network.

Reads safetensors, and files of ``torch.save`` without executing code in them. torch is imported inside functions,
because the Train dock uses this module.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.files import hash_file
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.parsing import parse_error_reason, shorten
from napari_melanoma.core.paths import expand_user
from napari_melanoma.models.installed_bundles import list_bundles
from napari_melanoma.models.torch_inference import NORM_COUNTER

if TYPE_CHECKING:
    from torch import Tensor, nn

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")
START_WORDS = ("imagenet", "none")  # starts of a recipe that are neither files nor bundles
# Keys under which a file of ``torch.save`` may have its weights, and their prefix in DataParallel
WRAPPER_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
PARALLEL_PREFIX = "module."
REFUSED_NAME = re.compile(r"\bGLOBAL ([\w.]+)")  # name of a function or class, in errors of torch
MIN_SHARE = 0.5  # of the encoder's tensors; with fewer matches the file is for another network or width
MAX_LISTED = 4  # tensors that a message lists
# Translations of the names in a file to those of our networks; the one that matches most tensors is used.
TRANSLATIONS: tuple[Callable[[str], str], ...] = (
    lambda name: name,  # one of our networks, or of segmentation-models-pytorch
    lambda name: f"encoder.{name}",  # an encoder alone
    lambda name: f"encoder.model.{name}",  # timm; torchvision's ResNets have the same names
    # timm's networks whose stages are submodules of the encoder
    lambda name: "encoder.model." + re.sub(r"^(stem|stages|layers|features)\.", r"\1_", name),
    lambda name: f"encoder.model.model.{name}",  # timm's transformers
)


def find_weights_file(start: str) -> Path | None:
    """Return the weights file that a recipe's start refers to; it need not exist.

    None if ``start`` is one of ``START_WORDS``, or the folder or name of a bundle (even if a file has the same name).
    """
    path = expand_user(start)
    if start in START_WORDS or path.is_dir() or not (path.is_file() or path.name.lower().endswith(SUFFIXES)):
        return None
    is_bundle_name = path.name == start and any(bundle.name == start for bundle in list_bundles())
    return None if is_bundle_name else path


def fingerprint_weights(path: Path) -> str:
    """Return the SHA-256 of a weights file."""
    try:
        return hash_file(path)
    except OSError as error:
        raise BundleError(f"cannot read weights from {path}: {error.strerror}. Select an existing file.") from error


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a file by the names in it, without the prefix of parallel training."""
    if not path.is_file():
        raise BundleError(f"no weights file {path} was found. Select an existing file.")
    content = _load_safetensors(path) if path.suffix == ".safetensors" else _load_pickle(path)
    tensors = _find_tensors(content)
    if not tensors:
        raise BundleError(f"{path} contains no weights: expected the names and tensors of a model's state_dict().")
    return {name.removeprefix(PARALLEL_PREFIX): value for name, value in tensors.items()}


def _load_pickle(path: Path) -> object:
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        refused = REFUSED_NAME.search(str(error))
        contents = "contains more than weights"
        fault = f"{contents} ({shorten(refused[1])})" if refused else f"is damaged, or {contents}"
        raise BundleError(
            f"{path} {fault} and would execute code when loaded. "
            "If you trust the file, save only its state dict with torch.save(model.state_dict(), FILE)."
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, KeyError) as error:
        raise _unreadable(path, error) from error


def _load_safetensors(path: Path) -> object:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> BundleError:
    reason = "it is incomplete" if isinstance(error, EOFError) else parse_error_reason(error)
    return BundleError(f"cannot read {path}: {reason}. Download or copy the file again.")


def _find_tensors(content: object) -> dict[str, Tensor]:
    """Return the tensors at the top level or under one of ``WRAPPER_KEYS``: the largest of these groups."""
    import torch

    if not isinstance(content, Mapping):
        return {}
    groups = [group for group in (content, *map(content.get, WRAPPER_KEYS)) if isinstance(group, Mapping)]
    tensors = [{str(key): value for key, value in group.items() if isinstance(value, torch.Tensor)} for group in groups]
    return max(tensors, key=len)


@dataclass(frozen=True)
class WeightsFit:
    """The match between a file and a network.

    ``matched`` are tensors of the file by the network's names, ``other_shape`` the file's shapes of tensors that have
    another shape in the network. ``absent`` are tensors of the network that the file lacks, ``unused`` tensors of the
    file that the network lacks.
    """

    matched: dict[str, Tensor]
    other_shape: dict[str, tuple[int, ...]]
    absent: tuple[str, ...]
    unused: tuple[str, ...]


def load_weights_file(network: nn.Module, path: Path) -> str:
    """Load those weights of a file whose names and shapes match the network; other weights are unchanged.

    Returns a summary for the user.
    """
    weights = read_weights(path)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(NORM_COUNTER)}
    fits = [_match_names(translate, weights, state) for translate in TRANSLATIONS]
    fit = max(fits, key=lambda fit: (len(fit.matched), len(fit.other_shape)))
    encoder = [name for name in state if name.startswith("encoder.")]
    required = encoder or list(state)
    share = sum(name in fit.matched for name in required) / max(1, len(required))
    if share < MIN_SHARE:
        raise BundleError(
            f"{path.name} does not fit this network: it contains {share:.0%} of the "
            f"{'encoder' if encoder else 'network'}'s tensors in the same shape. "
            f"{_describe_other_shapes(fit, state) or 'None of its names is known.'} "
            "Select the architecture and the options (width, decoder_channels ...) that the file was trained with."
        )
    network.load_state_dict(fit.matched, strict=False)
    return _describe_fit(path, fit, state)


def _match_names(
    translate: Callable[[str], str], weights: Mapping[str, Tensor], state: Mapping[str, Tensor]
) -> WeightsFit:
    """Match the tensors of a file and a network by the translated names of the file."""
    source = {translate(name): name for name in weights if not name.endswith(NORM_COUNTER)}
    shared = [parameter for parameter in source if parameter in state]
    same_shape = {parameter: weights[source[parameter]].shape == state[parameter].shape for parameter in shared}
    return WeightsFit(
        matched={parameter: weights[source[parameter]] for parameter, fits in same_shape.items() if fits},
        other_shape={
            parameter: tuple(weights[source[parameter]].shape) for parameter, fits in same_shape.items() if not fits
        },
        absent=tuple(name for name in state if name not in source),
        unused=tuple(name for parameter, name in source.items() if parameter not in state),
    )


def _describe_fit(path: Path, fit: WeightsFit, state: Mapping[str, Tensor]) -> str:
    """Summarize what was loaded from a file."""
    parts = [f"start: {len(fit.matched)} of the network's {len(state)} tensors are from {path.name}"]
    if fit.other_shape:
        parts.append(_describe_other_shapes(fit, state).rstrip(".").replace("Randomly", "randomly", 1))
    if fit.absent:
        parts.append(f"not in the file and therefore randomly initialized: {format_names(fit.absent, MAX_LISTED)}")
    if fit.unused:
        parts.append(f"unused tensors of the file: {format_names(fit.unused, MAX_LISTED)}")
    return "; ".join(parts) + "."


def _describe_other_shapes(fit: WeightsFit, state: Mapping[str, Tensor]) -> str:
    """Describe the tensors of another shape, which keep their random initial values."""
    if not fit.other_shape:
        return ""
    differences = [
        f"{name} is {shape} in the file, {tuple(state[name].shape)} in the network"
        for name, shape in fit.other_shape.items()
    ]
    return f"Randomly initialized because of a different shape: {format_names(differences, MAX_LISTED)}."
