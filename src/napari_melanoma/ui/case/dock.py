"""The Case dock: one patient, the lesions, their images and masks, saved as one goes."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtCore import QTimer
from qtpy.QtGui import QShowEvent

from napari_melanoma.core.wording import counted
from napari_melanoma.ui.case import words
from napari_melanoma.ui.case.adding import CaseAdding
from napari_melanoma.ui.case.close_guard import CaseGuard
from napari_melanoma.ui.case.controls import CaseControls
from napari_melanoma.ui.case.corrections import CaseKeeping
from napari_melanoma.ui.case.editing import CaseEditing, CaseTelling
from napari_melanoma.ui.case.images import CaseViewing
from napari_melanoma.ui.case.predictions import CaseAnswering
from napari_melanoma.ui.case.store import CaseDesk
from napari_melanoma.ui.case.tree import LOOSE, rows_of
from napari_melanoma.ui.case.words import notice_of
from napari_melanoma.ui.viewer.mesa import keep_shaders
from napari_melanoma.ui.viewer.shortcuts import add_shortcut
from napari_melanoma.ui.widgets.status_line import show_failure

if TYPE_CHECKING:
    from napari.viewer import Viewer

TELL_MS = 1000  # how often it is said how long ago the case was saved


class CaseDock(CaseControls):
    """Make, look at and change a case."""

    def __init__(self, napari_viewer: Viewer) -> None:
        super().__init__(napari_viewer)
        keep_shaders()
        self.desk = CaseDesk(self)
        self.editing = CaseEditing(self.desk, self.tree, self)
        self.viewing = CaseViewing(napari_viewer, self, self.desk, self.tree, self.settings)
        self.opening = self.viewing.opening
        self.keeping = CaseKeeping(self.desk, self.opening, self)
        self.answering = CaseAnswering(self.desk, self)
        self.telling = CaseTelling(self.desk, self.opening, self)
        self.adding = CaseAdding(self, self.desk, self.settings)
        self.guard = CaseGuard(self, self.desk, self.keeping)
        self._telling = QTimer(self)
        self._telling.setInterval(TELL_MS)
        self._telling.timeout.connect(self._tell_saved)
        self._telling.start()
        self._connect()
        self._connect_forms()
        self._add_shortcuts()
        self._on_opened()
        self.destroyed.connect(self.connections.close)

    def _connect(self) -> None:
        for area in (self.welcome, self.drops):
            area.dropped.connect(self.adding.take)
        self.welcome.followed.connect(self.adding.follow)
        self.notice.words.linkActivated.connect(self._on_link)
        self.status.followed.connect(self._on_link)
        self.menu.menu().aboutToShow.connect(partial(self.adding.fill, self.menu.menu()))
        self.status.cancelled.connect(self._on_cancelled)
        self.opening.working.connect(self._on_working)
        self.opening.progressed.connect(partial(self.status.progress, "analysing"))
        self.adding.started.connect(partial(self.status.begin, "importing", "Looking at files ..."))
        self.adding.progressed.connect(partial(self.status.progress, "importing"))
        self.adding.finished.connect(partial(self.status.end, "importing"))
        self.adding.added.connect(self._show_rows)
        self.desk.opened.connect(self._on_opened)
        self.desk.changed.connect(self._on_changed)
        self.desk.saving.saved.connect(self._on_saved)
        self.opening.lesion_opened.connect(self.guard.be_first)
        self.pictures.read.connect(self.tree.viewport().update)
        for teller in (self.editing, self.adding, self.viewing):
            teller.said.connect(self.status.say)
        self.answer.clicked.connect(lambda checked=False: self.answering.ask())
        self.answering.started.connect(partial(self.status.begin, "answering", "Looking at the lesions ..."))
        self.answering.changed.connect(self._on_answers)
        self.answering.progressed.connect(partial(self.status.progress, "answering"))
        self.answering.finished.connect(partial(self.status.end, "answering"))
        for source in (self.desk, self.opening, self.adding, self.guard, self.answering):
            source.failed.connect(self._on_failed)

    def _connect_forms(self) -> None:
        editing = self.editing
        self.patient.edited.connect(editing.set_patient)
        self.patient.refused.connect(editing.refuse_patient)
        self.patient.confirmed.connect(editing.confirm_patient)
        for form in (*self.lesion_page.forms, self.image_page.form):
            form.edited.connect(editing.set_part)
            form.refused.connect(editing.refuse_part)
            form.confirmed.connect(editing.confirm_part)
        for form in (self.patient, *self.lesion_page.forms, self.image_page.form):
            form.rested.connect(self._on_rested)
        self.lesion_page.body.site_chosen.connect(editing.set_place)
        self.lesion_page.body.lesion_chosen.connect(self._show_rows)
        self.image_page.lesion_chosen.connect(self._on_lesion_chosen)
        for button in (self.lesion_page.confirm, self.image_page.confirm):
            button.clicked.connect(lambda checked=False: editing.confirm_part())
        self.confirm.clicked.connect(lambda checked=False: editing.confirm_all())
        editing.made.connect(self._show_rows)
        self.tree.picked.connect(self._show_details)
        self.tree.itemSelectionChanged.connect(self._show_actions)
        self.tree.moved.connect(editing.move)
        self.tree.removed.connect(editing.remove)
        self.tree.dropped.connect(self.adding.take)
        self.undo.clicked.connect(self._on_undo)
        self.redo.clicked.connect(self._on_redo)
        self.add_lesion.clicked.connect(lambda checked=False: editing.add_lesion())
        self.add_image.clicked.connect(lambda checked=False: self.adding.ask_images())
        self.remove.clicked.connect(self._on_remove)
        self.open.clicked.connect(lambda checked=False: self.viewing.open_chosen())

    def _add_shortcuts(self) -> None:
        slots = {
            "undo": self.undo.click,  # while the dock has the focus: Ctrl+Z in the viewer is the mask's
            "redo": self.redo.click,
            "open": self.open.click,
            "add_lesion": self.add_lesion.click,
            "add_image": self.add_image.click,
        }
        for name, slot in slots.items():
            add_shortcut(self, f"case.{name}", slot)

    def showEvent(self, event: QShowEvent) -> None:  # noqa: N802 - Qt's name
        """Watch the window that the dock is in now."""
        super().showEvent(event)
        self.guard.watch()

    @property
    def busy(self) -> bool:
        """Whether anything is on its way: files, an analysis, a save."""
        parts = (self.desk, self.adding, self.opening, self.keeping, self.pictures, self.answering)
        return any(part.busy for part in parts)

    def _on_opened(self) -> None:
        store, case = self.desk.store, self.desk.case
        self.show_open(store is not None)
        if store is None or case is None:
            self.welcome.set_recent(self.settings.recent)
            self.viewing.change_case()
            return
        self.settings.remember(store.folder)
        self.title.setText(store.folder.name)
        self.title.setToolTip(str(store.folder))
        for form in (self.patient, *self.lesion_page.forms, self.image_page.form):
            form.forget()  # a fault in it was of the case before
        self._on_changed()
        first = case.lesions[0].id if case.lesions else case.images[0].id if case.images else ""
        self._show_rows(first)
        self.viewing.change_case()

    def _on_changed(self) -> None:
        case = self.desk.case
        if case is None:
            return
        count = words.guesses(case)
        self.confirm.setText(f"{counted(count, 'guess')} ✓")
        self.confirm.setVisible(count > 0)
        self.confirm.setEnabled(self.desk.may_edit)
        self.patient.show_part(case.patient, self.desk.may_edit)
        self._show_rows()
        self._show_details()

    def _show_rows(self, current: str = "") -> None:
        case, store = self.desk.case, self.desk.store
        if case is not None and store is not None:
            self.tree.show_rows(rows_of(case, store.missing, self.answering.fitting), current)

    def _show_details(self) -> None:
        """Show what is known of the row at hand."""
        case, current, editable = self.desk.case, self.tree.current, self.desk.may_edit
        if case is None:
            return
        lesion = next((found for found in case.lesions if found.id == current), None)
        found = next(((of, image) for of, image in case.each_image() if image.id == current), None)
        if lesion is not None:
            self.lesion_page.show_lesion(case, lesion, editable)
            self.answering.show(self.lesion_page, current)
        if found is not None:
            self.image_page.show_image(case, *found, editable)
        self.lesion_page.setVisible(lesion is not None)
        self.image_page.setVisible(found is not None)
        self.hint.setVisible(lesion is None and found is None)
        self._show_actions()

    def _show_actions(self) -> None:
        history, case = self.desk.history, self.desk.case
        if history is None or case is None:
            return
        is_part = bool(self.tree.images) or self.tree.current not in ("", LOOSE)
        self.show_asking(self.answering.why_not)
        self.show_actions(self.desk.may_edit, len(self.viewing.chosen), is_part, history.undone, history.redone)

    def _on_answers(self) -> None:
        self._show_rows()
        self._show_details()

    def _on_rested(self) -> None:
        if self.desk.history is not None:
            self.desk.history.rest()

    def _on_lesion_chosen(self, lesion: str) -> None:
        self.editing.move([self.tree.current], lesion)

    def _on_remove(self) -> None:
        self.editing.remove(self.tree.images or [self.tree.current])

    def _on_undo(self) -> None:
        what = self.desk.undo()
        if what:
            self.status.say(f"Undone: {what}.")

    def _on_redo(self) -> None:
        what = self.desk.redo()
        if what:
            self.status.say(f"Done again: {what}.")

    def _on_saved(self) -> None:
        self.notice.say(notice_of(self.desk, self.icons.link))
        self._tell_saved()

    def _tell_saved(self) -> None:
        store = self.desk.store
        if store is None or store.read_only:
            said = "" if store is None else "Read only: nothing is saved."
        elif self.desk.saving.fault is not None:
            said = "Not saved."
        elif self.desk.saving.dirty or self.keeping.is_due:
            said = "Saving ..."
        else:
            ago = words.when(time.time() - self.desk.saving.saved_at) if self.desk.saving.saved_at else ""
            said = f"Saved {ago} in {store.folder.name}/case.json".replace("  ", " ")
        if self.file.text() != said:
            self.file.setText(said)

    def _on_link(self, link: str) -> None:
        if link == "over":
            self.desk.saving.save(over=True)
        elif link == "save":
            self.desk.saving.save()
        elif link == "again" and self.desk.store is not None:
            self.desk.saving.forget()
            self.desk.open(self.desk.store.folder)
        else:
            self.adding.follow(link)

    def _on_working(self, task: str) -> None:
        """Say that an image is read or analysed: what the Lesion dock says of it may be out of sight."""
        for other in ("opening", "analysing"):
            if other != task:
                self.status.end(other)
        if task == "opening":
            self.status.begin("opening", "Opening ...")
        elif task == "analysing":
            self.status.begin("analysing", "Finding the lesion ...")

    def _on_cancelled(self, task: str) -> None:
        if task == "importing":
            self.adding.cancel()
        elif task == "answering":
            self.answering.cancel()
        else:
            self.opening.cancel()

    def _on_failed(self, error: Exception) -> None:
        show_failure(self.status, error)
