"""Test-time flips: a model is asked about a photograph and its mirror images, and says where its answers differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.analysis.preprocessing import network_input
from napari_melanoma.models.preprocessing import restore_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.models.bundle import BundleInfo

# Axes (row, column) of each view; the first one is the photograph as it is.
VIEWS: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))


class LogitModel(Protocol):
    """What flips and ratings ask of a model; ``inference.photograph.Segmenter`` is one."""

    info: BundleInfo

    def logits(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run the network on photographs of its input size.

        ``inputs``: each uint8 (side, side, channel). Returns float32 (batch, side, side).
        """


@dataclass(frozen=True)
class FlippedLogits:
    """What a network says of a batch under all flips: float32 (batch, side, side) each, turned back.

    ``mean`` is the mean of the logits, ``low`` and ``high`` the smallest and largest of each pixel.
    """

    mean: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def spread(self, index: int) -> NDArray[np.float32]:
        """Give the extremes of one photograph.

        Returns float32 (2, side, side).
        """
        return np.stack([self.low[index], self.high[index]])

    def answers(self, shapes: Sequence[tuple[int, int]]) -> list[Answer]:
        """Bring the batch back to the sizes of its photographs.

        In their order.
        """
        return [Answer(restore_size(self.mean[index], shape), self.spread(index)) for index, shape in enumerate(shapes)]


@dataclass(frozen=True)
class Answer:
    """What a model says of one photograph: its probability, float32 (row, column) in [0, 1].

    ``spread`` is float32 (2, side, side): the smallest and the largest logit of each pixel under all flips, at the
    network's own size; None where the model was asked once.
    """

    probability: NDArray[np.float32]
    spread: NDArray[np.float32] | None = None


def flipped_logits(model: LogitModel, inputs: Sequence[NDArray[np.uint8]]) -> FlippedLogits:
    """Ask a network about photographs and their three mirror images, one flip after the other.

    The mean over flips is test-time augmentation as in Wang et al. 2019 (doi:10.1016/j.neucom.2019.01.103); the
    extremes say where the answers disagree. Only flips, because all four are exact on a grid of pixels.

    ``inputs``: each uint8 (side, side, channel), as ``network_input`` makes it. In the order of the inputs.
    """
    mean = low = high = model.logits(inputs)
    for axes in VIEWS[1:]:
        flipped = model.logits([np.ascontiguousarray(np.flip(image, axes)) for image in inputs])
        turned_back = np.flip(flipped, tuple(axis + 1 for axis in axes))
        mean = mean + turned_back
        low, high = np.minimum(low, turned_back), np.maximum(high, turned_back)
    return FlippedLogits(mean / np.float32(len(VIEWS)), low, high)


def flipped_answer(model: LogitModel, rgb: NDArray[np.uint8]) -> Answer:
    """Ask a network about one photograph of any size and its mirror images.

    ``rgb``: uint8 (row, column, channel), sRGB. Returns the probability of the mean logits, and the spread.
    """
    config = model.info.config
    found = flipped_logits(model, [network_input(rgb, config.input_size, config.preprocessing)])
    return found.answers([(rgb.shape[0], rgb.shape[1])])[0]
