"""The reading mode: the slide fills the window, and everything is as before afterwards."""

from __future__ import annotations

import pytest
from fake_slides import draw_slide
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QDockWidget, QLabel, QLineEdit
from slide_stage import FIXTURES
from superqt import QCollapsible

from napari_melanoma.ui.slide import reading_mode
from napari_melanoma.ui.slide.side_by_side import NARROW_PX, WIDEN_MS
from napari_melanoma.ui.slide.view_history import SETTLE_MS
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.view_memory import is_fitted, show_photograph

user, launched, slide_path, person, analysed = map(pytest.fixture, FIXTURES)
LEFT, NONE = Qt.MouseButton.LeftButton, Qt.KeyboardModifier.NoModifier


@pytest.fixture
def reader(person, slide_path):
    """A user who sees a slide in a window of 1366 pixels, with the keyboard focus on the canvas."""
    person.opens_slides(slide_path)
    person.window = person.viewer.window._qt_window
    size = person.window.size()
    focus_canvas(person, 1366)
    yield person
    person.dock.reading_mode.leave()
    person.window.showNormal()
    person.window.resize(size)
    person.qtbot.wait(50)
    del person.window  # otherwise kept until the viewer of all tests is closed


def focus_canvas(person, width):
    person.window.resize(width, 768)
    person.canvas = find_canvas(person.window)
    person.window.activateWindow()
    person.canvas.setFocus()
    person.until(lambda: QApplication.activeWindow() is person.window and person.canvas.hasFocus())
    person.qtbot.wait(50)


def press(person, key):
    QTest.keyClick(person.canvas, key)
    person.qtbot.wait(50)


def is_on(person):
    mode = person.dock.reading_mode.mode
    return mode is not None and mode.is_on


def opens_tab(person, label):
    QTest.mouseClick(person.dock.reading_mode.mode.tabs.buttons[label], LEFT)
    person.qtbot.wait(50)


def clicks_bar(person, name):
    QTest.mouseClick(person.dock.reading_mode.mode.toolbar.findChild(QAbstractButton, name), LEFT)
    person.qtbot.wait(50)


def describe(person):
    """Describe layout, sections and focus of the window."""
    dock, window = person.dock, person.window
    frames = sorted(window.findChildren(QDockWidget), key=lambda frame: frame.objectName())
    return {
        "state": bytes(window.saveState()),
        "full screen": window.isFullScreen(),
        "docks": [(one.objectName(), one.isHidden(), not one.visibleRegion().isEmpty()) for one in frames],
        "shown at": [one.geometry().getRect() for one in frames if not one.visibleRegion().isEmpty()],
        "sections": {one.objectName(): (one.isExpanded(), one.isHidden()) for one in dock.findChildren(QCollapsible)},
        "order": [[group.layout().indexOf(one) for one in parts] for group, parts in grouped(dock)],
        "settings": {key: dock.settings.is_section_open(key, False) for key in section_names(dock)},
        "focus": QApplication.focusWidget(),
        "width": (dock.minimumWidth(), dock.maximumWidth(), dock.parentWidget().titleBarWidget().height()),
    }


def grouped(dock):
    return zip(dock._groups, dock._grouped_widgets, strict=True)


def section_names(dock):
    return [one.objectName() for one in dock.findChildren(QCollapsible)]


@pytest.mark.parametrize("width", [1100, 1366, 2560])
def test_the_slide_gets_the_width_of_the_window(reader, width):
    focus_canvas(reader, width)
    before = describe(reader)
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    assert reader.window.width() == width
    assert reader.canvas.width() >= width - 150
    assert is_fitted(reader.viewer, tuple(reader.dock.slide.layers))
    for label in reader.dock.reading_mode.mode.tabs.buttons:
        opens_tab(reader, label)
        assert reader.window.width() == width, label
        assert reader.canvas.width() >= 800, label
        assert reader.dock.body.width() >= 340, label
        assert reader.dock.body.isVisible(), label
    opens_tab(reader, label)
    assert reader.canvas.width() >= width - 150
    assert not reader.dock.body.isVisible()
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    assert describe(reader) == before


def test_an_open_tab_follows_the_width_of_the_window(reader):
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Depth")
    assert reader.dock.isAncestorOf(reader.dock.body)
    for width in (1100, 1366, 1050):
        reader.window.resize(width, 768)
        reader.until(lambda width=width: reader.dock.isAncestorOf(reader.dock.body) == (width == 1366))
        body = reader.dock.body
        right = body.mapTo(reader.window, QPoint(body.width(), 0)).x()
        assert right <= reader.dock.mapTo(reader.window, QPoint(reader.dock.width(), 0)).x()
        assert body.isVisible()


@pytest.mark.parametrize("how", ["key", "escape", "button", "twice"])
@pytest.mark.parametrize("front", ["Slide", "Case"])
def test_everything_is_as_before_with_another_dock_in_tabs(reader, how, front):
    for name in ("Case", "Slide", front):
        show_dock(reader.viewer, name)
    focus_canvas(reader, 1366)
    before = describe(reader)
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    visible = [one.windowTitle() for one in reader.window.findChildren(QDockWidget) if one.isVisible()]
    assert visible == ["Slide"]
    opens_tab(reader, "Synoptic")
    if how == "twice":
        reader.dock.reading_mode.mode.enter()
        assert is_on(reader)
    if how == "button":
        clicks_bar(reader, "reading_leave")
    else:
        reader.canvas.setFocus()
        press(reader, Qt.Key.Key_Escape if how == "escape" else Qt.Key.Key_F8)
    assert not is_on(reader)
    assert describe(reader) == before


def test_the_focus_returns_to_a_field_of_the_dock(reader):
    field = reader.finds(QLineEdit, "go_to")
    field.setFocus()
    QTest.keyClick(field, Qt.Key.Key_F8)
    assert reader.canvas.hasFocus()
    opens_tab(reader, "Overview")
    press(reader, Qt.Key.Key_F8)
    reader.until(field.hasFocus)


@pytest.mark.parametrize(
    ("kind", "part"), [(reading_mode.ReadingToolbar, "add_to"), (reading_mode.SectionTabs, "start")]
)
def test_after_an_error_the_window_is_as_before(reader, monkeypatch, kind, part):
    before = describe(reader)

    def fail(*_):
        raise RuntimeError("broken")

    with monkeypatch.context() as patch:
        patch.setattr(kind, part, fail)
        with pytest.raises(RuntimeError, match="broken"):
            reader.dock.reading_mode.toggle()
    reader.qtbot.wait(50)
    assert not is_on(reader)
    assert describe(reader) == before
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)


@pytest.mark.both_qts
def test_closing_the_slide_leaves_the_mode(reader):
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Regions")
    reader.dock.close_slide()
    reader.waits()
    reader.qtbot.wait(50)
    assert not is_on(reader)
    assert reader.dock.welcome.isVisible()
    assert visible_docks(reader) >= {"layer list", "layer controls", "Slide"}
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    assert "Open one first" in reader.dock.status.text


def visible_docks(person):
    return {one.windowTitle() for one in person.window.findChildren(QDockWidget) if one.isVisible()}


@pytest.mark.both_qts
def test_closing_the_dock_leaves_the_mode(reader):
    frame = reader.dock.parentWidget()
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Depth")
    frame.hide()  # as napari's menu does
    reader.qtbot.wait(50)
    assert not is_on(reader)
    assert visible_docks(reader) == {"layer list", "layer controls"}
    frame.show()
    reader.until(reader.dock.content_scroll.isVisible)
    assert frame.width() >= 340


def test_removing_the_dock_restores_the_others(reader):
    press(reader, Qt.Key.Key_F8)
    reader.viewer.window.remove_dock_widget(reader.dock)
    reader.qtbot.wait(50)
    assert visible_docks(reader) == {"layer list", "layer controls"}


@pytest.mark.parametrize("is_open", [True, False])
def test_opening_another_dock_leaves_the_mode(reader, is_open):
    if is_open:
        show_dock(reader.viewer, "Case")
        show_dock(reader.viewer, "Slide")
        focus_canvas(reader, 1366)
    press(reader, Qt.Key.Key_F8)
    case = show_dock(reader.viewer, "Case").parentWidget()
    reader.qtbot.wait(50)
    assert not is_on(reader)
    assert not case.visibleRegion().isEmpty()
    assert reader.window.tabifiedDockWidgets(case) == [reader.dock.parentWidget()]
    assert visible_docks(reader) >= {"layer list", "layer controls"}


@pytest.mark.both_qts
def test_a_floating_dock_floats_again(reader):
    frame = reader.dock.parentWidget()
    frame.setFloating(True)
    reader.qtbot.wait(50)
    reader.clicks("reading_mode")
    reader.qtbot.wait(50)
    assert is_on(reader)
    assert not frame.isFloating()
    press(reader, Qt.Key.Key_F8)
    assert frame.isFloating()
    frame.setFloating(False)


@pytest.mark.own_viewer  # the second view stays connected to napari's settings
@pytest.mark.parametrize("when", ["before", "during"])
def test_the_second_view_stays(reader, tmp_path, when):
    reader.opens_slides(draw_slide(tmp_path / "second.tif", tint=20))
    focus_canvas(reader, 1700)
    if when == "during":
        press(reader, Qt.Key.Key_F8)
        opens_tab(reader, "Side by side")
    else:
        reader.dock.side_by_side_section.expand(animate=False)
    reader.window.findChild(QAbstractButton, "beside_show").click()
    reader.qtbot.wait(300)
    if when == "before":
        press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    assert visible_docks(reader) == {"Second slide", "Slide"}
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    reader.qtbot.wait(300)
    assert visible_docks(reader) == {"layer list", "layer controls", "Second slide", "Slide"}
    [second] = [one for one in reader.window.findChildren(QDockWidget) if one.windowTitle() == "Second slide"]
    own = reader.dock.parentWidget()
    assert second.height() == own.height() > 0.8 * reader.window.height()
    assert reader.window.centralWidget().geometry().right() < second.x() < own.x()
    reader.dock.findChild(QAbstractButton, "beside_show").click()
    reader.qtbot.wait(300)


@pytest.mark.own_viewer  # the second view stays connected to napari's settings
def test_the_widths_of_two_views_stay_if_the_mode_is_refused(reader, tmp_path, monkeypatch):
    reader.opens_slides(draw_slide(tmp_path / "second.tif", tint=20))
    focus_canvas(reader, 1100)
    reader.dock.side_by_side_section.expand(animate=False)
    show = reader.dock.findChild(QAbstractButton, "beside_show")
    show.click()
    reader.until(lambda: "pixels wide" in reader.dock.status.text)
    reader.qtbot.wait(200)  # until Qt has laid out the views
    second = frames(reader)["Second slide"]
    reader.window.resizeDocks([second], [second.width() - 60], Qt.Orientation.Horizontal)
    reader.qtbot.wait(100)
    width = second.width()
    for layer in reader.dock.slide.layers:
        layer.visible = False
    reader.dock.reading_mode.toggle()
    reader.qtbot.wait(2 * WIDEN_MS)
    assert not is_on(reader)
    assert reader.dock.status.text == reading_mode.NOT_SHOWN
    assert second.width() == width
    reader.dock.status.begin("finding", "Detecting tissue ...")
    reader.dock.sections.side_by_side.widen_views()
    reader.qtbot.wait(2 * WIDEN_MS)
    assert reader.dock.status.text == "Detecting tissue ..."
    reader.dock.status.end("finding", "")
    width = second.width()
    with monkeypatch.context() as patch:
        patch.setattr(QDockWidget, "isFloating", lambda self: True)
        reader.dock.sections.side_by_side.widen_views()
        reader.qtbot.wait(2 * WIDEN_MS)
    assert (reader.dock.status.text, second.width()) == ("", width)
    show.click()
    reader.qtbot.wait(300)


@pytest.mark.own_viewer  # the second view stays connected to napari's settings
@pytest.mark.parametrize("enter", ["link", "key"])
def test_narrow_views_are_offered_the_width_of_the_window(reader, tmp_path, enter):
    reader.opens_slides(draw_slide(tmp_path / "second.tif", tint=20))
    focus_canvas(reader, 1100)
    reader.dock.side_by_side_section.expand(animate=False)
    show = reader.dock.findChild(QAbstractButton, "beside_show")
    show.click()
    reader.until(lambda: "pixels wide" in reader.dock.status.text)
    reader.qtbot.wait(200)  # until Qt has laid out the views
    before = {name: frame.width() for name, frame in frames(reader).items()}
    assert before["Second slide"] < NARROW_PX
    assert not is_on(reader)
    if enter == "link":
        reader.dock.findChild(QLabel, "status").linkActivated.emit("reading")
    else:
        press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    assert reader.dock.status.text == ""
    reader.until(lambda: abs(frames(reader)["Second slide"].width() - reader.window.centralWidget().width()) < 10)
    assert reader.window.centralWidget().width() > NARROW_PX
    press(reader, Qt.Key.Key_F8)
    reader.until(lambda: {name: frame.width() for name, frame in frames(reader).items()} == before)
    show.click()
    reader.qtbot.wait(300)
    focus_canvas(reader, 1600)
    show.click()
    reader.qtbot.wait(300)
    assert reader.dock.status.text == ""
    show.click()
    reader.qtbot.wait(300)


def frames(reader):
    return {one.windowTitle(): one for one in reader.window.findChildren(QDockWidget) if one.isVisible()}


def test_closing_the_window_stores_the_usual_layout(reader):
    before = describe(reader)["state"]
    press(reader, Qt.Key.Key_F8)
    assert not reader.dock.reading_mode.mode.eventFilter(reader.window, QCloseEvent())
    reader.qtbot.wait(50)
    assert describe(reader)["state"] == before


@pytest.mark.both_qts
def test_full_screen_ends_with_the_mode(reader):
    press(reader, Qt.Key.Key_F8)
    clicks_bar(reader, "reading_full_screen")
    reader.until(reader.window.isFullScreen)
    clicks_bar(reader, "reading_full_screen")
    reader.until(lambda: not reader.window.isFullScreen())
    clicks_bar(reader, "reading_full_screen")
    reader.canvas.setFocus()
    press(reader, Qt.Key.Key_Escape)
    reader.until(lambda: not reader.window.isFullScreen())
    assert not is_on(reader)


def test_escape_ends_drawing_first(reader):
    press(reader, Qt.Key.Key_F8)
    layer = reader.viewer.add_shapes(ndim=2, scale=reader.dock.slide.pixel_um, units=("um", "um"))
    layer.mode = "add_polygon"
    press(reader, Qt.Key.Key_Escape)
    assert is_on(reader)
    reader.viewer.layers.selection.active = reader.dock.slide.layers[0]
    press(reader, Qt.Key.Key_Escape)
    assert not is_on(reader)
    press(reader, Qt.Key.Key_Escape)
    assert not is_on(reader)


def test_a_tab_shows_its_section_and_closes_by_its_title(reader):
    press(reader, Qt.Key.Key_F8)
    tabs, section = reader.dock.reading_mode.mode.tabs, reader.dock.regions_section
    assert not section.isExpanded()
    clicks_bar(reader, "reading_regions")
    assert section.isExpanded()
    assert section.isVisible()
    assert tabs.buttons["Regions"].isChecked()
    section.toggleButton().click()
    reader.qtbot.wait(200)
    assert not tabs.buttons["Regions"].isChecked()
    assert not reader.dock.body.isVisible()
    opens_tab(reader, "Analysis")
    assert reader.dock.analyze_button.isVisible()
    assert reader.dock.save_button.isVisible()


@pytest.mark.both_qts
def test_the_toolbar_acts_on_the_view(reader, tmp_path):
    press(reader, Qt.Key.Key_F8)
    mode, dock = reader.dock.reading_mode.mode, reader.dock
    clicks_bar(reader, "magnify_10")
    assert get_camera(reader.viewer).zoom == pytest.approx(1)
    assert reader.canvas.hasFocus()
    clicks_bar(reader, "actual_pixels")
    assert get_camera(reader.viewer).zoom == pytest.approx(2)
    clicks_bar(reader, "reading_bookmark")
    assert len(dock.navigation.bookmarks) == 1
    reader.qtbot.wait(2 * SETTLE_MS)
    clicks_bar(reader, "reading_fit")
    assert is_fitted(reader.viewer, tuple(dock.slide.layers))
    reader.qtbot.wait(2 * SETTLE_MS)
    clicks_bar(reader, "view_back")
    assert get_camera(reader.viewer).zoom == pytest.approx(2)
    clicks_bar(reader, "reading_ruler")
    assert str(reader.viewer.layers.selection.active.mode) == "add_line"
    clicks_bar(reader, "reading_ruler")
    assert str(reader.viewer.layers.selection.active.mode) == "pan_zoom"
    press(reader, Qt.Key.Key_5)
    assert "scanned at 20x only" in mode.toolbar.message_label.text()
    reader.opens_slides(draw_slide(tmp_path / "second.tif", tint=20))
    assert is_on(reader)
    assert mode.toolbar.slide_combo.currentText() == "second.tif"
    mode.toolbar.slide_combo.activated.emit(0)
    assert dock.slide.info.path.name == "section.tif"
    assert mode.toolbar.slide_combo.currentText() == "section.tif"


def test_toolbar_and_tabs_follow_the_theme(reader):
    press(reader, Qt.Key.Key_F8)
    focus_canvas(reader, 1100)
    opens_tab(reader, "Depth")
    reader.viewer.theme = "light"
    try:
        assert reader.dock.reading_mode.mode.toolbar.styleSheet() == reader.dock.styleSheet()
        assert reader.dock.body.styleSheet() == reader.dock.styleSheet()
    finally:
        reader.viewer.theme = "dark"


def test_what_is_running_can_be_canceled_from_the_toolbar(reader, launched, monkeypatch):
    canceled = []
    monkeypatch.setattr(reader.dock.opener, "cancel", lambda: canceled.append("opening"))
    press(reader, Qt.Key.Key_F8)
    button = reader.dock.reading_mode.mode.toolbar.cancel_button
    assert not button.isVisible()
    reader.dock.status.begin("storing", "Storing ...")
    assert not button.isVisible()
    reader.dock.status.end("storing")
    reader.dock.status.begin("opening", "Opening ...")
    reader.until(button.isVisible)
    clicks_bar(reader, "reading_cancel")
    assert canceled == ["opening"]
    reader.dock.status.end("opening")
    reader.until(lambda: not button.isVisible())
    launched.fingerprint = reader.dock.slide.info.fingerprint
    reader.analyses()
    reader.until(button.isVisible)
    assert not reader.dock.body.isVisible()
    clicks_bar(reader, "reading_cancel")
    reader.until(lambda: launched.last.place.read_command() == "cancel")
    assert not button.isVisible()
    launched.last.place.append_final_event("cancelled")
    launched.last.dies()
    reader.until(lambda: not reader.dock.run_panel.active)
    reader.waits()


def test_a_link_in_a_message_works_in_the_toolbar(reader, monkeypatch):
    opened = []
    monkeypatch.setattr("napari_melanoma.ui.slide.dock.QDesktopServices.openUrl", lambda url: opened.append(url))
    press(reader, Qt.Key.Key_F8)
    label = reader.dock.reading_mode.mode.toolbar.message_label
    link = reader.dock.icons.link("file:///a/folder/of/the/report.html", "report.html")
    reader.dock.status.show_message(f"Saved: {link}.")
    assert QLabel.text(label) == f"Saved: {link}."  # no tag is cut
    reader.qtbot.wait(50)
    at = QPoint(label.fontMetrics().horizontalAdvance("Saved: rep"), label.height() // 2)
    assert at.x() < label.width()
    QTest.mouseClick(label, LEFT, pos=at)
    assert [url.fileName() for url in opened] == ["report.html"]
    reader.dock.status.show_message(f"Saved: {link}. " + "Other parts are missing. " * 20)
    reader.qtbot.wait(50)
    assert label.width() < reader.window.width() == 1366
    assert reader.dock.reading_mode.mode.toolbar.leave_button.isVisible()
    reader.dock.status.show_message("A message without tags, " + "which is long, " * 20)
    assert QLabel.text(label).endswith("…")


def test_setting_the_scale_is_visible(reader):
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Depth")
    reader.dock.sections.depth.scale_requested.emit()
    reader.qtbot.wait(50)
    assert reader.dock.scale_panel.isVisible()
    assert reader.dock.reading_mode.mode.tabs.buttons["Slide"].isChecked()


def test_a_maximized_window_stays_so_after_full_screen(reader):
    maximized = Qt.WindowState.WindowMaximized
    reader.window.setWindowState(maximized)
    reader.qtbot.wait(100)
    press(reader, Qt.Key.Key_F8)
    for is_full in (True, False):
        clicks_bar(reader, "reading_full_screen")
        reader.until(lambda is_full=is_full: reader.window.isFullScreen() == is_full)
        assert reader.window.windowState() & maximized


def test_the_button_follows_full_screen(reader):
    press(reader, Qt.Key.Key_F8)
    button = reader.dock.reading_mode.mode.toolbar.full_screen_button
    reader.window.showFullScreen()
    reader.until(button.isChecked)
    reader.window.showNormal()
    reader.until(lambda: not button.isChecked())


def test_escape_leaves_the_mode_while_a_photograph_is_shown(reader):
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    photograph = reader.opens()
    show_photograph(reader.viewer, photograph)
    assert not reader.dock.slide.is_shown
    press(reader, Qt.Key.Key_1)
    assert reader.viewer.layers.selection.active is photograph
    assert is_on(reader)
    press(reader, Qt.Key.Key_Escape)
    assert not is_on(reader)
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    assert "Select one in the list of slides" in reader.dock.status.text
    reader.dock.picker.select_slide(reader.dock.slide.identity)
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)


@pytest.mark.parametrize("when", ["new", "closed before"])
def test_opening_the_dock_of_another_plugin_leaves_the_mode(reader, when):
    window = reader.viewer.window
    frame = None if when == "new" else window.add_dock_widget(QLabel("content"), name="Other")
    if frame is not None:
        frame.hide()
        focus_canvas(reader, 1366)
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    if frame is None:
        frame = window.add_dock_widget(QLabel("content"), name="Other")
    else:
        frame.show()
    reader.until(lambda: not is_on(reader))
    reader.qtbot.wait(50)
    assert visible_docks(reader) == {"layer list", "layer controls", "Slide", "Other"}
    assert not frame.visibleRegion().isEmpty()
    assert reader.dock.width() >= 340
    window.remove_dock_widget(frame)
