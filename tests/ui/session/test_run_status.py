"""What is read from the folder of an analysis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from fake_slides import LESION, FakeAnalysis, draw_slide

from napari_melanoma.data.bags import write_attention
from napari_melanoma.slides.background_runs import read_slide_run_status
from napari_melanoma.slides.saved_results import describe_slide_score
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
    assert describe_slide_score(ATTENTION) == text


def test_a_tissue_classifier_has_a_map_of_classes_and_no_suspicious_background(tmp_path: Path) -> None:
    analysis = FakeAnalysis(tmp_path / "out", draw_slide(tmp_path / "section.tif"), "print")
    analysis.spec = analysis.spec.model_copy(update={"classes": ("Haut", "Glas")})
    analysis.begins().works(len(analysis.order))
    content = {"areas": {"Haut": {}}, "class_map": {"background": "Glas", "colors": {"Haut": "#ff0000"}}}
    heat = read_heatmap(analysis.path, "", content)
    assert heat is not None
    assert (heat.target, heat.shows_classes) == ("Haut", True)
    assert heat.class_map is not None
    assert heat.class_map.labels[LESION].max() == 2
    assert heat.class_map.labels[0, 0] == 1
    assert heat.class_map.colors["Haut"] == "#ff0000"
    assert {tile.value for tile in heat.tiles} == {np.float32(0.9)}
    drawn = heat.class_map.labels
    rows, columns = (np.array([getattr(tile, axis) for tile in heat.tiles]) // 32 for axis in ("row", "column"))
    assert (drawn[rows.astype(int), columns.astype(int)] == 1).all()
    assert AnalysisResults(heatmap=heat).shown_class_map is heat.class_map
    chosen = read_heatmap(analysis.path, "Glas", content)
    assert chosen is not None
    assert (chosen.target, chosen.shows_classes, chosen.tiles) == ("Glas", False, ())
    assert AnalysisResults(heatmap=chosen).shown_class_map is None


def test_analysis_without_a_tile_cannot_be_resumed(tmp_path: Path) -> None:
    text = describe_progress(read_slide_run_status(tmp_path / "nothing"))
    assert text == "The process ended unexpectedly: no tile finished. Press Analyze to start again."
