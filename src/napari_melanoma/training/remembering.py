"""What a frozen encoder saw of an image is remembered: images that are not varied are the same every epoch."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast

import torch

from napari_melanoma.training.recipe import TrainRecipe

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor, nn

MOST_BYTES = 1 << 30  # of the maps that one kind of encoder remembers
MOST_MEMORIES = 2  # kinds of encoders


def sees_the_same(recipe: TrainRecipe) -> bool:
    """Say whether a frozen encoder sees the same of an image in every epoch.

    False where it learns, or images are varied or mixed.
    """
    asked = recipe.classification
    if asked is None or not asked.freeze_encoder or asked.mixup or asked.cutmix or asked.adaptation.method != "none":
        return False
    return recipe.augmentation.is_still


def remember(encoder: nn.Module, most_bytes: int = MOST_BYTES) -> None:
    """Let an encoder that does not learn look at each image once; other images are looked at as before.

    Only the deepest map is given then, which is what classifiers decide from. Encoders of the same weights, such as
    those of the folds of a cross-validation, share what they saw, as long as no third kind comes. On a graphics card
    nothing is remembered, as looking is quicker there than remembering.

    ``encoder``: float (batch, 3, row, column) to a list of maps, the deepest last; in evaluation mode, without
    gradients. Its weights must not change once it has looked.
    """
    look, found_once = encoder.forward, list[_Memory]()

    def seen(images: Tensor) -> list[Tensor]:
        if not found_once:  # a run that is gone on with gets its weights after it is built
            found_once.append(_memory_of(encoder, most_bytes))
        memory = found_once[0]
        if images.device.type != "cpu" or (torch.is_grad_enabled() and images.requires_grad):
            return cast("list[Tensor]", look(images))
        keys = [_digest_of(image.numpy()) for image in images.contiguous()]
        new = [place for place, key in enumerate(keys) if key not in memory.known]
        if not new:
            return [torch.stack([memory.known[key] for key in keys])]
        with torch.inference_mode(False), torch.no_grad():  # of what is kept somebody may learn later
            found = cast("list[Tensor]", look(images[new]))[-1]
        fresh = dict(zip((keys[place] for place in new), found, strict=True))
        for key, one in fresh.items():
            memory.keep(key, one)
        return [torch.stack([fresh[key] if key in fresh else memory.known[key] for key in keys])]

    encoder.forward = seen  # no weight gets another name by it


def recall(encoder: nn.Module) -> None:
    """Let an encoder use what others of the same weights remember, where there are such; else it looks as before."""
    if _digest(encoder) in _MEMORIES:
        remember(encoder)


def forget() -> None:
    """Let go of all that encoders remember; those that still look begin anew."""
    for memory in _MEMORIES.values():
        memory.clear()
    _MEMORIES.clear()


class _Memory:
    """What an encoder saw: digest of an image to its deepest map."""

    def __init__(self, most_bytes: int) -> None:
        self.known: dict[bytes, Tensor] = {}
        self._most, self._bytes = most_bytes, 0

    def keep(self, key: bytes, one: Tensor) -> None:
        """Keep a map, where there is room."""
        if self._bytes + one.nbytes <= self._most:
            self.known[key] = one.clone()
            self._bytes += one.nbytes

    def clear(self) -> None:
        """Let go of all, and have room again."""
        self.known.clear()
        self._bytes = 0


_MEMORIES: dict[bytes, _Memory] = {}  # by what the encoder is; the one asked for last stands last


def _memory_of(encoder: nn.Module, most_bytes: int) -> _Memory:
    """Find what encoders like this one saw, or begin anew; the oldest is forgotten."""
    digest = _digest(encoder)
    memory = _MEMORIES.pop(digest, None) or _Memory(most_bytes)
    _MEMORIES[digest] = memory
    while len(_MEMORIES) > MOST_MEMORIES:
        del _MEMORIES[next(iter(_MEMORIES))]
    return memory


def _digest_of(image: NDArray[np.float32]) -> bytes:
    """Name an image by its numbers; SHA-1, as processors have it built in."""
    return hashlib.sha1(image.data, usedforsecurity=False).digest()


def _digest(encoder: nn.Module) -> bytes:
    """Tell encoders apart: by what they are made of, and by their weights."""
    digest = hashlib.blake2b(repr(encoder).encode(), digest_size=16)
    for name, value in encoder.state_dict().items():
        digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return digest.digest()
