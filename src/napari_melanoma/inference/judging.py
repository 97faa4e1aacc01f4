"""What a bundle's reference cases say of an answer: how sure it is, where it is cut, what it is like; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

import numpy as np

from napari_melanoma.analysis.calibration import calibrated
from napari_melanoma.analysis.conformal import conformal_sets
from napari_melanoma.analysis.novelty import FEWEST, Novelty
from napari_melanoma.analysis.probability_band import ProbabilityBand
from napari_melanoma.analysis.ranking import operating_point
from napari_melanoma.models.reference import read_reference

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.classifier import ClassifierConfig, OperatingPoint, SetRule
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.models.reference import Reference


@dataclass(frozen=True)
class Alike:
    """A training case and its distance in the space of embeddings; ``label`` is the place of its class."""

    image_id: str
    label: int
    distance: float


class Judge:
    """Reads logits with the help of cases whose answer is known; what is fitted for it is fitted once."""

    def __init__(self, config: ClassifierConfig, classes: tuple[str, ...], reference: Reference | None) -> None:
        self.config = config
        self.reference = reference
        self.positive = classes.index(config.positive)
        self._points: dict[float, OperatingPoint | None] = {}

    @classmethod
    def of(cls, info: BundleInfo) -> Self:
        """Read the reference cases of a bundle."""
        assert info.config.classifier is not None  # a bundle for classification has one
        return cls(info.config.classifier, info.config.classes, read_reference(info))

    def probabilities(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Turn logits into calibrated probabilities.

        ``logits``: (lesion, class), as the network gives them. Returns float64 (lesion, class), each row adding up to
        1.
        """
        return calibrated(logits, self.config)

    def interval(self, probability: float) -> tuple[float, float] | None:
        """Say how far the positive class's probability may be off for want of cases to calibrate it by.

        Both ends come from the reference cases by the method of Venn and Abers, the probability from temperature and
        bias; where it lies outside, the interval is widened to hold it.

        Low and high, 95 %; None without reference cases.
        """
        if self._band is None:
            return None
        low, high = self._band.of([probability])
        return min(float(low[0]), probability), max(float(high[0]), probability)

    def possible(
        self, probabilities: NDArray[np.float64], coverage: float | None = None, rule: SetRule | None = None
    ) -> NDArray[np.bool_]:
        """Say which classes cannot be ruled out.

        ``probabilities``: (lesion, class), calibrated. Returns bool (lesion, class); without reference cases nothing is
        ruled out.
        """
        if self._known is None:
            return np.ones(probabilities.shape, bool)
        known, labels = self._known
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
            self._points[sensitivity] = self._point(sensitivity)
        return self._points[sensitivity]

    def distance(self, embedding: NDArray[np.float32]) -> float | None:
        """How far an embedding lies from those that the network learnt from.

        ``embedding``: float32 (feature,). To be compared with the bundle's ``unlike``; None where the bundle has no
        embeddings or no such limit.
        """
        if self.config.unlike is None or self._novelty is None:
            return None
        return float(self._novelty.distance(embedding[None])[0])

    def alike(self, embedding: NDArray[np.float32], count: int) -> list[Alike]:
        """Find the training cases that are most alike.

        ``embedding``: float32 (feature,). Returns the nearest first; none where the bundle names no cases.
        """
        reference = self.reference
        if reference is None or not reference.embedded_ids or self._novelty is None or count == 0:
            return []
        found = self._novelty.nearest(embedding[None], count)
        return [
            Alike(reference.embedded_ids[place], int(reference.embedded_labels[place]), float(distance))
            for place, distance in zip(found.places[0], found.distances[0], strict=True)
        ]

    def warm(self) -> None:
        """Fit everything now, so that the first answer comes as quickly as the others."""
        _ = self._band, self._novelty

    @cached_property
    def _known(self) -> tuple[NDArray[np.float64], NDArray[np.int64]] | None:
        """Calibrated probabilities and labels of the reference cases."""
        if self.reference is None or not len(self.reference.labels):
            return None
        return self.probabilities(self.reference.logits), self.reference.labels

    @cached_property
    def _band(self) -> ProbabilityBand | None:
        """Interval for each probability of the positive class."""
        if self._known is None or self.reference is None:
            return None
        known, labels = self._known
        return ProbabilityBand.fit(known[:, self.positive], labels == self.positive, self.reference.groups)

    @cached_property
    def _novelty(self) -> Novelty | None:
        """What the training cases look like to the network."""
        if self.reference is None or len(self.reference.embeddings) < FEWEST:
            return None
        return Novelty.fit(self.reference.embeddings)

    def _point(self, sensitivity: float) -> OperatingPoint | None:
        """An operating point chosen from the reference cases."""
        if self._known is None or self.reference is None:
            return None
        known, labels = self._known
        truth = labels == self.positive
        if truth.all() or not truth.any():
            return None
        return operating_point(known[:, self.positive], truth, sensitivity, self.reference.groups)
