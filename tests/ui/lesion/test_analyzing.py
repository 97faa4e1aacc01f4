"""Analysis in the Lesion dock: results and their options, several lesions, warnings, and what fails or is canceled."""

from __future__ import annotations

import json
import os
import re
import signal
from types import SimpleNamespace

import numpy as np
import pytest
from lesion_fixtures import FIXTURES, TWO, gradient
from napari.layers import Image
from napari.utils.notifications import notification_manager
from PIL import Image as PillowImage
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractSlider,
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QLabel,
    QMessageBox,
    QSlider,
)

from conftest import PATIENCE_MS, photograph, until
from napari_melanoma.core.geometry import Box, PixelSize
from napari_melanoma.imaging.modality import ModalityEstimate
from napari_melanoma.lesion import analysis
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.ui.session import photograph_opener, recovery, workspace
from napari_melanoma.ui.viewer import photographs
from napari_melanoma.ui.viewer.layer_slide import LayerSlide
from napari_melanoma.ui.viewer.photographs import METADATA_KEY, LayerPhotographSource
from napari_melanoma.ui.widgets.settings import DockSettings

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)


def test_results_follow_options_scale_name_and_the_next_analysis(person):
    # Predictions for flipped images give a band that follows the threshold.
    image = person.opens()
    person.finds(QCheckBox, "flips").click()
    person.analyses()
    band = person.layer("band")
    assert (band.data == person.lesion.result.band).all()
    assert (band.data[60, 80], band.data[5, 5]) == (0, 1)
    person.finds(QAbstractSlider, "threshold_slider").setValue(90)
    person.waits()
    assert person.layer("band") == band
    assert (band.data[60, 80], band.data[5, 5]) == (1, 0)
    person.finds(QCheckBox, "flips").click()
    person.analyses()
    assert "mole band" not in [layer.name for layer in person.viewer.layers]
    # Measurements follow the scale of the image.
    assert "area_mm2" not in person.lesion.result.measurements
    image.scale, image.units = (50.0, 50.0), ("um", "um")
    person.waits()
    assert person.lesion.result.measurements["area_mm2"] == pytest.approx(person.mask.sum() * 0.05**2)
    assert person.lesion.result.photograph.pixel_size == PixelSize(50.0, 50.0)
    # The layers follow the name of their image, and a duplicate gets its own.
    image.name = "left arm"
    person.analyses()
    assert len(person.viewer.layers) == 5
    # A duplicated image gets layers of its own.
    person.viewer.add_layer(type(image).create(*image.as_layer_data_tuple()))
    person.analyses()
    assert len(person.viewer.layers) == 10


def test_a_scale_and_a_type_stated_during_an_analysis_apply_to_its_result(person, qtbot):
    image = person.opens()
    person.dock.model.model = "slow-1"
    for size, modality in ((PixelSize(50.0, 50.0), "macroscopic"), (PixelSize(20.0, 20.0), "dermoscopic")):
        person.clicks("primary")
        until(qtbot, lambda: "Finding the lesion" in person.dock.status.text)
        photographs.set_pixel_size(person.viewer, image, size)
        person.dock.picker.set_modality(modality)
        person.waits()
        result = person.lesion.result
        assert (result.photograph.pixel_size, result.photograph.modality) == (size, modality)
        area = person.mask.sum() * (size.x_um / 1000) ** 2
        assert result.measurements["area_mm2"] == pytest.approx(area)
        assert person.layer("mask").features["area_mm2"].item() == pytest.approx(area)


def test_an_image_without_lesion_is_reported_and_can_be_painted_and_integers_of_32_bits_are_refused(person):
    person.opens(rgb=np.full((60, 80, 3), 230, np.uint8))
    person.analyses()
    assert not person.mask.any()
    assert "does not look like a photograph of a skin lesion" in person.dock.status.text  # no verdict on such an image
    person.draws(person.layer("mask"), [(30, 30), (30, 40)])
    person.waits()
    assert person.lesion.result.measurements["area_px"] == person.mask.sum() > 0
    # Skin without a lesion is reported, too, even if the file is damaged.
    person.viewer.layers.clear()
    person.waits()
    image = person.opens(rgb=photograph(lesions=()))
    person.analyses()
    assert "no lesion found with" in person.dock.status.text.lower()
    about = image.metadata["napari_melanoma"]
    image.metadata = {**image.metadata, "napari_melanoma": {**about, "damage": "the last rows are missing"}}
    person.analyses()
    assert person.dock.status.text.startswith("Not valid: ")
    assert ". No lesion found with" in person.dock.status.text
    person.viewer.layers.clear()
    person.waits()
    person.opens("counts", gradient().astype(np.int32))
    person.clicks("primary")
    person.waits()
    message = notification_manager.records[-1].message
    assert "'counts' has 32-bit signed integer samples, but a photograph must have 8 or 16 bits" in message
    assert len(person.viewer.layers) == 1


def coloured(rgb, kind):
    """The same colors as another program may hand them over, and as the file reader would give them."""
    if kind == "float 0 to 255":
        return rgb.astype(np.float32)
    if kind == "transparent":
        alpha = np.full((*rgb.shape[:2], 1), 255, np.uint8)
        alpha[:30] = 0
        return np.concatenate([rgb, alpha], axis=2)
    return rgb.astype(np.uint16) * 257 + 120


def test_the_assumed_range_of_a_layer_is_noted():
    rgb = gradient()
    photograph = LayerPhotographSource.from_layer(Image(rgb.astype(np.uint16) * 16, rgb=True)).read()
    assert np.abs(photograph.rgb.astype(int) - rgb).max() <= 1
    assert photograph.notes == ("its 16-bit channels were read as 12-bit values, as no value exceeds 4095",)


def test_all_regions_of_a_layer_have_one_range():
    values = np.full((64, 64, 3), 0.9, np.float32)
    values[32:] = 200.0
    values[0, 0] = 262.0
    slide = LayerSlide(Image(values, rgb=True))
    assert (slide.read_region(0, Box(8, 0, 8, 64)) == 1).all()
    assert (slide.read_region(0, Box(40, 0, 8, 64)) == 200).all()


@pytest.mark.parametrize("kind", ["float 0 to 255", "transparent", "16 bit"])
def test_pixels_of_a_layer_are_read_as_those_of_a_file(kind):
    rgb = gradient()
    image = Image(coloured(rgb, kind), rgb=True)
    expected = rgb.copy()
    if kind == "transparent":
        expected[:30] = 255
    assert np.array_equal(LayerPhotographSource.from_layer(image).read().rgb, expected)


def test_analyze_all_keeps_corrected_masks_and_takes_other_number_types_and_alpha(person):
    rgb = person.opens("one").data
    person.analyses()
    plain = person.layer("mask", "one").data.copy()
    person.draws(person.layer("mask", "one"), [(10, 10), (10, 30)])
    person.waits()
    drawn = person.layer("mask", "one").data.copy()
    others = {
        "16 bit": rgb.astype(np.uint16) * 257,
        "float": rgb / np.float32(255),
        "alpha": np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]),
    }
    for name, data in others.items():
        person.opens(name, data)
    person.clicks("analyse_all")
    person.waits()
    assert np.array_equal(person.layer("mask", "one").data, drawn)
    assert "3 photographs analyzed" in person.dock.status.text
    assert all(np.array_equal(person.layer("mask", name).data, plain) for name in others)


def last_error() -> str:
    return notification_manager.records[-1].message


def begins_a_long_analysis(person, qtbot):
    person.dock.model.model = "slow-60"
    person.clicks("primary")
    qtbot.waitUntil(lambda: "Finding the lesion" in person.dock.status.text, timeout=PATIENCE_MS)


@pytest.mark.path
def test_an_analysis_that_is_canceled_or_fails_changes_nothing(person, client, qtbot):
    person.opens()
    # It is cancelled.
    begins_a_long_analysis(person, qtbot)
    person.clicks("cancel")
    person.waits()
    assert "Canceled" in person.dock.status.text
    assert len(person.viewer.layers) == 1
    # Its worker is killed.
    begins_a_long_analysis(person, qtbot)
    os.kill(client.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    person.waits()
    assert "stopped unexpectedly" in last_error()
    assert len(person.viewer.layers) == 1
    # Its model is unknown.
    person.dock.model.model = "nonsense"
    person.analyses()
    assert "There is no model named 'nonsense'" in last_error()
    assert "nonsense" in person.dock.status.text
    assert len(person.viewer.layers) == 1
    # The next one runs.
    person.dock.model.model = "fine"
    person.analyses()
    assert person.mask.any()
    # Its image is removed.
    person.viewer.layers.clear()
    image = person.opens()
    person.dock.model.model = "slow-0.5"
    person.clicks("primary")
    person.viewer.layers.remove(image)
    person.waits()
    assert len(person.viewer.layers) == 0
    assert person.dock.status.text == "mole was removed during its analysis. Its result was discarded."


def test_photographs_dropped_while_others_open_are_opened_too(person, tmp_path):
    def files(*names):
        for number, name in enumerate(names):
            PillowImage.fromarray(gradient(80 + number)).save(tmp_path / f"{name}.png")
        return [tmp_path / f"{name}.png" for name in names]

    person.dock.opener.open(files(*(f"photo {number}" for number in range(20))))
    person.finds(QAbstractButton, "cancel").click()  # opening can be cancelled
    person.waits()
    assert len(person.viewer.layers) == 0
    assert person.dock.status.text == ""
    one, two, three = files("one", "two", "three")
    counts = []
    person.dock.opener.finished.connect(counts.append)
    person.dock.welcome.dropped.emit([one, two])
    person.dock.welcome.dropped.emit([three])
    assert "Opening" in person.dock.status.text
    person.waits()
    assert [layer.name for layer in person.viewer.layers] == ["one", "two", "three"]
    assert counts == [3]
    assert person.dock.status.text == ""


def tissue():
    """Pink tissue with purple nuclei: uint8 (row, column, channel)."""
    rng = np.random.default_rng(1)
    rgb, (rows, columns) = np.full((120, 160, 3), (225, 170, 205), np.uint8), np.mgrid[:120, :160]
    for row, column in rng.integers(0, (120, 160), (90, 2)):
        rgb[(rows - row) ** 2 + (columns - column) ** 2 <= 9] = (95, 60, 140)
    return np.clip(rgb + rng.normal(0, 6, rgb.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("answer", ["Slide", "Photograph", "Cancel"])
def test_an_image_of_tissue_among_photographs_is_opened_as_what_the_user_states(person, tmp_path, monkeypatch, answer):
    asked, opened_as_slides = [], []

    def press(box):
        asked.append(box.text())
        assert box.defaultButton().text() == "Slide"
        box.deleteLater()
        return next(button for button in box.buttons() if answer in button.text())

    monkeypatch.setattr(photograph_opener, "exec_question", press)
    monkeypatch.setattr(workspace, "show_dock", lambda viewer, name: None)
    person.dock.workspace.slides.provide(
        SimpleNamespace(opener=SimpleNamespace(open=opened_as_slides.extend)), person.dock
    )
    paths = [tmp_path / f"{name}.png" for name in ("mole", "region")]
    for path, rgb in zip(paths, (photograph(), tissue()), strict=True):
        PillowImage.fromarray(rgb).save(path)
    person.dock.opener.open(paths)
    person.waits()
    assert asked == ["Open region.png as a photograph or a slide?"]
    expected = {"Slide": (["mole"], [paths[1]]), "Photograph": (["mole", "region"], []), "Cancel": (["mole"], [])}
    assert ([layer.name for layer in person.viewer.layers], opened_as_slides) == expected[answer]


def test_other_lesions_are_outlined_and_counted_unless_they_are_selected(person):
    two = person
    two.opens("mole", photograph(TWO))
    two.analyses()
    assert "2 lesions found; showing the largest." in two.finds(QLabel, "several_lesions").text()
    assert not two.mask[60, 120]
    (outline,) = two.layer("other lesions").data
    assert abs(outline[:, 1].mean() - 120) < 2
    # The number of lesions follows the mask.
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    until(two.qtbot, lambda: two.finds(QLabel, "several_lesions").text() == "")
    two.dock.status.show_message("Something else.")
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    assert two.dock.status.text == "Something else."
    # The outlines follow the lesion that is selected.
    two.dock.hosted.sections["Mask"].widget._on_chosen((60, 120))
    two.waits()
    assert two.mask[60, 120]
    assert abs(two.layer("other lesions").data[0][:, 1].mean() - 50) < 2
    two.finds(QCheckBox, "largest_only").click()
    two.waits()
    assert two.mask[60, 120]
    assert two.mask[60, 50]
    assert not two.layer("other lesions").data


NOISE = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)


def test_the_warning_belongs_to_its_photograph_and_an_uncertain_type_is_requested_and_stored(
    person, monkeypatch, tmp_path
):
    notice, label = person.dock.modality_notice, person.finds(QLabel, "modality_warning")
    person.opens("lesion", lesion_phantom(LesionPhantomConfig(seed=3, size=(120, 160))).rgb)
    person.analyses()
    assert not notice.isVisibleTo(person.dock)
    person.opens("noise", NOISE)
    assert not notice.isVisibleTo(person.dock)
    person.analyses()
    assert notice.isVisibleTo(person.dock)
    assert "does not look like a photograph of a skin lesion" in label.text()
    person.dock.picker.step(-1)
    assert not notice.isVisibleTo(person.dock)
    # A file is opened as a slide by the link.
    shown = []
    monkeypatch.setattr(workspace, "show_dock", lambda viewer, name: None)
    person.dock.workspace.slides.provide(SimpleNamespace(show_file=shown.append), person.dock)
    person.opens("section", NOISE[::-1], metadata={METADATA_KEY: {"path": str(tmp_path / "section.tif")}})
    person.analyses()
    link = re.search(r"href='([^']*)'", label.text()).group(1)
    label.linkActivated.emit(link)
    assert shown == [tmp_path / "section.tif"]
    # An uncertain type is requested.
    person.viewer.layers.clear()
    person.waits()
    monkeypatch.setattr(analysis, "recognize_modality", lambda rgb: ModalityEstimate("macroscopic", 0.95))
    combo = person.finds(QComboBox, "photograph_type")
    person.opens("lesion", lesion_phantom(LesionPhantomConfig(seed=3, size=(120, 160))).rgb)
    person.analyses()
    assert combo.currentText() == "not stated"
    assert "Is this photograph <a" in label.text()
    label.linkActivated.emit("macroscopic")
    person.waits()
    result = person.lesion.result
    assert combo.currentText() == "macroscopic"
    assert (result.photograph.modality, result.modality) == ("macroscopic", "macroscopic")
    assert not notice.isVisibleTo(person.dock)
    combo.setCurrentIndex(combo.findData("dermoscopic"))
    combo.activated.emit(combo.currentIndex())
    person.waits()
    result = person.lesion.result
    assert result.modality == "dermoscopic"


def test_a_damaged_photograph_is_opened_after_confirmation_and_stays_marked(person, tmp_path, qtbot):
    path = tmp_path / "half.jpg"
    PillowImage.fromarray(lesion_phantom(LesionPhantomConfig(seed=3, size=(160, 200))).rgb).save(path, quality=90)
    path.write_bytes(path.read_bytes()[:-2][: path.stat().st_size * 2 // 3] + b"\xff\xd9")

    def question():
        return person.dock.window().findChild(QMessageBox, "damaged_photograph")

    person.dock.opener.open([path])
    qtbot.waitUntil(lambda: question() is not None, timeout=PATIENCE_MS)
    assert "rows could be decoded" in question().text()
    assert not person.viewer.layers
    question().reject()
    qtbot.waitUntil(lambda: question() is None, timeout=PATIENCE_MS)
    assert not person.viewer.layers
    person.dock.opener.open([path])
    qtbot.waitUntil(lambda: question() is not None, timeout=PATIENCE_MS)
    next(button for button in question().buttons() if "Open" in button.text()).click()
    qtbot.waitUntil(lambda: len(person.viewer.layers) == 1, timeout=PATIENCE_MS)
    person.waits()
    assert "rows could be decoded" in person.viewer.layers[0].metadata["napari_melanoma"]["damage"]
    assert any("DAMAGED" in label.text() for label in person.dock.findChildren(QLabel))
    person.analyses()
    assert "Damaged photograph" in person.finds(QLabel, "modality_warning").text()


def types(person, text, *, first=True):
    """Type into the threshold box, in the place of what it holds or after what was typed before."""
    box = person.finds(QDoubleSpinBox, "threshold")
    box.setFocus()
    person.qtbot.waitUntil(box.hasFocus, timeout=PATIENCE_MS)
    if first:
        box.selectAll()
    person.qtbot.keyClicks(box, text)


def starts(person):
    """Begin the first analysis of ``first``, with ``second`` beside it."""
    person.viewer.layers.clear()
    person.waits()
    person.opens("second", gradient(90))
    person.opens("first", gradient())
    person.main.activateWindow()
    person.qtbot.waitUntil(lambda: person.dock.picker.session.image.name == "first", timeout=PATIENCE_MS)
    person.dock.model.model = "slow-0.5"
    person.clicks("primary")
    person.qtbot.waitUntil(person.finds(QDoubleSpinBox, "threshold").isVisible, timeout=PATIENCE_MS)


def both(person):
    """The threshold in the box and that of the result, for both photographs."""
    person.waits()
    found = {}
    for _ in range(2):
        lesion = person.lesion
        known = None if lesion is None else lesion.result.threshold
        found[person.dock.picker.session.image.name] = (person.finds(QDoubleSpinBox, "threshold").value(), known)
        person.dock.picker.step(1)
    return found


TYPED = {"first": (0.66, 0.66), "second": (0.66, None)}


def test_a_threshold_typed_during_the_first_analysis_is_kept(window):
    starts(window)
    types(window, "0.66")
    window.dock.picker.step(1)
    assert both(window) == TYPED
    window.waits()
    assert both(window) == TYPED

    # Half of it is typed after the result has come, before its layers are added.
    def go_on(analyzed):
        types(window, "6", first=False)
        window.dock.picker.step(1)

    starts(window)
    types(window, "0.6")
    window.dock.analysis_controller.analyzed.connect(go_on)
    assert both(window) == TYPED
    window.dock.analysis_controller.analyzed.disconnect(go_on)

    # It is typed while the layers are added.
    def type_late(event):
        if photographs.get_role(event.value) == "mask":
            types(window, "0.66")

    starts(window)
    window.viewer.layers.events.inserted.connect(type_late)
    assert both(window) == TYPED
    window.viewer.layers.events.inserted.disconnect(type_late)


def test_a_threshold_set_around_an_analysis_is_kept_and_is_not_a_correction(person, qtbot, tmp_path):
    DockSettings().folder = tmp_path
    person.opens("mole", gradient())
    person.dock.model.model = "slow-1"
    slider = person.finds(QSlider, "threshold_slider")
    # It is set during the first analysis, a moment before the next, and meanwhile.
    for position, is_before in ((90, False), (80, True), (70, False)):
        if is_before:
            slider.setValue(position)
        person.clicks("primary")
        if not is_before:
            until(qtbot, lambda: "Finding the lesion" in person.dock.status.text)
            slider.setValue(position)
        person.waits()
        assert "nalyzed in" in person.dock.status.text
        assert person.lesion.result.model.name == "slow-1"
        assert person.lesion.result.threshold == position / 100
        assert np.array_equal(person.mask, person.lesion.result.mask)
        assert not person.lesion.corrected
    # Saving uses one that is pending.
    slider.setValue(90)
    person.clicks("save")
    person.waits()
    about = json.loads((person.dock.picker.session.saved.folder / "result.json").read_text(encoding="utf-8"))
    assert about["threshold"] == 0.9
    assert about["measurements"]["area_px"] == person.mask.sum()


def test_a_threshold_of_the_dock_applies_to_later_analyses_and_what_is_pending_to_its_photograph(person, qtbot):
    person.opens("first", gradient())
    person.analyses()
    person.finds(QSlider, "threshold_slider").setValue(90)
    person.waits()
    person.opens("second", gradient(90))
    qtbot.waitUntil(lambda: person.dock.picker.session.image.name == "second", timeout=PATIENCE_MS)
    person.clicks("analyse_all")
    person.waits()
    assert {session.name: session.lesion.result.threshold for session in person.dock.sessions} == dict.fromkeys(
        ("first", "second"), 0.9
    )
    assert not person.lesion.is_user_edited
    person.finds(QSlider, "threshold_slider").setValue(60)
    person.waits()
    found = {session.name: session.lesion.result.threshold for session in person.dock.sessions}
    assert found == {"first": 0.9, "second": 0.6}
    person.draws(person.layer("mask", "second"), [(5, 5), (5, 60)])
    person.waits()
    person.dock.picker.step(-1)
    assert person.dock.picker.session.image.name == "first"
    first = person.dock.picker.identity
    qtbot.waitUntil(lambda: person.dock.picker.session.image.name == "first", timeout=PATIENCE_MS)
    drawn = person.layer("mask", "second").data.copy()
    person.finds(QSlider, "threshold_slider").setValue(95)
    person.dock.picker.step(1)
    qtbot.wait(400)
    assert np.array_equal(person.layer("mask", "second").data, drawn)
    assert person.lesion.corrected
    assert person.lesion.unsaved
    assert list(recovery.recovery_root().glob("*/drawn.npz"))
    # So do those of the ROI.
    person.dock.picker.step(-1)
    person.finds(QDoubleSpinBox, "margin").setValue(50)
    person.dock.picker.step(1)
    qtbot.wait(400)
    person.waits()
    assert person.dock.sessions.find(first).lesion.result.options.roi.margin == 0.5
    assert person.lesion.result.options.roi.margin == 0.1
