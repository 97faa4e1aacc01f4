"""Results of a case: predict every lesion, and save results, masks and risk predictions in the case.

The predictions are stored in a file of their own, the results and risks in ``case.json``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any, Self, get_args

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.case.model import (
    Case,
    CaseImage,
    CaseLesion,
    CaseResult,
    CaseRisk,
    add_result,
    set_correction,
    set_image,
)
from napari_melanoma.case.store import RISKS, CaseStore, read_correction, write_correction
from napari_melanoma.classification.classifier import Classifier, PredictionCalibration
from napari_melanoma.classification.classify import classify_encoded, encode_lesion
from napari_melanoma.classification.prediction import (
    ClassifierStamp,
    ClassifyOptions,
    ClassPrediction,
    Contribution,
    NearestCase,
)
from napari_melanoma.core.context import BATCH_ERRORS, RunContext
from napari_melanoma.core.errors import ConfigError, InputError, SaveError, describe_error
from napari_melanoma.core.files import replace_non_finite, save_error, write_json
from napari_melanoma.core.formatting import format_count, format_names
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import parse_error_reason, read_json, read_object_or_empty
from napari_melanoma.core.provenance import array_fingerprint, parse_time, utc_time
from napari_melanoma.data.patient_outliers import (
    COUNT_COLUMN,
    EMBEDDING_COLUMNS,
    RANK_COLUMN,
    PatientOutlier,
    measure_patient_relative,
)
from napari_melanoma.data.tabular_encoding import read_number
from napari_melanoma.imaging.modality import recognize_modality, select_modality
from napari_melanoma.io.formats import Modality
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.io.results import RESULT
from napari_melanoma.lesion.analysis import LesionResult, save_explanation, save_lesion
from napari_melanoma.lesion.results import read_result_mask
from napari_melanoma.metrics.calibration import softmax

PREDICTIONS_FILE = "predictions.json"
VERSION = 1  # of the format of predictions
SegmentFunction = Callable[[CaseImage, Photograph], "NDArray[np.bool_]"]
SelectModel = Callable[[str], "Classifier"]  # from a modality, such as dermoscopic, to its model
IMAGE_COLUMNS = ("modality", "mpp_x", "mpp_y")  # select the model and scale the measurements of any prediction
NOT_ASSIGNED = "is not assigned to a lesion: assign it, and run the prediction again."
OUTDATED_COMPARISON = (
    "Outdated: the case has changed since its lesions were compared with each other. Classify them again."
)
MIN_PROBABILITY = 1e-6  # replaces probabilities of 0 and 1, whose odds are not finite


@dataclass(frozen=True)
class CaseLesionPrediction:
    """Prediction for one lesion from its images.

    ``outlier``: comparison with the other lesions of the patient (ugly duckling sign); None if there are fewer than
    three lesions. ``input_digest``: identifies the inputs, to detect changes.
    """

    lesion_id: str
    image_ids: tuple[str, ...]
    prediction: ClassPrediction
    outlier: PatientOutlier | None
    input_digest: str


@dataclass(frozen=True)
class CasePredictions:
    """Predictions for a case, and notes on lesions and images without a prediction: (subject, reason)."""

    lesions: tuple[CaseLesionPrediction, ...]
    notes: tuple[tuple[str, str], ...]
    created: str
    _checked: list[Any] = field(default_factory=list, init=False, repr=False, compare=False)  # see ``_check``

    @property
    def summary(self) -> str:
        """Number of classified lesions and names of the classifiers, as text."""
        names = format_names(dict.fromkeys(one.prediction.model.name for one in self.lesions))
        return f"{format_count(len(self.lesions), 'lesion')} classified{names and f' by {names}'}"

    def find_lesion(self, lesion_id: str) -> CaseLesionPrediction | None:
        """Return the prediction for a lesion; None if there is none."""
        return next((one for one in self.lesions if one.lesion_id == lesion_id), None)

    def is_current(self, case: Case, lesion_id: str) -> bool:
        """Return whether the prediction for a lesion is up to date with its images, masks, and the metadata it uses."""
        return self._check(case, lesion_id, self._has_same_inputs)

    def _check(self, case: Case, subject: str, check: Callable[[Case, str], bool]) -> bool:
        """Return the result of a check, which is done once for each state of the case."""
        if not self._checked or self._checked[0] is not case:
            self._checked[:] = [case, {}]
        results: dict[str, bool] = self._checked[1]
        if subject not in results:
            results[subject] = check(case, subject)
        return results[subject]

    def _has_same_inputs(self, case: Case, lesion_id: str) -> bool:
        found = self.find_lesion(lesion_id)
        if found is None:
            return False
        used = found.prediction.used_columns
        return found.input_digest == compute_input_digest(case, case.find_lesion(lesion_id), used)

    def is_comparison_current(self, case: Case) -> bool:
        """Return whether the comparison of the lesions with each other is up to date: all are unchanged, none is new.

        A lesion without a prediction is not new if the notes state why none of its photographs has one.
        """
        return self._check(case, "", self._has_same_lesions)

    def _has_same_lesions(self, case: Case, _: str) -> bool:
        lesions = {lesion.id: lesion for lesion in case.lesions}
        noted = {subject for subject, reason in self.notes if reason != NOT_ASSIGNED}
        others = (lesion for name, lesion in lesions.items() if self.find_lesion(name) is None)
        new = (one for lesion in others for one in lesion.images if not one.is_slide and one.id not in noted)
        stored = (one.lesion_id for one in self.lesions)
        return not any(new) and all(name in lesions and self.is_current(case, name) for name in stored)

    def describe_outlier(self, case: Case, lesion_id: str) -> str:
        """Describe how a lesion compares with the others of the patient; empty if it was not compared."""
        found = self.find_lesion(lesion_id)
        if found is None or found.outlier is None:
            return ""
        if not self.is_comparison_current(case):
            return OUTDATED_COMPARISON
        return f"Compared with the other lesions of the patient: {found.outlier.description}."

    def to_json(self) -> dict[str, Any]:
        """Convert to JSON values."""
        lesions = [
            {
                "lesion_id": lesion.lesion_id,
                "image_ids": list(lesion.image_ids),
                "prediction": lesion.prediction.to_json(),
                "outlier": lesion.outlier and asdict(lesion.outlier),
                "input_digest": lesion.input_digest,
            }
            for lesion in self.lesions
        ]
        notes = [list(note) for note in self.notes]
        return {
            "version": VERSION,
            "created": self.created,
            "notes": notes,
            "lesions": lesions,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Create from the values of ``to_json``."""
        lesions = tuple(
            CaseLesionPrediction(
                lesion["lesion_id"],
                tuple(lesion["image_ids"]),
                ClassPrediction.from_json(lesion["prediction"]),
                lesion["outlier"] and PatientOutlier(**lesion["outlier"]),
                lesion["input_digest"],
            )
            for lesion in values["lesions"]
        )
        notes = tuple((str(subject), str(reason)) for subject, reason in values["notes"])
        return cls(lesions, notes, values["created"])


def compute_input_digest(case: Case, lesion: CaseLesion, used_columns: Collection[str]) -> str:
    """Return the SHA-256 of the inputs of a prediction: images, masks, and metadata of patient and lesion.

    ``used_columns``: those of the metadata that the model uses; others, such as the diagnosis, do not outdate a
    prediction.
    """
    names = {*used_columns, *IMAGE_COLUMNS}
    rows = (
        {name: text for name, text in collect_metadata(case, lesion, image).items() if name in names}
        for image in lesion.images
    )
    pairs = zip(lesion.images, rows, strict=True)
    images = [[image.id, "", _identify_mask(image), row] for image, row in pairs]
    return hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()


def collect_metadata(case: Case, lesion: CaseLesion | None, image: CaseImage) -> dict[str, str]:
    """Return the known metadata of an image as columns of the harmonized table."""
    from napari_melanoma.data.table_schema import find_column

    parts = [case.patient, *([lesion] if lesion else []), image]
    names = ((part, name) for part in parts for name in part.field_names() if find_column(name))
    return {name: text for part, name in names if (text := _format_field(part, name))}


def save_predictions(store: CaseStore, predictions: CasePredictions) -> Path:
    """Write the predictions to the case folder."""
    if store.read_only:
        raise SaveError(f"cannot save predictions in {store.folder}: {store.read_only}")
    write_json(store.folder / PREDICTIONS_FILE, predictions.to_json())
    return store.folder / PREDICTIONS_FILE


def read_predictions(folder: Path) -> CasePredictions | None:
    """Read the predictions for the case in a folder; None if there are none."""
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        if values["version"] != VERSION:
            raise InputError(f"{path} has version {values['version']}, expected {VERSION}. Run the prediction again.")
        return CasePredictions.from_json(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {path}: {parse_error_reason(error)}. Run the prediction again.") from error


def _identify_mask(image: CaseImage) -> str:
    """Return a text that identifies the current mask of an image; empty if there is none."""
    if image.correction:
        return image.correction.digest
    return image.current.created if image.current else ""


def _format_field(part: Any, name: str) -> str:  # noqa: ANN401 - patient, lesion or image
    """Format a field with a single value; return an empty text for collections, such as the images of a lesion."""
    value = getattr(part, name)
    return part.cell(name) if isinstance(value, str | float | int) else ""


@dataclass(frozen=True, eq=False)
class _CaseImagePrediction:
    """Prediction, embedding (feature,) and measurements of one image; ``modality``: the most probable modality."""

    lesion: CaseLesion
    image: CaseImage
    modality: str
    model: Classifier
    prediction: ClassPrediction
    embedding: NDArray[np.float32]
    measured: dict[str, float]


def predict_case(
    store: CaseStore,
    select_model: SelectModel,
    run: RunContext,
    *,
    options: ClassifyOptions | None = None,
    segment: SegmentFunction | None = None,
) -> CasePredictions:
    """Predict every lesion of a case.

    ``select_model``: returns the classifier for the most probable modality of a photograph. ``segment``: returns the
    mask of a photograph that has none, bool (row, column); without it, such photographs are left out if their model
    requires a mask.

    The predictions for several images of a lesion are combined by the mean of their logits. Images of a modality that
    the model was not trained on, or for which another model is selected, are left out if there are other images. If the
    patient has three or more lesions of a modality, each is compared with the others by its embedding and by
    measurements (ugly duckling sign; see ``data.patient_outliers``).
    """
    settings = options or ClassifyOptions()
    images, notes = _predict_images(store.case, select_model, settings, segment, run)
    selected = {
        lesion.id: _select_suitable([one for one in images if one.lesion.id == lesion.id])
        for lesion in store.case.lesions
    }
    outliers = _find_outliers([image for lesion_images, _ in selected.values() for image in lesion_images])
    lesions = []
    for lesion in store.case.lesions:
        lesion_images, warnings = selected[lesion.id]
        if lesion_images:
            calibration = lesion_images[0].model.calibration
            fused = fuse_predictions([image.prediction for image in lesion_images], calibration, settings)
            fused = replace(fused, warnings=(*fused.warnings, *warnings))
            ids = tuple(one.image.id for one in lesion_images)
            digest = compute_input_digest(store.case, lesion, fused.used_columns)
            lesions.append(CaseLesionPrediction(lesion.id, ids, fused, outliers.get(lesion.id), digest))
    return CasePredictions(tuple(lesions), tuple(notes), utc_time())


def _select_suitable(
    images: Sequence[_CaseImagePrediction],
) -> tuple[Sequence[_CaseImagePrediction], tuple[str, ...]]:
    """Select the images of a lesion whose predictions are combined; return them with warnings about the others.

    Images of a modality that their model was not trained on are left out, unless there are no other images. Predictions
    of different models cannot be combined: the model for dermoscopic images, which show more, takes precedence.
    """
    if not images:
        return images, ()
    reasons = {one.image.id: one.prediction.validity.find_reason("modality") for one in images}
    suitable = [one for one in images if reasons[one.image.id] is None] or images
    first = next((one for one in suitable if one.modality == "dermoscopic"), suitable[0])
    selected = [one for one in suitable if one.prediction.model == first.prediction.model]
    warnings: list[str] = []
    if len(suitable) < len(images):
        left_out = format_count(len(images) - len(suitable), "photograph")
        texts = dict.fromkeys(reason.statement for reason in reasons.values() if reason is not None)
        warnings += [f"{left_out} left out: {text}" for text in texts]
    if len(selected) < len(suitable):
        left_out = format_count(len(suitable) - len(selected), "photograph")
        name = first.prediction.model.name
        warnings.append(f"{left_out} left out: '{name}' predicts from the {first.modality} ones.")
    return selected, tuple(warnings)


def predict_case_with(store: CaseStore, classifier: str, run: RunContext, *, keep: bool = False) -> CasePredictions:
    """Predict every lesion of a case with installed models; images without a mask are segmented by the default model.

    ``classifier``: name or folder of a model; ``auto`` or empty for the default model for the modality of each
    photograph. ``keep``: save the results of the segmentation in the case.
    """
    from napari_melanoma.lesion.analysis import analyze_lesion
    from napari_melanoma.lesion.loaded_models import load_classifier_folder, load_segmenter, report_loading
    from napari_melanoma.lesion.options import LesionOptions
    from napari_melanoma.models.installed_bundles import find_classifiers, select_classifier

    options, bundles = LesionOptions(), find_classifiers(classifier)

    @cache
    def select_model(modality: str) -> Classifier:
        with report_loading(run):
            return load_classifier_folder(select_classifier(bundles, modality).path)

    def segment(image: CaseImage, photograph: Photograph) -> NDArray[np.bool_]:
        scaled = replace(photograph, pixel_size=choose_pixel_size(image, photograph))
        if keep:
            store.require_unchanged()
        result = analyze_lesion(scaled, load_segmenter(options.model), options, run=run)
        if keep:
            store.require_unchanged()  # otherwise a result would be written that cannot be added to the case
            try:
                store.save(save_result(store, store.case, image.id, result))
            except OSError as error:
                raise save_error(store.folder, error) from error
        return result.mask

    return predict_case(store, select_model, run, segment=segment)


def fuse_predictions(
    predictions: Sequence[ClassPrediction], calibration: PredictionCalibration, options: ClassifyOptions
) -> ClassPrediction:
    """Combine the predictions for several images of a lesion by the mean of their calibrated logits.

    Interval and prediction set are computed from the mean. The distance from the training data is that of the image
    with the largest distance. Warnings, and reasons why a prediction is not valid, are those of all images.
    """
    if len(predictions) == 1:
        return predictions[0]
    image_probabilities = np.array([one.probabilities for one in predictions])
    probabilities = softmax(np.log(np.clip(image_probabilities, MIN_PROBABILITY, 1)).mean(axis=0)[None])
    balanced = options.sets == "balanced"
    possible = calibration.prediction_sets(probabilities, options.coverage, options.rule, balanced=balanced)[0]
    first, novelties = predictions[0], [one.novelty for one in predictions if one.novelty]
    neighbors = (one for prediction in predictions for one in prediction.neighbours)
    nearest: dict[str, NearestCase] = {}  # by image, with the smallest distance
    for neighbor in sorted(neighbors, key=lambda one: (one.distance, one.image_id)):
        nearest.setdefault(neighbor.image_id, neighbor)
    return replace(
        first,
        probabilities=tuple(probabilities[0].tolist()),
        interval=calibration.interval(float(probabilities[0, calibration.positive_index])),
        possible=tuple(name for name, included in zip(first.classes, possible, strict=True) if included),
        novelty=max(novelties, key=lambda one: one.distance, default=None),
        contributions=_mean_contributions(predictions),
        from_image=_mean_probability([one.from_image for one in predictions]),
        neighbours=tuple(nearest.values())[: options.neighbours],
        missing=tuple(dict.fromkeys(name for one in predictions for name in one.missing)),
        unused=tuple(dict.fromkeys(name for one in predictions for name in one.unused)),
        warnings=tuple(dict.fromkeys(warning for one in predictions for warning in one.warnings)),
        validity=first.validity.with_reasons(*(one.validity for one in predictions[1:])),
    )


def _predict_images(
    case: Case, select_model: SelectModel, options: ClassifyOptions, segment: SegmentFunction | None, run: RunContext
) -> tuple[list[_CaseImagePrediction], list[tuple[str, str]]]:
    """Predict each photograph of a lesion; return predictions, and notes on lesions and images without one."""
    predictions: list[_CaseImagePrediction] = []
    notes = [
        (lesion.id, "has no photograph, which a prediction needs: add one, and run the prediction again.")
        for lesion in case.lesions
        if all(image.is_slide for image in lesion.images)
    ]
    photographs = [(lesion, image) for lesion, image in case.iterate_images() if not image.is_slide]
    for lesion, image in run.track(photographs, "predicting lesions"):
        if lesion is None:
            notes.append((image.id, NOT_ASSIGNED))
            continue
        try:
            predictions.append(_predict_image(case, lesion, image, select_model, options, segment))
        except (*BATCH_ERRORS, SaveError):  # other photographs would fail in the same way
            raise
        except Exception as error:  # noqa: BLE001 - any other error concerns this image only
            notes.append((image.id, describe_error(error)))
    return predictions, notes


def _predict_image(
    case: Case,
    lesion: CaseLesion,
    image: CaseImage,
    select_model: SelectModel,
    options: ClassifyOptions,
    segment: SegmentFunction | None,
) -> _CaseImagePrediction:
    from napari_melanoma.imaging.measurements import measure_lesion

    photograph = read_case_photograph(image)
    mask = read_case_mask(image)
    if mask is None and segment is not None:
        mask = segment(image, photograph)
    recognized = recognize_modality(photograph.rgb)
    modality = select_modality(recognized, photograph.modality)
    model = select_model(modality)
    metadata = collect_metadata(case, lesion, image)
    row: dict[str, object] = {name: metadata[name] for name in model.encoding.fields if name in metadata}
    encoded = encode_lesion(photograph, mask, model, recognized)
    measured = {} if mask is None else measure_lesion(mask, photograph.rgb, choose_pixel_size(image, photograph))
    prediction = classify_encoded(encoded, row, model, options)
    return _CaseImagePrediction(lesion, image, modality, model, prediction, encoded.encoded.embedding, measured)


def read_case_photograph(image: CaseImage, *, accept_damaged: bool | None = None) -> Photograph:
    """Read a photograph of a case as ``read_photograph`` does, with the modality that is set in the case."""
    photograph = read_photograph(image.path, accept_damaged=accept_damaged)
    modality = next((name for name in get_args(Modality) if name == image.modality), photograph.modality)
    return replace(photograph, modality=modality)


def read_case_mask(image: CaseImage) -> NDArray[np.bool_] | None:
    """Read the corrected mask of an image, else that of its current result; None if there is none."""
    if image.correction:
        return read_correction(image.correction)
    if image.current is None:
        return None
    return read_result_mask(image.current.path, read_object_or_empty(image.current.path / RESULT))


def choose_pixel_size(image: CaseImage, photograph: Photograph) -> PixelSize | None:
    """Return the pixel size that the user has set, else that of the file; None if unknown."""
    return image.pixel_size or photograph.pixel_size


def _find_outliers(predictions: Sequence[_CaseImagePrediction]) -> dict[str, PatientOutlier]:
    """Compare each lesion with the patient's other lesions that the same model predicted; return outliers by lesion.

    A lesion is compared in that of its modalities in which the patient has the most lesions.
    """
    by_model: dict[ClassifierStamp, list[_CaseImagePrediction]] = {}
    for image_prediction in predictions:
        by_model.setdefault(image_prediction.prediction.model, []).append(image_prediction)
    return {lesion: outlier for group in by_model.values() for lesion, outlier in _find_outliers_of_model(group)}


def _find_outliers_of_model(predictions: Sequence[_CaseImagePrediction]) -> Iterable[tuple[str, PatientOutlier]]:
    from napari_melanoma.lesion.feature_table import COMPARED

    rows: list[dict[str, Any]] = [
        {
            "patient_id": "this",
            "lesion_id": image_prediction.lesion.id,
            "modality": image_prediction.modality,
            **image_prediction.measured,
        }
        for image_prediction in predictions
    ]
    measured_rows = measure_patient_relative(
        rows, COMPARED, np.stack([image_prediction.embedding for image_prediction in predictions])
    )
    outliers: dict[str, PatientOutlier] = {}
    for image_prediction, columns in zip(predictions, measured_rows, strict=True):
        distance, z, rank = (columns[name] for name in EMBEDDING_COLUMNS)
        previous = outliers.get(image_prediction.lesion.id)
        if np.isnan([distance, z, rank]).any() or (previous and previous.lesions >= columns[COUNT_COLUMN]):
            continue
        measured_rank = None if np.isnan(columns[RANK_COLUMN]) else int(columns[RANK_COLUMN])
        outliers[image_prediction.lesion.id] = PatientOutlier(
            int(columns[COUNT_COLUMN]), int(rank), distance, z, measured_rank
        )
    return outliers.items()


def _mean_contributions(predictions: Sequence[ClassPrediction]) -> tuple[Contribution, ...]:
    """Return the contribution of each column to the mean of the predictions.

    It is the difference between the mean with the column and the mean without it, both in log odds.
    """
    contributions = []
    for first in {one.field: one for prediction in predictions for one in prediction.contributions}.values():
        changes = [
            next((one.change for one in prediction.contributions if one.field == first.field), 0.0)
            for prediction in predictions
        ]
        with_column = [prediction.probability for prediction in predictions]
        without_column = [value - change for value, change in zip(with_column, changes, strict=True)]
        change = _mean_probability(with_column) - _mean_probability(without_column)
        contributions.append(replace(first, change=change))
    return tuple(contributions)


def _mean_probability(probabilities: Sequence[float]) -> float:
    """Return the probability that corresponds to the mean of the log odds."""
    clipped = np.clip(probabilities, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return float(1 / (1 + np.exp(-np.log(clipped / (1 - clipped)).mean())))


DIGEST_DIGITS = 12  # of the digest in the file name of a risk
TOLERANCE = 0.005  # numbers that differ by less are equal, since their formatted values are


def save_result(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result to the case folder; a corrected mask becomes the correction of the image.

    Return the case with correction and result, which must be saved with ``CaseStore.save``.
    """
    if store.read_only:
        raise SaveError(f"cannot save a result in {store.folder}: {store.read_only}")
    image, correction = case.find_image(image_id), None
    if result.corrected:
        digest = array_fingerprint(result.photograph.rgb)
        correction = write_correction(store, image.id, result.mask, image_digest=digest, model=result.mask_model.name)
        case = set_correction(case, image_id, correction)
    folder = store.find_result_folder(image_id, correction)
    if not folder.exists():
        store.register_file(folder)
    stored = CaseResult(
        path=save_lesion(result, folder),
        correction=correction.digest if correction else "",
        model=result.mask_model.name,
        created=utc_time(),
    )
    return add_result(case, image_id, stored)


def save_case_explanation(store: CaseStore, image: CaseImage, result: LesionResult) -> None:
    """Write prediction and heatmap into the folder of an image's current result; the case does not change."""
    if store.read_only:
        raise SaveError(f"cannot save a heatmap in {store.folder}: {store.read_only}")
    if image.current is not None:
        save_explanation(result, image.current.path)


def save_risk(store: CaseStore, case: Case, image_id: str, prediction: Mapping[str, Any]) -> Case:
    """Write the risk prediction of a slide to the case folder.

    ``prediction``: as in ``risk.json``. Return the case with its summary, which must be saved with ``CaseStore.save``.
    """
    if store.read_only:
        raise SaveError(f"cannot save a risk in {store.folder}: {store.read_only}")
    lesion = next((lesion for lesion, image in case.iterate_images() if image.id == image_id), None)
    if lesion is None:
        raise InputError("the slide is not assigned to a lesion: drag it to its lesion in the Case dock first.")
    path = store.folder / RISKS / f"{image_id}-{_prediction_digest(prediction)}.json"
    try:
        stored = _create_case_risk(path, prediction, collect_metadata(case, lesion, case.find_image(image_id)))
    except (ConfigError, KeyError, TypeError) as error:
        raise InputError(f"this risk has an unknown format ({error}): estimate it again.") from error
    if not path.is_file():
        store.register_file(path)
        write_json(path, dict(prediction))
    return set_image(case, image_id, risk=stored)


def latest_risk(lesion: CaseLesion) -> tuple[CaseImage, CaseRisk] | None:
    """Return the latest risk prediction of a lesion with its slide; None if there is none."""
    risks = [(image, image.risk) for image in lesion.images if image.risk is not None]
    return max(risks, key=lambda pair: parse_time(pair[1].created), default=None)


def find_changed_fields(case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk) -> tuple[str, ...]:
    """Return the input columns whose values in the case have changed since a risk was saved.

    Columns whose values were replaced by values of the slide are not included; see ``find_overruled_fields``.
    """
    row = collect_metadata(case, lesion, image)
    return tuple(
        name for name in _list_input_columns(risk) if _is_changed(name, row, risk) and not _is_used(name, row, risk)
    )


def find_overruled_fields(
    case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk
) -> dict[str, tuple[str, str]]:
    """Return the input columns for which a risk prediction used values of the slide instead of those of the case.

    Each column is mapped to the value in the case and the value that was used, which is empty if there was none.
    """
    row = collect_metadata(case, lesion, image)
    unchanged = (name for name in _list_input_columns(risk) if row.get(name) and not _is_changed(name, row, risk))
    return {name: (row[name], risk.known.get(name, "")) for name in unchanged if not _is_used(name, row, risk)}


def risk_to_json(risk: CaseRisk) -> dict[str, Any]:
    """Convert the summary of a risk in a case to the format of ``risk.json``, with fewer keys."""
    values = risk.model_dump(mode="json", exclude={"path", "more", "row", "model", "fingerprint", "depth"})
    model = {"name": risk.model, "fingerprint": risk.fingerprint}
    return {**values, "shares": values["shares"] or None, "model": model, "depth_text": risk.depth}


def _create_case_risk(path: Path, prediction: Mapping[str, Any], row: dict[str, str]) -> CaseRisk:
    model, provenance = prediction["model"], prediction.get("provenance") or {}
    copied = (
        "verdict",
        "number",
        "validity",
        "probability",
        "interval",
        "without",
        "comparators",
        "known",
        "missing",
        "warnings",
    )
    values = {
        **{name: prediction.get(name) for name in copied},
        "path": path,
        "row": row,
        "shares": prediction.get("shares") or {},
        "depth": str(prediction.get("depth_text") or ""),
        "model": str(model.get("name") or ""),
        "fingerprint": str(model["fingerprint"]),
        "created": str(provenance.get("created") or ""),
    }
    return CaseRisk.parse({name: value for name, value in values.items() if value is not None}, "the risk")


def _prediction_digest(prediction: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(replace_non_finite(dict(prediction)), sort_keys=True).encode()).hexdigest()[
        :DIGEST_DIGITS
    ]


def _list_input_columns(risk: CaseRisk) -> tuple[str, ...]:
    """Return the input columns of a prediction, whether their values were known or not."""
    return (*risk.known, *(name for name in risk.missing if name not in risk.known))


def _is_changed(name: str, row: Mapping[str, str], risk: CaseRisk) -> bool:
    return not _cells_equal(row.get(name, ""), risk.row.get(name, ""))


def _is_used(name: str, row: Mapping[str, str], risk: CaseRisk) -> bool:
    return _cells_equal(row.get(name, ""), risk.known.get(name, ""))


def _cells_equal(one: str, other: str) -> bool:
    """Return whether two cells are equal, as numbers within ``TOLERANCE`` or as text."""
    numbers = read_number(one), read_number(other)
    if all(value == value for value in numbers):
        return abs(numbers[0] - numbers[1]) < TOLERANCE
    return one.strip().casefold() == other.strip().casefold()
