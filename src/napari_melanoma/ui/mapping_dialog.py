"""The dialog that asks what the columns and words of somebody's table mean, and keeps the answer as a file."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QLabel,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.data.harmonise_report import HarmoniseReport, listed
from napari_melanoma.data.mapping import Mapping, write_mapping
from napari_melanoma.ui.job import Job, Work
from napari_melanoma.ui.look import PRIMARY, named, quiet
from napari_melanoma.ui.mapping_columns import ColumnsTable
from napari_melanoma.ui.mapping_words import WordsTable
from napari_melanoma.ui.words import Words

if TYPE_CHECKING:
    from napari_melanoma.core.runs import Progress, RunContext
    from napari_melanoma.workflows.table_survey import TablePreview

WIDTH_PX, HEIGHT_PX = 680, 620
READING = "Reading the table ..."
UNDERSTOOD = "All words are understood."
MOST_VALUES = 3


class MappingDialog(QDialog):
    """Asks what a table means."""

    mapping_chosen = Signal(object)
    read = Signal()

    def __init__(self, path: Path, parent: QWidget, mapping: Mapping | None = None) -> None:
        super().__init__(parent)
        named(self, "mapping_dialog", f"What the columns of {path.name} mean").setToolTip("")
        self.setWindowTitle(f"What the columns of {path.name} mean")
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.path = path
        self._given = mapping
        self.columns: ColumnsTable | None = None
        self.words = WordsTable()
        self._report: HarmoniseReport | None = None
        self._job: Job | None = None
        self._said = Words(READING)
        named(self._said, "mapping_said", "What was found").setToolTip("")
        self._title = QLabel("<b>Words that were not understood</b>: say what they mean, or keep them as they are.")
        self._title.setWordWrap(True)
        self._buttons = QDialogButtonBox()
        self._use = QPushButton("Use this mapping")
        self._save = QPushButton("Save it ...")
        self._build()
        self.finished.connect(self._stop)
        self._start(partial(_preview, path))

    @property
    def busy(self) -> bool:
        """Whether the table is being read."""
        return self._job is not None

    @property
    def mapping(self) -> Mapping:
        """What is chosen."""
        return Mapping(columns=self.columns.columns if self.columns else {}, words=self.words.words)

    def save(self, path: Path) -> None:
        """Keep the mapping in a file, which ``data harmonise --map`` and ``data import --map`` read."""
        try:
            write_mapping(path, self.mapping)
        except MelanomaError as error:
            self._said.setText(str(error))
        else:
            self._said.setText(f"Saved as {path.name}. {self._summary()}")

    def _build(self) -> None:
        named(self._use, "mapping_use", "Use this mapping")
        named(self._save, "mapping_save", "Save the mapping", "Keep the mapping as a TOML file for the next table")
        cancel = named(QPushButton("Cancel"), "mapping_cancel", "Cancel", "Take nothing of the table")
        for button, role in (
            (self._use, QDialogButtonBox.ButtonRole.AcceptRole),
            (self._save, QDialogButtonBox.ButtonRole.ActionRole),
            (cancel, QDialogButtonBox.ButtonRole.RejectRole),
        ):
            self._buttons.addButton(button, role)
        self._use.setDefault(True)
        self._use.setStyleSheet(f"QPushButton:enabled {{ background-color: {PRIMARY}; color: white; }}")
        self._buttons.accepted.connect(self._on_use)
        self._buttons.rejected.connect(self.reject)
        self._save.clicked.connect(self._on_save)
        self.words.changed.connect(self._tell)
        self._columns_area, self._words_area = _scroll(QWidget()), _scroll(self.words)
        column = QVBoxLayout(self)
        column.addWidget(quiet("Guesses stand beside what was guessed: correct what is wrong."))
        column.addWidget(self._columns_area, 3)
        column.addWidget(self._title)
        column.addWidget(self._words_area, 2)
        column.addWidget(self._said)
        column.addWidget(self._buttons)
        self._enable(False)
        self._show_words(False)
        self.resize(WIDTH_PX, HEIGHT_PX)

    def _enable(self, on: bool) -> None:
        for button in (self._use, self._save):
            button.setEnabled(on)

    def _show_words(self, any_left: bool) -> None:
        self._title.setVisible(any_left)
        self._words_area.setVisible(any_left)

    def _on_read(self, found: TablePreview | HarmoniseReport) -> None:
        self._job = None
        if isinstance(found, HarmoniseReport):
            self._on_report(found)
        else:
            self._on_preview(found)

    def _on_report(self, report: HarmoniseReport) -> None:
        self._report = report
        self.words.show_unmapped(report.unmapped)
        self._show_words(self.words.any)
        self._tell()
        self.read.emit()

    def _on_preview(self, preview: TablePreview) -> None:
        self.columns = ColumnsTable(preview.samples, preview.guess)
        if self._given is not None:
            self.columns.set_columns(self._given.columns)
            self.words.set_words(self._given.words)
        self.columns.changed.connect(self._survey)
        self._columns_area.setWidget(self.columns)
        self._enable(True)
        self._survey()

    def _survey(self) -> None:
        """Read the whole table with the columns as they are; words that are chosen are listed nevertheless."""
        self._start(partial(_survey, self.path, self.mapping.model_copy(update={"words": {}})))

    def _start(self, work: Work) -> None:
        """Read in a thread; what is being read for earlier choices is of no use any more."""
        self._stop()
        self._said.setText(READING)
        job = self._job = Job(work)
        job.progressed.connect(self._on_progress)
        job.succeeded.connect(self._on_read)
        job.failed.connect(self._on_failed)
        job.start()

    def _stop(self, result: int = 0) -> None:
        if self._job is not None:
            self._job.cancel()
            self._job = None

    def _on_progress(self, progress: Progress) -> None:
        self._said.setText(f"{READING} {progress.done:,} rows")

    def _tell(self) -> None:
        self._said.setText(self._summary())

    def _summary(self) -> str:
        """Say what becomes of the table."""
        report = self._report
        if report is None:
            return READING
        said = [f"{report.rows:,} row{'' if report.rows == 1 else 's'} read."]
        left = self.words.left
        said.append(f"{left:,} cell{'' if left == 1 else 's'} not understood: kept as given." if left else UNDERSTOOD)
        said += [
            f"Impossible in {column}: {listed(values, MOST_VALUES)}." for column, values in report.impossible.items()
        ]
        return " ".join(said)

    def _on_failed(self, error: Exception) -> None:
        self._job = None
        self._said.setText(str(error))

    def _on_use(self) -> None:
        self.mapping_chosen.emit(self.mapping)
        self.accept()

    def _on_save(self, checked: bool = False) -> None:
        dialog = QFileDialog(self, "Save the mapping", str(self.path.with_suffix(".toml")), "TOML (*.toml)")
        dialog.setObjectName("mapping_save_dialog")
        dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
        dialog.setDefaultSuffix("toml")
        dialog.fileSelected.connect(lambda name: self.save(Path(name)))
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()


def _scroll(content: QWidget) -> QScrollArea:
    area = QScrollArea()
    area.setWidgetResizable(True)
    area.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
    area.setWidget(content)
    return area


def _preview(path: Path, run: RunContext) -> TablePreview:
    from napari_melanoma.workflows.table_survey import preview_table

    return preview_table(path)


def _survey(path: Path, mapping: Mapping, run: RunContext) -> HarmoniseReport:
    from napari_melanoma.workflows.table_survey import survey_table

    return survey_table(path, mapping, run=run)
