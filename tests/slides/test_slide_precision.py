"""Half precision is checked on tiles from the whole tissue, and its error is recorded in the result."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import nn

from napari_melanoma.slides.analysis import NOVELTY_TILES, PRECISION_CHECK_TILES, SlideOutcome
from napari_melanoma.slides.plan import AnalysisPlan
from napari_melanoma.slides.tile_models import MAX_DIFFERENCE
from napari_melanoma.slides.tiling import coarse_to_fine

LoadModel = Callable[..., Any]
Analyze = Callable[..., SlideOutcome]


class Steep(nn.Module):
    """Digits that rounding takes away where a tile is not black."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return (1000 * images[:, :2, 0, 0].float()) % 1


@pytest.fixture
def half_black(tmp_path: Path) -> Path:
    """A slide that is black above, where work begins, and noisy below."""
    rgb = np.zeros((512, 512, 3), np.uint8)
    rgb[256:] = np.random.default_rng(0).integers(60, 200, (256, 512, 3), np.uint8)
    how: dict[str, Any] = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
    tifffile.imwrite(tmp_path / "half.tif", rgb, resolution=(2e4, 2e4), resolutionunit="CENTIMETER", **how)
    return tmp_path / "half.tif"


def test_sampled_tiles_are_spread_over_the_tissue() -> None:
    wanted = np.zeros((80, 120), np.bool_)
    wanted[5:75, 10:110] = True
    passes = coarse_to_fine(wanted)
    plan: Any = SimpleNamespace(order=np.concatenate(passes), first_pass=len(passes[0]))
    for count in (PRECISION_CHECK_TILES, NOVELTY_TILES):
        rows, columns = AnalysisPlan.sample_tiles(plan, count).T
        assert len({*zip(rows, columns, strict=True)}) == min(count, plan.first_pass)
        assert {*zip(rows >= 40, columns >= 60, strict=True)} == {(a, b) for a in (False, True) for b in (False, True)}
    few: Any = SimpleNamespace(order=plan.order[:3], first_pass=3)
    np.testing.assert_array_equal(AnalysisPlan.sample_tiles(few, 8), few.order)


def test_inaccurate_half_precision_is_replaced_by_float32_with_a_notice(
    analyze: Analyze, half_black: Path, tile_model: LoadModel
) -> None:
    model = tile_model(network=Steep().eval(), precision="bf16")
    content = json.loads((analyze(half_black, with_model=model).folder / "result.json").read_text())
    assert content["precision"] == "fp32"
    assert content["precision_difference"] > MAX_DIFFERENCE


@pytest.mark.parametrize(("requested", "least"), [("bf16", 0.0), ("fp32", None)])
def test_the_result_states_precision_and_deviation(
    analyze: Analyze, tile_model: LoadModel, requested: str, least: float | None
) -> None:
    content = analyze(with_model=tile_model(precision=requested)).content
    assert content["precision"] == requested
    found = content["precision_difference"]
    assert (found is None) if least is None else (least <= found <= MAX_DIFFERENCE)
