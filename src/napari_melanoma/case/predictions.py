"""Predictions for every lesion of a case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

import numpy as np

from napari_melanoma.case.model import Case, CaseImage, CaseLesion
from napari_melanoma.case.store import CaseStore, read_correction
from napari_melanoma.classification.classify import ClassifierModel, classifier_stamp, classify_encoded, encode_lesion
from napari_melanoma.classification.prediction import ClassifierStamp, ClassifyOptions, ClassPrediction, Contribution
from napari_melanoma.core.context import BATCH_ERRORS
from napari_melanoma.core.errors import InputError, SaveError, describe_error
from napari_melanoma.core.files import write_json
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.parsing import parse_error_reason, read_json
from napari_melanoma.data.features.patient_relative import (
    COUNT_COLUMN,
    EMBEDDING_COLUMNS,
    RANK_COLUMN,
    measure_patient_relative,
)
from napari_melanoma.io.discovery import SLIDE_SUFFIXES
from napari_melanoma.io.formats import Modality
from napari_melanoma.io.photographs import Photograph, read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.metrics.calibration import softmax

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import PredictionCalibration
    from napari_melanoma.core.context import RunContext

PREDICTIONS_FILE = "answers.json"
VERSION = 1
OUTLIER_Z = 3.5  # robust z from which a value is an outlier (Iglewicz and Hoaglin 1993)


@dataclass(frozen=True)
class PatientOutlier:
    """How odd a lesion is among ``lesions`` of the same patient and modality, itself included.

    ``distance`` is the mean cosine distance of its embedding to those of the others, ``z`` its robust z among them,
    ``rank`` 1 for the one that lies farthest away; ``measured_rank`` is the same by measurements, None where too few
    are known.
    """

    lesions: int
    rank: int
    distance: float
    z: float
    measured_rank: int | None = None

    @property
    def is_outlier(self) -> bool:
        """Whether it lies so far from the others that they do not explain it."""
        return self.rank == 1 and self.z >= OUTLIER_Z

    @property
    def description(self) -> str:
        """It in words."""
        of = f"the {self.lesions} lesions of this patient"
        if self.rank == 1:
            return f"the odd one out among {of}" if self.is_outlier else f"least like the others among {of}"
        return f"number {self.rank} of {of} by how unlike the others it is"


@dataclass(frozen=True)
class CaseLesionPrediction:
    """The answer of one lesion, over the images ``image_ids``; ``odd`` is None where there are fewer than three.

    ``rests_on`` says what it was made from, so that it is known when that has changed.
    """

    lesion_id: str
    image_ids: tuple[str, ...]
    prediction: ClassPrediction
    outlier: PatientOutlier | None
    input_digest: str


@dataclass(frozen=True)
class CasePredictions:
    """The answers of a case, the images that have none (``notes``: about what, and why), and who answered."""

    lesions: tuple[CaseLesionPrediction, ...]
    notes: tuple[tuple[str, str], ...]
    model: ClassifierStamp
    created: str

    def find_lesion(self, lesion_id: str) -> CaseLesionPrediction | None:
        """Find the answer of a lesion.

        None where it has none.
        """
        return next((one for one in self.lesions if one.lesion_id == lesion_id), None)

    def is_current(self, case: Case, lesion_id: str) -> bool:
        """Say whether a lesion's answer still fits the case.

        False where its images, their masks or what is known of the patient changed since, or it has no answer.
        """
        answered = self.find_lesion(lesion_id)
        return answered is not None and answered.input_digest == compute_input_digest(case, case.find_lesion(lesion_id))

    def to_json(self) -> dict[str, Any]:
        """Say it in plain values."""
        lesions = [
            {
                "lesion_id": one.lesion_id,
                "image_ids": list(one.image_ids),
                "answer": one.prediction.to_json(),
                "odd": one.outlier and asdict(one.outlier),
                "rests_on": one.input_digest,
            }
            for one in self.lesions
        ]
        notes = [list(note) for note in self.notes]
        return {
            "version": VERSION,
            "created": self.created,
            "model": asdict(self.model),
            "notes": notes,
            "lesions": lesions,
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Self:
        """Make it of what ``to_json`` gave."""
        lesions = tuple(
            CaseLesionPrediction(
                one["lesion_id"],
                tuple(one["image_ids"]),
                ClassPrediction.from_json(one["answer"]),
                one["odd"] and PatientOutlier(**one["odd"]),
                one["rests_on"],
            )
            for one in values["lesions"]
        )
        stamp = {**values["model"], "modalities": tuple(values["model"]["modalities"])}
        notes = tuple((str(about), str(said)) for about, said in values["notes"])
        return cls(lesions, notes, ClassifierStamp(**stamp), values["created"])


def compute_input_digest(case: Case, lesion: CaseLesion) -> str:
    """Say what an answer of a lesion would be made from: its images, their masks, what is known of patient and lesion.

    SHA-256; another one where any of that is another. What no model may look at, such as the diagnosis, is left out: an
    answer does not get old because the truth is known.
    """
    import hashlib

    from napari_melanoma.data.features.encoding import explain_ineligible

    rows = (
        {name: text for name, text in collect_metadata(case, lesion, one).items() if not explain_ineligible(name)}
        for one in lesion.images
    )
    images = [[one.id, one.content, _mask_version(one), row] for one, row in zip(lesion.images, rows, strict=True)]
    return hashlib.sha256(json.dumps(images, sort_keys=True).encode()).hexdigest()


def collect_metadata(case: Case, lesion: CaseLesion | None, image: CaseImage) -> dict[str, str]:
    """Put what a case knows into the columns of the harmonised table.

    Column to text, what is known only. Also guesses: they are the best that is known.
    """
    from napari_melanoma.data.table_schema import find_column

    parts = [case.patient, *([lesion] if lesion else []), image]
    names = ((part, name) for part in parts for name in type(part).model_fields if find_column(name))
    return {name: text for part, name in names if (text := _format_field(part, name))}


def save_predictions(store: CaseStore, predictions: CasePredictions) -> Path:
    """Write the answers into the case folder."""
    if store.read_only:
        raise SaveError(f"cannot save answers in {store.folder}: {store.read_only}")
    write_json(store.folder / PREDICTIONS_FILE, predictions.to_json())
    return store.folder / PREDICTIONS_FILE


def read_predictions(folder: Path) -> CasePredictions | None:
    """Read the answers of a case.

    None where it was never asked for.
    """
    path = folder / PREDICTIONS_FILE
    if not path.is_file():
        return None
    try:
        values = read_json(path)
        if values["version"] != VERSION:
            raise InputError(f"{path} is of version {values['version']}, expected {VERSION}. Answer the case again.")
        return CasePredictions.from_json(values)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"cannot read {path}: {parse_error_reason(error)}. Answer the case again.") from error


def _mask_version(image: CaseImage) -> str:
    """Which mask of an image counts now."""
    if image.correction:
        return image.correction.digest
    return image.current.created if image.current else ""


def _format_field(part: Any, name: str) -> str:  # noqa: ANN401 - patient, lesion or image
    """A value as text; nothing for what holds several, such as the images of a lesion."""
    value = getattr(part, name)
    return part.cell(name) if isinstance(value, str | float | int) else ""


SegmentFunction = Callable[[Photograph], "NDArray[np.bool_]"]
MIN_PROBABILITY = 1e-6  # of a probability of 0 or 1, whose odds are no number


@dataclass(frozen=True, eq=False)
class _CaseImagePrediction:
    """What one image tells: the answer, how it looks to the network, and what is measured on it."""

    lesion: CaseLesion
    image: CaseImage
    prediction: ClassPrediction
    embedding: NDArray[np.float32]
    measured: dict[str, float]


def predict_case(
    store: CaseStore,
    model: ClassifierModel,
    run: RunContext,
    *,
    options: ClassifyOptions | None = None,
    segment: SegmentFunction | None = None,
) -> CasePredictions:
    """Ask a classifier about every lesion of a case.

    A lesion of several images gets one answer, by the mean of their logits. Where the patient has three or more lesions
    of a modality, each is compared with the others by how the network sees them and by measurements (the sign of the
    ugly duckling; ``data.features.patient_relative``).

    ``draw``: draws the lesion of a photograph that has no mask yet, bool (row, column); without it such images are left
    out. For each lesion of which an image can be looked at, and why the other images cannot.
    """
    case, asked = store.case, options or ClassifyOptions()
    told, notes = _predict_images(case, model, asked, segment, run)
    odd = _find_outliers(told)
    lesions = tuple(
        CaseLesionPrediction(
            lesion.id,
            tuple(one.image.id for one in mine),
            fuse_predictions([one.prediction for one in mine], model.calibration, asked),
            odd.get(lesion.id),
            compute_input_digest(case, lesion),
        )
        for lesion in case.lesions
        if (mine := [one for one in told if one.lesion.id == lesion.id])
    )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return CasePredictions(lesions, tuple(notes), classifier_stamp(model), created)


def predict_case_with(store: CaseStore, classifier: str, run: RunContext) -> CasePredictions:
    """Load what is needed, and ask: the classifier, and the usual segmentation model where an image has no mask yet."""
    from napari_melanoma.lesion.analysis import LesionOptions, analyze_lesion
    from napari_melanoma.lesion.loaded_models import load_classifier, load_segmenter, report_loading

    options = LesionOptions()
    with report_loading(run):
        model = load_classifier(classifier)

    def draw(photograph: Photograph) -> NDArray[np.bool_]:
        return analyze_lesion(photograph, load_segmenter(options.model), options, run=run).mask

    return predict_case(store, model, run, segment=draw)


def fuse_predictions(
    predictions: Sequence[ClassPrediction], judge: PredictionCalibration, options: ClassifyOptions
) -> ClassPrediction:
    """Make one answer of those to several images of a lesion, by the mean of their calibrated logits.

    That of the image alone where it is one. Interval and set of classes are made anew; likeness is that of the image
    most unlike the training cases, and warnings are those of all, as are the reasons against its validity.
    """
    if len(predictions) == 1:
        return predictions[0]
    given = np.array([one.probabilities for one in predictions])
    probabilities = softmax(np.log(np.clip(given, MIN_PROBABILITY, 1)).mean(axis=0)[None])
    possible = judge.prediction_sets(probabilities, options.coverage, options.rule)[0]
    first, likenesses = predictions[0], [one.likeness for one in predictions if one.likeness]
    near = {one.image_id: one for answer in predictions for one in sorted(answer.neighbours, key=lambda n: -n.distance)}
    return replace(
        first,
        probabilities=tuple(probabilities[0].tolist()),
        interval=judge.interval(float(probabilities[0, judge.positive])),
        possible=tuple(name for name, there in zip(first.classes, possible, strict=True) if there),
        likeness=max(likenesses, key=lambda one: one.distance, default=None),
        contributions=_mean_contributions(predictions),
        from_image=_mean_probability([one.from_image for one in predictions]),
        neighbours=tuple(sorted(near.values(), key=lambda one: one.distance)[: options.neighbours]),
        warnings=tuple(dict.fromkeys(said for one in predictions for said in one.warnings)),
        validity=first.validity.with_reasons(*(one.validity for one in predictions[1:])),
    )


def _predict_images(
    case: Case, model: ClassifierModel, options: ClassifyOptions, segment: SegmentFunction | None, run: RunContext
) -> tuple[list[_CaseImagePrediction], list[tuple[str, str]]]:
    """What each image tells, and why some tell nothing."""
    told: list[_CaseImagePrediction] = []
    notes: list[tuple[str, str]] = []
    for lesion, image in run.track(list(case.iterate_images()), "looking at lesions"):
        if lesion is None:
            notes.append((image.id, "is of no lesion yet: file it, and answer again."))
            continue
        try:
            told.append(_predict_image(case, lesion, image, model, options, segment))
        except BATCH_ERRORS:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library raises is of this image; the others go on
            notes.append((image.id, describe_error(error)))
    return told, notes


def _predict_image(
    case: Case,
    lesion: CaseLesion,
    image: CaseImage,
    model: ClassifierModel,
    options: ClassifyOptions,
    segment: SegmentFunction | None,
) -> _CaseImagePrediction:
    """Look at one image, and answer for it alone."""
    from napari_melanoma.imaging.measurements import measure_lesion

    if image.path.name.lower().endswith(SLIDE_SUFFIXES):
        raise InputError("is a slide, which this model does not look at.")
    photograph = read_photograph(image.path)
    modality = next((known for known in get_args(Modality) if known == image.modality), photograph.modality)
    photograph = replace(photograph, modality=modality)
    mask = _choose_mask(image, photograph, segment)
    known = collect_metadata(case, lesion, image)
    row: dict[str, object] = {name: known[name] for name in model.encoding.fields if name in known}
    seen = encode_lesion(photograph, mask, model)
    measured = {} if mask is None else measure_lesion(mask, photograph.rgb, _choose_pixel_size(image, photograph))
    return _CaseImagePrediction(
        lesion, image, classify_encoded(seen, row, model, options), seen.encoded.embedding, measured
    )


def _choose_mask(image: CaseImage, photograph: Photograph, segment: SegmentFunction | None) -> NDArray[np.bool_] | None:
    """The mask that counts: a person's, else that of the newest result, else one drawn now."""
    if image.correction:
        return read_correction(image.correction)
    if image.current:
        return read_mask(image.current.path / "mask.png")
    return segment(photograph) if segment else None


def _choose_pixel_size(image: CaseImage, photograph: Photograph) -> PixelSize | None:
    """Size of a pixel as a person gave it, else as the file says."""
    if image.mpp_x and image.mpp_y:
        return PixelSize(x_um=image.mpp_x, y_um=image.mpp_y)
    return photograph.pixel_size


def _find_outliers(predictions: Sequence[_CaseImagePrediction]) -> dict[str, PatientOutlier]:
    """How odd each lesion is, by its modality of which the patient has most lesions."""
    from napari_melanoma.lesion.patient_features import COMPARED

    if not predictions:
        return {}
    rows: list[dict[str, Any]] = [
        {"patient_id": "this", "lesion_id": one.lesion.id, "modality": one.image.modality, **one.measured}
        for one in predictions
    ]
    compared = measure_patient_relative(rows, COMPARED, np.stack([one.embedding for one in predictions]))
    found: dict[str, PatientOutlier] = {}
    for one, columns in zip(predictions, compared, strict=True):
        distance, z, rank = (columns[name] for name in EMBEDDING_COLUMNS)
        known = found.get(one.lesion.id)
        if np.isnan([distance, z, rank]).any() or (known and known.lesions >= columns[COUNT_COLUMN]):
            continue
        measured = None if np.isnan(columns[RANK_COLUMN]) else int(columns[RANK_COLUMN])
        found[one.lesion.id] = PatientOutlier(int(columns[COUNT_COLUMN]), int(rank), distance, z, measured)
    return found


def _mean_contributions(predictions: Sequence[ClassPrediction]) -> tuple[Contribution, ...]:
    """What each column adds to the answer of all images that have it."""
    found = []
    for first in {one.field: one for answer in predictions for one in answer.contributions}.values():
        changes = [
            next((one.change for one in answer.contributions if one.field == first.field), 0.0)
            for answer in predictions
        ]
        chances = [answer.probability for answer in predictions]
        without = [chance - change for chance, change in zip(chances, changes, strict=True)]
        found.append(replace(first, change=_mean_probability(chances) - _mean_probability(without)))
    return tuple(found)


def _mean_probability(probabilities: Sequence[float]) -> float:
    """Probability at the mean of the log odds."""
    sure = np.clip(probabilities, MIN_PROBABILITY, 1 - MIN_PROBABILITY)
    return float(1 / (1 + np.exp(-np.log(sure / (1 - sure)).mean())))
