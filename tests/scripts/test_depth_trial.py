"""The trial of thicknesses: which slides it draws, and what it says of measurements whose errors are known."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from napari_melanoma.phantoms.slide.plan import plan_slide


@pytest.fixture
def scripts(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[ModuleType, ModuleType]]:
    monkeypatch.syspath_prepend(str(repository / "scripts"))
    import depth_report
    import depth_slides

    yield depth_slides, depth_report
    for name in ("depth_report", "depth_slides"):
        sys.modules.pop(name)


def test_each_slide_holds_its_melanoma_and_all_depths_are_drawn(scripts: tuple[ModuleType, ModuleType]) -> None:
    slides, _ = scripts
    spread = slides.Spread(width_mm=(2.4, 0.75))
    configs = [slides.depth_config("test", seed, spread) for seed in range(700_000, 700_006)]
    plans = [plan_slide(config) for config in configs]
    assert [round(plan.breslow_mm, 3) for plan in plans] == [round(config.lesions.breslow_mm, 3) for config in configs]
    depths = [slides.drawn_depth(np.random.default_rng(seed)) for seed in range(400)]
    assert min(depths) < 0.25
    assert max(depths) > 5.5
    assert 0.28 < np.mean(np.array(depths) < 1.0) < 0.46


def rows(offset_mm: float, part: str = "test") -> list[dict[str, Any]]:
    """Slides that are measured too thick by as much each."""
    return [
        {
            "slide": f"{part}-{number:03}",
            "part": part,
            "true_mm": true,
            "true_ulceration": False,
            "mm": true + offset_mm,
            "certain_mm": true,
            "possible_mm": true + 0.05,
            "low_mm": None,
            "high_mm": None,
            "t_category": "T1a" if true < 0.8 else "T1b" if true < 1 else "T2a" if true < 2 else "T3a",
            "ulcerated": False,
            "why": "",
        }
        for number, true in enumerate(np.linspace(0.3, 3.5, 60).tolist())
    ]


def test_errors_coverage_and_categories_are_told(scripts: tuple[ModuleType, ModuleType], tmp_path: Path) -> None:
    _, report = scripts
    known = [*rows(0.1), *rows(0.1, "calibration"), {**rows(0)[0], "slide": "test-060", "mm": None, "why": "no tumour"}]
    evaluated = report.with_law(known, report.fitted(known, "skin-demo"))
    predicted = report.report(evaluated, tmp_path)
    assert "mean_absolute_error_mm: 0.100 (0.100 to 0.100)" in predicted
    assert "coverage: 1.000 (0.940 to 1.000)" in predicted
    assert "t_category_right: 1.000" in predicted
    assert "not measured: test-060 (true 0.3): no tumour" in predicted
    assert {path.name for path in (tmp_path / "figures").iterdir()} == {"scatter.png", "bland_altman.png", "errors.png"}


def test_the_law_rests_on_calibration_slides_alone(scripts: tuple[ModuleType, ModuleType]) -> None:
    _, report = scripts
    calibration = rows(0.1, "calibration")
    assert report.fitted([*calibration, *rows(9.0)], "m") == report.fitted(calibration, "m")
