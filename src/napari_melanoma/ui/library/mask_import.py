"""Import masks that were made with other software into the corrections: dialogs and report."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMessageBox, QWidget

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import format_count
from napari_melanoma.ui.widgets.dialogs import choose_file, choose_folder
from napari_melanoma.ui.widgets.job import BackgroundJob

if TYPE_CHECKING:
    from napari_melanoma.data.mask_import import MaskImportReport

IMPORT_TIP = "Import masks from other software into the corrections"
IMPORT_RUNNING = "Masks are being imported. Import others when this has ended."
MAX_DETAILS = 200  # masks that are listed by name in a report, for each reason


class MaskImporter(QObject):
    """Handle the actions that import masks: ask for the files, unless an import is running.

    ``photographs``: folder of the photographs under review; None if there is not exactly one folder. ``chosen``: path
    of the masks, folder of the photographs, and the table with their patients, None without one. ``is_running``: also
    while a canceled import has not stopped, since two would write the same files.
    """

    chosen = Signal(object, object, object)

    def __init__(self, dock: QWidget, actions: Sequence[QAction]) -> None:
        super().__init__(dock)
        self._dock, self._actions = dock, actions
        self.photographs: Path | None = None
        self.is_running = False
        self._set_running(False)

    def follow(self, job: BackgroundJob) -> None:
        """Disable the actions until an import has ended."""
        self._set_running(True)
        job.finished.connect(partial(self._set_running, False))

    def _set_running(self, is_running: bool) -> None:
        self.is_running = is_running
        for action in self._actions:
            action.setEnabled(not is_running)
            action.setToolTip(IMPORT_RUNNING if is_running else IMPORT_TIP)

    def choose_masks(self, kind: str = "folder") -> None:
        """Open the dialog to select the masks. ``kind``: "folder" or "file"."""
        title = f"Select the {kind} of masks"
        if kind == "file":
            filters = ("Masks (*.json *.geojson *.geojson.gz)", "All files (*)")
            choose_file(self._dock, "masks_dialog", title, filters, self._on_masks, self.photographs)
        else:
            choose_folder(self._dock, "masks_dialog", title, self.photographs, self._on_masks)

    def _on_masks(self, masks: Path) -> None:
        if self.photographs is not None:
            self._choose_patients(masks, self.photographs)
        else:
            title = "Select the folder of photographs"
            choose_folder(self._dock, "photographs_dialog", title, None, partial(self._choose_patients, masks))

    def _choose_patients(self, masks: Path, photographs: Path) -> None:
        """Ask for a table of patients, so that a split can keep the images of each patient together."""
        box = QMessageBox(self._dock.window())
        box.setObjectName("patients_question")
        box.setIcon(QMessageBox.Icon.Question)
        box.setWindowTitle("Import masks")
        box.setText("Do you have a table with the patient of each photograph?")
        box.setInformativeText(
            "Images of the same patient are similar. Without a table, they may be split between training and test "
            "set, so that the measured accuracy is too high."
        )
        table = box.addButton("Select table...", QMessageBox.ButtonRole.AcceptRole)
        without = box.addButton("Import without patients", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton(QMessageBox.StandardButton.Cancel)
        for button, name in ((table, "patients_table"), (without, "no_patients")):
            button.setObjectName(name)
        box.setDefaultButton(table)
        table.clicked.connect(lambda: self._choose_table(masks, photographs))
        without.clicked.connect(lambda: self.chosen.emit(masks, photographs, None))
        box.finished.connect(box.deleteLater)
        box.open()

    def _choose_table(self, masks: Path, photographs: Path) -> None:
        filters, on_chosen = (
            ("Tables (*.csv *.tsv *.txt)", "All files (*)"),
            partial(self.chosen.emit, masks, photographs),
        )
        title = "Select the table of patients"
        choose_file(self._dock, "patients_dialog", title, filters, on_chosen, self.photographs)


def import_masks(
    masks: Path, photographs: Path, patients: Path | None, out: Path, reviewer: str, run: RunContext
) -> MaskImportReport:
    """Import masks into the corrections in ``out``; masks that were imported before a cancellation are kept."""
    from napari_melanoma.data import mask_import

    options = mask_import.MaskImportOptions(reviewer=reviewer, metadata=patients, no_patients=patients is None)
    return mask_import.import_masks(masks, photographs, out, options, run=run)


def describe_import(report: MaskImportReport) -> tuple[str, str]:
    """Return a summary of an import, and details, one per line; there are none if all masks were imported."""
    parts = [f"{format_count(len(report.added), 'mask')} imported"]
    if report.faults:
        parts.append(f"{len(report.faults):,} could not be imported")
    if report.kept:
        parts.append(f"{len(report.kept):,} kept because already reviewed")
    if report.without_mask:
        parts.append(f"{format_count(len(report.without_mask), 'photograph')} without a mask")
    details = [f"{name}: {reason}" for name, reason in report.faults[:MAX_DETAILS]]
    if len(report.faults) > MAX_DETAILS:
        details.append(f"... and {len(report.faults) - MAX_DETAILS:,} more")
    details += [f"{subject}: {note}" for subject, note in report.notes if subject != "patient_id" or report.faults]
    details += [f"{subject} {leak}" for subject, leak in report.leaks]
    details += [f"{name}: already reviewed, the stored mask was kept" for name in report.kept[:MAX_DETAILS]]
    return ", ".join(parts) + ".", "\n".join(details)


def show_report(parent: QWidget, report: MaskImportReport) -> None:
    """Show the details of an import, if there are any."""
    summary, details = describe_import(report)
    if not details:
        return
    box = QMessageBox(parent.window())
    box.setObjectName("import_report")
    box.setIcon(QMessageBox.Icon.Information)
    box.setWindowTitle("Import masks")
    box.setText(summary)
    box.setInformativeText(details if details.count("\n") < 6 else "See the details.")
    box.setDetailedText(details)
    box.addButton(QMessageBox.StandardButton.Close)
    box.finished.connect(box.deleteLater)
    box.open()
