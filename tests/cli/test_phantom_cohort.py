"""``phantom cohort``: options are applied, invalid ones are reported."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.phantoms import cohort
from napari_melanoma.phantoms.cohort import CohortConfig


def test_options_reach_the_cohort(run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def write(config: CohortConfig, out: Path, processes: int, run: RunContext) -> cohort.CohortFiles:
        calls.append((config, out, processes))
        return cohort.CohortFiles(out, config.count, config.slides)

    monkeypatch.setattr(cohort, "write_cohort", write)
    words = "--out cohort --count 30 --seed 5 --random-labels --patch-px 256 --slides 2 --processes 3 --json"
    result = run("phantom", "cohort", *words.split())
    assert result.exit_code == 0, result.output
    config = CohortConfig(seed=5, count=30, random_labels=True, patch_px=256, slides=2)
    assert calls == [(config, Path("cohort"), 3)]
    summary = json.loads(result.stdout.splitlines()[-1])
    assert (summary["patients"], summary["slides"]) == (30, 2)


@pytest.mark.parametrize(
    ("words", "expected"),
    [("--count 4", "at least 10"), ("--patch-px 9000", "at most 3000"), ("--processes 0", "--processes")],
)
def test_invalid_options_are_reported(run, words: str, expected: str) -> None:
    result = run("phantom", "cohort", "--out", "cohort", *words.split())
    assert result.exit_code == 2
    assert expected in result.stderr


def test_an_existing_data_set_is_kept(run, tmp_path: Path) -> None:
    (tmp_path / "cohort").mkdir()
    result = run("phantom", "cohort", "--out", "cohort", "--count", "10")
    assert result.exit_code == 2
    assert "already exists" in result.stderr
