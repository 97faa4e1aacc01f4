"""Open and create cases, and add images to the open case."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QMessageBox

from napari_melanoma.case.image_assignment import Note, file_images
from napari_melanoma.case.model import Case, set_patient
from napari_melanoma.case.store import CASE
from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.files import is_same_folder
from napari_melanoma.core.formatting import format_count
from napari_melanoma.data.table_mapping import TableMapping
from napari_melanoma.samples.catalog import CASE_FOLDER, CASE_IMAGE, copy_case, find_credit, shorten_credit
from napari_melanoma.ui.case.controller import CaseController, CaseSettings
from napari_melanoma.ui.case.controls import RECENT_LINK, CaseControls
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.settings import get_user_folder

if TYPE_CHECKING:
    from napari_melanoma.case.importing import CollectedPatient

CASE_FOLDER_TITLE = "Folder for the case of these images"
OTHER_CASE = "Nothing was added: the case {case} was closed while the files were read. Open it, and add them again."
NEW_CASE = "Nothing was added: the case {case} was opened while the files were read. Close it, and add them again."
ENTRIES = {"new": "New case...", "open": "Open a case...", "folder": "Add a folder..."}


@dataclass(frozen=True)
class CaseImportRequest:
    """Sources of an import: image files, folders, tables or DICOM files.

    ``case``: folder of the case to which the images are added; None for a new case. ``lesion``: id of the target
    lesion; empty to assign the images by their names. ``mapping_requested``: whether the user was already asked for
    the mapping of a table.
    """

    paths: tuple[Path, ...]
    case: Path | None = None
    lesion: str = ""
    mapping: TableMapping | None = None
    mapping_requested: bool = False


class CaseImporter(QObject):
    """Opens and creates cases, and adds images to the open case; ``added``: the id of the first new image."""

    started = Signal()
    finished = Signal()
    progressed = Signal(object)  # Progress
    added = Signal(str)
    message = Signal(str)
    failed = Signal(object)  # Exception

    def __init__(self, dock: CaseControls, controller: CaseController, settings: CaseSettings) -> None:
        super().__init__(dock)
        self._dock, self._controller, self._settings = dock, controller, settings
        self._notes: tuple[Note, ...] = ()
        self._opened_message = ""
        self._pending_case: Case | None = None  # a new case whose folder may not be writable
        self._jobs = LatestJobQueue(self)  # of functions that return what to do with their result
        self._jobs.progressed.connect(self.progressed)
        self._jobs.succeeded.connect(lambda show: show())
        self._jobs.failed.connect(self.failed)
        self._jobs.idle.connect(self.finished)
        controller.opened.connect(self._on_opened)
        controller.failed.connect(self._on_create_failed)

    def add_paths(self, paths: Sequence[Path], lesion: str = "") -> None:
        """Open a case if one of the paths is a case; otherwise add the images to the open case, or create one.

        ``lesion``: id of the lesion on which they were dropped; empty if none.
        """
        store, is_editable = self._controller.store, self._controller.is_editable
        case = next((path for path in paths if path.name == CASE or (path / CASE).is_file()), None)
        folder = case.parent if case is not None and case.name == CASE else case
        is_own = folder is not None and store is not None and is_editable and is_same_folder(folder, store.folder)
        if folder is not None and not is_own:
            self._controller.open(folder)
        elif store is not None and not is_editable:
            self.message.emit(f"Nothing was added: {self._controller.read_only}")
        else:
            sources = (folder,) if folder is not None else tuple(paths)
            self.collect(CaseImportRequest(sources, None if store is None else store.folder, lesion))

    def collect(self, request: CaseImportRequest) -> None:
        """Read the sources of an import, which replaces one that is running."""
        self._jobs.cancel()
        self.started.emit()
        self._jobs.submit("collect", lambda: partial(self._collect, request))

    def cancel(self) -> None:
        """Stop reading files."""
        self._jobs.cancel()

    def follow_link(self, link: str) -> None:
        """Perform the action of a link."""
        if link.startswith(RECENT_LINK):
            self._controller.open(Path(link.removeprefix(RECENT_LINK)))
            return
        choose, controller = self._choose_folder, self._controller
        slots: dict[str, Callable[[], None]] = {
            "folder": partial(choose, "Folder of one patient's images", lambda path: self.add_paths([path])),
            "open": partial(choose, "Folder of a case", controller.open),
            "new": partial(choose, "Folder for a new case", controller.create),
            "locate": partial(choose, "Folder of the missing images", controller.locate_images),
            "sample": self.open_sample,
            "show": self._show_folder,
            "notes": self._show_notes,
            "values": self._show_values,
            "close": controller.close,
        }
        if link in slots:
            slots[link]()

    def choose_images(self) -> None:
        """Open a dialog for images, tables and DICOM files."""
        dialog = QFileDialog(self._dock.window(), "Images, tables or DICOM files", str(self._settings.default_folder))
        dialog.setObjectName("case_images_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.filesSelected.connect(lambda names: self.add_paths([Path(name) for name in names]))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def fill_menu(self, menu: QMenu) -> None:
        """Fill the menu with the current entries."""
        menu.clear()
        case, store = self._controller.case, self._controller.store
        entries = ENTRIES | ({"values": "Values read from files..."} if case is not None and case.imports else {})
        for link, text in {**entries, "show": "Show the case folder", "close": "Close the case"}.items():
            menu.addAction(text).triggered.connect(lambda checked=False, link=link: self.follow_link(link))
        recent = [path for path in self._settings.recent if store is None or path != store.folder]
        if recent:
            menu.addSection("Recent")
        for path in recent:
            action = menu.addAction(path.name)
            action.setToolTip(str(path))
            action.triggered.connect(lambda checked=False, path=path: self.follow_link(f"{RECENT_LINK}{path}"))

    def _choose_folder(self, title: str, on_chosen: Callable[[Path], object]) -> None:
        choose_folder(self._dock, "case_folder_dialog", title, self._settings.default_folder, on_chosen)

    def open_sample(self, folder: Path | None = None) -> None:
        """Open the sample case, which is made at first; ``folder``: of the case, by default one of the user's data."""
        folder = folder or get_user_folder("samples") / CASE_FOLDER

        def create(run: RunContext) -> Callable[[], None]:
            from napari_melanoma.case.importing import collect_patients

            copy_case(folder)
            (patient,) = collect_patients((folder,), mapping=None, run=run).patients
            credit = shorten_credit(find_credit(folder / CASE_IMAGE))
            return partial(self._create, set_patient(patient.case, note=credit), folder)

        self._notes = ()
        if (folder / CASE).is_file():
            self._controller.open(folder)
            return
        self.started.emit()
        self._jobs.submit("sample", lambda: create)

    def _collect(self, request: CaseImportRequest, run: RunContext) -> Callable[[], None]:
        """Collect the patients in a thread, unless the mapping of a table is needed first."""
        from napari_melanoma.case.importing import collect_patients
        from napari_melanoma.core.errors import InputError

        table = None if request.mapping_requested else _find_unmapped_table(request.paths, run)
        if table is not None:
            return partial(self._open_mapping_dialog, request, table)
        try:
            collected = collect_patients(request.paths, mapping=request.mapping, run=run)
        except InputError as error:
            if request.mapping is None:
                raise
            text = f"{error} No image of the table was found next to it, in a folder 'images', or at its paths."
            raise InputError(text) from error
        return partial(self._choose_patient, request, collected.patients, collected.notes)

    def _open_mapping_dialog(self, request: CaseImportRequest, table: Path) -> None:
        """Ask for the mapping of a table, and collect again."""
        from napari_melanoma.ui.table_mapping import MappingDialog

        mapped = replace(request, mapping_requested=True)
        dialog = MappingDialog(table, self._dock.window(), request.mapping)
        dialog.mapping_chosen.connect(lambda mapping: self.collect(replace(mapped, mapping=mapping)))
        dialog.rejected.connect(partial(self.collect, mapped))
        dialog.open()

    def _choose_patient(
        self, request: CaseImportRequest, patients: Sequence[CollectedPatient], notes: tuple[Note, ...]
    ) -> None:
        """Add the images of the patient of the case, else of the only patient, else of one that the user chooses."""
        case = self._controller.case
        patient_id = "" if case is None else case.patient.patient_id
        matching = [one for one in patients if patient_id and one.case.patient.patient_id == patient_id] or patients
        if len(matching) == 1:
            self._add(request, matching[0], notes)
            return
        choices = {}
        for number, patient in enumerate(patients, 1):
            count, lesions = format_count(len(patient.images), "image"), len(patient.case.lesions)
            details = f"{count}, {format_count(lesions, 'lesion')}" if lesions else count
            choices[f"{number}. {patient.name or 'images without patient'}: {details}"] = patient
        dialog = QInputDialog(self._dock.window())
        dialog.setObjectName("patient_dialog")
        dialog.setWindowTitle("Which patient?")
        text = f"These files contain {len(patients)} patients, but a case has only one. Select the patient."
        dialog.setLabelText(text)
        dialog.setComboBoxItems(list(choices))
        dialog.setOption(QInputDialog.InputDialogOption.UseListViewForComboBoxItems)
        dialog.textValueSelected.connect(lambda chosen: self._add(request, choices[chosen], notes, is_one_of=True))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _add(
        self, request: CaseImportRequest, patient: CollectedPatient, notes: tuple[Note, ...], *, is_one_of: bool = False
    ) -> None:
        """Add the images to the case of the request, or create a case; refuse if another one was opened since.

        ``is_one_of``: whether the files contain several patients, so that the case is not created beside them.
        """
        case, store = self._controller.case, self._controller.store
        if request.case is not None and not self._controller.is_open(request.case):
            self.message.emit(OTHER_CASE.format(case=request.case.name))
            return
        if request.case is None and store is not None:
            self.message.emit(NEW_CASE.format(case=store.folder.name))
            return
        if case is None or store is None:
            self._notes = (*patient.notes, *notes)
            if len(request.paths) == 1 and request.paths[0].is_dir() and not is_one_of:
                self._pending_case = patient.case
                self._create(patient.case, request.paths[0])
            else:
                self._choose_folder(CASE_FOLDER_TITLE, partial(self._create, patient.case))
            return
        lesion = request.lesion if request.lesion in {one.id for one in case.lesions} else ""
        filed = file_images(case, patient.images, lesion)
        self._notes = (*filed.notes, *notes)
        count = filed.case.images_numbered - case.images_numbered
        self._controller.edit(filed.case, f"{format_count(count, 'image')} added")
        text = f"{format_count(count, 'image')} added." if count else "No new images."
        self.message.emit(f"{text}{self._format_notes()}")
        for _, image in filed.case.iterate_images():
            if int(image.id[1:]) > case.images_numbered:
                self.added.emit(image.id)
                return

    def _create(self, case: Case, folder: Path) -> None:
        images, count = format_count(case.images_numbered, "image"), len(case.lesions)
        lesions = f"in {format_count(count, 'lesion')}" if count else "without a lesion yet"
        if count and case.images:
            lesions += f"; without a lesion: {format_count(len(case.images), 'image')}"
        self._opened_message = f"Created a case of {images} {lesions}.{self._format_notes()}"
        self._controller.create(folder, case)

    def _on_create_failed(self, error: Exception) -> None:
        """Ask for another folder if that of the images is not writable, as on a disc."""
        new_case, self._pending_case, self._opened_message = self._pending_case, None, ""
        if new_case is not None and isinstance(error, SaveError):
            self._choose_folder(CASE_FOLDER_TITLE, partial(self._create, new_case))

    def _on_opened(self) -> None:
        if self._controller.store is not None:
            self.message.emit(self._opened_message)
        self._opened_message, self._pending_case = "", None

    def _format_notes(self) -> str:
        """Return the first note, and a link to all if there are more."""
        if not self._notes:
            return ""
        first = " ".join(self._notes[0])
        if len(self._notes) == 1:
            return f" {first}"
        return f" {html.escape(first)} {self._dock.icons.link('notes', f'All {len(self._notes):,} notes')}"

    def _show_notes(self) -> None:
        lines = [f"{source} {note}" for source, note in self._notes]
        self._show_lines(f"{format_count(len(lines), 'note')} on the added files.", lines)

    def _show_values(self) -> None:
        case = self._controller.case
        self._show_lines("Values that were read from files.", () if case is None else case.imports)

    def _show_lines(self, title: str, lines: Sequence[str]) -> None:
        box = QMessageBox(self._dock.window())
        box.setObjectName("case_notes")
        box.setWindowTitle("Case")
        box.setText(title)
        box.setInformativeText("\n".join(lines))
        box.finished.connect(box.deleteLater)
        box.open()

    def _show_folder(self) -> None:
        if self._controller.store is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._controller.store.folder)))


def _find_unmapped_table(paths: Sequence[Path], run: RunContext) -> Path | None:
    """Return the first table in which no column with image files is recognized; None if there is none."""
    from napari_melanoma.case.image_assignment import names_no_image
    from napari_melanoma.io.discovery import TABLE_SUFFIXES, find_images_and_tables

    tables = (path for path in find_images_and_tables(list(paths)) if path.suffix.lower() in TABLE_SUFFIXES)
    for table in tables:
        run.check()
        if names_no_image(table):
            return table
    return None
