"""Predictions that are not valid: the docks show the reason and hide the numbers."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fake_models import make_risk_prediction
from fake_slides import FakeAnalysis, draw_slide
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QAbstractButton, QLabel
from slide_fixtures import UNSEEN

from napari_melanoma.case.model import Case, CaseImage, add_images, add_lesion
from napari_melanoma.case.results import save_risk
from napari_melanoma.core.files import write_json
from napari_melanoma.core.validity import ValidityInputs
from napari_melanoma.slides import background_runs
from napari_melanoma.slides.reading.files import slide_fingerprint
from napari_melanoma.ui.viewer.slide_layers import find_layer
from napari_melanoma.ui.viewer.view_memory import show_photograph
from napari_melanoma.ui.widgets.validity import ValidityNotice

from ..sections.test_depth import document, section
from ..sections.test_depth import opens as opens_depth

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)
REASSURING = re.compile(r"no (metastasis|invasive|lesion)|benign|\bT[12][ab]?\b|rarely|0\.08|0\.20", re.IGNORECASE)
DEMO = ValidityInputs("tiny", demonstration=True, field_mm=0.24, model_field_mm=3).check()
HEADLINE = "Not valid: not applicable to real patients."


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
    menu = dock.export_button.menu()
    menu.aboutToShow.emit()
    kinds = ("counts", "csv", "geojson", "tif")
    return {kind: menu.findChild(QAction, f"export_{kind}").isEnabled() for kind in kinds}


def test_lesions_of_a_demonstration_model_are_hidden(person, slide_path):
    folder = background_runs.slide_folder(person.dock.run_manager.root, slide_path)
    FakeAnalysis(folder, slide_path, slide_fingerprint(slide_path)).begins().finishes()
    content = json.loads((folder / "result.json").read_text())
    write_json(folder / "result.json", {**content, "validity": DEMO.to_json()})
    person.opens_slides(slide_path)
    person.until(lambda: len(person.rows()) == 2)
    person.waits()
    dock = person.dock
    assert person.label_text("slide_validity").startswith(HEADLINE)
    assert "0.24 mm" in person.label_text("slide_validity_reasons")
    prediction = person.finds(QLabel, "slide_answer")
    numbers = [prediction, person.finds(QLabel, "lesion_count"), person.lesion_table]
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
    assert person.label_text("lesion_count").endswith("p: probability of malignancy.")


def test_invalid_risk_is_not_shown_in_slides_and_cases(person, tmp_path):
    from napari_melanoma.case.store import CaseStore
    from napari_melanoma.ui.case.controls import CaseRiskSection

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

    # A case does not show it either.
    result["validity"] = DEMO.to_json()
    case = add_images(add_lesion(Case()), [CaseImage(id="", path=tmp_path / "a.tif", modality="wsi")], "L1")
    with CaseStore.create(tmp_path / "P", case) as store:
        kept = save_risk(store, store.case, "I1", result)
    risk = CaseRiskSection(person.dock.icons)
    person.qtbot.addWidget(risk)
    assert risk.show_lesion(kept, kept.lesions[0])
    texts = visible(risk)
    assert texts[0].startswith(HEADLINE)
    assert not [one for one in texts if REASSURING.search(one)], texts

    # The warning uses the whole width of the dock.
    notice = ValidityNotice(person.dock.icons, "any")
    notice.show_validity(DEMO, 1)
    notice.resize(310, 400)
    notice.show()
    person.waits()
    assert notice.headline_label.width() > 0.8 * notice.width()
    notice.close()


def test_invalid_thickness_is_not_shown(person, tmp_path):
    for name, found in (("a thin one", True), ("nothing", False)):
        person.opens_slides(draw_slide(tmp_path / f"{name}.tif", tint=9 + found))
        line = {"surface": [60, 100], "deepest": [260, 100], "mm": 0.2, "interval_mm": [0.15, 0.25], "section": 0}
        notes = [] if found else ["no invasive tumour was found in section 1"]
        result = {"candidates": [line] if found else [], "clark_estimate": 2, "ulceration": False, "notes": notes}
        content = {"depth": {**result, "validity": DEMO.to_json()}, "seconds": 3.0}
        write_json(person.dock.result_location.folder / "result.json", content)
        opens_depth(person)
        document(person).reload_predictions()
        person.waits()
        person.until(lambda: person.label_text("depth_validity").startswith(HEADLINE))
        view = section(person)
        texts = visible(view)
        assert person.label_text("depth_head").startswith("Not valid: ")
        assert not [one for one in texts if REASSURING.search(one)], texts
        assert not view._proposal_list.isVisibleTo(view)
        view._validity.show_anyway_button.click()
        assert view._proposal_label.isVisibleTo(view)
        assert view._proposal_list.isVisibleTo(view) is found


def test_a_photograph_in_view_hides_the_numbers_of_the_slide(analysed):
    dock, viewer = analysed.dock, analysed.viewer
    photograph = analysed.opens()
    dock.picker.show_selected()
    dock.targets.step(1)
    show_photograph(viewer, photograph)
    assert not dock.slide.is_shown
    assert not analysed.lesion_table.isVisibleTo(dock)
    assert not analysed.finds(QLabel, "slide_answer").isVisibleTo(dock)
    assert dock.status.text == ""
    assert analysed.label_text("slide_hidden").startswith("'section.tif' is hidden, and so are its results.")
    dock.hidden_notice.linkActivated.emit("show")
    assert dock.slide.is_shown
    assert analysed.lesion_table.isVisibleTo(dock)
    assert not dock.hidden_notice.isVisibleTo(dock)
