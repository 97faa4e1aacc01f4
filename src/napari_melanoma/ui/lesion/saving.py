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
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.state import AnalyzedLesion
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
    from napari_melanoma.ui.widgets.job import JobFunction

RESULTS_TABLE = "results.csv"


@dataclass(frozen=True)
class SaveTarget:
    """Whose result is saved: the identity of its layer, the fingerprint of its pixels, and the name it has now."""

    identity: str
    image_digest: str
    name: str


def result_folder(folder: Path, name: str) -> Path:
    """Say where the result of a photograph goes.

    A folder in it; characters that no file name can have become ``_``.
    """
    return folder / (re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")[:120] or "photograph")


def prepare_save(
    target: SaveTarget, folder: Path, get_result: Callable[[str], LesionResult], lesion: AnalyzedLesion
) -> JobFunction:
    """Prepare to save a lesion as it is now.

    For a thread; does what ``save`` does.
    """
    result = get_result(target.identity)
    return lambda run: save_result(result, target.name, folder)


def save_result(result: LesionResult, name: str, folder: Path) -> Path:
    """Save a result, and put its measurements and its answer into the table beside it; meant for a thread."""
    from napari_melanoma.classification.prediction import renamed_columns
    from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS
    from napari_melanoma.lesion.analysis import prediction_cells, save_lesion
    from napari_melanoma.lesion.batch import COLUMNS, result_row
    from napari_melanoma.lesion.results import ResultTable, read_result

    told = result.class_prediction
    asked, old = (
        ({}, {}) if told is None else (prediction_cells(told.to_json()), renamed_columns(told.classes, told.positive))
    )
    table = ResultTable(folder.parent / RESULTS_TABLE, (*COLUMNS, *asked, *MEASUREMENT_COLUMNS), old)
    save_lesion(replace(result, photograph=replace(result.photograph, name=name)), folder)
    table.set_row(result_row(folder.name, name, read_result(folder), "corrected by hand" * result.corrected))
    table.write()
    return folder


@dataclass(frozen=True)
class SavedPrediction:
    """A saved answer: what it was told of the patient, about which mask, and whether its model is still there."""

    identity: str
    prediction: ClassPrediction
    form: dict[str, str]
    mask_digest: str
    is_same_model: bool

    def describe_status(self, model: str, mask_digest: str | None, row: Mapping[str, str]) -> str:
        """Say when it was saved, and what is another by now.

        Such as "Saved on 2026-11-20 14:05 UTC. An answer of before: the mask changed since.".
        """
        other = [
            name
            for name, is_other in (
                ("the mask", mask_digest not in (None, self.mask_digest)),
                ("the model", bool(model) and (model != self.prediction.model.name or not self.is_same_model)),
                ("the patient's data", dict(row) != self.form),
            )
            if is_other
        ]
        created = str(self.prediction.provenance.get("created", ""))[:16].replace("T", " ")
        saved = f"Saved on {created} UTC." if created else "Saved before."
        return f"{saved} An answer of before: {', '.join(other)} changed since." if other else saved


class SavedPredictions(QObject):
    """Looks in a thread whether a result of a photograph was saved, and keeps what it says."""

    found = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._predictions: dict[str, SavedPrediction] = {}
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_read)

    @property
    def busy(self) -> bool:
        """Whether it still looks."""
        return self._latest.busy

    def load(self, identity: str, source: LayerPhotographSource, folder: Path) -> None:
        """Look for the result of a photograph.

        ``source``: its pixels: a result of another picture is none of it.
        """
        self._latest.submit(identity, lambda: partial(read_saved_prediction, identity, source, folder))

    def get(self, identity: str) -> SavedPrediction | None:
        """Give what was found of a photograph.

        None where nothing was saved.
        """
        return self._predictions.get(identity)

    def remove(self, identity: str) -> None:
        """Forget a photograph that was removed."""
        self._latest.drop(identity)
        self._predictions.pop(identity, None)

    def _on_read(self, found: SavedPrediction | None) -> None:
        if found is not None:
            self._predictions[found.identity] = found
            self.found.emit(found)


def read_saved_prediction(
    identity: str, source: LayerPhotographSource, folder: Path, run: RunContext
) -> SavedPrediction | None:
    """Read the answer of a saved result; meant for a thread.

    None where there is no result, it has no answer, or it is damaged or of another picture.
    """
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.results import read_mask
    from napari_melanoma.lesion.results import RESULT, read_result

    if not (folder / RESULT).is_file():
        return None
    try:
        about = read_result(folder)
        if "answer" not in about or about["image_sha256"] != array_fingerprint(source.read().rgb):
            return None
        run.check()
        answer = ClassPrediction.from_json(about["answer"])
        form = {str(name): str(value) for name, value in about["form"].items()}
        return SavedPrediction(
            identity, answer, form, array_fingerprint(read_mask(folder / "mask.png")), _is_model_installed(answer)
        )
    except (MelanomaError, KeyError, TypeError, ValueError, AttributeError):
        return None  # a convenience: without it the photograph is analysed and asked about as any other


def _is_model_installed(answer: ClassPrediction) -> bool:
    """Whether the model of an answer is installed, and still the same one."""
    from napari_melanoma.models.registry import find_bundle

    try:
        return find_bundle(answer.model.name).fingerprint == answer.model.fingerprint
    except MelanomaError:
        return False
