"""The share of ulceration of a tumor is measured if a tissue map is available, and otherwise explained."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from slide_models import SKIN_TEST

from napari_melanoma.core.context import RunContext
from napari_melanoma.core.errors import BundleError, DiskFull, InputError, MelanomaError, RunError, SaveError
from napari_melanoma.evaluation.biomarkers import MEASURES, check_tissue_model, measure_ulceration, rank_measures
from napari_melanoma.slides import analysis as analysing

SHARES: dict[str, Any] = {"a": 0.4, "b": None, "c": "no tissue", "d": 0.0}


@pytest.fixture
def evaluated(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Five images, the last one without a scale, with predefined analyses instead of a network."""

    def analyse_slide(path: Path, folder: Path, options: Any, run: RunContext) -> SimpleNamespace:
        assert (options.model, options.mpp, folder.is_dir()) == ("skin-layers", 4.0, True)
        share = SHARES[path.stem]
        if share == "no tissue":
            raise InputError("there is no tissue")
        return SimpleNamespace(content={"depth": None if share is None else {"ulcer_share": share}})

    monkeypatch.setattr(analysing, "analyze_slide", analyse_slide)
    samples = [
        SimpleNamespace(image=Path(f"{name}.png"), image_id=name, domain="set", key=("set", name)) for name in "abcde"
    ]
    rows = {("set", name): {"mpp_x": "4"} for name in "abcd"}
    return SimpleNamespace(samples=samples, rows=rows)


def test_unmeasurable_images_stay_empty(evaluated: Any, tmp_path: Path) -> None:
    found, why = measure_ulceration(evaluated, "skin-layers", tmp_path, RunContext())
    np.testing.assert_array_equal(found, [0.4, np.nan, np.nan, 0.0, np.nan])
    assert why == "b: no surface was found over a tumor"
    assert sorted(one.name for one in (tmp_path / "tissue").iterdir()) == ["set-a", "set-b", "set-c", "set-d"]
    found, why = measure_ulceration(evaluated, None, tmp_path, RunContext())
    assert np.isnan(found).all()
    assert "there is no tissue map" in why


@pytest.mark.parametrize(
    ("cell", "message"), [("150", "'mpp' is 150.0; expected"), ("0", "has no scale"), ("", "has no scale")]
)
def test_an_invalid_scale_is_reported_and_the_others_continue(
    evaluated: Any, tmp_path: Path, cell: str, message: str
) -> None:
    evaluated.rows["set", "a"] = {"mpp_x": cell}
    found, why = measure_ulceration(evaluated, "skin-layers", tmp_path, RunContext())
    np.testing.assert_array_equal(found, [np.nan, np.nan, np.nan, 0.0, np.nan])
    assert why.startswith("a: ")
    assert message in why


@pytest.mark.parametrize("error", [RunError, BundleError, SaveError, DiskFull])
def test_errors_that_concern_all_images_are_raised(
    evaluated: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type[MelanomaError]
) -> None:
    def fails(*arguments: object) -> None:
        raise error("not about one image")

    monkeypatch.setattr(analysing, "analyze_slide", fails)
    with pytest.raises(error, match="not about one image"):
        measure_ulceration(evaluated, "skin-layers", tmp_path, RunContext())


def test_a_model_without_epidermis_is_rejected() -> None:
    assert check_tissue_model(str(SKIN_TEST)) == str(SKIN_TEST)
    assert check_tissue_model("") is None
    with pytest.raises(BundleError, match=r"'lesion-small' segments lesion: .* epidermis and tumor"):
        check_tissue_model("lesion-small")


def test_measures_are_ranked_on_images_that_have_them() -> None:
    random = np.random.default_rng(0)
    positive = np.arange(40) % 2 == 1
    groups = np.array([f"p{n}" for n in range(40)])
    table = np.full((40, len(MEASURES)), np.nan)
    table[:, 0] = random.normal(0, 1, 40)
    table[:, 2] = 0.3  # the same in all
    table[:, -1] = positive + random.normal(0, 0.3, 40)
    table[::5, -1] = np.nan
    found, without = rank_measures(table, positive, groups)
    names = list(MEASURES)
    assert names[-1] == "ulceration_share"
    assert list(found) == ["ulceration_share", names[0]]
    assert found["ulceration_share"].auc.mean > 0.9
    assert found["ulceration_share"].feature_index == len(names) - 1
    assert found["ulceration_share"].q == pytest.approx(2 * found["ulceration_share"].p)
    assert without[names[2]] == "it is the same in all images"
    assert without[names[1]] == "measured in 0 of 40 images: too few of a class"
    assert {*found, *without} == {*names}
