"""Save results of the Lesion dock: the Save button, saved predictions, and a question before edits are lost."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.errors import MelanomaError, SaveError
from napari_melanoma.core.files import is_same_folder, normalize_name
from napari_melanoma.core.paths import is_device_name
from napari_melanoma.ui.lesion.recovery import discard_unsaved, save_unsaved
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dialogs import WindowGuard, choose_folder, create_question, exec_question
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import named, row, tool_button

if TYPE_CHECKING:
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.lesion.analyzed_lesions import AnalyzedLesion, LesionStore
    from napari_melanoma.ui.viewer.photographs import LayerPhotographSource
    from napari_melanoma.ui.widgets.job import JobFunction
    from napari_melanoma.ui.widgets.settings import DockSettings


RESULTS_TABLE = "results.csv"
SAVE_KEY = format_key("lesion.save")
CHANGED_MESSAGE = (
    "The result has changed since it was saved. Press Save first: the report is written from the saved result."
)


class SaveTarget(NamedTuple):
    """The photograph whose result is saved: identity of the layer, digest of the pixels, and current name."""

    identity: str
    image_digest: str
    name: str


def result_folder(folder: Path, name: str) -> Path:
    """Return the subfolder for a photograph; characters that are not allowed in file names become ``_``."""
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")[:120].rstrip(" .") or "photograph"
    return folder / (f"photograph {plain}" if is_device_name(plain) else plain)


class SavedVersions:
    """Which version of the result of each open photograph was saved last.

    ``get_result``: returns the result of a photograph as it is saved.
    """

    def __init__(self, store: LesionStore, get_result: Callable[[str], LesionResult]) -> None:
        self._store, self._get_result = store, get_result
        self._saved: dict[str, tuple[object, ...]] = {}
        self._being_saved: dict[str, tuple[object, ...]] = {}

    def prepare_save(self, target: SaveTarget, folder: Path, lesion: AnalyzedLesion) -> JobFunction:
        """Return a function that saves the current result of a lesion in a thread."""
        result = self._get_result(target.identity)
        self._being_saved[target.identity] = _result_version(result, lesion.mask_digest)
        return lambda run: save_result(result, target.name, folder)

    def set_saved(self, identity: str) -> None:
        """Record that the result of a photograph was saved as it was prepared."""
        self._saved[identity] = self._being_saved[identity]  # kept, as a second save may have been prepared already

    def is_current(self, identity: str) -> bool:
        """Return whether the result of a photograph is the one that was saved last."""
        lesion = self._store.lesions.get(identity)
        if lesion is None or identity not in self._saved:
            return False
        return self._saved[identity] == _result_version(self._get_result(identity), lesion.mask_digest)


def _result_version(result: LesionResult, mask_digest: str) -> tuple[object, ...]:
    """Return what identifies a result: mask, options, scale, models, patient data and probabilities."""
    prediction = result.class_prediction
    predicted = None if prediction is None else (prediction.model.fingerprint, prediction.probabilities)
    known = {name: value for name, value in result.patient_data.items() if value}
    return mask_digest, result.options, result.model.fingerprint, result.photograph.pixel_size, predicted, known


def save_result(result: LesionResult, name: str, folder: Path) -> Path:
    """Save a result, and add its measurements and prediction to the results table; call this in a thread."""
    from napari_melanoma.imaging.measurements import MEASUREMENT_COLUMNS
    from napari_melanoma.lesion.analysis import prediction_cells, save_lesion
    from napari_melanoma.lesion.batch import COLUMNS, result_row
    from napari_melanoma.lesion.results import ResultTable, read_result

    prediction = result.class_prediction
    cells = {} if prediction is None else prediction_cells(prediction.to_json())
    table = ResultTable(folder.parent / RESULTS_TABLE, (*COLUMNS, *cells, *MEASUREMENT_COLUMNS))
    save_lesion(replace(result, photograph=replace(result.photograph, name=name)), folder)
    table.set_row(result_row(folder.name, name, read_result(folder)))
    table.write()
    return folder


class SavedPrediction(NamedTuple):
    """A saved prediction, with the digest of its mask.

    ``form``: the patient data, by column. ``is_same_model``: whether the model with this name is still the same.
    """

    identity: str
    prediction: ClassPrediction
    form: dict[str, str]
    mask_digest: str
    is_same_model: bool

    def describe_status(self, model: str, mask_digest: str | None, row: Mapping[str, str]) -> str:
        """Describe when the prediction was saved, and what has changed since then.

        For example ``Saved on 2026-11-20 14:05 UTC. Outdated. Changed since then: the mask.``
        """
        changed = [
            name
            for name, has_changed in (
                ("the mask", mask_digest not in (None, self.mask_digest)),
                ("the model", bool(model) and (model != self.prediction.model.name or not self.is_same_model)),
                ("the patient data", dict(row) != self.form),
            )
            if has_changed
        ]
        created = str(self.prediction.provenance.get("created", ""))[:16].replace("T", " ")
        saved = f"Saved on {created} UTC." if created else "Saved earlier."
        return f"{saved} Outdated. Changed since then: {', '.join(changed)}." if changed else saved


class SavedPredictions(QObject):
    """Reads the saved predictions of photographs in a thread."""

    prediction_found = Signal(object)  # SavedPrediction

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._predictions: dict[str, SavedPrediction] = {}
        self._latest = LatestJobQueue(self)
        self._latest.succeeded.connect(self._on_read)

    def load(self, identity: str, source: LayerPhotographSource, folder: Path) -> None:
        """Read the saved result of a photograph; results of other pixels than ``source`` are ignored."""
        self._latest.submit(identity, lambda: partial(read_saved_prediction, identity, source, folder))

    def get(self, identity: str) -> SavedPrediction | None:
        """Return the saved prediction of a photograph; None if there is none."""
        return self._predictions.get(identity)

    def remove(self, identity: str) -> None:
        """Remove a photograph."""
        self._latest.drop(identity)
        self._predictions.pop(identity, None)

    def _on_read(self, saved: SavedPrediction | None) -> None:
        if saved is not None:
            self._predictions[saved.identity] = saved
            self.prediction_found.emit(saved)


def read_saved_prediction(
    identity: str, source: LayerPhotographSource, folder: Path, run: RunContext
) -> SavedPrediction | None:
    """Read the prediction of a saved result; call this in a thread.

    Returns None if there is no result or prediction, or if it is damaged or of another image.
    """
    from napari_melanoma.classification.prediction import ClassPrediction
    from napari_melanoma.core.provenance import array_fingerprint
    from napari_melanoma.io.results import RESULT, read_mask
    from napari_melanoma.lesion.results import read_result

    if not (folder / RESULT).is_file():
        return None
    try:
        values = read_result(folder)
        if "prediction" not in values or values["image_sha256"] != array_fingerprint(source.read().rgb):
            return None
        run.check()
        prediction = ClassPrediction.from_json(values["prediction"])
        form = {str(name): str(value) for name, value in values["form"].items()}
        return SavedPrediction(
            identity,
            prediction,
            form,
            array_fingerprint(read_mask(folder / "mask.png")),
            _is_model_installed(prediction),
        )
    except (MelanomaError, KeyError, TypeError, ValueError, AttributeError):
        return None  # optional: without it, the photograph is analyzed like any other


def _is_model_installed(prediction: ClassPrediction) -> bool:
    """Return whether the model of a prediction is still installed and unchanged."""
    from napari_melanoma.models.installed_bundles import find_bundle

    try:
        return find_bundle(prediction.model.name).fingerprint == prediction.model.fingerprint
    except MelanomaError:
        return False


class LesionCloseGuard(WindowGuard):
    """Asks for confirmation before the main window of a dock closes with unsaved corrections."""

    def __init__(self, dock: QWidget, store: LesionStore) -> None:
        super().__init__(dock)
        self._store = store

    def may_close(self) -> bool:
        """Ask the user if there are unsaved corrections; return False to keep the window open."""
        names = self._store.unsaved_names()
        return not names or self._confirm_close(names)

    def _confirm_close(self, names: list[str]) -> bool:
        box = create_question(
            self._dock,
            "unsaved_corrections",
            f"The corrections of {', '.join(names)} are not saved.",
            "If you keep them, you can restore them when you open the photograph again within 30 days.",
        )
        keep = box.addButton("Close and keep", QMessageBox.ButtonRole.AcceptRole)
        discard = box.addButton("Discard", QMessageBox.ButtonRole.DestructiveRole)
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        pressed = exec_question(box)
        if pressed is discard:
            discard_unsaved(self._store)
        elif pressed is keep:
            return self._save_for_recovery()
        return pressed is discard

    def _save_for_recovery(self) -> bool:
        try:
            save_unsaved(self._store)
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True


class SaveBar(QWidget):
    """The buttons to save a result, to write its report, and to select the results folder.

    ``save_requested``: emitted with the ``SaveTarget`` and the folder. ``report_requested``: with the saved folder.
    """

    save_requested = Signal(object, object)
    report_requested = Signal(object)

    def __init__(self, settings: DockSettings) -> None:
        super().__init__()
        self._settings = settings
        self._target: SaveTarget | None = None
        self._pending_target: SaveTarget | None = None
        self._saved: dict[Path, SaveTarget] = {}  # the result in each folder
        self._last_folders: dict[str, Path] = {}  # the folder that each photograph was saved to last
        self.button = named(QPushButton("Save"), "save", "Save", "")
        self._folder_button = tool_button("save_folder", "Results folder", "Select the results folder", "folder ...")
        self.report_button = tool_button("lesion_report", "Report", "", "Report ...")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(row(self.button, self.report_button, self._folder_button, stretch=0))
        self.report_button.clicked.connect(self._on_report)
        self.button.clicked.connect(self.save)
        self._folder_button.clicked.connect(self._on_choose_folder)
        self.set_target(None)

    def set_target(self, target: SaveTarget | None) -> None:
        """Set the photograph whose result is saved."""
        self._target = target
        self.button.setEnabled(target is not None)
        self._update_report_button()
        folder = self._settings.folder
        if target is None:
            self.button.setToolTip("Analyze a photograph first")
            return
        destination = result_folder(folder, target.name) if folder else "a folder that you select"
        self.button.setToolTip(f"Save mask, ROI, overlay and measurements to {destination} ({SAVE_KEY})")

    def set_saved(self, target: SaveTarget, folder: Path) -> None:
        """Record which result a folder contains: saving it again replaces it without confirmation."""
        self._saved = {other: saved for other, saved in self._saved.items() if not _is_same_folder(other, folder)}
        self._saved[folder] = target
        self._last_folders[target.identity] = folder
        self._update_report_button()

    def save(self) -> None:
        """Request saving, after asking for the folder or for confirmation if needed."""
        if self._target is None:
            return
        if self._settings.folder is None:
            self._pending_target = self._target
            self._choose_folder()
        else:
            self._request_save(self._target, result_folder(self._settings.folder, self._target.name))

    def _update_report_button(self) -> None:
        is_saved = self._report_folder is not None
        self.report_button.setEnabled(is_saved)
        tip = "Write a report of the saved result (HTML, optionally PDF)"
        self.report_button.setToolTip(tip if is_saved else "Save the result first: the report is written from it")

    def _on_report(self) -> None:
        self.report_requested.emit(self._report_folder)

    @property
    def _report_folder(self) -> Path | None:
        """The folder that the photograph was saved to last; None if another result has replaced it there.

        Folders that it was saved to earlier may contain an outdated mask.
        """
        identity = None if self._target is None else self._target.identity
        folder = self._last_folders.get(str(identity))
        saved = None if folder is None else self._saved.get(folder)
        return folder if saved is not None and saved.identity == identity else None

    def _request_save(self, target: SaveTarget, folder: Path) -> None:
        photograph = (target.identity, target.image_digest)
        is_saved = any(
            _is_same_folder(other, folder) and (saved.identity, saved.image_digest) == photograph
            for other, saved in self._saved.items()
        )
        if folder.exists() and not is_saved:
            self._confirm_replace(target, folder)
        else:
            self.save_requested.emit(target, folder)

    def _on_choose_folder(self) -> None:
        self._pending_target = None
        self._choose_folder()

    def _choose_folder(self) -> None:
        choose_folder(self, "folder_dialog", "Results folder", self._settings.folder, self._on_folder)

    def _on_folder(self, folder: Path) -> None:
        self._settings.folder = folder
        self.set_target(self._target)
        if self._pending_target is not None:
            self._request_save(self._pending_target, result_folder(folder, self._pending_target.name))

    def _confirm_replace(self, target: SaveTarget, folder: Path) -> None:
        details = f"{folder} already exists and may belong to another photograph with the same name."
        box = create_question(self, "replace_result", f"Replace the result of '{target.name}'?", details)
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_replace, target, folder))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_replace(self, target: SaveTarget, folder: Path, button: QAbstractButton) -> None:
        if button.objectName() == "replace":
            self.save_requested.emit(target, folder)


def _is_same_folder(one: Path, other: Path) -> bool:
    """Return whether two paths are the same folder; only paths that differ just in spelling are looked up on disk."""
    return normalize_name(str(one)) == normalize_name(str(other)) and is_same_folder(one, other)
