"""Every lesion of a case classified, over all of its images, and compared with the patient's other lesions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from napari_melanoma.analysis.calibration import softmax
from napari_melanoma.core.errors import InputError, in_words
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.core.runs import CONCERNS_ALL
from napari_melanoma.data.case.corrections import read_correction
from napari_melanoma.data.features.patient_relative import COUNT, EMBEDDING, RANK, patient_relative
from napari_melanoma.io.finding import SLIDE_SUFFIXES
from napari_melanoma.io.photographs import Modality, Photograph, read_photograph
from napari_melanoma.io.results import read_mask
from napari_melanoma.workflows.answer import Answer, ClassifyOptions, Contribution
from napari_melanoma.workflows.case_answer import CaseAnswers, LesionAnswer, OddOne, rests_on, row_of
from napari_melanoma.workflows.classify import ClassifyingModel, answer_again, look_at, stamp_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.model import Case, CaseImage, CaseLesion
    from napari_melanoma.data.case.store import CaseStore
    from napari_melanoma.inference.judging import Judge

Draw = Callable[[Photograph], "NDArray[np.bool_]"]
SURE = 1e-6  # of a probability of 0 or 1, whose odds are no number


@dataclass(frozen=True, eq=False)
class _Told:
    """What one image tells: the answer, how it looks to the network, and what is measured on it."""

    lesion: CaseLesion
    image: CaseImage
    answer: Answer
    embedding: NDArray[np.float32]
    measured: dict[str, float]


def case_answers(
    store: CaseStore,
    model: ClassifyingModel,
    run: RunContext,
    *,
    options: ClassifyOptions | None = None,
    draw: Draw | None = None,
) -> CaseAnswers:
    """Ask a classifier about every lesion of a case.

    A lesion of several images gets one answer, by the mean of their logits. Where the patient has three or more lesions
    of a modality, each is compared with the others by how the network sees them and by measurements (the sign of the
    ugly duckling; ``data.features.patient_relative``).

    ``draw``: draws the lesion of a photograph that has no mask yet, bool (row, column); without it such images are left
    out. For each lesion of which an image can be looked at, and why the other images cannot.
    """
    case, asked = store.case, options or ClassifyOptions()
    told, notes = _look_at_all(case, model, asked, draw, run)
    odd = _odd_ones(told)
    lesions = tuple(
        LesionAnswer(
            lesion.id,
            tuple(one.image.id for one in mine),
            fused([one.answer for one in mine], model.judge, asked),
            odd.get(lesion.id),
            rests_on(case, lesion),
        )
        for lesion in case.lesions
        if (mine := [one for one in told if one.lesion.id == lesion.id])
    )
    created = datetime.now(UTC).isoformat(timespec="seconds")
    return CaseAnswers(lesions, tuple(notes), stamp_of(model), created)


def answer_with(store: CaseStore, classifier: str, run: RunContext) -> CaseAnswers:
    """Load what is needed, and ask: the classifier, and the usual segmentation model where an image has no mask yet."""
    from napari_melanoma.workflows.lesion import LesionOptions, analyse_lesion
    from napari_melanoma.workflows.loaded import loaded_classifier, loaded_segmenter, loading

    options = LesionOptions()
    with loading(run):
        model = loaded_classifier(classifier)

    def draw(photograph: Photograph) -> NDArray[np.bool_]:
        return analyse_lesion(photograph, loaded_segmenter(options.model), options, run=run).mask

    return case_answers(store, model, run, draw=draw)


def fused(answers: Sequence[Answer], judge: Judge, options: ClassifyOptions) -> Answer:
    """Make one answer of those to several images of a lesion, by the mean of their calibrated logits.

    That of the image alone where it is one. Interval and set of classes are made anew; likeness is that of the image
    most unlike the training cases, and warnings are those of all, as are the reasons against its validity.
    """
    if len(answers) == 1:
        return answers[0]
    given = np.array([one.probabilities for one in answers])
    probabilities = softmax(np.log(np.clip(given, SURE, 1)).mean(axis=0)[None])
    possible = judge.possible(probabilities, options.coverage, options.rule)[0]
    first, likenesses = answers[0], [one.likeness for one in answers if one.likeness]
    near = {one.image_id: one for answer in answers for one in sorted(answer.neighbours, key=lambda n: -n.distance)}
    return replace(
        first,
        probabilities=tuple(probabilities[0].tolist()),
        interval=judge.interval(float(probabilities[0, judge.positive])),
        possible=tuple(name for name, there in zip(first.classes, possible, strict=True) if there),
        likeness=max(likenesses, key=lambda one: one.distance, default=None),
        contributions=_contributions(answers),
        from_image=_mean([one.from_image for one in answers]),
        neighbours=tuple(sorted(near.values(), key=lambda one: one.distance)[: options.neighbours]),
        warnings=tuple(dict.fromkeys(said for one in answers for said in one.warnings)),
        validity=first.validity.with_reasons(*(one.validity for one in answers[1:])),
    )


def _look_at_all(
    case: Case, model: ClassifyingModel, options: ClassifyOptions, draw: Draw | None, run: RunContext
) -> tuple[list[_Told], list[tuple[str, str]]]:
    """What each image tells, and why some tell nothing."""
    told: list[_Told] = []
    notes: list[tuple[str, str]] = []
    for lesion, image in run.track(list(case.each_image()), "looking at lesions"):
        if lesion is None:
            notes.append((image.id, "is of no lesion yet: file it, and answer again."))
            continue
        try:
            told.append(_look(case, lesion, image, model, options, draw))
        except CONCERNS_ALL:
            raise
        except Exception as error:  # noqa: BLE001 - whatever a library raises is of this image; the others go on
            notes.append((image.id, in_words(error)))
    return told, notes


def _look(
    case: Case,
    lesion: CaseLesion,
    image: CaseImage,
    model: ClassifyingModel,
    options: ClassifyOptions,
    draw: Draw | None,
) -> _Told:
    """Look at one image, and answer for it alone."""
    from napari_melanoma.analysis.measurements import measure

    if image.path.name.lower().endswith(SLIDE_SUFFIXES):
        raise InputError("is a slide, which this model does not look at.")
    photograph = read_photograph(image.path)
    modality = next((known for known in get_args(Modality) if known == image.modality), photograph.modality)
    photograph = replace(photograph, modality=modality)
    mask = _mask(image, photograph, draw)
    known = row_of(case, lesion, image)
    row: dict[str, object] = {name: known[name] for name in model.encoding.fields if name in known}
    seen = look_at(photograph, mask, model)
    measured = {} if mask is None else measure(mask, photograph.rgb, _pixel_size(image, photograph))
    return _Told(lesion, image, answer_again(seen, row, model, options), seen.looked.embedding, measured)


def _mask(image: CaseImage, photograph: Photograph, draw: Draw | None) -> NDArray[np.bool_] | None:
    """The mask that counts: a person's, else that of the newest result, else one drawn now."""
    if image.correction:
        return read_correction(image.correction)
    if image.current:
        return read_mask(image.current.path / "mask.png")
    return draw(photograph) if draw else None


def _pixel_size(image: CaseImage, photograph: Photograph) -> PixelSize | None:
    """Size of a pixel as a person gave it, else as the file says."""
    if image.mpp_x and image.mpp_y:
        return PixelSize(x_um=image.mpp_x, y_um=image.mpp_y)
    return photograph.pixel_size


def _odd_ones(told: Sequence[_Told]) -> dict[str, OddOne]:
    """How odd each lesion is, by its modality of which the patient has most lesions."""
    from napari_melanoma.workflows.data_features import COMPARED

    if not told:
        return {}
    rows: list[dict[str, Any]] = [
        {"patient_id": "this", "lesion_id": one.lesion.id, "modality": one.image.modality, **one.measured}
        for one in told
    ]
    compared = patient_relative(rows, COMPARED, np.stack([one.embedding for one in told]))
    found: dict[str, OddOne] = {}
    for one, columns in zip(told, compared, strict=True):
        distance, z, rank = (columns[name] for name in EMBEDDING)
        known = found.get(one.lesion.id)
        if np.isnan([distance, z, rank]).any() or (known and known.lesions >= columns[COUNT]):
            continue
        measured = None if np.isnan(columns[RANK]) else int(columns[RANK])
        found[one.lesion.id] = OddOne(int(columns[COUNT]), int(rank), distance, z, measured)
    return found


def _contributions(answers: Sequence[Answer]) -> tuple[Contribution, ...]:
    """What each column adds to the answer of all images that have it."""
    found = []
    for first in {one.field: one for answer in answers for one in answer.contributions}.values():
        changes = [
            next((one.change for one in answer.contributions if one.field == first.field), 0.0) for answer in answers
        ]
        chances = [answer.probability for answer in answers]
        without = [chance - change for chance, change in zip(chances, changes, strict=True)]
        found.append(replace(first, change=_mean(chances) - _mean(without)))
    return tuple(found)


def _mean(chances: Sequence[float]) -> float:
    """Probability at the mean of the log odds."""
    sure = np.clip(chances, SURE, 1 - SURE)
    return float(1 / (1 + np.exp(-np.log(sure / (1 - sure)).mean())))
