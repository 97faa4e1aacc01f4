"""From a phantom slide to its thickness with the model that is shipped, as ``slide`` does it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from napari_melanoma.core.context import RunContext
from napari_melanoma.depth.candidates import load_interval_models
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.models.registry import SHIPPED_FOLDER, find_bundle
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.phantoms.slide.render import SlidePhantomFiles, write_slide
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.depth import NO_INTERVAL, describe_depth
from napari_melanoma.slides.options import SlideOptions

OPTIONS = SlideOptions(model="skin-demo", batch_size=16, workers=1, precision="fp32")
PHANTOM = SlidePhantomConfig(
    seed=11,
    size=(1280, 1536),
    mpp=1.0,
    lesions=SlideLesionOptions(malignant=1, benign=0, breslow_mm=0.5, width_mm=0.7, ulceration=False),
    section=SectionOptions(width_mm=1.3, depth_mm=0.75, rotation_deg=0.0),
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SlidePhantomFiles:
    return write_slide(PHANTOM, tmp_path_factory.mktemp("slide"), "section")


def test_phantom_slide_has_the_requested_breslow_thickness(files: SlidePhantomFiles, tmp_path: Path) -> None:
    truth = json.loads(files.truth.read_text(encoding="utf-8"))
    content = analyze_slide(files.image, tmp_path / "out", OPTIONS, RunContext()).content
    assert content["breslow_mm"] == pytest.approx(truth["breslow_mm"], abs=0.1)
    assert content["t_category"] == "T1a"
    low, high = content["breslow_interval_mm"]
    assert low < content["breslow_mm"] < high < low + 0.5
    best = content["depth"]["candidates"][0]
    ((lesion,),) = (section["lesions"] for section in truth["sections"])
    assert best["deepest"] == pytest.approx(lesion["breslow_line"][1], abs=150)
    assert best["lesion"] == 1
    assert content["depth"]["ulceration"] is False
    message = f"Demonstration model: Breslow thickness {content['breslow_mm']:.2f} mm"
    assert describe_depth(content).startswith(message)


def test_a_model_of_ones_own_gets_no_law_of_another_by_its_name(files: SlidePhantomFiles, tmp_path: Path) -> None:
    bundle = copied(tmp_path / "skin-demo", "skin-demo")
    slightly_others(bundle / "model.safetensors")
    content = analyze_slide(files.image, tmp_path / "out", of_bundle(bundle), RunContext()).content
    assert content["model"]["name"] == "skin-demo"
    assert content["breslow_mm"] == pytest.approx(0.5, abs=0.1)
    assert content["breslow_interval_mm"] is None
    assert NO_INTERVAL in content["depth"]["notes"]


def test_a_model_under_another_name_keeps_its_law(tmp_path: Path) -> None:
    assert find_bundle(str(copied(tmp_path / "renamed", "renamed"))).fingerprint in load_interval_models()


def test_each_law_is_of_a_model_that_is_shipped() -> None:
    shipped = {path.parent.name: read_bundle(path.parent).fingerprint for path in SHIPPED_FOLDER.glob("*/config.json")}
    assert set(load_interval_models()) == {shipped["skin-demo"]}


def of_bundle(bundle: Path) -> SlideOptions:
    """Options with the model of a folder."""
    return OPTIONS.model_copy(update={"model": str(bundle)})


def copied(target: Path, name: str) -> Path:
    """The shipped model of skin as a bundle of the user's own."""
    shutil.copytree(SHIPPED_FOLDER / "skin-demo", target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "name": name}), encoding="utf-8")
    return target


def slightly_others(weights: Path) -> None:
    """Weights that are no longer those of the shipped model, and answer as these do."""
    from safetensors.numpy import load_file, save_file

    values = load_file(weights)
    name = next(name for name in sorted(values) if name.endswith("bias"))
    values[name] = values[name] + values[name].dtype.type(1e-3)
    save_file(values, weights)
