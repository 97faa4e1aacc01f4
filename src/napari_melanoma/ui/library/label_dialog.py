"""The dialog with the label of a slide."""

from __future__ import annotations

from typing import Any

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_melanoma.ui.library.listing import SlideLabel
from napari_melanoma.ui.widgets.style import named, quiet_label
from napari_melanoma.ui.widgets.thumbnails import to_qimage

LABEL_PX = 420  # largest side of a picture in the dialog
LABEL_NOTICE = "A label may identify the patient. It is read from the file for this window, and not stored."


class LabelDialog(QDialog):
    """Shows the label and other images in the file of a slide; nothing is kept after it is closed."""

    def __init__(self, label: SlideLabel, parent: QWidget) -> None:
        super().__init__(parent)
        named(self, "slide_label", f"Label of {label.path.name}").setToolTip("")
        self.setWindowTitle(self.accessibleName())
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        pictures = QWidget()
        pictures_row = QHBoxLayout(pictures)
        for name, rgb in label.images.items():
            pictures_row.addWidget(_create_picture(name, rgb))
        layout = QVBoxLayout(self)
        layout.addWidget(pictures)
        for text in (*label.problems, LABEL_NOTICE):
            layout.addWidget(quiet_label(text))


def _create_picture(name: str, rgb: Any) -> QWidget:  # noqa: ANN401 - uint8 (row, column, channel=3)
    """Create a picture with its name below it."""
    from qtpy.QtGui import QPixmap

    pixels = QPixmap.fromImage(to_qimage(rgb))
    if max(pixels.width(), pixels.height()) > LABEL_PX:
        pixels = pixels.scaled(
            LABEL_PX, LABEL_PX, Qt.AspectRatioMode.KeepAspectRatio, Qt.TransformationMode.SmoothTransformation
        )
    picture = named(QLabel(), f"slide_label_{name}", name)
    picture.setPixmap(pixels)
    holder = QWidget()
    column = QVBoxLayout(holder)
    for widget in (picture, QLabel(name)):
        column.addWidget(widget, alignment=Qt.AlignmentFlag.AlignHCenter)
    column.addStretch(1)
    return holder
