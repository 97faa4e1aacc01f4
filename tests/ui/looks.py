"""Measures of how a dock looks: cut texts, blank space, repeated facts, and what is in view."""

from __future__ import annotations

import re
from collections import Counter

from qtpy.QtCore import QPoint, QRect
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QScrollArea,
    QStyle,
    QStyleOptionComboBox,
    QStyleOptionFrame,
    QWidget,
)
from superqt import QElidingLabel

from napari_melanoma.ui.widgets.style import CollapsibleSection, WrappedLabel

MAX_BLANK_PX = 12
FIELD_PX = 4  # that a line edit keeps free beside its text
TAG = re.compile(r"<[^>]+>")


def visible(dock, kind=QWidget):
    """Return the visible widgets of a kind in a dock."""
    return [one for one in dock.findChildren(kind) if one.isVisibleTo(dock) and not one.rect().isEmpty()]


def list_cut_texts(dock):
    """Return the labels, buttons, combo boxes and placeholders that do not fit, one a line.

    Names, which are elided, are left out.
    """
    cut = []
    for label in visible(dock, QLabel):
        if isinstance(label, QElidingLabel) or not label.text() or isinstance(label.parent(), QAbstractItemView):
            continue
        needed = label.heightForWidth(label.width()) if label.wordWrap() else label.sizeHint().height()
        wide = 0 if label.wordWrap() else label.sizeHint().width()
        shortened = isinstance(label, WrappedLabel) and QLabel.text(label) != label.text()
        if shortened or needed > label.height() + 1 or wide > label.width() + 1:
            cut.append(f"{label.objectName()}: '{TAG.sub('', label.text())}'")
    for button in visible(dock, QAbstractButton):
        if (
            button.text()
            and button.minimumSizeHint().width() > button.width() + 1
            and not isinstance(button, QCheckBox)
        ):
            cut.append(f"{button.objectName()}: '{button.text()}'")
        if isinstance(button, QCheckBox) and button.sizeHint().width() > button.width() + 1:
            cut.append(f"{button.objectName()}: '{button.text()}'")
    for combo in visible(dock, QComboBox):
        if combo.property("holds_names"):  # such as of files and models
            continue
        option = QStyleOptionComboBox()
        option.initFrom(combo)
        option.editable = combo.isEditable()
        part = QStyle.SubControl.SC_ComboBoxEditField
        room = combo.style().subControlRect(QStyle.ComplexControl.CC_ComboBox, option, part, combo).width()
        if combo.fontMetrics().horizontalAdvance(combo.currentText()) > room:
            cut.append(f"{combo.objectName()}: '{combo.currentText()}'")
    for field in visible(dock, QLineEdit):
        option = QStyleOptionFrame()
        option.initFrom(field)
        room = field.style().subElementRect(QStyle.SubElement.SE_LineEditContents, option, field).width() - FIELD_PX
        if not field.text() and field.fontMetrics().horizontalAdvance(field.placeholderText()) > room:
            cut.append(f"{field.objectName()}: '{field.placeholderText()}'")
    return "\n".join(cut)


def list_blanks(part, limit=MAX_BLANK_PX):
    """Return the blank heights over a limit in a part of a dock, from top to bottom, one a line.

    What counts as visible are widgets without children of their own: labels, buttons, fields, lists, pictures.
    """
    boxes = []
    for child in visible(part):
        has_parts = any(one.isVisibleTo(child) for one in child.findChildren(QWidget))
        is_whole = isinstance(child, (QAbstractItemView, QAbstractButton, QComboBox, QPlainTextEdit))
        inner = child.parentWidget()
        if (has_parts and not is_whole) or isinstance(inner, (QAbstractItemView, QComboBox)):
            continue
        if type(child) is QWidget or isinstance(child, QScrollArea):
            continue
        if isinstance(child, QLabel) and not child.text() and child.pixmap().isNull():
            continue
        top = child.mapTo(part, QPoint()).y()
        boxes.append((top, top + child.height(), child.objectName() or type(child).__name__))
    boxes.sort()
    blanks, end, above = [], 0, "top"
    for top, bottom, name in boxes:
        if top - end > limit:
            blanks.append(f"{top - end} px between {above} and {name}")
        if bottom > end:
            end, above = bottom, name
    if boxes and part.height() - end > limit:
        blanks.append(f"{part.height() - end} px below {above}")
    return "\n".join(blanks)


def list_section_blanks(dock, limit=MAX_BLANK_PX):
    """Return the blank heights over a limit in the expanded sections of a dock, one a line."""
    found = []
    for frame in visible(dock, CollapsibleSection):
        if frame.is_expanded and (blanks := list_blanks(frame.content, limit)):
            found += [f"{frame.title}: {blank}" for blank in blanks.splitlines()]
    return "\n".join(found)


def list_repeated_facts(dock, *allowed):
    """Return the texts of labels that stand more than once in a dock, one a line; ``allowed``: that may."""
    texts = Counter()
    for label in visible(dock, QLabel):
        text = TAG.sub("", label.text()).strip().lower().rstrip(".:")
        if len(text) > 4 and any(character.isalpha() for character in text):
            texts[text] += 1
    return "\n".join(text for text, count in texts.items() if count > 1 and text not in allowed)


def is_in_view(window, widget):
    """Whether a widget lies whole within its window."""
    box = QRect(widget.mapTo(window, QPoint()), widget.size())
    return widget.isVisibleTo(window) and not box.isEmpty() and QRect(window.rect()).contains(box)


def find_place(dock, name):
    """Return the place (x, y) of a control in its dock by its object name."""
    control = dock.findChild(QWidget, name)
    corner = control.mapTo(dock, QPoint())
    return corner.x(), corner.y()
