"""Save results from the Lesion dock, and read earlier ones."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.ui.widgets.job import Latest

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import Answer
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.state import Lesion
    from napari_melanoma.ui.viewer.photographs import Source
    from napari_melanoma.ui.widgets.job import Work

TABLE = "results.csv"


@dataclass(frozen=True)
class Target:
    """Whose result is saved: the identity of its layer, the fingerprint of its pixels, and the name it has now."""

    identity: str
    image_digest: str
    name: str


def place(folder: Path, name: str) -> Path:
    """Say where the result of a photograph goes.

    A folder in it; characters that no file name can have become ``_``.
    """
    return folder / (re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")[:120] or "photograph")


def to_save(target: Target, saved: Path, told: Callable[[str], LesionResult], lesion: Lesion) -> Work:
    """Prepare to save a lesion as it is now.

    For a thread; does what ``save`` does.
    """
    result = told(target.identity)
    return lambda run: save(result, target.name, saved)


def save(result: LesionResult, name: str, saved: Path) -> Path:
    """Save a result, and put its measurements and its answer into the table beside it; meant for a thread."""
    from napari_melanoma.classification.prediction import renamed
    from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS
    from napari_melanoma.lesion.analysis import answer_cells, save_lesion
    from napari_melanoma.lesion.batch import COLUMNS, row_of
    from napari_melanoma.lesion.results import ResultTable, read_result

    told = result.told
    asked, old = ({}, {}) if told is None else (answer_cells(told.to_json()), renamed(told.classes, told.positive))
    table = ResultTable(saved.parent / TABLE, (*COLUMNS, *asked, *MEASUREMENT_COLUMNS), old)
    save_lesion(replace(result, photograph=replace(result.photograph, name=name)), saved)
    table.put(row_of(saved.name, name, read_result(saved), "corrected by hand" * result.corrected))
    table.write()
    return saved


@dataclass(frozen=True)
class Earlier:
    """A saved answer: what it was told of the patient, about which mask, and whether its model is still there."""

    identity: str
    answer: Answer
    form: dict[str, str]
    mask_digest: str
    is_same_model: bool

    def note(self, model: str, mask_digest: str | None, row: Mapping[str, str]) -> str:
        """Say when it was saved, and what is another by now.

        Such as "Saved on 2026-11-20 14:05 UTC. An answer of before: the mask changed since.".
        """
        other = [
            name
            for name, is_other in (
                ("the mask", mask_digest not in (None, self.mask_digest)),
                ("the model", bool(model) and (model != self.answer.model.name or not self.is_same_model)),
                ("the patient's data", dict(row) != self.form),
            )
            if is_other
        ]
        created = str(self.answer.provenance.get("created", ""))[:16].replace("T", " ")
        saved = f"Saved on {created} UTC." if created else "Saved before."
        return f"{saved} An answer of before: {', '.join(other)} changed since." if other else saved


class EarlierAnswers(QObject):
    """Looks in a thread whether a result of a photograph was saved, and keeps what it says."""

    found = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._known: dict[str, Earlier] = {}
        self._latest = Latest(self)
        self._latest.succeeded.connect(self._on_read)

    @property
    def busy(self) -> bool:
        """Whether it still looks."""
        return self._latest.busy

    def look_for(self, identity: str, source: Source, folder: Path) -> None:
        """Look for the result of a photograph.

        ``source``: its pixels: a result of another picture is none of it.
        """
        self._latest.submit(identity, lambda: partial(read, identity, source, folder))

    def of(self, identity: str) -> Earlier | None:
        """Give what was found of a photograph.

        None where nothing was saved.
        """
        return self._known.get(identity)

    def forget(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._latest.drop(identity)
        self._known.pop(identity, None)

    def _on_read(self, found: Earlier | None) -> None:
        if found is not None:
            self._known[found.identity] = found
            self.found.emit(found)


def read(identity: str, source: Source, folder: Path, run: RunContext) -> Earlier | None:
    """Read the answer of a saved result; meant for a thread.

    None where there is no result, it has no answer, or it is damaged or of another picture.
    """
    from napari_melanoma.classification.prediction import Answer
    from napari_melanoma.core.provenance import fingerprint
    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.results import RESULT, read_result

    if not (folder / RESULT).is_file():
        return None
    try:
        about = read_result(folder)
        if "answer" not in about or about["image_sha256"] != fingerprint(source.read().rgb):
            return None
        run.check()
        answer = Answer.from_json(about["answer"])
        form = {str(name): str(value) for name, value in about["form"].items()}
        return Earlier(identity, answer, form, fingerprint(read_mask(folder / "mask.png")), _is_there(answer))
    except (MelanomaError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a convenience: without it the photograph is analysed and asked about as any other


def _is_there(answer: Answer) -> bool:
    """Whether the model of an answer is installed, and still the same one."""
    from napari_melanoma.models.registry import find_bundle

    try:
        return find_bundle(answer.model.name).fingerprint == answer.model.fingerprint
    except MelanomaError:
        return False
