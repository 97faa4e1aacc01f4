"""Turning the viewer to a photograph: seen alone, in the hand and in view, so that keys act on what is seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_melanoma.ui import linked

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

SMALLEST, LARGEST = 0.5, 1.1  # zooms at which a photograph counts as in view, over the one that fits it
ASIDE = 0.1  # how far it may lie from the middle, over its own size


def turn_to(viewer: Viewer, image: Image) -> None:
    """Show one photograph and hide the others; select its mask, and fit it into the view where it lies outside.

    A layer that is selected already and is of this photograph, or of none, stays selected. Where it is of this
    photograph, the view stays as well, for the user may have zoomed in.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    image : napari.layers.Image
        The photograph to see.
    """
    linked.show_only(viewer, image)
    active = viewer.layers.selection.active
    elsewhere = None if active is None else linked.identity(active)
    if elsewhere == linked.identity(image):
        return
    if active is None or elsewhere is not None:
        mask = linked.part(viewer, image, "mask")
        viewer.layers.selection.active = image if mask is None else mask
    bring_into_view(viewer, image)


def bring_into_view(viewer: Viewer, image: Image) -> None:
    """Fit the camera to a photograph, unless most of it is in view and not too small.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    image : napari.layers.Image
        The photograph.
    """
    camera = getattr(viewer, "scene", viewer).camera  # where it is since napari 0.9
    center, zoom = camera.center, camera.zoom
    fit(viewer, image)
    low, high = np.asarray(image.extent.world)[:, -2:]
    aside = np.abs(np.subtract(center, camera.center)[-2:]) / np.maximum(high - low, 1e-12)
    if SMALLEST <= zoom / camera.zoom <= LARGEST and (aside <= ASIDE).all():
        camera.center, camera.zoom = center, zoom


def fit(viewer: Viewer, image: Image) -> None:
    """Fit the camera to a photograph, whatever else is open.

    Parameters
    ----------
    viewer : napari.viewer.Viewer
        The viewer.
    image : napari.layers.Image
        The photograph.
    """
    try:
        viewer.reset_view(layers=[image])
    except TypeError:  # napari before it could fit some of the layers
        viewer.reset_view()
