"""Sample data for File > Open Sample: phantoms only, so that no patient images are distributed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

# A section of 2 x 1.5 mm, which is generated in seconds.
SAMPLE_SLIDE_CONFIG = {"size": (4096, 4096), "lesions": {"breslow_mm": 0.7}}
LayerData = tuple[Any, dict[str, Any], str]  # data, keywords and type of a layer, as napari expects them


def dermoscopic_sample() -> list[LayerData]:
    """A pigmented lesion under a dermoscope, with hairs, a ruler and gel bubbles.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers.
    """
    return _make_layers("dermoscopic phantom", {"seed": 1, "skin_type": 2, "artefacts": {"hairs": 8, "ruler": True}})


def macroscopic_sample() -> list[LayerData]:
    """A pigmented lesion in a smartphone photograph, beside a paper ruler.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers.
    """
    return _make_layers("macroscopic phantom", {"seed": 13, "modality": "macroscopic", "skin_type": 2})


def dark_skin_sample() -> list[LayerData]:
    """A pigmented lesion on skin of Fitzpatrick type VI under a dermoscope.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers.
    """
    return _make_layers("dermoscopic phantom on dark skin", {"seed": 35, "skin_type": 6})


def several_lesions_sample() -> list[LayerData]:
    """Four lesions in one smartphone photograph, to try selecting one with a click.

    One RGB image layer, uint8 (row, column, channel), scaled in micrometers.
    """
    return _make_layers("macroscopic phantom, four lesions", {"seed": 4, "modality": "macroscopic", "lesions": 4})


def slide_sample() -> list[LayerData]:
    """A phantom slide with a melanoma and a nevus; generated at first use and stored in the user's cache folder.

    One multiscale RGB image layer in micrometers.
    """
    from napari_melanoma.slides.reading.layers import make_slide_layers
    from napari_melanoma.slides.reading.opening import open_slide

    return make_slide_layers(open_slide(get_sample_slide()))


def get_sample_slide() -> Path:
    """Return the path of the sample slide, a pyramidal TIFF; it is generated if it is missing."""
    from platformdirs import user_cache_path

    from napari_melanoma.phantoms.slide.config import SlidePhantomConfig
    from napari_melanoma.phantoms.slide.render import FORMAT, write_slide

    folder = user_cache_path("napari-melanoma", appauthor=False) / "samples"
    path = folder / f"phantom-slide-{FORMAT}.tif"
    if not path.exists():
        config = SlidePhantomConfig.parse(SAMPLE_SLIDE_CONFIG | {"seed": 5}, "the sample slide")
        write_slide(config, folder, path.stem)
    return path


def _make_layers(name: str, values: dict[str, Any]) -> list[LayerData]:
    """Generate a phantom of 900 x 1200 pixels as layer data."""
    from napari_melanoma.phantoms.lesion.phantom import lesion_phantom
    from napari_melanoma.phantoms.lesion.traits import LesionPhantomConfig

    config = LesionPhantomConfig.parse({"size": (900, 1200)} | values, name)
    phantom = lesion_phantom(config)
    size = phantom.pixel_size
    metadata = {"modality": config.modality, "pixel_size": size}
    attributes = {
        "name": name,
        "rgb": True,
        "scale": (size.y_um, size.x_um),
        "units": ("um", "um"),
        "metadata": {"napari_melanoma": metadata},
    }
    return [(phantom.rgb, attributes, "image")]
