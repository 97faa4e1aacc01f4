"""A box for one number, whole or not, that shows and keeps every digit, and steps through magnitudes."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from qtpy.QtCore import QSize, Qt, Signal
from qtpy.QtGui import QFocusEvent, QValidator, QWheelEvent
from qtpy.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QSpinBox

Number = int | float
SMALLEST_STEP = 1e-6  # below it a step down from a value that may be zero gives zero
ZERO_TOLERANCE = 1e-300  # has no leading digit that could be told
FIRST_STEP = 0.01  # the first step up from zero


@dataclass(frozen=True)
class Bounds:
    """Which numbers a field allows; None where there is no limit of that kind."""

    low: Number | None = None
    high: Number | None = None
    above: Number | None = None  # the value must be greater, not equal
    below: Number | None = None
    multiple: int | None = None

    @classmethod
    def from_metadata(cls, metadata: Iterable[object]) -> Bounds:
        """Read the limits of a field of a configuration."""
        kinds = {Ge: ("ge", "low"), Le: ("le", "high"), Gt: ("gt", "above"), Lt: ("lt", "below")}
        kinds[MultipleOf] = ("multiple_of", "multiple")
        found = {}
        for limit in metadata:
            if type(limit) in kinds:
                source, name = kinds[type(limit)]
                found[name] = getattr(limit, source)
        return cls(**found)

    def contains(self, value: Number) -> bool:
        """Say whether a number is within the limits.

        False for not-a-number as well.
        """
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.multiple is None or value % self.multiple == 0)
            and value == value
        )

    @property
    def description(self) -> str:
        """The limits as a person says them; empty where there are none."""
        said = []
        low = self.low if self.low is not None else self.above
        high = self.high if self.high is not None else self.below
        if low is not None and high is not None:
            said.append(f"{format_number(low)} to {format_number(high)}")
            said += [f"not {format_number(edge)} itself" for edge in (self.above, self.below) if edge is not None]
        elif low is not None:
            said.append(
                f"more than {format_number(low)}" if self.above is not None else f"{format_number(low)} or more"
            )
        elif high is not None:
            said.append(
                f"less than {format_number(high)}" if self.below is not None else f"at most {format_number(high)}"
            )
        if self.multiple is not None:
            said.append(f"a multiple of {self.multiple}")
        return ", ".join(said)


def set_spin_box_value(box: QDoubleSpinBox | QSpinBox, value: Number) -> None:
    """Show a number in a spin box of Qt, and leave its text alone while the user is typing that number.

    Qt writes the text anew even where the number is the same: "0.7" becomes "0.70", and the next digit is lost.
    """
    is_known = box.value() == (round(value, box.decimals()) if isinstance(box, QDoubleSpinBox) else value)
    if is_known and box.hasFocus():
        return
    if isinstance(box, QDoubleSpinBox):
        box.setValue(value)
    else:
        box.setValue(int(value))


def format_number(value: Number) -> str:
    """Write a number so that reading it gives the same number again.

    Such as ``0.002`` or ``1e-5``.
    """
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value).replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def step_value(number: Number, steps: int, bounds: Bounds) -> Number:
    """Go up or down as far as the limits allow.

    A whole number steps by one (or its multiple). Any other goes by one of its leading digit: 0.002 to 0.003, and 0.01
    down to 0.009. Close below a limit that is never reached it goes by one of what is missing: 0.99 to 0.991.
    """
    one = _step_integer if isinstance(number, int) else _step_float
    for _ in range(abs(steps)):
        further = one(number, 1 if steps > 0 else -1, bounds)
        if not bounds.contains(further) or math.isinf(further):
            return number
        number = further
    return number


def _step_integer(value: Number, way: int, bounds: Bounds) -> int:
    size = bounds.multiple or 1
    return int((value // size + way) * size) if way > 0 else int((math.ceil(value / size) - 1) * size)


def _step_float(value: Number, way: int, bounds: Bounds) -> float:
    if bounds.below is not None and bounds.below - abs(bounds.below) / 10 <= value:
        missing = bounds.below - value
        return round(bounds.below - _step_leading_digit(missing, -way), 12)
    return _step_leading_digit(float(value), way)


def _step_leading_digit(value: float, way: int) -> float:
    """Change the leading digit by one; a number without a second digit goes down in the next smaller magnitude."""
    if abs(value) < ZERO_TOLERANCE:
        return way * FIRST_STEP
    if value < 0:
        return -_step_leading_digit(-value, -way)
    power = math.floor(math.log10(value) + 1e-9)
    if way < 0 and math.isclose(value, 10.0**power):
        power -= 1
    if way < 0 and value <= SMALLEST_STEP:
        return 0.0
    digits = value / 10.0**power
    near = round(digits, 6)
    count = math.floor(near) + 1 if way > 0 else math.ceil(near) - 1
    return float(f"{count}e{power}")


class NumberBox(QAbstractSpinBox):
    """A spin box over Python's own numbers: no rounding to decimals, no limit of 32 bits."""

    changed = Signal()

    def __init__(self, is_integer: bool, bounds: Bounds | None = None) -> None:
        super().__init__()
        self._is_integer = is_integer
        self._bounds = bounds or Bounds()
        self.setCorrectionMode(QAbstractSpinBox.CorrectionMode.CorrectToPreviousValue)
        self.setAccelerated(True)
        self.setFocusPolicy(Qt.FocusPolicy.StrongFocus)
        self.lineEdit().textEdited.connect(self._on_edited)

    @property
    def value(self) -> Number | None:
        """The number, or None where the text is none or is not allowed."""
        try:
            value = int(self.text()) if self._is_integer else float(self.text())
        except ValueError:
            return None
        return value if self._bounds.contains(value) else None

    @value.setter
    def value(self, value: Number) -> None:
        if self.hasFocus() and self.value == value:
            return  # the user is typing it
        self.lineEdit().setText(format_number(value))
        self.lineEdit().setCursorPosition(0)

    @property
    def fault(self) -> str:
        """What is wrong with the text; empty where nothing is."""
        if self.value is not None:
            return ""
        kind = "a whole number" if self._is_integer else "a number"
        limits = f" ({self._bounds.description})" if self._bounds.description else ""
        return f"'{self.text()}' is not allowed: expected {kind}{limits}"

    def stepBy(self, steps: int) -> None:  # noqa: N802 - Qt's name
        """Go up or down."""
        if self.value is not None:
            self.value = step_value(self.value, steps, self._bounds)
            self.lineEdit().selectAll()
            self.changed.emit()

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:  # noqa: N802 - Qt's name
        """Say which way it can go."""
        flag = QAbstractSpinBox.StepEnabledFlag
        value = self.value
        if value is None:
            return flag.StepNone
        enabled = flag.StepNone
        if step_value(value, 1, self._bounds) != value:
            enabled |= flag.StepUpEnabled
        if step_value(value, -1, self._bounds) != value:
            enabled |= flag.StepDownEnabled
        return enabled

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Let anything be typed; ``fault`` says what is wrong with it.

        Returns acceptable, with both.
        """
        return QValidator.State.Acceptable, text, position

    def wheelEvent(self, event: QWheelEvent) -> None:  # noqa: N802 - Qt's name
        """Leave the wheel to the page unless the box is in use: scrolling past must not change a number."""
        if self.hasFocus():
            super().wheelEvent(event)
        else:
            event.ignore()

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Select the number, so that typing replaces it."""
        super().focusInEvent(event)
        self.lineEdit().selectAll()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Be as wide as a number with its arrows needs, without the room for a longest one."""
        return QSize(92, self.lineEdit().sizeHint().height() + 4)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Shrink a little where the dock is narrow."""
        return QSize(56, self.sizeHint().height())

    def _on_edited(self, text: str) -> None:
        self.changed.emit()
