"""Answers beside the results of a batch: a classifier asked about each lesion, and its columns of the table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from threading import Lock
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.runs import RunContext
from napari_melanoma.workflows.answer import ClassifyOptions
from napari_melanoma.workflows.answer_columns import bound_columns, probability_columns, renamed, used_column
from napari_melanoma.workflows.classify import classify
from napari_melanoma.workflows.forms import Forms

if TYPE_CHECKING:
    from napari_melanoma.inference.classification import Classifier
    from napari_melanoma.models.bundle import BundleInfo
    from napari_melanoma.workflows.lesion import LesionResult


class Classifying:
    """What a batch asks about each lesion; the model is loaded when the first one is there."""

    def __init__(self, info: BundleInfo, options: ClassifyOptions, forms: Forms) -> None:
        self.info = info
        self.options = options.model_copy(update={"model": info.name})
        self.forms = forms
        self._model: Classifier | None = None
        self._lock = Lock()  # results are written in several threads, and one network is asked at a time

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the table gets."""
        config = self.info.config
        positive = config.classifier.positive if config.classifier else ""
        fields = config.tabular.fields if config.tabular else ()
        said = ("verdict", "side", "class_set", "cannot_tell", "above_cut", "unlike_training", "classifier")
        probabilities = probability_columns(config.classes).values()
        return (*probabilities, *bound_columns(positive, config.classes), *said, *map(used_column, fields))

    @property
    def renamed(self) -> dict[str, str]:
        """Old to new name of the columns that were called otherwise in older tables."""
        config = self.info.config
        return renamed(config.classes, config.classifier.positive if config.classifier else "")

    def answered(self, result: LesionResult, image: str, run: RunContext) -> LesionResult:
        """Ask about the lesion of a photograph.

        With the answer, and the heatmap where one is wanted; as it was where there is no lesion to look at.
        """
        with self._lock:
            model = self._loaded()
            if model.config.view.region == "roi" and not result.mask.any():
                return result
            form, photograph = self.forms.of(image), result.photograph
            told = classify(photograph, result.mask, form, model, self.options, run=run)
            each = [*result.mask_parts, *result.other_masks]
            if len(each) < 2 or model.config.view.region == "photograph":
                each = []
            each_told = [
                told if mask is result.mask else classify(photograph, mask, form, model, self.options, run=run)
                for mask in each
            ]
            heatmap = None
            if self.options.heatmap is not None:
                from napari_melanoma.inference.classification import Lesion
                from napari_melanoma.inference.explanation import explain

                heatmap = explain(model, Lesion(photograph.rgb, result.mask, form), self.options.heatmap, run=run)
        return replace(result, told=told, form=form, heatmap=heatmap, each_told=tuple(each_told))

    def match(self, stored: Mapping[str, Any]) -> bool:
        """Whether a stored result has the answer that would be given now.

        True also where no lesion was found, and so none asked about.
        """
        if not stored.get("lesion_found"):
            return True
        found = stored.get("answer") or {}
        return (
            (found.get("model") or {}).get("fingerprint") == self.info.fingerprint
            and found.get("options") == self.options.model_dump(mode="json")
            and stored.get("form") == self.forms.of(str(stored.get("image")))
        )

    def _loaded(self) -> Classifier:
        """The model; torch is imported here, and only here."""
        if self._model is None:
            from napari_melanoma.inference.classification import Classifier

            self._model = Classifier.load(self.info)
        return self._model


def answer_cells(answer: Mapping[str, Any] | None) -> dict[str, object]:
    """Make the cells of an answer from what ``result.json`` says of it.

    Column to value; ``cannot_tell``, ``above_cut`` and ``unlike_training`` are 1 or 0.
    """
    if not answer:
        return {}
    probabilities = dict(zip(answer["classes"], answer["probabilities"], strict=True))
    positive, point = answer["positive"], answer["operating_point"]
    columns, bounds = probability_columns(probabilities), bound_columns(positive, probabilities)
    used = {one["field"]: one["value"] for one in answer["contributions"]} | dict.fromkeys(answer["missing"])
    return {
        **{columns[name]: value for name, value in probabilities.items()},
        **dict(zip(bounds, answer["interval"] or (None, None), strict=True)),
        "verdict": answer["verdict"],
        "side": answer["side"],
        "class_set": "|".join(answer["possible"]),
        "cannot_tell": int(answer["cannot_tell"]),
        "above_cut": None if point is None else int(probabilities[positive] >= point["cut"]),
        "unlike_training": int(answer["unlike"]),
        "classifier": answer["model"]["name"],
        **{used_column(field): value for field, value in used.items()},
    }


def answer_in(row: Mapping[str, object]) -> str:
    """Say the answer of a row of the table in a line.

    Returns the verdict, and on which side of the cut it lies; empty where nobody was asked.
    """
    return "; ".join(str(row[name]) for name in ("verdict", "side") if row.get(name))
