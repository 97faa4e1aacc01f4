"""Make a data set from a folder of slides and a table of their patients, selected in two dialogs."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.widgets.dialogs import choose_file, choose_folder
from napari_melanoma.ui.widgets.job import LatestJobQueue

if TYPE_CHECKING:
    from napari_melanoma.core.context import RunContext
    from napari_melanoma.runs.slide_datasets import SlideDatasetReport
    from napari_melanoma.ui.widgets.settings import DockSettings

SLIDES_TITLE = "Folder with slides"
TABLE_TITLE = "Table of the patients: a row for each slide"
TABLE_FILTERS = ("Tables (*.csv *.tsv *.txt *.xlsx)",)


class SlideDataAdder(QObject):
    """Ask for slides and table, and write ``dataset.csv`` into the folder of the slides."""

    added = Signal(object, str)  # folder of the data set, and a message
    failed = Signal(object)  # the exception

    def __init__(self, parent: QWidget, settings: DockSettings) -> None:
        super().__init__(parent)
        self._widget, self._settings = parent, settings
        self._jobs = LatestJobQueue(self)
        self._jobs.succeeded.connect(self._on_made)
        self._jobs.failed.connect(self.failed)

    def choose(self) -> None:
        """Open the dialogs."""
        choose_folder(self._widget, "slides_dialog", SLIDES_TITLE, None, self._choose_table)

    def _choose_table(self, slides: Path) -> None:
        choose_file(
            self._widget,
            "slide_table_dialog",
            TABLE_TITLE,
            TABLE_FILTERS,
            partial(self.make, slides),
            slides,
        )

    def make(self, slides: Path, table: Path) -> None:
        """Make the data set in the folder of the slides."""
        from napari_melanoma.ui.slide.run_manager import find_results_root

        results = find_results_root(self._settings)
        self._jobs.submit("make", lambda: partial(_make, slides, table, results))

    def _on_made(self, report: SlideDatasetReport) -> None:
        depths = sum(report.depths.values())
        counts = f"{format_count(report.slides, 'slide')} of {format_count(report.patients, 'patient')}"
        text = f"{counts}, {depths} with a depth."
        self.added.emit(report.folder, " ".join([text, *report.notes]))


def _make(slides: Path, table: Path, results: Path, run: RunContext) -> SlideDatasetReport:
    from napari_melanoma.runs.slide_datasets import make_slide_dataset
    from napari_melanoma.slides.reading.detection import find_slides

    known = results if results.is_dir() else None
    return make_slide_dataset(find_slides([slides]), table, slides, results=known, run=run)
