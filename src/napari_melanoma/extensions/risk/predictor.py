"""Prediction of the risk for one melanoma from patches and clinical metadata."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.classification.classifier import Classifier, EncoderOutput
from napari_melanoma.classification.comparators import COMPARATOR_METHODS, Comparators, image_log_odds, read_comparators
from napari_melanoma.core.errors import BundleError
from napari_melanoma.core.geometry import UM_PER_MM
from napari_melanoma.core.prediction_config import DEPTH_COLUMN
from napari_melanoma.core.provenance import collect_provenance
from napari_melanoma.core.validity import ScaleMatch, Validity, ValidityInputs
from napari_melanoma.data.tabular_encoding import read_table_values
from napari_melanoma.extensions.risk.contributions import PARTS, ShapleyShares, explain_by_part
from napari_melanoma.extensions.risk.inputs import RiskCase
from napari_melanoma.extensions.risk.patches import TISSUE_PATCH, PatchImage
from napari_melanoma.extensions.risk.prediction import (
    ComparatorPrediction,
    MissingValuesError,
    PatchPrediction,
    RiskOptions,
    RiskPrediction,
    describe_missing_values,
    describe_outliers,
    missing_columns,
    out_of_distribution_patches,
    pool_predictions,
    required_columns,
)
from napari_melanoma.metrics.agreement import DepthIntervals
from napari_melanoma.models.bundle import BundleInfo
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides.depth_readings import KnownDepth

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
    """Predict the risk of metastasis with its interval, contributions, comparators and validity.

    The predictions for the patches are pooled. Raises ``MissingValuesError`` if a required column has no value.
    """
    encoded = model.run_encoder([model.crop_image(patch.rgb, None) for patch in patches])
    probabilities = model.calibration.probabilities(model.run_head(encoded, [case.row] * len(encoded)))
    patch_probabilities = probabilities[:, model.calibration.positive_index]
    probability, depths = pool_predictions(patch_probabilities.tolist(), options.pool), model.depths(encoded)
    class_probabilities = _class_probabilities(probability, model)
    possible, config = model.calibration.prediction_sets(class_probabilities)[0], model.info.config
    comparators = read_comparators(model.info.path)
    comparisons = _comparator_predictions(comparators, case, model, encoded, options)
    depth = _choose_depth(case.depth, depths, patches)
    distances = [model.calibration.distance(patch.embedding) for patch in encoded]
    validity = case.validity.with_reasons(_check_validity(patches, distances, model, comparators, options))
    _check_missing_values(model, case, comparisons, (depth, validity))
    patch_contributions = (
        None if required_columns(config) else explain_by_part(model, encoded, case.row, options.background)
    )
    contributions = _pool_shares(patch_contributions, patch_probabilities, options)
    out_of_distribution = out_of_distribution_patches(model, distances)
    notes = dict.fromkeys(note for patch in patches for note in patch.notes)
    return RiskPrediction(
        positive=model.calibration.config.positive,
        probability=probability,
        interval=model.calibration.interval(probability),
        possible=tuple(name for name, is_possible in zip(config.classes, possible, strict=True) if is_possible),
        coverage=model.calibration.config.coverage,
        depth=depth,
        patches=_patch_predictions(patches, patch_probabilities, depths, out_of_distribution),
        shares=contributions.shares if contributions else None,
        without=contributions.baseline if contributions else None,
        comparators=comparisons,
        known={name: cell for name, cell in case.row.items() if name in relevant_columns(model)},
        missing=missing_columns(case.row, model.encoding),
        warnings=(*_case_warnings(model, case), *case.notes, *notes),
        model={
            "name": model.info.name,
            "title": config.title,
            "fingerprint": model.info.fingerprint,
            "settings": model.info.settings_digest,
        },
        options=options.model_copy(update={"model": model.info.name}),
        provenance=collect_provenance(),
        validity=validity,
    )


def _check_validity(
    patches: Sequence[PatchImage],
    distances: Sequence[float | None],
    model: Classifier,
    comparators: Comparators,
    options: RiskOptions,
) -> Validity:
    """Check whether the model may be applied to the patches; a reason against one patch invalidates the prediction.

    ``distances``: out-of-distribution distance of each patch, or None.
    """
    config, calibration = model.info.config, model.calibration
    um_per_px = options.patch_mm * UM_PER_MM / config.input_size
    validities = [
        ValidityInputs(
            model.info.name,
            demonstration=config.is_demonstration or comparators.phantom,
            synthetic_share=config.synthetic_share,
            synthetic_input=patch.synthetic,
            modality=patch.modality,
            modalities=config.modalities,
            scale=ScaleMatch(None if patch.width_mm is None else um_per_px, um_per_px),
            field_mm=patch.width_mm,
            model_field_mm=options.patch_mm,
            distance=distance,
            limit=calibration.config.novelty_threshold,
            damage=patch.damage,
            calibrated=calibration.reference is not None,
            coverage=calibration.config.coverage,
        ).check()
        for patch, distance in zip(patches, distances, strict=True)
    ]
    return Validity().with_reasons(*validities)


def _check_missing_values(
    model: Classifier,
    case: RiskCase,
    comparisons: dict[str, ComparatorPrediction],
    available: tuple[KnownDepth, Validity],
) -> None:
    """Raise an error if values of required columns are missing; ``available``: what the result has without them."""
    required = required_columns(model.info.config)
    gaps = {name: required[name] for name in missing_columns(case.row, model.encoding) if name in required}
    if gaps:
        offered = comparisons if case.validity.valid else {}
        text = describe_missing_values(model.info.name, gaps, case.row, offered)
        raise MissingValuesError(text, *available, comparisons)


def _class_probabilities(probability: float, model: Classifier) -> NDArray[np.float64]:
    """Return the probabilities of all classes, float64 (1, class); negative classes share the rest equally."""
    count, positive = len(model.info.config.classes), model.calibration.positive_index
    probabilities = np.full((1, count), (1 - probability) / (count - 1))
    probabilities[0, positive] = probability
    return probabilities


def _pool_shares(
    contributions: list[ShapleyShares] | None, patch_probabilities: NDArray[np.float64], options: RiskOptions
) -> ShapleyShares | None:
    """Pool the contributions like the predictions: mean over the patches, or those of the patch with the maximum."""
    if contributions is None:
        return None
    if options.pool == "maximum":
        return contributions[int(patch_probabilities.argmax())]
    count = len(contributions)
    shares = {name: sum(patch_shares.shares[name] for patch_shares in contributions) / count for name in PARTS}
    return ShapleyShares(shares, sum(patch_shares.baseline for patch_shares in contributions) / count)


def _choose_depth(known: KnownDepth, depths: DepthIntervals | None, patches: Sequence[PatchImage]) -> KnownDepth:
    """Return the known depth, else the depth predicted from the first patch (at the position of greatest depth).

    Of patches that cover all tissue, none is at that position.
    """
    if known.mm is not None or depths is None or patches[0].description == TISSUE_PATCH:
        return known
    mm, low, high = (float(values[0]) for values in depths)
    return KnownDepth(mm, "predicted", (low, high) if math.isfinite(low) and math.isfinite(high) else None)


def _patch_predictions(
    patches: Sequence[PatchImage],
    probabilities: NDArray[np.float64],
    depth_intervals: DepthIntervals | None,
    out_of_distribution: Sequence[bool],
) -> tuple[PatchPrediction, ...]:
    depths = [None] * len(patches) if depth_intervals is None else depth_intervals.mm.tolist()
    boxes = [None if (b := patch.box) is None else (b.top, b.left, b.height, b.width) for patch in patches]
    return tuple(
        PatchPrediction(patch.description, box, probability, depth, is_novel)
        for patch, box, probability, depth, is_novel in zip(
            patches, boxes, probabilities.tolist(), depths, out_of_distribution, strict=True
        )
    )


def _comparator_predictions(
    comparators: Comparators, case: RiskCase, model: Classifier, encoded: Sequence[EncoderOutput], options: RiskOptions
) -> dict[str, ComparatorPrediction]:
    predictions = {}
    for name, (title, _) in COMPARATOR_METHODS.items():
        regression = comparators.table.get(name)
        if regression is None:
            predictions[name] = ComparatorPrediction(title, None, NO_COMPARATOR)
        elif missing := regression.missing_columns(case.row):
            predictions[name] = ComparatorPrediction(title, None, f"{', '.join(missing)} is unknown")
        else:
            predictions[name] = ComparatorPrediction(title, float(regression.predict([case.row])[0]))
    image = comparators.image
    if image is None:
        return {**predictions, "image": ComparatorPrediction("Image alone", None, NO_COMPARATOR)}
    probability = pool_predictions(
        [image.predict(odds) for odds in image_log_odds(model, encoded).tolist()], options.pool
    )
    return {**predictions, "image": ComparatorPrediction("Image alone", probability)}


def relevant_columns(model: Classifier) -> tuple[str, ...]:
    """Return the columns that the model and its comparators use."""
    return tuple(dict.fromkeys((*model.encoding.fields, DEPTH_COLUMN, "clark")))


def _case_warnings(model: Classifier, case: RiskCase) -> list[str]:
    """Return warnings about the inputs of a case."""
    warnings = []
    for name, cells in read_table_values([case.row], model.encoding).unseen.items():
        warnings.append(f"{name}: unknown value {', '.join(map(repr, cells))}, treated as missing")
    predicted = [name for name in case.predicted if name in relevant_columns(model)]
    if predicted:
        warnings.append(f"{', '.join(predicted)}: predicted by the analysis of the slide, not confirmed by a reader")
    warnings += describe_outliers(case.row, model.encoding)
    if required_columns(model.info.config):
        warnings.append("no contributions: the model was trained without missing values (drop_form = 0)")
    return warnings
