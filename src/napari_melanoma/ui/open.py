"""napari with a dock of ours, and photographs and slides in it: what ``napari-melanoma open`` shows."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.core.geometry import PixelSize
    from napari_melanoma.ui.lesion.dock import LesionDock

PLUGIN, DOCK, SLIDE_DOCK = "napari-melanoma", "Lesion", "Slide"


def open_viewer(paths: Sequence[Path], slides: Sequence[Path] = (), pixel_size: PixelSize | None = None) -> int:
    """Open napari with the Lesion dock, or the Slide dock for slides, and stay until its window is closed.

    ``pixel_size``: the user's own pixel size of the slides.
    """
    import napari

    if slides and not paths:
        viewer = napari.Viewer()
        show_dock(viewer, SLIDE_DOCK)
    else:
        viewer, dock = viewer_with_dock()
        if paths:
            dock.opener.open(paths)
    for slide in slides:
        show_slide(viewer, slide, pixel_size)
    napari.run()
    return 0


def show_slide(viewer: Viewer, path: Path, pixel_size: PixelSize | None = None) -> list[Layer]:
    """Add the layers of a slide to a viewer; what is doubtful of it, or why it cannot be opened, is a notification.

    One, or one for each channel of fluorescence; none where the slide cannot be opened.
    """
    from napari.layers import Layer
    from napari.utils.notifications import show_error, show_warning

    from napari_melanoma.core.errors import MelanomaError
    from napari_melanoma.io.slides.layers import slide_layers
    from napari_melanoma.io.slides.opening import open_slide
    from napari_melanoma.ui.slide.sharp import keep_sharp

    try:
        slide = open_slide(path, pixel_size)
    except MelanomaError as fault:
        show_error(str(fault))
        return []
    layers = [Layer.create(*data) for data in slide_layers(slide)]
    keep_sharp(slide, layers)
    for layer in layers:
        viewer.add_layer(layer)
    for said in slide.info.warnings:
        show_warning(f"{path.name}: {said}")
    return layers


def viewer_with_dock() -> tuple[Viewer, LesionDock]:
    """Open napari with the Lesion dock, as its menu would."""
    import napari

    viewer = napari.Viewer()
    return viewer, show_dock(viewer, DOCK)  # type: ignore[return-value]


def show_dock(viewer: Viewer, name: str) -> QWidget | None:
    """Open one of our docks in a viewer, or bring the one that is there to the front.

    Returns the dock's widget; None where this installation has no such dock.
    """
    import npe2

    from napari_melanoma.ui.docking import Docking

    manifest = npe2.PluginManager.instance().get_manifest(PLUGIN)
    widgets = manifest.contributions.widgets or ()
    make: Any = next((widget.get_callable() for widget in widgets if widget.display_name == name), None)
    if make is None:
        return None
    docked = getattr(viewer.window, "dock_widgets", {})  # since napari 0.6.2
    dock: QWidget | None = next((one for one in docked.values() if isinstance(one, make)), None)
    if dock is None:
        dock = make(napari_viewer=viewer)
        # Under the name by which napari's menu looks for it: else the menu would open a second one.
        viewer.window.add_dock_widget(dock, name=f"{name} ({manifest.display_name})")
        for docking in dock.findChildren(Docking):
            docking.settle()
    frame = dock.parentWidget()
    if frame is not None:
        frame.show()
        frame.raise_()
    return dock
