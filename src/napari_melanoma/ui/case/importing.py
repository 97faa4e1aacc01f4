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
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QMessageBox, QWidget

from napari_melanoma.case.image_assignment import file_images
from napari_melanoma.case.model import Case
from napari_melanoma.case.store import CASE
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.case.controls import RECENT_LINK
from napari_melanoma.ui.widgets.dialogs import choose_folder
from napari_melanoma.ui.widgets.job import BackgroundJob, tasks

if TYPE_CHECKING:
    from napari_melanoma.case.image_assignment import Note
    from napari_melanoma.case.importing import CollectedPatient, CollectedPatients
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.data.table_mapping import TableMapping
    from napari_melanoma.ui.case.controller import CaseController, CaseSettings
    from napari_melanoma.ui.case.controls import CaseControls

CASE_FOLDER_TITLE = "Folder for the case of these images"
SAMPLE_FOLDER = "napari-melanoma sample case"
SAMPLE_PX = 320
SAMPLE_NAMES = (
    "back_left_1_dermoscopy",
    "back_left_1_macro",
    "forearm_right_2_dermoscopy",
    "forearm_right_2_macro",
    "cheek_3_dermoscopy",
)


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
        self._dock = dock
        self._controller = controller
        self._settings = settings
        self._notes: tuple[tuple[str, str], ...] = ()
        self._opened_message = ""
        self._pending_case: Case | None = None  # a new case whose folder may not be writable
        self._sample_job: BackgroundJob | None = None
        self.collector = CaseImageCollector(dock)
        self.collector.started.connect(self.started)
        self.collector.progressed.connect(self.progressed)
        self.collector.finished.connect(self.finished)
        self.collector.failed.connect(self.failed)
        self.collector.collected.connect(self._on_collected)
        controller.opened.connect(self._on_opened)
        controller.failed.connect(self._on_create_failed)

    def add_paths(self, paths: Sequence[Path], lesion: str = "") -> None:
        """Open a case if one of the paths is a case; otherwise add the images to the open case, or create one.

        ``lesion``: id of the lesion on which they were dropped; empty if none.
        """
        case = next((path for path in paths if path.name == CASE or (path / CASE).is_file()), None)
        store = self._controller.store
        folder = case.parent if case is not None and case.name == CASE else case
        is_open_case = (
            store is not None
            and self._controller.is_editable
            and folder is not None
            and folder.absolute() == store.folder
        )
        if case is not None and not is_open_case:
            self._controller.open(case)
        elif store is not None and not self._controller.is_editable:
            self.message.emit(f"Nothing was added: {self._controller.read_only}")
        else:
            patient = "" if self._controller.case is None else self._controller.case.patient.patient_id
            sources = (folder,) if is_open_case and folder is not None else tuple(paths)
            self.collector.start(CaseImportRequest(sources, lesion, patient))

    def cancel(self) -> None:
        """Stop reading files."""
        self.collector.cancel()
        if self._sample_job is not None:
            self._sample_job.cancel()

    def follow_link(self, link: str) -> None:
        """Perform the action of a link."""
        if link.startswith(RECENT_LINK):
            self._controller.open(Path(link.removeprefix(RECENT_LINK)))
            return
        choose = self._choose_folder
        slots: dict[str, Callable[[], None]] = {
            "folder": partial(choose, "Folder of one patient's images", lambda path: self.add_paths([path])),
            "open": partial(choose, "Folder of a case", self._controller.open),
            "new": partial(choose, "Folder for a new case", self._controller.create),
            "locate": partial(choose, "Folder of the missing images", self._controller.locate_images),
            "sample": partial(choose, "Folder for the sample case", self._create_sample),
            "show": self._show_folder,
            "notes": self._show_notes,
            "values": self._show_values,
            "close": self._controller.close,
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
        entries = {"new": "New case ...", "open": "Open a case ...", "folder": "Add a folder ..."}
        if self._controller.case is not None and self._controller.case.imports:
            entries["values"] = "Values read from files ..."
        entries |= {"show": "Show the case folder", "close": "Close the case"}
        for link, text in entries.items():
            menu.addAction(text).triggered.connect(partial(self._on_entry, link))
        recent = [
            path
            for path in self._settings.recent
            if self._controller.store is None or path != self._controller.store.folder
        ]
        if recent:
            menu.addSection("Recent")
        for path in recent:
            action = menu.addAction(path.name)
            action.setToolTip(str(path))
            action.triggered.connect(partial(self._on_entry, f"{RECENT_LINK}{path}"))

    def _on_entry(self, link: str, checked: bool = False) -> None:
        self.follow_link(link)

    def _choose_folder(self, title: str, on_chosen: Callable[[Path], object]) -> None:
        choose_folder(self._dock, "case_folder_dialog", title, self._settings.default_folder, on_chosen)

    def _create_sample(self, parent: Path) -> None:
        """Create the sample in a new folder, and add it."""
        folder = parent / SAMPLE_FOLDER
        if (folder / CASE).is_file():
            self._controller.open(folder)
            return
        job = self._sample_job = BackgroundJob(partial(write_sample, folder))
        job.progressed.connect(self.progressed)
        job.succeeded.connect(self._on_sample_created)
        job.failed.connect(self.failed)
        job.finished.connect(self._on_sample_finished)
        self.started.emit()
        job.start(self)

    def _on_sample_created(self, folder: Path) -> None:
        self.add_paths([folder])

    def _on_sample_finished(self) -> None:
        self._sample_job = None
        if tasks.is_idle(self.collector):
            self.finished.emit()

    def _on_collected(self, imported: CaseImportResult) -> None:
        """Add the images to the open case, or create a case from them."""
        self._notes = (*imported.patient.notes, *imported.notes)
        case = self._controller.case
        if case is not None and self._controller.store is not None:
            self._add(imported, case)
            return
        new_case, paths = imported.patient.case, imported.request.paths
        if len(paths) == 1 and paths[0].is_dir() and not imported.several_patients:
            self._pending_case = new_case
            self._create(new_case, paths[0])
        else:
            self._choose_folder(CASE_FOLDER_TITLE, partial(self._create, new_case))

    def _on_create_failed(self, error: Exception) -> None:
        """Ask for another folder if that of the images is not writable, as on a disc."""
        new_case, self._pending_case, self._opened_message = self._pending_case, None, ""
        if new_case is not None and isinstance(error, SaveError):
            self._choose_folder(CASE_FOLDER_TITLE, partial(self._create, new_case))

    def _create(self, case: Case, folder: Path) -> None:
        images, lesions = format_count(case.images_numbered, "image"), format_count(len(case.lesions), "lesion")
        self._opened_message = f"Created a case of {images} in {lesions}.{self._format_notes()}"
        self._controller.create(folder, case)

    def _add(self, imported: CaseImportResult, case: Case) -> None:
        previous_count = case.images_numbered
        lesion = imported.request.lesion if imported.request.lesion in {one.id for one in case.lesions} else ""
        assigned = file_images(case, imported.patient.images, lesion)
        after, self._notes = assigned.case, (*assigned.notes, *imported.notes)
        count = after.images_numbered - previous_count
        new = [image.id for _, image in after.iterate_images() if int(image.id[1:]) > previous_count]
        self._controller.edit(after, f"{format_count(count, 'image')} added")
        text = f"{format_count(count, 'image')} added." if count else "No new images."
        self.message.emit(f"{text}{self._format_notes()}")
        if new:
            self.added.emit(new[0])

    def _format_notes(self) -> str:
        """Return the first note, and a link to all if there are more."""
        if not self._notes:
            return ""
        first = " ".join(self._notes[0])
        if len(self._notes) == 1:
            return f" {first}"
        return f" {html.escape(first)} {self._dock.icons.link('notes', f'All {len(self._notes):,} notes')}"

    def _on_opened(self) -> None:
        store = self._controller.store
        if store is not None:
            self.message.emit(self._opened_message)
        self._opened_message, self._pending_case = "", None

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


def write_sample(folder: Path, run: RunContext) -> Path:
    """Generate the images of the sample case; call this in a thread."""
    from napari_melanoma.io.results import write_rgb
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    for seed, name in enumerate(run.track(SAMPLE_NAMES, "Generating the sample")):
        modality = "dermoscopic" if "dermo" in name else "macroscopic"
        config = LesionPhantomConfig(seed=seed, modality=modality, size=(SAMPLE_PX, SAMPLE_PX))
        write_rgb(folder / f"{name}.png", lesion_phantom(config).rgb)
    return folder


@dataclass(frozen=True)
class CaseImportRequest:
    """Sources of an import: image files, folders, tables or DICOM files.

    ``lesion``: id of the target lesion; empty to assign the images by their names. ``patient``: id of the patient of
    the open case. ``mapping_requested``: whether the user was already asked for the mapping of a table.
    """

    paths: tuple[Path, ...]
    lesion: str = ""
    patient: str = ""
    mapping: TableMapping | None = None
    mapping_requested: bool = False


@dataclass(frozen=True)
class CaseImportResult:
    """Result of an import: one patient, notes on the files, and whether there were several patients."""

    request: CaseImportRequest
    patient: CollectedPatient
    notes: tuple[Note, ...]
    several_patients: bool = False


class CaseImageCollector(QObject):
    """Collects images for one request at a time; a new request replaces an active one."""

    started = Signal()
    progressed = Signal(object)  # Progress
    collected = Signal(object)  # CaseImportResult
    failed = Signal(object)  # Exception
    finished = Signal()

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._job: BackgroundJob | None = None
        self._request: CaseImportRequest | None = None
        self._restart_pending = False  # the request waits until the previous one has ended

    def start(self, request: CaseImportRequest) -> None:
        """Start collecting, after an active request has been canceled."""
        self._request = request
        if self._job is not None:
            self._job.cancel()
            self._restart_pending = True
            return
        self._job = BackgroundJob(partial(_collect, request))
        self._job.progressed.connect(self.progressed)
        self._job.succeeded.connect(self._on_collected)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self.started.emit()
        self._job.start(self)

    def cancel(self) -> None:
        """Stop collecting."""
        self._restart_pending = False
        if self._job is not None:
            self._job.cancel()

    def _on_finished(self) -> None:
        self._job = None
        self.finished.emit()
        if self._restart_pending and self._request is not None:
            self._restart_pending = False
            self.start(self._request)

    def _on_collected(self, collected: CollectedPatients | Path) -> None:
        request = self._request
        assert request is not None
        if isinstance(collected, Path):
            self._open_mapping_dialog(request, collected)
            return
        matching = [
            patient
            for patient in collected.patients
            if request.patient and patient.case.patient.patient_id == request.patient
        ]
        patients = matching or list(collected.patients)
        if len(patients) == 1:
            self.collected.emit(CaseImportResult(request, patients[0], collected.notes))
        else:
            self._open_patient_dialog(request, patients, collected.notes)

    def _open_mapping_dialog(self, request: CaseImportRequest, table: Path) -> None:
        """Ask for the mapping of a table, and collect again."""
        from napari_melanoma.ui.table_mapping import MappingDialog

        mapped = replace(request, mapping_requested=True)
        dialog = MappingDialog(table, self._dock.window(), request.mapping)
        dialog.mapping_chosen.connect(partial(self._on_mapping, mapped))
        dialog.rejected.connect(partial(self.start, mapped))
        dialog.open()

    def _on_mapping(self, request: CaseImportRequest, mapping: TableMapping) -> None:
        self.start(replace(request, mapping=mapping))

    def _open_patient_dialog(
        self, request: CaseImportRequest, patients: Sequence[CollectedPatient], notes: tuple[Note, ...]
    ) -> None:
        """Ask for one of several patients."""
        choices = {_describe_patient(number, patient): patient for number, patient in enumerate(patients, 1)}
        dialog = QInputDialog(self._dock.window())
        dialog.setObjectName("patient_dialog")
        dialog.setWindowTitle("Which patient?")
        dialog.setLabelText(
            f"These files contain {len(patients)} patients, but a case has only one. Select the patient."
        )
        dialog.setComboBoxItems(list(choices))
        dialog.setOption(QInputDialog.InputDialogOption.UseListViewForComboBoxItems)
        dialog.textValueSelected.connect(partial(self._on_patient, request, choices, notes))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_patient(
        self, request: CaseImportRequest, choices: dict[str, CollectedPatient], notes: tuple[Note, ...], chosen: str
    ) -> None:
        patient = choices[chosen]
        self.collected.emit(CaseImportResult(request, patient, notes, several_patients=True))


def _describe_patient(number: int, patient: CollectedPatient) -> str:
    """Describe one of several patients for a list."""
    count = format_count(len(patient.images), "image")
    lesions = f", {format_count(len(patient.case.lesions), 'lesion')}" if patient.case.lesions else ""
    return f"{number}. {patient.name or 'images without patient'}: {count}{lesions}"


def _collect(request: CaseImportRequest, run: RunContext) -> CollectedPatients | Path:
    """Collect the patients, or return a table that needs a mapping."""
    from napari_melanoma.case.importing import collect_patients
    from napari_melanoma.core.errors import InputError

    table = None if request.mapping_requested else _find_unmapped_table(request.paths, run)
    if table is not None:
        return table
    try:
        return collect_patients(request.paths, mapping=request.mapping, run=run)
    except InputError as error:
        if request.mapping is None:
            raise
        text = f"{error} No image of the table was found next to it, in a folder 'images', or at its paths."
        raise InputError(text) from error


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
