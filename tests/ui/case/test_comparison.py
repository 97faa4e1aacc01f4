"""Two photographs of a lesion are compared in the viewer, and everything is as before afterwards."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from napari.layers import Image, Labels
from PIL import Image as PillowImage
from qtpy.QtWidgets import QLabel

from napari_melanoma.case import changes
from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion, set_correction, set_image
from napari_melanoma.case.store import CaseStore, write_correction
from napari_melanoma.core.provenance import array_fingerprint
from napari_melanoma.lesion.changes import compare_photographs
from napari_melanoma.phantoms.lesion import LesionPhantomConfig, lesion_phantom
from napari_melanoma.ui.viewer.camera import get_camera, get_scale_bar

from .test_case import PATIENCE_MS, Pathologist

GROWN = (0.0, "2024-05-02", "L1"), (0.5, "2025-05-10", "L1"), (0.0, "", "L2")  # growth, day and lesion
TWICE = (*GROWN[:2], (0.2, "2026-05-10", "L1"))


@cache
def grown(growth):
    config = LesionPhantomConfig(seed=1, modality="dermoscopic", size=(120, 160), field_mm=12.0)
    traits = config.lesion.model_copy(update={"diameter_mm": 4.0 * (1 + growth) ** 0.5, "centre": (0.5, 0.5)})
    return lesion_phantom(config.model_copy(update={"lesion": traits}))


@pytest.fixture
def case(request, tmp_path):
    """A lesion that has grown by half within a year, and another with one photograph."""
    folder = tmp_path / "P-0042"
    folder.mkdir()
    case = add_lesion(add_lesion(Case()))
    made = []
    for growth, day, lesion in getattr(request, "param", GROWN):
        phantom = grown(growth)
        path = folder / f"<b>mole&{len(made)}.png"
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


@pytest.fixture(scope="module")
def known():
    """Results by the content of the photographs and masks."""
    return {}


@pytest.fixture(autouse=True)
def registered_once(known, monkeypatch):
    """Register the same photographs once for all tests, which takes longer than what most are about."""

    def compare(first, second, run):
        key = tuple(
            (*map(array_fingerprint, (photo.rgb, one.mask)), photo.pixel_size, photo.modality)
            for one in (first, second)
            for photo in [one.photograph]
        )
        if key not in known:
            known[key] = compare_photographs(first, second, run)
        return known[key]

    monkeypatch.setattr(changes, "compare_photographs", compare)


@pytest.fixture
def registered_each_time(registered_once, monkeypatch):
    """Let a comparison take its time, for tests of what happens before it is complete."""
    monkeypatch.setattr(changes, "compare_photographs", compare_photographs)


@pytest.fixture
def someone(viewer, shared_client, qtbot, case):
    person = enter(viewer, qtbot, case)
    yield person
    person.dock.comparison.leave()
    person.waits()


def enter(viewer, qtbot, case):
    _, dock = viewer.window.add_plugin_dock_widget("napari-melanoma", "Case")
    person = Pathologist(viewer, dock, qtbot)
    dock.controller.open(case)
    person.waits()
    return person


def state(viewer):
    """Layers with their visibility, the selection and the camera."""
    camera = get_camera(viewer)
    layers = [(layer.name, layer.visible) for layer in viewer.layers]
    return layers, {layer.name for layer in viewer.layers.selection}, tuple(camera.center), camera.zoom


def compare(person, *ids):
    person.picks("L1")
    choose(person, *ids)
    person.clicks("comparison_start")
    person.qtbot.waitUntil(lambda: person.dock.comparison.layers is not None, timeout=PATIENCE_MS)


def choose(person, *ids):
    for name, image in zip(("comparison_first", "comparison_second"), ids, strict=False):
        person.chooses(name, image)


def text(person, name):
    return person.dock.findChild(QLabel, name).text()


def shown(viewer):
    """Names of the visible images and masks."""
    return [layer.name for layer in viewer.layers if layer.visible and isinstance(layer, Image | Labels)]


def test_photographs_are_compared_swiped_and_the_layers_restored(someone, viewer, qtbot):
    viewer.add_image(np.zeros((30, 40)), name="own")
    viewer.layers.selection.active = viewer.layers["own"]
    get_camera(viewer).zoom = 3.0
    before = state(viewer)
    compare(someone)
    assert shown(viewer) == ["earlier photograph", "later photograph, registered"]
    table = text(someone, "comparison_table")
    assert "Area, mm²" in table
    assert "increased" in table
    assert "no clear change" in table
    assert someone.status.startswith("Compared.")
    view, later = someone.dock.comparison._view, viewer.layers["later photograph, registered"]
    # The border is swiped.
    width = later.data.shape[1]
    for share in (0.25, 0.75):
        view.slider.setValue(round(share * view.slider.maximum()))
        columns = later.data[later.data.shape[0] // 2, :, 3] > 0
        assert not columns[: round(share * width)].any()
        assert columns[round(share * width) + 2 : -2].all()
    # The contours are hidden.
    with_contours = viewer.layers["earlier photograph"].data
    someone.clicks("comparison_contours")
    assert (viewer.layers["earlier photograph"].data != with_contours).any()
    # Both are shown in turns, until the border is swiped again.
    view.blink_button.setChecked(True)
    assert later.data[..., 3].mean() > 200
    for is_visible in (False, True, False):
        qtbot.waitUntil(lambda now=is_visible: later.visible == now, timeout=PATIENCE_MS)
    view.slider.setValue(100)
    assert not view.blink_button.isChecked()
    assert later.visible
    someone.clicks("comparison_leave")
    assert state(viewer) == before
    assert someone.dock.comparison.layers is None


def test_blinking_stops_when_the_dock_or_the_section_is_hidden(shown_viewer, shared_client, qtbot, case):
    someone = enter(shown_viewer, qtbot, case)
    compare(someone)
    view, section = someone.dock.comparison._view, someone.dock.list_places()["Over time"]
    table, notes = view.table, someone.dock.findChild(QLabel, "comparison_notes")
    qtbot.waitUntil(lambda: table.height() >= table.heightForWidth(table.width()), timeout=PATIENCE_MS)
    qtbot.waitUntil(lambda: table.geometry().bottom() < notes.geometry().top(), timeout=PATIENCE_MS)
    assert notes.geometry().bottom() <= notes.parentWidget().rect().bottom()
    frame = someone.dock.parentWidget()
    for hide, show in (
        (frame.hide, frame.show),
        (lambda: section.collapse(), lambda: section.expand()),
    ):
        view.blink_button.setChecked(True)
        assert someone.dock.comparison.layers.is_blinking
        hide()
        assert not someone.dock.comparison.layers.is_blinking
        assert someone.viewer.layers["later photograph, registered"].visible
        show()
        someone.waits()
    someone.dock.comparison.leave()
    someone.waits()


def test_a_comparison_ends_with_its_lesion_photographs_or_layers(someone, viewer):
    viewer.add_image(np.zeros((30, 40)), name="own")
    for end in (
        lambda: someone.picks("L2"),
        lambda: viewer.layers.remove("earlier photograph"),
        lambda: someone.dock.images.open(["I1"]),
        viewer.layers.clear,
        lambda: someone.dock.controller.close(),
    ):
        compare(someone)
        end()
        someone.waits()
        assert someone.dock.comparison.layers is None
        assert not any("photograph" in layer.name for layer in viewer.layers)


def test_an_impossible_comparison_has_a_reason(someone, case):
    someone.picks("L2")
    assert not someone.dock.list_places()["Over time"].isVisibleTo(someone.dock)
    someone.picks("L1")
    view = someone.dock.comparison._view
    view.combos[1].setCurrentIndex(0)
    view.chosen.emit()
    assert not view.compare_button.isEnabled()
    assert "Select two different photographs" in text(someone, "comparison_reason")
    view.combos[1].setCurrentIndex(1)
    view.chosen.emit()
    assert not view.reason_label.isVisibleTo(someone.dock)
    # Photographs without a mask cannot be chosen; the rows state the day of each.
    controller = someone.dock.controller
    with_mask = controller.case.find_image("I2").correction
    controller.amend(set_correction(controller.case, "I2", None))
    assert "Open a photograph to segment it" in text(someone, "comparison_reason")
    assert not view.combos[0].isVisibleTo(someone.dock)  # one photograph in both lists
    controller.amend(set_correction(controller.case, "I2", with_mask))
    assert view.combos[0].isVisibleTo(someone.dock)
    (case / "<b>mole&1.png").unlink()
    someone.clicks("comparison_start")
    assert "mole&1.png" in someone.status
    assert someone.dock.comparison.layers is None


def test_the_order_is_the_selected_one_only_if_the_days_do_not_prove_it(someone, viewer):
    def is_ordered(*words):
        places = [text(someone, "comparison_table").index(word) for word in words]
        return places == sorted(places)

    # The days prove which one is the earlier, however they are selected.
    compare(someone, "I2", "I1")  # the grown lesion first
    assert shown(viewer) == ["earlier photograph", "later photograph, registered"]
    assert is_ordered("Earlier photograph", "mole&amp;0", "Later", "mole&amp;1")
    assert "increased" in text(someone, "comparison_table")
    someone.clicks("comparison_leave")
    # Other days do not.
    controller, order = someone.dock.controller, "the order is the one you selected."
    for days, caution in (
        (("", ""), f"The days are unknown: {order}"),
        (("2024-05-02", ""), f"One of the days is unknown: {order}"),
        (("2024-05-02", "2024-05-02"), f"Both photographs were taken on the same day: {order}"),
    ):
        for image, day in zip(("I1", "I2"), days, strict=True):
            controller.amend(set_image(controller.case, image, taken_on=day))
        someone.waits()
        compare(someone, "I2", "I1")
        assert shown(viewer) == ["first photograph", "second photograph, registered"]
        assert is_ordered("First photograph", "mole&amp;1", "Second", "mole&amp;0")
        table = text(someone, "comparison_table")
        assert "decreased" in table
        assert "increased" not in table
        assert "arlier" not in table + someone.dock.comparison._view._sides.text()
        assert caution in text(someone, "comparison_cautions")
        someone.clicks("comparison_leave")


def test_photographs_without_a_scale_are_compared_without_a_scale_bar(someone, viewer):
    viewer.add_image(np.zeros((30, 40)), name="slide", scale=(20, 20), units=("um", "um"))
    bar, controller = get_scale_bar(viewer), someone.dock.controller
    bar.visible = True
    controller.amend(set_image(controller.case, "I1", mpp_x=None, mpp_y=None))
    someone.waits()
    compare(someone)
    assert not bar.visible
    someone.clicks("comparison_leave")
    assert bar.visible


@pytest.mark.parametrize("case", [TWICE], indirect=True)
def test_a_comparison_ends_when_its_photographs_are_no_longer_selected_or_change(someone, viewer):
    view_of, comparison = "comparison_second", someone.dock.comparison
    compare(someone, "I1", "I2")
    someone.chooses(view_of, "I3")
    assert comparison.layers is None
    assert not comparison._view._result.isVisibleTo(comparison._view)
    compare(someone, "I1", "I2")
    someone.dock.list_places()["Over time"].collapse()
    controller = someone.dock.controller
    controller.amend(set_correction(controller.case, "I2", None))
    someone.waits()
    assert comparison.layers is None


@pytest.mark.usefixtures("registered_each_time")
@pytest.mark.parametrize("case", [TWICE], indirect=True)
def test_a_comparison_that_is_cancelled_or_outdated_before_it_is_complete_is_not_shown(someone, viewer):
    controller, comparison = someone.dock.controller, someone.dock.comparison

    def select_another():
        comparison._view.combos[1].setCurrentIndex(1)
        comparison._view.chosen.emit()

    def cancel():
        someone.dock.status.cancelled.emit("comparing")
        assert someone.status == "Stopped."

    for end in (
        cancel,
        select_another,
        lambda: controller.amend(set_correction(controller.case, "I3", None)),
        lambda: someone.dock.images.open(["I1"]),
    ):
        complete = controller.case
        someone.picks("L1")
        choose(someone, "I1", "I3")
        comparison._view.compare_button.click()
        assert comparison._jobs.busy
        end()
        someone.waits()
        assert comparison.layers is None
        assert not any("registered" in layer.name for layer in viewer.layers)
        controller.amend(complete)


def test_an_opened_image_ends_the_comparison_and_is_shown_alone(someone, viewer, case):
    opened, other = ("<b>mole&0", "<b>mole&1")
    for name in ("I1", "I2"):
        someone.dock.images.open([name])
        someone.waits()
    assert shown(viewer) == [other, f"{other} mask"]
    camera = get_camera(viewer)
    camera.zoom = zoom = camera.zoom * 2
    compare(someone)
    someone.dock.images.open(["I1"])  # as the Tray does
    someone.waits()
    assert someone.dock.comparison.layers is None
    assert shown(viewer) == [opened, f"{opened} mask"]
    compare(someone)
    viewer.layers[other].visible = True  # as the Lesion dock does
    someone.waits()
    assert someone.dock.comparison.layers is None
    assert shown(viewer) == [other, f"{other} mask"]
    assert camera.zoom == pytest.approx(zoom)


def test_a_dropped_image_ends_the_comparison_and_stays_in_view(someone, viewer, tmp_path):
    path = tmp_path / "dropped.png"
    PillowImage.fromarray(np.full((600, 800, 3), 200, np.uint8)).save(path)
    camera = get_camera(viewer)
    compare(someone)
    viewer.open(path, plugin="napari-melanoma")
    after = tuple(camera.center), camera.zoom
    someone.waits()
    assert someone.dock.comparison.layers is None
    assert shown(viewer) == ["dropped"]
    assert (tuple(camera.center), camera.zoom) == after
