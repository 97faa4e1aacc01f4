"""Models that predict a whole slide from the embeddings of its tiles."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import PredictionCalibration
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.formatting import format_names
from napari_melanoma.core.prediction_config import EncoderConfig, TabularEncoding
from napari_melanoma.data.tabular_encoding import TableValues, make_network_inputs, read_table_values
from napari_melanoma.metrics.out_of_distribution import MahalanobisDetector
from napari_melanoma.models import CATEGORIES, CONTINUOUS
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.inference import InferenceNetwork, load_inference


@dataclass(frozen=True)
class SlidePatientData:
    """The patient data that a model uses for a slide.

    ``row``: the known fields of the model as given. ``unknown``: fields without a value, or with one that the model
    cannot read. ``depth_source``: ``reader`` or ``automatic``, if a reader or the analysis measured the depth on the
    slide, or ``table``; empty if the model does not use it, or it is unknown.
    """

    row: Mapping[str, str]
    unknown: tuple[str, ...]
    depth_source: str = ""

    def to_json(self) -> dict[str, Any]:
        """Return the values of ``patient_data`` in ``result.json``."""
        return {"known": dict(self.row), "unknown": list(self.unknown), "depth_source": self.depth_source}

    def describe_unknown(self, model: str) -> str:
        """Return a warning about unknown fields; empty if all are known."""
        if not self.unknown:
            return ""
        return (
            f"'{model}' uses patient data that are unknown for this slide: {format_names(self.unknown)}. It predicted "
            "without them, which is less accurate. Enter them in the case or the section Risk of the Slide dock "
            "(Python: 'patient' of the options, command line: --metadata)."
        )


@dataclass(frozen=True)
class SlidePrediction:
    """Prediction for a slide.

    ``probability``: float64 (class,), calibrated. ``logits``: float32 (class,), before calibration. ``embedding``:
    float32 (feature,) of the whole slide. ``weights``: float32 (tile,), in the order of the tiles, adding up to 1.
    """

    probability: NDArray[np.float64]
    logits: NDArray[np.float32]
    embedding: NDArray[np.float32]
    weights: NDArray[np.float32]


class BagModel:
    """Model of a bundle that predicts a slide from the embeddings of its tiles."""

    def __init__(self, info: BundleInfo, network: InferenceNetwork) -> None:
        self.info = info
        self.device = network.device
        self.calibration = PredictionCalibration.from_bundle(info)
        self._network = network

    @classmethod
    def load(cls, info: BundleInfo, device: str | None = None) -> Self:
        """Load the weights of a bundle."""
        if info.config.encoder is None:
            raise BundleError(f"'{info.name}' does not predict from tile embeddings, expected a model that does.")
        return cls(info, load_inference(info, device))

    @property
    def encoder(self) -> EncoderConfig:
        """The encoder of the embeddings."""
        assert self.info.config.encoder is not None
        return self.info.config.encoder

    @property
    def encoding(self) -> TabularEncoding:
        """Encoding of the patient data; empty for a model of the slide alone."""
        return self.info.config.tabular or TabularEncoding()

    def predict(
        self, chunks: Iterable[NDArray[np.floating]], patient: Mapping[str, object] | None = None
    ) -> SlidePrediction:
        """Predict a slide from the embeddings of all its tiles, and patient data.

        ``chunks``: float (tile, feature) from the encoder of the bundle, at least one tile. Except for rounding, the
        result does not depend on the order and the chunks of tiles. ``patient``: a row of the harmonized table; fields
        that are missing are unknown.
        """
        embedding, weights = self._pool(chunks)
        logits = self.run_head(embedding, read_table_values([patient or {}], self.encoding))
        return SlidePrediction(self.calibration.probabilities(logits)[0], logits[0], embedding, weights)

    def run_head(self, embedding: NDArray[np.float32], values: TableValues) -> NDArray[np.float32]:
        """Return logits, float32 (1, class), of the embedding of a slide, float32 (feature,), and patient data."""
        inputs = make_network_inputs(values, self.encoding)
        table: dict[str, NDArray[Any]] = {CONTINUOUS: inputs.continuous, CATEGORIES: inputs.categories}
        used = {name: value for name, value in table.items() if value.shape[1]}
        return self._network.run("classify", embedding=embedding[None], **used)["logits"]

    def _pool(self, chunks: Iterable[NDArray[np.floating]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the embedding of a slide, and the weights of its tiles; see ``BagNetwork.pool_chunks``.

        The sums of the softmax are kept relative to the greatest score of each head so far.
        """
        from scipy.special import softmax

        scores: list[NDArray[np.float32]] = []
        greatest, total, pooled = np.full(1, -np.inf, np.float32), np.zeros(1, np.float32), np.zeros((1, 1), np.float32)
        for chunk in chunks:
            outputs = self._network.run("score", tiles=np.ascontiguousarray(chunk, np.float32))
            score = outputs["scores"]
            scores.append(score)
            new_greatest = np.maximum(greatest, score.max(axis=0))
            rescaling, shares = np.exp(greatest - new_greatest), np.exp(score - new_greatest)
            total = total * rescaling + shares.sum(axis=0)
            pooled = pooled * rescaling[:, None] + shares.T @ outputs["projected"]
            greatest = new_greatest
        if not scores:
            raise ValueError("expected a slide with at least one tile, found none.")
        return (pooled / total[:, None]).ravel(), softmax(np.concatenate(scores), axis=0).mean(axis=1)

    def is_out_of_distribution(self, prediction: SlidePrediction) -> bool:
        """Return whether a slide is out of distribution; False if the bundle has no reference cases."""
        config, reference = self.calibration.config, self.calibration.reference
        if config.novelty_threshold is None or reference is None:
            return False
        return bool(
            MahalanobisDetector.fit(reference.embeddings).distance(prediction.embedding[None])[0]
            > config.novelty_threshold
        )
