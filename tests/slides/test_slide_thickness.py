"""From a phantom slide to its thickness with a model that segments the layers of the skin, as ``slide`` does it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from slide_models import SKIN_TEST, use_skin_errors

from napari_melanoma.core.context import RunContext
from napari_melanoma.depth.breslow_candidates import load_interval_models
from napari_melanoma.models.bundle import read_bundle
from napari_melanoma.models.installed_bundles import SHIPPED_FOLDER
from napari_melanoma.phantoms.slide.config import SectionOptions, SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.phantoms.slide.render import SlidePhantomFiles, write_slide
from napari_melanoma.slides import depth
from napari_melanoma.slides.analysis import analyze_slide
from napari_melanoma.slides.depth import NO_INTERVAL, DepthMap, describe_depth, measure_slide_depth
from napari_melanoma.slides.lesions import SlideLesion
from napari_melanoma.slides.options import SlideOptions

pytestmark = pytest.mark.slow

OPTIONS = SlideOptions(model=str(SKIN_TEST), batch_size=16, workers=1, precision="fp32")
PHANTOM = SlidePhantomConfig(
    seed=11,
    size=(1280, 1536),
    mpp=1.0,
    lesions=SlideLesionOptions(malignant=1, benign=0, breslow_mm=0.5, width_mm=0.7, ulceration=False),
    section=SectionOptions(width_mm=1.3, depth_mm=0.75, rotation_deg=0.0),
)

ONE_TILE = (384, 512, 512, 512)  # in the section


@dataclass(frozen=True)
class Analysis:
    """The analysis of the phantom, its truth, and the map and lesions that the thickness was measured in."""

    content: dict[str, Any]
    truth: dict[str, Any]
    found: DepthMap
    lesions: Sequence[SlideLesion]


@pytest.fixture(autouse=True, scope="module")
def known_errors() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        use_skin_errors(patch)
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> SlidePhantomFiles:
    return write_slide(PHANTOM, tmp_path_factory.mktemp("slide"), "section")


@pytest.fixture(scope="module")
def analysis(files: SlidePhantomFiles, tmp_path_factory: pytest.TempPathFactory) -> Analysis:
    return analyze(files, tmp_path_factory.mktemp("analysis") / "out", OPTIONS)


def analyze(files: SlidePhantomFiles, out: Path, options: SlideOptions) -> Analysis:
    measured = []

    def measure(found: DepthMap, lesions: Sequence[SlideLesion], *rest: Any) -> dict[str, Any]:
        measured.append((found, lesions))
        return measure_slide_depth(found, lesions, *rest)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("napari_melanoma.slides.depth.measure_slide_depth", measure)
        content = analyze_slide(files.image, out, options, RunContext()).content
    ((found, lesions),) = measured
    return Analysis(content, json.loads(files.truth.read_text(encoding="utf-8")), found, lesions)


def test_phantom_slide_has_the_requested_breslow_thickness(analysis: Analysis) -> None:
    content, truth = analysis.content, analysis.truth
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


def test_the_interval_depends_on_the_weights_not_on_the_name(
    files: SlidePhantomFiles, analysis: Analysis, tmp_path: Path
) -> None:
    bundle = copied(tmp_path / "skin-test", "skin-test")
    slightly_others(bundle / "model.safetensors")
    assert analysis.found.weights == read_bundle(SKIN_TEST).fingerprint
    part = analyze(files, tmp_path / "out", OPTIONS.model_copy(update={"model": str(bundle), "region": ONE_TILE}))
    assert part.content["model"]["name"] == "skin-test"
    assert part.found.weights == read_bundle(bundle).fingerprint != analysis.found.weights
    content = measure_slide_depth(replace(analysis.found, weights=part.found.weights), analysis.lesions, RunContext())
    assert content["breslow_mm"] == analysis.content["breslow_mm"]
    assert content["breslow_interval_mm"] is None
    assert NO_INTERVAL in content["depth"]["notes"]
    assert NO_INTERVAL not in analysis.content["depth"]["notes"]


def test_a_model_under_another_name_keeps_its_law(tmp_path: Path) -> None:
    renamed = read_bundle(copied(tmp_path / "renamed", "renamed"))
    assert renamed.fingerprint in depth.load_interval_models()


def test_each_law_is_of_a_model_that_is_shipped() -> None:
    shipped = {read_bundle(path.parent).fingerprint for path in SHIPPED_FOLDER.glob("*/config.json")}
    assert set(load_interval_models()) <= shipped


def copied(target: Path, name: str) -> Path:
    """The model as a bundle of the user's own."""
    shutil.copytree(SKIN_TEST, target)
    config = json.loads((target / "config.json").read_text(encoding="utf-8"))
    (target / "config.json").write_text(json.dumps({**config, "name": name}), encoding="utf-8")
    return target


def slightly_others(weights: Path) -> None:
    """Weights that are no longer those of the model, and answer as these do."""
    from safetensors.numpy import load_file, save_file

    values = load_file(weights)
    name = next(name for name in sorted(values) if name.endswith("bias"))
    values[name] = values[name] + values[name].dtype.type(1e-3)
    save_file(values, weights)
