"""The classifier of lesions, and the calibration of its predictions."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.prediction import NOT_FINITE
from napari_melanoma.core.errors import BundleError, InputError
from napari_melanoma.core.prediction_config import ClassifierConfig, OperatingPoint, SetRule, TabularEncoding
from napari_melanoma.data.tabular_encoding import TableValues, TabularInputs, encode_rows, make_network_inputs
from napari_melanoma.imaging.modality import ModalityEstimate, own_type_probability
from napari_melanoma.imaging.preprocessing import ClassifierView, crop_view
from napari_melanoma.metrics.agreement import DepthIntervals, decode_depths
from napari_melanoma.metrics.calibration import ProbabilityBand, calibrate_logits, conformal_sets
from napari_melanoma.metrics.out_of_distribution import MIN_TRAINING_CASES, MahalanobisDetector
from napari_melanoma.metrics.roc_curves import choose_operating_point
from napari_melanoma.models import CATEGORIES, CONTINUOUS, IMAGE, LOGITS
from napari_melanoma.models.bundle import BundleInfo, ReferenceCases, load_network, read_reference
from napari_melanoma.models.inference import Backend, InferenceNetwork, TorchNetwork, load_inference, normalize_images
from napari_melanoma.models.installed_bundles import require_task

if TYPE_CHECKING:
    from napari_melanoma.models.blocks.classifier import ClassifierNetwork


COPY_SUFFIX = re.compile(r"_\d{3,4}$")  # side in pixels of a copy: ISIC_0014904_512 shows the photograph ISIC_0014904
SMALLEST = 1e-6  # probability, so that its logarithm is finite


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

    ``deepest_maps``: float32 (view, channel, row, column), the input of the head; one view, or eight with test-time
    augmentation. ``embedding``: float32 (feature,), for comparing images. ``depth``: float32 (1 or 2,), decoded by
    ``metrics.agreement.decode_depths``; None without a depth module.
    """

    deepest_maps: NDArray[np.float32]
    embedding: NDArray[np.float32]
    depth: NDArray[np.float32] | None = None

    @property
    def image_maps(self) -> int:
        """Number of the deepest maps that describe the image; the maps of the depth follow."""
        return self.deepest_maps.shape[1] - (0 if self.depth is None else len(self.depth))


class Classifier:
    """A network that classifies lesions from an image and clinical metadata, loaded from a bundle."""

    def __init__(self, info: BundleInfo, network: InferenceNetwork) -> None:
        self.info = require_task(info, "classification")
        self.network = network
        self.device, self.backend = network.device, network.backend

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None, backend: Backend = "auto") -> Self:
        """Load a classifier; for ``device`` and ``backend`` see ``load_inference``."""
        return cls(info, load_inference(require_task(info, "classification"), device, backend))

    @cached_property
    def torch_network(self) -> ClassifierNetwork:
        """The network as a module of torch, for gradients; loaded on first use."""
        if isinstance(self.network, TorchNetwork):
            return cast("ClassifierNetwork", self.network.network)
        return cast("ClassifierNetwork", load_network(self.info).to(self.device))

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
        offset = self.network.view_offset
        assert offset is not None  # None for other tasks only
        return offset

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
        if not views:
            return []
        outputs = self.network.run("encode", **{IMAGE: normalize_images(views, self.info.config)})
        maps, embeddings = outputs["deepest"], outputs["embedding"]
        depths: list[NDArray[np.float32] | None] = [None] * len(views)
        if "depth" in self.network.functions:
            depths = list(self.network.run("depth", deepest=maps)["depth"])
        return [EncoderOutput(*lesion) for lesion in zip(maps, embeddings, depths, strict=True)]

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
        return self._run_head(encoded, encode_rows(rows, self.encoding))

    def run_head_on_values(self, encoded: Sequence[EncoderOutput], values: TableValues) -> NDArray[np.float32]:
        """Run the head on encoded lesions and tabular values, from which columns may have been dropped.

        Returns float32 (lesion, class): logits before temperature scaling.
        """
        return self._run_head(encoded, make_network_inputs(values, self.encoding))

    def logits(self, lesions: Sequence[LesionInput]) -> NDArray[np.float32]:
        """Compute the logits of a batch of lesions.

        Returns float32 (lesion, class): logits before temperature scaling.
        """
        encoded = self.run_encoder([self.crop_image(lesion.rgb, lesion.mask) for lesion in lesions])
        return self.run_head(encoded, [lesion.row for lesion in lesions])

    def table_inputs(self, row: Mapping[str, object]) -> dict[str, NDArray[Any]]:
        """Convert the clinical metadata of one lesion to inputs of the head.

        Returns the continuous inputs, float32 (1, input), and categories, int64 (1, embedding), by name.
        """
        inputs = encode_rows([row], self.encoding)
        return {CONTINUOUS: inputs.continuous, CATEGORIES: inputs.categories}

    def _run_head(self, encoded: Sequence[EncoderOutput], inputs: TabularInputs) -> NDArray[np.float32]:
        """Run the head, which averages the logits over the views."""
        if not encoded:
            return np.zeros((0, len(self.info.config.classes)), np.float32)
        maps = np.stack([lesion.deepest_maps for lesion in encoded])
        table: dict[str, NDArray[Any]] = {CONTINUOUS: inputs.continuous, CATEGORIES: inputs.categories}
        logits: NDArray[np.float32] = self.network.run("classify", deepest=maps, **table)[LOGITS]
        return logits


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

    def __init__(
        self,
        config: ClassifierConfig,
        classes: tuple[str, ...],
        reference: ReferenceCases | None,
        modalities: tuple[str, ...] = (),
    ) -> None:
        self.config = config
        self.reference = reference
        self.modalities = modalities
        self.positive_index = classes.index(config.positive)
        self._operating_points: dict[float, OperatingPoint | None] = {}

    @classmethod
    def from_bundle(cls, info: BundleInfo) -> Self:
        assert info.config.classifier is not None  # always set for classification
        return cls(info.config.classifier, info.config.classes, read_reference(info), info.config.modalities)

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
        self,
        probabilities: NDArray[np.float64],
        coverage: float | None = None,
        rule: SetRule | None = None,
        *,
        balanced: bool = False,
    ) -> NDArray[np.bool_]:
        """Return conformal prediction sets, calibrated with the bundle's margin for images of other clinics.

        ``probabilities``: (lesion, class), calibrated. ``coverage``, ``rule``: by default those of the bundle.
        ``balanced``: without the margin. Returns bool (lesion, class); all True without reference cases.
        """
        if self._reference_probabilities is None:
            return np.ones(probabilities.shape, bool)
        reference_probabilities, labels = self._reference_probabilities
        requested = self.config.coverage if coverage is None else coverage
        level = 1 - (1 - requested) * (1 - (0.0 if balanced else self.config.shift_margin))
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

    def distance(self, embedding: NDArray[np.float32], recognized: ModalityEstimate | None = None) -> float | None:
        """Return the distance of an image from the training data.

        It can be compared with the out-of-distribution limit of the bundle (``novelty_threshold``). None without that
        limit, or if the bundle stores too few training cases.

        ``embedding``: float32 (feature,). ``recognized``: modality of the photograph; None if it was stated. The less
        probable the modalities of the model, the larger the distance: at ``type_threshold`` it equals the limit.
        """
        limit, threshold = self.config.novelty_threshold, self.config.type_threshold
        if limit is None or self._detector is None:
            return None
        distance = float(self._detector.distance(embedding[None])[0])
        own_type = None if recognized is None else own_type_probability(recognized, self.modalities)
        if own_type is None or threshold is None:
            return distance
        return max(distance, limit * math.log(max(own_type, SMALLEST)) / math.log(threshold))

    def nearest_cases(self, embedding: NDArray[np.float32], count: int) -> list[SimilarCase]:
        """Find the most similar training cases.

        ``embedding``: float32 (feature,). Returns at most ``count`` cases, the nearest first; of the copies of a
        photograph, only the nearest one. Empty if the bundle stores no case ids.
        """
        reference = self.reference
        if reference is None or not reference.embedded_ids or self._detector is None or count == 0:
            return []
        copies = max(Counter(self._photograph_ids).values())
        nearest = self._detector.find_nearest(embedding[None], min(count * copies, len(self._photograph_ids)))
        found: dict[str, SimilarCase] = {}
        for index, distance in zip(nearest.indices[0].tolist(), nearest.distances[0].tolist(), strict=True):
            name = self._photograph_ids[index]
            found.setdefault(name, SimilarCase(name, int(reference.embedded_labels[index]), distance))
        return [*found.values()][:count]

    @cached_property
    def _photograph_ids(self) -> tuple[str, ...]:
        """The id of the photograph of each training case: that of the original for a copy of another size."""
        ids = () if self.reference is None else self.reference.embedded_ids
        known = set(ids)
        originals = (COPY_SUFFIX.sub("", image_id) for image_id in ids)
        return tuple(
            original if original in known else image_id for original, image_id in zip(originals, ids, strict=True)
        )

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
        if self._reference_probabilities is None or self.reference is None:
            return None
        reference_probabilities, labels = self._reference_probabilities
        truth = labels == self.positive_index
        if truth.all() or not truth.any():
            return None
        scores = reference_probabilities[:, self.positive_index]
        return choose_operating_point(scores, truth, sensitivity, self.reference.groups)
