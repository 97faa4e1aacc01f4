"""The synoptic report of the selected lesion in the Case dock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from napari_melanoma.case.model import set_lesion
from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.provenance import utc_time
from napari_melanoma.ui.case.lesion_sections import LesionSection
from napari_melanoma.ui.widgets.settings import READER_SETTING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.case.model import Case, CaseLesion
    from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
    from napari_melanoma.ui.case.controller import CaseController
    from napari_melanoma.ui.widgets.settings import DockSettings


class LesionSynopticSection(LesionSection):
    """The form of a lesion; each change of an answer is an undo step of the case."""

    def open(self, controller: CaseController, settings: DockSettings) -> QWidget:
        """Return the form."""
        from napari_melanoma.extensions.synoptic.ui.form import SynopticForm

        self._controller, self._settings, self._lesion = controller, settings, ""
        self._form = form = SynopticForm()
        form.reader_entered.connect(self._on_reader)
        form.answered.connect(self._on_answered)
        form.confirm_requested.connect(self._on_confirmed)
        form.sign_requested.connect(self._on_sign)
        form.addendum_entered.connect(
            lambda text: self._sign(lambda report: report.add_addendum(text, self._reader, utc_time()))
        )
        form.reopen_requested.connect(lambda: self._sign(lambda report: report.reopen(self._reader, utc_time())))
        return form

    def show_lesion(self, lesion: CaseLesion, *, is_other: bool) -> None:
        """Show the report of a lesion."""
        self._lesion = lesion.id
        self._update(is_other=is_other)

    def flush(self) -> None:
        """Store the input that is being typed."""
        self._form.flush()

    @property
    def _report(self) -> SynopticReport | None:
        """The report of the lesion with suggestions from its findings; None without a lesion."""
        from napari_melanoma.depth.synoptic import SynopticReport

        case = self._controller.case
        lesion = next((part for part in case.lesions if part.id == self._lesion), None) if case is not None else None
        return None if lesion is None else (lesion.synoptic or SynopticReport()).prefill(None, lesion)

    def _update(self, *, is_other: bool = False) -> None:
        report = self._report
        if report is None:
            return
        self._form.show_report(report, self._reader, is_editable=self._controller.is_editable, is_other=is_other)
        self._form.show_changes(report.list_changes_since_signature(self._describe_lesion()))

    @property
    def _reader(self) -> str:
        return str(self._settings.get(READER_SETTING, ""))

    def _on_reader(self, name: str) -> None:
        self._settings.set(READER_SETTING, name)
        self._update()

    def _on_answered(self, name: str, answer: SynopticAnswer | None) -> None:
        self._edit(lambda report: report.set_answer(name, answer, self._reader, utc_time()))

    def _on_confirmed(self, name: str) -> None:
        names = (name,) if name else ()
        self._edit(lambda report: report.confirm(*names, reader=self._reader, when=utc_time()))

    def _edit(self, change: Callable[[SynopticReport], SynopticReport]) -> None:
        """Change the report as an undo step of the case."""
        edited = self._change(change)
        if edited is not None:
            self._controller.edit(edited, "synoptic report")

    def _on_sign(self) -> None:
        values = self._describe_lesion()
        self._sign(lambda report: report.sign(self._reader, utc_time(), values))

    def _describe_lesion(self) -> dict[str, str]:
        """Describe the values of the lesion that its report rests on."""
        from napari_melanoma.depth.synoptic import describe_case_lesion

        case = self._controller.case
        return {} if case is None else describe_case_lesion(case.find_lesion(self._lesion))

    def _sign(self, change: Callable[[SynopticReport], SynopticReport]) -> None:
        """Sign or reopen the report, or add an addendum; Undo does not revert this."""
        edited = self._change(change)
        if edited is not None:
            self._controller.amend(edited)

    def _change(self, change: Callable[[SynopticReport], SynopticReport]) -> Case | None:
        """Return the case with a changed report; None if the report cannot be changed."""
        case, report = self._controller.case, self._report
        if case is None or report is None:
            return None
        try:
            return set_lesion(case, self._lesion, synoptic=change(report))
        except MelanomaError as error:
            self._controller.failed.emit(error)
            self._update()
            return None
