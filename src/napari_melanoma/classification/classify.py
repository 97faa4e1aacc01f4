"""One lesion: from pixels, mask and what is known of the patient to an answer, and again when the form changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from napari_melanoma.classification.prediction import (
    Answer,
    ClassifierStamp,
    ClassifyOptions,
    Contribution,
    Likeness,
    Neighbour,
)
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.validity import PredictionFacts, Validity
from napari_melanoma.data.features.encoding import TableValues, number_of, understand, without_each, word_of
from napari_melanoma.data.table_schema import check_value, column_named
from napari_melanoma.imaging.modality import Recognised, certain_kind, recognise
from napari_melanoma.io.photographs import damage_warning
from napari_melanoma.training.run_data import TRAINED_ON_IT, was_trained_on

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Alike, Judge, Looked
    from napari_melanoma.core.prediction import AgeGroup, TabularEncoding
    from napari_melanoma.imaging.preprocessing import View
    from napari_melanoma.io.photographs import Photograph
    from napari_melanoma.models.bundle import BundleInfo

__all__ = ["Seen", "answer_again", "classify", "look_at", "stamp_of"]

Row = Mapping[str, object]
# Names and places of an image, which no model asks for and nobody expects to be used.
UNASKED = ("image_id", "path", "mask_path", "patient_id", "lesion_id", "near_duplicate_of", "source", "modality")
ANSWERS = ("diagnosis", "diagnosis_detail", "diagnosis_by", "melanoma", "target")  # what is asked for, in other words
# Cosine distance: of a shipped model at most 0.016 to what it learnt from (160 pictures), at least 0.045 to others.
SAME = 0.03


class ClassifyingModel(Protocol):
    """What an answer asks of a model; ``classification.predictor.Classifier`` is one."""

    info: BundleInfo
    device: str

    @property
    def encoding(self) -> TabularEncoding:
        """How rows become inputs."""

    @property
    def judge(self) -> Judge:
        """What the reference cases say of logits."""

    def seen(self, rgb: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> View:
        """Cut out what the network looks at.

        ``rgb``: uint8 sRGB (row, column, channel=3). ``mask``: bool (row, column): the lesion. Returns the network's
        input, and where it lies.
        """

    def look(self, views: Sequence[NDArray[np.uint8]]) -> list[Looked]:
        """Run the encoder.

        ``views``: each uint8 (side, side, channel=3). In their order.
        """

    def decide_values(self, looked: Sequence[Looked], values: TableValues) -> NDArray[np.float32]:
        """Run the head.

        Returns float32 (lesion, class): logits.
        """


@dataclass(frozen=True)
class Seen:
    """A lesion that a model has looked at: what is needed to answer again when the form changes."""

    view: View
    looked: Looked
    looks: Recognised
    modality: str | None = None
    damage: str | None = None
    trained_on: bool = False


def classify(
    photograph: Photograph,
    mask: NDArray[np.bool_] | None,
    row: Row,
    model: ClassifyingModel,
    options: ClassifyOptions,
    *,
    run: RunContext,
) -> Answer:
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
    seen = look_at(photograph, mask, model)
    run.check()
    return answer_again(seen, row, model, options)


def look_at(
    photograph: Photograph,
    mask: NDArray[np.bool_] | None,
    model: ClassifyingModel,
    looks: Recognised | None = None,
) -> Seen:
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
    view = model.seen(photograph.rgb, mask)
    looked = model.look([view.image])[0]
    trained_on = was_trained_on(model.info, photograph.rgb)
    return Seen(view, looked, looks or recognise(photograph.rgb), photograph.modality, photograph.damage, trained_on)


def answer_again(seen: Seen, row: Row, model: ClassifyingModel, options: ClassifyOptions) -> Answer:
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
    config, judge, encoding = model.info.config, model.judge, model.encoding
    values = understand([row], encoding)
    known = values.known[0]
    variants = [values, *without_each(values, encoding).values(), values.without(np.ones(len(known), bool))]
    probabilities = judge.probabilities(model.decide_values([seen.looked] * len(variants), _stacked(variants)))
    mine, of_positive = probabilities[:1], probabilities[:, judge.positive]
    said = judge.possible(mine, options.coverage, options.rule)[0]
    coverage = options.coverage or judge.config.coverage
    alike = judge.alike(seen.looked.embedding, max(1, options.neighbours))
    validity = _validity(seen, model, coverage)
    surprises = _surprises(config.classes, mine[0], said, coverage) if validity.valid else []
    return Answer(
        classes=config.classes,
        positive=judge.config.positive,
        probabilities=tuple(mine[0].tolist()),
        interval=judge.interval(float(of_positive[0])),
        possible=tuple(name for name, there in zip(config.classes, said, strict=True) if there),
        coverage=coverage,
        operating_point=judge.operating_point(options.sensitivity),
        likeness=_likeness(judge, seen),
        contributions=tuple(
            Contribution(name, str(row[name]).strip(), float(of_positive[0] - without))
            for name, is_known, without in zip(encoding.fields, known, of_positive[1:-1], strict=True)
            if is_known
        ),
        from_image=float(of_positive[-1]),
        neighbours=tuple(
            Neighbour(one.image_id, config.classes[one.label], one.distance) for one in alike[: options.neighbours]
        ),
        missing=tuple(name for name, is_known in zip(encoding.fields, known, strict=True) if not is_known),
        unused=tuple(sorted(name for name, cell in row.items() if word_of(cell) and _is_unused(name, encoding))),
        warnings=(*filter(None, [damage_warning(seen.damage)]), *_warnings(values, model, seen, alike), *surprises),
        model=stamp_of(model),
        options=options.model_copy(update={"model": model.info.name}),
        provenance=provenance(),
        age_group=_age_group(row, judge, options.sensitivity),
        validity=validity,
    )


def stamp_of(model: ClassifyingModel) -> ClassifierStamp:
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
    return name not in encoding.fields and name not in (*UNASKED, *ANSWERS)


def _stacked(variants: Sequence[TableValues]) -> TableValues:
    """Several readings of one row as rows of one table."""
    numbers = np.concatenate([one.numbers for one in variants])
    return TableValues(numbers, np.concatenate([one.codes for one in variants]))


def _likeness(judge: Judge, seen: Seen) -> Likeness | None:
    """How far the view is from the training cases."""
    distance = judge.distance(seen.looked.embedding)
    limit = judge.config.unlike
    return None if distance is None or limit is None else Likeness(distance, limit)


def _validity(seen: Seen, model: ClassifyingModel, coverage: float) -> Validity:
    """Whether the model may be applied to the photograph; what the answer itself says is added there."""
    config, box = model.info.config, seen.view.box
    return PredictionFacts(
        model.info.name,
        demonstration=config.is_demonstration,
        synthetic_share=config.drawn_share,
        modality=seen.modality or seen.looks.kind,  # also where it is not sure: a third of smartphone photographs
        modalities=config.modalities,
        modality_certain=certain_kind(seen.looks, seen.modality) is not None,
        detail=max(box.height, box.width) / config.input_size,
        damage=seen.damage,
        coverage=coverage,
    ).validity()


def _age_group(row: Row, judge: Judge, sensitivity: float | None) -> AgeGroup | None:
    """How often the model was right about people of that age; measured at its own operating point alone."""
    column, config = column_named("age"), judge.config
    said = word_of(row.get("age"))
    if judge.operating_point(sensitivity) != config.operating_point or (column and check_value(column, said)):
        return None
    age = number_of(said)
    return next((group for group in config.ages if group.holds(age)), None)


def _not_understood(name: str, cells: Sequence[str], encoding: TabularEncoding) -> str:
    """What is wrong with what was said of a column."""
    column, words = column_named(name), ", ".join(f"'{cell}'" for cell in cells)
    if name not in [number.name for number in encoding.numbers]:
        return f"{name}: the model has not learnt from {words}"
    return check_value(column, cells[0]).rstrip(".") if column else f"{name}: expected a number, found {words}"


def _surprises(
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


def _warnings(values: TableValues, model: ClassifyingModel, seen: Seen, alike: Sequence[Alike]) -> list[str]:
    """What a reader of the answer should know before it is believed."""
    said = [TRAINED_ON_IT] if seen.trained_on else []
    for name, cells in values.unseen.items():
        said.append(f"{_not_understood(name, list(cells), model.encoding)}, so it is taken as not known")
    said += [
        f"the model has learnt from a picture that looks the same ({one.image_id}): of what it knows by heart its "
        "answer is too good"
        for one in alike[:1]
        if one.distance < SAME and not seen.trained_on
    ]
    return said
