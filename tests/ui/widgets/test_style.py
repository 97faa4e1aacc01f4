"""Sections of docks give their content its height and stay under the pointer; labels, icons and signals."""

from __future__ import annotations

import gc
import weakref
from functools import partial

import pytest
from napari.components import ViewerModel
from napari.utils.events import EventEmitter
from qtpy.compat import isalive
from qtpy.QtCore import Qt
from qtpy.QtGui import QCursor
from qtpy.QtTest import QTest
from qtpy.QtWidgets import (
    QApplication,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QTableWidget,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_melanoma.ui.widgets.settings import DockSettings
from napari_melanoma.ui.widgets.signals import Connections
from napari_melanoma.ui.widgets.style import (
    REST_MS,
    ThemedIcons,
    WrappedLabel,
    column,
    fill_column,
    named,
    scroll_area,
    section,
    set_shown,
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


@pytest.fixture
def two_sections(qtbot, home):
    """A page that fits in its dock: a text that changes by itself, and below it a section with a button."""
    text, button, page = WrappedLabel("One line."), QPushButton("count"), QWidget()
    layout = QVBoxLayout(page)
    sections = [
        section(name, name, content, DockSettings(), True)
        for name, content in (("Paint", column(QPushButton("brush"), text)), ("Measure", column(button)))
    ]
    for one in (*sections, QPushButton("More sections")):
        layout.addWidget(one)
    layout.addStretch(1)
    scroll = scroll_area(page, "scroll")
    qtbot.addWidget(scroll)
    scroll.setVerticalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOn)
    scroll.resize(300, 400)
    scroll.move(100, 100)
    scroll.show()
    qtbot.waitExposed(scroll)
    QTest.qWait(2 * REST_MS)
    return scroll, sections, text, button


def find_place(widget):
    """Return where a widget is on the screen, after its page has come to rest."""
    QTest.qWait(2 * REST_MS)
    return widget.mapToGlobal(widget.rect().center())


@pytest.mark.both_qts
@pytest.mark.parametrize("is_pointed", [True, False], ids=["pointer", "focus"])
def test_what_is_pointed_at_or_has_the_focus_stays_while_content_above_it_changes(two_sections, qtbot, is_pointed):
    scroll, _, text, button = two_sections
    before = find_place(button)
    QCursor.setPos(before if is_pointed else scroll.mapToGlobal(scroll.rect().bottomRight()) * 2)
    if not is_pointed:
        scroll.activateWindow()
        button.setFocus()
    qtbot.waitUntil(lambda: button.underMouse() if is_pointed else button.hasFocus())
    assert scroll.verticalScrollBar().value() == 0
    for shown in (LONG, 2 * LONG, "", 5 * LONG, "One line."):
        text.setText(shown)
        text.setVisible(bool(shown))
        assert find_place(button) == before, shown
    text.hide()
    assert find_place(button) == before
    scroll.verticalScrollBar().valueChanged.emit(0)  # as when the user scrolls
    assert find_place(button).y() < before.y(), "no room is kept"


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
    connections.end()


def test_an_error_at_the_end_is_logged_and_the_other_functions_are_called(qtbot, caplog):
    window, calls = QWidget(), []
    sender = QPushButton()
    qtbot.addWidget(sender)
    connections = Connections(window)
    connections.at_end(partial(int, "the disk is full"))
    connections.connect(sender.clicked, lambda: calls.append("clicked"))
    connections.at_end(lambda: calls.append("end"))
    window.deleteLater()
    qtbot.waitUntil(lambda: not isalive(window))
    sender.click()
    assert calls == ["end"]
    assert "the disk is full" in caplog.text


@pytest.mark.parametrize("deleted", ["owner", "sender", ""])
def test_slots_are_not_called_after_the_end_and_a_deleted_sender_does_no_harm(qtbot, deleted):
    widgets, calls = {"owner": QWidget(), "sender": QPushButton()}, []
    connections = Connections(widgets["owner"])
    connections.connect(widgets["sender"].clicked, lambda: calls.append("clicked"))
    if deleted:
        widgets[deleted].deleteLater()
        qtbot.waitUntil(lambda: not isalive(widgets[deleted]))
    connections.end()
    if deleted != "sender":
        widgets["sender"].click()
    assert calls == []


def test_slots_of_a_layer_that_is_gone_are_released():
    class Watcher:
        def on_event(self, event):
            """Do nothing."""

    watcher, emitter, connections = Watcher(), EventEmitter(type_name="paint"), Connections()
    connections.connect(emitter, watcher.on_event)
    connections.connect_first(emitter, watcher.on_event)
    reference = weakref.ref(watcher)
    del watcher
    assert reference() is not None
    del emitter
    gc.collect()
    assert reference() is None
    connections.end()


def test_a_hidden_button_hands_the_focus_to_its_page(qtbot, home):
    page, pressed = QWidget(), []
    layout = QVBoxLayout(page)
    for name in ("Restore", "Save"):
        layout.addWidget(QPushButton(name))
    restore, save = page.findChildren(QPushButton)
    save.clicked.connect(lambda: pressed.append(True))
    qtbot.addWidget(page)
    page.show()
    page.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is page)
    restore.setFocus()
    set_shown(restore, shown=False)
    assert QApplication.focusWidget() is page
    QTest.keyClick(page.windowHandle(), Qt.Key.Key_Space)
    assert pressed == []


@pytest.mark.both_qts
def test_the_tab_key_follows_the_layout_also_to_controls_that_are_added_later(qtbot):
    page = QWidget()
    holders = [column(), column()]
    buttons = {name: named(QPushButton(name), name, name) for name in ("top", "middle", "bottom")}
    fill_column(page, buttons["top"], holders[0], buttons["middle"], holders[1], buttons["bottom"])
    area = scroll_area(page, "page")
    qtbot.addWidget(area)
    area.show()
    late, table = named(QSpinBox(), "late", "Late"), named(QTableWidget(2, 2), "table", "Table")
    for holder, widget in zip(holders, (late, table), strict=True):
        holder.layout().addWidget(widget)
        widget.show()
    area.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is area)
    buttons["top"].setFocus()
    qtbot.waitUntil(buttons["top"].hasFocus)
    names = []
    for _ in range(5):
        names.append(QApplication.focusWidget().objectName())
        qtbot.keyClick(QApplication.focusWidget(), Qt.Key.Key_Tab)
    assert names == ["top", "late", "middle", "table", "bottom"]


def test_a_long_link_is_elided_in_its_middle(qtbot):
    label = WrappedLabel(lines=2)
    qtbot.addWidget(label)
    label.resize(300, 40)
    name, undo = f"a-{'very-' * 30}long-folder", "<a href='undo'>Undo</a>"
    link = f"<a href='/{name}'>{name}</a>"
    for text in (f"Saved to {link}. {undo}", f"{'Many words come first. ' * 10}Saved to {link}. {undo}"):
        label.setText(text)
        shown = QLabel.text(label)
        assert undo in shown
        assert f"<a href='/{name}'>a-" in shown
        assert f">{name}<" not in shown
        assert QLabel.heightForWidth(label, 300) <= label.height()
        assert (label.text(), label.toolTip()) == (text, text)
    label.setText(f"Saved. {undo}")
    assert (QLabel.text(label), label.toolTip()) == (f"Saved. {undo}", "")
