"""What the Risk section shows, as pure functions of the stored prediction, the current inputs and pending requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.validity import Validity, read_risk_validity
from napari_melanoma.data.table_schema import field_title
from napari_melanoma.reports.formatting import format_risk, to_sentence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from napari_melanoma.extensions.risk.prediction import KnownDepth
    from napari_melanoma.extensions.risk.slide_files import StoredRisk

# Fields of the patient data that are set in the Depth section, not in the form
DEPTH_SECTION_FIELDS = ("depth_mm", "clark", "ulceration", "mitoses_per_mm2")
READING = "The results of the slide are being read."
NOT_LOCATED = "The melanoma is not located yet: analyze the slide, or measure the thickness in the Depth section."
NO_SCALE = "Patches have a size in millimeters: set the scale first, with the ruler next to the slide's name."
NOT_BRIGHTFIELD = "The models were trained on brightfield stains."
NO_MODEL = "Select a model that predicts metastasis."
RUNNING = "The risk of a slide is being estimated."
OUTDATED = "Outdated: {} since this estimate. Estimate again."
NO_SHARES = "The model stores no training cases: the contribution of each input is unknown."
NOT_MEASURED = "Depth: not measured (see the Depth section). The network uses its own prediction from the slide."


@dataclass(frozen=True)
class RiskFacts:
    """What the section depends on.

    ``stored``: with the current depth. ``is_read``: it was read. ``model``: name of the selected model, empty if none.
    ``fingerprint``: of its bundle, empty if it is not installed. ``row``: the current patient data. ``fields``: columns
    of the patient data that the model uses, without those of the Depth section.
    """

    stored: StoredRisk
    is_read: bool = True
    is_brightfield: bool = True
    has_scale: bool = True
    model: str = ""
    fingerprint: str = ""
    row: Mapping[str, str] | None = None
    fields: Collection[str] = ()
    is_running: bool = False


@dataclass(frozen=True)
class RiskTexts:
    """What the section shows.

    ``thickness``: that the next estimate uses. ``blocker``: why the risk cannot be estimated, empty if it can.
    ``note``: the part of it that is shown below the button, or the error of stored files. ``prediction``: empty
    if there is none. ``outdated``: which inputs have changed. ``verdict``: in words, without a conclusion if it is not
    valid. ``methods``: the predictions from single inputs.
    """

    thickness: str
    blocker: str
    note: str
    prediction: Mapping[str, Any]
    outdated: str
    validity: Validity
    verdict: str
    baseline: str
    methods: str
    cautions: str


def resolve_risk(facts: RiskFacts) -> RiskTexts:
    """Return what the section shows."""
    stored, prediction = facts.stored, facts.stored.prediction
    blocker = resolve_blocker(facts)
    outdated = describe_changes(facts) if prediction else ""
    validity = read_risk_validity(prediction) if prediction else Validity()
    verdict = ""
    if prediction:
        verdict = str(prediction["verdict"]) if validity.valid else to_sentence(format_risk(prediction))
    return RiskTexts(
        thickness=describe_depth(stored.depth) if facts.is_read else "",
        blocker=blocker,
        note=stored.fault or ("" if blocker in (RUNNING, NO_MODEL) else blocker),
        prediction=prediction,
        outdated=outdated,
        validity=validity,
        verdict=verdict,
        baseline=describe_baseline(prediction),
        methods=describe_methods(prediction),
        cautions=list_cautions(prediction),
    )


def resolve_blocker(facts: RiskFacts) -> str:
    """Return why the risk cannot be estimated now; empty if it can."""
    if not facts.is_read:
        return READING
    if not facts.is_brightfield:
        return NOT_BRIGHTFIELD
    if not facts.has_scale:
        return NO_SCALE
    if not facts.model:
        return NO_MODEL
    if not facts.stored.n_patches:
        return NOT_LOCATED
    return RUNNING if facts.is_running else ""


def describe_depth(depth: KnownDepth) -> str:
    """Describe the thickness that the next estimate will use."""
    return NOT_MEASURED if depth.mm is None else to_sentence(depth.description)


def describe_changes(facts: RiskFacts) -> str:
    """Describe which inputs differ from those of the prediction; empty if none do.

    Without a model there is no form, whose values could differ. Other columns of a case are no inputs: a new estimate
    would not change them.
    """
    prediction, depth, changes = facts.stored.prediction, facts.stored.depth, []
    if facts.fingerprint and facts.fingerprint != prediction["model"]["fingerprint"]:
        changes.append("the model has changed")
    row = {name: cell for name, cell in (facts.row or {}).items() if cell and name in facts.fields}
    if facts.fingerprint and row != list_patient_data(prediction):
        changes.append("the patient data have changed")
    used_depth = prediction["depth"]
    used_mm = None if used_depth.get("source") == "predicted" else used_depth.get("mm")
    if used_mm != depth.mm:
        changes.append("the depth has changed")
    return OUTDATED.format(" and ".join(changes)) if changes else ""


def list_patient_data(prediction: Mapping[str, Any]) -> dict[str, str]:
    """Return the patient data that a prediction used, without those of the Depth section."""
    known = prediction.get("known") or {}
    return {str(name): str(cell) for name, cell in known.items() if name not in DEPTH_SECTION_FIELDS}


def describe_baseline(prediction: Mapping[str, Any]) -> str:
    """Describe the baseline of the contributions."""
    if prediction.get("shares") is None or prediction.get("without") is None:
        return NO_SHARES
    return f"Baseline without any data of this case: {prediction['without']:.2f}."


def describe_methods(prediction: Mapping[str, Any]) -> str:
    """List the predictions from single inputs, such as the depth alone; empty if there are none."""
    methods = (prediction.get("comparators") or {}).values()
    known = [f"{one['title']} {one['probability']:.2f}" for one in methods if one.get("probability") is not None]
    return f"For comparison: {', '.join(known)}." if known else ""


def list_cautions(prediction: Mapping[str, Any]) -> str:
    """List the warnings about a prediction, one per line."""
    missing = [field_title(str(name)).lower() for name in prediction.get("missing") or ()]
    lines = [f"Unknown: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, *(to_sentence(str(one)) for one in prediction.get("warnings") or ())])
