"""Classification of the lesions in a batch of photographs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from threading import Lock
from typing import Any

from napari_melanoma.classification.classifier import Classifier
from napari_melanoma.classification.classify import classify
from napari_melanoma.classification.prediction import (
    ClassifyOptions,
    bound_columns,
    is_stamp_of,
    probability_columns,
    used_column,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.imaging.modality import ModalityEstimate, select_modality
from napari_melanoma.lesion.analysis import LesionHeatmap, LesionResult
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import select_classifier


class BatchClassifier:
    """Classifies the photographs of a batch with one model, or with one model for each modality.

    A model is loaded for the first photograph that needs it.
    """

    def __init__(self, bundles: Sequence[BundleInfo], options: ClassifyOptions, patient_table: PatientTable) -> None:
        self.bundles = tuple(bundles)
        self.patient_table = patient_table
        self._options = options
        self._models: dict[str, Classifier] = {}
        self._lock = Lock()  # results are written in several threads, but one network runs at a time

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(chain.from_iterable(map(_columns, self.bundles))))

    def options(self, bundle: BundleInfo) -> ClassifyOptions:
        """Return the options of the batch with the name of a model."""
        return self._options.model_copy(update={"model": bundle.name})

    def classify(self, result: LesionResult, image: str, run: RunContext) -> LesionResult:
        """Add predictions to a result, and a heatmap if requested.

        ``image``: name of the photograph in the clinical metadata. A result without a lesion is returned unchanged,
        unless the model classifies whole photographs.
        """
        patient_data = self.patient_table.patient_data(image)
        bundle, photograph = select_classifier(self.bundles, result.modality), result.photograph
        options = self.options(bundle)
        with self._lock:
            model = self._load(bundle)
            if model.config.view.region == "roi" and not result.mask.any():
                return result
            classify_lesion = partial(
                classify,
                photograph,
                row=patient_data,
                model=model,
                options=options,
                run=run,
                recognized=result.recognized,
            )
            prediction = classify_lesion(mask=result.mask)
            masks = result.lesion_masks
            if len(masks) < 2 or model.config.view.region == "photograph":
                masks = []
            class_predictions = [prediction if mask is result.mask else classify_lesion(mask=mask) for mask in masks]
            heatmap = None
            if options.heatmap is not None:
                from napari_melanoma.classification.classifier import LesionInput
                from napari_melanoma.classification.explanation import explain

                method, target = options.heatmap, prediction.predicted
                lesion = LesionInput(photograph.rgb, result.mask, patient_data)
                heatmap = LesionHeatmap(explain(model, lesion, method, target, run), method, target)
        return replace(
            result,
            class_prediction=prediction,
            patient_data=patient_data,
            heatmap=heatmap,
            class_predictions=tuple(class_predictions),
        )

    def matches(self, stored: Mapping[str, Any]) -> bool:
        """Whether a stored result has the current prediction, or needs none because it contains no lesion."""
        size, scale = self.patient_table.pixel_size(str(stored.get("image"))), stored.get("pixel_size_um") or {}
        if size is not None and (scale.get("y"), scale.get("x")) != (size.y_um, size.x_um):
            return False
        recognized = stored.get("looks_like")
        modality = recognized and select_modality(ModalityEstimate(**recognized), stored.get("modality"))
        bundle = select_classifier(self.bundles, modality)
        config = bundle.config.classifier
        if not stored.get("lesion_found") and (config is None or config.view.region == "roi"):
            return True
        prediction = stored.get("prediction") or {}
        return (
            is_stamp_of(prediction.get("model") or {}, bundle)
            and prediction.get("options") == self.options(bundle).model_dump(mode="json")
            and stored.get("form") == self.patient_table.patient_data(str(stored.get("image")))
        )

    def _load(self, bundle: BundleInfo) -> Classifier:
        """Return a model; it is loaded once."""
        if bundle.name not in self._models:
            self._models[bundle.name] = Classifier.load(bundle)
        return self._models[bundle.name]


def _columns(bundle: BundleInfo) -> tuple[str, ...]:
    """Return the table columns of a model's predictions."""
    config = bundle.config
    positive = config.classifier.positive if config.classifier else ""
    used_fields = config.tabular.fields if config.tabular else ()
    other_columns = (
        "verdict",
        "side",
        "prediction_set",
        "inconclusive",
        "above_threshold",
        "out_of_distribution",
        "classifier",
    )
    probabilities = probability_columns(config.classes).values()
    return (*probabilities, *bound_columns(positive, config.classes), *other_columns, *map(used_column, used_fields))
