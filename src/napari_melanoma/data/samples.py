"""Sample data that napari lists under File > Open Sample: phantom lesions, so that nobody's skin is shipped."""

from __future__ import annotations

from typing import Any

LayerData = tuple[Any, dict[str, Any], str]


def dermoscopic_sample() -> list[LayerData]:
    """A pigmented lesion under a dermoscope, with hairs, a ruler and gel bubbles.

    Returns
    -------
    list of tuple
        One RGB image layer, uint8 (row, column, channel), scaled in micrometres.
    """
    return _layers("dermoscopic phantom", {"seed": 1, "skin_type": 2, "artefacts": {"hairs": 8, "ruler": True}})


def macroscopic_sample() -> list[LayerData]:
    """A pigmented lesion as a smartphone sees it, beside a paper ruler.

    Returns
    -------
    list of tuple
        One RGB image layer, uint8 (row, column, channel), scaled in micrometres.
    """
    return _layers("macroscopic phantom", {"seed": 13, "modality": "macroscopic", "skin_type": 2})


def dark_skin_sample() -> list[LayerData]:
    """A pigmented lesion on skin of Fitzpatrick type VI under a dermoscope.

    Returns
    -------
    list of tuple
        One RGB image layer, uint8 (row, column, channel), scaled in micrometres.
    """
    return _layers("dermoscopic phantom on dark skin", {"seed": 35, "skin_type": 6})


def several_lesions_sample() -> list[LayerData]:
    """Four lesions in one smartphone photograph, to try the choice of one by a click.

    Returns
    -------
    list of tuple
        One RGB image layer, uint8 (row, column, channel), scaled in micrometres.
    """
    return _layers("macroscopic phantom, four lesions", {"seed": 4, "modality": "macroscopic", "lesions": 4})


def _layers(name: str, values: dict[str, Any]) -> list[LayerData]:
    """Draw a phantom of 900 x 1200 pixels and describe it as a layer."""
    from napari_melanoma.data.phantom import LesionPhantomConfig, lesion_phantom

    config = LesionPhantomConfig.parse({"size": (900, 1200)} | values, name)
    phantom = lesion_phantom(config)
    size = phantom.pixel_size
    known = {"modality": config.modality, "pixel_size": size}
    attributes = {
        "name": name,
        "rgb": True,
        "scale": (size.y_um, size.x_um),
        "units": ("um", "um"),
        "metadata": {"napari_melanoma": known},
    }
    return [(phantom.rgb, attributes, "image")]
