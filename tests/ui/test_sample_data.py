"""Sample data are napari layers with scale, units and the metadata of the reader."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.phantoms.lesion import phantom
from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig
from napari_melanoma.ui import sample_data

SAMPLES = [
    (sample_data.dermoscopic_sample, "dermoscopic"),
    (sample_data.macroscopic_sample, "macroscopic"),
    (sample_data.dark_skin_sample, "dermoscopic"),
    (sample_data.several_lesions_sample, "macroscopic"),
]


@pytest.mark.parametrize(("sample", "modality"), SAMPLES, ids=lambda case: getattr(case, "__name__", case))
def test_a_sample_is_one_rgb_image_in_micrometers(sample, modality: str, monkeypatch: pytest.MonkeyPatch) -> None:
    draw, sizes = phantom.lesion_phantom, []

    def draw_small(config: LesionPhantomConfig) -> phantom.LesionPhantom:
        sizes.append(config.size)
        return draw(config.model_copy(update={"size": (180, 240)}))

    monkeypatch.setattr(phantom, "lesion_phantom", draw_small)
    ((rgb, attributes, kind),) = sample()
    assert sizes == [(900, 1200)]
    assert kind == "image"
    assert rgb.dtype == np.uint8
    assert rgb.shape == (180, 240, 3)
    assert attributes["rgb"] is True
    assert attributes["units"] == ("um", "um")
    known = attributes["metadata"]["napari_melanoma"]
    assert known["modality"] == modality
    assert known["pixel_size"] == PixelSize(*attributes["scale"], "phantom")


def test_listing_the_samples_imports_nothing_heavy() -> None:
    code = (
        "import sys, napari_melanoma.ui.sample_data; sys.exit(bool({'numpy', 'scipy', 'skimage'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_sample_slide_is_generated_once_and_opens_in_micrometers(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platformdirs.user_cache_path", lambda *names, **options: tmp_path)
    monkeypatch.setattr(
        sample_data, "SAMPLE_SLIDE_CONFIG", {"size": (512, 512), "mpp": 1.0, "lesions": {"breslow_mm": 0.2}}
    )
    ((levels, attributes, kind),) = sample_data.slide_sample()
    assert kind == "image"
    assert attributes["multiscale"] is True
    assert attributes["scale"] == (1.0, 1.0)
    assert levels[0].shape == (512, 512, 3)
    drawn = sample_data.get_sample_slide().stat().st_mtime_ns
    assert sample_data.get_sample_slide().stat().st_mtime_ns == drawn
    attributes["metadata"]["napari_melanoma"]["slide"].close()
