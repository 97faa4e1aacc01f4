"""The session of a lesion of the open case, which is selected in the Case dock."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from psygnal import Signal

from napari_melanoma.case.lesion_content import FindFolder, LesionContent, read_lesion_content
from napari_melanoma.case.model import CaseLesion, CasePatient, set_lesion
from napari_melanoma.ui.session.image import ImageSession
from napari_melanoma.ui.session.open_case import OpenCase
from napari_melanoma.ui.widgets.settings import DockSettings


class LesionSession(ImageSession):
    """A lesion, with the means to change it.

    ``lesion``: its current values; ``changed``: emitted after each change of the case. ``show_error``: shows an error.
    """

    changed = Signal()

    def __init__(
        self,
        open_case: OpenCase,
        lesion: CaseLesion,
        settings: DockSettings,
        show_error: Callable[[Exception], object],
    ) -> None:
        super().__init__(show_error)
        self.lesion, self.settings, self.show_error = lesion, settings, show_error
        self._case: OpenCase | None = open_case

    @property
    def is_editable(self) -> bool:
        """Whether the lesion can be changed."""
        return self._case is not None and self._case.is_editable

    @property
    def patient(self) -> CasePatient:
        """The patient of the lesion."""
        case = None if self._case is None else self._case.case
        return CasePatient() if case is None else case.patient

    def prepare_content(self, find_folder: FindFolder, *, is_signing: bool) -> Callable[[], LesionContent]:
        """Return a function that reads what a report on the lesion shows, for another thread.

        ``find_folder``: returns the result folder of a slide. ``is_signing``: identify the files of photographs also if
        the report is not signed.
        """
        open_case, lesion = self._case, self.lesion
        if open_case is None or open_case.case is None:
            return lambda: LesionContent(lesion)
        folder = None if open_case.store is None else open_case.store.folder
        identifies = is_signing or (lesion.report is not None and lesion.report.is_signed)
        return partial(read_lesion_content, open_case.case, lesion, folder, find_folder, identifies_files=identifies)

    def update(self, lesion: CaseLesion) -> None:
        """Use the current values."""
        self.lesion = lesion
        self.changed.emit()

    def edit(self, description: str, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Change fields of the lesion as an undo step of the case."""
        if self._case is not None and self._case.case is not None:
            self._case.edit(set_lesion(self._case.case, self.lesion.id, **values), description)

    def amend(self, **values: Any) -> None:  # noqa: ANN401 - of any field
        """Change fields of the lesion that Undo does not change, such as a signature."""
        if self._case is not None and self._case.case is not None:
            self._case.amend(set_lesion(self._case.case, self.lesion.id, **values))

    def end(self) -> None:
        """Change nothing any more: another case was opened, whose lesions may have the same ids."""
        self._case = None
