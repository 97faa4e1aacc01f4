"""Results and risks kept in a case."""

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


def save_result(store: CaseStore, case: Case, image_id: str, result: LesionResult) -> Case:
    """Write a result into the case folder; a mask that was corrected by hand becomes the image's correction.

    With correction and result; ``CaseStore.save`` writes it.
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
    kept = CaseResult(
        path=save_lesion(result, folder),
        correction=correction.digest if correction else "",
        model=result.model.name,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return add_result(case, image_id, kept)


DIGITS = 12  # of the digest, in the file's name
TOLERANCE = 0.005  # mm, years: two numbers that are written alike


def save_risk(store: CaseStore, case: Case, image_id: str, prediction: Mapping[str, Any]) -> Case:
    """Keep the risk of a slide with a case.

    With the risk, to be saved.
    """
    if store.read_only:
        raise SaveError(f"cannot save a risk in {store.folder}: {store.read_only}")
    lesion = next((of for of, image in case.iterate_images() if image.id == image_id), None)
    if lesion is None:
        raise InputError("the slide is of no lesion yet: drag it to its lesion in the Case dock first.")
    path = store.folder / RISKS / f"{image_id}-{_prediction_digest(prediction)}.json"
    try:
        kept = _create_case_risk(path, prediction, collect_metadata(case, lesion, case.find_image(image_id)))
    except (ConfigError, KeyError, TypeError) as error:
        raise InputError(f"this risk is of another form ({error}): estimate it again.") from error
    if not path.is_file():
        store.register_file(path)
        write_json(path, dict(prediction))
    return set_image(case, image_id, risk=kept)


def latest_risk(lesion: CaseLesion) -> tuple[CaseImage, CaseRisk] | None:
    """Find the risk of a lesion: that of the slide that was asked about last.

    None where nobody has asked.
    """
    told = [(image, image.risk) for image in lesion.images if image.risk is not None]
    return max(told, key=lambda pair: pair[1].created, default=None)


def find_changed_fields(case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk) -> tuple[str, ...]:
    """Name what the case says otherwise now than when a risk was kept with it.

    Where the slide knew better than the case from the start nothing has changed, and to estimate again would not help:
    ``overruled`` names that.

    Columns, also those that were erased; none where the answer still fits.
    """
    now = collect_metadata(case, lesion, image)
    return tuple(name for name in _used_columns(risk) if _is_changed(name, now, risk) and not _is_used(name, now, risk))


def find_overruled_fields(
    case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk
) -> dict[str, tuple[str, str]]:
    """Name what the case said otherwise than the slide when a risk was kept, and says still.

    Column to the cell of the case and the one that was used, "" where the answer was given without.
    """
    now = collect_metadata(case, lesion, image)
    kept = (name for name in _used_columns(risk) if now.get(name) and not _is_changed(name, now, risk))
    return {name: (now[name], risk.known.get(name, "")) for name in kept if not _is_used(name, now, risk)}


def risk_to_json(risk: CaseRisk) -> dict[str, Any]:
    """Give a risk that a case holds in the form of ``risk.json``, as far as it is shown."""
    kept = risk.model_dump(mode="json", exclude={"path", "more", "row", "model", "fingerprint", "depth"})
    model = {"name": risk.model, "fingerprint": risk.fingerprint}
    return {**kept, "shares": kept["shares"] or None, "model": model, "depth_in_words": risk.depth}


def _create_case_risk(path: Path, prediction: Mapping[str, Any], row: dict[str, str]) -> CaseRisk:
    """What a case holds of an answer."""
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
    """What tells an answer from another one, in a file's name."""
    return hashlib.sha256(json.dumps(replace_non_finite(dict(prediction)), sort_keys=True).encode()).hexdigest()[
        :DIGITS
    ]


def _used_columns(risk: CaseRisk) -> tuple[str, ...]:
    """The columns that an answer rests on, or would."""
    return (*risk.known, *(name for name in risk.missing if name not in risk.known))


def _is_changed(name: str, now: Mapping[str, str], risk: CaseRisk) -> bool:
    """Whether the case says something else of a column than when the risk was kept."""
    return not _cells_equal(now.get(name, ""), risk.row.get(name, ""))


def _is_used(name: str, now: Mapping[str, str], risk: CaseRisk) -> bool:
    """Whether the answer rests on what the case says of a column."""
    return _cells_equal(now.get(name, ""), risk.known.get(name, ""))


def _cells_equal(one: str, other: str) -> bool:
    """Whether two cells say the same."""
    numbers = read_number(one), read_number(other)
    if all(value == value for value in numbers):
        return abs(numbers[0] - numbers[1]) < TOLERANCE
    return one.strip().casefold() == other.strip().casefold()
