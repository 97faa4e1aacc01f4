"""Find a slide in the case that is open in the Case dock, which is not imported."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtWidgets import QWidget

from napari_melanoma.core.errors import InputError
from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, slide_display_name

if TYPE_CHECKING:
    from napari_melanoma.case.model import CaseImage, CaseLesion

NO_CASE = "no case is open: open one that contains this slide in the Case dock (Plugins > Melanoma > Case)."
NOT_IN_CASE = "{} is not an image of the open case: drop it on its lesion in the Case dock first."


def find_open_case(window: QWidget, slide: ViewerSlide, is_read: bool = False) -> tuple[Any, CaseImage]:
    """Return the controller of the case that is open in a window, and the slide's image in the case.

    Raises InputError if no case is open, or if the case does not contain the slide or is read-only, unless it
    ``is_read`` only.
    """
    from napari_melanoma.reports.slide import find_case_image

    controller: Any = getattr(window.findChild(QWidget, "case_dock"), "controller", None)
    if controller is None or controller.case is None:
        raise InputError(NO_CASE)
    image = find_case_image(controller.case, slide.info.path)
    if image is None:
        raise InputError(NOT_IN_CASE.format(slide_display_name(slide.info)))
    if controller.read_only and not is_read:
        raise InputError(f"the case is read-only: {controller.read_only}")
    return controller, image


def find_slide_lesion(window: QWidget, slide: ViewerSlide) -> CaseLesion | None:
    """Return the lesion of the open case, which may be read-only, that a slide belongs to; None if there is none."""
    try:
        controller, image = find_open_case(window, slide, True)
    except InputError:
        return None
    return next((lesion for lesion, other in controller.case.iterate_images() if other.id == image.id), None)
