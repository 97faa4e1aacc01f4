"""Sample data are napari layers with scale, units and what is published; all open from napari's menu."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from qtpy.QtWidgets import QLabel

from conftest import until, wait_until_idle
from napari_melanoma.core.errors import InputError
from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.samples import catalog
from napari_melanoma.ui import sample_data
from napari_melanoma.ui.viewer.docking import show_dock

PHOTOGRAPHS = {
    sample_data.melanoma_sample: catalog.MELANOMA,
    sample_data.nevus_sample: catalog.NEVUS,
    sample_data.keratosis_sample: catalog.KERATOSIS,
}


@pytest.mark.parametrize("sample", PHOTOGRAPHS, ids=lambda sample: sample.__name__)
def test_a_photograph_has_type_credit_and_the_scale_of_its_ruler(sample) -> None:
    ((rgb, attributes, kind),) = sample()
    published = catalog.load_samples()[PHOTOGRAPHS[sample]]
    assert kind == "image"
    assert rgb.dtype == np.uint8
    assert attributes["rgb"] is True
    assert attributes["units"] == ("um", "um")
    known = attributes["metadata"]["napari_melanoma"]
    assert known["modality"] == "dermoscopic"
    assert known["credit"] == published.credit
    assert known["pixel_size"] == PixelSize(*attributes["scale"], "ruler") == published.pixel_size


def test_the_phantom_is_scaled() -> None:
    ((rgb, attributes, _),) = sample_data.phantom_sample()
    assert rgb.shape == (900, 1200, 3)
    known = attributes["metadata"]["napari_melanoma"]
    assert known["pixel_size"] == PixelSize(*attributes["scale"], "phantom")


def test_the_slide_has_levels_scale_and_credit() -> None:
    ((levels, attributes, kind),) = sample_data.slide_sample()
    assert kind == "image"
    assert attributes["multiscale"] is True
    assert attributes["scale"] == pytest.approx((0.526624, 0.526624))
    assert levels[0].shape == (2304, 4096, 3)
    metadata = attributes["metadata"]["napari_melanoma"]
    assert "S. Balci" in metadata["credit"]
    assert metadata["warnings"] == ()
    metadata["slide"].close()


def test_a_missing_sample_is_an_error_with_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(catalog, "FOLDER", tmp_path)
    catalog.load_samples.cache_clear()
    try:
        with pytest.raises(InputError, match=r"'Melanoma' cannot be opened: .* is missing\. Reinstall"):
            sample_data.melanoma_sample()
    finally:
        catalog.load_samples.cache_clear()


def test_listing_the_samples_imports_nothing_heavy() -> None:
    code = (
        "import sys, napari_melanoma.ui.sample_data; sys.exit(bool({'numpy', 'scipy', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.both_qts
def test_each_sample_opens_from_the_menu_and_fills_its_dock(shared_client, shown_viewer, qtbot):
    viewer = shown_viewer
    lesion, slide = show_dock(viewer, "Lesion"), show_dock(viewer, "Slide")
    for key in ("melanoma", "nevus", "keratosis", "phantom"):
        viewer.open_sample("napari-melanoma", key)
        wait_until_idle(qtbot)
        assert "dermoscopic" in lesion.picker.modality.currentText()
    sessions = {session.name: session for session in lesion.sessions}
    assert sessions[catalog.NEVUS].patient_data.row == {"age": "45", "sex": "male", "site": "posterior torso"}
    assert sessions["dermoscopic phantom"].patient_data.row == {}
    viewer.open_sample("napari-melanoma", "slide")
    until(qtbot, lambda: slide.slide is not None)
    wait_until_idle(qtbot)
    assert slide.slide.info.pixel_size.x_um == pytest.approx(0.526624)
    assert "S. Balci" in slide.findChild(QLabel, "slide_about").toolTip()
    viewer.open_sample("napari-melanoma", "case")
    case_dock = show_dock(viewer, "Case")
    until(qtbot, lambda: case_dock.controller.case is not None)
    wait_until_idle(qtbot)
    assert [one.diagnosis for one in case_dock.controller.case.lesions] == ["melanoma", "nevus"]
    assert catalog.FOLDER not in case_dock.controller.store.folder.parents
    assert "Pacheco" in case_dock.controller.case.patient.note
    assert not [path for path in catalog.FOLDER.rglob("*") if path.name.startswith((".", "case.json"))]
