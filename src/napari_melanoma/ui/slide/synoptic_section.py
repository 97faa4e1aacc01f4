"""The Synoptic report section of the Slide dock: a form whose content is saved with the slide."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.ui.session.open_case import find_open_case, find_slide_lesion
from napari_melanoma.ui.widgets.status_line import show_outcome
from napari_melanoma.ui.widgets.style import add_to_section, fill_column, row, tool_button

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
    from napari_melanoma.ui.session.document import Document, HistoryStep, SlideFolder
    from napari_melanoma.ui.session.slide import SlideSession
    from napari_melanoma.ui.slide.context import SlideContext
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide

EMPTY_REPORT = "the synoptic report is empty: fill in the form first."


class SynopticStore(QObject):
    """Edit the synoptic report of the displayed slide, with suggestions from the depth reading and from the case."""

    changed = Signal()

    def __init__(self, context: SlideContext) -> None:
        super().__init__(context)
        self._context = context
        self._session: SlideSession | None = None  # of the displayed slide; None until its results were searched

    @property
    def document(self) -> Document[SynopticReport] | None:
        """The report of the displayed slide; None until it was read, or if it cannot be read."""
        document = None if self._session is None else self._session.synoptic
        return document if document is not None and document.is_ready and not document.problem else None

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show no report until the session of another slide is open; with another scale, the session is the same."""
        if self._session is not None and (slide is None or slide.identity != self._session.identity):
            self.follow_session(None)

    def follow_session(self, session: SlideSession | None) -> None:
        """Show the report of another session; its depth readings emit ``changed`` with the report, too."""
        if session is self._session:
            return
        if self._session is not None:
            self._session.depth.changed.disconnect(self._on_changed)
            self._session.lesions.changed.disconnect(self._on_changed)
            self._session.synoptic.ready.disconnect(self._on_changed)
        self._session = session
        if session is not None:
            session.depth.changed.connect(self._on_changed)
            session.lesions.changed.connect(self._on_changed)
            session.synoptic.ready.connect(self._on_changed)
        self._on_changed()

    def _on_changed(self, _: object = None) -> None:
        self.changed.emit()

    def _apply(self, edit: Callable[[SynopticReport], SynopticReport]) -> None:
        if self._session is not None:
            self._session.synoptic.apply(edit)

    @property
    def reader(self) -> str:
        """The name of the reader, as entered in any section."""
        return self._context.reader

    @property
    def report(self) -> SynopticReport:
        """The report of the displayed slide, with suggestions for empty fields."""
        from napari_melanoma.depth.synoptic import SynopticReport

        return SynopticReport() if self.document is None else self._suggest(self.document.value)

    def set_answer(self, name: str, answer: SynopticAnswer | None) -> None:
        """Set or clear (None) a field, as one undo step."""
        self._apply(lambda report: self._suggest(report).set_answer(name, answer, self.reader, utc_time()))

    def confirm(self, name: str = "") -> None:
        """Confirm the suggested answer of a field, or all suggestions if ``name`` is empty."""
        names = (name,) if name else ()
        self._apply(lambda report: self._suggest(report).confirm(*names, reader=self.reader, when=utc_time()))

    def sign(self) -> None:
        """Sign the report, and lock it and the reading that it rests on."""
        values = self._describe_values(self.reader)
        self._apply(lambda report: self._suggest(report).sign(self.reader, utc_time(), values))
        document, session = self.document, self._session
        if session is not None and document is not None and document.value.is_signed and not session.lesions.is_saved:
            session.lesions.save()

    def reopen(self) -> None:
        """Unlock a signed report; its reading then follows a scale that was set while it was locked."""
        self._apply(lambda report: report.reopen(self.reader, utc_time()))
        if self._session is not None:
            self._session.depth.rescale()

    def step(self, direction: HistoryStep) -> None:
        """Undo or redo a step."""
        if self._session is not None:
            self._session.synoptic.step(direction)

    def flush(self) -> None:
        """Write pending changes now: the window may be about to close."""
        if self._session is not None:
            self._session.synoptic.flush()

    def add_addendum(self, text: str) -> None:
        """Add a text to a signed report."""
        self._apply(lambda report: report.add_addendum(text, self.reader, utc_time()))

    @property
    def changes(self) -> tuple[str, ...]:
        """What has changed since the report was signed."""
        if self.document is None or not self.document.value.is_signed:
            return ()
        report = self.document.value
        return report.list_changes_since_signature(self._describe_values(report.signed_by))

    def _describe_values(self, reader: str) -> dict[str, str]:
        """Describe what a report of a reader rests on: the reading of the slide, and its lesions."""
        from napari_melanoma.depth.synoptic import describe_reading
        from napari_melanoma.slides.synoptic_files import describe_lesions

        session = self._session
        if session is None:
            return {}
        values = describe_reading(session.depth.value.reading_by(reader))
        lesions = session.lesions.value
        if lesions is not None and lesions.source.folder == session.folder:
            values |= describe_lesions(lesions.lesions, lesions.config.high)
        return values

    def _suggest(self, report: SynopticReport) -> SynopticReport:
        """Fill empty fields with suggestions from the slide's depth reading and from its lesion in the open case."""
        session = self._session
        if session is None:
            return report  # the dock is switching to another slide
        lesion = find_slide_lesion(self._context.window, session.slide)
        if not session.depth.is_ready:
            return report.prefill(None, lesion)
        depth = session.depth.state
        return report.prefill(depth.reading, lesion, depth.predicted.proposals.validity)


class SlideSynopticSection(QObject):
    """Synchronize the form and the file; the form is created when the section is first opened."""

    def __init__(self, context: SlideContext, section: QCollapsible) -> None:
        super().__init__(context)
        self._context, self._section = context, section
        self._view: SynopticView | None = None
        self._shown: SlideFolder | None = None  # of the slide whose report the form shows
        self.store = SynopticStore(context)
        self.store.changed.connect(self._update_view)
        context.reader_changed.connect(self._update_view)
        context.flush_requested.connect(self._flush_pending)
        section.toggled.connect(self._on_toggled)
        self._on_toggled(section.isExpanded())

    @property
    def view(self) -> SynopticView:
        """The widgets, created when they are first needed."""
        if self._view is None:
            view = self._view = SynopticView()
            add_to_section(self._section, view)
            view.form.answered.connect(self.store.set_answer)
            view.form.confirm_requested.connect(self.store.confirm)
            view.form.sign_requested.connect(self.store.sign)
            view.form.reopen_requested.connect(self.store.reopen)
            view.form.addendum_entered.connect(self.store.add_addendum)
            for direction, button in view.history_buttons.items():
                button.clicked.connect(lambda _=False, direction=direction: self.store.step(direction))
            view.form.reader_entered.connect(self._context.set_reader)
            view.case_button.clicked.connect(lambda: show_outcome(self._context.status, self._add_to_case))
        return self._view

    def set_slide(self, slide: ViewerSlide | None) -> None:
        """Show another slide, or the same with another scale."""
        self.store.set_slide(slide)

    def load(self, session: SlideSession) -> None:
        """Read the stored report of the slide."""
        self.store.follow_session(session)

    def flush(self) -> None:
        """Store the field that is being edited, for the displayed slide."""
        if self._view is not None:
            self._view.form.flush()

    def _on_toggled(self, is_open: bool) -> None:
        if is_open:
            self._update_view()

    def _flush_pending(self) -> None:
        """Store and save pending changes, since the window may be about to close."""
        self.flush()
        self.store.flush()

    def _update_view(self, changed: object = None) -> None:
        """Show the report, unless the section has never been opened."""
        if self._view is None and not self._section.isExpanded():
            return
        view, document = self.view, self.store.document
        previous, self._shown = self._shown, None if document is None else document.location
        is_editable, is_other = document is not None, previous != self._shown
        view.form.show_report(self.store.report, self.store.reader, is_editable=is_editable, is_other=is_other)
        view.form.show_changes(self.store.changes)
        steps = (False, False)
        if document is not None and not document.value.is_signed:
            steps = document.can_undo, document.can_redo
        for button, is_possible in zip(view.history_buttons.values(), steps, strict=True):
            button.setEnabled(is_possible)
        view.case_button.setEnabled(document is not None and bool(document.value.answers))

    def _add_to_case(self) -> str:
        """Copy the report to the slide's lesion in the open case; return a message for the user."""
        from napari_melanoma.case.model import set_lesion

        document, slide = self.store.document, self._context.slide
        if document is None or slide is None or not document.value.answers:
            raise InputError(EMPTY_REPORT)
        report = document.value
        controller, image = find_open_case(self._context.window, slide)
        lesion = find_slide_lesion(self._context.window, slide)
        if lesion is None:
            raise InputError("the slide belongs to no lesion of the open case: drop it on its lesion in the Case dock.")
        is_other = lesion.synoptic is not None and lesion.synoptic.answers != report.answers
        if is_other and lesion.synoptic is not None and lesion.synoptic.is_signed:
            raise InputError("the lesion has a signed synoptic report in the case. Reopen it in the Case dock first.")
        controller.edit(set_lesion(controller.case, lesion.id, synoptic=report), "the synoptic report")
        replaced = " It replaces the previous one; Undo in the Case dock restores it." if is_other else ""
        return f"Added to the case, with the lesion of {image.path.name}: the synoptic report.{replaced}"


class SynopticView(QWidget):
    """The widgets of the section: the form, buttons for undo and redo, and a button that copies it to the case."""

    def __init__(self) -> None:
        super().__init__()
        from napari_melanoma.ui.widgets.synoptic_form import SynopticForm

        self.form = SynopticForm()
        steps = {"undo": ("↶", "Undo the last change in this section"), "redo": ("↷", "Redo")}
        self.history_buttons = {
            name: tool_button(f"synoptic_{name}", tip, tip, text) for name, (text, tip) in steps.items()
        }
        for button in self.history_buttons.values():
            self.form.reader_row.layout().addWidget(button)
        tip = "Copy the report to the lesion of the case that is open in the Case dock"
        self.case_button = tool_button("synoptic_case", tip, tip, "Add to case")
        fill_column(self, self.form, row(self.case_button), spacing=5)
