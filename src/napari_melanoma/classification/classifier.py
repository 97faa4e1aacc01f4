"""The classifier of lesions, and the calibration of its predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Self, cast

import numpy as np

from napari_melanoma.classification.prediction import NOT_FINITE
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.prediction_config import TabularEncoding
from napari_melanoma.data.tabular_encoding import TableValues, encode_rows, make_network_inputs
from napari_melanoma.imaging.preprocessing import ClassifierView, crop_view
from napari_melanoma.metrics.agreement import DepthIntervals, decode_depths
from napari_melanoma.metrics.calibration import ProbabilityBand, calibrate_logits, conformal_sets
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.metrics.roc_curves import choose_operating_point
from napari_melanoma.models.bundle import BundleInfo, load_network, read_reference
from napari_melanoma.models.inference import choose_device, to_tensor
from napari_melanoma.models.installed_bundles import require_task

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint, SetRule
    from napari_melanoma.data.tabular_encoding import TabularInputs
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork
    from napari_melanoma.models.bundle import ReferenceCases


@dataclass(frozen=True)
class LesionInput:
    """A lesion as input of a classifier.

    ``rgb``: uint8 sRGB (row, column, channel=3). ``mask``: bool (row, column); None for models of whole photographs.
    ``row``: clinical metadata in the columns of the harmonized table.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_] | None = None
    row: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class EncoderOutput:
    """Encoder output for one lesion, kept so that after a change of clinical metadata only the head runs again.

    ``deepest_maps``: float32 (flip, channel, row, column), the input of the head; one flip, or four with test-time
    augmentation. ``embedding``: float32 (feature,), for comparing images. ``depth``: float32 (1 or 2,), decoded by
    ``metrics.agreement.decode_depths``; None without a depth module.
    """

    deepest_maps: NDArray[np.float32]
    embedding: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None


class Classifier:
    """A network that classifies lesions from an image and clinical metadata, loaded from a bundle."""

    def __init__(self, info: BundleInfo, network: ClassifierNetwork, device: str = "cpu") -> None:
        self.info = require_task(info, "classification")
        self.device = device
        self.network = network.to(device)

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        network = cast("ClassifierNetwork", load_network(require_task(info, "classification")))
        return cls(info, network, device or choose_device())

    @property
    def config(self) -> ClassifierConfig:
        """The classifier section of the bundle's configuration."""
        config = self.info.config.classifier
        assert config is not None  # guaranteed by the check of the configuration
        return config

    @property
    def encoding(self) -> TabularEncoding:
        """Encoding of table rows as inputs; empty for networks without tabular inputs."""
        return self.info.config.tabular or TabularEncoding()

    @cached_property
    def calibration(self) -> PredictionCalibration:
        """Calibration of predictions; reads the reference cases of the bundle on first use."""
        return PredictionCalibration.from_bundle(self.info)

    @cached_property
    def view_offset(self) -> float:
        """Offset of receptive fields from the centers of the cells in the deepest map, in pixels of the view."""
        from napari_melanoma.classification.receptive_fields import measure_view_offset

        return measure_view_offset(self.network, self.info.config.input_size, self.device)

    def make_view(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> ClassifierView:
        """Crop the network's view of a photograph.

        ``rgb``: uint8 sRGB (row, column, channel=3), of any size. ``mask``: bool (row, column), the lesion; ignored if
        the bundle's view is the whole photograph. Returns the image before normalization, and its box in
        the photograph.
        """
        if mask is not None and mask.shape != rgb.shape[:2]:
            raise InputError(
                f"the mask has {mask.shape[0]} x {mask.shape[1]} pixels, but the photograph {rgb.shape[0]} x "
                f"{rgb.shape[1]}. Use the mask of this photograph."
            )
        config = self.info.config
        view = crop_view(rgb, mask, self.config.view, config.input_size, config.preprocessing)
        if view is None:
            raise InputError(
                f"there is no lesion to classify: '{self.info.name}' needs the crop around the lesion, but the mask "
                "is empty. Draw the lesion, or use a model for whole photographs."
            )
        return view

    def crop_image(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> NDArray[np.uint8]:
        """Return only the image of ``make_view``, uint8 (side, side, channel=3)."""
        return self.make_view(rgb, mask).image

    def run_encoder(self, views: Sequence[NDArray[np.uint8]]) -> list[EncoderOutput]:
        """Run the encoder on a batch.

        ``views``: from ``crop_image``, each uint8 (side, side, channel=3). Returns the outputs in this order.
        """
        import torch

        from napari_melanoma.models.blocks.test_time_augmentation import encode_views, predict_depth_of_views

        if not views:
            return []
        with torch.inference_mode():
            images = to_tensor(list(views), self.info.config, self.device)
            maps, embeddings = encode_views(self.network, images, mirrored=self.config.mirrored)
            depths = predict_depth_of_views(self.network, maps)
        depth_outputs = [None] * len(maps) if depths is None else list(_to_numpy(depths))
        lesions = zip(_to_numpy(maps), _to_numpy(embeddings), depth_outputs, strict=True)
        return [EncoderOutput(*lesion_outputs) for lesion_outputs in lesions]

    def depths(self, encoded: Sequence[EncoderOutput]) -> DepthIntervals | None:
        """Return the predicted depths in mm, with intervals of the bundle's coverage; None without a depth module."""
        outputs = [lesion.depth for lesion in encoded if lesion.depth is not None]
        if self.config.depth is None or not outputs:
            return None
        return decode_depths(np.stack(outputs), self.config.depth)

    def run_head(self, encoded: Sequence[EncoderOutput], rows: Sequence[Mapping[str, object]]) -> NDArray[np.float32]:
        """Run the head on encoded lesions and clinical metadata.

        Returns float32 (lesion, class): logits before temperature scaling.
        """
        return _run_head(self, encoded, encode_rows(rows, self.encoding))

    def run_head_on_values(self, encoded: Sequence[EncoderOutput], values: TableValues) -> NDArray[np.float32]:
        """Run the head on encoded lesions and tabular values, from which columns may have been dropped.

        Returns float32 (lesion, class): logits before temperature scaling.
        """
        return _run_head(self, encoded, make_network_inputs(values, self.encoding))

    def logits(self, lesions: Sequence[LesionInput]) -> NDArray[np.float32]:
        """Compute the logits of a batch of lesions.

        Returns float32 (lesion, class): logits before temperature scaling.
        """
        encoded = self.run_encoder([self.crop_image(lesion.rgb, lesion.mask) for lesion in lesions])
        return self.run_head(encoded, [lesion.row for lesion in lesions])

    def table_inputs(self, row: Mapping[str, object]) -> tuple[Tensor, Tensor]:
        """Convert the clinical metadata of one lesion to tensors on the network's device.

        Returns continuous inputs, float32 (1, input), and categories, int64 (1, embedding).
        """
        return _to_device(self.device, encode_rows([row], self.encoding))


def _to_device(device: str, inputs: TabularInputs) -> tuple[Tensor, Tensor]:
    """Move tabular inputs to a device: continuous inputs, and categories."""
    import torch

    return torch.from_numpy(inputs.continuous).to(device), torch.from_numpy(inputs.categories).to(device)


def _to_numpy(values: Tensor) -> NDArray[np.float32]:
    return values.float().cpu().numpy()


def _run_head(model: Classifier, encoded: Sequence[EncoderOutput], inputs: TabularInputs) -> NDArray[np.float32]:
    import torch

    from napari_melanoma.models.blocks.test_time_augmentation import classify_views

    if not encoded:
        return np.zeros((0, len(model.info.config.classes)), np.float32)
    with torch.inference_mode():
        maps = torch.from_numpy(np.stack([lesion.deepest_maps for lesion in encoded])).to(model.device)
        return _to_numpy(classify_views(model.network, maps, *_to_device(model.device, inputs)))


@dataclass(frozen=True)
class SimilarCase:
    """A training case and its distance in the space of embeddings; ``label`` is the index of its class."""

    image_id: str
    label: int
    distance: float


class PredictionCalibration:
    """Converts logits to calibrated probabilities, and adds intervals, prediction sets and similar cases.

    Probabilities follow from the temperature and bias of the bundle, everything else from its reference cases. Each fit
    to the reference cases is computed once.
    """

    def __init__(self, config: ClassifierConfig, classes: tuple[str, ...], reference: ReferenceCases | None) -> None:
        self.config = config
        self.reference = reference
        self.positive_index = classes.index(config.positive)
        self._operating_points: dict[float, OperatingPoint | None] = {}

    @classmethod
    def from_bundle(cls, info: BundleInfo) -> Self:
        """Read the reference cases of a bundle."""
        assert info.config.classifier is not None  # always set for classification
        return cls(info.config.classifier, info.config.classes, read_reference(info))

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Convert logits to calibrated probabilities.

        ``logits``: (lesion, class); ``BundleError`` is raised if they are not finite. Returns float64 (lesion, class),
        each row summing to 1.
        """
        if not np.isfinite(logits).all():
            raise BundleError(NOT_FINITE)
        return calibrate_logits(logits, self.config)

    def interval(self, probability: float) -> tuple[float, float] | None:
        """Return the 95 % interval of the positive class's probability; None without reference cases.

        The interval comes from the reference cases (Venn-Abers), the probability from temperature scaling. If the
        probability lies outside, the interval is extended to include it.
        """
        if self._intervals is None:
            return None
        low, high = self._intervals.predict([probability])
        return min(float(low[0]), probability), max(float(high[0]), probability)

    def prediction_sets(
        self, probabilities: NDArray[np.float64], coverage: float | None = None, rule: SetRule | None = None
    ) -> NDArray[np.bool_]:
        """Return conformal prediction sets.

        ``probabilities``: (lesion, class), calibrated. ``coverage``, ``rule``: by default those of the bundle. Returns
        bool (lesion, class); all True without reference cases.
        """
        if self._reference_probabilities is None:
            return np.ones(probabilities.shape, bool)
        reference_probabilities, labels = self._reference_probabilities
        level = self.config.coverage if coverage is None else coverage
        return conformal_sets(probabilities, reference_probabilities, labels, level, rule or self.config.set_rule)

    def operating_point(self, sensitivity: float | None = None) -> OperatingPoint | None:
        """Return the operating point for a target sensitivity, by default that stored in the bundle.

        None if none is stored; for another sensitivity, if there are no positive or no negative reference cases.
        """
        stored = self.config.operating_point
        if sensitivity is None or (stored is not None and stored.target_sensitivity == sensitivity):
            return stored
        if sensitivity not in self._operating_points:
            self._operating_points[sensitivity] = self._find_operating_point(sensitivity)
        return self._operating_points[sensitivity]

    def distance(self, embedding: NDArray[np.float32]) -> float | None:
        """Return the distance of an embedding from the training data.

        It can be compared with the out-of-distribution limit of the bundle (``novelty_threshold``). None without that
        limit, or if the bundle stores too few training cases.

        ``embedding``: float32 (feature,).
        """
        if self.config.novelty_threshold is None or self._detector is None:
            return None
        return float(self._detector.distance(embedding[None])[0])

    def nearest_cases(self, embedding: NDArray[np.float32], count: int) -> list[SimilarCase]:
        """Find the most similar training cases.

        ``embedding``: float32 (feature,). Returns at most ``count`` cases, the nearest first; empty if the bundle
        stores no case ids.
        """
        reference = self.reference
        if reference is None or not reference.embedded_ids or self._detector is None or count == 0:
            return []
        nearest = self._detector.find_nearest(embedding[None], count)
        return [
            SimilarCase(reference.embedded_ids[index], int(reference.embedded_labels[index]), float(distance))
            for index, distance in zip(nearest.indices[0], nearest.distances[0], strict=True)
        ]

    def fit_all(self) -> None:
        """Fit everything now, so that the first prediction takes no longer than others."""
        _ = self._intervals, self._detector

    @cached_property
    def _reference_probabilities(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Probabilities, (case, class), and class indices, (case,), of the reference cases."""
        if self.reference is None or not len(self.reference.labels):
            return None
        return self.probabilities(self.reference.logits), self.reference.labels

    @cached_property
    def _intervals(self) -> ProbabilityBand | None:
        """Intervals of the positive class's probability, by probability."""
        if self._reference_probabilities is None or self.reference is None:
            return None
        reference_probabilities, labels = self._reference_probabilities
        scores, truth = reference_probabilities[:, self.positive_index], labels == self.positive_index
        return ProbabilityBand.fit(scores, truth, self.reference.groups)

    @cached_property
    def _detector(self) -> MahalanobisDetector | None:
        """Detector fitted to the embeddings of the training cases; None if there are too few."""
        if self.reference is None or len(self.reference.embeddings) < MIN_TRAINING_CASES:
            return None
        return MahalanobisDetector.fit(self.reference.embeddings)

    def _find_operating_point(self, sensitivity: float) -> OperatingPoint | None:
        """Choose an operating point on the reference cases."""
        if self._reference_probabilities is None or self.reference is None:
            return None
        reference_probabilities, labels = self._reference_probabilities
        truth = labels == self.positive_index
        if truth.all() or not truth.any():
            return None
        scores = reference_probabilities[:, self.positive_index]
        return choose_operating_point(scores, truth, sensitivity, self.reference.groups)
