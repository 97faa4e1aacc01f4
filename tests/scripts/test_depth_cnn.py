"""The depth that networks tell, beside the thickness that is measured: recipes, patches cut once, figures."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_melanoma.core.config import read_toml
from napari_melanoma.metrics.agreement import DepthIntervals
from napari_melanoma.training.recipe import TrainRecipe

TRUE = np.array([0.3, 0.6, 0.9, 1.2, 1.8, 2.4, 3.0, 4.0, 5.0])


@pytest.fixture
def cnn(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    import depth_cnn

    yield depth_cnn
    sys.modules.pop("depth_cnn")


def off_by(mm: float) -> DepthIntervals:
    return DepthIntervals(TRUE + mm, TRUE + mm - 0.2, TRUE + mm + 0.2)


def test_networks_are_judged_on_what_a_patch_shows_too(cnn: ModuleType) -> None:
    cut = DepthIntervals(np.minimum(TRUE, cnn.IN_VIEW_MM), *(np.full(len(TRUE), np.nan) for _ in range(2)))
    found = cnn.Evaluated(
        [f"test-{place:03}" for place in range(len(TRUE))], TRUE, {"geometry": off_by(0.1), "cnn": cut}
    )
    figures = cnn.evaluated(found)
    assert figures["all"]["geometry"]["depth_mae_mm"].mean == pytest.approx(0.1)
    assert figures["all"]["geometry"]["depth_coverage"].mean == 1.0
    assert figures["all"]["cnn"]["depth_mae_mm"].mean == pytest.approx((0.25 + 1.25 + 2.25) / 9)
    assert figures["in view"]["cnn"]["depth_mae_mm"].mean == pytest.approx(0.0)
    assert figures["in view"]["cnn"]["depth_mae_mm"].count == 6
    assert "depth_coverage" not in figures["all"]["cnn"]
    assert "slides, in view, geometry: depth_mae_mm 0.100 (0.100 to 0.100); depth_r 1.000" in "\n".join(
        cnn.format_metrics({"slides": figures})
    )
    rows = cnn.rows_of(found)
    assert [row["in_view"] for row in rows] == [1] * 6 + [0] * 3
    assert (rows[0]["geometry_mm"], rows[8]["cnn_mm"]) == (pytest.approx(0.4), pytest.approx(2.75))


def test_a_patch_is_cut_where_the_analysis_measured_and_once(
    cnn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "results" / "test-000"
    folder.mkdir(parents=True)
    candidate = {"surface": [10.0, 50.0], "deepest": [90.0, 50.0], "mm": 0.3, "interval_mm": None, "at_least": False}
    depth = {"candidates": [candidate], "notes": [], "ulceration": False, "at_least": False, "clark_estimate": None}
    (folder / "result.json").write_text(json.dumps({"breslow_mm": 0.3, "depth": depth}), encoding="utf-8")
    requested: list[Any] = []

    def cut(path: Path, lines: Any, content: Any, options: Any) -> list[Any]:
        requested.append((path, lines, options.patches))
        return [SimpleNamespace(rgb=np.full((8, 8, 3), 90, np.uint8))]

    monkeypatch.setattr(cnn, "cut_slide_patches", cut)
    found = [cnn.patch_of(tmp_path, "test-000") for _ in range(2)]
    assert found[0] == found[1] == tmp_path / "cnn" / "patches" / "test-000.png"
    ((path, lines, patches),) = requested
    assert (path, patches) == (tmp_path / "slides" / "test-000.tif", 1)
    assert lines[0] == ((10.0, 50.0), (90.0, 50.0))


@pytest.mark.parametrize("begun", [False, True])
def test_a_training_that_was_stopped_goes_on(
    cnn: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: bool
) -> None:
    from napari_melanoma.runs import train as workflow

    calls: list[tuple[TrainRecipe, bool]] = []
    monkeypatch.setattr(workflow, "train", lambda recipe, folder, *, resume, run: calls.append((recipe, resume)))
    monkeypatch.setattr(cnn, "read_bundle", lambda folder: folder)
    if begun:
        (tmp_path / "run").mkdir()
        (tmp_path / "run" / "config.toml").write_text("", encoding="utf-8")
    assert cnn.trained("depth-convolutions", tmp_path / "cohort", tmp_path / "run") == tmp_path / "run" / "bundle"
    ((recipe, resume),) = calls
    assert (recipe.data.datasets, resume) == ((str(tmp_path / "cohort"),), begun)
    (tmp_path / "run" / "bundle").mkdir(parents=True)
    cnn.trained("depth-convolutions", tmp_path / "cohort", tmp_path / "run")
    assert len(calls) == 1


def test_both_recipes_learn_the_depth_from_the_image_alone(cnn: ModuleType, repository: Path) -> None:
    modules = set()
    for name in cnn.NETWORKS:
        recipe = read_toml(repository / "recipes" / f"{name}.toml", TrainRecipe)
        options = recipe.model.options
        assert recipe.classification is not None
        assert (options["use_image"], options["use_table"], recipe.classification.tabular) == (False, False, None)
        assert recipe.augmentation.scale == (1.0, 1.0)
        modules.add(options["depth_module"])
    assert modules == {"convolutions", "attention"}
