"""The loop over rows: one begins only where it ends in time, at the pace of those before."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.models.bundle import CONFIG
from napari_melanoma.reproduction.papers import read_paper
from napari_melanoma.reproduction.planning import PlannedRow, ReproductionContext, ReproductionFolder, ReproductionPlan
from napari_melanoma.reproduction.run import has_time


@pytest.mark.parametrize(("took_s", "time"), [(60, True), (100, True), (200, False)])
def test_a_row_starts_if_it_will_end_in_time(tmp_path: Path, took_s: int, time: bool) -> None:
    place = ReproductionFolder(tmp_path)
    rows = tuple(PlannedRow(name=name, epochs=10, fixed_s=0, epoch_s=10) for name in ("unet", "attention-unet"))
    plan = ReproductionPlan(paper="P4", budget="small", minutes=5, data={}, rows=rows)
    work = ReproductionContext(read_paper("P4"), plan, {}, place)
    assert has_time(work, "unet")
    folder = place.row("unet").run
    folder.bundle.mkdir(parents=True)
    folder.config.touch()
    (folder.bundle / CONFIG).touch()
    times = [json.dumps({"event": "epoch", "time": 1e9 + took_s * n / 4}) for n in range(5)]
    folder.events.write_text("\n".join(times) + "\n", encoding="utf-8")
    assert has_time(work, "attention-unet") is time
    assert has_time(work, "unet")  # one that has begun goes on
