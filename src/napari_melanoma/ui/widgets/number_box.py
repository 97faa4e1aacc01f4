"""A spin box for integers and floats that keeps every digit and steps by the leading digit."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import NamedTuple, cast

from annotated_types import Ge, Gt, Le, Lt, MultipleOf
from qtpy.QtCore import QEvent, QLocale, QObject, QSize, Signal
from qtpy.QtGui import QFocusEvent, QKeyEvent, QValidator
from qtpy.QtWidgets import QAbstractSpinBox, QDoubleSpinBox, QSpinBox

from napari_melanoma.ui.widgets.wheel import guard_wheel

Number = int | float
SMALLEST_STEP = 1e-6  # stepping down from this or a smaller value gives zero
ZERO_TOLERANCE = 1e-300  # smaller values have no reliable leading digit
FIRST_STEP = 0.01  # the first step up from zero


class Bounds(NamedTuple):
    """The limits of a number; None for no limit."""

    low: Number | None = None
    high: Number | None = None
    above: Number | None = None  # the value must be greater, not equal
    below: Number | None = None  # the value must be smaller, not equal
    multiple: int | None = None

    @classmethod
    def from_metadata(cls, metadata: Iterable[object]) -> Bounds:
        """Read the limits from the metadata of a configuration field."""
        fields = {Ge: ("ge", "low"), Le: ("le", "high"), Gt: ("gt", "above"), Lt: ("lt", "below")}
        fields[MultipleOf] = ("multiple_of", "multiple")
        limits = {}
        for limit in metadata:
            if type(limit) in fields:
                source, name = fields[type(limit)]
                limits[name] = getattr(limit, source)
        return cls(**limits)

    def contains(self, value: Number) -> bool:
        """Return whether a number is within the limits; False for NaN and infinity."""
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
            and (self.below is None or value < self.below)
            and (self.multiple is None or value % self.multiple == 0)
            and value - value == 0  # neither NaN nor infinity
        )

    @property
    def description(self) -> str:
        """The limits as text; empty if there are none."""
        parts = []
        low = self.low if self.low is not None else self.above
        high = self.high if self.high is not None else self.below
        if low is not None and high is not None:
            parts.append(f"{format_number(low)} to {format_number(high)}")
            parts += [f"excluding {format_number(edge)}" for edge in (self.above, self.below) if edge is not None]
        elif low is not None:
            parts.append(
                f"more than {format_number(low)}" if self.above is not None else f"{format_number(low)} or more"
            )
        elif high is not None:
            parts.append(
                f"less than {format_number(high)}" if self.below is not None else f"at most {format_number(high)}"
            )
        if self.multiple is not None:
            parts.append(f"a multiple of {self.multiple}")
        return ", ".join(parts)


def set_spin_box_value(box: QDoubleSpinBox | QSpinBox, value: Number) -> None:
    """Set the value of a Qt spin box, unless the user is typing the same number.

    Qt rewrites the text even if the number is the same: "0.7" becomes "0.70", and the next typed digit is lost.
    """
    is_same = box.value() == (round(value, box.decimals()) if isinstance(box, QDoubleSpinBox) else value)
    if is_same and box.hasFocus():
        return
    if isinstance(box, QDoubleSpinBox):
        box.setValue(value)
    else:
        box.setValue(int(value))


def format_number(value: Number) -> str:
    """Format a number without loss, such as ``0.002`` or ``1e-5``."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return repr(value).replace("e-0", "e-").replace("e+0", "e").replace("e+", "e")


def step_value(number: Number, steps: int, bounds: Bounds) -> Number:
    """Step a number up or down within the limits.

    An integer changes by one (or its multiple). A float changes by one in its leading digit: 0.002 to 0.003, and 0.01
    down to 0.009. Close to an exclusive upper limit, the distance to the limit is stepped instead: 0.99 to 0.991.
    """
    step_once = _step_integer if isinstance(number, int) else _step_float
    for _ in range(abs(steps)):
        next_number = step_once(number, 1 if steps > 0 else -1, bounds)
        if not bounds.contains(next_number):
            return number
        number = next_number
    return number


def _step_integer(value: Number, direction: int, bounds: Bounds) -> int:
    size = bounds.multiple or 1
    # Integer division only: a float would lose digits of large numbers.
    count = value // size if direction > 0 else -(-value // size)
    return int((count + direction) * size)


def _step_float(value: Number, direction: int, bounds: Bounds) -> float:
    if bounds.below is not None and bounds.below - abs(bounds.below) / 10 <= value:
        distance = bounds.below - value
        return round(bounds.below - _step_leading_digit(distance, -direction), 12)
    return _step_leading_digit(float(value), direction)


def _step_leading_digit(value: float, direction: int) -> float:
    """Change the leading digit by one; powers of ten step down by the next smaller magnitude."""
    if abs(value) < ZERO_TOLERANCE:
        return direction * FIRST_STEP
    if value < 0:
        return -_step_leading_digit(-value, -direction)
    power = math.floor(math.log10(value) + 1e-9)
    if direction < 0 and math.isclose(value, 10.0**power):
        power -= 1
    if direction < 0 and value <= SMALLEST_STEP:
        return 0.0
    digits = value / 10.0**power
    leading = round(digits, 6)
    count = math.floor(leading) + 1 if direction > 0 else math.ceil(leading) - 1
    return float(f"{count}e{power}")


class DecimalBox(QDoubleSpinBox):
    """A spin box that accepts a decimal comma and shows a point in every language, as all texts and files do.

    In a language with decimal commas, Qt would take ``1.5`` for 15.
    """

    def __init__(self) -> None:
        super().__init__()
        _show_points(self)

    def validate(self, text: str, position: int) -> tuple[QValidator.State, str, int]:
        """Replace a comma by a point while the number is typed; refuse both in one number."""
        if "," in text and "." in text:
            return QValidator.State.Invalid, text, position
        return cast("tuple[QValidator.State, str, int]", super().validate(text.replace(",", "."), position))

    def valueFromText(self, text: str) -> float:  # noqa: N802 - Qt's name
        """Return the number, also of a pasted text with a comma."""
        return float(super().valueFromText(text.replace(",", ".")))


class CommaKey(QObject):
    """Lets the comma type a decimal point in a spin box of another package, such as that of a tool."""

    def __init__(self, box: QDoubleSpinBox) -> None:
        super().__init__(box)
        _show_points(box)
        box.installEventFilter(self)

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:  # noqa: N802 - Qt's name
        """Return whether the event was a comma, which is typed as a point."""
        if not (isinstance(event, QKeyEvent) and event.type() == QEvent.Type.KeyPress and event.text() == ","):
            return False
        assert isinstance(watched, QDoubleSpinBox)
        watched.keyPressEvent(QKeyEvent(event.type(), event.key(), event.modifiers(), "."))
        return True


def _show_points(box: QDoubleSpinBox) -> None:
    locale = QLocale(QLocale.Language.C)
    locale.setNumberOptions(QLocale.NumberOption.OmitGroupSeparator | QLocale.NumberOption.RejectGroupSeparator)
    box.setLocale(locale)


def with_decimal_point(text: str) -> str:
    """Return a number with a decimal point; ``1,000``, which some mean as a thousand, stays as it is: no number."""
    is_thousand = re.fullmatch(r"[+-]?[1-9]\d{0,2}(,\d{3})+", text.strip())
    return text if is_thousand else text.replace(",", ".")


class NumberBox(QAbstractSpinBox):
    """A spin box for Python numbers, without rounding to decimals and without a 32-bit limit."""

    changed = Signal()

    def __init__(self, is_integer: bool, bounds: Bounds | None = None) -> None:
        super().__init__()
        self._is_integer = is_integer
        self._bounds = bounds or Bounds()
        self.setCorrectionMode(QAbstractSpinBox.CorrectionMode.CorrectToPreviousValue)
        self.setAccelerated(True)
        guard_wheel(self)
        self.lineEdit().textEdited.connect(self.changed)

    @property
    def value(self) -> Number | None:
        """The number; None if the text is not a number or is not allowed."""
        try:
            value = int(self.text()) if self._is_integer else float(with_decimal_point(self.text()))
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
        """The error message; empty if the text is valid."""
        if self.value is not None:
            return ""
        kind = "a whole number" if self._is_integer else "a number"
        limits = f" ({self._bounds.description})" if self._bounds.description else ""
        return f"'{self.text()}' is not allowed: expected {kind}{limits}"

    def stepBy(self, steps: int) -> None:  # noqa: N802 - Qt's name
        """Step up or down."""
        if self.value is not None:
            self.value = step_value(self.value, steps, self._bounds)
            self.lineEdit().selectAll()
            self.changed.emit()

    def stepEnabled(self) -> QAbstractSpinBox.StepEnabledFlag:  # noqa: N802 - Qt's name
        """Return the possible directions."""
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
        """Accept any text; ``fault`` reports errors."""
        return QValidator.State.Acceptable, text, position

    def focusOutEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Show a typed comma as a point."""
        super().focusOutEvent(event)
        if "," in self.text() and (value := self.value) is not None:
            self.value = value

    def focusInEvent(self, event: QFocusEvent) -> None:  # noqa: N802 - Qt's name
        """Select the number, so that typing replaces it."""
        super().focusInEvent(event)
        self.lineEdit().selectAll()

    def sizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a size for a typical number and the arrows."""
        return QSize(92, self.lineEdit().sizeHint().height() + 4)

    def minimumSizeHint(self) -> QSize:  # noqa: N802 - Qt's name
        """Return a smaller size for narrow docks."""
        return QSize(56, self.sizeHint().height())
