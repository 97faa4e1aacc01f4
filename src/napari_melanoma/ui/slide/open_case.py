"""The case that is open in the Case dock, as far as the Slide dock needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.slide.slide_description import slide_display_name

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseImage
    from napari_melanoma.ui.slide.context import SlideContext

NO_CASE = "no case is open: open one that contains this slide in the Case dock (Plugins > Melanoma > Case)."
NOT_IN_CASE = "{} is not an image of the open case: drop it on its lesion in the Case dock first."


def find_open_case(context: SlideContext) -> tuple[Any, CaseImage]:
    """Return the controller of the open case and the displayed slide's image in it, without importing the Case dock."""
    from napari_melanoma.reports.slide import find_case_image

    slide, case_dock = context.slide, context.window.findChild(QWidget, "case_dock")
    controller: Any = getattr(case_dock, "controller", None)
    if slide is None or controller is None or controller.case is None:
        raise InputError(NO_CASE)
    image = find_case_image(controller.case, slide.info.path)
    if image is None:
        raise InputError(NOT_IN_CASE.format(slide_display_name(slide.info)))
    if controller.read_only:
        raise InputError(f"the case is read-only: {controller.read_only}")
    return controller, image
