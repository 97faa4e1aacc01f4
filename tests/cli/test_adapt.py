"""The command adapt: what --check states, a kept and a written model, and missing input."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.evaluation.adaptation_card import AdaptationFigures
from napari_melanoma.imaging.modality import ModalityEstimate
from napari_melanoma.metrics.cautious_threshold import ThresholdChoice
from napari_melanoma.metrics.statistics import Estimate
from napari_melanoma.runs import adapting


@pytest.fixture(autouse=True)
def _dermoscopic(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise is no photograph of skin."""
    estimate = ModalityEstimate("dermoscopic", 0.9)
    monkeypatch.setattr("napari_melanoma.runs.clinic_photographs.recognize_modality", lambda rgb: estimate)


@pytest.fixture
def clinic(tmp_path: Path) -> Path:
    """Photographs of noise, of which every third is a melanoma; the first has no diagnosis."""
    folder, random = tmp_path / "clinic", np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    lines = ["image_id,patient_id,diagnosis"]
    for index in range(40):
        spots = np.kron(random.integers(0, 255, (16, 16, 3)), np.ones((4, 4, 1))).astype(np.uint8)
        Image.fromarray(spots).save(folder / "images" / f"i{index}.png")
        Image.fromarray(np.full((64, 64), 255, np.uint8)).save(folder / "masks" / f"i{index}.png")
        lines.append(f"i{index},p{index},{'' if index == 0 else 'nevus' if index % 3 else 'melanoma'}")
    (folder / "dataset.csv").write_text("\n".join(lines), encoding="utf-8")
    return folder


def summary(output: str) -> dict[str, Any]:
    return json.loads(output.splitlines()[-1])


def test_the_check_states_what_would_be_used(run, clinic: Path) -> None:
    done = run("adapt", "melanoma-small", clinic, "--check", "--json")
    assert done.exit_code == 0, done.output
    last = summary(done.stdout)
    assert last["classes"] == {"melanoma": 13, "nevus": 26, "seborrheic keratosis": 0}
    assert (last["photographs"], last["groups"], last["to_embed"]) == (39, 39, 39)
    assert last["left_out"] == {"no diagnosis": ["i0"]}
    assert last["minutes"] > 0
    assert "stacked, ridge 0.3" in last["candidates"]
    assert not (clinic / "embeddings").exists()
    text = run("adapt", "melanoma-small", clinic, "--check").output
    assert "39 photographs of 39 patients or lesions: melanoma 13, nevus 26, seborrheic keratosis 0" in text
    assert "Left out, no diagnosis: 1 photograph (i0)." in text


def test_the_check_states_what_is_missing(run, clinic: Path) -> None:
    table = clinic / "dataset.csv"
    table.write_text("\n".join(table.read_text(encoding="utf-8").splitlines()[:14]), encoding="utf-8")
    done = run("adapt", "melanoma-small", clinic, "--check")
    assert done.exit_code == 1
    assert (
        "'melanoma-small' cannot be adapted to 12 photographs with a diagnosis: 8 more photographs, 1 more of melanoma"
        in done.output
    )


def test_the_name_is_required(run, clinic: Path) -> None:
    done = run("adapt", "melanoma-small", clinic)
    assert done.exit_code == 2
    assert "Add --out NAME, or use --check" in done.output
    assert run("adapt", "melanoma-smal", clinic, "--out", "x").exit_code == 2
    assert run("adapt", "melanoma-small", clinic / "images", "--out", "x").exit_code == 2


@pytest.mark.parametrize("written", [True, False])
@pytest.mark.slow
def test_the_last_line(run, clinic: Path, monkeypatch: pytest.MonkeyPatch, written: bool) -> None:
    figure = {"AUC": Estimate(0.8, 0.7, 0.9, 39), "inconclusive": Estimate(0.3, 0.2, 0.4, 39)}
    figures = AdaptationFigures(
        "melanoma",
        39,
        39,
        ThresholdChoice(0.08, "kept", 0.95, 13, 13, 0.08),
        0.9,
        figure,
        figure,
        {},
        (),
        (),
        "activate" if written else "inconclusive",
        "It predicts melanoma better" if written else "By chance",
        "It predicts melanoma better." if written else "By chance: log loss -0.010 (-0.050 to +0.030).",
    )

    def adapt(info: Any, dataset: Path, out: Path, options: adapting.AdaptOptions, *, run: Any) -> adapting.Adaptation:
        assert (options.target, options.sensitivity) == ("melanoma", 0.95)
        plan = adapting.plan_adaptation(info, dataset, options, run=run)
        bundle: Any = SimpleNamespace(path=out) if written else None
        chosen = "stacked, ridge 1" if written else "shipped"
        return adapting.Adaptation(plan, chosen, ({"candidate": chosen},), figures, bundle, ("Few photographs.",))

    monkeypatch.setattr(adapting, "adapt", adapt)
    options = ("--target", "melanoma", "--sensitivity", "0.95", "--out", "own")
    done = run("adapt", "melanoma-small", clinic, *options)
    assert done.exit_code == 0, done.output
    assert "Warning: Few photographs." in done.output
    assert "inconclusive: 0.300 (0.200 to 0.400) as it is, 0.300 (0.200 to 0.400) adapted" in done.output
    kept = "Keep 'melanoma-small'; nothing was written. By chance: log loss -0.010 (-0.050 to +0.030)."
    assert ("Use the new model. It predicts melanoma better. Bundle in own" if written else kept) in done.output
    threshold = "Decision threshold 0.080, that of 'melanoma-small': 13 of melanoma (13 patients or lesions) cannot"
    assert (threshold in done.output) == written
    last = summary(run("adapt", "melanoma-small", clinic, *options, "--json").stdout)
    assert last["bundle"] == ("own" if written else None)
    assert last["adapted"]["AUC"]["mean"] == 0.8
    assert last["advice"] == ("activate" if written else "inconclusive")
    assert last["threshold"] == {
        "threshold": 0.08,
        "basis": "kept",
        "target": 0.95,
        "positives": 13,
        "groups": 13,
        "known": 0.08,
    }
