"""The measure of dragging a slide states the distribution of the gaps, and judges what a user waits for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "slide_pan.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("slide_pan", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def gap(ms, cpu_ms):
    return SimpleNamespace(begin=10.0, end=10.0 + ms / 1000, cpu=cpu_ms / 1000, napari=0.0)


@pytest.mark.parametrize(("long", "expected"), [(1, True), (40, False)])
def test_the_limit_is_that_of_the_99th_percentile_of_the_time_waited(bench, capsys, long, expected):
    stalls = SimpleNamespace(gaps=[gap(2, 1)] * 960 + [gap(100, 30)] * long)
    assert bench.report(stalls, 10.0) == expected
    waited, computed, napari = capsys.readouterr().out.splitlines()
    assert "longest  100.0 ms" in waited
    assert f"{long:4.1f} % of the time in gaps above 50 ms" in waited
    assert "longest   30.0 ms;  0.0 %" in computed
    assert napari.split()[0] == "napari"


def test_regions_are_within_the_slide(bench):
    regions = list(bench.make_regions(1000, 3000))
    assert len({region.class_name for region in regions}) == len(regions) == bench.REGIONS
    for region in regions:
        for row, column in region.polygons[0].outer:
            assert 0 <= row <= 1000
            assert 0 <= column <= 3000


def test_settings_of_the_user_are_not_used(bench, tmp_path):
    environment = bench.isolated(tmp_path)
    names = ("XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "NAPARI_CONFIG")
    assert all(Path(environment[name]).parent == tmp_path for name in names)
