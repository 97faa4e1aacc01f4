"""What the Risk section shows, as pure functions of the stored prediction, the current inputs and pending requests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from napari_melanoma.core.validity import Validity, read_risk_validity
from napari_melanoma.data.table_schema import field_title
from napari_melanoma.extensions.risk.slide_files import MAP_METHODS
from napari_melanoma.reports.formatting import format_risk, to_sentence

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from napari_melanoma.extensions.risk.prediction import KnownDepth
    from napari_melanoma.extensions.risk.slide_files import RiskMap, StoredRisk

# Fields of the patient data that are set in the Depth section, not in the form
DEPTH_SECTION_FIELDS = ("depth_mm", "clark", "ulceration", "mitoses_per_mm2")
READING = "The results of the slide are being read."
NOT_LOCATED = "The melanoma is not located yet: analyze the slide, or measure the thickness in the Depth section."
NO_SCALE = "Patches have a size in millimeters: set the scale first, with the ruler next to the slide's name."
NOT_BRIGHTFIELD = "The models were trained on brightfield stains."
NO_MODEL = "Select a model that predicts metastasis."
RUNNING = "The request is running."
OUTDATED = "Outdated: {} since this estimate. Estimate again."
NO_SHARES = "The model stores no training cases: the contribution of each input is unknown."
NOT_MEASURED = "Depth: not measured (see the Depth section). The network uses its own prediction from the slide."
ESTIMATE_FIRST = "Estimate the risk first."
ESTIMATE_AGAIN = "Estimate the risk again: its inputs have changed."


@dataclass(frozen=True)
class RiskFacts:
    """What the section depends on.

    ``stored``: with the current depth. ``is_read``: it was read. ``model``: name of the selected model, empty if none.
    ``fingerprint``: of its bundle, empty if it is not installed. ``row``: the current patient data. ``pending``: kinds
    of the requests that are running or waiting. ``visible_maps``: methods of the maps that the user wants to see.
    ``fields``: columns of the patient data that the model uses, without those of the Depth section.
    """

    stored: StoredRisk
    is_read: bool = True
    is_brightfield: bool = True
    has_scale: bool = True
    model: str = ""
    fingerprint: str = ""
    row: Mapping[str, str] | None = None
    fields: Collection[str] = ()
    pending: frozenset[str] = frozenset()
    visible_maps: frozenset[str] = frozenset()


@dataclass(frozen=True)
class RiskTexts:
    """What the section shows.

    ``thickness``: that the next estimate uses. ``blocker``: why the risk cannot be estimated, empty if it can.
    ``note``: the part of it that is shown below the button, or the error of stored files. ``prediction``, ``gallery``:
    content of the files, empty if there are none. ``outdated``: which inputs have changed. ``verdict``: in words,
    without a conclusion if it is not valid. ``explanation_blocker``: why maps and features cannot be requested;
    ``feature_blocker``: also while they are being computed. ``maps``: by method, whether to show it or that it is being
    computed; ``stored_maps``: those that are computed.
    """

    thickness: str
    blocker: str
    note: str
    prediction: Mapping[str, Any]
    outdated: str
    validity: Validity
    verdict: str
    baseline: str
    missing_methods: str
    cautions: str
    explanation_blocker: str
    feature_blocker: str
    gallery: Mapping[str, Any]
    maps: Mapping[str, bool]
    stored_maps: Mapping[str, RiskMap]


def resolve_risk(facts: RiskFacts) -> RiskTexts:
    """Return what the section shows."""
    stored, prediction = facts.stored, facts.stored.prediction
    blocker = resolve_blocker(facts)
    outdated = describe_changes(facts) if prediction else ""
    validity = read_risk_validity(prediction) if prediction else Validity()
    explanation_blocker = (ESTIMATE_AGAIN if outdated else "") if prediction else ESTIMATE_FIRST
    maps = {one.method: one for one in stored.maps}
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
        missing_methods=explain_missing_methods(prediction),
        cautions=list_cautions(prediction),
        explanation_blocker=explanation_blocker,
        feature_blocker=explanation_blocker or (RUNNING if "biomarkers" in facts.pending else ""),
        gallery=stored.gallery,
        maps={name: name in facts.visible_maps and (name in maps or name in facts.pending) for name in MAP_METHODS},
        stored_maps=maps,
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
    return RUNNING if "risk" in facts.pending else ""


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


def explain_missing_methods(prediction: Mapping[str, Any]) -> str:
    """Explain why some of the other methods are not available; empty if all are."""
    methods = (prediction.get("comparators") or {}).values()
    missing = [one for one in methods if one.get("probability") is None and one.get("why")]
    return " ".join(f"{one['title']}: {one['why']}." for one in missing)


def list_cautions(prediction: Mapping[str, Any]) -> str:
    """List the warnings about a prediction, one per line."""
    missing = [field_title(str(name)).lower() for name in prediction.get("missing") or ()]
    lines = [f"Unknown: {', '.join(missing)}."] if missing else []
    return "\n".join([*lines, *(to_sentence(str(one)) for one in prediction.get("warnings") or ())])
