"""What a frozen encoder saw of an image is remembered: it sees the same every epoch where images are not varied."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

import torch

from napari_melanoma.training.recipe import AugmentationConfig, TrainRecipe

if TYPE_CHECKING:
    from torch import Tensor, nn

MOST_BYTES = 1 << 29  # of remembered maps: half a gigabyte
STILL = {"scale": (1.0, 1.0), "aspect": 1.0, "flip": False}  # every other amount of an augmentation is 0


def sees_the_same(recipe: TrainRecipe) -> bool:
    """Say whether a frozen encoder sees the same of an image in every epoch.

    Parameters
    ----------
    recipe : TrainRecipe
        Of a run.

    Returns
    -------
    bool
        False where it learns, or images are varied or mixed.
    """
    asked = recipe.classification
    if asked is None or not asked.freeze_encoder or asked.mixup or asked.cutmix or asked.adaptation.method != "none":
        return False
    return is_still(recipe.augmentation)


def is_still(augmentation: AugmentationConfig) -> bool:
    """Say whether images are shown as they are.

    Parameters
    ----------
    augmentation : AugmentationConfig
        How they are varied.

    Returns
    -------
    bool
        True where every amount is none.
    """
    values = augmentation.model_dump()
    return all(value == STILL.get(name, 0) for name, value in values.items())


def remember(encoder: nn.Module, most_bytes: int = MOST_BYTES) -> None:
    """Let an encoder that does not learn look at each image once; other images are looked at as before.

    Only the deepest map is given then, which is what classifiers decide from. On a graphics card nothing is
    remembered, as looking is quicker there than remembering.

    Parameters
    ----------
    encoder : torch.nn.Module
        Float (batch, 3, row, column) to a list of maps, the deepest last; in evaluation mode, without gradients.
    most_bytes : int, optional
        Of the maps that are kept.
    """
    look, known, room = encoder.forward, dict[bytes, "Tensor"](), most_bytes

    def seen(images: Tensor) -> list[Tensor]:
        nonlocal room
        if images.device.type != "cpu" or (torch.is_grad_enabled() and images.requires_grad):
            return cast("list[Tensor]", look(images))
        keys = [hashlib.blake2b(image.numpy().tobytes(), digest_size=16).digest() for image in images.contiguous()]
        new = [place for place, key in enumerate(keys) if key not in known]
        if not new:
            return [torch.stack([known[key] for key in keys])]
        with torch.no_grad():
            found = cast("list[Tensor]", look(images[new]))[-1]
        fresh = dict(zip((keys[place] for place in new), found, strict=True))
        for key, one in fresh.items():
            if one.nbytes <= room:
                known[key], room = one.clone(), room - one.nbytes
        return [torch.stack([fresh[key] if key in fresh else known[key] for key in keys])]

    encoder.forward = seen  # no weight gets another name by it
