"""The risk of a slide kept with the case that it belongs to, and whether it still fits what the case says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_melanoma.core.errors import ConfigError, InputError
from napari_melanoma.core.files import write_json
from napari_melanoma.data.case.edit import set_image
from napari_melanoma.data.case.model import Case, CaseImage, CaseLesion, CaseRisk
from napari_melanoma.data.features.reading import number_of
from napari_melanoma.workflows.case_answer import row_of

RISKS = "risk"  # folder of a case
SAME = 0.005  # mm, years: two numbers that are written alike


def keep_risk(folder: Path, case: Case, image_id: str, answer: Mapping[str, Any]) -> Case:
    """Keep the risk of a slide with a case.

    Parameters
    ----------
    folder : pathlib.Path
        Of the case; gets ``risk/<image>.json``.
    case : Case
        As it stands.
    image_id : str
        Of the slide.
    answer : mapping
        Of ``risk.json``.

    Returns
    -------
    Case
        With the risk, to be saved.

    Raises
    ------
    InputError
        Where the slide is of no lesion yet, or the answer is of another form.
    SaveError
        Where it cannot be written.
    """
    if all(of is None for of, image in case.each_image() if image.id == image_id):
        raise InputError("the slide is of no lesion yet: drag it to its lesion in the Case dock first.")
    path = folder / RISKS / f"{image_id}.json"
    try:
        kept = _kept(path, answer)
    except (ConfigError, KeyError, TypeError) as error:
        raise InputError(f"this risk is of another form ({error}): estimate it again.") from error
    write_json(path, dict(answer))
    return set_image(case, image_id, risk=kept)


def risk_of(lesion: CaseLesion) -> tuple[CaseImage, CaseRisk] | None:
    """Find the risk of a lesion: that of the slide that was asked about last.

    Parameters
    ----------
    lesion : CaseLesion
        Of a case.

    Returns
    -------
    tuple of CaseImage and CaseRisk, or None
        None where nobody has asked.
    """
    told = [(image, image.risk) for image in lesion.images if image.risk is not None]
    return max(told, key=lambda pair: pair[1].created, default=None)


def changed_since(case: Case, lesion: CaseLesion, image: CaseImage, risk: CaseRisk) -> tuple[str, ...]:
    """Name what the case says otherwise now than when a risk was told.

    Parameters
    ----------
    case : Case
        As it stands.
    lesion, image
        Whose risk.
    risk : CaseRisk
        What was told.

    Returns
    -------
    tuple of str
        Columns; none where the answer still fits.
    """
    now = row_of(case, lesion, image)
    asked = (*risk.known, *(name for name in risk.missing if name not in risk.known))
    return tuple(name for name in asked if name in now and not _same(now[name], risk.known.get(name, "")))


def answer_of(risk: CaseRisk) -> dict[str, Any]:
    """Give a risk that a case holds in the form of ``risk.json``, as far as it is shown.

    Parameters
    ----------
    risk : CaseRisk
        Of a case.

    Returns
    -------
    dict
        Plain values.
    """
    kept = risk.model_dump(mode="json", exclude={"path", "more", "model", "fingerprint", "depth"})
    model = {"name": risk.model, "fingerprint": risk.fingerprint}
    return {**kept, "shares": kept["shares"] or None, "model": model, "depth_in_words": risk.depth}


def _kept(path: Path, answer: Mapping[str, Any]) -> CaseRisk:
    """What a case holds of an answer."""
    model, made = answer["model"], answer.get("provenance") or {}
    same = ("verdict", "probability", "interval", "without", "beside", "known", "missing", "warnings")
    values = {
        **{name: answer.get(name) for name in same},
        "path": path,
        "shares": answer.get("shares") or {},
        "depth": str(answer.get("depth_in_words") or ""),
        "model": str(model.get("name") or ""),
        "fingerprint": str(model["fingerprint"]),
        "created": str(made.get("created") or ""),
    }
    return CaseRisk.parse({name: one for name, one in values.items() if one is not None}, "the risk")


def _same(one: str, other: str) -> bool:
    """Whether two cells say the same."""
    numbers = number_of(one), number_of(other)
    if all(value == value for value in numbers):
        return abs(numbers[0] - numbers[1]) < SAME
    return one.strip().casefold() == other.strip().casefold()
