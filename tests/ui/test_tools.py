"""The single-step tools on layers of other plugins and of users, with the shipped models."""

from __future__ import annotations

import re
import sys

import numpy as np
import pandas as pd
import pytest
from napari.layers import Image, Labels, Shapes
from napari.utils import progress
from patience import PATIENCE_MS
from qtpy.QtCore import QLocale, Qt

import napari_melanoma as nm
from napari_melanoma.models import inference
from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.ui.session.adoption import LabelsSource
from napari_melanoma.ui.tools import _set_features
from napari_melanoma.ui.viewer.photographs import list_foreign_labels

UM = {"scale": (20.0, 30.0), "translate": (500.0, -100.0), "units": ("um", "um")}


@pytest.fixture(scope="module")
def mole():
    return lesion_phantom(LesionPhantomConfig(seed=3))


@pytest.fixture(autouse=True)
def no_torch(monkeypatch):
    """The environment requests torch, and asking for a GPU would import it."""
    monkeypatch.setenv(inference.BACKEND_VARIABLE, "torch")
    monkeypatch.setattr(inference, "has_gpu", lambda: pytest.fail("torch was asked"))
    had_torch = "torch" in sys.modules  # by another test
    yield
    assert ("torch" in sys.modules) == had_torch


@pytest.fixture
def opened(shown_viewer, qtbot):
    """Open a tool from napari's menu, and press its button."""

    def run(title, **values):
        _, gui = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", title)
        for name, value in values.items():
            gui[name].value = value
        runs = []
        gui.called.connect(runs.append)
        qtbot.mouseClick(gui.call_button.native, Qt.MouseButton.LeftButton)
        (run,) = runs
        qtbot.waitUntil(run.done, timeout=PATIENCE_MS)
        qtbot.waitUntil(lambda: gui.call_button.enabled and not progress._all_instances, timeout=PATIENCE_MS)
        assert gui.native.findChild(object, "tool_text").text() == run.text
        return run

    return run


def corner(layer, pixel=(0, 0)):
    return np.asarray(layer.data_to_world(pixel))


def disks(shape):
    """Two labels: a disk of radius 20, and a square of 10 x 10."""
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    labels = (np.hypot(rows - 60, columns - 80) <= 20).astype(np.uint8)
    labels[100:110, 20:30] = 4
    return labels


VARIANTS = {
    "RGB": lambda rgb: (rgb, {}),
    "RGBA": lambda rgb: (np.dstack([rgb, np.full(rgb.shape[:2], 255, np.uint8)]), {}),
    "float": lambda rgb: ((rgb / 255).astype(np.float32), {}),
    "multiscale": lambda rgb: ([rgb, rgb[::2, ::2]], {"multiscale": True}),
    "rotated": lambda rgb: (rgb, {**UM, "rotate": 30, "shear": [0.2]}),
    "affine": lambda rgb: (rgb, {**UM, "affine": [[0, 1, 50], [1, 0, 20], [0, 0, 1]]}),
}


@pytest.mark.both_qts
@pytest.mark.parametrize("variant", VARIANTS)
def test_segment_gives_labels_that_docks_adopt(variant, mole, opened, shown_viewer):
    data, options = VARIANTS[variant](mole.rgb)
    image = shown_viewer.add_image(data, name="mole", rgb=True, **options)
    run = opened("Segment lesion", image=image)
    mask = shown_viewer.layers["mole mask"]
    assert isinstance(mask, Labels)
    overlap = (mask.data > 0) & mole.mask
    assert 2 * overlap.sum() / ((mask.data > 0).sum() + mole.mask.sum()) > 0.9
    assert "of the photograph (threshold" in run.text
    for pixel in ((0, 0), (10, 40)):
        np.testing.assert_allclose(corner(mask, pixel), corner(image, pixel))
    assert mask.units == image.units
    assert list_foreign_labels(shown_viewer) == [mask]
    np.testing.assert_allclose(LabelsSource.from_layers(mask, image).matrix, np.eye(2, 3), atol=1e-6)


def test_a_sample_of_napari_is_segmented_twice(opened, shown_viewer):
    shown_viewer.open_sample("napari", "astronaut")
    run = opened("Segment lesion")
    assert run.text.count("not look like a photograph of a skin lesion") == 1, "stated once"
    shown_viewer.layers["astronaut mask"].data[:5] = 1
    opened("Segment lesion")
    assert "astronaut mask [1]" in shown_viewer.layers, "a mask that may have been corrected is not replaced"


def test_segment_from_points_of_a_layer_in_other_units(mole, opened, shown_viewer):
    options = {"scale": (0.02, 0.03), "translate": (3, 1), "units": ("mm", "mm")}
    image = shown_viewer.add_image(mole.rgb, name="mole", rgb=True, **options)
    rows, columns = np.nonzero(mole.mask)
    inside, outside = (round(rows.mean()), round(columns.mean())), (5, 5)
    clicks, skin = (
        shown_viewer.add_points([image.data_to_world(pixel)], name=name, units=("mm", "mm"))
        for name, pixel in (("clicks", inside), ("skin", outside))
    )
    run = opened("Segment lesion", image=image, model="lesion-small", inside=clicks, outside=skin)
    mask = shown_viewer.layers["mole mask"]
    with inference.without_torch():
        expected = nm.segment(mole.rgb, include=[inside], exclude=[outside])
    np.testing.assert_array_equal(mask.data > 0, expected.mask)
    np.testing.assert_allclose(corner(mask), corner(image))
    assert "Predicted from the points by lesion-click." in run.text
    clicks.data = np.empty((0, 2))
    assert "'clicks' has no points. Add some" in opened("Segment lesion", image=image, inside=clicks).text
    far = shown_viewer.add_points([(1000, 1000)], name="far", units=("mm", "mm"))
    assert (
        "Expected clicks within the photograph" in opened("Segment lesion", image=image, inside=far, outside=None).text
    )


@pytest.mark.both_qts
def test_a_script_without_an_event_loop_gets_the_result(mole, qtbot):
    run = nm.tools.segment()(image=Image(mole.rgb, name="mole"))
    with pytest.raises(TimeoutError):
        run.result(timeout=0)
    ((mask, options, kind),) = run.result(timeout=PATIENCE_MS / 1000)
    assert (mask.any(), options["name"], kind) == (True, "mole mask", "labels")
    assert run.exception() is None


@pytest.mark.parametrize(
    ("title", "sample", "message"),
    [
        ("Segment lesion", "camera", "'camera' is a gray image, but color (RGB or RGBA) was expected"),
        ("Segment tissue", "camera", "'camera' is a gray image"),
        ("Heatmap", "cells3d", "has 3 dimensions, but a color image has 2 (row, column)"),
        ("Segment lesion", None, "No color image is selected"),
    ],
)
def test_other_images_are_refused_with_a_reason(title, sample, message, opened, shown_viewer):
    if sample == "camera":
        shown_viewer.open_sample("napari", sample)
    elif sample:
        shown_viewer.add_image(np.zeros((3, 4, 5)), name=sample)
    count = len(shown_viewer.layers)
    run = opened(title)
    assert message in run.text
    assert run.result() is None
    assert len(shown_viewer.layers) == count


def test_a_slide_is_not_read_as_a_photograph(opened, shown_viewer):
    slide = np.broadcast_to(np.uint8(240), (20_000, 20_000, 3))
    levels = [slide[:: 2**level, :: 2**level] for level in range(6)]
    shown_viewer.add_image(levels, name="section", rgb=True, multiscale=True)
    message = "'section' has 20,000 x 20,000 pixels, but a photograph has at most 200 million. For a slide, use Segment"
    for title in ("Segment lesion", "Heatmap"):
        assert message in opened(title).text


def test_cancel_in_the_activity_dock_adds_nothing(mole, shown_viewer, qtbot):
    image = shown_viewer.add_image(mole.rgb, name="mole", rgb=True)
    gui = nm.tools.segment()
    shown_viewer.window.add_dock_widget(gui)
    run = gui(image=image)
    (bar,) = progress._all_instances
    assert not gui.call_button.enabled
    bar.cancel()
    qtbot.waitUntil(run.done, timeout=PATIENCE_MS)
    assert (run.result(), run.text) == (None, "Canceled.")
    qtbot.waitUntil(lambda: gui.call_button.enabled, timeout=PATIENCE_MS)
    assert not progress._all_instances
    assert len(shown_viewer.layers) == 1


def test_an_unexpected_error_is_shown(mole, opened, shown_viewer, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("out of memory")

    monkeypatch.setattr("napari_melanoma.ui.tools.nm", type("Api", (), {"segment": staticmethod(fail)}))
    monkeypatch.setattr("napari_melanoma.ui.viewer.tool_runs.notification_manager.dispatch", lambda _: None)
    shown_viewer.add_image(mole.rgb, name="mole", rgb=True)
    assert "out of memory" in opened("Segment lesion").text


def test_extract_roi_is_an_image_at_its_place(mole, opened, shown_viewer):
    image = shown_viewer.add_image(mole.rgb, name="mole", rgb=True, rotate=15, **UM)
    labels = np.zeros(mole.rgb.shape[:2], np.uint8)
    labels[40:80, 50:70] = 3
    mask = shown_viewer.add_labels(labels, name="other plugin")  # without the scale of the image
    opened("Extract ROI", image=image, mask=mask, margin=0)
    roi = shown_viewer.layers["mole ROI"]
    assert isinstance(roi, Image)
    assert roi.rgb
    np.testing.assert_array_equal(roi.data, mole.rgb[40:80, 40:80])
    np.testing.assert_allclose(corner(roi), corner(image, (40, 40)))
    np.testing.assert_allclose(corner(roi, (39, 7)), corner(image, (79, 47)))
    run = opened("Extract ROI", image=image, mask=mask, margin=50, black_background=True)
    assert run.text == "80 x 80 pixels."
    assert [layer.name for layer in shown_viewer.layers].count("mole ROI") == 1, "updated"
    assert roi.data.shape == (80, 80, 3)
    assert not roi.data[:, :20].any()
    np.testing.assert_allclose(corner(roi), corner(image, (20, 20)))


def test_classify_uses_patient_data(mole, opened, shown_viewer):
    image = shown_viewer.add_image(mole.rgb, name="mole", rgb=True, **UM)
    mask = shown_viewer.add_labels(mole.mask.astype(np.uint8), name="drawn", **UM)
    title, values = "Classify with patient data", {"image": image, "mask": mask, "model": "melanoma-small"}
    run = opened(title, **values, age="71", sex="male", site="torso")
    layer = shown_viewer.layers["mole classification"]
    assert isinstance(layer, Shapes)
    with inference.without_torch():
        expected = nm.classify(mole.rgb, mole.mask, model="melanoma-small", age=71, sex="male", site="torso")
    row = layer.features.iloc[0]
    assert row["probability_melanoma"] == pytest.approx(expected.probability, abs=1e-4)
    assert (row["headline"], row["verdict"]) == (expected.headline, expected.verdict)
    assert run.text.startswith(expected.verdict)
    assert "Research use only." in run.text
    opened(title, **values, age="")
    without = layer.features["probability_melanoma"][0]
    assert without != pytest.approx(row["probability_melanoma"], abs=1e-4)
    assert "expected a number from 0 to 120 years; found 'old'" in opened(title, **values, age="old").text
    opened(title, **values | {"model": "lesion-phone"}, age="")
    assert layer in shown_viewer.layers, "updated"
    classes = nm.load_model("lesion-phone").config.classes
    assert {name for name in layer.features if name.startswith("probability_")} == {f"probability_{c}" for c in classes}
    assert list(layer.features["model"]) == ["lesion-phone"]


def test_heatmap_is_updated(mole, opened, shown_viewer):
    image = shown_viewer.add_image(mole.rgb, name="mole", rgb=True, **UM)
    run = opened("Heatmap", image=image, model="melanoma-small")
    layer = shown_viewer.layers["mole heatmap"]
    assert layer.data.shape == mole.mask.shape
    assert layer.data.max() <= 1
    np.testing.assert_allclose(corner(layer, (9, 9)), corner(image, (9, 9)))
    assert run.text.startswith("Evidence for melanoma (cam).")
    opened("Heatmap", image=image, model="melanoma-small", method="occlusion")
    before = layer.data.copy()
    run = opened("Heatmap", image=image, model="melanoma-small", target="nevus", method="cam")
    assert run.text.startswith("Evidence for nevus (cam).")
    assert (layer.data != before).any()
    assert [other.name for other in shown_viewer.layers] == ["mole", "mole heatmap"]


def test_the_classes_of_a_heatmap_are_those_of_the_model(shown_viewer):
    gui = nm.tools.heatmap()
    shown_viewer.window.add_dock_widget(gui)
    assert gui["target"].choices == ("",), "automatic: the model depends on the photograph"
    gui["model"].value = "melanoma-small"
    assert gui["target"].choices == ("", *nm.load_model("melanoma-small").config.classes)
    gui["target"].value = "nevus"
    gui["model"].value = "lesion-phone"
    assert gui["target"].choices == ("", *nm.load_model("lesion-phone").config.classes)
    assert gui["target"].value == ""


def test_measure_adds_features(mole, opened, shown_viewer):
    image = shown_viewer.add_image(mole.rgb, name="mole", rgb=True, **UM)
    labels = shown_viewer.add_labels(disks(mole.mask.shape), name="cells", **UM)
    labels.features = {"index": [1, 4], "note": ["a", "b"], "area_px": [0, 0]}
    run = opened("Measure labels", lesions=labels, image=None)
    features = labels.features.set_index("index")
    assert features.loc[4, "area_mm2"] == pytest.approx(100 * 20 * 30 / 1e6)
    assert features.loc[1, "area_px"] == (labels.data == 1).sum()
    assert list(features["note"]) == ["a", "b"]
    assert "color_count" not in features
    assert run.text.splitlines()[0].startswith("Label 1 (of 2): area 0.75")
    opened("Measure labels", lesions=labels, image=image)
    assert "color_count" in labels.features
    # measured again after half of the disk and all of the square were erased, without the image and its scale
    labels.data = np.where(np.arange(labels.data.shape[1]) < 80, labels.data, 0) * (labels.data == 1)
    labels.scale, labels.units = (1, 1), ("pixel", "pixel")
    opened("Measure labels", lesions=labels, image=None)
    measured = nm.measure(labels.data == 1)
    assert set(labels.features) == {"index", "note", *measured}, "nothing remains of the image or of the scale"
    features = labels.features.set_index("index")
    assert dict(features.drop(columns="note").loc[1]) == pytest.approx(dict(measured))
    assert features.drop(columns="note").loc[4].isna().all(), "blank: it does not exist any more"
    assert list(features["note"]) == ["a", "b"]


OWN_FEATURES = {
    "with an index": {"index": [0, 1, 9], "note": ["background", "a", "erased"]},
    "by row": {"note": ["background", "a"]},
}


@pytest.mark.parametrize("own", OWN_FEATURES.values(), ids=OWN_FEATURES)
def test_features_of_the_user_are_kept(own):
    labels = Labels(np.array([[0, 1], [4, 4]]), features=own)
    for area in (7, 1):
        _set_features(labels, pd.DataFrame({"index": [1, 4], "area_px": [area, 2]}))
    features = labels.features.set_index("index")
    notes = dict(zip(own.get("index", [0, 1]), own["note"], strict=True))
    assert features["note"].dropna().to_dict() == notes
    assert features["area_px"].dropna().to_dict() == {1: 1, 4: 2}


def test_measure_without_a_scale(opened, shown_viewer):
    labels = shown_viewer.add_labels(disks((120, 160)), name="cells")
    assert "area 1,257 px²" in opened("Measure labels", lesions=labels).text
    assert "area_mm2" not in labels.features
    labels.data = np.zeros_like(labels.data)
    assert "found an empty layer" in opened("Measure labels", lesions=labels).text


def test_labels_that_the_image_does_not_show_as_a_whole_are_named(opened, shown_viewer):
    image = shown_viewer.add_image(SECTION[:100, :100], name="crop", rgb=True, **UM)
    cells = np.zeros((200, 200), np.uint8)
    cells[80:120, 10:50] = 1
    cells[150:160, 150:160] = 2
    cells[10:20, 30:60] = 3
    labels = shown_viewer.add_labels(cells, name="cells", **UM)
    run = opened("Measure labels", lesions=labels, image=image)
    assert labels.features.set_index("index")["area_px"].to_dict() == {1: 20 * 40, 3: 10 * 30}
    assert "Measured only as far as 'crop' shows it: label 1." in run.text
    assert "Not measured, outside 'crop' or smaller than its pixels: label 2." in run.text
    run = opened("Measure labels", lesions=labels, image=None)
    assert labels.features.set_index("index")["area_px"].to_dict() == {1: 40 * 40, 2: 100, 3: 10 * 30}
    assert "easured" not in run.text
    labels.data = np.where(cells == 3, cells, 0)
    assert "easured" not in opened("Measure labels", lesions=labels, image=image).text


def draw_section():
    rgb = np.full((1024, 1024, 3), 243, np.uint8)
    random = np.random.default_rng(0)
    rgb[300:700, 200:900] = random.integers(120, 200, (400, 700, 3)) * np.array([1, 0.6, 0.95])
    return rgb


def test_segment_tissue_of_a_multiscale_image(opened, shown_viewer):
    rgb = draw_section()
    options = {"scale": (4, 4), "units": ("um", "um"), "translate": (100, 0)}
    image = shown_viewer.add_image([rgb, rgb[::2, ::2]], name="section", rgb=True, multiscale=True, **options)
    run = opened("Segment tissue", image=image)
    tissue = shown_viewer.layers["section tissue"]
    rows, columns = np.nonzero(tissue.data)
    first, last = corner(tissue, (rows.min(), columns.min())), corner(tissue, (rows.max(), columns.max()))
    np.testing.assert_allclose(first, corner(image, (300, 200)), atol=60)
    np.testing.assert_allclose(last, corner(image, (699, 899)), atol=60)
    assert " % of the image is tissue." in run.text


@pytest.mark.both_qts
@pytest.mark.parametrize("text", ["0.02", "0,02"])
def test_the_smallest_area_of_tissue_is_typed_with_point_or_comma_in_german(shown_viewer, qtbot, text):
    before = QLocale()
    QLocale.setDefault(QLocale(QLocale.Language.German))
    try:
        _, gui = shown_viewer.window.add_plugin_dock_widget("napari-melanoma", "Segment tissue")
        box = gui["min_area_mm2"].native
        box.selectAll()
        qtbot.keyClicks(box, text)
        qtbot.keyClick(box, Qt.Key.Key_Return)
        assert (gui["min_area_mm2"].value, box.text()) == (0.02, "0.02")
    finally:
        QLocale.setDefault(before)


@pytest.mark.slow
def test_apply_a_tissue_classifier(opened, shown_viewer, tmp_path, monkeypatch):
    from painted_phantoms import CLASSES, draw_phantom

    from napari_melanoma.models.installed_bundles import install_bundle
    from napari_melanoma.slides.tissue_classifier.bundle import write_tissue_bundle
    from napari_melanoma.slides.tissue_classifier.classifier import TissueFitOptions, fit_tissue_classifier

    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    phantom = draw_phantom(tmp_path / "skin.tif")
    fitted = fit_tissue_classifier([phantom.painted()], TissueFitOptions(sources=("texture",), kinds=("logistic",)))
    model = install_bundle(write_tissue_bundle(tmp_path / "skin", fitted)).name
    (pixels,) = shown_viewer.open(phantom.path, plugin="napari")
    pixels.scale, pixels.units = (1, 1), ("um", "um")
    run = opened("Apply tissue classifier", image=pixels, model=model)
    layer = shown_viewer.layers["skin tissue classes"]
    known = layer.data > 0
    truth = phantom.truth.argmax(axis=2) + 1
    assert (layer.data == truth)[known].mean() > 0.7
    np.testing.assert_allclose(corner(layer), (15.5, 15.5))
    assert list(layer.features["class"]) == ["", *CLASSES]
    assert re.match(r"Glass \(\d+\.\d %\), .* of the analyzed area\.", run.text)


SECTION = np.full((200, 200, 3), 200, np.uint8)
DEPTHS = [(10.0, "no", "1.00 mm, T1b"), (20.0, "yes", "2.00 mm, T2b"), (50.0, "unknown", "5.00 mm, T4 ")]


@pytest.mark.parametrize(("um", "ulcerated", "text"), DEPTHS)
def test_depth_from_two_points_of_a_layer_in_other_units(um, ulcerated, text, opened, shown_viewer):
    options = {"scale": (um / 1000, um / 1000), "units": ("mm", "mm"), "translate": (3, 1)}
    image = shown_viewer.add_image(SECTION, name="section", rgb=True, **options)
    start, end = (np.asarray(image.data_to_world(pixel)) for pixel in ((20, 30), (120, 30)))
    points = shown_viewer.add_points([start, end], units=("mm", "mm"))
    run = opened("Depth from two points", points=points, image=image, ulcerated=ulcerated)
    assert run.text.startswith(text)
    line = shown_viewer.layers["section depth"]
    np.testing.assert_allclose(line.data[0], [(20, 30), (120, 30)], atol=1e-3)
    np.testing.assert_allclose(corner(line), corner(image))
    assert line.features["depth_mm"][0] == pytest.approx(um / 10, rel=1e-6)


def test_depth_needs_two_points_and_a_scale(opened, shown_viewer):
    image = shown_viewer.add_image(SECTION, name="section", rgb=True)
    points = shown_viewer.add_points([(1, 1), (2, 2), (5, 5)])
    points.selected_data = set()
    assert (
        "Expected two different points in 'Points', found 3"
        in opened("Depth from two points", points=points, image=image).text
    )
    points.selected_data = {0, 2}
    assert "'section' has none" in opened("Depth from two points", points=points, image=image).text
