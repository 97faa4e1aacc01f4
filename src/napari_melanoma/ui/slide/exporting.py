"""The Export menu of the Slide dock: results written where the user says, and outlines taken back from QuPath."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton

from napari_melanoma.ui.widgets.job import Latest
from napari_melanoma.ui.widgets.look import tool

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.geojson import Fitted
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.lesions import Edit, Findings

# As ``reports.slide_export`` has them, which is imported when something is written.
EXPORTS = {
    "geojson": ("Outlines for QuPath (GeoJSON)", "lesions.geojson"),
    "csv": ("Table of lesions (CSV)", "lesions.csv"),
    "parquet": ("Table of lesions (Parquet)", "lesions.parquet"),
    "tiles": ("Table of tiles (Parquet)", "tiles.parquet"),
    "depth": ("Readings of the depth (CSV)", "readings.csv"),
    "risk": ("Risk with what it rests on (JSON)", "risk.json"),
    "report": ("Page of depth and risk (HTML)", "report.html"),
    "tif": ("Heatmap (OME-TIFF)", "heatmap.ome.tif"),
    "zarr": ("Heatmap and lesions (OME-Zarr)", "heatmap.ome.zarr"),
    "mask": ("Mask of lesions (OME-TIFF)", "lesions.ome.tif"),
    "dicom": ("Segmentation (DICOM)", "lesions.dcm"),
}
IMPORT = "import"
DICOM = "DICOM"  # the format of a slide, as it states itself
NO_DEPTH = "No depth was read yet. Measure it in the Depth section first."
NO_RISK = "No risk was estimated yet. Estimate it in the Risk section first."
NO_PAGE = "Neither a depth nor a risk is known yet. Measure or estimate one first."
NO_DICOM = "Only a DICOM slide can have a DICOM segmentation. Export a mask or outlines instead."
SHOWN = 3  # remarks about outlines that are told one by one


def export_button(wanted: Callable[[str], None]) -> QToolButton:
    """Make the button with the menu.

    Disabled where there is nothing to write.
    """
    button = tool("export", "Export", "Write lesions or heatmap somewhere else", "Export")
    menu = QMenu(button)
    entries = {kind: f"{text} ..." for kind, (text, _) in EXPORTS.items()}
    for kind, text in {**entries, IMPORT: "Take over outlines from QuPath (GeoJSON) ..."}.items():
        if kind == IMPORT:
            menu.addSeparator()
        action = menu.addAction(text)
        action.setObjectName(f"export_{kind}")
        action.triggered.connect(lambda _=False, kind=kind: wanted(kind))
    menu.setToolTipsVisible(True)
    button.setMenu(menu)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    return button


class SlideExports(QObject):
    """Asks where, writes in a thread, and says what was written."""

    failed = Signal(object)

    def __init__(self, dock: SlideDock) -> None:
        super().__init__(dock)
        self._dock = dock
        self._writing, self._reading = Latest(self), Latest(self)
        self._writing.succeeded.connect(dock.status.say)
        self._reading.succeeded.connect(self._on_read)
        for work in (self._writing, self._reading):
            work.failed.connect(self.failed)
        dock.exporting.connect(self._on_wanted)
        dock.export.menu().aboutToShow.connect(self._show_able)

    @property
    def busy(self) -> bool:
        """Whether something is being written or read."""
        return self._writing.busy or self._reading.busy

    def _show_able(self) -> None:
        """Disable entries with nothing behind them, and say what to do first."""
        place, slide = self._dock.place, self._dock.slide
        if place is None or slide is None:
            return
        why_not = missing(place.folder, is_dicom=slide.info.format == DICOM)
        for kind in EXPORTS:
            action = self._dock.export.menu().findChild(QAction, f"export_{kind}")
            action.setEnabled(kind not in why_not)
            action.setToolTip(why_not.get(kind, action.text()))

    def _on_wanted(self, kind: str) -> None:
        """Ask for a file."""
        slide = self._dock.slide
        if slide is None:
            return
        if kind == IMPORT:
            dialog = QFileDialog(self._dock.window(), "Take over outlines")
            dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
            dialog.setNameFilters(["GeoJSON (*.geojson *.json)", "All files (*)"])
            dialog.fileSelected.connect(self._read)
        else:
            title, name = EXPORTS[kind]
            dialog = QFileDialog(self._dock.window(), title)
            dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
            dialog.selectFile(f"{slide.info.name}-{name}")
            dialog.setDefaultSuffix(name.partition(".")[2])  # where none is typed
            dialog.fileSelected.connect(partial(self._write, kind))
        dialog.setObjectName("export_dialog")
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _write(self, kind: str, name: str) -> None:
        found, place, slide = self._dock.lesions.findings, self._dock.place, self._dock.slide
        if place is not None and slide is not None:
            work = partial(_written, kind, Path(name), found, place.folder, slide.info.path)
            self._writing.submit(kind, lambda: work)

    def _read(self, name: str) -> None:
        slide = self._dock.slide
        if slide is not None:
            work = partial(_read, Path(name), slide.identity, slide.size)
            self._reading.submit(slide.identity, lambda: work)

    def _on_read(self, told: tuple[str, Fitted]) -> None:
        """Make what was read the lesions, and say what was changed for that."""
        identity, found = told
        slide = self._dock.slide
        if slide is None or slide.identity != identity:
            return
        self._dock.lesions.edit(_taken_over(found))
        more = len(found.changed) - SHOWN
        remarks = [*found.changed[:SHOWN], *([f"{more} more"] if more > 0 else [])]
        count = len(found.annotations)
        text = f"{count} outline{'' if count == 1 else 's'} taken over; undo brings back what was there."
        if not remarks:
            self._dock.status.say(text)
            return
        from napari.utils import notifications

        notifications.show_info(f"{text} Of note: {'; '.join(remarks)}.")  # stays when the lesions are saved


def missing(folder: Path, *, is_dicom: bool) -> dict[str, str]:
    """Say which exports have nothing to write yet, and what to do first, by their kind."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.depth.readings import DEPTH, read_depth
    from napari_melanoma.io.results import RISK
    from napari_melanoma.slides.depth_readings import proposed_in

    has_file, has_risk = (folder / DEPTH).is_file(), (folder / RISK).is_file()
    try:
        is_measured = bool(read_depth(folder).readings) or bool(proposed_in(folder).proposals)
    except InputError:
        is_measured = True  # writing it says what is damaged
    absent = {"depth": NO_DEPTH} if not has_file else {}
    absent |= {"risk": NO_RISK} if not has_risk else {}
    absent |= {"report": NO_PAGE} if not (is_measured or has_risk) else {}
    return absent if is_dicom else {**absent, "dicom": NO_DICOM}


def _taken_over(found: Fitted) -> Edit:
    from napari_melanoma.slides.lesion_files import take_over

    return lambda lesions, maps, config: take_over(lesions, found.annotations, maps, config)


def _read(path: Path, identity: str, size: tuple[int, int], run: RunContext) -> tuple[str, Fitted]:
    """Read outlines for a slide."""
    from napari_melanoma.slides.lesion_files import read_outlines

    return identity, read_outlines(path, size)


def _written(kind: str, path: Path, found: Findings | None, folder: Path, slide: Path, run: RunContext) -> str:
    """Write one file, with the lesions as they are in the dock, and say so."""
    from napari_melanoma.io.results import read_content
    from napari_melanoma.reports.slide_export import FORMATS, Exported

    lesions = None if found is None else found.lesions
    FORMATS[kind].write(path, Exported(folder, lesions, read_content(folder), slide, saved=False), run)
    return f"Written: {path}"
