"""Open napari with photographs, slides and a dock, for ``napari-melanoma open``; and wait for what a window does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_melanoma.core.errors import MelanomaError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.ui.session.workspace import Workspace
from napari_melanoma.ui.widgets.job import tasks

if TYPE_CHECKING:
    from napari.layers import Layer
    from napari.viewer import Viewer

    from napari_melanoma.ui.lesion.dock import LesionDock


TIMEOUT_S = 300.0


def open_viewer(paths: Sequence[Path], slides: Sequence[Path] = (), pixel_size: PixelSize | None = None) -> int:
    """Open napari with the Lesion dock, or with the Slide dock for slides only; return when its window is closed.

    ``paths``: photographs. ``pixel_size``: overrides the pixel size stored in the slides. Returns the exit status.
    """
    import napari

    viewer = napari.Viewer()
    workspace = Workspace.of(viewer)
    viewers = workspace.slides if slides and not paths else workspace.photographs
    opener = viewers.show().opener
    if paths:
        opener.open(paths)
    for slide in slides:
        show_slide(viewer, slide, pixel_size)
    napari.run()
    return 0


def show_slide(viewer: Viewer, path: Path, pixel_size: PixelSize | None = None) -> list[Layer]:
    """Add the layers of a slide to a viewer; warnings and errors are shown as notifications.

    ``pixel_size``: overrides that of the file; the Slide dock stores it as set by the user.

    Returns one layer, or one for each fluorescence channel; none if the slide cannot be opened.
    """
    from napari.layers import Layer
    from napari.utils.notifications import show_error, show_warning

    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide, refresh_when_loaded, request_scale

    try:
        slide = open_slide(path)
    except MelanomaError as error:
        show_error(str(error))
        return []
    layers = [Layer.create(*data) for data in make_slide_layers(slide)]
    refresh_when_loaded(slide, layers)
    warnings = slide.info.warnings
    if pixel_size is not None:
        request_scale(viewer, ViewerSlide(tuple(layers)), pixel_size)
        warnings = tuple(message for message in warnings if message not in slide.info.scale_warnings)
    for layer in layers:
        viewer.add_layer(layer)
    for message in warnings:
        show_warning(f"{path.name}: {message}")
    return layers


def open_and_analyze(dock: LesionDock, image: Path | None) -> None:
    """Open a photograph, or a sample if ``image`` is None; press Analyze, and wait until the results are shown."""
    errors: list[Exception] = []
    sources = (dock.opener, dock.analysis_controller, dock.controller)
    for source in sources:
        source.failed.connect(errors.append)
    previous = dock.picker.identity  # Analyze would use this photograph until the new one is open
    try:
        if image is None:
            dock.opener.open_sample()
        else:
            dock.opener.open_as_photographs([image])
        wait_for(lambda: dock.picker.identity not in (None, previous), errors, "the photograph to open")
        dock.analyze_button.click()
        session = dock.picker.session
        assert session is not None
        wait_for(lambda: session.lesion is not None and tasks.is_idle(dock), errors, "the analysis")
    finally:
        for source in sources:
            source.failed.disconnect(errors.append)


def wait_for(condition: Callable[[], bool], errors: Sequence[Exception], event: str) -> None:
    """Process events until a condition holds; it is checked whenever all background tasks have ended.

    Raises the first of ``errors``, or after ``TIMEOUT_S`` an error that names the awaited ``event``.
    """
    from qtpy.QtCore import QEventLoop, QTimer

    loop, timer = QEventLoop(), QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(loop.quit)
    timer.start(round(1000 * TIMEOUT_S))
    tasks.idle.connect(loop.quit)
    try:
        while not condition():
            if errors:
                raise errors[0]
            if not timer.isActive():
                raise MelanomaError(f"waited {TIMEOUT_S:.0f} s for {event}. Try again when the computer is less busy.")
            loop.exec()
    finally:
        tasks.idle.disconnect(loop.quit)


def process_events(seconds: float) -> None:
    """Process Qt events for some seconds."""
    from qtpy.QtCore import QEventLoop, QTimer

    loop = QEventLoop()
    QTimer.singleShot(round(1000 * seconds), loop.quit)
    loop.exec()
