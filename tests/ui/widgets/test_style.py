"""Sections of docks give their content the height that it needs; icons of closed sections are released."""

from __future__ import annotations

import weakref

import pytest
from napari.components import ViewerModel
from qtpy.compat import isalive
from qtpy.QtWidgets import QLabel, QLineEdit, QPushButton, QToolButton, QVBoxLayout, QWidget

from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.style import (
    Connections,
    ThemedIcons,
    WrappedLabel,
    column,
    more_button,
    scroll_area,
    section,
)

LONG = "Twelve lesions of at least 0.5 mm, three of them drawn by hand and one uncertain. " * 3
TABLE_HEIGHT = 120


@pytest.fixture
def page(qtbot, home):
    """A narrow page with a section: a text of several lines above something of a fixed height."""
    content = QWidget()
    column = QVBoxLayout(content)
    text, table = QLabel(LONG), QWidget()
    text.setWordWrap(True)
    table.setMinimumHeight(TABLE_HEIGHT)
    column.addWidget(text)
    column.addWidget(table)
    fold = section("Lesions", "lesions", content, DockSettings(), True)
    made = QWidget()
    QVBoxLayout(made).addWidget(fold)
    made.layout().addStretch()
    scroll = scroll_area(made, "scroll")
    qtbot.addWidget(scroll)
    scroll.resize(300, 800)
    scroll.show()
    qtbot.waitExposed(scroll)
    return fold, text, table, scroll


def is_whole(fold, text, table):
    """Return whether the text has all its lines, and what follows ends within the section."""
    end = table.mapTo(fold.content, table.rect().bottomLeft()).y()
    return (
        text.height() >= text.heightForWidth(text.width())
        and table.height() >= TABLE_HEIGHT
        and end <= fold.content.height()
    )


def test_wrapped_text_does_not_clip_the_next_widget(page, qtbot):
    fold, text, table, scroll = page
    qtbot.waitUntil(lambda: is_whole(fold, text, table))
    scroll.resize(220, 800)
    qtbot.waitUntil(lambda: text.width() < 220 and is_whole(fold, text, table))
    text.setText(2 * LONG)
    qtbot.waitUntil(lambda: is_whole(fold, text, table))


def test_opening_again_shows_everything(page, qtbot):
    fold, text, table, _ = page
    fold.collapse()
    assert fold.content.isHidden()
    fold.expand()
    qtbot.waitUntil(lambda: is_whole(fold, text, table))


def test_a_pressed_button_that_is_disabled_does_not_scroll_its_dock(qtbot):
    button, field, page = QPushButton(), QLineEdit(), QWidget()
    column = QVBoxLayout(page)
    for part in (button, field):
        column.addWidget(part)
    column.insertSpacing(1, 900)
    scroll = scroll_area(page, "scroll")
    qtbot.addWidget(scroll)
    scroll.resize(300, 400)
    scroll.show()
    qtbot.waitExposed(scroll)
    button.setFocus()
    button.setEnabled(False)
    assert scroll.verticalScrollBar().value() == 0
    button.setEnabled(True)
    button.setFocus()
    button.focusNextChild()  # as by the tab key
    assert scroll.verticalScrollBar().value() > 0


def test_buttons_of_closed_sections_are_released_after_qt_has_deleted_them(qtbot):
    dock, connections = QWidget(), Connections()
    qtbot.addWidget(dock)
    icons = ThemedIcons(ViewerModel(), dock, connections)
    icons.apply()
    closed = QToolButton(dock)
    icons.add(closed, "erase")
    reference = weakref.ref(closed)
    closed.deleteLater()
    del closed
    qtbot.waitUntil(lambda: not isalive(reference()))  # not released while Qt deletes it, which crashed
    icons.add(QToolButton(dock), "erase")
    assert reference() is None
    icons.apply()
    connections.close()


def test_what_is_under_more_is_hidden_at_first_and_remembered(qtbot, home):
    def open_page():
        rare = QLabel("rare")
        page = column(more_button("page", "rare settings", DockSettings(), rare), rare)
        qtbot.addWidget(page)
        return page, page.findChild(QToolButton, "more_page"), rare

    page, more, rare = open_page()
    assert not rare.isVisibleTo(page)
    more.click()
    assert rare.isVisibleTo(page)
    page, more, rare = open_page()
    assert more.isChecked()
    assert rare.isVisibleTo(page)
    more.click()
    page, more, rare = open_page()
    assert not rare.isVisibleTo(page)


@pytest.mark.parametrize(("text", "is_cut"), [("", False), ("One line", False), ("One\nand two", False), (LONG, True)])
def test_a_label_of_two_lines_cuts_a_longer_text_and_has_it_in_the_tooltip(qtbot, text, is_cut):
    label = WrappedLabel(lines=2)
    qtbot.addWidget(label)
    label.setStyleSheet("font-size: 11pt")
    label.resize(300, 10)
    label.show()
    height = label.height()
    label.setText(text)
    assert label.text() == text
    shown = QLabel.text(label)
    assert shown.endswith(" ...") is is_cut
    assert label.toolTip() == (text if is_cut else "")
    assert text.startswith(shown.removesuffix(" ..."))
    assert label.height() == height >= label.fontMetrics().boundingRect("X").height() * 2
    if is_cut:
        assert len(shown) > 60, "two lines"
