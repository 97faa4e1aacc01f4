"""A form made from a configuration model: the one mapping of fields to controls, with ranges, help and a way back."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFormLayout, QVBoxLayout, QWidget

from napari_melanoma.core.config import OneOf, OptionsOf, filled_in
from napari_melanoma.ui.editors import (
    CheckEditor,
    ChoiceEditor,
    Editor,
    NumberEditor,
    SeveralEditor,
    WordOr,
)
from napari_melanoma.ui.form_field import FormField, spelled
from napari_melanoma.ui.look import ThemedIcons, form, section
from napari_melanoma.ui.number_box import Bounds
from napari_melanoma.ui.options_editor import OptionsEditor
from napari_melanoma.ui.path_editor import PathEditor
from napari_melanoma.ui.text_editors import NumbersEditor, TableEditor, TextEditor, WordsEditor

if TYPE_CHECKING:
    from superqt import QCollapsible

    from napari_melanoma.ui.settings import Settings


class ConfigForm(QWidget):
    """The fields of a configuration; those that are configurations themselves are sections that fold."""

    changed = Signal()

    def __init__(
        self,
        model: type[BaseModel],
        settings: Settings,
        icons: ThemedIcons,
        wanted: Callable[[str], bool],
        prefix: str = "",
    ) -> None:
        super().__init__()
        self._fields: dict[str, FormField] = {}
        self._parts: dict[str, ConfigForm] = {}
        self._sections: dict[str, QCollapsible] = {}
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(5)
        rows = QWidget()
        layout = form(rows)
        layout.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)  # in a narrow dock the control goes below
        column.addWidget(rows)
        unasked = filled_in(model)
        for name, info in model.model_fields.items():
            if name in unasked:
                continue
            key = f"{prefix}{name}"
            if part := _nested(info.annotation):
                self._add_part(name, ConfigForm(part, settings, icons, wanted, f"{key}."), settings, icons)
            elif wanted(key) and not _part_that_may_be_absent(info.annotation):
                options = next((item for item in info.metadata if isinstance(item, OptionsOf)), None)
                if options and options.field in self._fields:
                    editor: Editor = self._options_editor(key, options, settings, icons)
                else:
                    editor = editor_for(info.annotation, info.metadata)
                field = FormField(key, info, editor, icons)
                field.changed.connect(self._on_changed)
                self._fields[name] = field
                if isinstance(editor, OptionsEditor):  # rows of its own, which need the whole width
                    layout.addRow(field.label)
                    layout.addRow(field)
                else:
                    layout.addRow(field.label, field)
        rows.setVisible(bool(self._fields))

    def __len__(self) -> int:
        return len(self._fields) + sum(len(part) for part in self._parts.values())

    @property
    def fields(self) -> Iterator[FormField]:
        """Every field, those of sections too."""
        yield from self._fields.values()
        for part in self._parts.values():
            yield from part.fields

    @property
    def faults(self) -> list[str]:
        """What is wrong with what was typed, a sentence each."""
        return [f"{field.words}: {field.fault}" for field in self.fields if field.fault]

    @property
    def changes(self) -> int:
        """How many fields show another value than was given."""
        return sum(field.is_changed for field in self.fields)

    def values(self) -> dict[str, Any]:
        """Give the values as the controls show them.

        By name, nested as the configuration is; fields that are not shown are left out.
        """
        found: dict[str, Any] = {name: field.value for name, field in self._fields.items()}
        return found | {name: part.values() for name, part in self._parts.items()}

    def set_values(self, config: BaseModel) -> None:
        """Show the values of a configuration; nobody is told."""
        self._each(config, FormField.set_value)

    def give(self, config: BaseModel) -> None:
        """Show the values of a configuration, and take them for the ones to come back to; nobody is told."""
        self._each(config, FormField.give)

    def renew(self, config: BaseModel) -> None:
        """Take a configuration for the one to come back to, and show it where the user has changed nothing."""
        self._each(config, FormField.renew)

    def _options_editor(self, key: str, options: OptionsOf, settings: Settings, icons: ThemedIcons) -> OptionsEditor:
        """Make the control of options that go with the name in another field, and change it with that name."""
        name = self._fields[options.field]
        editor = OptionsEditor(
            lambda: options.config_of(name.value),
            lambda model: ConfigForm(model, settings, icons, lambda key: True, f"{key}."),
        )
        name.changed.connect(editor.renew)
        return editor

    def _each(self, config: BaseModel, act: Callable[[FormField, Any], None]) -> None:
        for name, field in self._fields.items():
            act(field, getattr(config, name))
        for name, part in self._parts.items():
            part._each(getattr(config, name), act)
        self._count()

    def _add_part(self, name: str, part: ConfigForm, settings: Settings, icons: ThemedIcons) -> None:
        if not len(part):
            part.deleteLater()
            return
        fold = section(spelled(name).capitalize(), f"form_{name}_section", part, settings, False)
        icons.fold(fold)
        part.changed.connect(self._on_changed)
        self._parts[name], self._sections[name] = part, fold
        self.layout().addWidget(fold)

    def _on_changed(self) -> None:
        self._count()
        self.changed.emit()

    def _count(self) -> None:
        """Say in the title of a section how much in it was changed, so that nothing hides in a fold."""
        for name, part in self._parts.items():
            changes = f"  ({part.changes} changed)" if part.changes else ""
            self._sections[name].setText(spelled(name).capitalize() + changes)


def _nested(annotation: object) -> type[BaseModel] | None:
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _part_that_may_be_absent(annotation: object) -> bool:
    """Whether a field is a configuration or None: it has a form of its own, where it is there."""
    return get_origin(annotation) in (Union, types.UnionType) and any(map(_nested, get_args(annotation)))


def editor_for(annotation: Any, metadata: Sequence[object] = ()) -> Editor:  # noqa: ANN401 - a type's description
    """Make the control for a kind of value: the one mapping of fields to controls."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        inner = [item for part in parts[1:] for item in getattr(part, "metadata", [part])]
        return editor_for(parts[0], [*metadata, *inner])
    if origin is Literal:
        return ChoiceEditor(parts)
    if Path in (annotation, *parts):
        return PathEditor()
    if origin in (Union, types.UnionType):
        return _union_editor(parts, metadata)
    if origin is tuple:
        if parts == (str, Ellipsis):
            return WordsEditor(_shortest(metadata))
        kind = get_args(parts[0])[0] if get_origin(parts[0]) is Annotated else parts[0]
        if parts[1:] == (Ellipsis,) and kind in (int, float):
            return NumbersEditor(kind is int, _shortest(metadata))
        if Ellipsis not in parts:
            return SeveralEditor([editor_for(part) for part in parts])
    if annotation is bool:
        return CheckEditor()
    if annotation in (int, float):
        return NumberEditor(annotation is int, Bounds.of(metadata))
    if annotation is str:
        if named := next((item for item in metadata if isinstance(item, OneOf)), None):
            return ChoiceEditor(named.names, named.title)
        return TextEditor(_shortest(metadata))
    if origin is dict:
        return TableEditor()
    raise TypeError(f"no control for {annotation}: teach editor_for to make one")


def _union_editor(parts: Sequence[Any], metadata: Sequence[object]) -> Editor:
    """Make the control of a value that may be a word instead."""
    words = [word for part in parts if get_origin(part) is Literal for word in get_args(part)]
    words += [None] if type(None) in parts else []
    values = [part for part in parts if get_origin(part) is not Literal and part is not type(None)]
    if len(words) != 1 or len(values) != 1:
        raise TypeError(f"no control for one of {parts}: expected one kind of value and one word")
    return WordOr(editor_for(values[0], metadata), words[0])


def _shortest(metadata: Sequence[object]) -> int:
    return next((limit.min_length for limit in metadata if hasattr(limit, "min_length")), 0)
