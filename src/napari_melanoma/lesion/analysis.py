"""One photograph: mask, contour, region of interest, measurements and predictions of its lesions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, cast

from pydantic import Field

from napari_melanoma.classification.classify import classify
from napari_melanoma.classification.prediction import (
    ClassifyOptions,
    bound_columns,
    probability_columns,
    renamed_columns,
    used_column,
)
from napari_melanoma.core.config import Config
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.files import atomic_folder, write_json
from napari_melanoma.core.prediction_config import RoiConfig
from napari_melanoma.core.provenance import array_fingerprint, collect_provenance
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.imaging.colormaps import draw_heatmap
from napari_melanoma.imaging.masks import (
    Roi,
    bounding_box,
    draw_damage,
    draw_overlay,
    extract_roi,
    separate_components,
    trace_contours,
)
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS, measure_lesion
from napari_melanoma.imaging.modality import ModalityEstimate, certain_modality, modality_warning, recognize_modality
from napari_melanoma.imaging.refinement import RefinementConfig, find_other_lesions, refine_mask, smooth_probability
from napari_melanoma.io.photographs import Photograph, format_damage_warning
from napari_melanoma.io.results import write_mask, write_probability, write_rgb, write_table
from napari_melanoma.lesion.patient_data import PatientTable
from napari_melanoma.lesion.segmentation import LesionPrediction, LogitModel, predict_with_flips
from napari_melanoma.metrics.uncertainty import uncertain_band
from napari_melanoma.models.inference import restore_size
from napari_melanoma.models.registry import DEFAULT_BUNDLE
from napari_melanoma.training.run_data import TRAINED_ON_IT, was_trained_on

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from napari_melanoma.classification.prediction import ClassPrediction as ClassAnswer
    from napari_melanoma.classification.predictor import Classifier
    from napari_melanoma.models.bundle import BundleInfo

RESULT_FORMAT = 1


class LesionOptions(Config):
    """How a photograph is analysed; the docks, the command line and every result carry the same."""

    model: str = Field(DEFAULT_BUNDLE, min_length=1, description="name of a model, or the folder of a bundle")
    threshold: float | None = Field(None, gt=0, lt=1, description="at or above it is lesion; none: the model's own")
    refinement: RefinementConfig = RefinementConfig()
    roi: RoiConfig = RoiConfig()
    flips: bool = Field(False, description="ask about the mirror images too: the mean of four answers, and a band")


class ProbabilityModel(Protocol):
    """What an analysis asks of a model; ``lesion.segmentation.Segmenter`` is one."""

    info: BundleInfo
    device: str

    def probability(self, rgb: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Say for each pixel how likely it belongs to a lesion.

        ``rgb``: uint8 (row, column, channel), sRGB. Returns float32 (row, column) in [0, 1].
        """


@dataclass(frozen=True)
class ModelStamp:
    """Which model answered: name, fingerprint of its weights, where it ran, own threshold, what it was trained on.

    ``trained_on_photograph`` states that the photograph in question was among its training or validation images.
    """

    name: str
    fingerprint: str
    device: str
    threshold: float
    modalities: tuple[str, ...] = ()
    demonstration: bool = False
    trained_on_photograph: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))  # a list where it comes from JSON

    @classmethod
    def of(cls, model: ProbabilityModel, rgb: NDArray[np.uint8] | None = None) -> ModelStamp:
        """Stamp of a loaded model.

        ``rgb``: uint8 (row, column, channel), the photograph: it is compared with the training images.
        """
        info = model.info
        config = info.config
        demonstration = config.is_demonstration
        trained = rgb is not None and was_trained_on(info, rgb)
        return cls(
            info.name, info.fingerprint, model.device, config.threshold, config.modalities, demonstration, trained
        )


@dataclass(frozen=True)
class LesionResult:
    """What one analysis found; arrays have the size of the photograph.

    ``probability`` is the network's answer and ``smoothed`` the one that was thresholded, both float32 (row,
    column); ``mask`` is bool (row, column); each contour is float32 (point, 2) in (row, column); ``roi`` is ``None``
    and ``measurements`` is empty where there is no lesion. Where the model was asked about the mirror images too,
    ``spread`` is what ``lesion.segmentation.Answer`` says, and ``band`` is bool (row, column): where
    the answers disagree.
    ``looks`` says which kind of photograph it seems to be. Where a classifier was asked, ``told`` is what it said,
    ``form`` what it was told of the patient, and ``heatmap``, float32 (row, column) in [0, 1], where that comes from.
    ``others``, bool (row, column), are lesions that were found and are not in the mask. Where there are several lesions
    and a classifier was asked, ``class_predictions`` are the predictions for ``mask_parts`` and ``other_masks``, in this order.
    """

    photograph: Photograph
    probability: NDArray[np.float32]
    smoothed: NDArray[np.float32]
    threshold: float
    mask: NDArray[np.bool_]
    contours: list[NDArray[np.float32]]
    roi: Roi | None
    measurements: dict[str, float]
    options: LesionOptions
    model: ModelStamp
    corrected: bool = False
    provenance: dict[str, object] = field(default_factory=collect_provenance)
    spread: NDArray[np.float32] | None = None
    band: NDArray[np.bool_] | None = None
    recognized: ModalityEstimate | None = None
    class_prediction: ClassAnswer | None = None
    patient_data: dict[str, str] = field(default_factory=dict)
    heatmap: NDArray[np.float32] | None = None
    others: NDArray[np.bool_] | None = None
    class_predictions: tuple[ClassAnswer, ...] = ()

    @cached_property
    def mask_parts(self) -> list[NDArray[np.bool_]]:
        """The lesions in the mask, the largest first, each bool (row, column); specks are none."""
        if self.measurements.get("parts", 0) < 2:
            return [self.mask] if self.mask.any() else []
        import numpy as np

        lesions = find_other_lesions(self.mask, np.zeros_like(self.mask), self.options.refinement)
        return separate_components(lesions) if lesions.any() else [self.mask]

    @cached_property
    def other_masks(self) -> list[NDArray[np.bool_]]:
        """The lesions that were found beside the mask, the largest first, each bool (row, column)."""
        return [] if self.others is None else separate_components(self.others)

    @property
    def lesions_found(self) -> int:
        """How many lesions there are: those in the mask, and those that were found beside it."""
        return len(self.mask_parts) + len(self.other_masks)

    @property
    def warning(self) -> str:
        """Why not to rely on the result: damage, or a photograph and model that may not go together; else empty."""
        fit = (
            ""
            if self.recognized is None
            else modality_warning(self.recognized, self.model.modalities, self.photograph.modality)
        )
        damage = format_damage_warning(self.photograph.damage)
        trained = f"{TRAINED_ON_IT}." if self.model.trained_on_photograph else ""
        return " ".join(filter(None, (damage, fit, trained)))

    @property
    def validity(self) -> Validity:
        """Whether the model may be applied to the photograph: what it finds, and that it finds nothing."""
        looks, photograph = self.recognized, self.photograph
        return ValidityInputs(
            self.model.name,
            demonstration=self.model.demonstration,
            modality=None if looks is None else certain_modality(looks, photograph.modality),
            modalities=self.model.modalities,
            damage=photograph.damage,
        ).check()

    @property
    def prediction(self) -> LesionPrediction:
        """What the model said, as ``derive`` takes it."""
        return LesionPrediction(self.probability, self.spread)


def analyze_lesion(
    photograph: Photograph, model: ProbabilityModel, options: LesionOptions, *, run: RunContext
) -> LesionResult:
    """Find the lesion of a photograph and measure it.

    Mask, contour, ROI and measurements; empty where no lesion was found.
    """
    answer = predict_lesion(model, photograph.rgb, flips=options.flips)
    run.check()
    return derive_result(photograph, answer, options, ModelStamp.of(model, photograph.rgb))


def predict_lesion(model: ProbabilityModel, rgb: NDArray[np.uint8], *, flips: bool) -> LesionPrediction:
    """Ask a model about a photograph, once or with its mirror images.

    ``model``: a loaded model; one that gives logits too where flips are wanted. ``rgb``: uint8 (row, column, channel),
    sRGB.
    """
    return predict_with_flips(cast("LogitModel", model), rgb) if flips else LesionPrediction(model.probability(rgb))


def derive_result(
    photograph: Photograph,
    prediction: LesionPrediction | NDArray[np.float32],
    options: LesionOptions,
    model: ModelStamp,
    selected_point: tuple[int, int] | None = None,
) -> LesionResult:
    """Do everything that follows from the network's answer; needs no torch.

    ``answer``: of the network; float32 (row, column) in [0, 1] where there is nothing but the probability. ``chosen``:
    a point (row, column): the lesion there is kept instead of the largest one. Mask, contour, ROI and measurements;
    empty where no lesion was found.
    """
    prediction = prediction if isinstance(prediction, LesionPrediction) else LesionPrediction(prediction)
    smoothed = smooth_probability(prediction.probability, options.refinement)
    threshold = model.threshold if options.threshold is None else options.threshold
    found = smoothed >= threshold
    mask = refine_mask(found, options.refinement, selected_point)
    return LesionResult(
        photograph=photograph,
        probability=prediction.probability,
        smoothed=smoothed,
        threshold=threshold,
        mask=mask,
        contours=trace_contours(mask),
        roi=extract_roi(photograph.rgb, mask, options.roi),
        measurements=measure_lesion(mask, photograph.rgb, photograph.pixel_size),
        options=options,
        model=model,
        spread=prediction.spread,
        band=find_uncertain_band(prediction, mask, threshold, options.refinement),
        recognized=recognize_modality(photograph.rgb),
        others=find_other_lesions(found, mask, options.refinement),
    )


def find_uncertain_band(
    prediction: LesionPrediction, mask: NDArray[np.bool_], threshold: float, refinement: RefinementConfig
) -> NDArray[np.bool_] | None:
    """Find where the answers about the mirror images disagree, smoothed as the probability is.

    ``mask``: bool (row, column), refined. Returns bool (row, column); None where the model was asked once.
    """
    if prediction.spread is None:
        return None
    shape = (mask.shape[0], mask.shape[1])
    low, high = (smooth_probability(restore_size(logits, shape), refinement) for logits in prediction.spread)
    return uncertain_band(low, high, threshold, mask, refinement)


def remeasure(
    result: LesionResult, mask: NDArray[np.bool_], options: LesionOptions, threshold: float | None = None
) -> LesionResult:
    """Let contour, ROI and measurements follow a mask that was corrected by hand; needs no torch.

    ``mask``: bool (row, column), taken as it is.
    """
    photograph = result.photograph
    return replace(
        result,
        mask=mask,
        contours=trace_contours(mask),
        roi=extract_roi(photograph.rgb, mask, options.roi),
        measurements=measure_lesion(mask, photograph.rgb, photograph.pixel_size),
        options=result.options.model_copy(update={"roi": options.roi}),
        corrected=True,
        class_prediction=None,  # it was said of another mask
        heatmap=None,
        others=find_other_lesions(
            result.smoothed >= (result.threshold if threshold is None else threshold), mask, options.refinement
        ),
        class_predictions=(),
    )


def save_lesion(result: LesionResult, folder: Path) -> Path:
    """Write a result folder as a whole: images and ``result.json``.

    Returns the folder, with ``mask.png`` (0/255), ``probability.png``, ``overlay.png``, ``result.json``, where there is
    a lesion ``roi.png``, where several were found ``lesions.csv``, ``band.png`` (0/255) where the model was asked about
    the mirror images, and where there is one ``heatmap.png``, drawn over the photograph.
    """
    with atomic_folder(folder) as temporary:
        write_mask(temporary / "mask.png", result.mask)
        write_probability(temporary / "probability.png", result.smoothed)
        overlay = draw_overlay(result.photograph.rgb, result.mask)
        write_rgb(temporary / "overlay.png", draw_damage(overlay, result.photograph.damage))
        if result.roi is not None:
            write_rgb(temporary / "roi.png", result.roi.image)
        if result.heatmap is not None:
            heatmap = draw_heatmap(result.photograph.rgb, result.heatmap)
            write_rgb(temporary / "heatmap.png", draw_damage(heatmap, result.photograph.damage))
        if result.band is not None:
            write_mask(temporary / "band.png", result.band)
        about = describe_result(result)
        if about["lesions"]:
            write_lesions(temporary / "lesions.csv", cast("list[dict[str, Any]]", about["lesions"]))
        write_json(temporary / "result.json", about)
    return folder


def describe_result(result: LesionResult) -> dict[str, object]:
    """Say in plain values what was found and what produced it, as ``result.json`` holds it.

    JSON-able; names no person and no folder.
    """
    photograph, roi, pixel_size = result.photograph, result.roi, result.photograph.pixel_size
    return {
        "format_version": RESULT_FORMAT,
        "image": photograph.name,
        "image_shape": list(photograph.rgb.shape),
        "image_sha256": array_fingerprint(photograph.rgb),
        "modality": photograph.modality,
        "looks_like": result.recognized and vars(result.recognized),
        "warning": result.warning,
        "validity": result.validity.to_json(),
        "damage": photograph.damage,
        "notes": list(photograph.notes),
        "pixel_size_um": pixel_size and {"y": pixel_size.y_um, "x": pixel_size.x_um, "source": pixel_size.source},
        "lesion_found": bool(result.measurements),
        "lesions_found": result.lesions_found,
        "lesions": describe_lesions(result),
        "corrected_by_hand": result.corrected,
        "threshold": result.threshold,
        "roi_box": roi and {"top": roi.box.top, "left": roi.box.left, "side": roi.box.height},
        "measurements": result.measurements,
        "uncertain_area_px": None if result.band is None else int(result.band.sum()),
        **(
            {}
            if result.class_prediction is None
            else {"answer": result.class_prediction.to_json(), "form": result.patient_data}
        ),
        "model": vars(result.model),
        "options": result.options.model_dump(mode="json"),
        "provenance": result.provenance,
        "notice": "Research use only; not for diagnosis.",
    }


class BatchClassifier:
    """What a batch asks about each lesion; the model is loaded when the first one is there."""

    def __init__(self, info: BundleInfo, options: ClassifyOptions, patient_table: PatientTable) -> None:
        self.info = info
        self.options = options.model_copy(update={"model": info.name})
        self.patient_table = patient_table
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
    def renamed_columns(self) -> dict[str, str]:
        """Old to new name of the columns that were called otherwise in older tables."""
        config = self.info.config
        return renamed_columns(config.classes, config.classifier.positive if config.classifier else "")

    def classify(self, result: LesionResult, image: str, run: RunContext) -> LesionResult:
        """Ask about the lesion of a photograph.

        With the answer, and the heatmap where one is wanted; as it was where there is no lesion to look at.
        """
        with self._lock:
            model = self._load()
            if model.config.view.region == "roi" and not result.mask.any():
                return result
            form, photograph = self.patient_table.patient_data(image), result.photograph
            told = classify(photograph, result.mask, form, model, self.options, run=run)
            each = [*result.mask_parts, *result.other_masks]
            if len(each) < 2 or model.config.view.region == "photograph":
                each = []
            class_predictions = [
                told if mask is result.mask else classify(photograph, mask, form, model, self.options, run=run)
                for mask in each
            ]
            heatmap = None
            if self.options.heatmap is not None:
                from napari_melanoma.classification.explanation import explain
                from napari_melanoma.classification.predictor import LesionInput

                heatmap = explain(model, LesionInput(photograph.rgb, result.mask, form), self.options.heatmap, run=run)
        return replace(
            result,
            class_prediction=told,
            patient_data=form,
            heatmap=heatmap,
            class_predictions=tuple(class_predictions),
        )

    def matches(self, stored: Mapping[str, Any]) -> bool:
        """Whether a stored result has the answer that would be given now.

        True also where no lesion was found, and so none asked about.
        """
        if not stored.get("lesion_found"):
            return True
        found = stored.get("answer") or {}
        return (
            (found.get("model") or {}).get("fingerprint") == self.info.fingerprint
            and found.get("options") == self.options.model_dump(mode="json")
            and stored.get("form") == self.patient_table.patient_data(str(stored.get("image")))
        )

    def _load(self) -> Classifier:
        """The model; torch is imported here, and only here."""
        if self._model is None:
            from napari_melanoma.classification.predictor import Classifier

            self._model = Classifier.load(self.info)
        return self._model


def prediction_cells(prediction: Mapping[str, Any] | None) -> dict[str, object]:
    """Make the cells of an answer from what ``result.json`` says of it.

    Column to value; ``cannot_tell``, ``above_cut`` and ``unlike_training`` are 1 or 0.
    """
    if not prediction:
        return {}
    probabilities = dict(zip(prediction["classes"], prediction["probabilities"], strict=True))
    positive, point = prediction["positive"], prediction["operating_point"]
    columns, bounds = probability_columns(probabilities), bound_columns(positive, probabilities)
    used = {one["field"]: one["value"] for one in prediction["contributions"]} | dict.fromkeys(prediction["missing"])
    return {
        **{columns[name]: value for name, value in probabilities.items()},
        **dict(zip(bounds, prediction["interval"] or (None, None), strict=True)),
        "verdict": prediction["verdict"],
        "side": prediction["side"],
        "class_set": "|".join(prediction["possible"]),
        "cannot_tell": int(prediction["cannot_tell"]),
        "above_cut": None if point is None else int(probabilities[positive] >= point["cut"]),
        "unlike_training": int(prediction["unlike"]),
        "classifier": prediction["model"]["name"],
        **{used_column(field): value for field, value in used.items()},
    }


def prediction_text(row: Mapping[str, object]) -> str:
    """Say the answer of a row of the table in a line.

    Returns the verdict, and on which side of the cut it lies; empty where nobody was asked.
    """
    return "; ".join(str(row[name]) for name in ("verdict", "side") if row.get(name))


LESION_COLUMNS = ("lesion", "in_mask", "top_px", "left_px", "height_px", "width_px")


def describe_lesions(result: LesionResult) -> list[dict[str, Any]]:
    """Describe each lesion in plain values, as ``result.json`` holds it.

    First the lesions in the mask, then the others, the largest first: number, position, measurements and, where a
    classifier was asked, its prediction for that lesion. Empty where there is one lesion or none.
    """
    if result.lesions_found < 2:
        return []
    photograph, in_mask, rows = result.photograph, len(result.mask_parts), []
    for number, mask in enumerate([*result.mask_parts, *result.other_masks], start=1):
        box = bounding_box(mask)
        assert box is not None
        row = {
            **dict(
                zip(
                    LESION_COLUMNS,
                    (number, int(number <= in_mask), box.top, box.left, box.height, box.width),
                    strict=True,
                )
            ),
            "measurements": measure_lesion(mask, photograph.rgb, photograph.pixel_size),
        }
        if result.class_predictions:
            row["answer"] = result.class_predictions[number - 1].to_json()
        rows.append(row)
    return rows


def write_lesions(path: Path, lesions: list[dict[str, Any]]) -> None:
    """Write a table with a row for each lesion."""
    rows: list[Mapping[str, object]] = [
        {
            **{name: row.get(name) for name in LESION_COLUMNS},
            **row["measurements"],
            **prediction_cells(row.get("answer")),
        }
        for row in lesions
    ]
    measured = [name for name in MEASUREMENT_COLUMNS if any(name in row for row in rows)]
    said = dict.fromkeys(name for row in rows for name in row if name not in (*LESION_COLUMNS, *measured))
    write_table(path, rows, (*LESION_COLUMNS, *measured, *said))


def several_lesions_note(count: int) -> str:
    """Say in a table that a photograph has several lesions.

    Empty for one or none.
    """
    return "" if count < 2 else f"{count} lesions found; see lesions.csv of the photograph"
