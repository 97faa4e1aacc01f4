"""Write results and reports of the Slide dock to files, and import outlines from QuPath."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QToolButton

from napari_melanoma.core.formatting import format_count
from napari_melanoma.reports.export_formats import EXPORTS, FORMATS
from napari_melanoma.ui.widgets.dialogs import GEOJSON_FILTERS, choose_file, choose_new_file
from napari_melanoma.ui.widgets.job import LatestJobQueue
from napari_melanoma.ui.widgets.style import tool_button

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.core.context import RunContext
    from napari_melanoma.io.geojson import FittedAnnotations
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.slide.lesions import LesionEdit, LesionFindings, SlideLesions

IMPORT = "import"
DICOM_FORMAT = "DICOM"  # format of a slide
NO_DEPTH = "No depth reading yet. Measure the depth in the Depth section first."
NO_COUNTS = "Nothing has been measured or counted yet. Use the Measure section first."
NO_RISK = "No risk estimate yet. Estimate the risk in the Risk section first."
NO_SYNOPTIC = "No synoptic report yet. Fill in the form first."
NO_REPORT = "No depth reading and no risk estimate yet. Measure or estimate one first."
NO_DICOM = "A DICOM segmentation requires a DICOM slide. Export a mask or outlines instead."
MAX_REMARKS = 3  # remarks about imported outlines that are shown


def create_export_button(on_export: Callable[[str], None]) -> QToolButton:
    """Create the button with its menu; ``on_export``: called with the kind of the export, or with ``IMPORT``."""
    button = tool_button("export", "Export", "Export lesions, heatmap or readings to a file", "Export")
    menu = QMenu(button)
    entries = {kind: f"{one.title} ..." for kind, one in FORMATS.items()}
    for kind, text in {**entries, IMPORT: "Import outlines from QuPath (GeoJSON) ..."}.items():
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
    """Ask for a file, and export to it or import from it in a background thread."""

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

    def _update_menu(self) -> None:
        """Disable entries for which there is nothing to export, with the reason as tooltip."""
        location, slide = self._context.location, self._context.slide
        if location is None or slide is None:
            return
        blockers = find_unavailable_exports(location.folder, is_dicom=slide.info.format == DICOM_FORMAT)
        for kind in EXPORTS.members:
            action = self._menu.findChild(QAction, f"export_{kind}") or self._add_plugin_format(kind)
            action.setEnabled(kind not in blockers)
            action.setToolTip(blockers.get(kind, action.text()))

    def _add_plugin_format(self, kind: str) -> QAction:
        """Add a format of an extension or plug-in at its position; they are loaded when the menu is first shown."""
        action = QAction(f"{EXPORTS.label(kind)} ...", self._menu)
        action.setObjectName(f"export_{kind}")
        action.triggered.connect(lambda: self.choose_file(kind))
        formats = list(EXPORTS.members)
        following = [f"export_{name}" for name in formats[formats.index(kind) + 1 :]]
        below = (one for one in self._menu.actions() if one.objectName() in following or one.isSeparator())
        self._menu.insertAction(next(below), action)
        return action

    def choose_file(self, kind: str) -> None:
        """Ask for the file to write or to import."""
        slide = self._context.slide
        if slide is None:
            return
        window = self._context.window
        if kind == IMPORT:
            choose_file(window, "export_dialog", "Import outlines", GEOJSON_FILTERS, self._import_file)
            return
        title, name = EXPORTS.members[kind][:2]
        format_name, _, _ = title.partition(" (")
        write, suggested = partial(self._export_file, kind), Path(f"{slide.info.name}-{name}")
        suffix = name.removeprefix(name.partition(".")[0])
        choose_new_file(window, "export_dialog", title, format_name, write, suggested, suffix)

    def _export_file(self, kind: str, path: Path) -> None:
        context, findings, slide = self._context, self._lesions.findings, self._context.slide
        location = context.result_location if EXPORTS.members[kind].subject == "analysis" else context.location
        if location is not None and slide is not None:
            work = partial(_write_export, kind, path, findings, location.folder, slide.info.path)
            self._write_tasks.submit(kind, lambda: work)

    def _import_file(self, path: Path) -> None:
        slide = self._context.slide
        if slide is not None:
            work = partial(_read_slide_outlines, path, slide.identity, slide.size, slide.info.origin)
            self._read_tasks.submit(slide.identity, lambda: work)

    def _on_read(self, outlines: tuple[str, FittedAnnotations]) -> None:
        """Replace the lesions by the imported outlines, and show how the outlines had to be changed."""
        identity, imported = outlines
        slide = self._context.slide
        if slide is None or slide.identity != identity:
            return
        self._lesions.edit(_make_import_edit(imported))
        hidden_count = len(imported.changed) - MAX_REMARKS
        remarks = [*imported.changed[:MAX_REMARKS], *([f"{hidden_count} more"] if hidden_count > 0 else [])]
        text = f"{format_count(len(imported.annotations), 'outline')} imported. Undo restores the previous lesions."
        if not remarks:
            self._context.status.show_message(text)
            return
        from napari.utils import notifications

        notifications.show_info(f"{text} Notes: {'; '.join(remarks)}.")  # stays visible when the lesions are saved


def find_unavailable_exports(folder: Path, *, is_dicom: bool) -> dict[str, str]:
    """Return why exports are not available, and what to do first, by kind.

    ``folder``: the results of the slide. ``is_dicom``: whether the slide is a DICOM slide.
    """
    from napari_melanoma.core.errors import InputError
    from napari_melanoma.depth.readings import DEPTH_FILE, read_depth
    from napari_melanoma.io.results import RISK_FILE
    from napari_melanoma.slides.counts import COUNTS
    from napari_melanoma.slides.depth_readings import read_proposals
    from napari_melanoma.slides.notes import read_notes
    from napari_melanoma.slides.synoptic_files import SYNOPTIC_FILE

    has_file, has_risk = (folder / DEPTH_FILE).is_file(), (folder / RISK_FILE).is_file()
    try:
        is_measured = bool(read_depth(folder).readings) or bool(read_proposals(folder).proposals)
    except InputError:
        is_measured = True  # the export reports what is damaged
    missing = {
        "depth": NO_DEPTH if not has_file else "",
        "risk": NO_RISK if not has_risk else "",
        "synoptic": NO_SYNOPTIC if not (folder / SYNOPTIC_FILE).is_file() else "",
        "counts": NO_COUNTS if not ((folder / COUNTS).is_file() or read_notes(folder).measures) else "",
        "report": NO_REPORT if not (is_measured or has_risk) else "",
    }
    reasons = {kind: missing.get(one.subject, "") for kind, one in EXPORTS.members.items()}
    return {kind: reason for kind, reason in {**reasons, "dicom": "" if is_dicom else NO_DICOM}.items() if reason}


def _make_import_edit(imported: FittedAnnotations) -> LesionEdit:
    from napari_melanoma.slides.lesion_files import replace_lesions

    return lambda lesions, maps, config: replace_lesions(lesions, imported.annotations, maps, config)


def _read_slide_outlines(
    path: Path, identity: str, size: tuple[int, int], origin: tuple[int, int], run: RunContext
) -> tuple[str, FittedAnnotations]:
    """Read outlines, fitted to a slide of a size (height, width); returned with the slide's identity."""
    from napari_melanoma.slides.lesion_files import import_outlines

    return identity, import_outlines(path, size, origin)


def _write_export(
    kind: str, path: Path, findings: LesionFindings | None, folder: Path, slide: Path, run: RunContext
) -> str:
    """Write a file, with the lesions as they are in the dock; return the message."""
    from napari_melanoma.io.results import read_slide_result
    from napari_melanoma.reports.export_formats import ExportedSlide
    from napari_melanoma.reports.slide_export import write_export

    lesions = None if findings is None else findings.lesions
    write_export(kind, path, ExportedSlide(folder, lesions, read_slide_result(folder), slide, saved=False))
    return f"Written: {path}"
