"""The sections of the Case dock on the selected lesion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.case.model import CaseLesion
from napari_melanoma.ui.case.controller import CaseController
from napari_melanoma.ui.sections.base import LesionSection
from napari_melanoma.ui.sections.host import SectionHost
from napari_melanoma.ui.session.case_lesion import LesionSession

if TYPE_CHECKING:
    from napari_melanoma.ui.case.controls import CaseControls


class LesionSections(SectionHost[LesionSession]):
    """Open the sections on the selected lesion; they are collapsed at first use."""

    def __init__(self, dock: CaseControls, controller: CaseController) -> None:
        super().__init__(dock, LesionSection, dock.deferred, is_open_first=False)
        self._controller = controller
        controller.saver.flush_requested.connect(self.flush)

    def show_lesion(self, lesion: CaseLesion | None) -> None:
        """Show a lesion, or its changed values; None for none."""
        previous = self.session
        if previous is not None and lesion is not None and lesion.id == previous.lesion.id:
            previous.update(lesion)
            return
        if lesion is not None:
            self.show_session(LesionSession(self._controller, lesion, self.dock.settings, self.failed.emit))
        elif previous is not None:
            self.show_session(None)
        if previous is not None:
            self.remove_session(previous)
            previous.end_parts()

    def flush(self) -> None:
        """Apply what is being typed."""
        if self.session is not None:
            self.session.commit_requested.emit()

    def leave_case(self) -> None:
        """Close the sections without changing the case, because another one was opened."""
        if self.session is not None:
            self.session.end()
        self.show_lesion(None)
