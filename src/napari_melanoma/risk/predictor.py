"""The risk of one melanoma: patches, what is known, and a network, to an answer with what it rests on."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.prediction import DEPTH
from napari_melanoma.core.provenance import provenance
from napari_melanoma.core.validity import PredictionFacts, ScaleMatch, Validity
from napari_melanoma.data.features.encoding import understand
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.risk.comparators import METHODS, Comparators, read_comparators
from napari_melanoma.risk.inputs import KnownCase, PatchPicture
from napari_melanoma.risk.prediction import (
    PARTS,
    Beside,
    DepthUsed,
    GapsUnknown,
    Parted,
    PatchAnswer,
    RiskAnswer,
    RiskOptions,
    far_off,
    lacking,
    log_odds,
    never_empty,
    parted,
    pooled,
    refusal,
    strangers,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.predictor import Classifier, Looked
    from napari_melanoma.metrics.agreement import Depths
    from napari_melanoma.models.bundle import BundleInfo

POSITIVE = "metastasis"
UM = 1000.0  # in a millimetre
NONE = "the model has none to compare with"


def risk_model(name: str) -> BundleInfo:
    """Find a model that tells a risk.

    Of a classifier of pictures, about metastasis.
    """
    info = find_bundle(name)
    config = info.config
    told = config.classifier.positive if config.classifier else f"{config.task} of {', '.join(config.classes)}"
    if config.classifier is None or config.encoder is not None or told != POSITIVE:
        raise BundleError(
            f"'{info.name}' tells {told}: a risk needs a classifier of patches whose positive class is {POSITIVE}. "
            "Train one with the recipe 'risk' or 'risk-small', or name its bundle."
        )
    return info


def load_risk_model(name: str) -> Classifier:
    """Load a model that tells a risk."""
    from napari_melanoma.classification.predictor import Classifier

    return Classifier.load(risk_model(name))


def assess(pictures: Sequence[PatchPicture], known: KnownCase, model: Classifier, options: RiskOptions) -> RiskAnswer:
    """Say how likely a melanoma has spread, how sure that is, and what it rests on."""
    looked = model.look([model.view(one.rgb, None) for one in pictures])
    probabilities = model.judge.probabilities(model.decide(looked, [known.row] * len(looked)))
    each = probabilities[:, model.judge.positive]
    probability, depths = pooled(each.tolist(), options.pool), model.depths(looked)
    pair = _pair(probability, model)
    possible, config = model.judge.possible(pair)[0], model.info.config
    comparators = read_comparators(model.info.path)
    beside = _beside(comparators, known, model, looked, options)
    _refuse_gaps(model, known, beside, depths)
    there = None if never_empty(config) else parted(model, looked, known.row, options.background)
    parts, far = _together(there, each, options), [model.judge.distance(one.embedding) for one in looked]
    strange = strangers(model, far)
    return RiskAnswer(
        positive=model.judge.config.positive,
        probability=probability,
        interval=model.judge.interval(probability),
        possible=tuple(name for name, there in zip(config.classes, possible, strict=True) if there),
        coverage=model.judge.config.coverage,
        depth=_depth(known.depth, depths),
        patches=_patches(pictures, each, depths, strange),
        shares=parts.shares if parts else None,
        without=parts.without if parts else None,
        beside=beside,
        known={name: cell for name, cell in known.row.items() if name in _asked(model)},
        missing=lacking(known.row, model.encoding),
        warnings=(*_warnings(model, known), *known.notes, *_notes(pictures)),
        model={"name": model.info.name, "title": config.title, "fingerprint": model.info.fingerprint},
        options=options.model_copy(update={"model": model.info.name}),
        provenance=provenance(),
        validity=known.validity.with_reasons(_validity(pictures, far, model, comparators, options)),
    )


def _validity(
    pictures: Sequence[PatchPicture],
    far: Sequence[float | None],
    model: Classifier,
    comparators: Comparators,
    options: RiskOptions,
) -> Validity:
    """Whether the model may be applied to the patches: a reason against one of them is one against the answer."""
    config, judge = model.info.config, model.judge
    um_per_px = options.patch_mm * UM / config.input_size
    each = [
        PredictionFacts(
            model.info.name,
            demonstration=config.is_demonstration or comparators.phantom,
            synthetic_share=config.drawn_share,
            synthetic_input=one.synthetic,
            modality=one.modality,
            modalities=config.modalities,
            scale=ScaleMatch(None if one.wide_mm is None else um_per_px, um_per_px),
            field_mm=one.wide_mm,
            model_field_mm=options.patch_mm,
            distance=distance,
            limit=judge.config.unlike,
            damage=one.damage,
            calibrated=judge.reference is not None,
            coverage=judge.config.coverage,
        ).validity()
        for one, distance in zip(pictures, far, strict=True)
    ]
    return Validity().with_reasons(*each)


def _refuse_gaps(model: Classifier, known: KnownCase, beside: dict[str, Beside], told: Depths | None) -> None:
    """Refuse to answer with cells empty that the network has never seen empty."""
    seldom = never_empty(model.info.config)
    gaps = {name: seldom[name] for name in lacking(known.row, model.encoding) if name in seldom}
    if gaps:
        raise GapsUnknown(refusal(model.info.name, gaps, known.row, beside), _depth(known.depth, told), beside)


def _notes(pictures: Sequence[PatchPicture]) -> tuple[str, ...]:
    """What to know of the patches, each once."""
    return tuple(dict.fromkeys(note for one in pictures for note in one.notes))


def _pair(probability: float, model: Classifier) -> NDArray[np.float64]:
    """Probabilities of the classes, float64 (1, class); of more than two, the others share what is left."""
    count, place = len(model.info.config.classes), model.judge.positive
    pair = np.full((1, count), (1 - probability) / (count - 1))
    pair[0, place] = probability
    return pair


def _together(parts: list[Parted] | None, each: NDArray[np.float64], options: RiskOptions) -> Parted | None:
    """Shares of the answer to all patches: the mean of theirs, or those of the patch that decides."""
    if parts is None:
        return None
    if options.pool == "maximum":
        return parts[int(each.argmax())]
    count = len(parts)
    found = {name: sum(one.shares[name] for one in parts) / count for name in PARTS}
    return Parted(found, sum(one.without for one in parts) / count)


def _depth(known: DepthUsed, told: Depths | None) -> DepthUsed:
    """The depth that counts: what is known, else what the network tells of the first patch, the deepest place."""
    if known.mm is not None or told is None:
        return known
    mm, low, high = (float(each[0]) for each in told)
    return DepthUsed(mm, "predicted", (low, high) if math.isfinite(low) and math.isfinite(high) else None)


def _patches(
    pictures: Sequence[PatchPicture], each: NDArray[np.float64], told: Depths | None, strange: Sequence[bool]
) -> tuple[PatchAnswer, ...]:
    """Each patch with its answer."""
    depths = [None] * len(pictures) if told is None else told.mm.tolist()
    places = [None if (b := one.box) is None else (b.top, b.left, b.height, b.width) for one in pictures]
    return tuple(
        PatchAnswer(picture.what, place, probability, depth, unlike)
        for picture, place, probability, depth, unlike in zip(
            pictures, places, each.tolist(), depths, strange, strict=True
        )
    )


def _beside(
    comparators: Comparators, known: KnownCase, model: Classifier, looked: Sequence[Looked], options: RiskOptions
) -> dict[str, Beside]:
    """What the other methods say."""
    found = {}
    for name, (title, _) in METHODS.items():
        one = comparators.table.get(name)
        if one is None:
            found[name] = Beside(title, None, NONE)
        elif lacking := one.lacks(known.row):
            found[name] = Beside(title, None, f"{', '.join(lacking)} is not known")
        else:
            found[name] = Beside(title, float(one.of([known.row])[0]))
    image = comparators.image
    if image is None:
        return {**found, "image": Beside("Image alone", None, NONE)}
    said = pooled([image.of(odds) for odds in log_odds(model, looked).tolist()], options.pool)
    return {**found, "image": Beside("Image alone", said)}


def _asked(model: Classifier) -> tuple[str, ...]:
    """Columns that say something here: those of the model, and those of the methods beside it."""
    return (*model.encoding.fields, DEPTH, "clark")


def _warnings(model: Classifier, known: KnownCase) -> list[str]:
    """What a reader of the answer should know before it is believed."""
    said = []
    for name, cells in understand([known.row], model.encoding).unseen.items():
        said.append(f"{name}: the model does not understand {', '.join(map(repr, cells))}: taken as not known")
    said += far_off(known.row, model.encoding)
    if never_empty(model.info.config):
        said.append("the model has never seen an empty cell while learning (drop_form = 0): shares are not told")
    return said
