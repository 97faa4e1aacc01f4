"""The demonstration and ``open``, and that torch is never imported in the viewer's process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from patience import LONG_PATIENCE_S, PATIENCE_MS
from qtpy.QtGui import QImage

from conftest import photograph
from napari_melanoma.core.errors import InputError, MelanomaError
from napari_melanoma.ui import demo, launch
from napari_melanoma.ui.demo import run_demo
from napari_melanoma.ui.launch import open_and_analyze, open_viewer


@pytest.fixture
def shown(shared_client, make_napari_viewer, monkeypatch):
    """Replace ``napari.Viewer()`` by a viewer that the test closes."""
    import napari

    made = []

    def viewer():
        made.append(make_napari_viewer(show=False))
        return made[-1]

    monkeypatch.setattr(napari, "Viewer", viewer)
    return made


def test_a_second_photograph_is_analyzed(dock, tmp_path, monkeypatch):
    from PIL import Image

    monkeypatch.setattr(launch, "TIMEOUT_S", 20.0)
    for name in ("arm", "leg"):
        Image.fromarray(photograph()).save(tmp_path / f"{name}.png")
        open_and_analyze(dock, tmp_path / f"{name}.png")
        assert dock.picker.combo.currentText() == name
    assert sum(session.lesion is not None for session in dock.sessions) == 2


def test_a_photograph_that_cannot_be_read_ends_the_demo_with_its_error(shown, tmp_path):
    bad = tmp_path / "bad.png"
    bad.write_text("no image")
    with pytest.raises(InputError, match=r"bad\.png"):
        run_demo(bad, tmp_path / "out", headless=True)


def test_the_demo_of_a_slide_names_the_model_that_it_lacks(shown, tmp_path, monkeypatch):
    monkeypatch.setattr("napari_melanoma.models.installed_bundles.list_bundles", list)
    with pytest.raises(MelanomaError, match=r"'skin-tissue', which is not installed\. Reinstall"):
        run_demo(None, tmp_path / "out", "slide", headless=True)


@pytest.mark.slow
def test_the_demo_of_a_case_classifies_both_lesions(shown, tmp_path, monkeypatch):
    from napari_melanoma.case.store import CaseStore

    monkeypatch.setattr(demo, "WINDOW_PX", (900, 600))
    assert run_demo(None, tmp_path, "case", headless=True) == 0
    with CaseStore.open_read_only(tmp_path / demo.CASE_FOLDER) as store:
        assert [lesion.diagnosis for lesion in store.case.lesions] == ["melanoma", "nevus"]
        assert all(image.results for _, image in store.case.iterate_images())
    assert (tmp_path / demo.CASE_FOLDER / "predictions.json").is_file()
    assert "Pacheco et al. 2020" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert QImage(str(tmp_path / "screenshot.png")).width() >= 900


@pytest.mark.path
def test_open_shows_the_dock_and_the_photographs(shown, tmp_path, monkeypatch, qtbot):
    import napari
    import numpy as np
    from PIL import Image

    path = tmp_path / "arm.png"
    Image.fromarray(np.full((30, 40, 3), 180, np.uint8)).save(path)

    def run():
        qtbot.waitUntil(lambda: len(shown[0].layers) == 1, timeout=PATIENCE_MS)

    monkeypatch.setattr(napari, "run", run)
    assert open_viewer([path]) == 0
    assert shown[0].layers[0].name == "arm"


SESSION = """
import sys
import napari_melanoma.ui.lesion.dock, napari_melanoma.ui.train.run_view
heavy = {"torch", "torchvision", "lightning", "timm"}
late = {"skimage.measure", "scipy.ndimage", "matplotlib", "pydicom", "pillow_heif", "imagecodecs", "pyqtgraph"}
if (heavy | late) & set(sys.modules):
    raise SystemExit(f"imported with the docks: {(heavy | late) & set(sys.modules)}")
import napari
from napari_melanoma.ui import demo, worker_client
from pathlib import Path
worker_client._SharedWorker.client = worker_client.WorkerClient([sys.executable, sys.argv[1]])
demo.WINDOW_PX = (900, 600)
code = demo.run_demo(None, Path(sys.argv[2]), headless=True)
if napari.current_viewer() is not None:
    raise SystemExit("the viewer is still open")
if heavy & set(sys.modules):
    raise SystemExit(f"imported by the analysis: {heavy & set(sys.modules)}")
raise SystemExit(code)
"""


def test_the_demo_imports_nothing_heavy_and_writes_a_screenshot_a_report_and_results(home, tmp_path):
    """In a process of its own, since other tests of this one may have imported torch."""
    worker = Path(__file__).with_name("fake_worker.py")
    command = [sys.executable, "-c", SESSION, str(worker), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONG_PATIENCE_S, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert QImage(str(tmp_path / "screenshot.png")).width() >= 900
    report = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Research use only" in report
    assert "Codella et al. 2018" in report
    assert "area, mm²" in report.lower()
    assert ">Prediction</h2>" in report
    names = {path.name for path in tmp_path.glob("*/*")}
    assert {"mask.png", "roi.png", "overlay.png", "result.json"} <= names
    assert (tmp_path / "results.csv").is_file()
