"""The texts of the docks are readable in both themes."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from napari._qt.qt_resources import get_stylesheet
from napari.utils.theme import get_theme
from qtpy.QtCore import QPoint, QRect
from qtpy.QtGui import QColor
from qtpy.QtWidgets import (
    QApplication,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QPlainTextEdit,
    QPushButton,
    QSpinBox,
    QTextBrowser,
    QWidget,
)
from stage import Stage

from napari_melanoma.depth.synoptic import SynopticAnswer, SynopticReport
from napari_melanoma.extensions.synoptic.ui.form import ReportForm
from napari_melanoma.ui.widgets.model_picker import show_model_card
from napari_melanoma.ui.widgets.style import PRIMARY, PRIMARY_HOVER, WrappedLabel, named, quiet_label, tool_button
from napari_melanoma.ui.widgets.thumbnails import SELECTED_ALPHA

READABLE = 4.5  # contrast of small letters, WCAG 2.1, success criterion 1.4.3
VISIBLE = 3.0  # contrast of controls and of their focus, success criterion 1.4.11
CONTROLS = {
    "button": lambda: QPushButton("Measure"),
    "primary": lambda: named(QPushButton("Analyze"), "primary", "Analyze"),
    "title": lambda: named(QPushButton("Depth"), "sectionTitle", "Depth"),
    "tool": lambda: tool_button("undo", "Undo", "Undo", "undo"),
    "list": lambda: QComboBox(),
    "number list": lambda: QComboBox(editable=True),
    "line": lambda: QLineEdit("2.5"),
    "number": lambda: QSpinBox(),
    "text": lambda: QPlainTextEdit("notes"),
    "check": lambda: QCheckBox("blind"),
}


def luminance(color: QColor) -> float:
    """Relative luminance of a color, as WCAG 2.1 defines it."""
    shares = (color.redF(), color.greenF(), color.blueF())
    linear = [share / 12.92 if share <= 0.04045 else ((share + 0.055) / 1.055) ** 2.4 for share in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: QColor, second: QColor) -> float:
    dark, light = sorted((luminance(first), luminance(second)))
    return (light + 0.05) / (dark + 0.05)


def link_colors(text: str) -> list[QColor]:
    return [QColor(color) for color in re.findall(r"(?<![-\w])color: ?(#[0-9a-f]{6})", text)]


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_links_are_readable_on_docks_and_notices_also_after_a_change_of_the_theme(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = "light" if theme == "dark" else "dark"
    label = WrappedLabel(f"Saved to {stage.icons.link('folder', 'folder')}.")
    stage.show(label)
    stage.viewer.theme = theme
    grounds = stage.icons.palette.background, get_theme(theme).foreground.as_hex()  # the latter of notices
    (color,) = link_colors(label.text())
    for ground in map(QColor, grounds):
        assert contrast(color, ground) >= READABLE
        assert contrast(QColor(stage.icons.palette.faint), ground) >= READABLE
    dialog = show_model_card(stage.page, "small", "See [the page](https://example.org).", stage.icons.palette.link)
    qtbot.addWidget(dialog)
    (color,) = link_colors(dialog.findChild(QTextBrowser).toHtml())
    assert contrast(color, QColor(stage.icons.palette.background)) >= READABLE
    stage.close()


@pytest.mark.both_qts
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_error_and_secondary_texts_are_readable(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    fault = QLabel("a mask is missing")
    fault.setProperty("fault", True)
    for label in (fault, quiet_label("no run yet")):
        stage.show(label)
        label.ensurePolished()
        color = label.palette().color(label.foregroundRole())
        assert contrast(color, QColor(stage.icons.palette.background)) >= READABLE, label.text()
    stage.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_titles_are_readable_whether_their_sections_are_open_or_not(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    title = CONTROLS["title"]()
    title.setCheckable(True)
    stage.show(title)
    for is_open in (True, False):
        title.setChecked(is_open)
        color = title.grab().toImage().pixelColor  # a style sheet does not change the palette of a button
        around = color(title.width() - 1, title.height() - 1)
        shown = {color(x, y).name() for x in range(title.width()) for y in range(title.height())}
        text = max(map(QColor, shown), key=lambda one: contrast(one, around))
        assert contrast(text, QColor(stage.icons.palette.background)) >= READABLE
    stage.close()


@pytest.mark.both_qts
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_focus_is_visible_in_each_control_and_changes_no_size(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    controls = {name: stage.show(create()) for name, create in CONTROLS.items()}
    other = stage.show(QLineEdit())
    stage.page.setStyleSheet(get_stylesheet(theme) + stage.page.styleSheet())  # as in napari's window
    stage.scroll.activateWindow()
    qtbot.waitUntil(lambda: QApplication.activeWindow() is stage.scroll)
    frame = QColor(stage.icons.palette.link)
    assert contrast(frame, QColor(stage.icons.palette.background)) >= VISIBLE

    def count_frame_pixels(control):
        image = control.grab().toImage()
        pixels = ((x, y) for x in range(image.width()) for y in range(image.height()))
        return sum(image.pixelColor(x, y).rgb() == frame.rgb() for x, y in pixels)

    del controls["primary"]  # it has a frame of its own, below
    for name, control in controls.items():
        other.setFocus()
        before, size = count_frame_pixels(control), control.sizeHint()
        control.setFocus()
        assert count_frame_pixels(control) > before + 20, name
        control.ensurePolished()
        assert control.sizeHint() == size, name
    stage.close()


def grab_colors(widget, margin=6):
    """Count the colors of a widget, without its border and arrow."""
    image = widget.grab().toImage()
    size = range(margin, image.width() - 40), range(margin, image.height() - margin)
    return Counter(image.pixelColor(x, y).rgb() for x in size[0] for y in size[1])


@pytest.mark.both_qts
@pytest.mark.parametrize("theme", ["dark", "light"])
def test_placeholders_and_suggested_values_are_readable(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    line, area, combo, empty = QLineEdit(), QPlainTextEdit(), QComboBox(), QComboBox(editable=True)
    for control in (line, area, combo, empty.lineEdit()):
        control.setPlaceholderText("MWMWMW unknown")
    suggested = QWidget()
    suggested.setProperty("suggested", True)
    value = QLineEdit("MWMWMW 0.8", suggested)
    for control in (line, area, combo, empty, suggested):
        stage.show(control)
    stage.page.setStyleSheet(get_stylesheet(theme) + stage.page.styleSheet())  # as in napari's window
    for control in (line, area, combo, empty, value):
        qtbot.waitUntil(lambda control=control: control.isVisible() and control.width() > 60)
        colors = grab_colors(control)
        ground = QColor(colors.most_common(1)[0][0])
        assert max(contrast(QColor(color), ground) for color in colors) >= READABLE, control
    stage.close()


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_the_focus_of_a_blue_button_is_visible_on_it(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    for button in (CONTROLS["primary"](), tool_button("click", "Click", text="Click", checkable=True)):
        stage.show(button)
        if button.isCheckable():
            button.setChecked(True)
        stage.page.setStyleSheet(get_stylesheet(theme) + stage.page.styleSheet())  # as in napari's window
        stage.scroll.activateWindow()
        button.setFocus()
        qtbot.waitUntil(button.hasFocus)
        image = button.grab().toImage()
        frame, inside = QColor(image.pixelColor(image.width() // 2, 0)), QColor(image.pixelColor(6, 6))
        assert inside == QColor(PRIMARY)
        assert contrast(frame, inside) >= VISIBLE
        assert contrast(frame, QColor(stage.icons.palette.background)) >= VISIBLE
    stage.close()


def test_white_text_is_readable_on_blue_buttons_and_selected_rows():
    white, faint = QColor("white"), QColor("white")
    assert min(contrast(white, QColor(color)) for color in (PRIMARY, PRIMARY_HOVER)) >= READABLE
    faint.setAlphaF(SELECTED_ALPHA)
    mixed = [
        round(a * SELECTED_ALPHA + b * (1 - SELECTED_ALPHA))
        for a, b in zip(faint.getRgb(), QColor(PRIMARY).getRgb(), strict=True)
    ]
    assert contrast(QColor(*mixed[:3]), QColor(PRIMARY)) >= READABLE


@pytest.mark.parametrize("theme", ["dark", "light"])
def test_values_of_a_signed_report_are_readable(theme, qtbot):
    stage = Stage(qtbot)
    stage.viewer.theme = theme
    form = stage.show(ReportForm())
    stage.page.setStyleSheet(get_stylesheet(theme) + stage.page.styleSheet())  # as in napari's window
    values = {"breslow": 0.57, "ulceration": "not_identified", "comment": "a scar"}
    answers = {name: SynopticAnswer(value=value) for name, value in values.items()}
    form.show_report(
        SynopticReport(answers=answers).sign("A. Reader", "2026-01-02T10:00:00+00:00"),
        "A. Reader",
        (),
        is_editable=True,
    )
    stage.page.resize(400, 1600)  # what is beyond the page is not drawn
    for name in values:
        control = form.findings.editors[name].control
        assert not control.isEnabled()
        qtbot.waitUntil(lambda control=control: control.width() > 60)  # laid out
        image = stage.page.grab(QRect(control.mapTo(stage.page, QPoint()), control.size())).toImage()
        size = range(6, image.width() - 40), range(6, image.height() - 6)  # without its border and arrow
        colors = Counter(image.pixelColor(x, y).rgb() for x in size[0] for y in size[1])
        ground = QColor(colors.most_common(1)[0][0])
        assert max(contrast(QColor(color), ground) for color in colors) >= READABLE, name
    stage.close()
