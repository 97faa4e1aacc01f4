"""Turning the viewer to a photograph: seen alone, in the hand and in view, so that keys act on what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_melanoma.ui import linked
from napari_melanoma.ui.view_memory import change_view, show_only

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer


def turn_to(viewer: Viewer, image: Image) -> None:
    """Show one photograph and hide the others; select its mask, and go to its view.

    A layer that is selected already and is of this photograph, or of none, stays selected. Where it is of this
    photograph, the view stays as well, for the user may have zoomed in.
    """
    show_only(viewer, image)
    active = viewer.layers.selection.active
    elsewhere = None if active is None else linked.identity(active)
    if elsewhere == linked.identity(image):
        return
    if active is None or elsewhere is not None:
        mask = linked.part(viewer, image, "mask")
        viewer.layers.selection.active = image if mask is None else mask
    change_view(viewer, (image,))
