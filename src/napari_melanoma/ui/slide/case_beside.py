"""The case that is open beside the Slide dock, where the slide in view is one of its images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.picker import said_name

if TYPE_CHECKING:
    from napari_melanoma.data.case.model import CaseImage
    from napari_melanoma.ui.slide.dock import SlideDock

NO_CASE = "no case is open: open it in the Case dock (Plugins > Melanoma > Case), with this slide among its images."
NOT_IN_CASE = "{} is no image of the case that is open: drop it on its lesion in the Case dock first."


def case_beside(dock: SlideDock) -> tuple[Any, CaseImage]:
    """Find the case that takes what is known of the slide in view.

    On which the case lies; the Case dock is not imported for it.
    """
    from napari_melanoma.workflows.depth_report import image_in

    slide, case_dock = dock.slide, dock.window().findChild(QWidget, "case_dock")
    desk: Any = getattr(case_dock, "desk", None)
    if slide is None or desk is None or desk.case is None:
        raise InputError(NO_CASE)
    image = image_in(desk.case, slide.info.path)
    if image is None:
        raise InputError(NOT_IN_CASE.format(said_name(slide.info)))
    if desk.read_only:
        raise InputError(f"the case may not be changed: {desk.read_only}")
    return desk, image
