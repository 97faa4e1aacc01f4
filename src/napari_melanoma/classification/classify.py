"""Classification of one lesion from photograph, mask and clinical metadata.

The slow step (``encode_lesion``) does not depend on the metadata; after they change, only ``classify_encoded`` is run.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier, EncoderOutput, PredictionCalibration, SimilarCase
from napari_melanoma.classification.prediction import (
    ClassifierStamp,
    ClassifyOptions,
    ClassPrediction,
    Contribution,
    NearestCase,
    NoveltyDistance,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.prediction_config import AgeGroup, TabularEncoding
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import TRAINED_ON_IT, Validity, ValidityInputs
from napari_melanoma.data.table_schema import check_value, find_column
from napari_melanoma.data.tabular_encoding import (
    TableValues,
    drop_each_column,
    find_unused,
    read_number,
    read_table_values,
)
from napari_melanoma.data.training_images import was_trained_on
from napari_melanoma.imaging.modality import (
    ModalityEstimate,
    assumed_modality,
    certain_modality,
    recognize_modality,
    shows_no_skin,
)
from napari_melanoma.imaging.preprocessing import ClassifierView
from napari_melanoma.io.photographs import Photograph, format_damage_warning

Row = Mapping[str, object]
# Cosine distance to the nearest training case; with a shipped model at most 0.016 for training images (160 images),
# at least 0.045 for others.
SAME_PICTURE_DISTANCE = 0.03
SAME_PICTURE = (
    "the training data contain an image that looks the same ({image_id}): the prediction for a training image is too "
    "good"
)


@dataclass(frozen=True)
class EncodedLesion:
    """An encoded lesion, which can be classified again when the clinical metadata change.

    ``recognized``: type of the photograph, estimated from its pixels. ``modality``: its stated type; None if unknown.
    ``damage``: why the file was read only partly. ``trained_on``: whether the model was trained on the photograph.
    ``aspect``: see ``Photograph``.
    """

    view: ClassifierView
    encoded: EncoderOutput
    recognized: ModalityEstimate
    modality: str | None = None
    damage: str | None = None
    trained_on: bool = False
    aspect: float | None = None


def classify(
    photograph: Photograph,
    mask: NDArray[np.bool_] | None,
    row: Row,
    model: Classifier,
    options: ClassifyOptions,
    *,
    run: RunContext,
    recognized: ModalityEstimate | None = None,
) -> ClassPrediction:
    """Classify a lesion, with the uncertainty and the explanation of the prediction.

    ``mask``: bool (row, column), ignored by models for whole photographs. ``row``: clinical metadata in the columns of
    the harmonized table, ``{}`` if unknown. ``recognized``: see ``encode_lesion``.
    """
    lesion = encode_lesion(photograph, mask, model, recognized)
    run.check()
    return classify_encoded(lesion, row, model, options)


def encode_lesion(
    photograph: Photograph,
    mask: NDArray[np.bool_] | None,
    model: Classifier,
    recognized: ModalityEstimate | None = None,
) -> EncodedLesion:
    """Run the encoder on a lesion, the part of a classification that does not depend on clinical metadata.

    ``recognized``: the estimated type of the photograph, if it is known already; for large photographs, estimating it
    is the slowest step.
    """
    view = model.make_view(photograph.rgb, mask)
    encoded = model.run_encoder([view.image])[0]
    trained_on = was_trained_on(model.info, photograph.rgb)
    return EncodedLesion(
        view,
        encoded,
        recognized or recognize_modality(photograph.rgb),
        photograph.modality,
        photograph.damage,
        trained_on,
        photograph.aspect,
    )


def classify_encoded(lesion: EncodedLesion, row: Row, model: Classifier, options: ClassifyOptions) -> ClassPrediction:
    """Classify an encoded lesion by running the network's head.

    For the contributions, the head also runs without each of the columns, and without all.
    """
    config, calibration, encoding = model.info.config, model.calibration, model.encoding
    values = read_table_values([row], encoding)
    known = values.known[0]
    variants = [values, *drop_each_column(values, encoding).values(), values.drop_columns(np.ones(len(known), bool))]
    stacked = TableValues(
        np.concatenate([variant.numbers for variant in variants]),
        np.concatenate([variant.codes for variant in variants]),
    )
    probabilities = calibration.probabilities(model.run_head_on_values([lesion.encoded] * len(variants), stacked))
    lesion_probabilities, positive_probabilities = probabilities[:1], probabilities[:, calibration.positive_index]
    balanced = options.sets == "balanced"
    possible = calibration.prediction_sets(lesion_probabilities, options.coverage, options.rule, balanced=balanced)[0]
    coverage = options.coverage or calibration.config.coverage
    nearest = calibration.nearest_cases(lesion.encoded.embedding, max(1, options.neighbours))
    return ClassPrediction(
        classes=config.classes,
        positive=calibration.config.positive,
        probabilities=tuple(lesion_probabilities[0].tolist()),
        interval=calibration.interval(float(positive_probabilities[0])),
        possible=tuple(name for name, included in zip(config.classes, possible, strict=True) if included),
        coverage=coverage,
        operating_point=calibration.operating_point(options.sensitivity),
        novelty=_novelty_distance(calibration, lesion),
        contributions=tuple(_contributions(row, encoding, known, positive_probabilities)),
        from_image=float(positive_probabilities[-1]),
        neighbours=tuple(
            NearestCase(case.image_id, config.classes[case.label], case.distance)
            for case in nearest[: options.neighbours]
        ),
        missing=tuple(name for name, is_known in zip(encoding.fields, known, strict=True) if not is_known),
        unused=find_unused(row, encoding.fields),
        warnings=tuple(_warnings(values, model, lesion, nearest)),
        model=classifier_stamp(model),
        options=options.model_copy(update={"model": model.info.name}),
        provenance=collect_provenance(),
        age_group=_age_group(row, calibration, options.sensitivity),
        validity=_validity(lesion, model, coverage),
    )


def _contributions(
    row: Row, encoding: TabularEncoding, known: NDArray[np.bool_], positive_probabilities: NDArray[np.float64]
) -> Iterator[Contribution]:
    """Yield, for each known column, how much the probability decreases without it.

    ``known``: which columns have a value. ``positive_probabilities``: with all columns, without each of them, and
    without all.
    """
    for name, is_known, without in zip(encoding.fields, known, positive_probabilities[1:-1], strict=True):
        if is_known:
            yield Contribution(name, str(row[name]).strip(), float(positive_probabilities[0] - without))


def classifier_stamp(model: Classifier) -> ClassifierStamp:
    info = model.info
    return ClassifierStamp(
        info.name,
        info.config.title,
        info.fingerprint,
        model.device,
        info.config.modalities,
        model.backend,
        info.settings_digest,
    )


def explain_unused(model: str, used: Collection[str], rows: Iterable[Row]) -> str:
    """Return a notice on patient data that a model does not use; empty if it uses all of them.

    ``model``: its name. ``used``: its columns.
    """
    unused = ", ".join(sorted({name for row in rows for name in find_unused(row, used)}))
    return (
        f"'{model}' uses {', '.join(used) or 'no patient data'}; {unused} had no effect on the result."
        if unused
        else ""
    )


def _novelty_distance(calibration: PredictionCalibration, lesion: EncodedLesion) -> NoveltyDistance | None:
    """Return the distance of the photograph from the training cases; None if it is unknown."""
    distance = calibration.distance(lesion.encoded.embedding, None if lesion.modality else lesion.recognized)
    limit = calibration.config.novelty_threshold
    return None if distance is None or limit is None else NoveltyDistance(distance, limit)


def _validity(lesion: EncodedLesion, model: Classifier, coverage: float) -> Validity:
    """Check whether the model is valid for the photograph; ``ClassPrediction`` adds reasons from the prediction."""
    config, box = model.info.config, lesion.view.box
    return ValidityInputs(
        model.info.name,
        demonstration=config.is_demonstration,
        synthetic_share=config.synthetic_share,
        modality=assumed_modality(lesion.recognized, lesion.modality, config.modalities),
        modalities=config.modalities,
        modality_certain=certain_modality(lesion.recognized, lesion.modality) is not None,
        no_photograph=shows_no_skin(lesion.recognized, lesion.modality),
        aspect=lesion.aspect,
        detail=max(box.height, box.width) / config.input_size,
        damage=lesion.damage,
        coverage=coverage,
    ).check()


def _age_group(row: Row, calibration: PredictionCalibration, sensitivity: float | None) -> AgeGroup | None:
    """Return the performance in the patient's age group; None if unknown, as for other operating points."""
    config, age = calibration.config, read_number(row.get("age"), "age")
    if calibration.operating_point(sensitivity) != config.operating_point:
        return None
    return next((group for group in config.ages if group.contains(age)), None)


def _unread_warning(name: str, cells: Sequence[str], encoding: TabularEncoding) -> str:
    """Describe a value that the model cannot use."""
    column, words = find_column(name), ", ".join(f"'{cell}'" for cell in cells)
    if name not in [number.name for number in encoding.numbers]:
        return f"{name}: the model was not trained on {words}"
    return check_value(column, cells[0]).rstrip(".") if column else f"{name}: expected a number, found {words}"


def _warnings(
    values: TableValues, model: Classifier, lesion: EncodedLesion, nearest: Sequence[SimilarCase]
) -> list[str]:
    warnings = [format_damage_warning(lesion.damage)] if lesion.damage else []
    warnings += [TRAINED_ON_IT.format("prediction")] if lesion.trained_on else []
    for name, cells in values.unseen.items():
        warnings.append(f"{_unread_warning(name, list(cells), model.encoding)}, so it is treated as unknown")
    warnings += [
        SAME_PICTURE.format(image_id=case.image_id)
        for case in nearest[:1]
        if case.distance < SAME_PICTURE_DISTANCE and not lesion.trained_on
    ]
    return warnings
