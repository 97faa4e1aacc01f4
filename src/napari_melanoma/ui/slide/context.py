"""What the sections of the Slide dock share: the displayed slide, its results, and the services of the dock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Signal

if TYPE_CHECKING:
    from napari.viewer import Viewer
    from qtpy.QtWidgets import QWidget

    from napari_melanoma.ui.slide.run_manager import SlideResultLocation, SlideRunManager
    from napari_melanoma.ui.viewer.docking import DeferredWidgets
    from napari_melanoma.ui.viewer.slide_layers import ViewerSlide
    from napari_melanoma.ui.widgets.settings import DockSettings
    from napari_melanoma.ui.widgets.status_line import StatusLine
    from napari_melanoma.ui.widgets.style import Connections, ThemedIcons

READER_SETTING = "slide/region_reader"


class SlideContext(QObject):
    """The displayed slide and the services that every section uses; sections meet through its signals.

    ``run_updated``: the analysis that the dock follows has a new ``SlideRunUpdate``. ``reader_changed``: the name of
    the reader was changed in one section.
    """

    run_updated = Signal(object)
    dock_hidden = Signal()
    reader_changed = Signal(str)

    def __init__(
        self,
        dock: QWidget,
        viewer: Viewer,
        *,
        settings: DockSettings,
        icons: ThemedIcons,
        connections: Connections,
        status: StatusLine,
        waiting: DeferredWidgets,
        run_manager: SlideRunManager,
    ) -> None:
        super().__init__(dock)
        self.dock, self.viewer = dock, viewer
        self.settings, self.icons, self.connections = settings, icons, connections
        self.status, self.waiting, self.run_manager = status, waiting, run_manager
        self.slide: ViewerSlide | None = None
        self.location: SlideResultLocation | None = None  # of the whole slide; None until it was found
        self.is_view = False  # whether the results of the view are shown, not those of the whole slide

    @property
    def window(self) -> QWidget:
        """The window that dialogs belong to."""
        return self.dock.window()

    @property
    def result_location(self) -> SlideResultLocation | None:
        """Folder of the results that are shown: of the whole slide, or of the view; None until it was found."""
        location = self.location
        if location is None or not self.is_view:
            return location
        return replace(
            location, out=location.view_out, folder=location.view_folder, is_analyzed=location.is_view_analyzed
        )
