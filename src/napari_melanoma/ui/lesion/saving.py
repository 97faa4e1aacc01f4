"""Save results of the Lesion dock: the Save button, saved predictions, and a question before edits are lost."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QAbstractButton, QFrame, QMessageBox, QPushButton, QVBoxLayout, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import FileStamp, file_stamp
from napari_melanoma.core.formatting import format_time_ago
from napari_melanoma.core.parsing import read_object_or_empty
from napari_melanoma.core.paths import is_device_name
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.ui.session.recovery import discard_unsaved, save_unsaved
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dialogs import (
    StoreGuard,
    choose_folder,
    confirm,
    create_question,
    exec_question,
)
from napari_melanoma.ui.widgets.dock_layout import menu_button
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import fill_column, named, quiet_label, row, set_shown

if TYPE_CHECKING:
    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.lesion.analysis import LesionResult
    from napari_melanoma.ui.session.open_photograph import OpenPhotograph, PhotographSessions
    from napari_melanoma.ui.session.photograph import PhotographSession

RESULTS_TABLE = "results.csv"
SAVE_KEY = format_key("lesion.save")
CHANGED_MESSAGE = (
    "The result has changed since it was saved. Press Save first: the report is written from the saved result."
)


SAVE_FIRST = "Save the result first: the report is written from it"
NOT_DICOM_TIP = "A measurement report (DICOM SR) requires a photograph that is a DICOM file"
DICOM_TIP = "Write a measurement report of the saved result (DICOM SR): outline, measurements and prediction"


def result_folder(folder: Path, name: str) -> Path:
    """Return the subfolder for a photograph; characters that are not allowed in file names become ``_``."""
    plain = re.sub(r'[\x00-\x1f<>:"/\\|?*]', "_", name).strip(" .")[:120].rstrip(" .") or "photograph"
    return folder / (f"photograph {plain}" if is_device_name(plain) else plain)


def result_version(result: LesionResult, mask_digest: str) -> tuple[object, ...]:
    """Return what identifies a result: mask, options, scale, type, models, patient data and probabilities."""
    prediction = result.class_prediction
    predicted = None if prediction is None else (prediction.model.fingerprint, prediction.probabilities)
    known = {name: value for name, value in result.patient_data.items() if value}
    stated = result.photograph.pixel_size, result.photograph.modality
    return mask_digest, result.options, result.model.fingerprint, stated, predicted, known


def describe_stored(folder: Path, image_digest: str, size: PixelSize | None = None) -> str:
    """Describe the result in a folder to the user who would replace it by one of the photograph with a digest.

    ``size``: the scale of the photograph; a result that would be lost with its scale is described as such.
    """
    from napari_melanoma.io.results import RESULT
    from napari_melanoma.lesion.mask_record import describe_mask, is_mask_of_user

    stored = read_object_or_empty(folder / RESULT)
    if not isinstance(stored.get("image_sha256"), str):
        return f"{folder} already exists and may belong to another photograph with the same name."
    is_same = stored["image_sha256"] == image_digest
    saved_at = format_time_ago(max(0.0, time.time() - (folder / RESULT).stat().st_mtime))
    text = f"{folder} has a result of {'this' if is_same else 'another'} photograph, saved {saved_at}."
    if is_same and size is None and stored.get("pixel_size_um"):
        text += " It has a scale, but the photograph has none now: values in mm would be lost."
    if not is_mask_of_user(stored):
        return text
    return f"{text} Its mask was made by a user ({describe_mask(stored)}) and cannot be restored once it is replaced."


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


@cache
def is_dicom_file(path: Path) -> bool:
    """Return whether a file is in DICOM format, by its first bytes."""
    from napari_melanoma.io.formats import HEAD_BYTES, identify_format

    try:
        with path.open("rb") as file:
            return identify_format(file.read(HEAD_BYTES)) == "DICOM"
    except OSError:
        return False


def write_dicom_report(path: Path, folder: Path, photograph: Path, reader: str, run: RunContext) -> str:
    """Write the measurement report of a saved result; return the message."""
    from napari_melanoma.reports.dicom_photograph_report import read_exported_photograph, write_photograph_report

    write_photograph_report(path, read_exported_photograph(folder, photograph, reader))
    return f"Written: {path}"


class LesionCloseGuard(StoreGuard):
    """Asks for confirmation before the main window of a dock closes with unsaved corrections."""

    def __init__(self, dock: QWidget, sessions: PhotographSessions, *stores: QObject) -> None:
        super().__init__(dock, *stores)
        self._sessions = sessions
        self._answered: dict[str, str] = {}  # digest of the unsaved work that the user was asked about, by identity

    def may_close(self) -> bool:
        """Ask the user if there are unsaved corrections; return False to keep the window open.

        The user is asked once, also if another guard keeps the window open until something else is stored.
        """
        if not super().may_close():
            return False
        sessions = self._sessions.unsaved
        unsaved = {session.identity: _fingerprint_work(session) for session in sessions}
        answered = self._answered if self.is_closing_again else {}
        names = [session.name for session in sessions if answered.get(session.identity) != unsaved[session.identity]]
        if names and not self._confirm_close(names):
            return False
        self._answered = unsaved
        return True

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
            discard_unsaved(self._sessions)
        elif pressed is keep:
            return self._save_for_recovery()
        return pressed is discard

    def _save_for_recovery(self) -> bool:
        try:
            save_unsaved(self._sessions)
        except SaveError as error:
            self.failed.emit(error)
            return False
        return True


def _fingerprint_work(session: OpenPhotograph) -> str:
    """Return a digest of the mask and the strokes of a photograph."""
    mask, strokes = session.mask, session.strokes
    parts = [array_fingerprint(one) for one in (None if mask is None else mask.data, strokes) if one is not None]
    return " ".join(parts)


class SaveBar(QWidget):
    """The button to save a result, and the menu to share it: its report, that in DICOM, and the results folder.

    ``save_requested``: emitted with the session and the folder. ``report_requested``, ``dicom_requested``: with the
    saved folder.
    """

    save_requested = Signal(object, object)
    report_requested = Signal(object)
    dicom_requested = Signal(object)

    def __init__(self, settings: DockSettings) -> None:
        super().__init__()
        self._settings = settings
        self._session: PhotographSession | None = None  # the analyzed photograph in view
        self._stamps: dict[Path, FileStamp | None] = {}  # of the results, when they were saved from here
        self.button = named(QPushButton("Save"), "save", "Save", "")
        self.share_button = menu_button(
            "share",
            "Share",
            "Report, DICOM, results folder",
            {
                "lesion_report": ("Report...", self._on_report),
                "lesion_dicom_sr": ("DICOM...", self._on_dicom_report),
                "save_folder": ("Folder...", self._choose_folder),
            },
        )
        self._report_action, self._dicom_action, folder = self.share_button.menu().actions()
        folder.setToolTip("Choose the results folder")
        fill_column(self, row(self.button, self.share_button, stretch=0))
        self.button.clicked.connect(self.save)
        self._hidden = ""
        self.show_session(None)

    def show_session(self, session: PhotographSession | None, hidden: str = "") -> None:
        """Show where the result of a photograph is saved; ``hidden``: why it is not, while it is not in view."""
        lesion = None if session is None else session.lesion
        is_analyzed = lesion is not None and not lesion.is_before_prompts
        self._session = session if is_analyzed and not hidden else None
        self._hidden = hidden
        self.button.setEnabled(self._session is not None)
        is_saved = self._session is not None and self._session.saved.folder is not None
        self._report_action.setEnabled(is_saved)
        tip = "Write a report of the saved result (HTML, optionally PDF)"
        self._report_action.setToolTip(tip if is_saved else hidden or SAVE_FIRST)
        path = None if session is None else session.path
        is_dicom = path is not None and is_dicom_file(path)
        self._dicom_action.setEnabled(is_saved and is_dicom)
        dicom_tip = DICOM_TIP if is_saved else hidden or SAVE_FIRST
        self._dicom_action.setToolTip(dicom_tip if is_dicom else NOT_DICOM_TIP)
        folder = self._settings.folder
        if self._session is None:
            self.button.setToolTip(hidden or "Analyze a photograph first")
            return
        destination = result_folder(folder, self._session.name) if folder else "a folder that you select"
        self.button.setToolTip(f"Save mask, region of interest, overlay and measurements to {destination} ({SAVE_KEY})")

    def save(self) -> None:
        """Request saving, after asking for the folder or for confirmation if needed."""
        if self._session is None:
            return
        if self._settings.folder is None:
            self._choose_folder(self._session)
        else:
            self._request_save(self._session, self._settings.folder)

    def add_saved(self, folder: Path) -> None:
        """Record the version of a result that was just saved."""
        self._stamps[folder] = _find_stamp(folder)

    def is_unchanged(self, folder: Path) -> bool:
        """Whether a folder has the result that was saved there from here, not one of another window or program."""
        stamp = _find_stamp(folder)
        return stamp is not None and stamp == self._stamps.get(folder)

    def _on_report(self) -> None:
        if self._session is not None:
            self.report_requested.emit(self._session.saved.folder)

    def _on_dicom_report(self) -> None:
        if self._session is not None:
            self.dicom_requested.emit(self._session.saved.folder)

    def _request_save(self, session: PhotographSession, folder: Path) -> None:
        result, lesion = result_folder(folder, session.name), session.lesion
        digest = "" if lesion is None else lesion.image_digest
        is_own = session.saved.contains(result, digest) and self.is_unchanged(result)
        if lesion is not None and result.exists() and not is_own:
            details = describe_stored(result, digest, session.source.pixel_size)
            self._confirm_replace(session, result, details)
        else:
            self.save_requested.emit(session, result)

    def _choose_folder(self, saved: PhotographSession | None = None) -> None:
        """Let the user select the results folder; ``saved``: a photograph to save there."""
        on_folder = partial(self._on_folder, saved)
        choose_folder(self, "folder_dialog", "Results folder", self._settings.folder, on_folder)

    def _on_folder(self, saved: PhotographSession | None, folder: Path) -> None:
        self._settings.folder = folder
        self.show_session(self._session, self._hidden)
        if saved is not None:
            self._request_save(saved, folder)

    def _confirm_replace(self, session: PhotographSession, folder: Path, details: str) -> None:
        box = create_question(self, "replace_result", f"Replace the result of '{session.name}'?", details)
        box.addButton("Replace", QMessageBox.ButtonRole.DestructiveRole).setObjectName("replace")
        box.setDefaultButton(box.addButton(QMessageBox.StandardButton.Cancel))
        box.buttonClicked.connect(partial(self._on_replace, session, folder))
        box.finished.connect(box.deleteLater)
        box.open()

    def _on_replace(self, session: PhotographSession, folder: Path, button: QAbstractButton) -> None:
        if button.objectName() == "replace":
            self.save_requested.emit(session, folder)


def _find_stamp(folder: Path) -> FileStamp | None:
    """Return the version of the result in a folder; None if there is none."""
    from napari_melanoma.io.results import RESULT

    return file_stamp(folder / RESULT)


class RecoveryNotice(QFrame):
    """Offers to restore or discard the unsaved corrections that were found for a photograph."""

    def __init__(self) -> None:
        super().__init__()
        self.setObjectName("notice")
        self._session: PhotographSession | None = None
        self._label = quiet_label()
        restore = named(QPushButton("Restore"), "recover", "Restore", "Restore the unsaved corrections")
        discard = named(QPushButton("Discard"), "recover_discard", "Discard", "Delete the unsaved corrections")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self._label)
        layout.addWidget(row(restore, discard))
        self.hide()
        restore.clicked.connect(self._on_restore)
        discard.clicked.connect(self._on_discard)

    def show_session(self, session: PhotographSession | None) -> None:
        """Follow what is found for a photograph; None for none."""
        if self._session is not None:
            self._session.events.recovered.disconnect(self._update)
        self._session = session
        if session is not None:
            session.events.recovered.connect(self._update)
        self._update()

    def _update(self) -> None:
        recovered = None if self._session is None else self._session.recovered
        if recovered is not None:
            time_ago = format_time_ago(time.time() - recovered.saved_at)
            self._label.setText(f"This photograph has unsaved corrections from {time_ago}.")
        set_shown(self, recovered is not None)

    def _on_restore(self) -> None:
        """Restore the corrections; ask before they replace other ones."""
        session = self._session
        if session is None or session.recovered is None:
            return
        is_edited = session.lesion is not None and session.lesion.corrected
        if is_edited or session.is_mask_edited or session.strokes is not None:
            saved_at = format_time_ago(time.time() - session.recovered.saved_at)
            details = (
                f"The mask that is shown was edited, too. Corrections from {saved_at} replace it; Ctrl+Z restores it."
            )
            question = f"Replace the mask of {session.name}?"
            if not confirm(self, "restore_over", question, details, "Replace", "Lesion"):
                return
        session.services.controller.accept_recovered(session)

    def _on_discard(self) -> None:
        """Discard the corrections after a question, since they cannot be restored."""
        session = self._session
        if session is None or session.recovered is None:
            return
        saved_at = format_time_ago(time.time() - session.recovered.saved_at)
        details = (
            f"The mask that was drawn {saved_at} and never saved is deleted, with strokes that were not applied yet. "
            "It cannot be restored."
        )
        question = f"Discard the unsaved corrections of '{session.name}'?"
        if confirm(self, "discard_recovered", question, details, "Discard", "Lesion"):
            session.services.controller.discard_recovered(session)
