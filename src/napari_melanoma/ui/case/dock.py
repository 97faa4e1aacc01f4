"""The Case dock: one patient with lesions, images and masks, saved automatically."""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer, QUrl
from qtpy.QtGui import QDesktopServices, QShowEvent, QWindow

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import CaseChanged, SaveError
from napari_melanoma.core.formatting import format_count, format_names, format_time_ago
from napari_melanoma.ui.case.comparison import CaseComparison
from napari_melanoma.ui.case.controller import CaseCloseGuard, CaseController
from napari_melanoma.ui.case.controls import EMPTY_HINT, EMPTY_NOTE, OPEN_HINT, SELECT_HINT, CaseControls
from napari_melanoma.ui.case.images import CaseCorrectionSaver, CaseImages
from napari_melanoma.ui.case.importing import CaseImporter
from napari_melanoma.ui.case.lesion_sections import LesionSections
from napari_melanoma.ui.case.predictions import CasePredictor
from napari_melanoma.ui.case.tree import NO_LESION, CaseEditor, create_rows
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.clinical_fields import CaseForm
from napari_melanoma.ui.widgets.job import LatestJobQueue, tasks
from napari_melanoma.ui.widgets.report_writer import ReportWriter
from napari_melanoma.ui.widgets.signals import follow_focus
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

    from napari_melanoma.case.store import CaseStore


OUTDATED = "Another program has changed the case since it was opened: what is shown here is outdated."
UPDATE_MS = 1000  # interval in which the time since the last save is updated


class CaseDock(CaseControls):
    """Create, view and edit a case."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        self.workspace, self.controller = Workspace.of(napari_viewer), CaseController(self)
        self.workspace.cases.provide(self.controller, self)  # before the dock follows it
        self.editor = CaseEditor(self.controller, self.tree, self)
        self.comparison = CaseComparison(
            self.lesion_page.comparison_view, napari_viewer, self.choice, self.status, self.controller
        )
        self.images = CaseImages(napari_viewer, self, self.controller, self.tree, self.settings)
        self.correction_saver = CaseCorrectionSaver(self.controller, self.images, self)
        self.predictor = CasePredictor(self.controller, self)
        self.report_writer = ReportWriter(self, self.status, self.icons, self.settings)
        self.lesion_sections = LesionSections(self, self.controller)
        self.importer = CaseImporter(self, self.controller, self.settings)
        self.guard = CaseCloseGuard(self, self.controller, self.correction_saver)
        self._is_outdated = False  # whether another program has changed the file of the case
        self._checks = LatestJobQueue(self)  # not of the controller, whose tasks must end before the window is closed
        timer = QTimer(self)
        timer.timeout.connect(self._update_save_label)
        timer.start(UPDATE_MS)
        self._connect()
        self._connect_forms()
        self._add_shortcuts()
        self._on_opened()
        self.deferred.start()

    def _connect(self) -> None:
        for area in (self.welcome, self.drops):
            area.dropped.connect(self.importer.add_paths)
        self.welcome.link_activated.connect(self.importer.follow_link)
        self.notice.label.linkActivated.connect(self._on_link)
        self.status.link_activated.connect(self._on_link)
        self.menu_button.menu().aboutToShow.connect(partial(self.importer.fill_menu, self.menu_button.menu()))
        self.status.cancelled.connect(self._on_cancelled)
        self.images.opening.connect(self.comparison.leave)
        self.images.task_changed.connect(self._on_task_changed)
        self.images.progressed.connect(partial(self.status.progress, "analysing"))
        self.importer.started.connect(partial(self.status.begin, "importing", "Reading files ..."))
        self.importer.progressed.connect(partial(self.status.progress, "importing"))
        self.importer.finished.connect(partial(self.status.end, "importing"))
        self.importer.added.connect(self._show_rows)
        self.controller.opened.connect(self._on_opened)
        self.controller.images_requested.connect(self.images.open)
        self.controller.changed.connect(self._on_changed)
        self.controller.saver.saved.connect(self._on_saved)
        follow_focus(self._on_focus_window)
        self.images.lesion_dock_opened.connect(self.guard.move_to_front)
        self.pictures.value_read.connect(self.tree.viewport().update)
        for message in (self.editor.message, self.importer.message, self.images.message, self.controller.located):
            message.connect(self.status.show_message)
        self.report_button.clicked.connect(self._on_report)
        self.tray_button.clicked.connect(self._on_tray)
        self.predict_button.clicked.connect(lambda checked=False: self.predictor.predict())
        self.predictor.started.connect(partial(self.status.begin, "predicting", "Classifying the lesions ..."))
        for show in (self._show_rows, self._show_details):
            self.predictor.changed.connect(lambda show=show: show())
        self.predictor.progressed.connect(partial(self.status.progress, "predicting"))
        self.predictor.finished.connect(partial(self.status.end, "predicting"))
        sources = (self.controller, self.images, self.importer, self.guard, self.predictor, self.report_writer)
        for source in (*sources, self.comparison, self.lesion_sections):
            source.failed.connect(partial(show_failure, self.status))

    @property
    def _forms(self) -> tuple[CaseForm, ...]:
        return (self.patient_form, *self.lesion_page.forms, self.image_page.form)

    def _connect_forms(self) -> None:
        editor = self.editor
        self.patient_form.edited.connect(editor.set_patient)
        self.patient_form.rejected.connect(editor.revert_patient)
        for form in self._forms[1:]:
            form.edited.connect(editor.set_part)
            form.rejected.connect(editor.revert_part)
        for form in self._forms:
            form.editing_finished.connect(self._on_editing_paused)
        histology = self.lesion_page.histology
        histology.answered.connect(lambda *answer: editor.set_finding(self.lesion_page.lesion_id, *answer))
        histology.confirm_requested.connect(editor.confirm_finding)
        histology.lock_pressed.connect(self.status.show_message)
        self.controller.saver.flush_requested.connect(histology.flush)
        self.lesion_page.body_map.site_chosen.connect(editor.set_site)
        self.lesion_page.body_map.lesion_chosen.connect(self._show_rows)
        self.image_page.lesion_chosen.connect(lambda lesion: editor.move([self.tree.current_id], lesion))
        editor.lesion_added.connect(self._show_rows)
        self.tree.current_changed.connect(self._on_selected)
        self.tree.itemSelectionChanged.connect(self._show_actions)
        self.tree.moved.connect(editor.move)
        self.tree.removed.connect(editor.remove)
        self.tree.dropped.connect(self.importer.add_paths)
        self.undo_button.clicked.connect(lambda checked=False: self._show_step("Undone", self.controller.undo()))
        self.redo_button.clicked.connect(lambda checked=False: self._show_step("Redone", self.controller.redo()))
        self.add_lesion_button.clicked.connect(lambda checked=False: editor.add_lesion())
        self.add_image_button.clicked.connect(lambda checked=False: self.importer.choose_images())
        self.remove_button.clicked.connect(
            lambda checked=False: editor.remove(self.tree.selected_images or [self.tree.current_id])
        )
        self.open_button.clicked.connect(lambda checked=False: self.images.open_selected())

    def _add_shortcuts(self) -> None:
        slots = {
            "undo": self.undo_button.click,  # only while the dock has the focus: Ctrl+Z in the viewer undoes mask edits
            "redo": self.redo_button.click,
            "open": self.open_button.click,
            "add_lesion": self.add_lesion_button.click,
            "add_image": self.add_image_button.click,
        }
        for name, slot in slots.items():
            add_shortcut(self, f"case.{name}", slot)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the current window of the dock."""
        super().showEvent(event)
        self.guard.watch()

    def _on_opened(self) -> None:
        store, case = self.controller.store, self.controller.case
        self.update_visibility(store is not None)
        self.lesion_sections.leave_case()
        if store is None or case is None:
            if self.title.text():
                if not self.status.is_busy:
                    self.status.show_briefly(f"{self.title.text()} is closed.")
                self.title.setText("")
            self.welcome.set_recent(self.settings.recent)
            self.images.on_case_changed()
            return
        self.settings.add_recent(store.folder)
        self.title.setText(store.folder.name)
        self.title.setToolTip(str(store.folder))
        for form in self._forms:
            form.clear_edits()  # errors belong to the previous case
        self.lesion_page.lesion_id = ""  # a lesion of this case may have the same id
        self._on_changed()
        first = case.lesions[0].id if case.lesions else case.images[0].id if case.images else ""
        self._show_rows(first)
        self.images.on_case_changed()

    def _on_changed(self) -> None:
        case = self.controller.case
        if case is None:
            return
        self.pictures.set_images({image.path: image.is_slide for _, image in case.iterate_images()})
        self.patient_form.show_part(case.patient, self.controller.is_editable)
        self._show_rows()
        self._show_details()

    def _show_rows(self, current: str = "") -> None:
        case, store = self.controller.case, self.controller.store
        if case is not None and store is not None:
            predictor = self.predictor
            rows = create_rows(case, store.missing, predictor.current_predictions, predictor.outdated_lesions)
            self.tree.show_rows(rows, current)

    def _on_selected(self) -> None:
        """Show the selected row, after what is being typed was stored for the previous one."""
        self.lesion_sections.flush()
        self.lesion_page.histology.flush()
        self._show_details()

    def _show_details(self) -> None:
        """Show the page of the selected row."""
        case = self.controller.case
        current, editable = self.tree.current_id, self.controller.is_editable
        if case is None:
            return
        lesion = next((part for part in case.lesions if part.id == current), None)
        lesion_and_image = next((pair for pair in case.iterate_images() if pair[1].id == current), None)
        self.lesion_sections.show_lesion(lesion)
        if lesion is not None:
            self.choice.set_needed("Risk", self.lesion_page.show_lesion(case, lesion, editable))
            self.choice.set_needed("Prediction", self.predictor.show_prediction(self.lesion_page, current))
        else:
            self.lesion_page.title.setText("")
        self.comparison.show_lesion(lesion)
        if lesion_and_image is not None:
            self.image_page.show_image(case, *lesion_and_image, editable)
        self.lesion_page.setVisible(lesion is not None)
        self.image_page.setVisible(lesion_and_image is not None)
        is_empty = not case.lesions and not case.images
        if is_empty:
            self.answer.set_hint(EMPTY_HINT if editable else EMPTY_NOTE)
        elif lesion is None:
            self.answer.set_hint(SELECT_HINT if lesion_and_image is None else OPEN_HINT)
        self._show_actions()

    def _show_actions(self) -> None:
        history, case = self.controller.history, self.controller.case
        if history is None or case is None:
            return
        is_part = bool(self.tree.selected_images) or self.tree.current_id not in ("", NO_LESION)
        self.update_predict_button(self.predictor.unavailable_reason)
        self.update_actions(
            self.controller.is_editable,
            len(self.images.selected_images),
            is_part,
            history.undo_text,
            history.redo_text,
        )

    def _on_editing_paused(self) -> None:
        if self.controller.history is not None:
            self.controller.history.end_step()

    def _show_step(self, verb: str, step: str) -> None:
        if step:
            self.status.show_briefly(f"{verb}: {step}.")

    def _on_saved(self) -> None:
        self._is_outdated = False
        self._checks.ignore()  # it may have read the file between writing and its end
        self._check_file()
        self.notice.set_text(self._describe_problem())
        self._update_save_label()

    def _check_file(self) -> None:
        """State if another program has changed the case; its disk may be slow."""
        store = self.controller.store
        if store is not None:
            self._checks.submit("file", lambda: partial(_is_outdated, store), partial(self._on_checked, store))

    def _on_checked(self, store: CaseStore, is_outdated: bool) -> None:
        if store is self.controller.store and is_outdated != self._is_outdated:
            self._is_outdated = is_outdated
            self.notice.set_text(self._describe_problem())

    def _describe_problem(self) -> str:
        """Return the most important problem of the case file as rich text, or ""."""
        store, case, link = self.controller.store, self.controller.case, self.icons.link
        error = self.controller.saver.error
        if store is None or case is None:
            return ""
        reopen = link("again", "Reopen the case")
        if isinstance(error, CaseChanged) and not store.folder.is_dir():
            text = f"Your changes are not saved: {html.escape(str(error))}"
            return f"{text} You can also {link('over', 'create the folder again')} with your changes."
        if isinstance(error, CaseChanged):
            text = "Your changes are not saved: another program changed the case since it was opened."
            return f"{text} {reopen} to discard your changes, or {link('over', 'overwrite it with yours')}."
        if error is not None:
            return f"{html.escape(str(error))} {link('save', 'Try again')}."
        outdated = OUTDATED if self._is_outdated and not self.controller.saver.has_unsaved_changes else ""
        if store.read_only or outdated:
            read_only = f"Read-only: {html.escape(store.read_only)}" if store.read_only else ""
            return f"{read_only} {outdated} {reopen}.".strip()
        missing = [image.path.name for _, image in case.iterate_images() if image.id in store.missing]
        if missing:
            names, count = html.escape(format_names(missing)), format_count(len(missing), "image")
            return f"{count} not found: {names}. All data are kept; {link('locate', 'locate folder')}."
        return ""

    def _on_focus_window(self, window: QWindow | None) -> None:
        if window is not None:  # another one had the focus
            self._check_file()

    def _update_save_label(self) -> None:
        store = self.controller.store
        if store is None or store.read_only:
            text = "" if store is None else "Read-only: changes are not saved."
        elif self.controller.saver.error is not None:
            text = "Not saved."
        elif self.controller.saver.has_unsaved_changes or not tasks.is_idle(self.correction_saver):
            text = "Saving ..."
        else:
            saved_at = self.controller.saver.saved_at
            seconds = time.time() - saved_at
            ago = "just now" if seconds < 1 else f"{seconds:.0f} s ago" if seconds < 60 else format_time_ago(seconds)
            text = f"Saved {f'{ago} ' if saved_at else ''}in {store.folder.name}/case.json"
        if self.save_label.text() != text:
            self.save_label.setText(text)
            self.save_label.setToolTip(text)

    def _on_link(self, link: str) -> None:
        if link == "over":
            self.controller.saver.save(overwrite=True)
        elif link == "save":
            self.controller.saver.save()
        elif link == "again" and self.controller.store is not None:
            self.controller.saver.discard_changes()
            self.controller.open(self.controller.store.folder)
        elif link.startswith("file:"):
            QDesktopServices.openUrl(QUrl(link))
        else:
            self.importer.follow_link(link)

    def _on_task_changed(self, task: str) -> None:
        """Show the task of the Lesion dock here, since its own status line may be hidden."""
        if task != "opening":
            self.status.end("opening")
        if task != "analysing":
            self.status.end("analysing")
        if task == "opening":
            self.status.begin("opening", "Opening ...")
        elif task == "analysing":
            self.status.begin("analysing", "Segmenting the lesion ...")

    def _on_report(self) -> None:
        """Write the report of the case, with the stored results of its slides, once its edits are saved."""
        store, case = self.controller.store, self.controller.case
        if store is not None and case is not None:
            paths = tuple(image.path for _, image in case.iterate_images())
            find_results = partial(_find_slide_results, self.settings.slide_results, paths)
            name = f"{store.folder.name}-report"
            open_dialog = partial(self.report_writer.ask, (store.folder,), store.folder.parent, name, find_results)
            self.controller.saver.run_when_saved(open_dialog, "report")

    def _on_tray(self) -> None:
        """Show the images of the case in the Tray, once its edits are saved; the Tray is not imported before."""
        store = self.controller.store
        if store is not None:
            images = self.workspace.images.show()
            self.controller.saver.run_when_saved(partial(images.open, [store.folder]), "tray")

    def _on_cancelled(self, task: str) -> None:
        if task == "importing":
            self.importer.cancel()
        elif task == "predicting":
            self.predictor.cancel()
        elif task == "analysing":
            self.images.cancel()
        elif task == "comparing":
            self.comparison.cancel()


def _is_outdated(store: CaseStore, run: RunContext) -> bool:
    """Whether another program has changed the file of a case; False if it cannot be read now."""
    with suppress(SaveError):
        return store.folder.is_dir() and bool(store.describe_outside_change())
    return False


def _find_slide_results(root: Path, paths: Sequence[Path]) -> list[Path]:
    """Find the result folders of slides: by the name of the slide, or of missing slides by the path in the result."""
    from napari_melanoma.slides.result_folder import recorded_slide, slide_folder

    folders = [slide_folder(root, path) for path in paths if path.exists()]
    missing = {path for path in paths if not path.exists()}
    if missing and root.is_dir():
        folders += [folder for folder in sorted(root.iterdir()) if recorded_slide(folder) in missing]
    return [folder for folder in folders if folder.is_dir()]
