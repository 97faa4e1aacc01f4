"""Analysis of one photograph: mask, contour, region of interest, measurements and predictions of its lesions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.prediction import ClassPrediction
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import (
    atomic_file,
    atomic_folder,
    discard,
    move,
    remove_file,
    save_error,
    sweep_once,
    temporary_name,
    write_json,
)
from napari_melanoma.core.geometry import Box
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.provenance import add_backends, array_fingerprint, collect_provenance
from napari_melanoma.core.renamed_keys import rename_keys
from napari_melanoma.core.validity import NOTICE, TRAINED_ON_IT, Validity, ValidityInputs
from napari_melanoma.imaging.masks import (
    Roi,
    bounding_box,
    draw_damage,
    draw_heatmap,
    draw_overlay,
    extract_roi,
    mask_key,
    separate_components,
    trace_contours,
)
from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS, measure_lesion
from napari_melanoma.imaging.modality import (
    ModalityEstimate,
    certain_modality,
    modality_warning,
    recognize_modality,
    select_modality,
    shows_no_skin,
)
from napari_melanoma.imaging.postprocessing import RefinementConfig, find_other_lesions, refine_mask, smooth_probability
from napari_melanoma.imaging.prompts import PromptOptions, Prompts, apply_prompts
from napari_melanoma.io.photographs import Photograph, format_damage_warning
from napari_melanoma.io.results import RESULT, write_mask, write_probability, write_rgb, write_table
from napari_melanoma.lesion.mask_record import PromptRecord
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.lesion.segmentation import LesionPrediction, Segmenter, predict_lesions
from napari_melanoma.metrics.mask_uncertainty import uncertain_band
from napari_melanoma.models.inference import restore_size

RESULT_FORMAT = 1
HEATMAP = "heatmap.png"
BAND = "band.png"  # with test-time augmentation
ALWAYS_WRITTEN = ("mask.png", "probability.png", "overlay.png")
RESULT_FILES = frozenset((*ALWAYS_WRITTEN, "roi.png", HEATMAP, BAND, "lesions.csv", RESULT))
IN_MASK_WARNING = frozenset({"damaged", "no_photograph", "modality"})  # codes of reasons in ``LesionResult.warning``
LESION_COLUMNS = ("lesion", "in_mask", "top_px", "left_px", "height_px", "width_px")


@dataclass(frozen=True)
class ModelStamp:
    """The model of a result: name, fingerprint of its weights, device, threshold and modalities of its training data.

    ``demonstration``: whether it is a demonstration model. ``trained_on_photograph``: whether the photograph was among
    its training or validation images. ``backend``: see ``models.inference``.
    ``closer_views``, ``turned_views``: see ``BundleConfig``; None without.
    """

    name: str
    fingerprint: str
    device: str
    threshold: float
    modalities: tuple[str, ...] = ()
    demonstration: bool = False
    trained_on_photograph: bool = False
    backend: str = ""
    closer_views: tuple[float, ...] | None = None
    turned_views: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "modalities", tuple(self.modalities))  # a list if read from JSON
        object.__setattr__(self, "closer_views", tuple(self.closer_views or ()) or None)

    @classmethod
    def of(cls, model: Segmenter, rgb: NDArray[np.uint8] | None = None) -> ModelStamp:
        """Describe a loaded model.

        ``rgb``: uint8 (row, column, channel), the photograph to look for among the training images.
        """
        from napari_melanoma.data.training_images import was_trained_on

        info = model.info
        config = info.config
        demonstration = config.is_demonstration
        trained = rgb is not None and was_trained_on(info, rgb)
        return cls(
            info.name,
            info.fingerprint,
            model.device,
            config.threshold,
            config.modalities,
            demonstration,
            trained,
            model.backend,
            config.closer_views,
            config.turned_views,
        )


NO_MODEL = ModelStamp("", "", "", 0.5)  # for a mask that was made with another tool or by hand
LesionMeasurements = dict[object, dict[str, float]]  # by mask_key and pixel size
MAX_MEASURED = 256  # cached measurements of a photograph, including those of earlier masks, which undo restores


def _measure(mask: NDArray[np.bool_], photograph: Photograph, measured: LesionMeasurements) -> dict[str, float]:
    """Measure a lesion, bool (row, column); a mask with the same pixels as an earlier one is not measured again.

    ``measured``: the earlier measurements, to which these are added.
    """
    key = mask_key(mask), photograph.pixel_size
    values = measured.pop(key, None)
    measured[key] = values = measure_lesion(mask, photograph.rgb, photograph.pixel_size) if values is None else values
    for oldest in list(measured)[:-MAX_MEASURED]:
        measured.pop(oldest, None)  # another thread may have removed it
    return values


@dataclass(frozen=True)
class LesionHeatmap:
    """The explanation of a prediction: ``values``, float32 (row, column) in [0, 1].

    ``method``: how it was computed. ``target``: the class that it explains.
    """

    values: NDArray[np.float32]
    method: str
    target: str

    @property
    def is_empty(self) -> bool:
        """Whether the method found no image region that supports the class."""
        return not self.values.any()


@dataclass(frozen=True)
class LesionResult:
    """The result of an analysis; arrays have the size of the photograph.

    ``probability`` is the network's output and ``smoothed`` the map that was thresholded, both float32 (row, column);
    with prompts, they are the same. ``mask`` is bool (row, column). Without a lesion, ``roi`` is None and
    ``measurements`` is empty. ``corrected``: whether the mask was changed after the analysis, by hand or by prompts.
    ``others``, bool (row, column), are the lesions outside the mask.

    ``spread`` and ``band`` are None without test-time augmentation: ``spread`` is that of ``LesionPrediction``, and
    ``band``, bool (row, column), is the area in which the predictions disagree. ``recognized`` is the estimated
    modality of the photograph.

    With a classifier, ``class_prediction`` is the prediction for the mask, ``patient_data`` the clinical metadata, and
    ``heatmap`` the explanation, if requested. If there are several lesions, ``class_predictions`` are the predictions
    for each of ``lesion_masks``.

    ``measured`` caches the measurements of the lesions in this and in earlier masks of the photograph, so that only
    lesions that changed are measured again.
    """

    photograph: Photograph
    probability: NDArray[np.float32]
    smoothed: NDArray[np.float32]
    threshold: float
    mask: NDArray[np.bool_]
    roi: Roi | None
    measurements: dict[str, float]
    options: LesionOptions
    model: ModelStamp
    corrected: bool = False
    provenance: dict[str, object] = field(default_factory=collect_provenance)
    spread: NDArray[np.float32] | None = None
    band: NDArray[np.bool_] | None = None
    recognized: ModalityEstimate | None = None
    class_prediction: ClassPrediction | None = None
    patient_data: dict[str, str] = field(default_factory=dict)
    heatmap: LesionHeatmap | None = None
    others: NDArray[np.bool_] | None = None
    class_predictions: tuple[ClassPrediction, ...] = ()
    measured: LesionMeasurements = field(default_factory=dict, compare=False, repr=False)

    @cached_property
    def prompt_record(self) -> PromptRecord | None:
        """The prompts by which users made the mask in a dock; None if they used none."""
        return PromptRecord.find(self.provenance)

    @property
    def mask_model(self) -> ModelStamp:
        """The model that made the mask: if users prompted a model in a dock, that model."""
        if self.prompt_record is None:
            return self.model
        names = {field.name for field in fields(ModelStamp)}  # a record of a later version may have more
        return ModelStamp(**{name: value for name, value in self.prompt_record.model.items() if name in names})

    @property
    def corrected_by_hand(self) -> bool:
        """Whether pixels of the mask were changed by other means than prompts."""
        return self.corrected if self.prompt_record is None else self.prompt_record.by_hand

    @cached_property
    def mask_parts(self) -> list[NDArray[np.bool_]]:
        """The lesions in the mask, the largest first, each bool (row, column); specks are included only if clicked."""
        if self.measurements.get("parts", 0) < 2:
            return [self.mask] if self.mask.any() else []
        pixels = () if self.prompt_record is None else tuple(filter(None, self.prompt_record.pixels))
        lesions = find_other_lesions(self.mask, np.zeros_like(self.mask), self.options.refinement, pixels)
        return separate_components(lesions) if lesions.any() else [self.mask]

    @cached_property
    def other_masks(self) -> list[NDArray[np.bool_]]:
        """The lesions outside the mask, the largest first, each bool (row, column)."""
        return [] if self.others is None else separate_components(self.others)

    @property
    def lesion_masks(self) -> list[NDArray[np.bool_]]:
        """The lesions in the mask, then the others, each the largest first, bool (row, column)."""
        return [*self.mask_parts, *self.other_masks]

    @cached_property
    def lesion_boxes(self) -> list[Box]:
        """The bounding box of each lesion, in the order of ``lesion_masks``."""
        return [box for mask in self.lesion_masks if (box := bounding_box(mask)) is not None]

    @cached_property
    def lesion_labels(self) -> NDArray[np.uint8]:
        """The number of the lesion at each pixel, uint8 (row, column), in the order of ``lesion_masks``; 0: none."""
        labels = np.zeros(self.mask.shape, np.uint8)
        for number, mask in enumerate(self.lesion_masks[: np.iinfo(np.uint8).max], start=1):
            labels[mask] = number
        return labels

    @cached_property
    def lesion_measurements(self) -> list[dict[str, float]]:
        """The measurements of each lesion, in the order of ``lesion_masks``; empty for fewer than two lesions."""
        if self.lesions_found < 2:
            return []
        return [_measure(mask, self.photograph, self.measured) for mask in self.lesion_masks]

    @cached_property
    def contours(self) -> list[NDArray[np.float32]]:
        """The borders of the mask, each float32 (point, 2) in (row, column)."""
        return trace_contours(self.mask)

    @cached_property
    def other_contours(self) -> list[NDArray[np.float32]]:
        """The contours of the lesions outside the mask, each float32 (point, 2) in (row, column)."""
        return [] if self.others is None else trace_contours(self.others)

    @cached_property
    def has_largest_in_mask(self) -> bool:
        """Whether no lesion outside the mask is larger than the mask."""
        area = self.mask.sum()
        return all(area >= other.sum() for other in self.other_masks)

    def compute_properties(self) -> None:
        """Compute the cached properties. Call this in a thread, as the window would not respond meanwhile."""
        _ = self.contours, self.other_contours, self.has_largest_in_mask
        _ = self.lesion_boxes, self.lesion_labels, self.lesion_measurements

    @property
    def is_predicted(self) -> bool:
        """Whether a model predicted the lesion; otherwise the probability is 0 everywhere."""
        return self.model != NO_MODEL

    @property
    def lesions_found(self) -> int:
        """Number of lesions inside and outside the mask."""
        return len(self.mask_parts) + len(self.other_masks)

    @property
    def warning(self) -> str:
        """Reasons why the result may be unreliable: damage, or an unsuitable photograph or model."""
        unsuitable = (
            ""
            if self.recognized is None
            else modality_warning(self.recognized, self.mask_model.modalities, self.photograph.modality)
        )
        damage = format_damage_warning(self.photograph.damage)
        trained = f"{TRAINED_ON_IT.format('mask')}." if self.mask_model.trained_on_photograph else ""
        return " ".join(filter(None, (damage, unsuitable, trained)))

    @property
    def modality(self) -> str | None:
        """The stated, recognized or assumed type of the photograph, which selects a classifier; None if unknown."""
        return None if self.recognized is None else select_modality(self.recognized, self.photograph.modality)

    @property
    def is_modality_assumed(self) -> bool:
        """Whether the type of the photograph is neither stated nor recognized with certainty."""
        recognized, stated = self.recognized, self.photograph.modality
        return recognized is not None and self.modality != certain_modality(recognized, stated)

    @property
    def validity(self) -> Validity:
        """Whether the model is valid for the photograph, for positive and negative findings."""
        recognized, photograph, model = self.recognized, self.photograph, self.mask_model
        return ValidityInputs(
            model.name,
            demonstration=model.demonstration,
            modality=None if recognized is None else certain_modality(recognized, photograph.modality),
            no_photograph=recognized is not None and shows_no_skin(recognized, photograph.modality),
            modalities=model.modalities,
            aspect=photograph.aspect,
            damage=photograph.damage,
        ).check()

    @property
    def prediction(self) -> LesionPrediction:
        """The model's output, from which ``derive_result`` can derive the result again."""
        return LesionPrediction(self.probability, self.spread)


def analyze_lesion(
    photograph: Photograph, model: Segmenter, options: LesionOptions, *, run: RunContext
) -> LesionResult:
    """Segment and measure the lesion of a photograph; mask and measurements are empty if none is found."""
    prediction = predict_lesion(model, photograph.rgb, flips=options.flips, prompts=options.prompts)
    run.check()
    return derive_result(photograph, prediction, options, ModelStamp.of(model, photograph.rgb))


def predict_lesion(
    model: Segmenter, rgb: NDArray[np.uint8], *, flips: bool, prompts: PromptOptions | None = None
) -> LesionPrediction:
    """Predict the lesion of a photograph: with prompts, with test-time augmentation, or once.

    ``model``: a loaded model; with prompts, a ``PromptedSegmenter``, and with flips, a model that outputs logits.
    ``rgb``: uint8 (row, column, channel), sRGB.
    """
    if prompts is not None:
        from napari_melanoma.lesion.prompting import Prompter, require_prompts

        hypotheses = Prompter(require_prompts(model), rgb).segment(prompts.to_prompts())
        return hypotheses.prediction(hypotheses.best)
    return next(predict_lesions(model, [rgb], flips=True)) if flips else LesionPrediction(model.probability(rgb))


def derive_result(
    photograph: Photograph,
    prediction: LesionPrediction | NDArray[np.float32],
    options: LesionOptions,
    model: ModelStamp,
    selected_point: tuple[int, int] | None = None,
) -> LesionResult:
    """Derive mask, contour, ROI and measurements from a prediction; needs no torch.

    ``prediction``: the model's output, or only its probability, float32 (row, column) in [0, 1]. ``selected_point``:
    (row, column); the lesion at this point is selected instead of the largest one. If no lesion is found, mask and
    measurements are empty.
    """
    prediction = prediction if isinstance(prediction, LesionPrediction) else LesionPrediction(prediction)
    smoothed = smooth_prediction(prediction.probability, options)
    threshold = model.threshold if options.threshold is None else options.threshold
    above_threshold = smoothed >= threshold
    mask = select_lesions(above_threshold, options, selected_point, prediction.prompts)
    measured: LesionMeasurements = {}
    return LesionResult(
        photograph=photograph,
        probability=prediction.probability,
        smoothed=smoothed,
        threshold=threshold,
        mask=mask,
        roi=extract_roi(photograph.rgb, mask, options.roi),
        measurements=_measure(mask, photograph, measured),
        options=options,
        model=model,
        spread=prediction.spread,
        band=find_uncertain_band(prediction, mask, threshold, options.refinement),
        recognized=recognize_modality(photograph.rgb),
        others=find_others(above_threshold, mask, options),
        measured=measured,
    )


def find_others(
    above_threshold: NDArray[np.bool_], mask: NDArray[np.bool_], options: LesionOptions
) -> NDArray[np.bool_]:
    """Return the lesions outside the mask, bool (row, column); none with prompts, which select the lesions.

    ``above_threshold``: bool (row, column), the pixels with a probability of at least the threshold.
    """
    if options.prompts is None:
        return find_other_lesions(above_threshold, mask, options.refinement)
    return np.zeros_like(mask)


def smooth_prediction(probability: NDArray[np.float32], options: LesionOptions) -> NDArray[np.float32]:
    """Return the map to be thresholded, float32 (row, column) in [0, 1]; with prompts, it is not smoothed.

    Enlarged logits already have a smooth border: smoothing changed the Dice index of 50 photographs after a click by
    less than 0.001. Without it, docks show the mask of a click sooner.
    """
    return probability if options.prompts is not None else smooth_probability(probability, options.refinement)


def select_lesions(
    above_threshold: NDArray[np.bool_],
    options: LesionOptions,
    selected_point: tuple[int, int] | None = None,
    prompts: Prompts | None = None,
) -> NDArray[np.bool_]:
    """Select the lesion in a thresholded probability: by refinement, or by the prompts of the options.

    ``above_threshold``: bool (row, column), the pixels with a probability of at least the threshold.
    ``selected_point``: (row, column) in the lesion to be selected. ``prompts``: the prompts of the options, together
    with strokes and previous mask; by default without these. Returns bool, same shape.
    """
    if options.prompts is None:
        return refine_mask(above_threshold, options.refinement, selected_point)
    return apply_prompts(above_threshold, options.prompts.to_prompts() if prompts is None else prompts)


def find_uncertain_band(
    prediction: LesionPrediction, mask: NDArray[np.bool_], threshold: float, refinement: RefinementConfig
) -> NDArray[np.bool_] | None:
    """Find where the predictions for the flips disagree, after the same smoothing as for the probability.

    ``mask``: bool (row, column), refined. Returns bool (row, column); None without test-time augmentation.
    """
    if prediction.spread is None:
        return None
    shape = (mask.shape[0], mask.shape[1])
    low, high = (smooth_probability(restore_size(logits, shape), refinement) for logits in prediction.spread)
    return uncertain_band(low, high, threshold, mask, refinement)


def remeasure(
    result: LesionResult, mask: NDArray[np.bool_], options: LesionOptions, threshold: float | None = None
) -> LesionResult:
    """Update ROI and measurements for a manually corrected mask; needs no torch.

    ``mask``: bool (row, column), used without refinement. ``threshold``: for lesions outside the mask; by default that
    of the result.
    """
    photograph = result.photograph
    return replace(
        result,
        mask=mask,
        roi=extract_roi(photograph.rgb, mask, options.roi),
        measurements=_measure(mask, photograph, result.measured),
        options=result.options.model_copy(update={"roi": options.roi}),
        corrected=True,
        class_prediction=None,  # the prediction was for another mask
        heatmap=None,
        others=find_others(
            result.smoothed >= (result.threshold if threshold is None else threshold),
            mask,
            options.model_copy(update={"prompts": result.options.prompts}),
        ),
        class_predictions=(),
    )


def save_lesion(result: LesionResult, folder: Path) -> Path:
    """Write images and ``result.json`` into a folder, replace those of a previous result, and keep all other files.

    Returns the folder, with ``mask.png`` (0/255), ``probability.png``, ``overlay.png``, ``result.json``, and if
    available ``roi.png``, ``lesions.csv`` (several lesions), ``band.png`` (0/255, test-time augmentation) and
    ``heatmap.png``, drawn over the photograph. The folder is replaced atomically if it contains nothing else.
    """
    with _result_folder(folder) as temporary:
        write_mask(temporary / "mask.png", result.mask)
        write_probability(temporary / "probability.png", result.smoothed)
        overlay = draw_overlay(result.photograph.rgb, result.mask)
        write_rgb(temporary / "overlay.png", draw_damage(overlay, result.photograph.damage))
        if result.roi is not None:
            write_rgb(temporary / "roi.png", result.roi.image)
        if result.heatmap is not None:
            write_rgb(temporary / HEATMAP, _draw_heatmap(result.photograph, result.heatmap))
        if result.band is not None:
            write_mask(temporary / BAND, result.band)
        content = describe_result(result)
        if content["lesions"]:
            write_lesions(temporary / "lesions.csv", cast("list[dict[str, Any]]", content["lesions"]))
        write_json(temporary / RESULT, content)
    return folder


def save_explanation(result: LesionResult, folder: Path) -> None:
    """Add prediction and heatmap to the stored result of the same mask, and keep everything else."""
    if result.heatmap is None:
        raise ValueError("expected a result with a heatmap")
    stored = read_object_or_empty(folder / RESULT)
    if not stored:
        raise SaveError(f"{folder / RESULT} is missing or damaged: analyze the photograph again to save its heatmap.")
    with atomic_file(folder / HEATMAP) as temporary:
        write_rgb(temporary, _draw_heatmap(result.photograph, result.heatmap))
    write_json(folder / RESULT, stored | _describe_prediction(result))


def _draw_heatmap(photograph: Photograph, heatmap: LesionHeatmap) -> NDArray[np.uint8]:
    """Draw a heatmap over its photograph, uint8 (row, column, channel=3)."""
    return draw_damage(draw_heatmap(photograph.rgb, heatmap.values), photograph.damage)


@contextmanager
def _result_folder(folder: Path) -> Iterator[Path]:
    """Yield a temporary folder, whose files replace those of the previous result at the end."""
    previous = _list_previous_files(folder)
    exists = folder.is_dir()
    existing = {path.name for path in folder.iterdir()} if exists else set()
    if existing <= previous and not (exists and folder.samefile(".")):  # the working folder cannot be renamed
        with atomic_folder(folder) as temporary:
            yield temporary
        return
    temporary = temporary_name(folder / RESULT)
    sweep_once(folder)
    try:
        temporary.mkdir()
        yield temporary
        written = {path.name for path in temporary.iterdir()}
        for name in sorted((written & existing) - previous):
            raise SaveError(f"{folder / name} is not part of a lesion result and is kept. Choose another folder.")
        for name in sorted(written, key=lambda name: name == RESULT):  # the result last
            move(temporary / name, folder / name)
        for name in previous - written:
            remove_file(folder / name)
    except OSError as error:
        raise save_error(folder, error) from error
    finally:
        discard(temporary)


def _list_previous_files(folder: Path) -> set[str]:
    """List the files of a previous result in a folder, also without a readable ``result.json``."""
    stored = read_object_or_empty(folder / RESULT)
    is_complete = all((folder / name).is_file() for name in ALWAYS_WRITTEN)
    if "lesion_found" not in stored and (stored or not is_complete):
        return set()
    names = RESULT_FILES if stored.get("prediction") else RESULT_FILES - {HEATMAP}
    return {name for name in names if (folder / name).is_file()}


def describe_result(result: LesionResult) -> dict[str, object]:
    """Return the content of ``result.json``, which includes no names of persons or folders."""
    photograph, roi, pixel_size = result.photograph, result.roi, result.photograph.pixel_size
    return {
        "format_version": RESULT_FORMAT,
        "image": photograph.name,
        "image_shape": list(photograph.rgb.shape),
        "image_sha256": array_fingerprint(photograph.rgb),
        "mask_sha256": array_fingerprint(result.mask),
        "modality": photograph.modality,
        "looks_like": result.recognized and vars(result.recognized),
        "warning": result.warning,
        "validity": result.validity.to_json(),
        "damage": photograph.damage,
        "notes": list(photograph.notes),
        **({"credit": photograph.credit} if photograph.credit else {}),
        "pixel_size_um": pixel_size and pixel_size.to_json(),
        "lesion_found": bool(result.measurements),
        "lesions_found": result.lesions_found,
        "lesions": describe_lesions(result),
        "corrected_by_hand": result.corrected_by_hand,
        "threshold": result.threshold,
        "roi_box": roi and {"top": roi.box.top, "left": roi.box.left, "side": roi.box.height},
        "measurements": result.measurements,
        "uncertain_area_px": None if result.band is None else int(result.band.sum()),
        **_describe_prediction(result),
        "model": vars(result.model),
        "options": result.options.model_dump(mode="json"),
        "provenance": add_backends(result.provenance, _list_backends(result)),
        "notice": NOTICE,
    }


def _list_backends(result: LesionResult) -> list[str]:
    """List the back ends of the models of a result, which ran in another process if a dock made it."""
    classifier = "" if result.class_prediction is None else result.class_prediction.model.backend
    return [result.model.backend, result.mask_model.backend, classifier]


def _describe_prediction(result: LesionResult) -> dict[str, object]:
    """Return the part of ``result.json`` about patient data and classification; empty without both."""
    if result.class_prediction is None:
        return {"form": result.patient_data} if result.patient_data else {}
    heatmap = result.heatmap
    return {
        "prediction": result.class_prediction.to_json(),
        "form": result.patient_data,
        "heatmap": heatmap and {"method": heatmap.method, "class": heatmap.target, "empty": heatmap.is_empty},
    }


def prediction_cells(prediction: Mapping[str, Any] | None) -> dict[str, object]:
    """Convert a prediction of ``result.json`` to table cells by column.

    ``inconclusive``, ``above_threshold`` and ``out_of_distribution`` are 1 or 0.
    """
    from napari_melanoma.classification.prediction import bound_columns, probability_columns, used_column

    if not prediction:
        return {}
    probabilities = dict(zip(prediction["classes"], prediction["probabilities"], strict=True))
    positive, point = prediction["positive"], prediction["operating_point"]
    point = point and rename_keys("OperatingPoint", point)
    columns, bounds = probability_columns(probabilities), bound_columns(positive, probabilities)
    used = {part["field"]: part["value"] for part in prediction["contributions"]} | dict.fromkeys(prediction["missing"])
    return {
        **{columns[name]: value for name, value in probabilities.items()},
        **dict(zip(bounds, prediction["interval"] or (None, None), strict=True)),
        "verdict": prediction["verdict"],
        "side": prediction["side"],
        "prediction_set": "|".join(prediction["possible"]),
        "inconclusive": int(prediction["inconclusive"]),
        "above_threshold": None if point is None else int(probabilities[positive] >= point["threshold"]),
        "out_of_distribution": int(prediction["out_of_distribution"]),
        "classifier": prediction["model"]["name"],
        **{used_column(field): value for field, value in used.items()},
    }


def prediction_text(row: Mapping[str, object]) -> str:
    """Return the headline and the comparison with the decision threshold of a table row; empty without a classifier."""
    return "; ".join(str(row[name]) for name in ("verdict", "side") if row.get(name))


def describe_lesions(result: LesionResult) -> list[dict[str, Any]]:
    """Describe each lesion for ``result.json``.

    The lesions in the mask come first, then the others, each the largest first: number, position, measurements and,
    with a classifier, its prediction. Empty for fewer than two lesions.
    """
    if result.lesions_found < 2:
        return []
    in_mask, rows = len(result.mask_parts), []
    for number, box in enumerate(result.lesion_boxes, start=1):
        position = (number, int(number <= in_mask), box.top, box.left, box.height, box.width)
        row: dict[str, Any] = dict(zip(LESION_COLUMNS, position, strict=True))
        row["measurements"] = result.lesion_measurements[number - 1]
        if result.class_predictions:
            row["prediction"] = result.class_predictions[number - 1].to_json()
        rows.append(row)
    return rows


def write_lesions(path: Path, lesions: list[dict[str, Any]]) -> None:
    """Write a table with a row for each lesion, as described by ``describe_lesions``."""
    rows: list[Mapping[str, object]] = [
        {
            **{name: row.get(name) for name in LESION_COLUMNS},
            **row["measurements"],
            **prediction_cells(row.get("prediction")),
        }
        for row in lesions
    ]
    measured = [name for name in MEASUREMENT_COLUMNS if any(name in row for row in rows)]
    other_columns = dict.fromkeys(name for row in rows for name in row if name not in (*LESION_COLUMNS, *measured))
    write_table(path, rows, (*LESION_COLUMNS, *measured, *other_columns))


def several_lesions_note(count: int) -> str:
    """Return the note for a photograph with several lesions, otherwise an empty text."""
    return "" if count < 2 else f"{count} lesions found; see lesions.csv of the photograph"
