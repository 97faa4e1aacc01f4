"""Prediction of lesion probability maps by a bundle's network, optionally with test-time augmentation."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import InferenceNetwork, load_inference, normalize_images, restore_size

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.imaging.prompts import Prompts


class SegmentationModel(ABC):
    """A bundle's network that predicts a value for each pixel."""

    def __init__(self, info: BundleInfo, network: InferenceNetwork) -> None:
        self.info = info
        self.network = network

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        cls.check_bundle(info)
        return cls(info, load_inference(info, device))

    @property
    def device(self) -> str:
        return self.network.device

    @property
    def backend(self) -> str:
        return self.network.backend

    @staticmethod
    @abstractmethod
    def check_bundle(info: BundleInfo) -> None:
        """Raise BundleError for a model of another type."""


class Segmenter(SegmentationModel):
    """A bundle's network that predicts the lesion probability of each pixel."""

    @staticmethod
    def check_bundle(info: BundleInfo) -> None:
        """Raise BundleError for a model that does not segment exactly one class."""
        if not info.config.segments_one_class:
            classes = ", ".join(info.config.classes)
            raise BundleError(
                f"'{info.name}' segments {classes}, expected a lesion segmentation model, such as lesion-small."
            )

    def probability(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the lesion probability of each pixel of a photograph.

        ``rgb``: uint8 (row, column, channel), sRGB, of any size. Returns float32 (row, column) in [0, 1], of the
        photograph's size.
        """
        return self.probabilities([rgb])[0]

    def probabilities(self, images: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Return the probability maps of several photographs, predicted as one batch.

        ``images``: each uint8 (row, column, channel), of any size. Returns float32 (row, column) each, in the same
        order and of the photographs' sizes.
        """
        config = self.info.config
        logits = self.logits(
            [prepare_network_input(image, config.input_size, config.preprocessing) for image in images]
        )
        return [
            restore_size(map_, (image.shape[0], image.shape[1])) for map_, image in zip(logits, images, strict=True)
        ]

    def logits(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run the network on prepared photographs.

        ``inputs``: each uint8 (side, side, channel), as returned by ``prepare_network_input``. Returns float32
        (batch, side, side).
        """
        if not inputs:
            side = self.info.config.input_size
            return np.zeros((0, side, side), np.float32)
        return self.network.run("segment", image=normalize_images(inputs, self.info.config))["logits"][:, 0]


# Axes (row, column) of each flip; the first one is the unchanged photograph.
FLIP_AXES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))


@dataclass(frozen=True)
class FlippedLogits:
    """The logits of a batch over all flips, float32 (batch, side, side) each, in the original orientation.

    ``mean`` is the mean of the logits; ``low`` and ``high`` are the smallest and the largest logit of each pixel.
    """

    mean: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]

    def spread(self, index: int) -> NDArray[np.float32]:
        """Return the smallest and the largest logits of one photograph, float32 (2, side, side)."""
        return np.stack([self.low[index], self.high[index]])


@dataclass(frozen=True)
class LesionPrediction:
    """A model's output for one photograph: its probability, float32 (row, column) in [0, 1].

    ``spread`` is float32 (2, side, side): the smallest and the largest logit of each pixel over all flips, at the
    network's input size; None without test-time augmentation. ``prompts``: the prompts of the prediction, with
    strokes and previous mask; None without prompts, or if they are those of the options.
    """

    probability: NDArray[np.float32]
    spread: NDArray[np.float32] | None = None
    prompts: Prompts | None = None


def predict_flipped_logits(model: Segmenter, inputs: Sequence[NDArray[np.uint8]]) -> FlippedLogits:
    """Run a network on photographs and on three flips of each.

    The mean over flips is test-time augmentation as in Wang et al. 2019 (doi:10.1016/j.neucom.2019.01.103); the
    extremes show where the predictions disagree. Only flips are used, as all four are exact on a pixel grid.

    ``inputs``: each uint8 (side, side, channel), as returned by ``prepare_network_input``. Returns the logits in the
    same order.
    """
    mean = low = high = model.logits(inputs)
    for axes in FLIP_AXES[1:]:
        flipped = model.logits([np.ascontiguousarray(np.flip(image, axes)) for image in inputs])
        restored = np.flip(flipped, tuple(axis + 1 for axis in axes))
        mean = mean + restored
        low, high = np.minimum(low, restored), np.maximum(high, restored)
    return FlippedLogits(mean / np.float32(len(FLIP_AXES)), low, high)


def predict_lesions(
    model: Segmenter, images: Sequence[NDArray[np.uint8]], *, flips: bool
) -> Iterator[LesionPrediction]:
    """Predict the lesions of several photographs as one batch; the maps are resized as they are yielded.

    ``images``: each uint8 (row, column, channel), sRGB.
    """
    config = model.info.config
    inputs = [prepare_network_input(image, config.input_size, config.preprocessing) for image in images]
    flipped = predict_flipped_logits(model, inputs) if flips else None
    logits = model.logits(inputs) if flipped is None else flipped.mean
    for index, image in enumerate(images):
        spread = None if flipped is None else flipped.spread(index)
        yield LesionPrediction(restore_size(logits[index], (image.shape[0], image.shape[1])), spread)
