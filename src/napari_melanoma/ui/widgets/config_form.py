"""A form generated from a configuration model."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QGridLayout, QLabel, QVBoxLayout, QWidget

from napari_melanoma.core.config import Config, OneOf, OptionsOf, computed_fields, field_title, nested_config
from napari_melanoma.core.errors import ConfigError
from napari_melanoma.ui.widgets.editors import (
    CheckEditor,
    ChoiceEditor,
    Editor,
    NumberEditor,
    NumberListEditor,
    PathEditor,
    TextEditor,
    TextListEditor,
    TomlTableEditor,
    TupleEditor,
    ValueOrWordEditor,
)
from napari_melanoma.ui.widgets.number_box import Bounds, format_number
from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import (
    CollapsibleSection,
    FormRows,
    ThemedIcons,
    form_layout,
    named,
    section,
    tool_button,
)

RESET_PX = 20


class ConfigForm(QWidget):
    """The fields of a configuration; nested configurations are collapsible sections.

    ``is_shown``: whether to show a field, by its dotted name. ``prefix``: of the dotted names.
    """

    changed = Signal()

    def __init__(
        self,
        model: type[BaseModel],
        settings: DockSettings,
        icons: ThemedIcons,
        is_shown: Callable[[str], bool],
        prefix: str = "",
    ) -> None:
        super().__init__()
        self._fields: dict[str, FormField] = {}
        self._parts: dict[str, ConfigForm] = {}
        self._sections: dict[str, CollapsibleSection] = {}
        self._titles: dict[str, str] = {}  # of the sections
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        rows = FormRows()
        layout = form_layout(rows)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)  # for narrow docks
        column.addWidget(rows)
        computed = computed_fields(model)
        for name, info in model.model_fields.items():
            if name in computed:
                continue
            key = f"{prefix}{name}"
            part = nested_config(info.annotation)
            is_optional = part is not info.annotation  # an optional configuration has a separate form
            if part is not None and not is_optional:
                form = ConfigForm(part, settings, icons, is_shown, f"{key}.")
                self._add_part(name, field_title(name, info), form, settings, icons)
            elif part is None and is_shown(key):
                options = next((item for item in info.metadata if isinstance(item, OptionsOf)), None)
                if options and not options.field and not options.config_of("").model_fields:
                    continue  # no plug-in has any
                if options and (not options.field or options.field in self._fields):
                    editor: Editor = self._make_options_editor(key, options, settings, icons)
                else:
                    editor = make_editor(info.annotation, info.metadata)
                field = self._fields[name] = FormField(key, info, editor, icons)
                if isinstance(editor, OptionsEditor):  # its rows need the whole width
                    layout.addRow(field.label)
                    layout.addRow(field)
                else:
                    layout.addRow(field.label, field)
        for (
            field
        ) in self._fields.values():  # after their connections to editors of options, which must be updated first
            field.changed.connect(self._on_changed)
        rows.setVisible(bool(self._fields))

    def __len__(self) -> int:
        return len(self._fields) + sum(len(part) for part in self._parts.values())

    @property
    def fields(self) -> Iterator[FormField]:
        """All fields, including those of sections."""
        yield from self._fields.values()
        for part in self._parts.values():
            yield from part.fields

    @property
    def faults(self) -> list[str]:
        """The error messages of the fields."""
        return [f"{field.title}: {field.fault}" for field in self.fields if field.fault]

    @property
    def change_count(self) -> int:
        """Number of fields that differ from their default."""
        return sum(field.is_changed for field in self.fields)

    def values(self) -> dict[str, Any]:
        """Return the values by name, nested like the configuration; fields that are not shown are left out."""
        values: dict[str, Any] = {name: field.value for name, field in self._fields.items()}
        return values | {name: part.values() for name, part in self._parts.items()}

    def set_values(self, config: BaseModel) -> None:
        """Show the values of a configuration without emitting ``changed``."""
        self._apply_to_fields(config, FormField.set_value)

    def set_defaults(self, config: BaseModel) -> None:
        """Show the values of a configuration and set them as defaults, without emitting ``changed``."""
        self._apply_to_fields(config, FormField.set_default)

    def update_defaults(self, config: BaseModel) -> None:
        """Set the defaults, and show them in fields that the user has not changed."""
        self._apply_to_fields(config, FormField.update_default)

    def _make_options_editor(
        self, key: str, options: OptionsOf, settings: DockSettings, icons: ThemedIcons
    ) -> OptionsEditor:
        """Make the editor of options that depend on the name selected in another field, if on any."""
        name = self._fields.get(options.field)
        editor = OptionsEditor(
            lambda: options.config_of("" if name is None else name.value),
            lambda model: ConfigForm(model, settings, icons, lambda key: True, f"{key}."),
        )
        if name is not None:
            name.changed.connect(editor.update_options)
        return editor

    def _apply_to_fields(self, config: BaseModel, method: Callable[[FormField, Any], None]) -> None:
        for name, field in self._fields.items():
            method(field, getattr(config, name))
        for name, part in self._parts.items():
            part._apply_to_fields(getattr(config, name), method)
        self._update_titles()

    def _add_part(self, name: str, title: str, part: ConfigForm, settings: DockSettings, icons: ThemedIcons) -> None:
        if not len(part):
            part.deleteLater()
            return
        part_section = section(title, f"form_{name}_section", part, settings, False)
        icons.add_sections(part_section)
        part.changed.connect(self._on_changed)
        self._parts[name], self._sections[name], self._titles[name] = part, part_section, title
        self.layout().addWidget(part_section)

    def _on_changed(self) -> None:
        self._update_titles()
        self.changed.emit()

    def _update_titles(self) -> None:
        """Show the number of changed fields in the title of each section."""
        for name, part in self._parts.items():
            changes = f"  ({part.change_count} changed)" if part.change_count else ""
            self._sections[name].title_button.setText(self._titles[name] + changes)


def make_editor(annotation: Any, metadata: Sequence[object] = ()) -> Editor:  # noqa: ANN401 - a type annotation
    """Make the editor for a type annotation, with the limits in its metadata."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [item for part in parts[1:] for item in getattr(part, "metadata", [part])]
        return make_editor(parts[0], [*metadata, *inner])
    if origin is Literal:
        return ChoiceEditor(parts)
    if Path in (annotation, *parts):
        return PathEditor()
    if origin in (Union, types.UnionType):
        return _make_union_editor(parts, metadata)
    if origin is tuple:
        if parts == (str, Ellipsis):
            return TextListEditor(_min_length(metadata))
        item_type = get_args(parts[0])[0] if get_origin(parts[0]) is Annotated else parts[0]
        if parts[1:] == (Ellipsis,) and item_type in (int, float):
            return NumberListEditor(item_type is int, _min_length(metadata))
        if Ellipsis not in parts:
            return TupleEditor([make_editor(part) for part in parts])
    if annotation is bool:
        return CheckEditor()
    if annotation in (int, float):
        return NumberEditor(annotation is int, Bounds.from_metadata(metadata))
    if annotation is str:
        if choices := next((item for item in metadata if isinstance(item, OneOf)), None):
            return ChoiceEditor(choices.names, choices.title)
        return TextEditor(_min_length(metadata))
    if origin is dict:
        return TomlTableEditor()
    raise TypeError(f"no editor for {annotation}: add one to make_editor")


def _make_union_editor(parts: Sequence[Any], metadata: Sequence[object]) -> Editor:
    """Make the editor of a value that can be replaced by a single word or None."""
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    words += [None] if type(None) in parts else []
    values = [part for part in parts if get_origin(part) is not Literal and part is not type(None)]
    if len(words) != 1 or len(values) != 1:
        raise TypeError(f"no editor for one of {parts}: expected one type of value and one word")
    return ValueOrWordEditor(make_editor(values[0], metadata), words[0])


def _min_length(metadata: Sequence[object]) -> int:
    return next((limit.min_length for limit in metadata if hasattr(limit, "min_length")), 0)


class OptionsEditor(Editor):
    """Editor of the options of a name that is selected in another field, such as those of a network.

    ``get_config``: returns the configuration of the selected name. ``make_form``: makes the form of a configuration.
    """

    def __init__(
        self, get_config: Callable[[], type[Config]], make_form: Callable[[type[BaseModel]], ConfigForm]
    ) -> None:
        super().__init__()
        self._get_config = get_config
        self._make_form = make_form
        self._config: type[Config] | None = None
        self._form: ConfigForm | None = None
        self._row.addWidget(QLabel("none"), 1)

    @property
    def value(self) -> Any:  # noqa: ANN401
        """The values of all options, by name."""
        return {} if self._form is None else self._form.values()

    @value.setter
    def value(self, value: Any) -> None:  # noqa: ANN401
        config = self._get_config()
        self._show(config)
        if self._form is not None:
            self._form.set_defaults(config.model_validate(self.normalize(value)))

    def normalize(self, value: Any) -> Any:  # noqa: ANN401
        """Return all options of the current configuration by name, without computed ones.

        Options of another configuration are replaced by the defaults.
        """
        config = self._get_config()
        try:
            options = config.parse(dict(value or {}), "the table of options")
        except ConfigError:
            options = config()
        return options.model_dump(exclude=computed_fields(config))

    @property
    def fault(self) -> str:
        """The error messages of the options."""
        return "; ".join(self._form.faults) if self._form is not None else ""

    def update_options(self) -> None:
        """Show the default options after another name was selected."""
        if self._get_config() is not self._config:
            self.value = {}
            self.changed.emit()

    def _show(self, config: type[Config]) -> None:
        if config is self._config:
            return
        self._config = config
        self._form = self._make_form(config) if config.model_fields else None
        previous = self.control
        control: QWidget = QLabel("none") if self._form is None else self._form
        named(control, previous.objectName(), previous.accessibleName(), previous.toolTip())
        if self._form is not None:
            self._form.changed.connect(self.changed)
        self._row.replaceWidget(previous, control)
        previous.setParent(None)  # so that findChild does not find it
        previous.deleteLater()


class FormField(QWidget):
    """The editor of a field, with a button that resets it to the default."""

    changed = Signal()

    def __init__(self, key: str, info: FieldInfo, editor: Editor, icons: ThemedIcons) -> None:
        super().__init__()
        self._default: Any = None
        self._editor = editor
        title = field_title(key.rpartition(".")[2], info)
        self.title = title
        self.label = QLabel(title)
        self.label.setToolTip(make_tooltip(title, info))
        self.label.setBuddy(editor.control)
        for number, control in enumerate(editor.controls, 1):
            several = f" {number}" if number > 1 else ""
            named(control, f"{key}{several}", f"{title}{several}", make_tooltip(title, info))
        self._reset_button = tool_button(f"{key}.reset", f"Reset {title}")
        icons.add(self._reset_button, "step_left")
        self._reset_button.setFixedWidth(RESET_PX)
        policy = self._reset_button.sizePolicy()
        policy.setRetainSizeWhenHidden(True)
        self._reset_button.setSizePolicy(policy)
        self._fault = named(QLabel(), f"{key}.fault", f"Error in {title}")
        self._fault.setProperty("fault", True)
        self._fault.setWordWrap(True)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setHorizontalSpacing(2)
        grid.setVerticalSpacing(1)
        grid.addWidget(editor, 0, 0)
        grid.addWidget(self._reset_button, 0, 1, Qt.AlignmentFlag.AlignTop)
        grid.addWidget(self._fault, 1, 0, 1, 2)
        grid.setColumnStretch(0, 1)
        if not info.is_required():
            self.set_value(info.get_default(call_default_factory=True))
        editor.changed.connect(self._on_changed)
        self._reset_button.clicked.connect(self._on_reset)

    @property
    def value(self) -> Any:  # noqa: ANN401 - whatever the field holds
        """The value in the editor; undefined if there is an error."""
        return self._editor.value

    @property
    def fault(self) -> str:
        """The error message; empty if the value is valid."""
        return self._editor.fault

    @property
    def is_changed(self) -> bool:
        """Whether the value differs from the default."""
        return bool(self.fault) or self.value != self._default

    def set_value(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Show a value without emitting ``changed``."""
        self._editor.value = value
        self._show_state()

    def set_default(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Show a value and set it as the default, without emitting ``changed``."""
        self._default = self._editor.normalize(value)
        self.set_value(value)

    def update_default(self, value: Any) -> None:  # noqa: ANN401 - whatever the field holds
        """Set the default, and show it unless the user has changed the value."""
        was_changed = self.is_changed
        self._default = self._editor.normalize(value)
        if was_changed:
            self._show_state()
        else:
            self.set_value(value)

    def _on_changed(self) -> None:
        self._show_state()
        self.changed.emit()

    def _on_reset(self) -> None:
        self._editor.control.setFocus()  # before the button is hidden and the focus is lost
        self.set_value(self._default)
        self.changed.emit()

    def _show_state(self) -> None:
        fault = self.fault
        self._fault.setText(fault)
        self._fault.setVisible(bool(fault))
        self._reset_button.setVisible(self.is_changed)
        self._reset_button.setToolTip(f"Reset to {format_value(self._default)}")
        font = self.label.font()
        font.setBold(self.is_changed)
        self.label.setFont(font)


def make_tooltip(title: str, info: FieldInfo) -> str:
    limits = Bounds.from_metadata(info.metadata).description
    parts = [part for part in (info.description, limits and f"Allowed: {limits}.") if part]
    return "\n".join(parts) or title


def format_value(value: Any) -> str:  # noqa: ANN401 - whatever a field holds
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return format_number(value)
    if isinstance(value, tuple):
        return ", ".join(format_value(part) for part in value) or "nothing"
    return str(value).replace("_", " ") or "nothing"
