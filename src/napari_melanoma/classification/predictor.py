"""From a lesion and clinical metadata to calibrated probabilities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.data.features.encoding import TableValues, encode_rows, make_network_inputs
from napari_melanoma.imaging.preprocessing import ClassifierView, crop_view
from napari_melanoma.metrics.agreement import DepthIntervals, decode_depths
from napari_melanoma.metrics.calibration import ProbabilityBand, calibrate_logits, conformal_sets
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.metrics.ranking import choose_operating_point
from napari_melanoma.models.bundle import BundleInfo, load_network, read_reference
from napari_melanoma.models.inference import choose_device, to_tensor
from napari_melanoma.models.registry import require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint, SetRule
    from napari_melanoma.data.features.encoding import TabularInputs
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork as Network
    from napari_melanoma.models.bundle import ReferenceCases


@dataclass(frozen=True)
class LesionInput:
    """A lesion as a classifier is asked about it.

    ``rgb`` is uint8 sRGB (row, column, channel=3); ``mask`` is bool (row, column), None where the classifier looks at
    the whole photograph; ``row`` is what is known of the patient, in the columns of the harmonised table.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None
    row: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderOutput:
    """What the encoder made of a view, kept so that a change of the form asks the network's head alone.

    ``deepest`` is float32 (look, channel, row, column), the maps that the head decides from: one, or four where the
    bundle looks at mirror images too. ``embedding`` is float32 (feature,), by which pictures are compared. ``depth`` is
    float32 (1 or 2,), as ``metrics.agreement`` reads it; None where the network tells none.
    """

    deepest: NDArray[np.float32]
    embedding: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None


class Classifier:
    """A bundle's network, ready to say which class a lesion belongs to."""

    def __init__(self, info: BundleInfo, network: Network, device: str = "cpu") -> None:
        self.info = require_task(info, "classification")
        self.device = device
        self.network = network.to(device)

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        """Load a bundle's weights."""
        network = cast("Network", load_network(require_task(info, "classification")))
        return cls(info, network, device or choose_device())

    @property
    def config(self) -> ClassifierConfig:
        """What the bundle says of a classifier."""
        config = self.info.config.classifier
        assert config is not None  # a bundle for classification has one, its own check says
        return config

    @property
    def encoding(self) -> TabularEncoding:
        """How rows become inputs; without columns where the network gets pixels alone."""
        return self.info.config.tabular or TabularEncoding()

    @cached_property
    def calibration(self) -> PredictionCalibration:
        """What the bundle's reference cases say of an answer; read when first asked for."""
        return PredictionCalibration.from_bundle(self.info)

    @cached_property
    def view_offset(self) -> float:
        """How many pixels of the view beside the middle of its cell each place of the deepest map looks; measured."""
        from napari_melanoma.classification.explanation_networks import measure_view_offset

        return measure_view_offset(self.network, self.info.config.input_size, self.device)

    def make_view(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> ClassifierView:
        """Cut out what the network looks at, and say where it lies.

        ``rgb``: uint8 sRGB (row, column, channel=3), of any size. ``mask``: bool (row, column); not looked at where the
        bundle's view is the whole photograph. Returns the network's input before it is normalised, and its box in the
        photograph.
        """
        if mask is not None and mask.shape != rgb.shape[:2]:
            raise InputError(
                f"the mask is {mask.shape[0]} x {mask.shape[1]} pixels, the photograph {rgb.shape[0]} x "
                f"{rgb.shape[1]}. Give the mask of this photograph."
            )
        config = self.info.config
        found = crop_view(rgb, mask, self.config.view, config.input_size, config.preprocessing)
        if found is None:
            raise InputError(
                f"there is no lesion to look at: '{self.info.name}' looks at the square around the lesion, and the "
                "mask is empty. Draw the lesion, or take a model that looks at whole photographs."
            )
        return found

    def view(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        """Cut out what the network looks at.

        Returns uint8 (side, side, channel=3).
        """
        return self.make_view(rgb, mask).image

    def run_encoder(self, views: Sequence[NDArray[np.uint8]]) -> list[EncoderOutput]:
        """Run the encoder, in one pass.

        ``views``: each uint8 (side, side, channel=3), as ``view`` gives them. In their order.
        """
        import torch

        from napari_melanoma.models.blocks.test_time_augmentation import encode_views, predict_depth_of_views

        if not views:
            return []
        with torch.inference_mode():
            images = to_tensor(list(views), self.info.config).to(self.device)
            found = encode_views(self.network, images, mirrored=self.config.mirrored)
            depths = predict_depth_of_views(self.network, found[0])
            deepest, embeddings = (each.float().cpu().numpy() for each in found)
        told = [None] * len(deepest) if depths is None else list(depths.float().cpu().numpy())
        return [EncoderOutput(*one) for one in zip(deepest, embeddings, told, strict=True)]

    def depths(self, encoded: Sequence[EncoderOutput]) -> DepthIntervals | None:
        """Read the depths that the network tells.

        In mm, with an interval that holds the true one as often as the bundle says; None of a network that tells none.
        """
        told = [one.depth for one in encoded if one.depth is not None]
        if self.config.depth is None or not told:
            return None
        return decode_depths(np.stack(told), self.config.depth)

    def run_head(self, encoded: Sequence[EncoderOutput], rows: Sequence[Mapping[str, object]]) -> NDArray[np.float32]:
        """Run the head on what was seen and what is known of the patients.

        Returns float32 (lesion, class): logits, before temperature.
        """
        return _run_head(self, encoded, encode_rows(rows, self.encoding))

    def run_head_on_values(self, encoded: Sequence[EncoderOutput], values: TableValues) -> NDArray[np.float32]:
        """Do the same with rows that were read before, some of whose columns were taken away perhaps.

        Returns float32 (lesion, class): logits, before temperature.
        """
        return _run_head(self, encoded, make_network_inputs(values, self.encoding))

    def logits(self, lesions: Sequence[LesionInput]) -> NDArray[np.float32]:
        """Say how likely the classes are, in one pass.

        Returns float32 (lesion, class): logits, before temperature.
        """
        looked = self.run_encoder([self.view(lesion.rgb, lesion.mask) for lesion in lesions])
        return self.run_head(looked, [lesion.row for lesion in lesions])

    def table_inputs(self, row: Mapping[str, object]) -> tuple[Tensor, Tensor]:
        """Turn a row into tensors, as the network takes them beside one image.

        Returns float32 (1, input), on the network's device. Returns int64 (1, embedding), there too.
        """
        return _to_device(self.device, encode_rows([row], self.encoding))


def _to_device(device: str, inputs: TabularInputs) -> tuple[Tensor, Tensor]:
    """Both kinds of inputs on a device."""
    import torch

    return torch.from_numpy(inputs.continuous).to(device), torch.from_numpy(inputs.categories).to(device)


def _run_head(model: Classifier, looked: Sequence[EncoderOutput], inputs: TabularInputs) -> NDArray[np.float32]:
    """Run the head."""
    import torch

    from napari_melanoma.models.blocks.test_time_augmentation import classify_views

    if not looked:
        return np.zeros((0, len(model.info.config.classes)), np.float32)
    with torch.inference_mode():
        deepest = torch.from_numpy(np.stack([one.deepest for one in looked])).to(model.device)
        return classify_views(model.network, deepest, *_to_device(model.device, inputs)).float().cpu().numpy()


@dataclass(frozen=True)
class SimilarCase:
    """A training case and its distance in the space of embeddings; ``label`` is the place of its class."""

    image_id: str
    label: int
    distance: float


class PredictionCalibration:
    """Reads logits with the help of cases whose answer is known; what is fitted for it is fitted once."""

    def __init__(self, config: ClassifierConfig, classes: tuple[str, ...], reference: ReferenceCases | None) -> None:
        self.config = config
        self.reference = reference
        self.positive = classes.index(config.positive)
        self._points: dict[float, OperatingPoint | None] = {}

    @classmethod
    def from_bundle(cls, info: BundleInfo) -> Self:
        """Read the reference cases of a bundle."""
        assert info.config.classifier is not None  # a bundle for classification has one
        return cls(info.config.classifier, info.config.classes, read_reference(info))

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn logits into calibrated probabilities.

        ``logits``: (lesion, class), as the network gives them. Returns float64 (lesion, class), each row adding up to
        1.
        """
        return calibrate_logits(logits, self.config)

    def interval(self, probability: float) -> tuple[float, float] | None:
        """Say how far the positive class's probability may be off for want of cases to calibrate it by.

        Both ends come from the reference cases by the method of Venn and Abers, the probability from temperature and
        bias; where it lies outside, the interval is widened to hold it.

        Low and high, 95 %; None without reference cases.
        """
        if self._band is None:
            return None
        low, high = self._band.predict([probability])
        return min(float(low[0]), probability), max(float(high[0]), probability)

    def prediction_sets(
        self, probabilities: NDArray[np.float64], coverage: float | None = None, rule: SetRule | None = None
    ) -> NDArray[np.bool_]:
        """Say which classes cannot be ruled out.

        ``probabilities``: (lesion, class), calibrated. Returns bool (lesion, class); without reference cases nothing is
        ruled out.
        """
        if self._reference_probabilities is None:
            return np.ones(probabilities.shape, bool)
        known, labels = self._reference_probabilities
        asked = self.config.coverage if coverage is None else coverage
        return conformal_sets(probabilities, known, labels, asked, rule or self.config.set_rule)

    def operating_point(self, sensitivity: float | None = None) -> OperatingPoint | None:
        """Say where probabilities are cut in two.

        None where the bundle has none, or too few reference cases to find another.
        """
        own = self.config.operating_point
        if sensitivity is None or (own is not None and own.asked == sensitivity):
            return own
        if sensitivity not in self._points:
            self._points[sensitivity] = self._find_operating_point(sensitivity)
        return self._points[sensitivity]

    def distance(self, embedding: NDArray[np.float32]) -> float | None:
        """How far an embedding lies from those that the network learnt from.

        ``embedding``: float32 (feature,). To be compared with the bundle's ``unlike``; None where the bundle has no
        embeddings or no such limit.
        """
        if self.config.unlike is None or self._novelty is None:
            return None
        return float(self._novelty.distance(embedding[None])[0])

    def nearest_cases(self, embedding: NDArray[np.float32], count: int) -> list[SimilarCase]:
        """Find the training cases that are most alike.

        ``embedding``: float32 (feature,). Returns the nearest first; none where the bundle names no cases.
        """
        reference = self.reference
        if reference is None or not reference.embedded_ids or self._novelty is None or count == 0:
            return []
        found = self._novelty.find_nearest(embedding[None], count)
        return [
            SimilarCase(reference.embedded_ids[place], int(reference.embedded_labels[place]), float(distance))
            for place, distance in zip(found.indices[0], found.distances[0], strict=True)
        ]

    def fit_all(self) -> None:
        """Fit everything now, so that the first answer comes as quickly as the others."""
        _ = self._band, self._novelty

    @cached_property
    def _reference_probabilities(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Calibrated probabilities and labels of the reference cases."""
        if self.reference is None or not len(self.reference.labels):
            return None
        return self.probabilities(self.reference.logits), self.reference.labels

    @cached_property
    def _band(self) -> ProbabilityBand | None:
        """Interval for each probability of the positive class."""
        if self._reference_probabilities is None or self.reference is None:
            return None
        known, labels = self._reference_probabilities
        return ProbabilityBand.fit(known[:, self.positive], labels == self.positive, self.reference.groups)

    @cached_property
    def _novelty(self) -> MahalanobisDetector | None:
        """What the training cases look like to the network."""
        if self.reference is None or len(self.reference.embeddings) < MIN_TRAINING_CASES:
            return None
        return MahalanobisDetector.fit(self.reference.embeddings)

    def _find_operating_point(self, sensitivity: float) -> OperatingPoint | None:
        """An operating point chosen from the reference cases."""
        if self._reference_probabilities is None or self.reference is None:
            return None
        known, labels = self._reference_probabilities
        truth = labels == self.positive
        if truth.all() or not truth.any():
            return None
        return choose_operating_point(known[:, self.positive], truth, sensitivity, self.reference.groups)
