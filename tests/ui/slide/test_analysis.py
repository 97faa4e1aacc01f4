"""Analysis of a slide or a view: options, results, validity, and what is confirmed."""

from __future__ import annotations

import json
import re
import sys

import numpy as np
import pytest
from fake_models import make_risk_prediction
from fake_slides import LESION, MPP, TILE, FakeAnalysis, draw_slide
from patience import LONG_PATIENCE_MS
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractSlider,
    QAbstractSpinBox,
    QCheckBox,
    QComboBox,
    QLabel,
    QLineEdit,
    QMessageBox,
    QPushButton,
    QWidget,
)
from slide_fixtures import UNSEEN
from slide_models import install_slide_models

from napari_melanoma.core.errors import InputError, RunError
from napari_melanoma.core.files import write_json
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.io.results import read_table
from napari_melanoma.models.installed_bundles import find_bundle
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.lesion_files import read_saved_lesions
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.slides.scores import SlideScoreConfig
from napari_melanoma.slides.tissue import TissueConfig
from napari_melanoma.ui.session.tissue import TissueState
from napari_melanoma.ui.slide.analysis import clip_to_slide
from napari_melanoma.ui.slide.options import EXCLUDED_FIELDS, SlideOptionsForm, apply_changes, get_changed_options
from napari_melanoma.ui.viewer.camera import ViewRectangle, get_camera
from napari_melanoma.ui.viewer.slide_layers import find_layer
from napari_melanoma.ui.viewer.view_memory import center_view
from napari_melanoma.ui.widgets.job import tasks

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
UNUSUAL = {
    "accept_scale": True,
    "download": True,
    "tile_mpp": 1.25,
    "tile_um": 3000.0,
    "overlap": 0.5,
    "border": "inside",
    "tissue": {
        "threshold": 0.07,
        "find_pen": False,
        "fat": "keep",
        "folds": "drop",
        "min_area_mm2": 0.5,
        "fill_holes_mm2": 0.25,
        "margin_um": 40.0,
    },
    "min_tissue": 0.35,
    "stain": {
        "method": "reinhard",
        "least_density": 0.2,
        "angle_percentile": 2.0,
        "amount_percentile": 95.0,
        "keep_background": False,
    },
    "apply_profile": True,
    "target": "melanoma",
    "prevalence": 0.125,
    "score": {"method": "mean", "top_k": 25},
    "batch_size": 8,
    "workers": 3,
    "device": "cpu",
    "precision": "fp32",
}
FRAME = "section view"
REASSURING = re.compile(r"no (metastasis|invasive|lesion)|benign|\bT[12][ab]?\b|rarely|0\.08|0\.20", re.IGNORECASE)
DEMO = ValidityInputs("tiny", demonstration=True, field_mm=0.24, model_field_mm=3).check()
HEADLINE = "Not valid: not applicable to real patients."
controls_of_qt = (QAbstractSlider, QAbstractSpinBox, QComboBox, QAbstractItemView)


@pytest.fixture
def everything(tmp_path):
    """Options that all differ from the defaults."""
    files = {}
    for name in ("weights", "stain_reference", "metadata"):
        files[name] = tmp_path / f"{name}.bin"
        files[name].touch()
    return SlideOptions.parse({**UNUSUAL, **files}, "the test")


def opens_fold(person):
    assert person.dock.findChild(SlideOptionsForm) is None  # created when the section is opened
    person.dock.setup_rows.expand()
    person.dock.options_section.expand()
    person.waits()
    return person.finds(SlideOptionsForm, "slide_options")


def test_every_option_has_a_control(everything):
    usual = SlideOptions()
    here = {name for name in SlideOptions.model_fields if getattr(everything, name) != getattr(usual, name)}
    assert here | set(EXCLUDED_FIELDS) == set(SlideOptions.model_fields)
    for part, elsewhere in ((TissueConfig, {"method"}), (SlideScoreConfig, {"positive"})):
        name = part.__name__.removeprefix("Slide").removesuffix("Config").lower()
        assert set(UNUSUAL[name]) | elsewhere == set(part.model_fields)
    assert set(UNUSUAL["stain"]) == set(StainConfig.model_fields)


def test_shown_options_are_returned_before_and_after_the_section_is_opened(person, slide_path, everything):
    person.opens_slides(slide_path)
    person.dock.model_picker.model = "tiny"
    check_returned_options(person, everything)
    person.dock.options_controller.set_options(SlideOptions())
    opens_fold(person)
    check_returned_options(person, everything)

    # Options of another version are ignored.
    person.dock.settings.set("slide/options", {"tile_um": -3, "colour": "green"})
    person.dock.options_controller.set_options()
    assert get_changed_options(person.dock.get_options(person.session)) == {}


def check_returned_options(person, everything):
    dock, session = person.dock, person.session
    for options in (SlideOptions(), everything, SlideOptions(stain=StainConfig()), SlideOptions()):
        lesions = dock.get_options(session).lesions
        session.tissue.set(TissueState(options.tissue.method))
        dock.options_controller.set_options(options)
        assert dock.get_options(session) == options.model_copy(update={"model": "tiny", "lesions": lesions})
    dock.options_controller.set_options(everything)
    assert dock.options_section.title_button.text() == "Options  (31 changed)"


def test_options_are_stored_and_used_by_the_analysis_and_invalid_ones_block_it(person, launched, slide_path):
    dock = person.dock
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    opens_fold(person)
    check_invalid_options(person)
    stain = person.finds(QComboBox, "slide.stain")
    assert [stain.itemText(place) for place in range(5)] == ["none", "macenko", "reinhard", "histogram", "standardise"]
    assert not person.finds(QWidget, "slide.stain.least_density").isVisibleTo(person.dock)
    stain.setCurrentIndex(3)
    assert person.finds(QWidget, "slide.stain.least_density").isVisibleTo(person.dock)
    assert dock.options_section.title_button.text() == "Options  (1 changed)"
    assert dock.settings.get("slide/options", {}) == {"stain": {"method": "histogram"}}
    person.analyses()
    assert launched.options[-1].stain == StainConfig(method="histogram")
    launched.last.finishes()
    person.until(dock.analyze_button.isEnabled)
    person.waits()


def check_invalid_options(person):
    """Invalid options are shown, and block the analysis."""
    dock = person.dock
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    assert dock.analyze_button.isEnabled()
    line = person.finds(QLineEdit, "slide.stain_reference")
    line.setText(str(dock.slide.info.path.with_name("gone.png")))
    assert not dock.analyze_button.isEnabled()
    assert "Reference image: file not found" in dock.analyze_button.toolTip()
    assert person.finds(QLabel, "slide.stain_reference.fault").text() == "file not found"
    line.clear()
    assert dock.analyze_button.isEnabled()


def test_classes_of_the_model_are_listed(person, slide_path, monkeypatch):
    dock = person.dock
    person.opens_slides(slide_path)
    opens_fold(person)
    combo = person.finds(QComboBox, "slide.target")
    dock.model_picker.model = "tile-test"
    dock.model_picker.changed.emit()
    person.until(lambda: combo.count() > 1)
    person.waits()
    assert combo.itemText(0) == "model default"
    chosen = combo.itemData(combo.count() - 1)
    combo.setCurrentIndex(combo.count() - 1)
    assert dock.get_options(person.session).target == chosen
    dock.model_picker.model = "timm:resnet18"
    dock.model_picker.changed.emit()
    person.waits()
    assert dock.get_options(person.session).target == chosen


def test_results_show_their_options_and_the_next_slide_the_stored_ones(person, launched, slide_path, tmp_path):
    from fake_slides import draw_slide

    dock = person.dock
    dock.settings.set("slide/options", {"batch_size": 8})
    person.opens_slides(slide_path)
    dock.options_controller.set_options()
    launched.fingerprint = dock.slide.info.fingerprint
    requested = SlideOptions(tile_um=3000.0)
    settings = {key: value for key, value in requested.tile_settings.items() if key != "model"}
    FakeAnalysis(
        dock.result_location.folder, slide_path, launched.fingerprint, "tiny", settings, requested
    ).begins().finishes()
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    assert dock.get_options(person.session).tile_um == 3000.0
    person.clicks("primary")  # again, in the same way: no question
    person.until(lambda: len(launched.options) == 1)
    person.until(lambda: dock.run_panel.active)
    launched.last.dies()
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    options = dock.get_options(person.session)
    assert (options.tile_um, options.batch_size) == (None, 8)
    assert dock.settings.get("slide/options", {}) == {"batch_size": 8}
    person.opens_slides(slide_path)
    person.until(lambda: dock.get_options(person.session).tile_um == 3000.0)
    opens_fold(person)
    check = person.finds(QCheckBox, "slide.apply_profile")
    check.click()
    options = dock.get_options(person.session)
    assert (options.tile_um, options.apply_profile) == (3000.0, True)
    dock.picker.select_slide(str(tmp_path / "other.tif"))
    person.until(lambda: dock.get_options(person.session).tile_um is None)
    options = dock.get_options(person.session)
    assert (options.tile_um, options.batch_size, options.apply_profile) == (None, 8, True), "only what was changed"


CHANGES = {
    "an option": (
        {"batch_size": 8},
        {"tile_um": 9.0},
        {"tile_um": 9.0, "overlap": 0.1},
        {"batch_size": 8, "overlap": 0.1},
    ),
    "reset to the default": ({"batch_size": 8}, {"batch_size": 4}, {}, {}),
    "one of a group": (
        {"tissue": {"min_area_mm2": 1.0}},
        {"tissue": {"closing_um": 9.0}},
        {"tissue": {"closing_um": 9.0, "opening_um": 2.0}},
        {"tissue": {"min_area_mm2": 1.0, "opening_um": 2.0}},
    ),
    "the last of a group": ({"tissue": {"closing_um": 1.0}}, {"tissue": {"closing_um": 9.0}}, {}, {}),
    "the stain as a whole": (
        {},
        {"stain": {"method": "macenko", "beta": 0.2}},
        {"stain": {"method": "macenko", "beta": 0.3}},
        {"stain": {"method": "macenko", "beta": 0.3}},
    ),
    "no stain": ({"stain": {"method": "reinhard"}}, {"stain": {"method": "macenko"}}, {}, {}),
}


@pytest.mark.parametrize(("stored", "before", "after", "expected"), CHANGES.values(), ids=CHANGES)
def test_only_changes_by_the_user_are_stored(stored, before, after, expected):
    assert apply_changes(stored, before, after) == expected


@pytest.mark.parametrize(
    ("view", "region"),
    [
        (ViewRectangle(10.4, 20.6, 30.2, 40.0), (10, 20, 31, 41)),
        (ViewRectangle(-50, -60, 1000, 2000), (0, 0, 200, 300)),
        (ViewRectangle(150, 250, 100, 100), (150, 250, 50, 50)),
    ],
    ids=["inside", "all", "at a corner"],
)
def test_view_is_clipped_to_the_slide(view, region):
    assert clip_to_slide(view, (200, 300)) == region


@pytest.mark.parametrize(
    "view", [ViewRectangle(200, 0, 50, 50), ViewRectangle(-90, 10, 90, 50), ViewRectangle(0, 300, 9, 9)]
)
def test_view_outside_the_slide_is_rejected(view):
    with pytest.raises(InputError, match="no part of the slide is in view"):
        clip_to_slide(view, (200, 300))


@pytest.fixture
def ready(analysed, launched):
    """User with an analyzed slide, zoomed to a part of it."""
    dock = analysed.dock
    launched.fingerprint = dock.slide.info.fingerprint
    center_view(analysed.viewer, dock.slide, (200, 260), 200)
    return analysed


def analyses_view(person, launched):
    before = len(launched.options)
    person.clicks("analyse_view")
    person.until(lambda: len(launched.options) > before and person.dock.run_panel.active)


def frame_of(person):
    corners = np.asarray(person.viewer.layers[FRAME].data[0]) + 0.5
    top, left = corners.min(axis=0)
    bottom, right = corners.max(axis=0)
    return round(top), round(left), round(bottom - top), round(right - left)


def test_view_has_separate_results(ready, launched):
    person, dock, whole = ready, ready.dock, ready.dock.result_location.folder
    wanted = dock.analysis.get_visible_region()
    assert 0 < wanted[3] <= 201
    assert "next to those of the whole slide" in dock.analyze_view_button.toolTip()
    analyses_view(person, launched)
    assert launched.options[-1].region == wanted == frame_of(person)
    assert dock.result_location.folder == whole / "view" / whole.name == launched.last.path
    assert person.rows() == []
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    person.lesion_table.selectRow(0)
    person.clicks("lesion_remove")
    person.until(lambda: len(person.rows()) == 1)
    person.waits()
    assert len(read_table(launched.last.path / "lesions.csv")) == 1
    assert len(read_table(whole / "lesions.csv")) == 2

    combo = person.finds(QComboBox, "slide_scope")
    combo.setCurrentIndex(0)
    combo.activated.emit(0)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert dock.result_location.folder == whole
    assert FRAME not in person.viewer.layers
    combo.setCurrentIndex(1)
    combo.activated.emit(1)
    person.until(lambda: len(person.rows()) == 1)
    person.waits()


def test_results_of_a_view_are_restored(person, launched, slide_path):
    dock = person.dock
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    dock.model_picker.model = "tiny"
    dock.model_picker.changed.emit()
    center_view(person.viewer, dock.slide, (200, 260), 200)
    analyses_view(person, launched)
    launched.last.options = launched.options[-1].model_dump(mode="json", exclude={"model"})
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    wanted = frame_of(person)
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert person.session.results.value.is_view
    assert frame_of(person) == wanted
    assert not dock.findChild(QWidget, "slide_scope").isVisibleTo(dock)  # there is nothing to choose
    assert "Previous analysis" in dock.status.text
    person.clicks("primary")  # the whole slide then
    person.until(lambda: len(launched.options) == 2 and dock.run_panel.active)
    assert launched.options[-1].region is None
    assert launched.forced[-1] is False
    assert FRAME not in person.viewer.layers
    launched.last.dies()
    person.waits()


def test_results_of_another_view_are_replaced_only_after_confirmation(ready, launched, monkeypatch):
    person, dock, requested = ready, ready.dock, []
    analyses_view(person, launched)
    launched.last.options = launched.options[-1].model_dump(mode="json", exclude={"model"})
    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    kept = frame_of(person)
    answers = iter([QMessageBox.StandardButton.Cancel, "replace"])

    def answered(box):
        requested.append(box.informativeText())
        wanted = next(answers)
        pressed = box.button(wanted) if wanted != "replace" else box.findChild(QWidget, "replace")
        box.deleteLater()
        return pressed

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", answered)
    center_view(person.viewer, dock.slide, (100, 100), 120)
    person.clicks("analyse_view")
    person.until(lambda: len(requested) == 1)
    person.waits()
    assert "different region" in requested[0]
    assert frame_of(person) == kept
    assert len(person.rows()) == 2
    combo = person.finds(QComboBox, "slide_scope")
    combo.activated.emit(0)
    person.until(lambda: not person.session.results.value.is_view and len(person.rows()) == 2)
    person.waits()
    person.clicks("analyse_view")
    person.until(lambda: launched.forced[-1] is True)
    person.until(lambda: dock.run_panel.active)
    assert frame_of(person) != kept
    launched.last.dies()
    person.waits()


def test_invalid_repeated_and_failing_starts(ready, launched):
    person, dock = ready, ready.dock
    get_camera(person.viewer).center = (1e6, 1e6)
    person.clicks("analyse_view")
    assert "No part of the slide is in view" in dock.status.text
    assert launched.options == []
    center_view(person.viewer, dock.slide, (200, 260), 200)
    launched.error = RunError("no process could be started.")
    person.clicks("analyse_view")
    person.until(lambda: "No process" in dock.status.text)
    person.until(lambda: len(person.rows()) == 2)  # what there was
    person.waits()
    assert not person.session.results.value.is_view
    launched.error = None
    person.clicks("analyse_view")
    dock.analyze_view_button.click()
    dock.analyze_button.click()
    person.until(lambda: dock.run_panel.active)
    person.waits()
    assert len(launched.options) == 1
    person.viewer.layers.remove(person.viewer.layers["section"])  # while it is at work
    person.waits()
    assert dock.result_location is None
    assert dock.welcome.isVisibleTo(dock)


def visible(part) -> list[str]:
    """List the visible texts in a part of a dock, from top to bottom."""
    labels = [one for one in part.findChildren(QLabel) if one.isVisibleTo(part) and one.text()]
    return [re.sub(r"<[^>]*>", "", one.text()) for one in labels]


def list_drawn(person) -> list[str]:
    """List the layers of results with something in them."""
    layers = {role: find_layer(person.viewer, person.dock.slide, role) for role in ("heatmap", "lesions")}
    shown = {"heatmap": lambda layer: np.isfinite(layer.data).any(), "lesions": lambda layer: len(layer.data) > 0}
    return [role for role, layer in layers.items() if layer is not None and layer.visible and shown[role](layer)]


def list_exports(dock) -> dict[str, bool]:
    """Open the menu of exports, and return whether some of them are possible."""
    menu = dock.share_button.menu()
    menu.aboutToShow.emit()
    kinds = ("counts", "csv", "geojson", "tif")
    return {kind: menu.findChild(QAction, f"export_{kind}").isEnabled() for kind in kinds}


def test_lesions_of_a_demonstration_model_are_hidden(person, slide_path):
    folder = background_runs.slide_folder(person.dock.settings.slide_results, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    content = json.loads((folder / "result.json").read_text())
    write_json(folder / "result.json", {**content, "validity": DEMO.to_json()})
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    dock = person.dock
    assert dock.answer.headline.startswith(HEADLINE.rstrip("."))
    assert "0.24 mm" in person.label_text("slide_validity_reasons")
    headline = person.finds(QLabel, "slide_validity")
    assert not headline.isVisibleTo(dock), "the answer states it"
    numbers = [person.lesion_table]
    assert not [one for one in numbers if one.isVisibleTo(dock)]
    assert list_drawn(person) == []
    assert not person.tiles
    assert not person.dock.targets.step(1)  # to a lesion
    assert list_exports(dock) == {"counts": False, "csv": False, "geojson": False, "tif": False}
    person.finds(QAbstractButton, "slide_anyway").click()
    assert list_drawn(person) == ["heatmap", "lesions"]
    assert list_exports(dock) == {"counts": False, "csv": True, "geojson": True, "tif": True}
    assert all(one.isVisibleTo(dock) for one in numbers)
    assert person.tiles[0].text() == "0.90"
    assert dock.answer.headline.startswith("Melanoma: 2 lesions, ")
    assert headline.isVisibleTo(dock), "that the numbers are not valid stays in view with them"
    assert headline.text().startswith(HEADLINE.rstrip("."))


def test_invalid_risk_is_not_shown(person, tmp_path):
    def shows(prediction):
        view.show_prediction(prediction, "")

    person.opens_slides(draw_slide(tmp_path / "section.tif"))
    person.until(lambda: "Risk" in person.dock.sections.hosted.sections)
    view = person.opens_section("Risk")
    person.waits()
    view.result_area.show()
    result = make_risk_prediction(0.08, {}, {"model": "risk-test"}, None, "f")
    result |= {
        "verdict": "Risk of metastasis 0.08; at most 10 of 100 metastasis cases have such a low probability",
        "interval": [0.0, 0.25],
    }
    shows({**result, "validity": DEMO.to_json()})
    texts = visible(view.result_area)
    assert texts[0].startswith(HEADLINE)
    assert not [one for one in texts if REASSURING.search(one)], texts
    assert not view.risk_bar.isVisibleTo(view.result_area)
    view.validity.show_anyway_button.click()
    assert view.verdict_label.text() == "Risk of metastasis 0.08 (0.00 to 0.25)."
    assert view.risk_bar.isVisibleTo(view.result_area)
    shows(result)
    assert view.verdict_label.text() == result["verdict"]


def own(widget):
    """Return whether a control is our own, not part of another one."""
    return not isinstance(widget.parentWidget(), controls_of_qt) and widget.focusPolicy() & Qt.FocusPolicy.TabFocus


@pytest.mark.path
@pytest.mark.both_qts
@pytest.mark.usefixtures("shown_viewer")
def test_an_analysis_fills_the_heatmap_while_it_runs_and_ends_with_lesions(person, launched, slide_path, tmp_path):
    dock, viewer = person.dock, person.viewer
    # An analysis fills the heatmap while it runs, and ends with lesions.
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    person.analyses()
    person.clicks("run_pause")
    person.until(lambda: launched.last.place.read_command() == "pause")
    launched.last.place.append_event("paused")
    person.until(lambda: person.label_text("run_state").startswith("Paused"))
    person.clicks("run_pause")
    person.until(lambda: launched.last.place.read_command() == "run")
    launched.last.place.append_event("continued")
    assert not dock.analyze_button.isEnabled()
    assert launched.options[0].model == "tiny"
    assert launched.forced == [False]

    launched.last.works(40)
    person.until(lambda: "section heatmap" in viewer.layers)
    heat = viewer.layers["section heatmap"]
    person.until(lambda: "40 / 224 tiles  ·  212/s  ·  3" in person.label_text("run_state"))
    assert np.isfinite(heat.data[:, :-2]).all()
    assert np.isnan(heat.data[:, -2:]).all()
    np.testing.assert_allclose(heat.scale, (TILE * MPP, TILE * MPP))
    np.testing.assert_allclose(heat.translate, [(TILE / 2 - 0.5) * MPP] * 2)
    assert person.sees_something()

    launched.last.finishes()
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    assert person.sees_something()
    assert person.rows()[0] == ["1", "malignant", "0.90", "0.0041"]
    assert person.dock.answer.text.startswith("Melanoma: 2 lesions, ")
    assert person.dock.answer.text.endswith(" Highest on the map 0.90 · 2 malignant")
    assert person.label_text("slide_cautions") == "trained on synthetic slides"
    assert "224 tiles" in dock.status.text
    assert not dock.run_panel.isVisibleTo(dock)
    assert heat.data[LESION].min() == pytest.approx(0.9)

    assert person.tiles[0].text() == "0.90"
    person.qtbot.mouseClick(person.tiles[0], Qt.MouseButton.LeftButton)
    row, column = dock.slide.to_slide(get_camera(viewer).center[-2:])
    assert LESION[0].start <= row / TILE <= LESION[0].stop
    assert LESION[1].start <= column / TILE <= LESION[1].stop

    person.lesion_table.selectRow(0)
    assert person.sees((6 * TILE, 8 * TILE))
    zoom = get_camera(viewer).zoom
    person.clicks("fit_slide")
    assert get_camera(viewer).zoom < zoom
    row = person.lesion_table.visualRect(person.lesion_table.table_model.index(0, 0)).center()
    person.qtbot.mouseClick(person.lesion_table.viewport(), Qt.MouseButton.LeftButton, pos=row)  # selected already
    assert get_camera(viewer).zoom == pytest.approx(zoom)
    person.sets_threshold(0.8)
    person.until(lambda: len(person.rows()) == 1 and dock.save_button.isEnabled())
    person.clicks("save")
    person.until(lambda: len(read_table(launched.last.path / "lesions.csv")) == 1)
    person.waits()
    assert "Saved in" in dock.status.text
    assert not dock.save_button.isEnabled()


@pytest.mark.path
def test_analysis_is_detached_found_cancelled_and_resumed_if_a_tile_finished(person, launched, slide_path, tmp_path):
    dock = person.dock
    person.opens_slides(slide_path)
    launched.fingerprint = dock.slide.info.fingerprint
    person.analyses()
    launched.last.works(10)
    person.clicks("run_detach")
    assert not dock.run_panel.isVisibleTo(dock)
    assert "continues in the background" in dock.status.text

    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: dock.run_panel.active)
    person.until(lambda: "10 / 224" in person.label_text("run_state"))
    assert "finished tiles are kept" in dock.run_panel.buttons.cancel.toolTip()  # not epochs, as of a training
    person.clicks("run_cancel")
    person.until(lambda: launched.last.place.read_command() == "cancel")
    launched.last.place.append_final_event("cancelled")
    launched.last.dies()
    person.until(lambda: dock.run_panel.buttons.resume.isEnabled() and dock.analyze_button.isEnabled())
    assert person.label_text("run_state").endswith("and kept. Press Resume to continue from there.")
    assert "Canceled" not in dock.status.text  # it is shown once, in the run panel
    person.clicks("run_resume")
    person.until(lambda: len(launched.options) == 2)
    person.until(lambda: dock.run_panel.active)
    person.waits()

    # One that was canceled before its first tile cannot be resumed.
    person.opens_slides(draw_slide(tmp_path / "other.tif", tint=9))
    launched.fingerprint = dock.slide.info.fingerprint
    person.analyses()
    person.clicks("run_cancel")
    person.until(lambda: launched.last.place.read_command() == "cancel")
    launched.last.place.append_final_event("cancelled")
    launched.last.dies()
    person.until(lambda: person.label_text("run_state").startswith("Canceled: no tile finished."))
    assert not dock.run_panel.buttons.resume.isEnabled()
    assert dock.run_panel.buttons.resume.toolTip() == "Press Analyze to start again."
    person.waits()


def test_slide_is_analyzed_by_a_separate_process(home, monkeypatch, viewer, qtbot, tmp_path):
    monkeypatch.setenv("XDG_DATA_HOME", str(home / "data"))
    had_torch = "torch" in sys.modules  # by another test
    install_slide_models()
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Slide")
    sample = draw_slide(tmp_path / "sample.tif")  # demonstration models are for samples
    sample.with_name("sample.truth.json").write_text("{}")
    dock.opener.open([sample])
    qtbot.waitUntil(lambda: dock.result_location is not None and tasks.is_idle(dock), timeout=LONG_PATIENCE_MS)
    dock.model_picker.model = "tile-test"
    dock.model_picker.changed.emit()
    dock.analyze_button.click()
    qtbot.waitUntil(lambda: dock.run_panel.active, timeout=LONG_PATIENCE_MS)
    results = dock.context.session.results
    qtbot.waitUntil(lambda: bool(results.value.content) and tasks.is_idle(dock), timeout=LONG_PATIENCE_MS)
    output = (dock.result_location.folder / "output.txt").read_text()
    assert str(dock.run_panel.status.state) == "finished", output
    content = results.value.content
    assert content["tiles_done"] == content["tiles_total"] > 0
    assert results.value.heatmap.classes == find_bundle("tile-test").config.classes
    # A heatmap that was drawn before the result was known to be out of distribution is emptied.
    assert not any(np.isfinite(layer.data).any() for layer in viewer.layers if layer.name == "sample heatmap")
    dock.findChild(QAbstractButton, "slide_anyway").click()
    assert np.isfinite(viewer.layers["sample heatmap"].data).any()
    assert ("torch" in sys.modules) == had_torch


def test_edited_lesions_are_replaced_only_after_confirmation(ready, launched, monkeypatch):
    person, requested = ready, []
    person.lesion_table.selectRow(1)
    person.clicks("lesion_class")
    person.until(lambda: [row[1] for row in person.rows()][1:] == ["benign *"])
    person.waits()

    def answered(box):
        requested.append(box.objectName())
        box.deleteLater()

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", answered)
    person.clicks("primary")
    person.waits()
    assert requested == ["replace_lesions"]
    assert launched.options == []

    def agreed(box):
        box.deleteLater()
        return box.findChild(QPushButton, "replace")

    monkeypatch.setattr("napari_melanoma.ui.widgets.dialogs.exec_question", agreed)
    monkeypatch.setattr("napari_melanoma.slides.results.describe_difference", lambda folder, options: "")
    person.clicks("primary")
    person.until(lambda: len(launched.options) == 1)
    saved = read_saved_lesions(person.analysis.path)  # which the analysis backs up when it replaces them
    assert saved.is_outdated
    assert saved.is_edited
    assert [one.label for one in saved.lesions][1] == "benign"
