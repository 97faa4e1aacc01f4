"""The Options section: options are shown, stored, and used by the analysis."""

from __future__ import annotations

import pytest
from fake_slides import FakeAnalysis
from qtpy.QtWidgets import QComboBox, QLabel, QLineEdit, QWidget
from slide_fixtures import UNSEEN

from napari_melanoma.imaging.stain import StainConfig
from napari_melanoma.slides.options import SlideOptions
from napari_melanoma.slides.scores import SlideScoreConfig
from napari_melanoma.slides.tissue import TissueConfig
from napari_melanoma.ui.session.tissue import TissueState
from napari_melanoma.ui.slide.options import EXCLUDED_FIELDS, SlideOptionsForm, get_changed_options

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


def check_returned_options(person, everything):
    dock, session = person.dock, person.session
    for options in (SlideOptions(), everything, SlideOptions(stain=StainConfig()), SlideOptions()):
        lesions = dock.get_options(session).lesions
        session.tissue.set(TissueState(options.tissue.method))
        dock.options_controller.set_options(options)
        assert dock.get_options(session) == options.model_copy(update={"model": "tiny", "lesions": lesions})
    dock.options_controller.set_options(everything)
    assert dock.options_section.title_button.text() == "Options  (31 changed)"


@pytest.mark.path
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
    dock.model_picker.model = "tile-demo"
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


def test_options_of_another_version_are_ignored(person, slide_path):
    person.dock.settings.set("slide/options", {"tile_um": -3, "colour": "green"})
    person.dock.options_controller.set_options()
    person.opens_slides(slide_path)
    assert get_changed_options(person.dock.get_options(person.session)) == {}
