"""The reading mode: the slide fills the window, and everything is as before afterwards."""

from __future__ import annotations

import pytest
from fake_slides import FakeAnalysis, draw_slide
from qtpy.QtCore import QPoint, Qt
from qtpy.QtGui import QCloseEvent
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QAbstractButton, QApplication, QDockWidget, QLabel, QLineEdit
from slide_fixtures import FIXTURES
from steady import list_message_states, list_moved_controls

from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.sections.overview.picture import Overview
from napari_melanoma.ui.sections.side_by_side.second_view import NARROW_PX, WIDEN_MS
from napari_melanoma.ui.session.navigation import SETTLE_MS
from napari_melanoma.ui.slide import reading_mode
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera, get_visible_region
from napari_melanoma.ui.viewer.docking import show_dock
from napari_melanoma.ui.viewer.view_memory import is_fitted, show_photograph
from napari_melanoma.ui.widgets.style import CollapsibleSection, section_title

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
        "sections": {one.objectName(): (one.is_expanded, one.isHidden()) for one in list_sections(dock)},
        "order": [[group.layout().indexOf(one) for one in parts] for group, parts in grouped(dock)],
        "settings": {key: dock.settings.is_section_open(key, False) for key in section_names(dock)},
        "focus": QApplication.focusWidget(),
        "width": (dock.minimumWidth(), dock.maximumWidth(), dock.parentWidget().titleBarWidget().height()),
    }


def grouped(dock):
    return zip(dock._groups, dock._grouped_widgets, strict=True)


def section_names(dock):
    return [one.objectName() for one in list_sections(dock)]


def list_sections(dock):
    """List the sections of a dock, without those within a section, which are created when it is expanded."""
    frames = dock.findChildren(CollapsibleSection)
    return [one for one in frames if not any(other.isAncestorOf(one) for other in frames)]


def test_the_slide_gets_the_width_of_the_window(reader):
    dock, labels = reader.dock, None
    reader.until(lambda: bool(dock.sections.hosted.sections))  # found in the background
    for width in (1366, 1100):
        focus_canvas(reader, width)
        before = describe(reader)
        press(reader, Qt.Key.Key_F8)
        assert is_on(reader)
        assert reader.window.width() == width
        assert reader.canvas.width() >= width - 150
        assert is_fitted(reader.viewer, tuple(dock.slide.layers))
        labels = list(dock.reading_mode.mode.tabs.buttons)
        for label in labels if width == 1100 else (labels[0], labels[-1]):
            opens_tab(reader, label)
            assert reader.window.width() == width, label
            assert reader.canvas.width() >= 800, label
            assert dock.body.width() >= 340, label
            assert dock.body.isVisible(), label
        opens_tab(reader, label)
        assert reader.canvas.width() >= width - 150
        assert not dock.body.isVisible()
        press(reader, Qt.Key.Key_F8)
        assert not is_on(reader)
        assert describe(reader) == before

    # An open tab moves over the image while the window is narrow.
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Depth")
    assert not dock.isAncestorOf(dock.body)
    for width in (1366, 1050):
        reader.window.resize(width, 768)
        reader.until(lambda width=width: dock.isAncestorOf(dock.body) == (width == 1366))
        right = dock.body.mapTo(reader.window, QPoint(dock.body.width(), 0)).x()
        assert right <= dock.mapTo(reader.window, QPoint(dock.width(), 0)).x()
        assert dock.body.isVisible()


def test_the_overview_is_in_the_corner_of_the_image(reader):
    dock = reader.dock
    press(reader, Qt.Key.Key_F8)
    inset, toolbar = dock.reading_mode.mode.inset, dock.reading_mode.mode.toolbar
    assert inset.isVisible()
    assert toolbar.slide_combo.currentText() == "section.tif"
    central = reader.window.centralWidget()
    assert inset.pos() == QPoint(8, 8)
    assert inset.width() * inset.height() < central.width() * central.height() / 10
    reader.waits()
    overview = inset.findChild(Overview)
    assert not overview.grab().toImage().isNull()
    assert overview._view[0] == get_visible_region(reader.viewer, dock.slide).center

    # A click moves the view and leaves the keys to the image.
    before = get_visible_region(reader.viewer, dock.slide).center
    press(reader, "4")
    QTest.mouseClick(overview, LEFT, NONE, overview.rect().center() + QPoint(20, 20))
    assert get_visible_region(reader.viewer, dock.slide).center[1] > before[1] + 10
    reader.until(lambda: overview._view[0] == get_visible_region(reader.viewer, dock.slide).center)
    assert reader.canvas.hasFocus()

    # It can be hidden, also for later.
    clicks_bar(reader, "reading_overview")
    assert not inset.isVisible()
    press(reader, Qt.Key.Key_F8)
    press(reader, Qt.Key.Key_F8)
    assert not inset.isVisible()
    toolbar.overview_button.click()
    assert inset.isVisible()
    press(reader, Qt.Key.Key_F8)
    assert not inset.isVisible()


def test_everything_is_as_before_with_another_dock_in_tabs(reader):
    for name in ("Case", "Slide"):
        show_dock(reader.viewer, name)
    for front, how in (("Slide", "twice"), ("Slide", "button"), ("Case", "escape")):
        show_dock(reader.viewer, front)
        focus_canvas(reader, 1366)
        before = describe(reader)
        press(reader, Qt.Key.Key_F8)
        assert is_on(reader)
        assert visible_docks(reader) == {"Slide"}
        opens_tab(reader, "Report")
        if how == "twice":
            reader.dock.reading_mode.mode.enter()
            assert is_on(reader)
        if how == "button":
            clicks_bar(reader, "reading_leave")
        else:
            reader.canvas.setFocus()
            press(reader, Qt.Key.Key_Escape if how == "escape" else Qt.Key.Key_F8)
        assert not is_on(reader), how
        assert describe(reader) == before, how

    # napari stores the layout of a closing window.
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    assert not reader.dock.reading_mode.mode.eventFilter(reader.window, QCloseEvent())
    reader.qtbot.wait(50)
    assert describe(reader)["state"] == before["state"]


def visible_docks(person):
    return {one.windowTitle() for one in person.window.findChildren(QDockWidget) if one.isVisible()}


@pytest.mark.both_qts
def test_full_screen_ends_with_the_mode_and_the_mode_with_its_dock_and_its_slide(reader, slide_path):
    frame, dock = reader.dock.parentWidget(), reader.dock
    check_full_screen(reader)
    focus_canvas(reader, 1366)

    # A floating dock joins the window, and floats again.
    frame.setFloating(True)
    reader.qtbot.wait(50)
    reader.clicks("reading_mode")
    reader.qtbot.wait(50)
    assert is_on(reader)
    assert not frame.isFloating()
    press(reader, Qt.Key.Key_F8)
    assert frame.isFloating()
    frame.setFloating(False)
    focus_canvas(reader, 1366)

    # The dock is closed.
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Depth")
    frame.hide()  # as napari's menu does
    reader.qtbot.wait(50)
    assert not is_on(reader)
    assert visible_docks(reader) == {"layer list", "layer controls"}
    frame.show()
    reader.until(dock.content_scroll.isVisible)
    assert frame.width() >= 340

    # The slide is closed.
    focus_canvas(reader, 1366)
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Regions")
    dock.close_slide()
    reader.waits()
    reader.qtbot.wait(50)
    assert not is_on(reader)
    assert dock.welcome.isVisible()
    assert visible_docks(reader) >= {"layer list", "layer controls", "Slide"}
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    assert "Open one first" in dock.status.text

    # The dock is removed.
    reader.opens_slides(slide_path)
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    reader.viewer.window.remove_dock_widget(dock)
    reader.qtbot.wait(50)
    assert visible_docks(reader) == {"layer list", "layer controls"}


def test_opening_another_dock_leaves_the_mode(reader):
    window, dock = reader.viewer.window, reader.dock
    # The dock of another plugin: a new one, then one that was closed before.
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    other = window.add_dock_widget(QLabel("content"), name="Other")
    for when in ("new", "closed before"):
        if when == "closed before":
            other.hide()
            focus_canvas(reader, 1366)
            press(reader, Qt.Key.Key_F8)
            assert is_on(reader)
            other.show()
        reader.until(lambda: not is_on(reader))
        reader.qtbot.wait(50)
        assert visible_docks(reader) == {"layer list", "layer controls", "Slide", "Other"}, when
        assert not other.visibleRegion().isEmpty(), when
        assert dock.width() >= 340, when
    window.remove_dock_widget(other)

    # A dock of ours: a new one, then one that is open already.
    for when in ("new", "open"):
        show_dock(reader.viewer, "Slide")
        focus_canvas(reader, 1366)
        press(reader, Qt.Key.Key_F8)
        assert is_on(reader)
        case = show_dock(reader.viewer, "Case").parentWidget()
        reader.qtbot.wait(50)
        assert not is_on(reader), when
        assert not case.visibleRegion().isEmpty(), when
        assert reader.window.tabifiedDockWidgets(case) == [dock.parentWidget()], when
        assert visible_docks(reader) >= {"layer list", "layer controls"}, when


def test_the_second_view_stays_and_narrow_views_are_offered_the_width_of_the_window(reader, tmp_path):
    reader.opens_slides(draw_slide(tmp_path / "second.tif", tint=20))
    check_narrow_views(reader)
    dock, both = reader.dock, {"Second slide", "Slide"}
    focus_canvas(reader, 1700)
    press(reader, Qt.Key.Key_F8)
    opens_tab(reader, "Side by side")
    reader.window.findChild(QAbstractButton, "side_by_side_show").click()
    reader.qtbot.wait(300)
    assert is_on(reader)
    assert visible_docks(reader) == both
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    reader.qtbot.wait(300)
    assert visible_docks(reader) == {"layer list", "layer controls", *both}
    second, own = frames(reader)["Second slide"], dock.parentWidget()
    assert second.height() == own.height() > 0.8 * reader.window.height()
    assert reader.window.centralWidget().geometry().right() < second.x() < own.x()
    dock.findChild(QAbstractButton, "side_by_side_show").click()
    reader.qtbot.wait(300)


def frames(reader):
    return {one.windowTitle(): one for one in reader.window.findChildren(QDockWidget) if one.isVisible()}


def check_narrow_views(reader):
    """Narrow views are offered the width of the window, and the mode gives it to them."""
    dock, status = reader.dock, reader.dock.status
    focus_canvas(reader, 1100)
    dock.side_by_side_section.expand()
    show = dock.findChild(QAbstractButton, "side_by_side_show")
    show.click()
    reader.until(lambda: "pixels wide" in status.text)
    reader.qtbot.wait(200)  # until Qt has laid out the views
    before = {name: frame.width() for name, frame in frames(reader).items()}
    assert before["Second slide"] < NARROW_PX
    assert not is_on(reader)
    for enter in ("link", "key"):
        if enter == "link":
            dock.findChild(QLabel, "status").linkActivated.emit("reading")
        else:
            reader.canvas.setFocus()
            press(reader, Qt.Key.Key_F8)
        assert is_on(reader), enter
        assert status.text == ""
        reader.until(lambda: abs(frames(reader)["Second slide"].width() - reader.window.centralWidget().width()) < 10)
        assert reader.window.centralWidget().width() > NARROW_PX
        press(reader, Qt.Key.Key_F8)
        reader.until(lambda: {name: frame.width() for name, frame in frames(reader).items()} == before)

    # The widths stay where the mode is refused or the user has arranged the views.
    second = frames(reader)["Second slide"]
    reader.window.resizeDocks([second], [second.width() - 60], Qt.Orientation.Horizontal)
    reader.qtbot.wait(100)
    width = second.width()
    hidden = dock.slide.layers
    for layer in hidden:
        layer.visible = False
    dock.reading_mode.toggle()
    reader.qtbot.wait(2 * WIDEN_MS)
    assert not is_on(reader)
    assert status.text == reading_mode.NOT_SHOWN
    assert second.width() == width
    show.click()  # closes the second view
    reader.qtbot.wait(300)
    for layer in hidden:
        layer.visible = True
    dock.side_by_side_section.collapse()


def check_full_screen(reader):
    """Full screen ends with the mode, and a maximized window stays maximized."""
    window, maximized = reader.window, Qt.WindowState.WindowMaximized
    press(reader, Qt.Key.Key_F8)
    button = reader.dock.reading_mode.mode.toolbar.full_screen_button
    # The button follows what others do to the window.
    window.showFullScreen()
    reader.until(button.isChecked)
    window.showNormal()
    reader.until(lambda: not button.isChecked())
    # It switches, and the end of the mode ends full screen.
    for is_full in (True, False, True):
        clicks_bar(reader, "reading_full_screen")
        reader.until(lambda is_full=is_full: window.isFullScreen() == is_full)
    reader.canvas.setFocus()
    press(reader, Qt.Key.Key_Escape)
    reader.until(lambda: not window.isFullScreen())
    assert not is_on(reader)

    window.setWindowState(maximized)
    reader.qtbot.wait(100)
    press(reader, Qt.Key.Key_F8)
    for is_full in (True, False):
        clicks_bar(reader, "reading_full_screen")
        reader.until(lambda is_full=is_full: window.isFullScreen() == is_full)
        assert window.windowState() & maximized
    press(reader, Qt.Key.Key_F8)
    window.showNormal()
    reader.qtbot.wait(100)


def test_escape_ends_drawing_first_and_the_focus_returns_to_its_field(reader):
    dock, layers = reader.dock, reader.viewer.layers
    field = reader.finds(QLineEdit, "go_to")
    field.setFocus()
    QTest.keyClick(field, Qt.Key.Key_F8)
    assert reader.canvas.hasFocus()
    opens_tab(reader, "Overview")
    press(reader, Qt.Key.Key_F8)
    reader.until(field.hasFocus)

    reader.canvas.setFocus()
    press(reader, Qt.Key.Key_F8)
    layer = reader.viewer.add_shapes(ndim=2, scale=dock.slide.pixel_um, units=("um", "um"))
    layer.mode = "add_polygon"
    press(reader, Qt.Key.Key_Escape)
    assert is_on(reader)
    layers.selection.active = dock.slide.layers[0]
    press(reader, Qt.Key.Key_Escape)
    assert not is_on(reader)
    press(reader, Qt.Key.Key_Escape)
    assert not is_on(reader)

    # While a photograph is shown, Escape leaves the mode, other keys are napari's, and it cannot be entered.
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)
    opens_tab(reader, "Results")
    photograph = reader.opens()
    show_photograph(reader.viewer, photograph)
    assert not dock.slide.is_shown
    assert not reader.lesion_table.isVisible(), "numbers of a hidden slide"
    press(reader, Qt.Key.Key_1)
    assert layers.selection.active is photograph
    assert is_on(reader)
    press(reader, Qt.Key.Key_Escape)
    assert not is_on(reader)
    press(reader, Qt.Key.Key_F8)
    assert not is_on(reader)
    assert "Select one in the list of slides" in dock.status.text
    dock.picker.select_slide(dock.slide.identity)
    press(reader, Qt.Key.Key_F8)
    assert is_on(reader)


def test_a_tab_shows_its_section_closes_by_its_title_and_follows_the_theme(reader):
    dock = reader.dock
    press(reader, Qt.Key.Key_F8)
    tabs, section = dock.reading_mode.mode.tabs, dock.regions_section
    titles = {section_title(frame) for frame in dock.findChildren(CollapsibleSection)}
    of_groups = {"Slide", "Analysis", "Results"}
    assert [" ".join(button.text().split()) for button in tabs.buttons.values()] == [*tabs.buttons]
    assert {*tabs.buttons} - of_groups <= titles, "a tab has the name of its section"
    assert not section.is_expanded
    clicks_bar(reader, "reading_regions")
    assert section.is_expanded
    assert section.isVisible()
    assert tabs.buttons["Regions"].isChecked()
    section.title_button.click()
    reader.qtbot.wait(200)
    assert not tabs.buttons["Regions"].isChecked()
    assert not dock.body.isVisible()
    opens_tab(reader, "Analysis")
    assert dock.analyze_button.isVisible()
    assert dock.save_button.isVisible()

    # Another section asks for the scale, which is set in the tab of the slide.
    opens_tab(reader, "Depth")
    dock.context.scale_requested.emit()
    reader.qtbot.wait(50)
    assert dock.scale_panel.isVisible()
    assert tabs.buttons["Slide"].isChecked()

    focus_canvas(reader, 1100)  # where the tab is not in the dock
    reader.viewer.theme = "light"
    try:
        assert dock.reading_mode.mode.toolbar.styleSheet() == dock.styleSheet()
        assert dock.body.styleSheet() == dock.styleSheet()
    finally:
        reader.viewer.theme = "dark"


def test_the_toolbar_acts_on_the_view_shows_messages_and_cancels(reader, launched, tmp_path, monkeypatch):
    press(reader, Qt.Key.Key_F8)
    check_messages(reader, monkeypatch)
    check_cancel(reader, launched, monkeypatch)

    # It acts on the view.
    mode, dock = reader.dock.reading_mode.mode, reader.dock
    clicks_bar(reader, "magnify_10")
    assert get_camera(reader.viewer).zoom == pytest.approx(1)
    assert reader.canvas.hasFocus()
    clicks_bar(reader, "actual_pixels")
    assert get_camera(reader.viewer).zoom == pytest.approx(2)
    clicks_bar(reader, "reading_bookmark")
    assert len(reader.session.notes.value.bookmarks) == 1
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
    assert get_camera(reader.viewer).zoom == pytest.approx(4), "the slide was scanned at 20x"
    reader.opens_slides(draw_slide(tmp_path / "second.tif", tint=20))
    assert is_on(reader)
    assert mode.toolbar.slide_combo.currentText() == "second.tif"
    mode.toolbar.slide_combo.activated.emit(0)
    assert dock.slide.info.path.name == "section.tif"
    assert mode.toolbar.slide_combo.currentText() == "section.tif"


def check_cancel(reader, launched, monkeypatch):
    """The toolbar cancels what is running."""
    canceled = []
    monkeypatch.setattr(reader.dock.opener, "cancel", lambda: canceled.append("opening"))
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
    reader.until(lambda: button.isVisible() and not reader.dock.body.isVisible())
    clicks_bar(reader, "reading_cancel")
    reader.until(lambda: launched.last.place.read_command() == "cancel" and not button.isVisible())
    launched.last.place.append_final_event("cancelled")
    launched.last.dies()
    reader.until(lambda: not reader.dock.run_panel.active)
    reader.waits()


def check_messages(reader, monkeypatch):
    """The toolbar shows messages with links, and shortens long ones."""
    opened = []
    monkeypatch.setattr("napari_melanoma.ui.slide.dock.QDesktopServices.openUrl", lambda url: opened.append(url))
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


def test_progress_is_shown_with_any_tab(reader, slide_path):
    folder = reader.dock.result_location.folder
    analysis = FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().works(56)
    reader.dock.run_panel.set_folder(folder)
    reader.until(lambda: reader.dock.run_panel.active)
    press(reader, Qt.Key.Key_F8)
    bar = reader.dock.reading_mode.mode.toolbar.progress_bar
    opens_tab(reader, "Regions")
    reader.until(lambda: bar.isVisible() and bar.value() == 25)
    assert "56 / 224 tiles" in bar.toolTip()
    analysis.finishes()
    reader.until(lambda: not reader.dock.run_panel.active and not bar.isVisible())

    # No control of the toolbar moves.
    toolbar = reader.dock.reading_mode.mode.toolbar
    states = {
        "idle": lambda: None,
        **list_message_states(reader.dock.status),
        "an analysis": lambda: toolbar._progress_action.setVisible(True),
        "a tab": lambda: opens_tab(reader, "Measure"),
    }
    moved = list_moved_controls(toolbar, states, reader.waits)
    assert not moved, moved


def find_on_screen(reader, point):
    """Return the place in the window of a point (row, column) of the slide, in pixels."""
    viewer, camera = reader.viewer, get_camera(reader.viewer)
    middle = reader.canvas.mapTo(reader.window, reader.canvas.rect().center())
    y, x = (
        (place - center) * camera.zoom
        for place, center in zip(reader.dock.slide.to_world(point), camera.center[-2:], strict=True)
    )
    assert tuple(viewer.canvas.size) == (reader.canvas.height(), reader.canvas.width())
    return middle.x() + x, middle.y() + y


@pytest.mark.parametrize("is_moved", [False, True])
def test_the_image_stays_where_it_is_while_tabs_are_opened_and_closed(reader, is_moved):
    focus_canvas(reader, 1366)
    press(reader, Qt.Key.Key_F8)
    if is_moved:
        get_camera(reader.viewer).zoom *= 1.7
    point, tabs = (200.0, 150.0), reader.dock.reading_mode.mode.tabs
    before = find_on_screen(reader, point)
    for label in ("Slide", "Depth", "Depth"):
        opens_tab(reader, label)
        assert reader.canvas.width() < 1050 or not tabs.buttons[label].isChecked()
        assert find_on_screen(reader, point) == pytest.approx(before, abs=1)
    opens_tab(reader, "Slide")
    center = tuple(get_camera(reader.viewer).center)
    press(reader, Qt.Key.Key_F8)
    assert tuple(get_camera(reader.viewer).center) != center, "the view of the window is centered as before"
