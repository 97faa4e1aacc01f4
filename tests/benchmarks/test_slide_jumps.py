"""The measure of jumps on a slide shows every reader the same places, and says each of its figures."""

from __future__ import annotations

import gc
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "slide_jumps.py"

# tifffile's view keeps its file open for as long as it lives, which in the script is the life of a process.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")


@pytest.fixture(autouse=True)
def let_go():
    """Have the warning come here, where it is expected, and not in whichever test is next."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def module():
    spec = importlib.util.spec_from_file_location("slide_jumps", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["slide_jumps"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pyramid(module, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("slides") / "pyramid.tif"
    module.make_slide(path, 2048)
    return path


def test_two_readers_see_the_same(module, pyramid: Path) -> None:
    ours, theirs = module.open_ours(pyramid), module.open_tifffile(pyramid)
    shapes = [level.shape for level in theirs]
    assert shapes == [(2048, 2048, 3), (1024, 1024, 3), (512, 512, 3)]
    assert [level.shape for level in ours] == shapes
    for zoom in module.ZOOMS:
        places = list(module.regions(ours, zoom, 2))
        assert places == list(module.regions(theirs, zoom, 2))
        for level, rows, columns in places:
            np.testing.assert_array_equal(ours[level][rows, columns], theirs[level][rows, columns])


def test_benchmark_prints_each_measurement(module, pyramid: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(module, "run", lambda reader, python, path, jumps: module.measure(reader, path, jumps))
    monkeypatch.setattr(sys, "argv", ["slide_jumps.py", "--slide", str(pyramid), "--jumps", "2"])
    module.main()
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["ours", "tifffile"]
    for line in lines:
        assert "first picture" in line
        assert all(f"{zoom}: " in line for zoom in module.ZOOMS)


def test_the_level_is_the_one_that_napari_chooses(module, pyramid: Path) -> None:
    levels = module.open_ours(pyramid)
    assert [module.level_for(levels, zoom) for zoom in (0.02, 0.3, 0.6, 1.0)] == [2, 1, 0, 0]
