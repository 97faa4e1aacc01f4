"""Cases and images added to the Case dock."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QUrl, Signal
from qtpy.QtGui import QDesktopServices
from qtpy.QtWidgets import QFileDialog, QInputDialog, QMenu, QMessageBox, QWidget

from napari_melanoma.case.edits import add_images, confirm
from napari_melanoma.case.filing import file_images
from napari_melanoma.case.model import Case
from napari_melanoma.case.store import CASE
from napari_melanoma.core.errors import SaveError
from napari_melanoma.core.wording import counted, first_few
from napari_melanoma.ui.case.controls import RECENT
from napari_melanoma.ui.widgets.job import Job

if TYPE_CHECKING:
    from napari_melanoma.case.filing import Note
    from napari_melanoma.case.gathering import Gathered, GatheredPatient
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.data.mapping import TableMapping
    from napari_melanoma.ui.case.controls import CaseControls
    from napari_melanoma.ui.case.settings import CaseSettings
    from napari_melanoma.ui.case.store import CaseDesk

FOR_CASE = "Folder for the case of these images"
SAMPLE = "napari-melanoma sample case"


class CaseAdding(QObject):
    """Opens and makes cases, and adds images to the one that is open."""

    started = Signal()
    finished = Signal()
    progressed = Signal(object)
    added = Signal(str)
    said = Signal(str)
    failed = Signal(object)

    def __init__(self, dock: CaseControls, desk: CaseDesk, settings: CaseSettings) -> None:
        super().__init__(dock)
        self._dock = dock
        self._desk = desk
        self._settings = settings
        self._notes: tuple[tuple[str, str], ...] = ()
        self._sentence = ""
        self._unmade: Case | None = None  # a case whose folder may turn out to be one that cannot be written
        self._drawing: Job | None = None
        self.gathering = CaseGathering(dock)
        self.gathering.started.connect(self.started)
        self.gathering.progressed.connect(self.progressed)
        self.gathering.finished.connect(self.finished)
        self.gathering.failed.connect(self.failed)
        self.gathering.gathered.connect(self._on_gathered)
        desk.opened.connect(self._on_opened)
        desk.failed.connect(self._on_not_made)

    @property
    def busy(self) -> bool:
        """Whether files are being looked at."""
        return self.gathering.busy or self._drawing is not None

    def take(self, paths: Sequence[Path], lesion: str = "") -> None:
        """Take files that were dropped or chosen: a case is opened, anything else is added."""
        case = next((path for path in paths if path.name == CASE or (path / CASE).is_file()), None)
        store = self._desk.store
        folder = case.parent if case is not None and case.name == CASE else case
        is_this = store is not None and self._desk.may_edit and folder is not None and folder.absolute() == store.folder
        if case is not None and not is_this:
            self._desk.open(case)
        elif store is not None and not self._desk.may_edit:
            self.said.emit(f"Nothing was added: {self._desk.read_only}")
        else:
            patient = "" if self._desk.case is None else self._desk.case.patient.patient_id
            wanted = (folder,) if is_this and folder is not None else tuple(paths)
            self.gathering.start(Wish(wanted, lesion, patient))

    def cancel(self) -> None:
        """Look at no more files."""
        self.gathering.cancel()
        if self._drawing is not None:
            self._drawing.cancel()

    def follow(self, link: str) -> None:
        """Do what a link says."""
        if link.startswith(RECENT):
            self._desk.open(Path(link.removeprefix(RECENT)))
            return
        ask_folder = self._ask_folder
        slots: dict[str, Callable[[], None]] = {
            "folder": partial(ask_folder, "Folder of one patient's images", lambda path: self.take([path])),
            "open": partial(ask_folder, "Folder of a case", self._desk.open),
            "new": partial(ask_folder, "Folder for a new case", self._desk.create),
            "look": partial(ask_folder, "Folder in which missing images may be", self._desk.look_in),
            "sample": partial(ask_folder, "Folder in which the sample case may be written", self._sample),
            "show": self._show_folder,
            "notes": self._show_notes,
            "close": self._desk.close,
        }
        slots.get(link, self.said.emit)(*(() if link in slots else ("",)))

    def ask_images(self) -> None:
        """Let the user choose images, tables and DICOM files."""
        dialog = QFileDialog(self._dock.window(), "Images, tables or DICOM files", str(self._settings.place))
        dialog.setObjectName("case_images_dialog")
        dialog.setFileMode(QFileDialog.FileMode.ExistingFiles)
        dialog.filesSelected.connect(lambda names: self.take([Path(name) for name in names]))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def fill(self, menu: QMenu) -> None:
        """Fill the menu as it is now."""
        menu.clear()
        entries = {"new": "New case ...", "open": "Open a case ...", "folder": "Add a folder ..."}
        entries |= {"show": "Show the case folder", "close": "Close the case"}
        for link, said in entries.items():
            menu.addAction(said).triggered.connect(partial(self._on_entry, link))
        recent = [path for path in self._settings.recent if self._desk.store is None or path != self._desk.store.folder]
        if recent:
            menu.addSection("Recent")
        for path in recent:
            action = menu.addAction(path.name)
            action.setToolTip(str(path))
            action.triggered.connect(partial(self._on_entry, f"{RECENT}{path}"))

    def _on_entry(self, link: str, checked: bool = False) -> None:
        self.follow(link)

    def _ask_folder(self, title: str, then: Callable[[Path], None]) -> None:
        dialog = QFileDialog(self._dock.window(), title, str(self._settings.place))
        dialog.setObjectName("case_folder_dialog")
        dialog.setFileMode(QFileDialog.FileMode.Directory)
        dialog.setOption(QFileDialog.Option.ShowDirsOnly)
        dialog.fileSelected.connect(lambda name: then(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _sample(self, place: Path) -> None:
        """Draw the sample in a folder of its own, and take it."""
        from napari_melanoma.ui.case.settings import write_sample

        folder = place / SAMPLE
        if (folder / CASE).is_file():
            self._desk.open(folder)
            return
        job = self._drawing = Job(partial(write_sample, folder))
        job.progressed.connect(self.progressed)
        job.succeeded.connect(self._on_sample)
        job.failed.connect(self.failed)
        job.finished.connect(self._on_drawn)
        self.started.emit()
        job.start()

    def _on_sample(self, folder: Path) -> None:
        self.take([folder])

    def _on_drawn(self) -> None:
        self._drawing = None
        if not self.gathering.busy:
            self.finished.emit()

    def _on_gathered(self, found: Found) -> None:
        """Add what was found to the case that is open, or make one of it."""
        self._notes = found.notes
        case = self._desk.case
        if case is not None and self._desk.store is not None:
            self._add(found, case)
            return
        made = found.patient.case
        images, lesions = counted(len(found.patient.found), "image"), counted(len(made.lesions), "lesion")
        self._sentence = f"Made a case of {images} in {lesions}.{self._told()}"
        folders = [path for path in found.wish.paths if path.is_dir()]
        if len(folders) == 1 == len(found.wish.paths) and not found.several:
            self._unmade = made
            self._desk.create(folders[0], made)
        else:
            self._ask_folder(FOR_CASE, partial(self._create, made))

    def _on_not_made(self, error: Exception) -> None:
        """Ask for another folder where that of the images cannot be written, as on a disc."""
        made, self._unmade = self._unmade, None
        if made is not None and isinstance(error, SaveError):
            self._ask_folder(FOR_CASE, partial(self._create, made))

    def _create(self, case: Case, folder: Path) -> None:
        self._desk.create(folder, case)

    def _add(self, found: Found, case: Case) -> None:
        before = case.images_numbered
        if found.wish.lesion and any(lesion.id == found.wish.lesion for lesion in case.lesions):
            after = _into(case, found, found.wish.lesion)
        else:
            filed = file_images(case, found.patient.found)
            after, self._notes = filed.case, (*found.notes, *filed.notes)
        count = after.images_numbered - before
        new = [image.id for _, image in after.each_image() if int(image.id[1:]) > before]
        self._desk.edit(after, f"{counted(count, 'image')} added")
        self.said.emit(f"{counted(count, 'image')} added.{self._told()}" if count else f"Nothing new.{self._told()}")
        if new:
            self.added.emit(new[0])

    def _told(self) -> str:
        """The first note, and a link to all where there are more."""
        if not self._notes:
            return ""
        first = " ".join(self._notes[0])
        if len(self._notes) == 1:
            return f" {first}"
        return f" {html.escape(first)} {self._dock.icons.link('notes', f'All {len(self._notes)} notes')}"

    def _on_opened(self) -> None:
        if self._sentence and self._desk.store is not None:
            self.said.emit(self._sentence)
        elif self._desk.store is not None:
            found = first_few(self._desk.store.found.values(), most=1)
            self.said.emit(found)
        self._sentence, self._unmade = "", None

    def _show_notes(self) -> None:
        box = QMessageBox(self._dock.window())
        box.setObjectName("case_notes")
        box.setWindowTitle("Case")
        box.setText(f"{counted(len(self._notes), 'note')} on the files that were added.")
        box.setInformativeText("\n".join(f"{about} {said}" for about, said in self._notes))
        box.finished.connect(box.deleteLater)
        box.open()

    def _show_folder(self) -> None:
        if self._desk.store is not None:
            QDesktopServices.openUrl(QUrl.fromLocalFile(str(self._desk.store.folder)))


def _into(case: Case, found: Found, lesion: str) -> Case:
    """Add images to the lesion on which they were dropped: which lesion names tell does not count then."""
    there = {image.content for _, image in case.each_image() if image.content}
    filed = file_images(Case(), found.patient.found).case
    images = [image for _, image in filed.each_image() if image.content not in there]
    for image in images:
        filed = confirm(filed, image.id, "lesion")
    return add_images(case, [filed.image(image.id) for image in images], lesion)


@dataclass(frozen=True)
class Wish:
    """What shall be gathered: from where, into which lesion ("" for where it belongs), whose, and what tables mean."""

    paths: tuple[Path, ...]
    lesion: str = ""
    patient: str = ""
    mapping: TableMapping | None = None
    asked: bool = False


@dataclass(frozen=True)
class Found:
    """What was gathered for a wish: one patient, notes on the files, and whether there were several patients."""

    wish: Wish
    patient: GatheredPatient
    notes: tuple[Note, ...]
    several: bool = False


class CaseGathering(QObject):
    """Gathers for one wish at a time; a newer one takes the place of one at work."""

    started = Signal()
    progressed = Signal(object)
    gathered = Signal(object)
    failed = Signal(object)
    finished = Signal()

    def __init__(self, dock: QWidget) -> None:
        super().__init__(dock)
        self._dock = dock
        self._job: Job | None = None
        self._wish: Wish | None = None
        self._is_next = False  # the wish waits until the one before has ended

    @property
    def busy(self) -> bool:
        """Whether files are being looked at."""
        return self._job is not None

    def start(self, wish: Wish) -> None:
        """Gather."""
        self._wish = wish
        if self._job is not None:
            self._job.cancel()
            self._is_next = True
            return
        self._job = Job(partial(_gather, wish))
        self._job.progressed.connect(self.progressed)
        self._job.succeeded.connect(self._on_gathered)
        self._job.failed.connect(self.failed)
        self._job.finished.connect(self._on_finished)
        self.started.emit()
        self._job.start()

    def cancel(self) -> None:
        """Gather no more."""
        self._is_next = False
        if self._job is not None:
            self._job.cancel()

    def _on_finished(self) -> None:
        self._job = None
        self.finished.emit()
        if self._is_next and self._wish is not None:
            self._is_next = False
            self.start(self._wish)

    def _on_gathered(self, found: Gathered | Path) -> None:
        wish = self._wish
        assert wish is not None
        if isinstance(found, Path):
            self._ask_meaning(wish, found)
            return
        known = [one for one in found.patients if wish.patient and one.case.patient.patient_id == wish.patient]
        patients = known or list(found.patients)
        if len(patients) == 1:
            self.gathered.emit(Found(wish, patients[0], (*found.notes, *patients[0].notes)))
        else:
            self._ask_patient(wish, patients, found.notes)

    def _ask_meaning(self, wish: Wish, table: Path) -> None:
        """Ask what the columns of a table mean, and gather again."""
        from napari_melanoma.ui.table_mapping import MappingDialog

        asked = Wish(wish.paths, wish.lesion, wish.patient, wish.mapping, asked=True)
        dialog = MappingDialog(table, self._dock.window(), wish.mapping)
        dialog.mapping_chosen.connect(partial(self._on_mapping, asked))
        dialog.rejected.connect(partial(self.start, asked))
        dialog.open()

    def _on_mapping(self, wish: Wish, mapping: TableMapping) -> None:
        self.start(Wish(wish.paths, wish.lesion, wish.patient, mapping, asked=True))

    def _ask_patient(self, wish: Wish, patients: Sequence[GatheredPatient], notes: tuple[Note, ...]) -> None:
        """Ask which of several patients is meant."""
        choices = {_in_words(number, one): one for number, one in enumerate(patients, 1)}
        dialog = QInputDialog(self._dock.window())
        dialog.setObjectName("patient_dialog")
        dialog.setWindowTitle("Which patient?")
        dialog.setLabelText(f"These files tell of {len(patients)} patients, and a case is one. Which one is meant?")
        dialog.setComboBoxItems(list(choices))
        dialog.setOption(QInputDialog.InputDialogOption.UseListViewForComboBoxItems)
        dialog.textValueSelected.connect(partial(self._on_patient, wish, choices, notes))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _on_patient(
        self, wish: Wish, choices: dict[str, GatheredPatient], notes: tuple[Note, ...], chosen: str
    ) -> None:
        one = choices[chosen]
        self.gathered.emit(Found(wish, one, (*notes, *one.notes), several=True))


def _in_words(number: int, patient: GatheredPatient) -> str:
    """One of several patients, for a list."""
    count = counted(len(patient.found), "image")
    lesions = f", {counted(len(patient.case.lesions), 'lesion')}" if patient.case.lesions else ""
    return f"{number}. {patient.called or 'images of nobody'}: {count}{lesions}"


def _gather(wish: Wish, run: RunContext) -> Gathered | Path:
    """Gather, or name the table that nobody understands."""
    from napari_melanoma.case.gathering import gather
    from napari_melanoma.core.errors import InputError

    unknown = None if wish.asked else _unknown_table(wish.paths, run)
    if unknown is not None:
        return unknown
    try:
        return gather(wish.paths, mapping=wish.mapping, run=run)
    except InputError as error:
        if wish.mapping is None:
            raise
        said = f"{error} No image of the table was found beside it, in a folder 'images', or where its paths say."
        raise InputError(said) from error


def _unknown_table(paths: Sequence[Path], run: RunContext) -> Path | None:
    """The first table among files whose columns say nothing to us."""
    from napari_melanoma.case.filing import names_no_image
    from napari_melanoma.io.finding import TABLE_SUFFIXES, find_images_and_tables

    tables = (path for path in find_images_and_tables(list(paths)) if path.suffix.lower() in TABLE_SUFFIXES)
    for table in tables:
        run.check()
        if names_no_image(table):
            return table
    return None
