"""The main path of the Lesion dock on a real melanoma, with the models that ship: what is expected was published."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from click_tool import use_tool
from lesion_fixtures import FIXTURES, corrections
from qtpy.QtWidgets import QLabel

from conftest import until
from napari_melanoma.core.context import RunContext
from napari_melanoma.io.results import read_mask
from napari_melanoma.metrics.overlap import overlap_metrics
from napari_melanoma.reports.case_report import collect_report
from napari_melanoma.samples import catalog
from napari_melanoma.ui.worker_client import WorkerClient

viewer, stage, dock, person, window = map(pytest.fixture, FIXTURES)
corrections = pytest.fixture(corrections)
SAMPLE = catalog.load_samples()[catalog.MELANOMA]
TRUTH = read_mask(SAMPLE.mask_path)
AREA_MM2 = np.count_nonzero(TRUTH) * SAMPLE.pixel_size.pixel_area_mm2
MISSED = (345, 659)  # row and column: the middle of the largest part of the lesion that the model leaves out


@pytest.fixture
def client(home, nothing_left):
    """A worker client with the worker of the docks, which runs the models."""
    made = WorkerClient()
    yield made
    made.close()
    made.deleteLater()


def mask(person):
    return person.layer("mask", SAMPLE.name).data != 0


def dice(person):
    return overlap_metrics(person.lesion.result.mask, TRUTH)["DI"]


@pytest.mark.slow
def test_a_melanoma_is_analyzed_corrected_saved_and_stored_for_training(person, corrections, tmp_path, qtbot):
    dock = person.dock
    dock.welcome.link_activated.emit("sample")
    until(qtbot, lambda: dock.picker.session is not None)
    person.waits()
    person.analyses()
    assert dice(person) >= 0.92
    assert person.lesion.result.measurements["area_mm2"] == pytest.approx(AREA_MM2, rel=0.1)
    assert not mask(person)[MISSED]
    # One click adds what is missing.
    person.clicks("click")
    use_tool(person.viewer, SAMPLE.name, MISSED)
    person.waits()
    assert mask(person)[MISSED]
    assert dice(person) >= 0.89
    assert f"Dice {dice(person):.2f}" in dock.findChild(QLabel, "published").text()
    # The prediction is that of the corrected mask, with the published patient data.
    prediction = dock.picker.session.current_prediction.prediction
    assert prediction.classes[int(np.argmax(prediction.probabilities))] == SAMPLE.diagnosis
    assert {change.field: change.value for change in prediction.contributions} == {"age": "70", "sex": "female"}
    # The result is saved in the folder of the user, with its scale.
    dock.settings.folder = tmp_path
    person.clicks("save")
    person.waits()
    stored = json.loads((tmp_path / SAMPLE.name / "result.json").read_text(encoding="utf-8"))
    assert stored["pixel_size_um"] == SAMPLE.pixel_size.to_json()
    assert stored["credit"] == SAMPLE.credit
    assert np.array_equal(read_mask(tmp_path / SAMPLE.name / "mask.png"), mask(person))
    report = str(collect_report((tmp_path / SAMPLE.name,), personal=True, run=RunContext()).report)
    assert SAMPLE.credit in report
    assert f"{stored['measurements']['area_mm2']:.4g}" in report
    # The data set has the photograph with the corrected mask.
    person.clicks("add_correction")
    person.waits()
    with (corrections.folder / "dataset.csv").open(encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["review"] == "corrected"
    assert np.array_equal(read_mask(corrections.folder / "masks" / f"{row['image_id']}.png"), mask(person))
    assert not [path for path in catalog.FOLDER.rglob("*") if path.name.startswith(".")]
