"""Two photographs of a lesion are compared in the viewer, and everything is as before afterwards."""

from __future__ import annotations

import pytest
from PIL import Image as PillowImage
from qtpy.QtWidgets import QLabel

from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_correction
from napari_melanoma.case.store import CaseStore, write_correction
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom
from napari_melanoma.ui.viewer.camera import get_camera

from .test_case import PATIENCE_MS, Pathologist


@pytest.fixture
def case(tmp_path):
    """A lesion that has grown by half within a year, and another with one photograph."""
    folder = tmp_path / "P-0042"
    folder.mkdir()
    case = add_lesion(add_lesion(Case()))
    made = []
    for growth, day, lesion in ((0.0, "2024-05-02", "L1"), (0.5, "2025-05-10", "L1"), (0.0, "", "L2")):
        config = LesionPhantomConfig(seed=1, modality="dermoscopic", size=(300, 400), field_mm=12.0)
        traits = config.lesion.model_copy(update={"diameter_mm": 4.0 * (1 + growth) ** 0.5, "centre": (0.5, 0.5)})
        phantom = lesion_phantom(config.model_copy(update={"lesion": traits}))
        path = folder / f"<b>mole</b>{len(made)}.png"
        PillowImage.fromarray(phantom.rgb).save(path)
        um = phantom.pixel_size.x_um
        image = CaseImage(id="", path=path, modality="dermoscopic", taken_on=day, mpp_x=um, mpp_y=um)
        case = add_images(case, [image], lesion)
        made.append(phantom)
    with CaseStore.create(folder, case) as store:
        case = store.case
        for number, phantom in enumerate(made, start=1):
            digest = array_fingerprint(phantom.rgb)
            mask = write_correction(store, f"I{number}", phantom.mask, image_digest=digest, model="m")
            case = set_correction(case, f"I{number}", mask)
        store.save(case)
    return folder


@pytest.fixture
def someone(viewer, shared_client, qtbot, case):
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    person = Pathologist(viewer, dock, qtbot)
    dock.controller.open(case)
    person.waits()
    yield person
    dock.comparison.leave()
    person.waits()


def state(viewer):
    """Layers with their visibility, the selection and the camera."""
    camera = get_camera(viewer)
    layers = [(layer.name, layer.visible) for layer in viewer.layers]
    return layers, {layer.name for layer in viewer.layers.selection}, tuple(camera.center), camera.zoom


def compare(person):
    person.picks("L1")
    person.clicks("comparison_start")
    person.qtbot.waitUntil(lambda: person.dock.comparison.layers is not None, timeout=PATIENCE_MS)


@pytest.mark.both_qts
def test_photographs_are_compared_and_the_layers_restored(someone, viewer):
    viewer.add_image(PillowImage.new("L", (40, 30)).__array__(), name="own")
    viewer.layers.selection.active = viewer.layers["own"]
    get_camera(viewer).zoom = 3.0
    before = state(viewer)
    compare(someone)
    assert [layer.name for layer in viewer.layers if layer.visible] == [
        "earlier photograph",
        "later photograph, registered",
    ]
    table = someone.dock.findChild(QLabel, "comparison_table").text()
    assert "Area, mm²" in table
    assert "increased" in table
    assert "no clear change" in table
    someone.clicks("comparison_leave")
    assert state(viewer) == before
    assert someone.dock.comparison.layers is None


def test_the_border_is_swiped_and_the_contours_hidden(someone, viewer):
    compare(someone)
    view, later = someone.dock.comparison._view, viewer.layers["later photograph, registered"]
    width = later.data.shape[1]
    for share in (0.25, 0.75):
        view.slider.setValue(round(share * view.slider.maximum()))
        columns = later.data[later.data.shape[0] // 2, :, 3] > 0
        assert not columns[: round(share * width)].any()
        assert columns[round(share * width) + 2 : -2].all()
    with_contours = viewer.layers["earlier photograph"].data
    someone.clicks("comparison_contours")
    assert (viewer.layers["earlier photograph"].data != with_contours).any()


def test_blinking_shows_both_in_turns(someone, viewer, qtbot):
    compare(someone)
    view, later = someone.dock.comparison._view, viewer.layers["later photograph, registered"]
    view.set_motion_reduced(False)
    view.blink_button.setChecked(True)
    assert later.data[..., 3].mean() > 200
    for is_visible in (False, True, False):
        qtbot.waitUntil(lambda now=is_visible: later.visible == now, timeout=PATIENCE_MS)
    view.slider.setValue(100)
    assert not view.blink_button.isChecked()
    assert later.visible


def test_nothing_blinks_with_reduced_motion(someone):
    compare(someone)
    view = someone.dock.comparison._view
    view.blink_button.setChecked(True)
    view.set_motion_reduced(True)
    assert not view.blink_button.isEnabled()
    assert not someone.dock.comparison.layers.is_blinking
    assert "reduce motion" in view.blink_button.toolTip()


def test_another_lesion_an_image_or_a_removed_layer_ends_the_comparison(someone, viewer):
    for end in (
        lambda: someone.picks("L2"),
        lambda: viewer.layers.remove("earlier photograph"),
        lambda: someone.dock.controller.close(),
    ):
        compare(someone)
        end()
        someone.waits()
        assert someone.dock.comparison.layers is None
        assert not any("photograph" in layer.name for layer in viewer.layers)


def test_what_cannot_be_compared_has_a_reason(someone, case):
    someone.picks("L2")
    assert not someone.dock.lesion_page.comparison_section.isVisibleTo(someone.dock)
    someone.picks("L1")
    view = someone.dock.comparison._view
    view.combos[1].setCurrentIndex(0)
    view.chosen.emit()
    assert not view.compare_button.isEnabled()
    assert "Select two different photographs" in view.compare_button.toolTip()
    view.combos[1].setCurrentIndex(1)
    view.chosen.emit()
    (case / "<b>mole</b>1.png").unlink()
    someone.clicks("comparison_start")
    assert "mole</b>1.png" in someone.status
    assert someone.dock.comparison.layers is None


def test_a_comparison_is_cancelled(someone):
    someone.picks("L1")
    view = someone.dock.comparison._view
    view.compare_button.click()
    someone.dock.status.cancelled.emit("comparing")
    someone.waits()
    assert someone.status == "Stopped."
    assert someone.dock.comparison.layers is None
