"""The risk of a slide handed on: kept with the case that is open beside it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Signal
from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.ui.slide.depth_handing import NO_CASE, NOT_IN_CASE

if TYPE_CHECKING:
    from napari_melanoma.ui.slide.dock import SlideDock
    from napari_melanoma.ui.slide.risk_keeper import RiskKeeper
    from napari_melanoma.ui.slide.risk_view import RiskView

RISKS = "risk"  # folder of a case
DONE = "Kept with the case, of {0}: risk/{0}.json."


class RiskHanding(QObject):
    """Hands answers to the Case dock's folder.

    Parameters
    ----------
    dock : SlideDock
        The dock.
    keeper : RiskKeeper
        Knows what was told.

    Attributes
    ----------
    failed : Signal(object)
        An exception: nothing was handed on.
    """

    failed = Signal(object)

    def __init__(self, dock: SlideDock, keeper: RiskKeeper) -> None:
        super().__init__(keeper)
        self._dock, self._keeper = dock, keeper

    def hear(self, view: RiskView) -> None:
        """Hear what the user does in the fold.

        Parameters
        ----------
        view : RiskView
            Its content.
        """
        view.to_case.clicked.connect(self._on_case)

    def _on_case(self) -> None:
        """Keep the answer with the case that is open, beside its other files."""
        try:
            image = self._keep()
        except MelanomaError as error:
            self.failed.emit(error)
        else:
            self._dock.status.say(DONE.format(image))

    def _keep(self) -> str:
        """Write it; the id of the slide in the case."""
        from napari_melanoma.core.files import write_json
        from napari_melanoma.workflows.depth_report import image_in

        slide, kept = self._dock.slide, self._keeper.kept
        case_dock: Any = self._dock.window().findChild(QWidget, "case_dock")
        if slide is None or kept is None or case_dock is None or case_dock.desk.case is None:
            raise InputError(NO_CASE)
        image = image_in(case_dock.desk.case, slide.info.path)
        if image is None:
            raise InputError(NOT_IN_CASE.format(slide.info.path.name))
        if case_dock.desk.read_only:
            raise InputError(f"the case may not be changed: {case_dock.desk.read_only}")
        folder: Path = case_dock.desk.store.folder
        write_json(folder / RISKS / f"{image.id}.json", dict(kept.answer))
        return str(image.id)
