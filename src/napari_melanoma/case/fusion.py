"""The predictions for one lesion side by side: from photographs, from a slide, and with the data of the patient.

Predictions are combined only by a model that was calibrated for its parts: a classifier of photographs, which also
reads patient data, and a risk model, which reads slide, thickness and patient data. No model combines both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_melanoma.case.results import find_changed_fields, latest_risk
from napari_melanoma.core.formatting import format_class, format_count

if TYPE_CHECKING:
    from napari_melanoma.case.model import Case, CaseLesion, CaseRisk
    from napari_melanoma.case.results import CaseLesionPrediction

OUTDATED = "Outdated: the case has changed since"
SHARES = {"image": "Slide", "depth": "Thickness", "patient": "Patient data"}


@dataclass(frozen=True)
class PartPrediction:
    """What one part of a case predicts.

    ``value``: the probability with its interval, or why there is none. ``effect``: the change of the combined
    probability by this part; empty if it is unknown. ``is_valid``: whether the value may be used further.
    """

    part: str
    outcome: str
    value: str
    effect: str = ""
    is_valid: bool = True


@dataclass(frozen=True)
class FusedCase:
    """The parts of a lesion, and why they have no common value."""

    parts: tuple[PartPrediction, ...]
    reason: str


def fuse_lesion(
    case: Case, lesion: CaseLesion, prediction: CaseLesionPrediction | None, *, is_current: bool
) -> FusedCase | None:
    """List the predictions for a lesion from photographs and slide; None unless there are both."""
    latest = latest_risk(lesion)
    if prediction is None or latest is None:
        return None
    image, risk = latest
    changed = bool(find_changed_fields(case, lesion, image, risk))
    photographs = _photograph_parts(prediction, is_current=is_current)
    slide = _slide_parts(risk, is_current=not changed)
    unusable = [parts[0].part.lower() for parts in (photographs, slide) if not parts[0].is_valid]
    if unusable:
        reason = f"the prediction from {' and that from '.join(unusable)} is not valid or outdated"
    else:
        outcomes = " and ".join(dict.fromkeys(parts[0].outcome for parts in (photographs, slide)))
        reason = f"they predict {outcomes}, and no installed model states calibrated weights to combine them"
    return FusedCase((*photographs, *slide), f"Photographs and slide have no combined value: {reason}.")


def _photograph_parts(found: CaseLesionPrediction, *, is_current: bool) -> tuple[PartPrediction, ...]:
    """Return the prediction from the photographs, and the effect of the patient data on it."""
    prediction = found.prediction
    outcome = format_class(prediction.positive)
    name = format_count(len(found.image_ids), "photograph").capitalize()
    if not (prediction.validity.valid and is_current):
        value = prediction.validity.headline("") or OUTDATED
        return (PartPrediction(name, outcome, value, is_valid=False),)
    value = prediction.validity.headline(_format_value(prediction.probability, prediction.interval))
    whole = PartPrediction(name if not prediction.contributions else f"{name} and patient data", outcome, value)
    if prediction.validity.demonstration:
        whole = PartPrediction(whole.part, outcome, value, is_valid=False)
    if not prediction.contributions:
        return (whole,)
    alone = prediction.from_image
    effect = f"{prediction.probability - alone:+.2f}"
    return (whole, PartPrediction("Without patient data", outcome, f"{alone:.2f}", effect))


def _slide_parts(risk: CaseRisk, *, is_current: bool) -> tuple[PartPrediction, ...]:
    """Return the risk from slide, thickness and patient data, and the effect of each part."""
    validity, outcome = risk.known_validity, "metastasis"
    name = "Slide, thickness and patient data"
    if not (validity.valid and is_current):
        return (PartPrediction(name, outcome, validity.headline("") or OUTDATED, is_valid=False),)
    value = validity.headline(_format_value(risk.probability, risk.interval))
    whole = PartPrediction(name, outcome, value, is_valid=not validity.demonstration)
    shares = (
        PartPrediction(f"Contribution: {SHARES.get(part, part).lower()}", outcome, "", f"{share:+.2f}")
        for part, share in risk.shares.items()
    )
    if risk.without is None:
        return (whole, *shares)
    difference = f"{risk.probability - risk.without:+.2f}"
    return (whole, PartPrediction("Without patient data", outcome, f"{risk.without:.2f}", difference), *shares)


def _format_value(value: float, interval: tuple[float, float] | None) -> str:
    return f"{value:.2f}" + ("" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})")
