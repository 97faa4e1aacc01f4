"""A page of a dock for one widget with the icons and colors of a theme, without napari's window."""

from __future__ import annotations

from napari.components import ViewerModel
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QScrollArea, QVBoxLayout, QWidget

from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import ThemedIcons

WIDTH, HEIGHT = 340, 700


class Stage:
    """Shows a widget in a scroll area of the smallest size of docks."""

    def __init__(self, qtbot):
        self.qtbot = qtbot
        self.viewer = ViewerModel()
        self.connections = Connections()
        self.page = QWidget()
        self.icons = ThemedIcons(self.viewer, self.page, self.connections)
        self.settings = DockSettings()
        self.scroll = QScrollArea()
        self.scroll.setWidgetResizable(True)
        self.scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.scroll.setWidget(self.page)
        self.scroll.resize(WIDTH, HEIGHT)
        self._column = QVBoxLayout(self.page)

    def show(self, widget):
        self._column.addWidget(widget)
        self._column.addStretch(1)
        self.icons.apply()
        self.scroll.show()
        return widget

    def clicks(self, button):
        assert button.isEnabled(), f"{button.objectName()} is disabled: {button.toolTip()}"
        self.qtbot.mouseClick(button, Qt.MouseButton.LeftButton)

    def close(self):
        self.scroll.close()
        self.scroll.deleteLater()
        self.connections.end()
