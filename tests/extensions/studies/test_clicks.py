"""Evaluation by simulated clicks."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from napari_melanoma.core.context import Cancelled, RunContext
from napari_melanoma.core.errors import DiskFull
from napari_melanoma.core.parsing import read_json
from napari_melanoma.data.dataset import Sample
from napari_melanoma.evaluation import pipeline
from napari_melanoma.evaluation.pipeline import ImageMetrics
from napari_melanoma.extensions.studies import clicks
from napari_melanoma.extensions.studies.clicks import (
    ClickOptions,
    ClickTask,
    ClickTrial,
    FloodClicks,
    estimate_trials,
    evaluate_clicks,
    run_trial,
)
from napari_melanoma.imaging.prompts import Prompts
from napari_melanoma.io.results import read_table, write_mask, write_rgb, write_table
from napari_melanoma.lesion.prompting import PromptedMasks, Prompter

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from napari_melanoma.extensions.studies.clicks import ClickMasks
    from napari_melanoma.imaging.prompts import Click
    from napari_melanoma.models.bundle import BundleInfo

pytestmark = pytest.mark.slow


def disk(center: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.ogrid[:100, :100]
    return (rows - center[0]) ** 2 + (columns - center[1]) ** 2 <= radius**2


class Obedient:
    """Adds or removes a disk of radius 10 at each click."""

    name = "obedient"

    def start(self, rgb: np.ndarray) -> Callable[[Sequence[Click], np.ndarray], ClickMasks]:
        def answer(clicks: Sequence[Click], mask: np.ndarray) -> ClickMasks:
            if clicks:
                row, column, include = clicks[-1]
                mask = mask | disk((row, column), 10) if include else mask & ~disk((row, column), 10)
            return mask, [mask, disk((50, 50), 20)]

        return answer


def test_each_click_is_in_the_largest_remaining_error() -> None:
    truth = disk((20, 20), 10) | disk((70, 70), 10)
    trial = run_trial(Obedient(), np.zeros((100, 100, 3), np.uint8), truth, 4)
    assert trial.dice == pytest.approx([0, 2 / 3, 1, 1, 1], abs=0.01)
    assert trial.clicks_to(0.9) == 2
    assert 0 < trial.best_dice < 1
    assert trial.click_s < 0.1


def test_a_flood_follows_the_color() -> None:
    truth = disk((50, 50), 20)
    rgb = np.full((100, 100, 3), 220, np.uint8)
    rgb[truth] = (90, 60, 50)
    trial = run_trial(FloodClicks(), rgb, truth, 3)
    assert trial.dice.tolist() == [0, 1, 1, 1]
    assert trial.clicks_to(0.85) == 1


def test_an_aim_that_is_never_reached_counts_as_all_clicks() -> None:
    trials = [
        ClickTrial(np.array([0.5, 0.8, 0.95]), 0.9, 0.1, 0.1),
        ClickTrial(np.array([0.1, 0.2, 0.3]), 0.4, 0.1, 0.1),
    ]
    found = estimate_trials(trials, ["a", "b"])
    assert found["NoC 90"].mean == 2
    assert found["never 90"].mean == 0.5
    assert found["DI 1"].mean == pytest.approx(0.5)
    assert found["DI best of hypotheses"].mean == pytest.approx(0.65)


@pytest.fixture
def dark_disks(tmp_path: Path) -> Path:
    """Three photographs of a dark disk, a mask each, and a fourth one whose mask is too small."""
    folder = tmp_path / "disks"
    for index in range(4):
        truth = disk((40 + 5 * index, 50), 20)
        rgb = np.where(truth[..., None], (90, 60, 50), (220, 190, 170)).astype(np.uint8)
        write_rgb(folder / f"images/d{index}.png", rgb)
        write_mask(folder / f"masks/d{index}.png", truth if index < 3 else truth[:50])
    write_table(folder / "dataset.csv", [{"image_id": f"d{index}", "split": "val"} for index in range(4)])
    return folder


def test_methods_are_measured_on_the_same_photographs(
    dark_disks: Path, prompted_bundle: BundleInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous: list[np.ndarray | None] = []
    segment = Prompter.segment

    def record(self: Prompter, prompts: Prompts) -> PromptedMasks:
        previous.append(prompts.previous)
        return segment(self, prompts)

    monkeypatch.setattr(Prompter, "segment", record)
    out = tmp_path / "out"
    found = evaluate_clicks(prompted_bundle, [dark_disks], out, ClickOptions(clicks=2), run=RunContext())
    assert list(found.trials) == [
        "prompted",
        "lesion-small, then prompted",
        "lesion-small and random walk",
        "color flood",
    ]
    assert {one.name for one in found.overlap.models} == {"prompted", "lesion-small"}
    assert {trial.dice[1] for trial in found.trials["color flood"]} == {1.0}
    assert [item.sample.image_id for item in found.failed] == ["d3"]
    assert len(read_table(out / "clicks.csv")) == 12
    assert read_json(out / "clicks.json")["metrics"]["all"]["color flood"]["DI 1"]["mean"] == 1.0
    assert any(mask is not None for mask in previous)
    assert all(mask is None or mask.dtype == bool for mask in previous), "a user has a mask, not its probability"


def test_an_interrupted_evaluation_continues(
    dark_disks: Path, prompted_bundle: BundleInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunContext(lambda progress: run.cancel() if (progress.done, progress.message) == (2, "Measuring") else None)
    out, options = tmp_path / "out", ClickOptions(clicks=1)
    with pytest.raises(Cancelled):
        evaluate_clicks(prompted_bundle, [dark_disks], out, options, run=run)
    measured: list[str] = []

    def record(method: clicks.ClickMethod, rgb: np.ndarray, truth: np.ndarray, most: int) -> ClickTrial:
        measured.append(method.name)
        return run_trial(method, rgb, truth, most)

    monkeypatch.setattr(clicks, "run_trial", record)
    found = evaluate_clicks(prompted_bundle, [dark_disks], out, options, run=RunContext())
    assert len(measured) == 4, "one photograph with four methods was left"
    assert [sample.image_id for sample in found.image_metrics.measured_samples] == ["d0", "d1", "d2"]
    assert {path.name for path in out.iterdir()} == {"clicks.csv", "clicks.json", "clicks.html"}


def test_a_method_that_needs_no_click_has_no_time_per_click(tmp_path: Path) -> None:
    trial = ClickTrial(np.array([1.0, 1.0]), 1.0, 0.1, float("nan"))
    sample = Sample("d0", tmp_path / "d0.png", tmp_path / "d0-mask.png", "d0", "val", "disks")
    model = SimpleNamespace(info=SimpleNamespace(name="prompted", fingerprint="0" * 64), device="cpu")
    methods = [SimpleNamespace(name="network"), SimpleNamespace(name="flood")]
    task = ClickTask([model], methods, ClickOptions(clicks=1))
    measured = [ImageMetrics(names) for names in task.names]
    for metrics, values in zip(measured, (trial, replace(trial, click_s=0.02)), strict=True):
        metrics.add(sample, values.to_values())
    task.write(task.summarize(measured), tmp_path, RunContext())
    assert "Median time for a click: flood 20 ms." in (tmp_path / "clicks.html").read_text(encoding="utf-8")


def test_a_full_disk_ends_the_evaluation(
    dark_disks: Path, prompted_bundle: BundleInfo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise DiskFull("the disk is full")

    monkeypatch.setattr(pipeline.PartialResults, "add", fail)
    with pytest.raises(DiskFull):
        evaluate_clicks(prompted_bundle, [dark_disks], tmp_path / "out", ClickOptions(clicks=1), run=RunContext())
