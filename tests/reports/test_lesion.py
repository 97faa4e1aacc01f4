"""The report of one photograph is self-contained, states its provenance and escapes its inputs."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.imaging.prompts import PromptOptions
from napari_melanoma.io.photographs import Photograph
from napari_melanoma.lesion.analysis import NO_MODEL, ModelStamp, derive_result, describe_result
from napari_melanoma.lesion.batch import result_row
from napari_melanoma.lesion.mask_record import PROMPTS, PromptRecord
from napari_melanoma.lesion.options import LesionOptions
from napari_melanoma.reports.lesion import write_lesion_report

STAMP = ModelStamp("lesion-small", "a" * 64, "cpu", 0.5)


def report(tmp_path, name="mole", lesion=True, size=None):
    rgb = np.full((60, 80, 3), 200, np.uint8)
    probability = np.zeros((60, 80), np.float32)
    if lesion:
        rgb[20:40, 30:60], probability[20:40, 30:60] = 60, 1
    result = derive_result(Photograph(rgb, name, size, "dermoscopic"), probability, LesionOptions(), STAMP)
    path = write_lesion_report(tmp_path / "report.html", result.photograph, describe_result(result), rgb, result.roi)
    return path.read_text(encoding="utf-8"), result


def test_the_report_is_self_contained_and_complete(tmp_path):
    page, result = report(tmp_path, size=PixelSize(20.0, 20.0, "ruler"))
    assert set(re.findall(r'(?:src|href)="([a-z]+):', page)) == {"data"}
    assert page.count("data:image/jpeg;base64,") == 3
    assert "http" not in page
    for expected in ("Research use only", "20 µm per pixel (ruler)", "lesion-small on cpu", "Asymmetry", "mm²"):
        assert expected in page
    assert f"{result.measurements['area_mm2']:.4g}" in page


def test_an_image_without_lesion_is_reported(tmp_path):
    page, _ = report(tmp_path, lesion=False)
    assert "The model segmented no lesion" in page
    assert "Not valid: the image does not look like a photograph of a skin lesion" in page  # it has one color
    assert page.count("data:image/jpeg") == 2


def test_names_cannot_bring_markup_along(tmp_path):
    page, _ = report(tmp_path, name="<script>alert(1)</script>")
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("corrected", [True, False])
def test_a_corrected_border_is_reported(tmp_path, corrected):
    _, result = report(tmp_path)
    about = {**describe_result(result), "corrected_by_hand": corrected}
    path = write_lesion_report(tmp_path / "two.html", result.photograph, about, result.photograph.rgb, result.roi)
    assert ("corrected by hand" in path.read_text(encoding="utf-8")) is corrected


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_mask_by_clicks_is_reported_with_its_model(tmp_path, by_hand):
    _, result = report(tmp_path)
    lesions = [PromptOptions(include=((30, 40), (31, 41)), exclude=((2, 2),)), PromptOptions(box=(1, 1, 9, 9))]
    record = PromptRecord(model=vars(replace(STAMP, name="lesion-click")), lesions=lesions, by_hand=by_hand)
    provenance = {**result.provenance, PROMPTS: record.model_dump(mode="json")}
    result = replace(result, corrected=True, provenance=provenance)
    about = describe_result(result)
    assert about["corrected_by_hand"] is by_hand
    path = write_lesion_report(tmp_path / "two.html", result.photograph, about, result.photograph.rgb, result.roi)
    page = path.read_text(encoding="utf-8")
    made = f"by 3 clicks and 1 box with lesion-click (2 lesions){', corrected by hand' * by_hand}"
    assert f"Contour, {made}" in page
    assert "lesion-click on cpu" in page
    assert "Threshold" not in page
    assert ("corrected by hand" in page) is by_hand
    row = result_row("mole", "mole.png", about)
    assert row["note"] == made
    assert (row["model"], row["threshold"]) == ("lesion-click", None)


def test_a_mask_without_a_model_is_reported(tmp_path):
    _, result = report(tmp_path)
    about = describe_result(replace(result, model=NO_MODEL, corrected=True))
    path = write_lesion_report(tmp_path / "two.html", result.photograph, about, result.photograph.rgb, result.roi)
    page = path.read_text(encoding="utf-8")
    assert "none (mask drawn by hand or made with another tool)" in page
    assert "weights" not in page
    assert "Threshold" not in page
