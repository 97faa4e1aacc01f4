"""The phantom lesion: a photograph drawn from a seed, with the exact mask and all that was drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.phantom import artefacts
from napari_melanoma.data.phantom.camera import expose, look_at
from napari_melanoma.data.phantom.config import LesionPhantomConfig
from napari_melanoma.data.phantom.optics import melanin_for
from napari_melanoma.data.phantom.pigment import add_lesion
from napari_melanoma.data.phantom.place import place_lesions
from napari_melanoma.data.phantom.plane import Plane
from napari_melanoma.data.phantom.ruler import Ruler, add_ruler, place_ruler
from napari_melanoma.data.phantom.shape import Outline
from napari_melanoma.data.phantom.skin import add_skin
from napari_melanoma.data.phantom.streams import stream
from napari_melanoma.data.phantom.tissue import Tissue
from napari_melanoma.data.phantom.traits import (
    ArtefactTraits,
    LesionTraits,
    SceneTraits,
    artefact_traits,
    camera_traits,
    scene_traits,
    skin_traits,
)

__all__ = ["LesionPhantom", "LesionPhantomConfig", "lesion_phantom", "lesion_phantoms"]

Lesions = Sequence[tuple[Outline, LesionTraits]]


@dataclass(frozen=True)
class LesionPhantom:
    """A synthetic photograph and its truth.

    ``rgb`` is uint8 sRGB (row, column, channel); ``mask`` is bool (row, column), true where the centre of the pixel lies
    within the outline of a lesion; ``parameters`` is made of dicts, lists, strings and numbers alone.
    """

    rgb: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    parameters: dict[str, Any]
    pixel_size: PixelSize


def lesion_phantom(config: LesionPhantomConfig | None = None) -> LesionPhantom:
    """Draw a phantom lesion.

    Parameters
    ----------
    config : LesionPhantomConfig, optional
        What to draw; by default a dermoscopic lesion from seed 0.

    Returns
    -------
    LesionPhantom
        Photograph, mask, parameters and pixel size (source ``"phantom"``).

    Raises
    ------
    ConfigError
        Where the lesions asked for do not fit into the view.
    """
    config = config or LesionPhantomConfig()
    scene = scene_traits(config)
    plane = Plane.of(config.size, scene.field_mm)
    lesions = place_lesions(config, plane)
    tissue, mask = _grow(config, scene, plane, lesions)
    laid = artefact_traits(config)
    ruler = _ruler(config, plane, laid, lesions)
    rgb = _photograph(config, scene, plane, tissue, (lesions, laid, ruler))
    um = 1000 * plane.pixel_mm
    parameters = _parameters(config, scene, plane, mask, (lesions, laid, ruler))
    return LesionPhantom(rgb, mask, parameters, PixelSize(um, um, "phantom"))


def lesion_phantoms(config: LesionPhantomConfig, count: int) -> Iterator[LesionPhantom]:
    """Draw one phantom after the other, from the configuration's seed upwards.

    Parameters
    ----------
    config : LesionPhantomConfig
        What to draw; its seed is the first.
    count : int
        How many.

    Yields
    ------
    LesionPhantom
        The next one.
    """
    for seed in range(config.seed, config.seed + count):
        yield lesion_phantom(config.model_copy(update={"seed": seed}))


_Laid = tuple[Lesions, ArtefactTraits, Ruler | None]


def _grow(
    config: LesionPhantomConfig, scene: SceneTraits, plane: Plane, lesions: Lesions
) -> tuple[Tissue, NDArray[np.bool_]]:
    """Make the skin and the lesions in it; the mask comes with them."""
    tissue = Tissue.blank(plane.shape, melanin_for(scene.angle, scene.blood), scene.blood)
    add_skin(tissue, plane, skin_traits(config), config.modality, config.seed)
    mask = np.zeros(plane.shape, bool)
    for index, (outline, traits) in enumerate(lesions):
        mask |= add_lesion(tissue, plane, outline, traits, (config.seed, index))
    return tissue, mask


def _ruler(config: LesionPhantomConfig, plane: Plane, laid: ArtefactTraits, lesions: Lesions) -> Ruler | None:
    """Place the ruler, if there is to be one."""
    if not laid.ruler:
        return None
    outlines = [outline for outline, _ in lesions]
    return place_ruler(plane, config.modality, outlines, stream(config.seed, "ruler", "place"))


def _photograph(
    config: LesionPhantomConfig, scene: SceneTraits, plane: Plane, tissue: Tissue, laid: _Laid
) -> NDArray[np.uint8]:
    """Look at the skin, lay the artefacts on it and take the picture."""
    lesions, traits, ruler = laid
    camera, seed = camera_traits(config), config.seed
    light = look_at(tissue, plane, camera, config.modality, seed)
    if traits.ink and lesions:
        artefacts.add_ink(light, plane, lesions[0][0], stream(seed, "ink"))
    if traits.hairs:
        artefacts.add_hairs(light, plane, traits.hairs, scene.skin_type, stream(seed, "hairs"))
    if traits.bubbles:
        artefacts.add_bubbles(light, plane, traits.bubbles, stream(seed, "bubbles"))
    if ruler is not None:
        add_ruler(light, plane, ruler, config.modality, stream(seed, "ruler", "paper"))
    return expose(light, plane, camera, seed)


def _parameters(
    config: LesionPhantomConfig, scene: SceneTraits, plane: Plane, mask: NDArray[np.bool_], laid: _Laid
) -> dict[str, Any]:
    """Everything that was given or drawn, and what follows from it, ready for JSON."""
    lesions, traits, ruler = laid
    return {
        "seed": config.seed,
        "modality": config.modality,
        "size": list(config.size),
        "pixel_size_um": 1000 * plane.pixel_mm,
        **asdict(scene),
        "skin": asdict(skin_traits(config)),
        "artefacts": asdict(traits),
        "camera": asdict(camera_traits(config)),
        "ruler": None if ruler is None else _ruler_truth(ruler, plane),
        "lesions": [_lesion_truth(outline, traits, plane) for outline, traits in lesions],
        "area_px": int(mask.sum()),
        "area_in_view_mm2": float(mask.sum()) * plane.pixel_mm**2,
    }


def _lesion_truth(outline: Outline, traits: LesionTraits, plane: Plane) -> dict[str, Any]:
    """Traits and geometry of one lesion; the centre in pixels, (row, column)."""
    truth = asdict(traits)
    del truth["centre"]
    centre_px = plane.to_pixels(np.array(outline.centre_mm))
    return truth | {
        "centre_px": [float(value) for value in centre_px],
        "axes_mm": list(outline.axes_mm),
        "rotation_deg": float(np.degrees(outline.rotation)),
        "area_mm2": outline.area_mm2,
    }


def _ruler_truth(ruler: Ruler, plane: Plane) -> dict[str, Any]:
    """First and last tick of the ruler in pixels, (row, column), and the length between them in mm."""
    first, last = plane.to_pixels(ruler.ends_mm()).tolist()
    return {"first_px": first, "last_px": last, "length_mm": ruler.ticks - 1}
