"""The synoptic report of the selected lesion in the Case dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.slides.synoptic_files import lesion_basis, list_changes_since_signature
from napari_melanoma.ui.sections import LesionSection
from napari_melanoma.ui.shared_state import reader_changed
from napari_melanoma.ui.widgets.settings import READER_SETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from qtpy.QtWidgets import QWidget

    from napari_melanoma.depth.synoptic import SynopticAnswer
    from napari_melanoma.extensions.synoptic.ui.form import SynopticForm
    from napari_melanoma.ui.session.case_lesion import LesionSession


class LesionSynopticSection(LesionSection):
    """The form of a lesion; each change of an answer is an undo step of the case."""

    keeps_widget = True  # takes 0.1 to 0.2 s

    def __init__(self) -> None:
        self._form: SynopticForm | None = None
        self._session: LesionSession | None = None

    def open(self, session: LesionSession) -> QWidget:
        """Return the form."""
        form = self._form = self._form or self._create_form()
        form.blockSignals(False)
        self._session = session
        session.commit_requested.connect(form.flush)
        session.changed.connect(self._update)
        reader_changed().changed.connect(self._on_other_reader)
        self._update(is_other=True)
        return form

    def has_content(self, session: LesionSession) -> bool:
        """Whether a field of the report is filled in."""
        return session.lesion.synoptic is not None

    def close(self) -> None:
        """Stop following the lesion."""
        if self._session is not None and self._form is not None:
            self._session.commit_requested.disconnect(self._form.flush)
            self._session.changed.disconnect(self._update)
            reader_changed().changed.disconnect(self._on_other_reader)
            self._form.blockSignals(True)  # editing ends when it leaves the dock
            self._session = None

    def _create_form(self) -> SynopticForm:
        from napari_melanoma.extensions.synoptic.ui.form import SynopticForm

        form = SynopticForm()
        form.reader_entered.connect(self._on_reader)
        form.answered.connect(self._on_answered)
        form.confirm_requested.connect(self._on_confirmed)
        form.sign_requested.connect(self._on_sign)
        form.addendum_entered.connect(self._on_addendum)
        form.reopen_requested.connect(self._on_reopened)
        return form

    def _update(self, *, is_other: bool = False) -> None:
        session, form = self._session, self._form
        if session is not None and form is not None:
            report = self._find_report(session)
            form.show_report(report, self._reader, is_editable=session.is_editable, is_other=is_other)
            form.show_changes(list_changes_since_signature(report, lesion_basis(session.lesion)))

    def _find_report(self, session: LesionSession) -> SynopticReport:
        """Return the report of the lesion with suggestions from its findings."""
        return (session.lesion.synoptic or SynopticReport()).prefill(None, session.lesion)

    @property
    def _reader(self) -> str:
        return "" if self._session is None else str(self._session.settings.get(READER_SETTING, ""))

    def _on_reader(self, name: str) -> None:
        if self._session is not None:
            self._session.settings.set(READER_SETTING, name)
            reader_changed().changed.emit(name)

    def _on_other_reader(self, _: str) -> None:
        self._update()

    def _on_answered(self, name: str, answer: SynopticAnswer | None) -> None:
        self._change(lambda report: report.set_answer(name, answer, self._reader, utc_time()))

    def _on_confirmed(self, name: str) -> None:
        names = (name,) if name else ()
        self._change(lambda report: report.confirm(*names, reader=self._reader, when=utc_time()))

    def _on_sign(self) -> None:
        if self._session is not None:
            values = lesion_basis(self._session.lesion).values()
            self._change(lambda report: report.sign(self._reader, utc_time(), values), can_undo=False)

    def _on_addendum(self, text: str) -> None:
        self._change(lambda report: report.add_addendum(text, self._reader, utc_time()), can_undo=False)

    def _on_reopened(self) -> None:
        self._change(lambda report: report.reopen(self._reader, utc_time()), can_undo=False)

    def _change(self, change: Callable[[SynopticReport], SynopticReport], *, can_undo: bool = True) -> None:
        """Change the report; ``can_undo``: as an undo step of the case."""
        session = self._session
        if session is None:
            return
        try:
            report = change(self._find_report(session))
            if can_undo:
                session.edit_report(report)
            else:
                session.amend(synoptic=report)
        except MelanomaError as error:
            session.show_error(error)
            self._update()
