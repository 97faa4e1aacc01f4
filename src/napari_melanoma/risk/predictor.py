"""Prediction of the risk for one melanoma from patches and metadata."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import ScaleMatch, Validity, ValidityInputs
from napari_melanoma.data.tabular_encoding import read_table_values
from napari_melanoma.depth.tumor_maps import UM_PER_MM
from napari_melanoma.models.registry import find_bundle
from napari_melanoma.risk.comparators import COMPARATOR_METHODS, Comparators, read_comparators
from napari_melanoma.risk.contributions import PARTS, ShapleyShares, explain_by_part, image_log_odds
from napari_melanoma.risk.inputs import RiskCase
from napari_melanoma.risk.patches import PatchImage
from napari_melanoma.risk.prediction import (
    ComparatorPrediction,
    MissingValuesError,
    PatchPrediction,
    RiskDepth,
    RiskOptions,
    RiskPrediction,
    describe_missing_values,
    describe_outliers,
    missing_columns,
    never_missing_columns,
    out_of_distribution_patches,
    pool_predictions,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_melanoma.classification.classifier import Classifier, EncoderOutput
    from napari_melanoma.metrics.agreement import DepthIntervals
    from napari_melanoma.models.bundle import BundleInfo

POSITIVE = "metastasis"
NO_COMPARATOR = "the model has no comparator"


def find_risk_model(name: str) -> BundleInfo:
    """Find a model that predicts risk: a classifier of images whose positive class is metastasis."""
    info = find_bundle(name)
    config = info.config
    predicted = config.classifier.positive if config.classifier else f"{config.task} of {', '.join(config.classes)}"
    if config.classifier is None or config.encoder is not None or predicted != POSITIVE:
        raise BundleError(
            f"'{info.name}' predicts {predicted}: expected a classifier of patches whose positive class is {POSITIVE}. "
            "Train one with the recipe 'risk' or 'risk-small', or select its bundle."
        )
    return info


def load_risk_model(name: str) -> Classifier:
    from napari_melanoma.classification.classifier import Classifier

    return Classifier.load(find_risk_model(name))


def predict_risk(
    patches: Sequence[PatchImage], case: RiskCase, model: Classifier, options: RiskOptions
) -> RiskPrediction:
    """Predict the risk of metastasis with its interval, contributions and validity."""
    encoded = model.run_encoder([model.crop_image(one.rgb, None) for one in patches])
    probabilities = model.calibration.probabilities(model.run_head(encoded, [case.row] * len(encoded)))
    each = probabilities[:, model.calibration.positive_index]
    probability, depths = pool_predictions(each.tolist(), options.pool), model.depths(encoded)
    pair = _class_probabilities(probability, model)
    possible, config = model.calibration.prediction_sets(pair)[0], model.info.config
    comparators = read_comparators(model.info.path)
    beside = _comparator_predictions(comparators, case, model, encoded, options)
    _check_missing_values(model, case, beside, depths)
    shares = None if never_missing_columns(config) else explain_by_part(model, encoded, case.row, options.background)
    parts, far = _pool_shares(shares, each, options), [model.calibration.distance(one.embedding) for one in encoded]
    unusual = out_of_distribution_patches(model, far)
    return RiskPrediction(
        positive=model.calibration.config.positive,
        probability=probability,
        interval=model.calibration.interval(probability),
        possible=tuple(name for name, is_possible in zip(config.classes, possible, strict=True) if is_possible),
        coverage=model.calibration.config.coverage,
        depth=_choose_depth(case.depth, depths),
        patches=_patch_predictions(patches, each, depths, unusual),
        shares=parts.shares if parts else None,
        without=parts.baseline if parts else None,
        beside=beside,
        known={name: cell for name, cell in case.row.items() if name in relevant_columns(model)},
        missing=missing_columns(case.row, model.encoding),
        warnings=(*_case_warnings(model, case), *case.notes, *_patch_notes(patches)),
        model={"name": model.info.name, "title": config.title, "fingerprint": model.info.fingerprint},
        options=options.model_copy(update={"model": model.info.name}),
        provenance=collect_provenance(),
        validity=case.validity.with_reasons(_check_validity(patches, far, model, comparators, options)),
    )


def _check_validity(
    patches: Sequence[PatchImage],
    far: Sequence[float | None],
    model: Classifier,
    comparators: Comparators,
    options: RiskOptions,
) -> Validity:
    """Check whether the model may be applied to the patches; a reason against one patch applies to the prediction."""
    config, calibration = model.info.config, model.calibration
    um_per_px = options.patch_mm * UM_PER_MM / config.input_size
    each = [
        ValidityInputs(
            model.info.name,
            demonstration=config.is_demonstration or comparators.phantom,
            synthetic_share=config.synthetic_share,
            synthetic_input=one.synthetic,
            modality=one.modality,
            modalities=config.modalities,
            scale=ScaleMatch(None if one.width_mm is None else um_per_px, um_per_px),
            field_mm=one.width_mm,
            model_field_mm=options.patch_mm,
            distance=distance,
            limit=calibration.config.unlike,
            damage=one.damage,
            calibrated=calibration.reference is not None,
            coverage=calibration.config.coverage,
        ).check()
        for one, distance in zip(patches, far, strict=True)
    ]
    return Validity().with_reasons(*each)


def _check_missing_values(
    model: Classifier, known: RiskCase, beside: dict[str, ComparatorPrediction], depths: DepthIntervals | None
) -> None:
    """Refuse to predict with missing values that were never missing in the training."""
    required = never_missing_columns(model.info.config)
    gaps = {name: required[name] for name in missing_columns(known.row, model.encoding) if name in required}
    if gaps:
        raise MissingValuesError(
            describe_missing_values(model.info.name, gaps, known.row, beside),
            _choose_depth(known.depth, depths),
            beside,
        )


def _patch_notes(patches: Sequence[PatchImage]) -> tuple[str, ...]:
    """Notes on the patches, without duplicates."""
    return tuple(dict.fromkeys(note for one in patches for note in one.notes))


def _class_probabilities(probability: float, model: Classifier) -> NDArray[np.float64]:
    """Probabilities of the classes, float64 (1, class); further classes share the remaining probability."""
    count, positive = len(model.info.config.classes), model.calibration.positive_index
    pair = np.full((1, count), (1 - probability) / (count - 1))
    pair[0, positive] = probability
    return pair


def _pool_shares(
    parts: list[ShapleyShares] | None, each: NDArray[np.float64], options: RiskOptions
) -> ShapleyShares | None:
    """Shares of the combined prediction: the mean over the patches, or those of the decisive patch."""
    if parts is None:
        return None
    if options.pool == "maximum":
        return parts[int(each.argmax())]
    count = len(parts)
    found = {name: sum(one.shares[name] for one in parts) / count for name in PARTS}
    return ShapleyShares(found, sum(one.baseline for one in parts) / count)


def _choose_depth(known: RiskDepth, depths: DepthIntervals | None) -> RiskDepth:
    """The known depth, else the one predicted from the first patch, at the position of greatest depth."""
    if known.mm is not None or depths is None:
        return known
    mm, low, high = (float(each[0]) for each in depths)
    return RiskDepth(mm, "predicted", (low, high) if math.isfinite(low) and math.isfinite(high) else None)


def _patch_predictions(
    patches: Sequence[PatchImage],
    each: NDArray[np.float64],
    depth_intervals: DepthIntervals | None,
    unusual: Sequence[bool],
) -> tuple[PatchPrediction, ...]:
    depths = [None] * len(patches) if depth_intervals is None else depth_intervals.mm.tolist()
    boxes = [None if (b := one.box) is None else (b.top, b.left, b.height, b.width) for one in patches]
    return tuple(
        PatchPrediction(patch.description, box, probability, depth, unlike)
        for patch, box, probability, depth, unlike in zip(patches, boxes, each.tolist(), depths, unusual, strict=True)
    )


def _comparator_predictions(
    comparators: Comparators, known: RiskCase, model: Classifier, encoded: Sequence[EncoderOutput], options: RiskOptions
) -> dict[str, ComparatorPrediction]:
    found = {}
    for name, (title, _) in COMPARATOR_METHODS.items():
        one = comparators.table.get(name)
        if one is None:
            found[name] = ComparatorPrediction(title, None, NO_COMPARATOR)
        elif lacking := one.missing_columns(known.row):
            found[name] = ComparatorPrediction(title, None, f"{', '.join(lacking)} is unknown")
        else:
            found[name] = ComparatorPrediction(title, float(one.predict([known.row])[0]))
    image = comparators.image
    if image is None:
        return {**found, "image": ComparatorPrediction("Image alone", None, NO_COMPARATOR)}
    probability = pool_predictions(
        [image.predict(odds) for odds in image_log_odds(model, encoded).tolist()], options.pool
    )
    return {**found, "image": ComparatorPrediction("Image alone", probability)}


def relevant_columns(model: Classifier) -> tuple[str, ...]:
    """Columns of the model and of its comparators."""
    return tuple(dict.fromkeys((*model.encoding.fields, DEPTH_COLUMN, "clark")))


def _case_warnings(model: Classifier, known: RiskCase) -> list[str]:
    """Warnings about the inputs of a case."""
    warnings = []
    for name, cells in read_table_values([known.row], model.encoding).unseen.items():
        warnings.append(f"{name}: unknown value {', '.join(map(repr, cells))}, treated as missing")
    warnings += describe_outliers(known.row, model.encoding)
    if never_missing_columns(model.info.config):
        warnings.append("no contributions: the model was trained without missing values (drop_form = 0)")
    return warnings
