"""A network against the painted classifier on strokes held back: recommended only if it is measured to be better."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import RunError
from napari_melanoma.evaluation import painted_comparison
from napari_melanoma.evaluation.comparison_results import read_comparison
from napari_melanoma.evaluation.painted_comparison import (
    FACT,
    MIN_CELLS,
    MapDifference,
    compare_with_painted,
    estimate_strokes,
    read_held_back,
    read_unpainted,
)
from napari_melanoma.io.results import write_table
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.runs.acceptance import explain_objection
from napari_melanoma.slides.tissue_classifier.stroke_data_set import HELD_BACK, UNPAINTED, UNPAINTED_TABLE
from napari_melanoma.ui.train.run_text import _metric_title

NAMES = ("skin", "fat")
STROKES = 24  # half of each class, with a cell each


def make_comparison(folder: Path, painted: float, network: float, monkeypatch: pytest.MonkeyPatch, slides: int = 1):
    """Compare two models that predict the given shares of the strokes correctly."""

    def predict(share: float) -> list[str]:
        right = np.arange(STROKES) % 12 < 12 * share
        return [NAMES[(index // 12 + (not ok)) % 2] for index, ok in enumerate(right)]

    old, new = predict(painted), np.array(predict(network))
    rows = [
        {"image_id": f"t{index}", "slide": f"s{index % slides}", "stroke": f"k{index}", "class": NAMES[index // 12]}
        | {"row": 0, "column": 0, "painted": old[index]}
        for index in range(STROKES)
    ]
    write_table(folder / HELD_BACK, rows)
    (folder / "model.safetensors").write_bytes(b"weights")
    config = BundleConfig(name="n", title="t", architecture="unet", classes=NAMES, options={"classes": 2})
    cells = {folder / "images": new, folder / UNPAINTED: np.array(["skin"] * 60)}
    monkeypatch.setattr(painted_comparison, "predict_cells", lambda tiles, *_: cells[tiles])
    return compare_with_painted(folder, BundleInfo(folder, config), RunContext())


def test_a_better_network_is_recommended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = make_comparison(tmp_path, 0.5, 1.0, monkeypatch)
    assert (comparison.advice, comparison.patients) == ("activate", 1)
    assert comparison.reason.startswith("Balanced accuracy 1.00 against 0.50 of the painted classifier, +0.50 (95 % ")
    assert comparison.reason.endswith("on 24 strokes held back of 1 slide. The network is better on them.")
    assert explain_objection(comparison, discarded=False) == ""


@pytest.mark.parametrize(("network", "end"), [(0.75, painted_comparison.STAYS), (0.25, painted_comparison.WORSE)])
def test_another_network_is_refused(network: float, end: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = make_comparison(tmp_path, 0.75, network, monkeypatch)
    assert comparison.advice == "keep"
    assert comparison.reason.endswith(end)
    assert end in explain_objection(comparison, discarded=False)


def test_a_better_network_with_a_widely_different_map_is_not_recommended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell = {"row": 0, "column": 0, "center_row_px": 16, "center_column_px": 48, "painted": "fat", "probability": 0.99}
    write_table(tmp_path / UNPAINTED_TABLE, [{"image_id": "t", "fingerprint": "f", **cell}] * 60)
    comparison = make_comparison(tmp_path, 0.5, 1.0, monkeypatch)
    assert comparison.advice == "inconclusive"
    assert comparison.reason.endswith("The maps differ widely: 100% of 'fat' become mostly 'skin'.")
    comparison.write(tmp_path)
    places = read_comparison(tmp_path).facts[FACT]["places"]
    assert [(one["fingerprint"], one["center"]) for one in places] == [("f", [16.0, 48.0])]


def test_a_comparison_is_stored_and_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_comparison(tmp_path, 0.5, 0.75, monkeypatch).write(tmp_path)
    comparison = read_comparison(tmp_path)
    assert comparison.summary().startswith("class balanced accuracy 0.500 -> 0.750, difference +0.250")
    assert _metric_title(comparison) == "class balanced accuracy"


def test_intervals_are_over_slides_if_there_are_enough(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = make_comparison(tmp_path, 0.5, 1.0, monkeypatch, slides=6)
    assert "95 % interval over slides" in comparison.reason
    assert comparison.patients == 6


def test_each_stroke_and_each_class_has_the_same_weight() -> None:
    values = {"class": ["a", "a", "a", "b"], "slide": "s", "painted": [1, 1, 0.4, 0.5], "network": [1, 1, 1, 0.0]}
    old, new, difference = estimate_strokes(pd.DataFrame(values), by_slide=False)
    assert (old.mean, new.mean, difference.mean) == pytest.approx((0.65, 0.5, -0.15))
    assert difference.low < -0.15 < difference.high


def test_a_damaged_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / HELD_BACK).write_text("image_id,row\nt,x\n")
    with pytest.raises(RunError, match="cannot be read"):
        read_held_back(tmp_path)


CELLS = 100  # of each class; those of a class are in a tile of their own


def make_cells(*, certain: int = 2 * CELLS) -> pd.DataFrame:
    """Cells of skin and of fat in a row, of which the first ones are certain."""
    index = np.arange(2 * CELLS)
    is_skin = index < CELLS
    values = {"image_id": np.where(is_skin, "a", "b"), "painted": np.where(is_skin, "skin", "fat"), "fingerprint": "f"}
    centers = {"center_row_px": 0.0, "center_column_px": 32.0 * index}
    return pd.DataFrame({**values, **centers, "probability": np.where(index < certain, 0.95, 0.6)})


def predict(skin: int, fat: int) -> np.ndarray:
    """Predict tumor in the first cells of each class, and the class of the painted classifier in the others."""
    return np.array(["tumor"] * skin + ["skin"] * (CELLS - skin) + ["tumor"] * fat + ["fat"] * (CELLS - fat))


def test_equal_maps() -> None:
    difference = MapDifference.measure(make_cells(), predict(0, 0))
    assert (difference.share, difference.places, difference.is_wide) == (0, (), False)
    assert difference.describe().endswith("in 100% of 200 cells with a probability of at least 90%.")


def test_a_class_that_differs_widely_is_named_with_its_places() -> None:
    difference = MapDifference.measure(make_cells(), predict(5, 31))
    assert difference.share == pytest.approx(0.18)
    assert [(one.name, one.cells, one.share, one.predicted) for one in difference.classes] == [
        ("fat", CELLS, 0.31, "tumor"),
        ("skin", CELLS, 0.05, "tumor"),
    ]
    assert difference.is_wide
    assert difference.describe().endswith("at least 90%. The maps differ widely: 31% of 'fat' become mostly 'tumor'.")
    first, second = difference.places
    assert (first.image, first.cells, first.painted, first.network) == ("b", 31, "fat", "tumor")
    assert first.center == (0.0, 32.0 * (CELLS + 15))
    assert (second.image, second.cells) == ("a", 5)


def test_uncertain_cells_and_classes_with_few_cells_do_not_count() -> None:
    difference = MapDifference.measure(make_cells(certain=CELLS + MIN_CELLS - 1), predict(0, CELLS))
    assert [one.name for one in difference.classes] == ["skin"]
    assert not difference.is_wide
    assert difference.cells == CELLS + MIN_CELLS - 1
    none = MapDifference.measure(make_cells(certain=0), predict(0, CELLS))
    assert "were not compared between the strokes" in none.describe()


def test_missing_and_damaged_cells(tmp_path: Path) -> None:
    assert read_unpainted(tmp_path) is None
    (tmp_path / UNPAINTED_TABLE).write_text("image_id,row\nt,x\n")
    with pytest.raises(RunError, match="cannot be read"):
        read_unpainted(tmp_path)
