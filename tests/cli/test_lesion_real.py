"""``lesion`` with real bundles, valid and damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def copied(tiny: Path, tmp_path: Path) -> Path:
    """A copy of a bundle, which a test may damage."""
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def test_a_real_model(run, copied: Path, photographs: Path, tmp_path: Path) -> None:
    result = run("lesion", photographs, "--out", "out", "--model", copied)
    assert result.exit_code == 0, result.output
    assert "tiny" in (tmp_path / "out" / "results.csv").read_text(encoding="utf-8")
    assert "3 already done" in run("lesion", photographs, "--out", "out", "--model", copied).stdout


def no_weights(bundle: Path) -> None:
    (bundle / "model.safetensors").unlink()


def cut_weights(bundle: Path) -> None:
    weights = bundle / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])


def unknown_key(bundle: Path) -> None:
    config = bundle / "config.json"
    config.write_text(config.read_text(encoding="utf-8").replace('"title"', '"titel"'), encoding="utf-8")


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (no_weights, "model.safetensors is missing"),
        (cut_weights, "model.safetensors"),
        (unknown_key, "unknown key 'titel'"),
        (shutil.rmtree, "no model named"),
    ],
    ids=["no weights", "cut weights", "unknown key", "no folder"],
)
def test_a_damaged_bundle_is_rejected(
    run, copied: Path, photographs: Path, tmp_path: Path, damage, expected: str
) -> None:
    damage(copied)
    result = run("lesion", photographs, "--out", "out", "--model", copied)
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = (line for line in result.stderr.splitlines() if not line.startswith("Loading"))
    assert line.startswith("Error: ")
    assert expected in line
    assert not [path for path in tmp_path.glob("out/*") if path.is_dir()]
