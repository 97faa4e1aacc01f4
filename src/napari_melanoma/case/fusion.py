"""The predictions for one lesion from its photographs and from its slide, side by side.

The predictions are not combined into one value. That would require a model that was calibrated on both: the classifiers
use photographs and patient data, the risk models use slide, thickness and patient data.
"""

from __future__ import annotations

from dataclasses import dataclass

from napari_melanoma.case.model import Case, CaseLesion, CaseRisk
from napari_melanoma.case.results import CaseLesionPrediction, find_changed_fields, latest_risk
from napari_melanoma.core.formatting import format_class, format_count

OUTDATED = "Outdated: the case has changed since"
SHARE_NAMES = {"image": "Slide", "depth": "Thickness", "patient": "Patient data"}


@dataclass(frozen=True)
class PartPrediction:
    """One row of the comparison: a prediction, the same without some inputs, or the contribution of an input.

    ``part``: the inputs. ``outcome``: the predicted class. ``value``: the probability with its interval, or why there
    is none; empty for a contribution. ``effect``: the change of the probability by the input; empty if there is none.
    ``is_valid``: whether the value is valid for this patient.
    """

    part: str
    outcome: str
    value: str
    effect: str = ""
    is_valid: bool = True


@dataclass(frozen=True)
class FusedCase:
    """The predictions for a lesion from photographs and slide, and the reason why they have no combined value."""

    parts: tuple[PartPrediction, ...]
    reason: str


def fuse_lesion(
    case: Case, lesion: CaseLesion, prediction: CaseLesionPrediction | None, *, is_current: bool
) -> FusedCase | None:
    """List the predictions for a lesion from photographs and slide; None unless there are both.

    ``prediction``: from the photographs. ``is_current``: whether its inputs are unchanged.
    """
    latest = latest_risk(lesion)
    if prediction is None or latest is None:
        return None
    image, risk = latest
    has_changed = bool(find_changed_fields(case, lesion, image, risk))
    photographs = _list_photograph_parts(prediction, is_current=is_current)
    slide = _list_slide_parts(risk, is_current=not has_changed)
    unusable = [parts[0].part.lower() for parts in (photographs, slide) if not parts[0].is_valid]
    if unusable:
        reason = f"the prediction from {' and that from '.join(unusable)} is not valid or outdated"
    else:
        outcomes = " and ".join(dict.fromkeys(parts[0].outcome for parts in (photographs, slide)))
        reason = f"they predict {outcomes}, and no installed model states calibrated weights to combine them"
    return FusedCase((*photographs, *slide), f"Photographs and slide have no combined value: {reason}.")


def _list_photograph_parts(lesion_prediction: CaseLesionPrediction, *, is_current: bool) -> tuple[PartPrediction, ...]:
    """Return the prediction from the photographs, and the effect of the patient data on it."""
    prediction = lesion_prediction.prediction
    outcome = format_class(prediction.positive)
    name = format_count(len(lesion_prediction.image_ids), "photograph").capitalize()
    if not (prediction.validity.valid and is_current):
        value = prediction.validity.headline("") or OUTDATED
        return (PartPrediction(name, outcome, value, is_valid=False),)
    value = prediction.validity.headline(_format_value(prediction.probability, prediction.interval))
    whole = PartPrediction(name if not prediction.contributions else f"{name} and patient data", outcome, value)
    if prediction.validity.demonstration:
        whole = PartPrediction(whole.part, outcome, value, is_valid=False)
    if not prediction.contributions:
        return (whole,)
    image_only = prediction.from_image
    effect = f"{prediction.probability - image_only:+.2f}"
    return (whole, PartPrediction("Without patient data", outcome, f"{image_only:.2f}", effect))


def _list_slide_parts(risk: CaseRisk, *, is_current: bool) -> tuple[PartPrediction, ...]:
    """Return the risk from slide, thickness and patient data, the baseline, and the contribution of each input."""
    validity, outcome = risk.known_validity, "metastasis"
    name = "Slide, thickness and patient data"
    if not (validity.valid and is_current):
        return (PartPrediction(name, outcome, validity.headline("") or OUTDATED, is_valid=False),)
    value = validity.headline(_format_value(risk.probability, risk.interval))
    whole = PartPrediction(name, outcome, value, is_valid=not validity.demonstration)
    shares = (
        PartPrediction(f"Contribution: {SHARE_NAMES.get(part, part).lower()}", outcome, "", f"{share:+.2f}")
        for part, share in risk.shares.items()
    )
    if risk.without is None:
        return (whole, *shares)
    return (whole, PartPrediction("Baseline without any data of this case", outcome, f"{risk.without:.2f}"), *shares)


def _format_value(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.2f}" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")
