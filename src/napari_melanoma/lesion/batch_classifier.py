"""The classification of the photographs of a batch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_melanoma.classification.classify import classify
from napari_melanoma.classification.prediction import (
    ClassifyOptions,
    bound_columns,
    probability_columns,
    renamed_columns,
    used_column,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.lesion.analysis import LesionHeatmap, LesionResult
from napari_melanoma.lesion.patient_data import PatientTable

if TYPE_CHECKING:
    from napari_melanoma.classification.classifier import Classifier
    from napari_melanoma.models.bundle import BundleInfo


class BatchClassifier:
    """The classification in a batch; the model is loaded for the first lesion."""

    def __init__(self, info: BundleInfo, options: ClassifyOptions, patient_table: PatientTable) -> None:
        self.info = info
        self.options = options.model_copy(update={"model": info.name})
        self.patient_table = patient_table
        self._model: Classifier | None = None
        self._lock = Lock()  # results are written in several threads, but one network runs at a time

    @property
    def columns(self) -> tuple[str, ...]:
        """Table columns of the predictions."""
        config = self.info.config
        positive = config.classifier.positive if config.classifier else ""
        fields = config.tabular.fields if config.tabular else ()
        others = ("verdict", "side", "class_set", "cannot_tell", "above_cut", "unlike_training", "classifier")
        probabilities = probability_columns(config.classes).values()
        return (*probabilities, *bound_columns(positive, config.classes), *others, *map(used_column, fields))

    @property
    def renamed_columns(self) -> dict[str, str]:
        """Columns with another name in older tables, mapped to their new name."""
        config = self.info.config
        return renamed_columns(config.classes, config.classifier.positive if config.classifier else "")

    def classify(self, result: LesionResult, image: str, run: RunContext) -> LesionResult:
        """Classify the lesions of a photograph, with a heatmap if requested; unchanged without a lesion."""
        with self._lock:
            model = self._load()
            if model.config.view.region == "roi" and not result.mask.any():
                return result
            patient_data, photograph = self.patient_table.patient_data(image), result.photograph
            prediction = classify(photograph, result.mask, patient_data, model, self.options, run=run)
            masks = result.lesion_masks
            if len(masks) < 2 or model.config.view.region == "photograph":
                masks = []
            class_predictions = [
                prediction
                if mask is result.mask
                else classify(photograph, mask, patient_data, model, self.options, run=run)
                for mask in masks
            ]
            heatmap = None
            if self.options.heatmap is not None:
                from napari_melanoma.classification.classifier import LesionInput
                from napari_melanoma.classification.explanation import explain

                method, target = self.options.heatmap, model.config.positive
                given = LesionInput(photograph.rgb, result.mask, patient_data)
                heatmap = LesionHeatmap(explain(model, given, method, target, run), method, target)
        return replace(
            result,
            class_prediction=prediction,
            patient_data=patient_data,
            heatmap=heatmap,
            class_predictions=tuple(class_predictions),
        )

    def matches(self, stored: Mapping[str, Any]) -> bool:
        """Whether a stored result has the current prediction; also True without a lesion, which needs none."""
        if not stored.get("lesion_found"):
            return True
        found = stored.get("answer") or {}
        return (
            (found.get("model") or {}).get("fingerprint") == self.info.fingerprint
            and found.get("options") == self.options.model_dump(mode="json")
            and stored.get("form") == self.patient_table.patient_data(str(stored.get("image")))
        )

    def _load(self) -> Classifier:
        """Load the model; torch is imported only here."""
        if self._model is None:
            from napari_melanoma.classification.classifier import Classifier

            self._model = Classifier.load(self.info)
        return self._model
