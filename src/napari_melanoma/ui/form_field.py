"""One row of a form: the words of a field, its control, what is wrong with it, and the way back to the given value."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QWidget

from napari_melanoma.ui.editors import Editor
from napari_melanoma.ui.look import ThemedIcons, named, tool
from napari_melanoma.ui.number_box import Bounds, show

if TYPE_CHECKING:
    from pydantic.fields import FieldInfo

BACK_PX = 20
SPELLED = {"ema": "EMA", "jpeg": "JPEG"}


class FormField(QWidget):
    """A field's control, with a button that brings back the value that was given."""

    changed = Signal()

    def __init__(self, key: str, info: FieldInfo, editor: Editor, icons: ThemedIcons) -> None:
        super().__init__()
        self._given: Any = None
        self._editor = editor
        words = spelled(key.rpartition(".")[2])
        self.words = words
        self.label = QLabel(words)
        self.label.setToolTip(tooltip(words, info))
        self.label.setBuddy(editor.control)
        for number, control in enumerate(editor.controls, 1):
            several = f" {number}" if number > 1 else ""
            named(control, f"{key}{several}", f"{words}{several}", tooltip(words, info))
        self._back = tool(f"{key}.reset", f"Reset {words}")
        icons.add(self._back, "step_left")
        self._back.setFixedWidth(BACK_PX)
        policy = self._back.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._back.setSizePolicy(policy)
        self._fault = named(QLabel(), f"{key}.fault", f"What is wrong with {words}")
        self._fault.setProperty("fault", True)
        self._fault.setWordWrap(True)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2)
        grid.setVerticalSpacing(1)
        grid.addWidget(editor, 0, 0)
        grid.addWidget(self._back, 0, 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self._fault, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        if not info.is_required():
            self.set_value(info.get_default(call_default_factory=True))
        editor.changed.connect(self._on_changed)
        self._back.clicked.connect(self._on_back)

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the field holds
        """What the control shows; meaningless while there is a fault."""
        return self._editor.value

    @property
    def fault(self) -> str:
        """What is wrong with what was typed; empty where nothing is."""
        return self._editor.fault

    @property
    def is_changed(self) -> bool:
        """Whether the value is another one than was given."""
        return bool(self.fault) or self.value != self._given

    def set_value(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Show a value; nobody is told."""
        self._editor.value = value
        self._show_state()

    def give(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Show a value, and take it for the one to come back to; nobody is told."""
        self._given = self._editor.normal(value)
        self.set_value(value)

    def renew(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Take another value for the one to come back to, and show it unless the user has chosen one."""
        chosen = self.is_changed
        self._given = self._editor.normal(value)
        if chosen:
            self._show_state()
        else:
            self.set_value(value)

    def _on_changed(self) -> None:
        self._show_state()
        self.changed.emit()

    def _on_back(self) -> None:
        self._editor.control.setFocus()  # before the button goes, and the focus with it to nobody
        self.set_value(self._given)
        self.changed.emit()

    def _show_state(self) -> None:
        fault = self.fault
        self._fault.setText(fault)
        self._fault.setVisible(bool(fault))
        self._back.setVisible(self.is_changed)
        self._back.setToolTip(f"Back to {said(self._given)}")
        font = self.label.font()
        font.setBold(self.is_changed)
        self.label.setFont(font)


def spelled(name: str) -> str:
    """Write a name of the configuration as words."""
    return " ".join(SPELLED.get(word, word) for word in name.split("_"))


def tooltip(words: str, info: FieldInfo) -> str:
    """Say what a field is for and which values it takes."""
    limits = Bounds.of(info.metadata).words
    parts = [part for part in (info.description, limits and f"Allowed: {limits}.") if part]
    return "\n".join(parts) or words.capitalize()


def said(value: Any) -> str:  # noqa: ANN401 - whatever a field holds
    """Write a value for a sentence."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return show(value)
    if isinstance(value, tuple):
        return ", ".join(said(part) for part in value) or "nothing"
    return str(value).replace("_", " ") or "nothing"
