"""Models that predict the class probabilities of the pixels of an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.lesion.segmentation import SegmentationModel
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import normalize_images


class TissueSegmenter(SegmentationModel):
    """Model of a bundle that predicts the class probabilities of the pixels of an image."""

    @staticmethod
    def check_bundle(info: BundleInfo) -> None:
        """Raise BundleError if a model does not segment several classes."""
        if info.config.task != "segmentation" or info.config.segments_one_class:
            raise BundleError(f"'{info.name}' does not segment several classes, expected a model that does.")

    def probabilities(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict class probabilities of pixels.

        ``rgb``: uint8 (row, column, channel), of any size; resized to the input size of the bundle. Returns float32
        (class, row, column) of the size of the image: a softmax over the logits, which are resized first.
        """
        from scipy.special import softmax

        config = self.info.config
        prepared = prepare_network_input(rgb, config.input_size, config.preprocessing)
        logits = self.network.run("segment", image=normalize_images([prepared], config))["logits"][0]
        height, width = rgb.shape[:2]
        probabilities: NDArray[np.float32] = softmax(_interpolate(_interpolate(logits, height, 1), width, 2), axis=0)
        return probabilities

    def predict_labels(self, rgb: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Predict the class of pixels.

        ``rgb``: uint8 (row, column, channel), of any size. Returns uint8 (row, column), the index of the most probable
        class; the first for equal probabilities.
        """
        return self.probabilities(rgb).argmax(0).astype(np.uint8)


def _interpolate(maps: NDArray[np.float32], length: int, axis: int) -> NDArray[np.float32]:
    """Resize maps along an axis by linear interpolation between the centers of pixels, without smoothing."""
    old = maps.shape[axis]
    if length == old:
        return maps
    position = np.clip((np.arange(length, dtype=np.float32) + 0.5) * np.float32(old / length) - 0.5, 0, old - 1)
    first = position.astype(np.intp)
    shape = [1] * maps.ndim
    shape[axis] = length
    weight = (position - first).astype(np.float32).reshape(shape)
    lower, upper = maps.take(first, axis), maps.take(np.minimum(first + 1, old - 1), axis)
    upper -= lower
    upper *= weight
    lower += upper
    return lower
