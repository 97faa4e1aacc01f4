"""Shared fixtures of the tests of the Slide dock: a user, and a launch that starts no process."""

from __future__ import annotations

import contextlib

import numpy as np
from fake_slides import FakeAnalysis, draw_slide
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QAbstractButton, QApplication, QComboBox, QDoubleSpinBox, QFileDialog, QLabel, QLineEdit
from slide_models import TILE_TEST, install_slide_models

from conftest import PATIENCE_MS, Person, wait_until_idle
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.options import hashed_tile_settings
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.sections.overview.memory import DisplayMemory
from napari_melanoma.ui.viewer.camera import find_canvas, get_camera
from napari_melanoma.ui.viewer.tile_strip import TileStrip
from napari_melanoma.ui.widgets.model_picker import ExtensibleModelPicker
from napari_melanoma.ui.widgets.settings import DockSettings

PAINT_SECTION = "slide_paint_section"


class Launched:
    """Replace the launch of a process: create a result folder as a started analysis would."""

    def __init__(self):
        self.options, self.forced, self.error, self.last = [], [], None, None
        self.fingerprint = ""

    def __call__(self, slide, out, options, *, force=False):
        if self.error is not None:
            raise self.error
        self.options.append(options)
        self.forced.append(force)
        settings = {key: value for key, value in hashed_tile_settings(options).items() if key != "model"}
        folder = background_runs.slide_folder(out, slide)
        self.last = FakeAnalysis(folder, slide, self.fingerprint, options.model, settings).begins()
        return folder


def user(home, monkeypatch):
    """Use separate data folders for the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    monkeypatch.setattr("napari_melanoma.ui.widgets.settings.DEBOUNCE_MS", 10)
    settings = DockSettings()
    # The models of the tests are demonstrations, which are offered on the drawn slides as on samples
    offer = ExtensibleModelPicker.offer_demonstrations
    monkeypatch.setattr(ExtensibleModelPicker, "offer_demonstrations", lambda picker, on: offer(picker, True))
    install_slide_models()
    settings.set("slide/model", TILE_TEST.name)
    settings.set("slide/more_sections", True)
    settings.set("paint/start", "")  # drawn slides are no skin that a model of tissue was fitted on
    settings.set_section_open(PAINT_SECTION, is_open=False)  # otherwise it is open on a real slide
    return home


def launched(user, monkeypatch):
    made = Launched()
    monkeypatch.setattr(background_runs, "launch_slide", made)
    return made


class Pathologist(Person):
    """User of the Slide dock."""

    def opens_slides(self, *paths):
        self.dock.opener.open(list(paths))
        wait_until_idle(self.qtbot, self.dock.opener)
        self.waits()

    @property
    def session(self):
        """The session of the displayed slide."""
        return self.dock.sections.hosted.session

    @property
    def lesions(self):
        """The lesions of the displayed slide."""
        return self.session.lesions.value.lesions

    @property
    def lesion_table(self):
        """The open table of lesions."""
        return self.dock.sections.hosted.sections["Lesions"].widget.table

    @property
    def memory(self):
        """The view and the display of the layers, as they are restored."""
        return self.session.part(DisplayMemory)

    def opens_section(self, title):
        """Expand a section; return its widgets once they are open."""
        hosted = self.dock.sections.hosted.sections[title]
        hosted.frame.expand()
        self.until(lambda: hosted.widget is not None)
        return hosted.widget

    @property
    def tiles(self):
        """The buttons of the most suspicious tiles."""
        return self.finds(TileStrip, "tiles").buttons

    def sets_threshold(self, threshold):
        """Enter the threshold of the lesions."""
        self.finds(QDoubleSpinBox, "slide_threshold_number").setValue(threshold)

    def until(self, condition):
        self.qtbot.waitUntil(condition, timeout=PATIENCE_MS)

    def presses(self, name):
        """Press a button regardless of the scroll position."""
        button = self.finds(QAbstractButton, name)
        assert button.isEnabled(), f"{name} is disabled: {button.toolTip()}"
        button.click()

    def picks(self, name, text):
        """Select an item of a list."""
        combo = self.finds(QComboBox, name)
        combo.setCurrentIndex(combo.findText(text))
        combo.activated.emit(combo.currentIndex())

    def label_text(self, name):
        return self.finds(QLabel, name).text()

    def types(self, name, text):
        line = self.finds(QLineEdit, name)
        line.selectAll()
        self.qtbot.keyClicks(line, text)
        self.qtbot.keyClick(line, Qt.Key.Key_Return)

    def names(self, model):
        """Enter the name of a model in its dialog."""
        combo = self.dock.model_picker.combo
        combo.setCurrentIndex(combo.findData("other"))
        combo.activated.emit(combo.currentIndex())
        dialog = next(w for w in QApplication.topLevelWidgets() if w.objectName() == "encoder_dialog" and w.isVisible())
        dialog.setTextValue(model)
        dialog.accept()

    def analyses(self):
        self.dock.model_picker.model = "tiny"
        self.dock.model_picker.changed.emit()
        self.clicks("primary")
        self.until(lambda: self.dock.run_panel.active)

    def sees(self, point):
        """Return whether a point, in pixels of the slide, is at the center of the view."""
        at = np.array(get_camera(self.viewer).center[-2:])
        return np.allclose(at, self.dock.slide.to_world(point), atol=1e-6)

    def rows(self):
        hosted = self.dock.sections.hosted.sections.get("Lesions")
        if hosted is None or hosted.widget is None:
            return []
        model = self.lesion_table.table_model
        return [[model.index(row, column).data() for column in range(4)] for row in range(model.rowCount())]

    def cuts(self, start, end):
        """Press split, and draw a line with the mouse."""
        from napari.utils._test_utils import read_only_mouse_event

        self.clicks("lesion_split")
        for callback in self.viewer.mouse_drag_callbacks:
            event = read_only_mouse_event(type="mouse_press", position=self.dock.slide.to_world(start), button=1)
            steps = callback(self.viewer, event)
            with contextlib.suppress(StopIteration, TypeError):  # napari has callbacks of its own
                next(steps)
                for kind in ("mouse_move", "mouse_release"):
                    event.__wrapped__.type = kind
                    event.__wrapped__.position = self.dock.slide.to_world(end)
                    next(steps)

    def sees_something(self):
        """Draw the canvas, and return whether it has several colors."""
        canvas = find_canvas(self.viewer.window._qt_window)
        self.until(lambda: not canvas.grabFramebuffer().isNull())  # it is painted only once its window is exposed
        return np.ptp(self.viewer.screenshot(canvas_only=True, flash=False)[..., :3], axis=(0, 1)).any()

    def chooses_file(self, name, path):
        dialog = next(
            w
            for w in QApplication.topLevelWidgets()
            if isinstance(w, QFileDialog) and w.objectName() == name and w.isVisible()
        )
        dialog.fileSelected.emit(str(path))
        dialog.reject()
        self.waits()


def slide_path(tmp_path):
    return draw_slide(tmp_path / "section.tif")


def person(user, shown_viewer, qtbot):
    yield from with_slide_dock(shown_viewer, qtbot)


def unseen_person(user, request, qtbot):
    """User of a hidden viewer, which draws nothing, unless the test uses the shown one."""
    name = "shown_viewer" if "shown_viewer" in request.fixturenames else "viewer"
    yield from with_slide_dock(request.getfixturevalue(name), qtbot)


def with_slide_dock(viewer, qtbot):
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    yield Pathologist(viewer, dock, qtbot)
    wait_until_idle(qtbot, dock)


def analysed(person, slide_path):
    """User who opened a slide with stored results."""
    folder = background_runs.slide_folder(person.dock.settings.slide_results, slide_path)
    person.analysis = FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    return person


FIXTURES = (user, launched, slide_path, person, analysed)
UNSEEN = (user, launched, slide_path, unseen_person, analysed)
