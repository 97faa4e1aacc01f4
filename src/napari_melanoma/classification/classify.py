"""One lesion: from pixels, mask and what is known of the patient to an answer, and again when the form changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.classification.prediction import (
    ClassifierStamp,
    ClassifyOptions,
    ClassPrediction,
    Contribution,
    NearestCase,
    NoveltyDistance,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import Validity, ValidityInputs
from napari_melanoma.data.features.encoding import (
    TableValues,
    drop_each_column,
    read_number,
    read_table_values,
    read_word,
)
from napari_melanoma.data.table_schema import check_value, find_column
from napari_melanoma.imaging.modality import ModalityEstimate, certain_modality, recognize_modality
from napari_melanoma.io.photographs import format_damage_warning
from napari_melanoma.training.run_data import TRAINED_ON_IT, was_trained_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import EncoderOutput, PredictionCalibration, SimilarCase
    from napari_melanoma.core.prediction_config import AgeGroup, TabularEncoding
    from napari_melanoma.imaging.preprocessing import ClassifierView
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.models.bundle import BundleInfo

__all__ = ["EncodedLesion", "classifier_stamp", "classify", "classify_encoded", "encode_lesion"]

Row = Mapping[str, object]
# Names and places of an image, which no model asks for and nobody expects to be used.
IDENTIFIER_COLUMNS = (
    "image_id",
    "path",
    "mask_path",
    "patient_id",
    "lesion_id",
    "near_duplicate_of",
    "source",
    "modality",
)
TARGET_COLUMNS = (
    "diagnosis",
    "diagnosis_detail",
    "diagnosis_by",
    "melanoma",
    "target",
)  # what is asked for, in other words
# Cosine distance: of a shipped model at most 0.016 to what it learnt from (160 pictures), at least 0.045 to others.
SAME_PICTURE_DISTANCE = 0.03


class ClassifierModel(Protocol):
    """What an answer asks of a model; ``classification.predictor.Classifier`` is one."""

    info: BundleInfo
    device: str

    @property
    def encoding(self) -> TabularEncoding:
        """How rows become inputs."""

    @property
    def calibration(self) -> PredictionCalibration:
        """What the reference cases say of logits."""

    def make_view(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> ClassifierView:
        """Cut out what the network looks at.

        ``rgb``: uint8 sRGB (row, column, channel=3). ``mask``: bool (row, column): the lesion. Returns the network's
        input, and where it lies.
        """

    def run_encoder(self, views: Sequence[NDArray[np.uint8]]) -> list[EncoderOutput]:
        """Run the encoder.

        ``views``: each uint8 (side, side, channel=3). In their order.
        """

    def run_head_on_values(self, encoded: Sequence[EncoderOutput], values: TableValues) -> NDArray[np.float32]:
        """Run the head.

        Returns float32 (lesion, class): logits.
        """


@dataclass(frozen=True)
class EncodedLesion:
    """A lesion that a model has looked at: what is needed to answer again when the form changes."""

    view: ClassifierView
    encoded: EncoderOutput
    recognized: ModalityEstimate
    modality: str | None = None
    damage: str | None = None
    trained_on: bool = False


def classify(
    photograph: Photograph,
    mask: NDArray[np.bool_] | None,
    row: Row,
    model: ClassifierModel,
    options: ClassifyOptions,
    *,
    run: RunContext,
) -> ClassPrediction:
    """Say what a lesion may be, how sure that is, and why.

    Parameters
    ----------
    photograph : Photograph
        Upright sRGB.
    mask : numpy.ndarray or None
        Bool (row, column): the lesion; not looked at by a model of whole photographs.
    row : mapping
        What is known of the patient and the lesion, in the columns of the harmonised table; ``{}`` is an empty form.
    model : ClassifyingModel
        A loaded classifier.
    options : ClassifyOptions
        Coverage, sensitivity, and how many neighbours.
    run : RunContext
        Asked between the steps whether to go on.

    Returns
    -------
    Answer
        Probabilities, how sure they are, and what they rest on.

    Raises
    ------
    InputError
        Where the model looks at the lesion and the mask is empty, missing or of another size.
    Cancelled
        Where the user stopped it.
    """
    seen = encode_lesion(photograph, mask, model)
    run.check()
    return classify_encoded(seen, row, model, options)


def encode_lesion(
    photograph: Photograph,
    mask: NDArray[np.bool_] | None,
    model: ClassifierModel,
    recognized: ModalityEstimate | None = None,
) -> EncodedLesion:
    """Run the encoder on a lesion: the part of an answer that the form does not change.

    Parameters
    ----------
    photograph, mask, model
        As ``classify`` takes them.
    looks : Recognised, optional
        Which kind of photograph it seems to be, where that is known already; it takes longest on a large one.

    Returns
    -------
    Seen
        For ``answer_again``.

    Raises
    ------
    InputError
        As ``classify`` does.
    """
    view = model.make_view(photograph.rgb, mask)
    looked = model.run_encoder([view.image])[0]
    trained_on = was_trained_on(model.info, photograph.rgb)
    return EncodedLesion(
        view,
        looked,
        recognized or recognize_modality(photograph.rgb),
        photograph.modality,
        photograph.damage,
        trained_on,
    )


def classify_encoded(
    lesion: EncodedLesion, row: Row, model: ClassifierModel, options: ClassifyOptions
) -> ClassPrediction:
    """Answer from what was seen before: the network's head alone is run, once for every way to leave a column out.

    Parameters
    ----------
    seen : Seen
        As ``look_at`` gives it, of the same model.
    row : mapping
        What is known of the patient now.
    model : ClassifyingModel
        A loaded classifier.
    options : ClassifyOptions
        As ``classify`` takes them.

    Returns
    -------
    Answer
        The same as if the photograph had been looked at again.
    """
    config, judge, encoding = model.info.config, model.calibration, model.encoding
    values = read_table_values([row], encoding)
    known = values.known[0]
    variants = [values, *drop_each_column(values, encoding).values(), values.drop_columns(np.ones(len(known), bool))]
    probabilities = judge.probabilities(
        model.run_head_on_values([lesion.encoded] * len(variants), _stack_values(variants))
    )
    mine, of_positive = probabilities[:1], probabilities[:, judge.positive]
    said = judge.prediction_sets(mine, options.coverage, options.rule)[0]
    coverage = options.coverage or judge.config.coverage
    alike = judge.nearest_cases(lesion.encoded.embedding, max(1, options.neighbours))
    validity = _validity(lesion, model, coverage)
    surprises = _contradiction_warnings(config.classes, mine[0], said, coverage) if validity.valid else []
    return ClassPrediction(
        classes=config.classes,
        positive=judge.config.positive,
        probabilities=tuple(mine[0].tolist()),
        interval=judge.interval(float(of_positive[0])),
        possible=tuple(name for name, there in zip(config.classes, said, strict=True) if there),
        coverage=coverage,
        operating_point=judge.operating_point(options.sensitivity),
        likeness=_novelty_distance(judge, lesion),
        contributions=tuple(
            Contribution(name, str(row[name]).strip(), float(of_positive[0] - without))
            for name, is_known, without in zip(encoding.fields, known, of_positive[1:-1], strict=True)
            if is_known
        ),
        from_image=float(of_positive[-1]),
        neighbours=tuple(
            NearestCase(one.image_id, config.classes[one.label], one.distance) for one in alike[: options.neighbours]
        ),
        missing=tuple(name for name, is_known in zip(encoding.fields, known, strict=True) if not is_known),
        unused=tuple(sorted(name for name, cell in row.items() if read_word(cell) and _is_unused(name, encoding))),
        warnings=(
            *filter(None, [format_damage_warning(lesion.damage)]),
            *_warnings(values, model, lesion, alike),
            *surprises,
        ),
        model=classifier_stamp(model),
        options=options.model_copy(update={"model": model.info.name}),
        provenance=collect_provenance(),
        age_group=_age_group(row, judge, options.sensitivity),
        validity=validity,
    )


def classifier_stamp(model: ClassifierModel) -> ClassifierStamp:
    """Stamp of a loaded classifier.

    Parameters
    ----------
    model : ClassifyingModel
        The model.

    Returns
    -------
    ClassifierStamp
        What an answer says of it.
    """
    info = model.info
    return ClassifierStamp(info.name, info.config.title, info.fingerprint, model.device, info.config.modalities)


def _is_unused(name: str, encoding: TabularEncoding) -> bool:
    """Whether a column says something of the patient that the model does not ask for."""
    return name not in encoding.fields and name not in (*IDENTIFIER_COLUMNS, *TARGET_COLUMNS)


def _stack_values(variants: Sequence[TableValues]) -> TableValues:
    """Several readings of one row as rows of one table."""
    numbers = np.concatenate([one.numbers for one in variants])
    return TableValues(numbers, np.concatenate([one.codes for one in variants]))


def _novelty_distance(judge: PredictionCalibration, seen: EncodedLesion) -> NoveltyDistance | None:
    """How far the view is from the training cases."""
    distance = judge.distance(seen.encoded.embedding)
    limit = judge.config.unlike
    return None if distance is None or limit is None else NoveltyDistance(distance, limit)


def _validity(seen: EncodedLesion, model: ClassifierModel, coverage: float) -> Validity:
    """Whether the model may be applied to the photograph; what the answer itself says is added there."""
    config, box = model.info.config, seen.view.box
    return ValidityInputs(
        model.info.name,
        demonstration=config.is_demonstration,
        synthetic_share=config.synthetic_share,
        modality=seen.modality or seen.recognized.kind,  # also where it is not sure: a third of smartphone photographs
        modalities=config.modalities,
        modality_certain=certain_modality(seen.recognized, seen.modality) is not None,
        detail=max(box.height, box.width) / config.input_size,
        damage=seen.damage,
        coverage=coverage,
    ).check()


def _age_group(row: Row, judge: PredictionCalibration, sensitivity: float | None) -> AgeGroup | None:
    """How often the model was right about people of that age; measured at its own operating point alone."""
    column, config = find_column("age"), judge.config
    said = read_word(row.get("age"))
    if judge.operating_point(sensitivity) != config.operating_point or (column and check_value(column, said)):
        return None
    age = read_number(said)
    return next((group for group in config.ages if group.contains(age)), None)


def _unread_warning(name: str, cells: Sequence[str], encoding: TabularEncoding) -> str:
    """What is wrong with what was said of a column."""
    column, words = find_column(name), ", ".join(f"'{cell}'" for cell in cells)
    if name not in [number.name for number in encoding.numbers]:
        return f"{name}: the model has not learnt from {words}"
    return check_value(column, cells[0]).rstrip(".") if column else f"{name}: expected a number, found {words}"


def _contradiction_warnings(
    classes: Sequence[str], probabilities: NDArray[np.float64], possible: NDArray[np.bool_], coverage: float
) -> list[str]:
    """Say why the likeliest class can be ruled out: each class is measured against its own cases."""
    place = int(probabilities.argmax())
    if possible[place]:
        return []
    name, share = classes[place], f"{100 * (1 - coverage):.3g} %"
    return [
        f"{name} has the highest probability and is ruled out all the same: at most {share} of the cases known to be "
        f"{name} had so low a probability of it"
    ]


def _warnings(
    values: TableValues, model: ClassifierModel, seen: EncodedLesion, alike: Sequence[SimilarCase]
) -> list[str]:
    """What a reader of the answer should know before it is believed."""
    said = [TRAINED_ON_IT] if seen.trained_on else []
    for name, cells in values.unseen.items():
        said.append(f"{_unread_warning(name, list(cells), model.encoding)}, so it is taken as not known")
    said += [
        f"the model has learnt from a picture that looks the same ({one.image_id}): of what it knows by heart its "
        "answer is too good"
        for one in alike[:1]
        if one.distance < SAME_PICTURE_DISTANCE and not seen.trained_on
    ]
    return said
