"""Published weights into a network: whatever has the right name and shape, and a sentence on what had not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.counting import first_few
from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.normalisation import norms_of, refitted
from napari_melanoma.models.weights_files.finding import INDEX, why_absent
from napari_melanoma.models.weights_files.names import DIALECTS, EPSILONS, Dialect
from napari_melanoma.models.weights_files.pytorch import read_pytorch
from napari_melanoma.models.weights_files.tensorflow import is_archive, read_tensorflow

if TYPE_CHECKING:
    from torch import Tensor, nn

COUNTER = "num_batches_tracked"  # of batch normalisation; no weight
LEAST = 0.5  # of the encoder's tensors; with fewer the file is of another network, or of another width
MOST_NAMED = 4


@dataclass(frozen=True)
class Fit:
    """How a file fits a network: tensors taken by our names, those of another shape there, and what is left over.

    ``epsilon`` is what the file's network adds to variances, where that is known to be the same throughout.
    """

    taken: dict[str, Tensor]
    other_shape: dict[str, tuple[int, ...]]
    absent: tuple[str, ...]
    unused: tuple[str, ...]
    epsilon: float | None = None


def load_file(network: nn.Module, path: Path) -> str:
    """Put the weights of a file into a network where name and shape fit; the rest of it stays as it is.

    What was taken and what was not, for a person.
    """
    weights = read_weights(path)
    state = {name: value for name, value in network.state_dict().items() if not name.endswith(COUNTER)}
    fit = best_fit(weights, state)
    share, part = _share(fit, state)
    if share < LEAST:
        raise BundleError(
            f"{path.name} does not fit this network: of the {part}'s tensors {share:.0%} are in it with their shape. "
            f"{_other_shapes(fit, state) or 'No name is known.'} "
            "Choose the architecture and the options (width, decoder_channels ...) that the file was made with."
        )
    network.load_state_dict(_with_our_epsilon(fit, network), strict=False)
    return _told(path, fit, state)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read a file of weights of any known form.

    By the file's own names, in PyTorch's axis order: convolutions are (out, in, row, column).
    """
    import torch

    if not path.is_file():
        raise BundleError(why_absent(path))
    if path.suffix != INDEX and not is_archive(path):
        return read_pytorch(path)
    found = {name: torch.from_numpy(value) for name, value in read_tensorflow(path).items()}
    return {name: _turned(name, value) for name, value in found.items()}


def best_fit(weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Fit:
    """Match names and shapes in the dialect that fits most.

    What fits, and what does not.
    """
    fits = (replace(_fit(speak, weights, state), epsilon=EPSILONS.get(name)) for name, speak in DIALECTS.items())
    return max(fits, key=lambda fit: (len(fit.taken), len(fit.other_shape)))


def _fit(dialect: Dialect, weights: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> Fit:
    """Match names and shapes in one dialect."""
    named = {name: dialect(name) for name in weights if not name.endswith(COUNTER)}
    source = {ours: name for name, ours in named.items() if ours is not None and ours in state}
    same = {ours: weights[name].shape == state[ours].shape for ours, name in source.items()}
    return Fit(
        taken={ours: weights[source[ours]] for ours, fits in same.items() if fits},
        other_shape={ours: tuple(weights[source[ours]].shape) for ours, fits in same.items() if not fits},
        absent=tuple(name for name in state if name not in source),
        unused=tuple(name for name, ours in named.items() if ours not in state),
    )


def _with_our_epsilon(fit: Fit, network: nn.Module) -> dict[str, Tensor]:
    """Give what is taken such that our network computes with it what the file's own does."""
    from napari_melanoma.models.blocks.any_size import INNER

    norms = {name.removeprefix(INNER): norm for name, norm in norms_of(network).items()}
    return fit.taken if fit.epsilon is None else refitted(fit.taken, norms, dict.fromkeys(norms, fit.epsilon))


def _turned(name: str, value: Tensor) -> Tensor:
    """Turn a convolution of TensorFlow, (row, column, in, out) or, channel by channel, (row, column, channel, 1)."""
    if value.ndim != 4:
        return value
    return value.permute(2, 3, 0, 1) if name.endswith("depthwise_weights") else value.permute(3, 2, 0, 1)


def _share(fit: Fit, state: Mapping[str, Tensor]) -> tuple[float, str]:
    """Give the share of the encoder that was found, or of a network without one, and which of the two."""
    encoder = [name for name in state if name.startswith("encoder.")]
    asked = encoder or list(state)
    return sum(name in fit.taken for name in asked) / max(1, len(asked)), "encoder" if encoder else "network"


def _told(path: Path, fit: Fit, state: Mapping[str, Tensor]) -> str:
    """Say what came from a file and what did not."""
    parts = [f"start: {len(fit.taken)} of the network's {len(state)} tensors come from {path.name}"]
    if fit.other_shape:
        parts.append(_other_shapes(fit, state).rstrip("."))
    if fit.absent:
        parts.append(f"random because it is not in the file: {first_few(fit.absent, MOST_NAMED)}")
    if fit.unused:
        parts.append(f"in the file and not used: {first_few(fit.unused, MOST_NAMED)}")
    return "; ".join(parts) + "."


def _other_shapes(fit: Fit, state: Mapping[str, Tensor]) -> str:
    """Say which tensors have another shape in the file; they stay random."""
    if not fit.other_shape:
        return ""
    some = [f"{name} is {shape} there, {tuple(state[name].shape)} here" for name, shape in fit.other_shape.items()]
    return f"Random because of another shape: {first_few(some, MOST_NAMED)}."
