"""The case that is open in the Case dock, as far as the Slide dock needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.slide_description import slide_display_name

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseImage
    from napari_melanoma.ui.slide.context import SlideContext

NO_CASE = "no case is open: open it in the Case dock (Plugins > Melanoma > Case), with this slide among its images."
NOT_IN_CASE = "{} is no image of the case that is open: drop it on its lesion in the Case dock first."


def find_open_case(context: SlideContext) -> tuple[Any, CaseImage]:
    """Find the case that takes what is known of the slide in view.

    On which the case lies; the Case dock is not imported for it.
    """
    from napari_melanoma.reports.slide import find_case_image

    slide, case_dock = context.slide, context.window.findChild(QWidget, "case_dock")
    controller: Any = getattr(case_dock, "controller", None)
    if slide is None or controller is None or controller.case is None:
        raise InputError(NO_CASE)
    image = find_case_image(controller.case, slide.info.path)
    if image is None:
        raise InputError(NOT_IN_CASE.format(slide_display_name(slide.info)))
    if controller.read_only:
        raise InputError(f"the case may not be changed: {controller.read_only}")
    return controller, image
