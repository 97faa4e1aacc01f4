"""``risk``: text and JSON output, exit codes, and rejected input."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from napari_melanoma.core.errors import InputError
from napari_melanoma.extensions.risk import batch
from napari_melanoma.extensions.risk.prediction import (
    ComparatorPrediction,
    PatchPrediction,
    RiskOptions,
    RiskPrediction,
)
from napari_melanoma.slides.depth_readings import KnownDepth

ANSWER = RiskPrediction(
    positive="metastasis",
    probability=0.314,
    interval=(0.2, 0.44),
    possible=("other", "metastasis"),
    coverage=0.9,
    depth=KnownDepth(1.8, "reader", (1.6, 2.0), reader="A"),
    patches=(PatchPrediction("deepest place", (0, 0, 600, 600), 0.314, 1.7),),
    shares={"image": 0.05, "depth": -0.2, "patient": 0.0},
    without=0.464,
    comparators={
        "breslow": ComparatorPrediction("Breslow thickness alone", 0.42),
        "clark": ComparatorPrediction("Clark level alone", None, "unknown"),
    },
    known={"age": "64"},
    missing=("sex",),
    warnings=("synthetic patients only",),
    model={"name": "tiny", "title": "Tiny", "fingerprint": "0"},
    options=RiskOptions(model="tiny"),
)


@pytest.fixture
def patch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A patch, and a model that always gives the same prediction, except for a female patient."""

    def assess(pictures: object, known: SimpleNamespace, model: object, options: object) -> RiskPrediction:
        if known.row.get("sex") == "female":
            raise InputError("nothing to look at")
        return ANSWER

    monkeypatch.setattr(batch, "predict_risk", assess)
    model = SimpleNamespace(info=SimpleNamespace(name="tiny"), encoding=SimpleNamespace(fields=("age", "sex")))
    monkeypatch.setattr(batch, "load_risk_model", lambda name: model)
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save(tmp_path / "p.png")
    return tmp_path / "p.png"


def test_the_prediction_is_reported_with_inputs_and_comparisons(run, patch: Path, tmp_path: Path) -> None:
    done = run("risk", patch, "--model", "tiny", "--age", "64", "--out", tmp_path / "out")
    assert done.exit_code == 0
    assert "p: Inconclusive: risk of metastasis 0.31 (95 % interval 0.20–0.44)" in done.output
    assert "depth 1.80 mm (1.60 to 2.00), measured by A; image +0.05, depth -0.20, patient +0.00" in done.output
    assert "0.46 without any input; unknown: sex" in done.output
    assert "for comparison: Breslow thickness alone 0.42" in done.output
    assert "synthetic patients only" in done.output
    assert "Research use only" in done.output
    assert "no effect" not in done.output
    assert json.loads((tmp_path / "out/p/risk.json").read_text(encoding="utf-8"))["probability"] == 0.314


def test_patient_data_that_the_model_does_not_use_are_named(run, patch: Path, tmp_path: Path) -> None:
    words = ("--model", "tiny", "--age", "64", "--site", "head/neck", "--depth-mm", "1.8", "--out", tmp_path / "out")
    done = run("risk", patch, *words)
    assert done.exit_code == 0
    notice = "Warning: 'tiny' uses age, sex, depth_mm, clark; site had no effect on the result."
    assert notice in " ".join(done.output.split())


def test_json_output_and_a_failure_with_exit_code_1(run, patch: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image_id,sex\nq,female\n", encoding="utf-8")
    (tmp_path / "q.png").write_bytes(patch.read_bytes())
    words = ("--model", "tiny", "--metadata", tmp_path / "table.csv", "--out", tmp_path / "out", "--json")
    done = run("risk", patch, tmp_path / "q.png", *words)
    assert done.exit_code == 1
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["shares"] for line in lines if line["event"] == "because"] == [ANSWER.shares]
    assert [line["error"] for line in lines if line["event"] == "failed"] == ["nothing to look at"]
    assert [line["lacking"] for line in lines if "lacking" in line] == [["p"]]
    assert (lines[-1]["completed"], lines[-1]["failed"], lines[-1]["exit_code"]) == (1, 1, 1)


def test_a_row_for_patches_of_the_same_name_is_named(run, patch: Path, tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("image_id,age\np,64\n", encoding="utf-8")
    (tmp_path / "other").mkdir()
    (tmp_path / "other/p.png").write_bytes(patch.read_bytes())
    words = ("--model", "tiny", "--metadata", tmp_path / "table.csv", "--out", tmp_path / "out", "--json")
    alone, both = run("risk", patch, *words), run("risk", patch, tmp_path / "other/p.png", *words)
    assert [line["shared"] for line in map(json.loads, alone.stdout.splitlines()) if "shared" in line] == []
    assert [line["shared"] for line in map(json.loads, both.stdout.splitlines()) if "shared" in line] == [["p"]]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--model", "lesion-small"), "'lesion-small' predicts segmentation"),
        (("--model", "no-such-model"), "no-such-model"),
        (("--model", "lesion-small", "--patches", "0"), "patches"),
    ],
)
def test_usage_errors_give_exit_code_2(run, tmp_path: Path, words: tuple[str, ...], expected: str) -> None:
    Image.fromarray(np.full((30, 30, 3), 200, np.uint8)).save(tmp_path / "p.png")
    done = run("risk", "p.png", *words, "--out", "out")
    assert done.exit_code == 2
    assert expected in done.output
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_rejected(run) -> None:
    done = run("risk", "none.png", "--model", "lesion-small", "--out", "out")
    assert done.exit_code == 2
    assert "none.png does not exist" in done.output
