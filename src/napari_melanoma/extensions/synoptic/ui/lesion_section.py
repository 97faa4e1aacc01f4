"""The Synoptic report section of the selected lesion in the Case dock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.depth.synoptic import SynopticReport
from napari_melanoma.extensions.synoptic.ui.form import ReportForm
from napari_melanoma.slides.synoptic_files import lesion_basis, list_changes_since_signature
from napari_melanoma.ui.sections.base import LesionSection
from napari_melanoma.ui.shared_state import reader_changed
from napari_melanoma.ui.widgets.settings import READER_SETTING

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_melanoma.ui.session.case_lesion import LesionSession


class LesionSynopticSection(LesionSection):
    """The report of a lesion; each change of an answer is an undo step of the case."""

    def __init__(self, session: LesionSession) -> None:
        super().__init__(session)
        self.form = form = ReportForm()
        self.add(form)
        form.reader_entered.connect(self._on_reader)
        form.findings.answered.connect(
            lambda name, answer: self._change(lambda one: one.set_answer(name, answer, self._reader, utc_time()))
        )
        form.findings.lock_pressed.connect(lambda lock: session.show_error(InputError(lock)))
        form.confirm_requested.connect(
            lambda name: self._change(
                lambda one: one.confirm(*([name] if name else []), reader=self._reader, when=utc_time())
            )
        )
        form.sign_requested.connect(
            lambda: self._amend(lambda one: one.sign(self._reader, utc_time(), lesion_basis(session.lesion).values()))
        )
        form.addendum_entered.connect(
            lambda text: self._amend(lambda one: one.add_addendum(text, self._reader, utc_time()))
        )
        form.reopen_requested.connect(lambda: self._amend(lambda one: one.reopen(self._reader, utc_time())))
        self.follow(session.commit_requested, form.findings.flush)
        self.follow(session.changed, self._update)
        self.follow(session.displayed.changed, form.close_dialogs)
        self.follow(reader_changed().changed, self._update)
        self._update()

    @classmethod
    def has_content(cls, session: LesionSession) -> bool:
        """Whether a field of the report is filled in."""
        return session.lesion.report is not None

    @property
    def _report(self) -> SynopticReport:
        """The report of the lesion with suggestions from its findings."""
        lesion = self.session.lesion
        return (lesion.synoptic or SynopticReport()).prefill(None, lesion)

    @property
    def _reader(self) -> str:
        return str(self.session.settings.get(READER_SETTING, ""))

    def _update(self, _: object = None) -> None:
        report = self._report
        changes = (
            *report.conflicts.values(),
            *list_changes_since_signature(report, lesion_basis(self.session.lesion)),
        )
        self.form.show_report(report, self._reader, changes, is_editable=self.session.is_editable)

    def _on_reader(self, name: str) -> None:
        self.session.settings.set(READER_SETTING, name)
        reader_changed().changed.emit(name)

    def _change(self, change: Callable[[SynopticReport], SynopticReport]) -> None:
        """Change the report as an undo step of the case."""
        self._try(lambda: self.session.edit("synoptic report", synoptic=change(self._report)))

    def _amend(self, change: Callable[[SynopticReport], SynopticReport]) -> None:
        """Change what Undo does not change: the signature and addenda."""
        self._try(lambda: self.session.amend(synoptic=change(self._report)))

    def _try(self, action: Callable[[], None]) -> None:
        try:
            action()
        except MelanomaError as error:
            self.session.show_error(error)
            self._update()
