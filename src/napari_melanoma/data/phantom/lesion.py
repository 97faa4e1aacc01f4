"""The phantom lesion: a photograph drawn from a seed, with the exact mask and all that was drawn."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.geometry import PixelSize
from napari_melanoma.data.phantom.artefacts import add_bubbles, add_hairs, add_ink
from napari_melanoma.data.phantom.camera import expose, look_at
from napari_melanoma.data.phantom.config import LesionPhantomConfig
from napari_melanoma.data.phantom.optics import melanin_for
from napari_melanoma.data.phantom.pigment import add_lesion
from napari_melanoma.data.phantom.plan import Plan, plan_phantom, told
from napari_melanoma.data.phantom.ruler import add_ruler
from napari_melanoma.data.phantom.skin import add_skin
from napari_melanoma.data.phantom.streams import stream
from napari_melanoma.data.phantom.tissue import Tissue

__all__ = ["LesionPhantom", "LesionPhantomConfig", "lesion_phantom", "lesion_phantoms"]


@dataclass(frozen=True)
class LesionPhantom:
    """A synthetic photograph and its truth.

    ``rgb`` is uint8 sRGB (row, column, channel); ``mask`` is bool (row, column), true where the centre of the pixel
    lies within the outline of a lesion; ``parameters`` is made of dicts, lists, strings and numbers alone.
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
    plan = plan_phantom(config or LesionPhantomConfig())
    tissue, mask = _grow(plan)
    rgb = _photograph(plan, tissue)
    um = 1000 * plan.plane.pixel_mm
    return LesionPhantom(rgb, mask, told(plan, int(mask.sum())), PixelSize(um, um, "phantom"))


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


def _grow(plan: Plan) -> tuple[Tissue, NDArray[np.bool_]]:
    """Make the skin and the lesions in it; the mask comes with them."""
    scene, config = plan.scene, plan.config
    tissue = Tissue.blank(plan.plane.shape, melanin_for(scene.angle, scene.blood), scene.blood)
    add_skin(tissue, plan.plane, plan.skin, config.modality, config.seed)
    mask = np.zeros(plan.plane.shape, bool)
    for index, (outline, traits) in enumerate(plan.lesions):
        mask |= add_lesion(tissue, plan.plane, outline, traits, (config.seed, index))
    return tissue, mask


def _photograph(plan: Plan, tissue: Tissue) -> NDArray[np.uint8]:
    """Look at the skin, lay the artefacts on it and take the picture."""
    plane, seed, modality = plan.plane, plan.config.seed, plan.config.modality
    light = look_at(tissue, plane, plan.camera, modality, seed)
    if plan.artefacts.ink and plan.lesions:
        add_ink(light, plane, plan.lesions[0][0], stream(seed, "ink"))
    if plan.artefacts.hairs:
        add_hairs(light, plane, plan.artefacts.hairs, plan.scene.skin_type, stream(seed, "hairs"))
    if plan.artefacts.bubbles:
        add_bubbles(light, plane, plan.artefacts.bubbles, stream(seed, "bubbles"))
    if plan.ruler is not None:
        add_ruler(light, plane, plan.ruler, modality, stream(seed, "ruler", "paper"))
    return expose(light, plane, plan.camera, seed)
