"""The Export menu of the Slide dock: results written where the user says, and outlines taken back from QuPath."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton

from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import tool_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.geojson import FittedAnnotations
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.lesions import LesionEdit, LesionFindings, SlideLesions

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
MAX_REMARKS = 3  # remarks about outlines that are told one by one


def create_export_button(on_export: Callable[[str], None]) -> QToolButton:
    """Make the button with the menu.

    Disabled where there is nothing to write.
    """
    button = tool_button("export", "Export", "Write lesions or heatmap somewhere else", "Export")
    menu = QMenu(button)
    entries = {kind: f"{text} ..." for kind, (text, _) in EXPORTS.items()}
    for kind, text in {**entries, IMPORT: "Take over outlines from QuPath (GeoJSON) ..."}.items():
        if kind == IMPORT:
            menu.addSeparator()
        action = menu.addAction(text)
        action.setObjectName(f"export_{kind}")
        action.triggered.connect(lambda _=False, kind=kind: on_export(kind))
    menu.setToolTipsVisible(True)
    button.setMenu(menu)
    button.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
    return button


class SlideExporter(QObject):
    """Asks where, writes in a thread, and says what was written."""

    failed = Signal(object)

    def __init__(self, context: SlideContext, lesions: SlideLesions, menu: QMenu) -> None:
        super().__init__(context)
        self._context, self._lesions, self._menu = context, lesions, menu
        self._write_tasks, self._read_tasks = LatestJobQueue(self), LatestJobQueue(self)
        self._write_tasks.succeeded.connect(context.status.show_message)
        self._read_tasks.succeeded.connect(self._on_read)
        for work in (self._write_tasks, self._read_tasks):
            work.failed.connect(self.failed)
        menu.aboutToShow.connect(self._update_menu)

    @property
    def busy(self) -> bool:
        """Whether something is being written or read."""
        return self._write_tasks.busy or self._read_tasks.busy

    def _update_menu(self) -> None:
        """Disable entries with nothing behind them, and say what to do first."""
        place, slide = self._context.result_location, self._context.slide
        if place is None or slide is None:
            return
        why_not = find_unavailable_exports(place.folder, is_dicom=slide.info.format == DICOM)
        for kind in EXPORTS:
            action = self._menu.findChild(QAction, f"export_{kind}")
            action.setEnabled(kind not in why_not)
            action.setToolTip(why_not.get(kind, action.text()))

    def choose_file(self, kind: str) -> None:
        """Ask for a file."""
        slide = self._context.slide
        if slide is None:
            return
        if kind == IMPORT:
            dialog = QFileDialog(self._context.window, "Take over outlines")
            dialog.setFileMode(QFileDialog.FileMode.ExistingFile)
            dialog.setNameFilters(["GeoJSON (*.geojson *.json)", "All files (*)"])
            dialog.fileSelected.connect(self._import_file)
        else:
            title, name = EXPORTS[kind]
            dialog = QFileDialog(self._context.window, title)
            dialog.setAcceptMode(QFileDialog.AcceptMode.AcceptSave)
            dialog.selectFile(f"{slide.info.name}-{name}")
            dialog.setDefaultSuffix(name.partition(".")[2])  # where none is typed
            dialog.fileSelected.connect(partial(self._export_file, kind))
        dialog.setObjectName("export_dialog")
        dialog.finished.connect(dialog.deleteLater)
        dialog.open()

    def _export_file(self, kind: str, name: str) -> None:
        found, place, slide = self._lesions.findings, self._context.result_location, self._context.slide
        if place is not None and slide is not None:
            work = partial(_write_export, kind, Path(name), found, place.folder, slide.info.path)
            self._write_tasks.submit(kind, lambda: work)

    def _import_file(self, name: str) -> None:
        slide = self._context.slide
        if slide is not None:
            work = partial(_read_slide_outlines, Path(name), slide.identity, slide.size)
            self._read_tasks.submit(slide.identity, lambda: work)

    def _on_read(self, outlines: tuple[str, FittedAnnotations]) -> None:
        """Make what was read the lesions, and say what was changed for that."""
        identity, found = outlines
        slide = self._context.slide
        if slide is None or slide.identity != identity:
            return
        self._lesions.edit(_make_import_edit(found))
        more = len(found.changed) - MAX_REMARKS
        remarks = [*found.changed[:MAX_REMARKS], *([f"{more} more"] if more > 0 else [])]
        count = len(found.annotations)
        text = f"{count} outline{'' if count == 1 else 's'} taken over; undo brings back what was there."
        if not remarks:
            self._context.status.show_message(text)
            return
        from napari.utils import notifications

        notifications.show_info(f"{text} Of note: {'; '.join(remarks)}.")  # stays when the lesions are saved


def find_unavailable_exports(folder: Path, *, is_dicom: bool) -> dict[str, str]:
    """Say which exports have nothing to write yet, and what to do first, by their kind."""
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.depth.readings import DEPTH_FILE, read_depth
    from napari_melanoma.io.results import RISK_FILE
    from napari_melanoma.slides.depth_readings import read_proposals

    has_file, has_risk = (folder / DEPTH_FILE).is_file(), (folder / RISK_FILE).is_file()
    try:
        is_measured = bool(read_depth(folder).readings) or bool(read_proposals(folder).proposals)
    except InputError:
        is_measured = True  # writing it says what is damaged
    absent = {"depth": NO_DEPTH} if not has_file else {}
    absent |= {"risk": NO_RISK} if not has_risk else {}
    absent |= {"report": NO_PAGE} if not (is_measured or has_risk) else {}
    return absent if is_dicom else {**absent, "dicom": NO_DICOM}


def _make_import_edit(found: FittedAnnotations) -> LesionEdit:
    from napari_melanoma.slides.lesion_files import replace_lesions

    return lambda lesions, maps, config: replace_lesions(lesions, found.annotations, maps, config)


def _read_slide_outlines(
    path: Path, identity: str, size: tuple[int, int], run: RunContext
) -> tuple[str, FittedAnnotations]:
    """Read outlines for a slide."""
    from napari_melanoma.slides.lesion_files import import_outlines

    return identity, import_outlines(path, size)


def _write_export(
    kind: str, path: Path, found: LesionFindings | None, folder: Path, slide: Path, run: RunContext
) -> str:
    """Write one file, with the lesions as they are in the dock, and say so."""
    from napari_melanoma.io.results import read_slide_result
    from napari_melanoma.reports.slide_export import FORMATS, ExportedSlide

    lesions = None if found is None else found.lesions
    FORMATS[kind].write(path, ExportedSlide(folder, lesions, read_slide_result(folder), slide, saved=False), run)
    return f"Written: {path}"
