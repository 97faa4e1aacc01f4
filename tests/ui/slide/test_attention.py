"""Predictions of whole-slide models in the Slide dock: attention heatmap, tiles and description."""

from __future__ import annotations

import numpy as np
import pytest
from fake_slides import LESION, FakeAnalysis
from qtpy.QtWidgets import QComboBox
from slide_fixtures import UNSEEN

from napari_melanoma.core.files import write_json
from napari_melanoma.data.bags import write_attention
from napari_melanoma.io.slide_store import DONE

user, launched, slide_path, person, analysed = map(pytest.fixture, UNSEEN)

ANSWER = {
    "target": "melanoma",
    "probability": 0.12,
    "scores": {"attention": {"naevus": 0.88, "melanoma": 0.12}},
    "calibration": {"positive": "melanoma", "stated_prevalence": 0.05, "probability": 0.72},
}
DESCRIPTION = "melanoma 0.12, attention over all tiles, at a stated prevalence of 0.05 (melanoma 0.72 without)"


class Answered(FakeAnalysis):
    """Result folder of a whole-slide model."""

    def finishes(self, warnings=()):
        """Write embeddings, attention and the prediction."""
        self.writer.put(0, np.full(len(self.order), DONE, np.uint8), {"embedding": np.ones((len(self.order), 3))})
        self.writer.flush()
        weights = np.full((16, 16), 1e-5)
        weights[LESION] = 1 / 16
        write_attention(self.result, self.order, weights[tuple(self.order.T)])
        content = {"slide": self.slide.stem, "fingerprint": self.fingerprint, "model": {"name": self.model}}
        content |= {"tiles_done": len(self.order), "tiles_total": len(self.order), "seconds": 3.0}
        content |= {"lesions": [], "warnings": list(warnings), "options": {}, **ANSWER}
        write_json(self.path / "result.json", content)
        self.place.append_final_event("finished", tiles=len(self.order), failed=0)
        return self.dies()


@pytest.mark.path
def test_attention_is_shown_as_heatmap(person, slide_path, user):
    dock, viewer = person.dock, person.viewer
    person.opens_slides(slide_path)
    analysis = Answered(dock.result_location.folder, slide_path, dock.slide.info.fingerprint)
    analysis.spec = analysis.spec.model_copy(update={"kind": "embedding", "classes": (), "features": 3})
    analysis.begins().finishes()
    viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: "section heatmap" in viewer.layers)
    person.waits()
    heat = viewer.layers["section heatmap"].data
    assert np.nanmax(heat) == 1
    assert (heat[LESION] > 0.99).all()
    assert np.nanmax(np.delete(heat, range(4, 8), axis=0)) < 0.01
    assert person.session.results.value.heatmap.target == "attention"
    assert person.finds(QComboBox, "slide_class").currentText() == "attention"
    first = person.session.results.value.heatmap.tiles[0]
    assert 4 <= first.row / 32 <= 8
    assert 6 <= first.column / 32 <= 10
    assert person.label_text("slide_answer") == DESCRIPTION
    assert person.rows() == []  # attention finds no lesions
    person.sets_threshold(0.3)
    person.waits()
    assert person.rows() == []


def test_missing_lesions_of_a_whole_slide_model_are_explained(person, slide_path):
    person.opens_slides(slide_path)
    assert person.label_text("lesion_count") == "No lesions yet. Analyze the slide first."
    analysis = Answered(person.dock.result_location.folder, slide_path, person.dock.slide.info.fingerprint)
    analysis.spec = analysis.spec.model_copy(update={"kind": "embedding", "classes": (), "features": 3})
    analysis.begins().finishes()
    person.viewer.layers.clear()
    person.opens_slides(slide_path)
    person.until(lambda: "tiles in 3 s" in person.dock.status.text)
    assert person.label_text("lesion_count") == "Not assessed: the model of these results does not detect lesions."
