"""Correcting with few strokes: napari's brush on the mask, or scribbles inside and outside that redraw the border."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui import layers, linked
from napari_melanoma.ui.look import ThemedIcons, row, tool
from napari_melanoma.ui.shortcuts import shown_key

if TYPE_CHECKING:
    from napari.layers import Image, Labels
    from napari.viewer import Viewer

INSIDE, OUTSIDE = 1, 2
KEYS = {name: shown_key(f"lesion.{name}") for name in ("inside", "outside", "apply", "paint", "erase", "choose")}


class CorrectionTools(QWidget):
    """Buttons that put the right brush into the user's hand."""

    strokes_layer = Signal(object)
    applied = Signal()
    chosen = Signal(bool)

    def __init__(self, viewer: Viewer, icons: ThemedIcons) -> None:
        super().__init__()
        self._viewer = viewer
        self._image: Image | None = None
        self.buttons = {
            "paint": tool("paint", "Paint", f"Paint lesion; [ and ] change the brush ({KEYS['paint']})"),
            "erase": tool("erase", "Erase", f"Erase; [ and ] change the brush ({KEYS['erase']})"),
            "choose": tool(
                "choose",
                "Choose lesion",
                f"Then click on the lesion that is meant, where there are several ({KEYS['choose']})",
                "Choose lesion",
                checkable=True,
            ),
            "inside": tool("inside", "Stroke inside", f"Draw a stroke inside the lesion ({KEYS['inside']})", "inside"),
            "outside": tool("outside", "Stroke outside", f"Draw a stroke on skin ({KEYS['outside']})", "outside"),
            "apply": tool("apply", "Redraw the border", f"Redraw the border by the strokes ({KEYS['apply']})", "apply"),
            "clear": tool("clear", "Clear strokes", "Remove all strokes"),
        }
        for name, icon in {"paint": "paint", "erase": "erase", "choose": "picker", "clear": "delete"}.items():
            icons.add(self.buttons[name], icon)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addWidget(row(QLabel("correct"), *(self.buttons[name] for name in ("paint", "erase", "choose"))))
        layout.addWidget(
            row(QLabel("scribble"), *(self.buttons[name] for name in ("inside", "outside", "apply", "clear")))
        )
        self.buttons["paint"].clicked.connect(self._on_paint)
        self.buttons["erase"].clicked.connect(self._on_erase)
        self.buttons["choose"].toggled.connect(self.chosen)
        self.buttons["inside"].clicked.connect(self._on_inside)
        self.buttons["outside"].clicked.connect(self._on_outside)
        self.buttons["apply"].clicked.connect(self._on_apply)
        self.buttons["clear"].clicked.connect(self._on_clear)

    def set_image(self, image: Image | None) -> None:
        """Say which photograph is corrected."""
        self._image = image
        self.setEnabled(image is not None)

    def _draw(self, labels: Labels | None, label: int, mode: str) -> None:
        """Select a layer with a label and a tool."""
        if labels is None:
            return
        self.buttons["choose"].setChecked(False)
        labels.visible = True
        self._viewer.layers.selection.active = labels
        if label:
            labels.selected_label = label
        labels.mode = mode

    def _mask(self) -> Labels | None:
        return None if self._image is None else linked.part(self._viewer, self._image, "mask")

    def _on_paint(self) -> None:
        self._draw(self._mask(), 1, "paint")

    def _on_erase(self) -> None:
        self._draw(self._mask(), 0, "erase")

    def _on_inside(self) -> None:
        self._scribble(INSIDE)

    def _on_outside(self) -> None:
        self._scribble(OUTSIDE)

    def _scribble(self, label: int) -> None:
        if self._image is not None:
            strokes = layers.scribbles(self._viewer, self._image)
            self.strokes_layer.emit(strokes)
            self._draw(strokes, label, "paint")

    def _on_apply(self) -> None:
        self.applied.emit()
        mask = self._mask()
        if mask is not None:
            mask.mode = "pan_zoom"
            self._viewer.layers.selection.active = mask  # so that Ctrl+Z takes the redrawing back

    def _on_clear(self) -> None:
        strokes = None if self._image is None else linked.part(self._viewer, self._image, "scribbles")
        if strokes is not None:
            layers.clear(strokes)
