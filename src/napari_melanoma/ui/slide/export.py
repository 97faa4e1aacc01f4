"""Write results and reports of the Slide dock to files, and import outlines."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtGui import QAction

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.formatting import format_count
from napari_melanoma.io.geojson import FittedAnnotations
from napari_melanoma.io.slide_store import STORE
from napari_melanoma.reports.export_formats import EXPORTS, ExportedSlide
from napari_melanoma.ui.session.open_case import find_slide_lesion
from napari_melanoma.ui.session.slide import SlideSession
from napari_melanoma.ui.slide.controls import IMPORT, SlideControls
from napari_melanoma.ui.slide.hosted_sections import HostedSections
from napari_melanoma.ui.viewer.shortcuts import format_key
from napari_melanoma.ui.widgets.dialogs import OUTLINE_FILTERS, choose_file, choose_new_file
from napari_melanoma.ui.widgets.job import run_job
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import enable

if TYPE_CHECKING:
    from napari_melanoma.slides.lesion_files import SavedLesions

DICOM_FORMAT = "DICOM"  # format of a slide
NO_DEPTH = "No depth reading yet. Measure the depth in the Depth section first."
NO_COUNTS = "Nothing has been measured or counted yet. Use the Measure section first."
NO_RISK = "No risk estimate yet. Estimate the risk in the Risk section first."
NO_SYNOPTIC = "No synoptic report yet. Fill in the form first."
NO_REPORT = "No depth reading and no risk estimate yet. Measure or estimate one first."
NO_LESIONS = "No lesions yet. Analyze the slide first."
NO_ANALYSIS = "No analysis yet. Analyze the slide first."
NO_FINDINGS = "No lesions, depth readings or measurements yet. Analyze the slide, or measure first."
NO_SLIDE = "Open a slide first."
SHARE_TIP = "Write a report, export findings to a file, or import outlines"
IMPORT_BLOCKER = "The outlines replace the lesions of an analysis. Analyze the slide first."
NO_DICOM = {
    "dicom": "A DICOM segmentation requires a DICOM slide. Export a mask or outlines instead.",
    "dicom-sr": "A DICOM measurement report requires a DICOM slide. Export a table or outlines instead.",
}
NOT_SHOWN = "The results are not valid. Select 'Show the number anyway' first to export them."
LESION_FORMATS = ("geojson", "csv", "qupath", "mask", "dicom")  # without values of heatmap and tiles
MAX_REMARKS = 3  # remarks about imported outlines that are shown


class SlideExporter(QObject):
    """Save the lesions; ask for a file, and export to it or import from it in a background thread."""

    failed = Signal(object)

    def __init__(self, controls: SlideControls, hosted: HostedSections) -> None:
        super().__init__(controls)
        self._context, self._controls, self._hosted = controls.context, controls, hosted
        self._menu = controls.share_button.menu()
        self._menu.aboutToShow.connect(self._update_menu)
        self._connections = Connections(controls)
        hosted.session_changed.connect(self._on_session)
        controls.save_button.clicked.connect(self._on_save)
        self._update_buttons()

    def _on_session(self, session: SlideSession | None) -> None:
        """Follow the lesions and results of another slide."""
        self._connections.end()
        if session is not None:
            for signal in (session.lesions.changed, session.lesions.saved, session.results.changed):
                self._connections.connect(signal, self._update_buttons)
        self._update_buttons()

    def _update_buttons(self, _: object = None) -> None:
        """Enable Save if there is something to save, and Share with a slide: its menu shows what is missing."""
        session, save = self._hosted.session, self._controls.save_button
        lesions, is_saved = (None, True) if session is None else (session.lesions.value, session.lesions.is_saved)
        folder = "" if lesions is None else f" into {lesions.source.folder}"
        blocker = "Analyze the slide first" if lesions is None else "All changes are saved" if is_saved else ""
        enable(save, f"Save the lesions{folder} ({format_key('slide.save')})", blocker)
        enable(self._controls.share_button, SHARE_TIP, NO_SLIDE if session is None else "")

    def _on_save(self) -> None:
        if self._hosted.session is not None:
            self._hosted.session.lesions.save()

    def _update_menu(self) -> None:
        """Disable entries for which there is nothing to export, with the reason as tooltip."""
        session = self._hosted.session
        if session is None:
            return
        is_dicom = session.slide.info.format == DICOM_FORMAT
        blockers = find_unavailable_exports(session.folder, is_dicom=is_dicom)
        has_lesions = session.lesions.value is not None
        has_run = has_lesions or (session.result_location.folder / STORE).is_dir()
        for kind in (one for one, format_ in EXPORTS.members.items() if format_.subject == "analysis"):
            if kind == "dicom-sr":  # also without an analysis
                missing = "" if has_lesions or {"depth", "counts"} - blockers.keys() else NO_FINDINGS
            elif kind in LESION_FORMATS:
                missing = "" if has_lesions else NO_LESIONS
            else:
                missing = "" if has_run else NO_ANALYSIS
            if missing:
                blockers.setdefault(kind, missing)
        if not session.results.value.shows_numbers:
            exported = LESION_FORMATS if session.lesions.shown_lesions else ()  # the reader's own
            predicted = (kind for kind, one in EXPORTS.members.items() if one.subject == "analysis")
            blockers |= {kind: NOT_SHOWN for kind in predicted if kind not in exported}
        for kind in EXPORTS.members:
            action = self._menu.findChild(QAction, f"export_{kind}") or self._add_plugin_format(kind)
            action.setEnabled(kind not in blockers)
            action.setToolTip(blockers.get(kind, action.text()))
        importing = self._menu.findChild(QAction, f"export_{IMPORT}")
        importing.setEnabled(has_lesions)
        importing.setToolTip(importing.text() if has_lesions else IMPORT_BLOCKER)

    def _add_plugin_format(self, kind: str) -> QAction:
        """Add a format of an extension or plug-in at its position; they are loaded when the menu is first shown."""
        action = QAction(f"{EXPORTS.label(kind)}...", self._menu)
        action.setObjectName(f"export_{kind}")
        action.triggered.connect(lambda: self.choose_file(kind))
        formats = list(EXPORTS.members)
        following = [f"export_{name}" for name in formats[formats.index(kind) + 1 :]]
        actions = self._menu.actions()
        *_, end = (one for one in actions if one.isSeparator())
        below = (one for one in actions if one.objectName() in following)
        self._menu.insertAction(next(below, end), action)
        return action

    def choose_file(self, kind: str) -> None:
        slide = self._context.slide
        if slide is None:
            return
        window = self._context.window
        if kind == IMPORT:
            choose_file(window, "export_dialog", "Import outlines", OUTLINE_FILTERS, self._import_file)
            return
        chosen = EXPORTS.members[kind]
        format_name, _, _ = chosen.title.partition(" (")
        write, suggested = partial(self._export_file, kind), Path(f"{slide.info.name}-{chosen.file_name}")
        choose_new_file(window, "export_dialog", chosen.title, format_name, write, suggested, chosen.suffixes)

    def _export_file(self, kind: str, path: Path) -> None:
        from napari_melanoma.slides.lesion_edits import without_probabilities

        context, session = self._context, self._hosted.session
        context.store_pending()
        location = context.result_location if EXPORTS.members[kind].subject == "analysis" else context.location
        if location is not None and session is not None:
            state = session.lesions.value
            lesions = None if state is None else session.lesions.shown_lesions
            if lesions and not session.results.value.shows_numbers:
                lesions = without_probabilities(lesions)
            exported = ExportedSlide(
                location.folder,
                lesions,
                {},
                session.slide.info.path,
                with_invalid_depth=session.findings.state.shows_invalid,
                lesion=find_slide_lesion(context.workspace.case, session.slide),
                slide_folder=session.folder,
                reader=session.findings.reader,
            )
            is_shown = state is not None and state.source.folder == location.folder
            work = partial(_write_export, kind, path, exported, state.to_saved() if state and is_shown else None)
            run_job(self, str(path), work, context.status.show_message, self.failed.emit)

    def _import_file(self, path: Path) -> None:
        session = self._hosted.session
        if session is not None:
            slide = session.slide
            work = partial(_read_slide_outlines, path, slide.size, slide.info.origin, slide.info.path)
            run_job(session.owner, "import", work, partial(self._on_read, session), self.failed.emit)

    def _on_read(self, session: SlideSession, imported: FittedAnnotations) -> None:
        """Replace the lesions by the imported outlines, and show how the outlines had to be changed."""
        from napari_melanoma.slides.lesion_files import replace_lesions

        outlines = imported.annotations
        session.lesions.edit(lambda lesions, maps, config: replace_lesions(lesions, outlines, maps, config))
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
    from napari_melanoma.depth.findings import read_findings
    from napari_melanoma.io.results import RISK_FILE
    from napari_melanoma.slides.counts import COUNTS
    from napari_melanoma.slides.notes import read_notes
    from napari_melanoma.slides.slide_content import read_proposals

    has_risk = (folder / RISK_FILE).is_file()
    try:
        findings = read_findings(folder)
        has_readings, has_report = bool(findings.readings), findings.report is not None
        is_measured = has_readings or bool(read_proposals(folder).proposals)
        has_counts = (folder / COUNTS).is_file() or bool(read_notes(folder).measures)
    except InputError:
        has_readings = has_report = is_measured = has_counts = True  # the export reports what is damaged
    missing = {
        "depth": NO_DEPTH if not has_readings else "",
        "risk": NO_RISK if not has_risk else "",
        "synoptic": NO_SYNOPTIC if not has_report else "",
        "counts": NO_COUNTS if not has_counts else "",
        "report": NO_REPORT if not (is_measured or has_risk) else "",
    }
    reasons = {kind: missing.get(one.subject, "") for kind, one in EXPORTS.members.items()}
    return {kind: reason for kind, reason in {**reasons, **({} if is_dicom else NO_DICOM)}.items() if reason}


def _read_slide_outlines(
    path: Path, size: tuple[int, int], origin: tuple[int, int], slide: Path, run: RunContext
) -> FittedAnnotations:
    """Read outlines, fitted to a slide of a size (height, width)."""
    from napari_melanoma.slides.lesion_files import import_outlines

    return import_outlines(path, size, origin, slide)


def _write_export(kind: str, path: Path, exported: ExportedSlide, shown: SavedLesions | None, run: RunContext) -> str:
    """Write a file, with the lesions as they are in the dock; return the message."""
    from napari_melanoma.io.results import read_slide_result
    from napari_melanoma.reports.slide_export import write_export

    content = read_slide_result(exported.folder)
    content = content if shown is None or not content else shown.add_to(content)
    note = write_export(kind, path, replace(exported, content=content))
    return f"Written: {path}" + (f". {note}" if note else "")
