"""``case.json``: a case as text and back, with paths that survive a move and keys of newer versions kept.

Inside the case folder a path is written relative to it, outside as it is. A key that is not known here, which a newer
version wrote, goes into ``more`` of its part and is written back in its place.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path, PurePath, PureWindowsPath
from typing import Any

from napari_melanoma.core.config import Config
from napari_melanoma.core.errors import InputError, MalformedFile
from napari_melanoma.core.files import finite
from napari_melanoma.core.parsing import parse_json
from napari_melanoma.core.paths import is_inside
from napari_melanoma.data.case.model import (
    VERSION,
    Case,
    CaseCorrection,
    CaseImage,
    CaseLesion,
    CasePatient,
    CaseResult,
    CaseRisk,
)

LAST = ("guesses", "images", "correction", "results", "risk")
CASE, CORRECTIONS, RESULTS, RISKS = "case.json", "corrections", "results", "risk"

_PARTS: dict[type[Config], dict[str, type[Config]]] = {
    Case: {"patient": CasePatient, "lesions": CaseLesion, "images": CaseImage},
    CaseLesion: {"images": CaseImage},
    CaseImage: {"correction": CaseCorrection, "results": CaseResult, "risk": CaseRisk},
}

_IN_THE_FOLDER = (CaseCorrection, CaseResult, CaseRisk)  # images may lie anywhere, as they are only read


def case_text(case: Case, folder: Path) -> str:
    """Write a case as JSON; what is not known is left out.

    Indented, with a line feed at the end; what UTF-8 cannot write, as in a file's name of another encoding, is escaped
    as JSON does it.
    """
    values = _walked(case.model_dump(mode="json"), Case, lambda part, kind: _written(part, kind, folder))
    text = json.dumps(finite(values), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    return text.encode("utf-8", "backslashreplace").decode()


def parse_case(text: str, folder: Path) -> Case:
    """Read a case from JSON."""
    where = str(folder / CASE)
    try:
        values = parse_json(text, where)
    except MalformedFile as error:
        raise InputError(f"{where} is damaged: {error.reason}. Bring it back from a backup.") from error
    if not isinstance(values, dict) or "version" not in values:
        raise InputError(f"{where} is no case: expected a JSON object with a version. Name the folder of a case.")
    _check_version(str(values["version"]), where)
    return Case.parse(_walked(values, Case, lambda part, kind: _read(part, kind, folder)), where)


def _check_version(found: str, where: str) -> None:
    """Refuse a format whose first number is greater than ours; a greater second number only adds keys."""
    known = VERSION.split(".")[0]
    major = found.split(".")[0]
    if major.isdecimal() and int(major) > int(known):
        raise InputError(
            f"{where} was written by a newer version of napari-melanoma: its format is {found}, and this version reads "
            f"up to {known}.x. Update napari-melanoma; the file was not changed."
        )


def _walked(values: Any, kind: type[Config], step: Callable[[dict[str, Any], type[Config]], dict[str, Any]]) -> Any:  # noqa: ANN401 - JSON
    """Take a step at each part of a case, the innermost first; what is no part is left for the check to refuse."""
    if isinstance(values, list):
        return [_walked(item, kind, step) for item in values]
    if not isinstance(values, dict):
        return values
    inner = _PARTS.get(kind, {})
    return step({key: _walked(item, inner[key], step) if key in inner else item for key, item in values.items()}, kind)


def _written(part: dict[str, Any], kind: type[Config], folder: Path) -> dict[str, Any]:
    """One part as it is written: without what is not known, with paths relative where they can be."""
    order = sorted(part, key=LAST.__contains__)  # what a person looks for first
    kept = {key: _plain(part[key]) for key in order if key != "more" and part[key] not in (None, "", [], {})}
    if "path" in kept:
        kept["path"] = _relative(Path(kept["path"]), folder)
    return {**kept, **part.get("more", {})}


def _plain(value: Any) -> Any:  # noqa: ANN401 - JSON
    """A number without a needless point, such as an age."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _read(part: dict[str, Any], kind: type[Config], folder: Path) -> dict[str, Any]:
    """One part as the model takes it: paths absolute, unknown keys set aside."""
    known = {key: value for key, value in part.items() if key in kind.model_fields and key != "more"}
    if isinstance(known.get("path"), str):
        known["path"] = _absolute(known["path"], folder)
        if kind in _IN_THE_FOLDER and (".." in known["path"].parts or not is_inside(Path(known["path"]), folder)):
            raise InputError(
                f"{folder / CASE} names {part['path'][:200]!r}, which does not lie in the case folder, as masks, "
                "results and risks of a case do. The case was not opened: correct the path."
            )
    return {**known, "more": {key: value for key, value in part.items() if key not in known}}


def _relative(path: Path, folder: Path) -> str:
    """A path as it is written."""
    return path.relative_to(folder).as_posix() if path.is_relative_to(folder) else str(path)


def _absolute(text: str, folder: Path) -> PurePath:
    """A path as it was meant; one of Windows, read elsewhere, stays what it is."""
    return Path(text) if PureWindowsPath(text).is_absolute() or Path(text).is_absolute() else folder / text
