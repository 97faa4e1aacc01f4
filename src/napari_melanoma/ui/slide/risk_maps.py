"""Layers of where a network looked when it told a risk: above the slide, in micrometres, seen when they are wanted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from napari_melanoma.ui.slide import layers as slide_layers
from napari_melanoma.ui.slide.heat import faded

if TYPE_CHECKING:
    from napari.layers import Image
    from napari.viewer import Viewer

    from napari_melanoma.ui.slide.layers import OpenSlide, Role
    from napari_melanoma.workflows.slide_risk_files import RiskMap

ROLES: dict[str, Role] = {"attention": "attention", "grad_cam": "Grad-CAM"}
COLOURS = {"attention": "viridis", "grad_cam": "magma"}
OPACITY = 0.6


def show_maps(viewer: Viewer, slide: OpenSlide, maps: Mapping[str, RiskMap], wanted: Mapping[str, bool]) -> None:
    """Show the maps that are wanted and known, and hide the others."""
    for name, role in ROLES.items():
        found, layer = maps.get(name), slide_layers.part(viewer, slide, role)
        if found is None or not wanted.get(name, False):
            if layer is not None:
                layer.visible = False
            continue
        known, layer = layer is not None, _layer(viewer, slide, found)
        if layer.data is not found.values:
            layer.data = found.values
        if not known:  # what the user makes of its looks stays
            layer.opacity = OPACITY
            layer.colormap = faded(COLOURS[name])
        layer.visible = slide.layers[0].visible


def _layer(viewer: Viewer, slide: OpenSlide, found: RiskMap) -> Image:
    """The layer of a map in its place; NaN, where there is no patch, is clear."""

    def make() -> Image:
        from napari.layers import Image

        return Image(found.values, contrast_limits=(0.0, 1.0))

    made: Image = slide_layers.put(viewer, slide, ROLES[found.method], make, found.place)
    return made
