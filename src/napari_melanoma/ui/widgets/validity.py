"""Warnings: that a prediction is not valid, which hides its numbers, and others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QSize, Qt
from qtpy.QtWidgets import QFrame, QHBoxLayout, QLabel, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.ui.widgets.style import ThemedIcons, WrappedLabel, fill_column, named, theme_icon, tool_button

if TYPE_CHECKING:
    from napari_melanoma.core.validity import Validity

SHOW_NUMBER, HIDE_NUMBER = "Show the number anyway", "Hide the number"
ICON_PX = 18


class ValidityNotice(QWidget):
    """Shows whether a prediction is valid, and hides its numbers if it is not.

    ``numbers``: the widgets that show the numbers.
    """

    def __init__(self, icons: ThemedIcons, name: str, *numbers: QWidget) -> None:
        super().__init__()
        self._icons = icons
        self._shown_key: object = None
        self.frame = QFrame()
        self.frame.setObjectName("notice")
        self.icon = QLabel()
        self.icon.setFixedSize(ICON_PX, ICON_PX)
        self.icon.setAccessibleName("Warning")
        self.headline_label = named(WrappedLabel(), f"{name}_validity", "Whether the prediction is valid")
        self.headline_label.setProperty("loud", True)
        self.reasons_label = named(WrappedLabel(), f"{name}_validity_reasons", "Other reasons against the prediction")
        for line in (self.headline_label, self.reasons_label):
            line.setToolTip("")
            line.setTextFormat(Qt.TextFormat.PlainText)
            line.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.show_anyway_button: QToolButton = tool_button(
            f"{name}_anyway", SHOW_NUMBER, "The number has no meaning here", SHOW_NUMBER, checkable=True
        )
        self.show_anyway_button.setToolButtonStyle(Qt.ToolButtonStyle.ToolButtonTextOnly)
        self.show_anyway_button.toggled.connect(self._on_show_anyway)
        self.numbers = QWidget()
        self._lay_out(numbers)
        icons.changed.connect(self._on_colors)
        self._on_colors()
        self.show_validity(None, None)

    @property
    def shows_numbers(self) -> bool:
        """Whether the prediction is valid, or the user chose to show its numbers anyway."""
        return self.show_anyway_button.isHidden() or self.show_anyway_button.isChecked()

    def show_validity(self, validity: Validity | None, key: object) -> None:
        """Show whether a prediction is valid; None without a prediction.

        ``key``: identifies the prediction; for another one, the numbers are hidden again.
        """
        if (validity, key) != self._shown_key:
            self._shown_key = validity, key
            self.show_anyway_button.setChecked(False)
        is_valid, headline = True, ""
        lines: tuple[str, ...] = ()
        if validity is not None:
            is_valid, headline = validity.valid, validity.headline("")
            lines = validity.other_reasons if headline else validity.cautions
        self.headline_label.setText(f"{headline}." if headline else "")
        self.headline_label.setVisible(not is_valid)
        self.reasons_label.setText("\n".join(lines))
        self.reasons_label.setVisible(bool(lines))
        self.frame.setVisible(validity is not None and bool(validity.reasons))
        self.show_anyway_button.setVisible(not is_valid)
        self._show_numbers(self.shows_numbers)

    def insert_limits(self, widget: QWidget) -> None:
        """Insert a widget above the numbers that it limits."""
        self.layout().insertWidget(1, widget)

    def _on_show_anyway(self, shown: bool) -> None:
        self.show_anyway_button.setText(HIDE_NUMBER if shown else SHOW_NUMBER)
        self._show_numbers(self.shows_numbers)

    def _show_numbers(self, shown: bool) -> None:
        self.numbers.setVisible(shown)

    def _on_colors(self) -> None:
        size = QSize(ICON_PX, ICON_PX)
        self.icon.setPixmap(theme_icon("warning", self._icons.palette.fault).pixmap(size))

    def _lay_out(self, numbers: tuple[QWidget, ...]) -> None:
        texts = QVBoxLayout()
        texts.setSpacing(4)
        for line in (self.headline_label, self.reasons_label):
            texts.addWidget(line)
        texts.addWidget(self.show_anyway_button, 0, Qt.AlignmentFlag.AlignLeft)  # otherwise it spans the whole width
        row = QHBoxLayout(self.frame)
        row.setContentsMargins(8, 4, 4, 4)
        row.addWidget(self.icon, 0, Qt.AlignmentFlag.AlignTop)
        row.addLayout(texts, 1)
        fill_column(self.numbers, *numbers)
        fill_column(self, self.frame, self.numbers)


class NoticeLabel(QFrame):
    """A text styled as a warning; hidden if empty."""

    def __init__(self, name: str, accessible_name: str) -> None:
        super().__init__()
        self.setObjectName("notice")
        self.label = named(WrappedLabel(), name, accessible_name)
        self.label.setToolTip("")
        self.label.setTextFormat(Qt.TextFormat.PlainText)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(8, 4, 4, 4)
        layout.addWidget(self.label)
        self.hide()

    def set_text(self, text: str) -> None:
        """Show a text; empty hides the notice."""
        self.label.setText(text)
        self.setVisible(bool(text))
