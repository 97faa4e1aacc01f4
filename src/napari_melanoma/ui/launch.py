"""Open photographs and slides in napari with a dock, for ``napari-melanoma open``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.ui.viewer.docking import LESION_DOCK, SLIDE_DOCK, show_dock

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.ui.lesion.dock import LesionDock


def open_viewer(paths: Sequence[Path], slides: Sequence[Path] = (), pixel_size: PixelSize | None = None) -> int:
    """Open napari with the Lesion dock, or the Slide dock for slides, and return when its window is closed.

    ``pixel_size``: overrides the pixel size stored in the slides.
    """
    import napari

    if slides and not paths:
        viewer = napari.Viewer()
        show_dock(viewer, SLIDE_DOCK)
    else:
        viewer, dock = create_viewer_with_dock()
        if paths:
            dock.opener.open(paths)
    for slide in slides:
        show_slide(viewer, slide, pixel_size)
    napari.run()
    return 0


def show_slide(viewer: Viewer, path: Path, pixel_size: PixelSize | None = None) -> list[Layer]:
    """Add the layers of a slide to a viewer; warnings and errors are shown as notifications.

    Returns one layer, or one for each fluorescence channel; none if the slide cannot be opened.
    """
    from napari.layers import Layer
    from napari.utils.notifications import show_error, show_warning

    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide
    from napari_melanoma.ui.slide.navigation import refresh_when_loaded

    try:
        slide = open_slide(path, pixel_size)
    except MelanomaError as fault:
        show_error(str(fault))
        return []
    layers = [Layer.create(*data) for data in make_slide_layers(slide)]
    refresh_when_loaded(slide, layers)
    for layer in layers:
        viewer.add_layer(layer)
    for message in slide.info.warnings:
        show_warning(f"{path.name}: {message}")
    return layers


def create_viewer_with_dock() -> tuple[Viewer, LesionDock]:
    """Open napari with the Lesion dock, as napari's menu does."""
    import napari

    viewer = napari.Viewer()
    return viewer, show_dock(viewer, LESION_DOCK)  # type: ignore[return-value]
