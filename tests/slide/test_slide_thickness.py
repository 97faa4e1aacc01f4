"""From a phantom slide to its thickness with the model that is shipped, as ``slide`` does it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from napari_melanoma.core.runs import RunContext
from napari_melanoma.data.phantom.slide.config import SectionOptions, SlideLesionOptions, SlidePhantomConfig
from napari_melanoma.data.phantom.slide.files import write_slide
from napari_melanoma.workflows.analyse_slide import analyse_slide
from napari_melanoma.workflows.slide_depth import depth_in_words
from napari_melanoma.workflows.slide_options import SlideOptions

PHANTOM = SlidePhantomConfig(
    seed=11,
    size=(1280, 1536),
    mpp=1.0,
    lesions=SlideLesionOptions(malignant=1, benign=0, breslow_mm=0.5, width_mm=0.7, ulceration=False),
    section=SectionOptions(width_mm=1.3, depth_mm=0.75, rotation_deg=0.0),
)


def test_a_phantom_slide_is_as_thick_as_it_was_drawn(tmp_path: Path) -> None:
    files = write_slide(PHANTOM, tmp_path, "section")
    truth = json.loads(files.truth.read_text(encoding="utf-8"))
    options = SlideOptions(model="skin-demo", batch_size=16, workers=1, precision="fp32")
    content = analyse_slide(files.image, tmp_path / "out", options, RunContext()).content
    assert content["breslow_mm"] == pytest.approx(truth["breslow_mm"], abs=0.1)
    assert content["t_category"] == "T1a"
    low, high = content["breslow_interval_mm"]
    assert low < content["breslow_mm"] < high < low + 0.5
    best = content["depth"]["candidates"][0]
    ((lesion,),) = (section["lesions"] for section in truth["sections"])
    assert best["deepest"] == pytest.approx(lesion["breslow_line"][1], abs=150)
    assert best["lesion"] == 1
    assert content["depth"]["ulceration"] is False
    assert depth_in_words(content).startswith(f"Breslow thickness {content['breslow_mm']:.2f} mm")
