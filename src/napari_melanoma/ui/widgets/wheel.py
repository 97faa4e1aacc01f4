"""Controls that ignore the mouse wheel until they are clicked, so that scrolling a dock changes no value."""

from __future__ import annotations

from typing import TypeVar

from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtGui import QFocusEvent
from qtpy.QtWidgets import QAbstractSpinBox, QComboBox, QDial, QSlider, QTabBar, QWidget

AnyWidget = TypeVar("AnyWidget", bound=QWidget)
WHEEL_CONTROLS = (QSlider, QDial, QAbstractSpinBox, QComboBox, QTabBar)  # Qt changes their value by the wheel
# After a list, a menu or another window was open, a control that was clicked before is still the one in use
RETURNING = (
    Qt.FocusReason.PopupFocusReason,
    Qt.FocusReason.ActiveWindowFocusReason,
    Qt.FocusReason.MenuBarFocusReason,
)


class WheelGuard(QObject):
    """Leaves wheel events to the dock unless the control has been clicked and still has the focus."""

    def __init__(self, control: QWidget) -> None:
        super().__init__(control)
        self._was_clicked = False
        control.installEventFilter(self)
        if control.focusPolicy() == Qt.FocusPolicy.WheelFocus:
            control.setFocusPolicy(Qt.FocusPolicy.StrongFocus)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Return whether the event is a wheel event that the control must not receive."""
        if event is None or not isinstance(watched, QWidget):
            return False
        kind = event.type()
        if kind == QEvent.Type.MouseButtonPress:
            self._was_clicked = True
        elif kind == QEvent.Type.FocusIn and isinstance(event, QFocusEvent) and event.reason() not in RETURNING:
            # The text of a spin box or combo box is a widget of its own: the box receives the focus, not the click
            self._was_clicked = event.reason() == Qt.FocusReason.MouseFocusReason
        elif kind == QEvent.Type.Wheel and not (self._was_clicked and watched.hasFocus()):
            event.ignore()
            return True
        return False


def guard_wheel(control: AnyWidget) -> AnyWidget:
    """Guard a control if the wheel would change its value."""
    if isinstance(control, WHEEL_CONTROLS) and control.findChild(WheelGuard) is None:
        WheelGuard(control)
    return control
