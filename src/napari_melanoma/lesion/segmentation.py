"""Prediction of lesion probability maps by a bundle's network, with closer views and test-time augmentation."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.geometry import Box
from napari_melanoma.imaging.color import find_picture
from napari_melanoma.imaging.masks import bounding_box
from napari_melanoma.imaging.postprocessing import RefinementConfig, refine_mask
from napari_melanoma.imaging.preprocessing import prepare_network_input
from napari_melanoma.imaging.prompts import Prompts
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.models.inference import (
    InferenceNetwork,
    load_inference,
    normalize_images,
    resize_logits,
    to_probability,
)

VIEWS_AT_ONCE = 8  # of models with turned views


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
        return [prediction.probability for prediction in predict_lesions(self, images, flips=False)]

    def logits(self, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        """Run the network on prepared photographs, or views of them.

        ``inputs``: each uint8 (side, side, channel), as returned by ``prepare_network_input``. Returns float32
        (batch, side, side).
        """
        if not inputs:
            side = self.info.config.input_size
            return np.zeros((0, side, side), np.float32)
        return self.run_network(inputs)["logits"][:, 0]

    def run_network(self, inputs: Sequence[NDArray[np.uint8]]) -> dict[str, NDArray[np.float32]]:
        """Run the network on prepared photographs, at least one; returns its outputs by name.

        Turned views are predicted of few photographs at once, as each takes as much memory as a photograph.
        """
        config = self.info.config
        step = max(1, VIEWS_AT_ONCE // config.turned_views) if config.turned_views else len(inputs)
        parts = [
            self.network.run("segment", image=normalize_images(inputs[start : start + step], config))
            for start in range(0, len(inputs), step)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


# Axes (row, column) of each flip; the first one is the unchanged photograph.
FLIP_AXES: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (0, 1))


def predict_view_logits(model: Segmenter, inputs: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Run a network on views of photographs: the turned views that the model averages, or else three flips of each.

    The mean over views is test-time augmentation as in Wang et al. 2019 (doi:10.1016/j.neucom.2019.01.103); the
    extremes show where the predictions disagree. All views are exact on a pixel grid.

    ``inputs``: each uint8 (side, side, channel), as returned by ``prepare_network_input``; at least one. Returns
    float32 (batch, view, side, side), in the orientation of the photographs; the first view is the photograph itself.
    """
    if model.info.config.turned_views:
        return model.run_network(inputs)["views"][:, :, 0]
    flipped = (model.logits([np.ascontiguousarray(np.flip(image, axes)) for image in inputs]) for axes in FLIP_AXES)
    return np.stack(
        [np.flip(logits, tuple(axis + 1 for axis in axes)) for logits, axes in zip(flipped, FLIP_AXES, strict=True)],
        axis=1,
    )


OUTSIDE = np.float32(-30)  # logit of the black around the picture, with a probability of 0
MIN_VIEW_PX = 48  # side of the smallest closer view
MAX_VIEW_SHARE = 0.9  # of the shorter side of a photograph; a larger view would show hardly more detail
SPREAD_PX = 1024  # longest side of the extremes, if they are combined with those of closer views


@dataclass(frozen=True)
class LesionPrediction:
    """A model's output for one photograph: its probability, float32 (row, column) in [0, 1].

    ``spread`` is float32 (2, row, column): the smallest and the largest logit of each pixel over all views, at the
    network's input size, or with closer views at most ``SPREAD_PX`` long; None without test-time augmentation.
    ``prompts``: the prompts of the prediction, with strokes and previous mask; None without prompts, or if they are
    those of the options.
    """

    probability: NDArray[np.float32]
    spread: NDArray[np.float32] | None = None
    prompts: Prompts | None = None


@dataclass(frozen=True)
class CloserView:
    """The network's output for a part of the picture: ``maps`` as those of ``LesionLogits``."""

    box: Box
    maps: NDArray[np.float32]


@dataclass(frozen=True)
class LesionLogits:
    """The network's output for a photograph, which is small until it is enlarged to the photograph's size.

    ``shape``: (rows, columns) of the photograph. ``maps``: float32 (map, side, side), the logits of the picture in it
    or, with test-time augmentation, the mean, the smallest and the largest over ``predict_view_logits``. ``closer``:
    the closer views, each inside the one before, relative to the picture. ``picture``: the photograph without the black
    around it (``find_picture``); None for the whole photograph.
    """

    shape: tuple[int, int]
    maps: NDArray[np.float32]
    closer: tuple[CloserView, ...] = ()
    picture: Box | None = None

    def to_prediction(self) -> LesionPrediction:
        """Return the probability of the photograph, and the spread over its views."""
        probability = to_probability(self.average_views(0, self.shape))
        if len(self.maps) == 1:
            return LesionPrediction(probability)
        if not self.closer and self.picture is None:
            return LesionPrediction(probability, self.maps[1:])
        scale = min(1.0, SPREAD_PX / max(self.shape))
        shape = max(1, round(scale * self.shape[0])), max(1, round(scale * self.shape[1]))
        return LesionPrediction(probability, np.stack([self.average_views(index, shape) for index in (1, 2)]))

    def average_views(self, index: int, shape: tuple[int, int]) -> NDArray[np.float32]:
        """Average one of the maps over the views that show a pixel; returns float32 (row, column) of ``shape``."""
        if self.picture is not None:
            average = np.full(shape, OUTSIDE)
            part = average[self._scale(self.picture, shape)]
            part[:] = replace(self, shape=self._picture_shape, picture=None).average_views(
                index, (part.shape[0], part.shape[1])
            )
            return average
        average = resize_logits(self.maps[index], shape)
        if not self.closer:
            return average
        average = average.copy()
        for count, view in enumerate(self.closer, start=2):  # each pixel of the view is in all views before
            part = average[self._scale(view.box, shape)]
            part += (resize_logits(view.maps[index], (part.shape[0], part.shape[1])) - part) / np.float32(count)
        return average

    @property
    def _picture_shape(self) -> tuple[int, int]:
        return self.shape if self.picture is None else (self.picture.height, self.picture.width)

    def _scale(self, box: Box, shape: tuple[int, int]) -> tuple[slice, slice]:
        """Return the pixels of a box of the photograph in a map of ``shape``."""
        y, x = shape[0] / self.shape[0], shape[1] / self.shape[1]
        rows = slice(round(y * box.top), math.ceil(y * (box.top + box.height)))
        return rows, slice(round(x * box.left), math.ceil(x * (box.left + box.width)))


def predict_logits(
    model: Segmenter, images: Sequence[NDArray[np.uint8]], inputs: Sequence[NDArray[np.uint8]], *, flips: bool
) -> list[LesionLogits]:
    """Predict the lesions of several photographs as one batch, then the closer views of their largest lesions.

    ``images``: each uint8 (row, column, channel), sRGB. ``inputs``: of each, from ``prepare_picture``.
    """
    config = model.info.config
    outputs = [
        LesionLogits((image.shape[0], image.shape[1]), maps, picture=find_smaller_picture(image))
        for image, maps in zip(images, _run_views(model, inputs, flips=flips), strict=True)
    ]
    if not config.closer_views:
        return outputs
    pictures = [
        image if output.picture is None else image[output.picture.slices]
        for image, output in zip(images, outputs, strict=True)
    ]
    views = [
        (index, box)
        for index, output in enumerate(outputs)
        for box in find_closer_views(output.maps[0], (pictures[index].shape[0], pictures[index].shape[1]), config)
    ]
    for start in range(0, len(views), len(images)):  # no more at once than photographs, as the memory may be limited
        chunk = views[start : start + len(images)]
        crops = [
            prepare_network_input(pictures[index][box.slices], config.input_size, config.preprocessing)
            for index, box in chunk
        ]
        for (index, box), maps in zip(chunk, _run_views(model, crops, flips=flips), strict=True):
            outputs[index] = replace(outputs[index], closer=(*outputs[index].closer, CloserView(box, maps)))
    return outputs


def _run_views(model: Segmenter, inputs: Sequence[NDArray[np.uint8]], *, flips: bool) -> NDArray[np.float32]:
    """Return the maps of each input, float32 (batch, map, side, side)."""
    if not flips:
        return model.logits(inputs)[:, None]
    views = predict_view_logits(model, inputs)
    return np.stack([views.mean(1), views.min(1), views.max(1)], axis=1)


def find_closer_views(logits: NDArray[np.float32], shape: tuple[int, int], config: BundleConfig) -> list[Box]:
    """Find the squares of a photograph that a model predicts again, the largest first.

    They are centered on the bounding box of the largest lesion, and moved inside the photograph. Without a lesion, and
    for one that fills the photograph, there are none.

    ``logits``: float32 (side, side), of the whole photograph. ``shape``: (rows, columns) of the photograph.
    """
    lesion = bounding_box(refine_mask(logits >= to_logit(config.threshold), RefinementConfig()))
    if lesion is None:
        return []
    y, x = shape[0] / logits.shape[0], shape[1] / logits.shape[1]
    longer = max(y * lesion.height, x * lesion.width)
    boxes = []
    for factor in reversed(config.closer_views):
        side = max(MIN_VIEW_PX, round(factor * longer))
        if side < MAX_VIEW_SHARE * min(shape):
            top = round(y * (lesion.top + lesion.height / 2) - side / 2)
            left = round(x * (lesion.left + lesion.width / 2) - side / 2)
            boxes.append(Box(min(max(0, top), shape[0] - side), min(max(0, left), shape[1] - side), side, side))
    return list(dict.fromkeys(boxes))  # small lesions may have the same view twice


def to_logit(probability: float) -> float:
    """Return the logit of a probability in (0, 1)."""
    return math.log(probability / (1 - probability))


def find_smaller_picture(rgb: NDArray[np.uint8]) -> Box | None:
    """Return the photograph without the black around it, see ``find_picture``; None for the whole photograph."""
    picture = find_picture(rgb)
    return None if (picture.height, picture.width) == rgb.shape[:2] else picture


def prepare_picture(rgb: NDArray[np.uint8], config: BundleConfig) -> NDArray[np.uint8]:
    """Prepare a photograph, without the black around it, as the network's input: uint8 (side, side, channel)."""
    return prepare_network_input(rgb[find_picture(rgb).slices], config.input_size, config.preprocessing)


def predict_lesions(
    model: Segmenter, images: Sequence[NDArray[np.uint8]], *, flips: bool
) -> Iterator[LesionPrediction]:
    """Predict the lesions of several photographs as one batch; the maps are resized as they are yielded.

    ``images``: each uint8 (row, column, channel), sRGB.
    """
    inputs = [prepare_picture(image, model.info.config) for image in images]
    for output in predict_logits(model, images, inputs, flips=flips):
        yield output.to_prediction()
