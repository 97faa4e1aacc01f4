"""What is read from the folder of an analysis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fake_slides import LESION, FakeAnalysis, draw_slide

from napari_melanoma.data.bags import write_attention
from napari_melanoma.slides.background_runs import read_slide_run_status
from napari_melanoma.ui.sections.results.resolve import resolve_prediction
from napari_melanoma.ui.session.results import AnalysisResults
from napari_melanoma.ui.session.run_status import describe_progress, read_heatmap

ATTENTION = {
    "target": "melanoma",
    "probability": 0.12,
    "scores": {"attention": {"naevus": 0.88, "melanoma": 0.12}},
    "calibration": {"positive": "melanoma", "stated_prevalence": 0.05, "probability": 0.72},
}


def test_attention_of_a_whole_slide_model_is_a_heatmap_without_lesions(tmp_path: Path) -> None:
    analysis = FakeAnalysis(tmp_path / "out", draw_slide(tmp_path / "section.tif"), "print")
    analysis.spec = analysis.spec.model_copy(update={"kind": "embedding", "classes": (), "features": 3})
    analysis.begins().dies()
    weights = np.full((16, 16), 1e-5)
    weights[LESION] = 1 / 16
    write_attention(analysis.result, analysis.order, weights[tuple(analysis.order.T)])
    heat = read_heatmap(analysis.path, "", ATTENTION)
    assert heat is not None
    assert (heat.target, heat.classes, np.nanmax(heat.values)) == ("attention", ("attention",), 1)
    assert (heat.values[LESION] > 0.99).all()
    assert np.nanmax(np.delete(heat.values, range(4, 8), axis=0)) < 0.01
    assert 4 <= heat.tiles[0].row / 32 <= 8
    assert 6 <= heat.tiles[0].column / 32 <= 10
    results = AnalysisResults(state="finished", heatmap=heat, content=ATTENTION)
    assert not results.has_lesions
    text = "melanoma 0.12, attention over all tiles, at a stated prevalence of 0.05 (melanoma 0.72 without)"
    assert resolve_prediction(results).prediction == text


def test_analysis_without_a_tile_cannot_be_resumed(tmp_path: Path) -> None:
    text = describe_progress(read_slide_run_status(tmp_path / "nothing"))
    assert text == "The process ended unexpectedly: no tile finished. Press Analyze to start again."
