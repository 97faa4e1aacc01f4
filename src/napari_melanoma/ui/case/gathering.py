"""Images, tables and headers gathered in a thread; asks what a table means, and which of several patients is meant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QInputDialog, QWidget

from napari_melanoma.core.counting import counted
from napari_melanoma.ui.job import Job

if TYPE_CHECKING:
    from napari_melanoma.core.runs import RunContext
    from napari_melanoma.data.case.filing import Note
    from napari_melanoma.data.mapping import Mapping
    from napari_melanoma.workflows.case import Gathered, GatheredPatient


@dataclass(frozen=True)
class Wish:
    """What shall be gathered: from where, into which lesion ("" for where it belongs), whose, and what tables mean."""

    paths: tuple[Path, ...]
    lesion: str = ""
    patient: str = ""
    mapping: Mapping | None = None
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
        from napari_melanoma.ui.mapping_dialog import MappingDialog

        asked = Wish(wish.paths, wish.lesion, wish.patient, wish.mapping, asked=True)
        dialog = MappingDialog(table, self._dock.window(), wish.mapping)
        dialog.mapping_chosen.connect(partial(self._on_mapping, asked))
        dialog.rejected.connect(partial(self.start, asked))
        dialog.open()

    def _on_mapping(self, wish: Wish, mapping: Mapping) -> None:
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
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.workflows.case import gather

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
    from napari_melanoma.data.case.tables import names_no_image
    from napari_melanoma.io.finding import TABLE_SUFFIXES, find_images_and_tables

    tables = (path for path in find_images_and_tables(list(paths)) if path.suffix.lower() in TABLE_SUFFIXES)
    for table in tables:
        run.check()
        if names_no_image(table):
            return table
    return None
