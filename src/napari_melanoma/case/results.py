"""Save results and risk predictions in a case."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from napari_melanoma.case.edits import add_result, set_correction, set_image
from napari_melanoma.case.model import Case, CaseImage, CaseLesion, CaseResult, CaseRisk
from napari_melanoma.case.predictions import collect_metadata
from napari_melanoma.case.store import RISKS, CaseStore, write_correction
from napari_melanoma.core.errors import ConfigError, InputError, SaveError
from napari_melanoma.core.files import replace_non_finite, write_json
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.data.features.encoding import read_number
from napari_melanoma.lesion.analysis import LesionResult, save_lesion

DIGITS = 12  # of the digest in the file name
TOLERANCE = 0.005  # mm, years: differences that are not visible


def save_result(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result to the case folder; a corrected mask becomes the correction of the image.

    Returns the case with correction and result; ``CaseStore.save`` writes it.
    """
    if store.read_only:
        raise SaveError(f"cannot save a result in {store.folder}: {store.read_only}")
    image, correction = case.find_image(image_id), None
    if result.corrected:
        digest = array_fingerprint(result.photograph.rgb)
        correction = write_correction(store, image.id, result.mask, image_digest=digest, model=result.model.name)
        case = set_correction(case, image_id, correction)
    folder = store.find_result_folder(image_id, correction)
    if not folder.exists():
        store.register_file(folder)
    stored = CaseResult(
        path=save_lesion(result, folder),
        correction=correction.digest if correction else "",
        model=result.model.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return add_result(case, image_id, stored)


def save_risk(store: CaseStore, case: Case, image_id: str, prediction: Mapping[str, Any]) -> Case:
    """Store the risk prediction of a slide in a case; ``CaseStore.save`` writes the returned case."""
    if store.read_only:
        raise SaveError(f"cannot save a risk in {store.folder}: {store.read_only}")
    lesion = next((of for of, image in case.iterate_images() if image.id == image_id), None)
    if lesion is None:
        raise InputError("the slide is not assigned to a lesion: drag it to its lesion in the Case dock first.")
    path = store.folder / RISKS / f"{image_id}-{_prediction_digest(prediction)}.json"
    try:
        stored = _create_case_risk(path, prediction, collect_metadata(case, lesion, case.find_image(image_id)))
    except (ConfigError, KeyError, TypeError) as error:
        raise InputError(f"this risk has an unknown format ({error}): estimate it again.") from error
    if not path.is_file():
        store.register_file(path)
        write_json(path, dict(prediction))
    return set_image(case, image_id, risk=stored)


def latest_risk(lesion: CaseLesion) -> tuple[CaseImage, CaseRisk] | None:
    """Return the most recent risk prediction of a lesion, or None."""
    risks = [(image, image.risk) for image in lesion.images if image.risk is not None]
    return max(risks, key=lambda pair: pair[1].created, default=None)


def find_changed_fields(case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk) -> tuple[str, ...]:
    """Return the columns of a case that have changed since a risk was saved, including cleared ones.

    Values of the slide that replaced those of the case are no changes; see ``find_overruled_fields``.
    """
    now = collect_metadata(case, lesion, image)
    return tuple(name for name in _used_columns(risk) if _is_changed(name, now, risk) and not _is_used(name, now, risk))


def find_overruled_fields(
    case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk
) -> dict[str, tuple[str, str]]:
    """Return the columns of a case that were replaced by values of the slide in a risk prediction.

    Column to the cell of the case and the one that was used, "" if none was.
    """
    now = collect_metadata(case, lesion, image)
    unchanged = (name for name in _used_columns(risk) if now.get(name) and not _is_changed(name, now, risk))
    return {name: (now[name], risk.known.get(name, "")) for name in unchanged if not _is_used(name, now, risk)}


def risk_to_json(risk: CaseRisk) -> dict[str, Any]:
    """Convert the risk in a case to the format of ``risk.json``, without the parts that are not shown."""
    values = risk.model_dump(mode="json", exclude={"path", "more", "row", "model", "fingerprint", "depth"})
    model = {"name": risk.model, "fingerprint": risk.fingerprint}
    return {**values, "shares": values["shares"] or None, "model": model, "depth_in_words": risk.depth}


def _create_case_risk(path: Path, prediction: Mapping[str, Any], row: dict[str, str]) -> CaseRisk:
    """Create the summary of a risk prediction that is stored in a case."""
    model, made = prediction["model"], prediction.get("provenance") or {}
    same = (
        "verdict",
        "number",
        "validity",
        "probability",
        "interval",
        "without",
        "beside",
        "known",
        "missing",
        "warnings",
    )
    values = {
        **{name: prediction.get(name) for name in same},
        "path": path,
        "row": row,
        "shares": prediction.get("shares") or {},
        "depth": str(prediction.get("depth_in_words") or ""),
        "model": str(model.get("name") or ""),
        "fingerprint": str(model["fingerprint"]),
        "created": str(made.get("created") or ""),
    }
    return CaseRisk.parse({name: one for name, one in values.items() if one is not None}, "the risk")


def _prediction_digest(prediction: Mapping[str, Any]) -> str:
    """Return the digest of a prediction for its file name."""
    return hashlib.sha256(json.dumps(replace_non_finite(dict(prediction)), sort_keys=True).encode()).hexdigest()[
        :DIGITS
    ]


def _used_columns(risk: CaseRisk) -> tuple[str, ...]:
    """Return the input columns of a prediction, known or not."""
    return (*risk.known, *(name for name in risk.missing if name not in risk.known))


def _is_changed(name: str, now: Mapping[str, str], risk: CaseRisk) -> bool:
    """Whether a column has changed since the risk was saved."""
    return not _cells_equal(now.get(name, ""), risk.row.get(name, ""))


def _is_used(name: str, now: Mapping[str, str], risk: CaseRisk) -> bool:
    """Whether the prediction used the value of the case."""
    return _cells_equal(now.get(name, ""), risk.known.get(name, ""))


def _cells_equal(one: str, other: str) -> bool:
    """Whether two cells are equal, as numbers or as text."""
    numbers = read_number(one), read_number(other)
    if all(value == value for value in numbers):
        return abs(numbers[0] - numbers[1]) < TOLERANCE
    return one.strip().casefold() == other.strip().casefold()
