"""The pace of a network: measured several times, so that a busy moment has no effect."""

from __future__ import annotations

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.extensions.papers.budget import measure_paces, use_threads
from napari_melanoma.extensions.papers.papers import read_paper
from napari_melanoma.training import batch_size
from napari_melanoma.training.batch_size import StepCost
from napari_melanoma.training.recipe import TrainRecipe


def test_a_slow_measurement_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    seen: list[int] = []

    def measured(recipe: TrainRecipe) -> StepCost:
        seen.append(torch.get_num_threads())
        quiet = 0.35 if seen[-1] > 1 else 0.02
        return StepCost(5.0 if len(seen) < 3 else quiet, 0.001, 0.005, 1, 1, "cpu", "32-true")

    monkeypatch.setattr(batch_size, "measure_step", measured)
    rows = [read_paper("P4").rows[name] for name in ("transfer-d", "transfer-d-then-m", "deeplab-mobilenetv2-035")]
    alike = {row.name: row.recipe("small", data={"datasets": ["m"]}, model={"start": "none"}) for row in rows}
    with use_threads(2):
        paces, faults = measure_paces(alike, 1e6, RunContext())
        assert torch.get_num_threads() == 2
    assert sorted(seen) == [1, 1, 1, 2, 2, 2]
    assert {(pace.cost.image_s, pace.threads) for pace in paces.values()} == {(0.02, 1)}
    assert faults == {}
