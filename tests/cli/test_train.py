"""``train --check`` reports data and a measured step and writes nothing; a log has a line for each epoch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.cli.output import create_report
from napari_melanoma.core.context import Milestone, Progress
from napari_melanoma.core.run_folder import RunFolder
from napari_melanoma.evaluation.comparison_results import Advice, ComparedModel, Comparison
from napari_melanoma.metrics import statistics
from napari_melanoma.models.bundle import BundleConfig, BundleInfo
from napari_melanoma.runs import train as workflow
from napari_melanoma.training import batch_size
from napari_melanoma.training.batch_size import StepCost

RECIPE = """
epochs = 3
batch_size = 2
precision = "fp32"
device = "cpu"
[data]
datasets = ["blobs"]
validation_fraction = 0.3
cache_size = 48
[model]
start = "none"
input_size = 32
options = { encoder = "test_efficientnet", decoder_channels = 16 }
"""
COST = StepCost(400.0, 10.0, 2.0, 50 * 2**20, 60 * 2**20, "cpu", "32-true")

pytestmark = pytest.mark.usefixtures("user_folders")


@pytest.fixture
def blobs(tmp_path: Path) -> Path:
    """Twelve photographs with a dark square on each."""
    folder = tmp_path / "blobs"
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    mask = np.zeros((48, 48), np.uint8)
    mask[12:36, 14:30] = 255
    for index in range(12):
        pixels = np.where(mask[..., None] > 0, (90, 50, 40 + index), (230, 190, 170)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"b{index}.png")
        Image.fromarray(mask).save(folder / "masks" / f"b{index}.png")
    rows = "".join(f"b{index},{'test' if index < 2 else 'train'}\n" for index in range(12))
    (folder / "dataset.csv").write_text(f"image_id,split\n{rows}")
    (tmp_path / "recipe.toml").write_text(RECIPE)
    return folder


@pytest.fixture
def known_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Replace the measurement of a training step by known values."""
    monkeypatch.setattr(batch_size, "measure_step", lambda recipe: COST)


@pytest.mark.usefixtures("known_cost", "blobs")
def test_check_counts_images_measures_a_step_and_writes_nothing(run, tmp_path: Path) -> None:
    before = sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts)
    result = run("train", "--config", "recipe.toml", "--check", "--json")
    assert result.exit_code == 0, result.output
    last = json.loads(result.stdout.splitlines()[-1])
    assert last["images"] == {"train": 7, "validation": 3, "test": 2, "replay": 0}
    estimate = last["estimate"]
    assert (estimate["step_s"], estimate["steps"]) == (2 * 400 + 10, 3 * 3)
    assert estimate["seconds"] == 3 * (3 * 810 + 3 * 2)
    assert estimate["memory_mb"] == 700 + 60 + 1.4 * 2 * 50  # libraries, weights and optimizer, activations of a batch
    assert "A step of 2 images takes 8.1e+02 s on cpu" in last["message"]
    assert "about 2 h for 3 epochs" in last["message"]
    assert sorted(path for path in tmp_path.rglob("*") if "home" not in path.parts) == before


@pytest.mark.usefixtures("known_cost", "blobs")
def test_the_result_of_a_check_lists_all_warnings(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workflow, "describe_start_overlap", lambda recipe, run: "The model was trained on two.")
    result = run("train", "--config", "recipe.toml", "--check", "--json")
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    said = [line["message"] for line in lines if line["event"] == "warning"]
    assert lines[-1]["warnings"] == said
    assert said[-1] == "The model was trained on two."


@pytest.mark.usefixtures("known_cost", "blobs")
def test_keys_of_the_recipe_are_changed(run) -> None:
    changed = ("--set", "epochs=30", "--set", "data.validation_fraction=0.45")
    last = json.loads(run("train", "--config", "recipe.toml", "--check", "--json", *changed).stdout.splitlines()[-1])
    assert (last["estimate"]["steps"], last["images"]["validation"]) == (3 * 30, 4)
    ignored = run("train", "--config", "recipe.toml", "--check", "--folds", "3", "--queue")
    assert ignored.exit_code == 2
    assert "not applicable: --folds, --queue" in ignored.stderr
    refused = run("train", "--config", "recipe.toml", "--check", "--set", "epoch=30")
    assert refused.exit_code == 2
    assert "--set: unknown key 'epoch'" in refused.stderr


@pytest.mark.usefixtures("known_cost")
def test_check_rejects_a_mask_of_another_size(run, blobs: Path) -> None:
    Image.fromarray(np.full((20, 20), 255, np.uint8)).save(blobs / "masks" / "b5.png")
    result = run("train", "--config", "recipe.toml", "--check")
    assert result.exit_code == 2
    assert "b5" in result.stderr


ADVISED = [
    ("activate", True, "Use the new model. It gains. Review {page}; then: napari-melanoma models import out"),
    ("activate", False, "Use the new model. It gains. Next: napari-melanoma models import out"),
    ("keep", True, "Keep the old model. It loses. Review {page}"),
    ("keep", False, "Keep the old model. It loses."),
    (None, False, "Next: napari-melanoma evaluate --model out/bundle --data DATASET --out DIR"),
]


@pytest.mark.usefixtures("blobs")
@pytest.mark.parametrize(("advice", "has_page", "expected"), ADVISED)
def test_the_last_line_contains_the_recommendation(
    run, monkeypatch: pytest.MonkeyPatch, advice: Advice | None, has_page: bool, expected: str
) -> None:
    page = Path("out/comparison/comparison.html")

    def fake_train(recipe: object, out: Path, **_: object) -> BundleInfo:
        if advice:
            ja = {"JA": statistics.Estimate(0.8, 0.7, 0.9, 20)}
            old, new = (ComparedModel(name, "", 0.5, ja) for name in ("old", "new"))
            reason = "It gains." if advice == "activate" else "It loses."
            facts = {"warnings": ["Left out: 9 of 11 images."]}
            Comparison(old, new, ja, (), (), (), advice, reason, 20, 20, facts=facts).write(out / "comparison")
            if has_page:
                page.write_text("<html></html>", "utf-8")
        return BundleInfo(out / "bundle", BundleConfig(name="new", title="", architecture="none", input_size=32))

    monkeypatch.setattr(workflow, "train", fake_train)
    done = run("train", "--config", "recipe.toml", "--out", "out")
    line = done.stdout.splitlines()[-1]
    assert ("Warning: Left out: 9 of 11 images." in done.output) is bool(advice)
    assert line == f"Trained 'new' into out/bundle, figures in out/metrics.csv. {expected.format(page=page)}"
    summary = json.loads(run("train", "--config", "recipe.toml", "--out", "out", "--json").stdout.splitlines()[-1])
    assert (summary.get("advice"), summary.get("page")) == ((advice, str(page)) if advice else (None, None))


@pytest.mark.usefixtures("blobs")
def test_a_run_needs_a_folder(run) -> None:
    result = run("train", "--config", "recipe.toml")
    assert result.exit_code == 2
    assert "--out RUN" in result.stderr


@pytest.mark.usefixtures("blobs")
def test_a_refused_recipe_of_a_run_names_the_version_that_wrote_it(run, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "old")
    folder.path.mkdir()
    (folder.path / "config.toml").write_text(f"quick = true\n{RECIPE}")
    folder.append_event("started", program="napari-melanoma", version="9.0")
    result = run("train", "--config", "old/config.toml", "--out", "old", "--resume")
    assert result.exit_code == 2
    assert "quick" in result.stderr
    assert "written by version 9.0" in " ".join(result.stderr.split())


def test_a_log_has_a_line_for_each_epoch(capsys: pytest.CaptureFixture[str]) -> None:
    report = create_report(as_json=False)
    for done in range(1, 6):
        kind = Milestone if done in (2, 4) else Progress
        report.progress(kind(done, 9, f"number {done}"))
    output = capsys.readouterr().err
    assert [number for number in range(1, 6) if f"number {number}" in output] == [1, 2, 4]
