"""Features of published encoders, whose weights the user has as a file; torch runs them.

Vision transformers see windows of the size that they were trained with. A cell has the mean of its patch tokens and,
as context, the class token of its window.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_melanoma.core.errors import BundleError
from napari_melanoma.models.inference import find_device
from napari_melanoma.models.published_encoders import (
    FOUNDATION_ENCODERS,
    LICENCE_OF_FILE,
    TIMM,
    WEIGHTS_ADVICE,
    hash_weights,
    load_foundation,
    load_timm,
)
from napari_melanoma.slides.tissue_classifier.cells import BLOCK_CELLS, CELL_UM, MARGIN_CELLS, block_px

if TYPE_CHECKING:
    from torch import Tensor

CELL_PX = 56  # in the input: 0.57 um per pixel, and 4 x 4 patches of 14 pixels in a cell
WINDOW_PX = 224  # side of the input of networks of timm
WINDOWS_PER_PASS = 4  # limits the memory


def is_published(name: str) -> bool:
    """Return whether a name is that of an encoder of timm, or of a published histology encoder."""
    return name.startswith(TIMM) or name in FOUNDATION_ENCODERS


def fingerprint_features(name: str, weights_hash: str) -> str:
    """Return the hash of everything that determines the features; ``weights_hash``: SHA-256 of the weights file."""
    side = FOUNDATION_ENCODERS[name].side_px if name in FOUNDATION_ENCODERS else WINDOW_PX
    text = f"{weights_hash} {name} windows of {side}, cells of {CELL_PX}, blocks of {BLOCK_CELLS}"
    return hashlib.sha256(text.encode()).hexdigest()


class PublishedFeatures:
    """Features of a published encoder; see ``FeatureSource``.

    ``name``: of a histology encoder, or ``timm:NAME``. ``weights``: the file with its weights. ``device``: where it
    runs; None to choose it.
    """

    mpp = CELL_UM / CELL_PX

    def __init__(self, name: str, weights: Path | None, device: str | None = None) -> None:
        if weights is None:
            raise BundleError(f"the weights of '{name}' are not included. {WEIGHTS_ADVICE}")
        self.name = name
        encoder = FOUNDATION_ENCODERS.get(name)
        if encoder is None:
            # The patches of a vision transformer are for another side of the input
            options = {"dynamic_img_size": True} if name.startswith(f"{TIMM}vit_") else {}
            network: Any = load_timm(name, weights, **options)
            side, self.licence = WINDOW_PX, LICENCE_OF_FILE
            mean, std = network.pretrained_cfg["mean"], network.pretrained_cfg["std"]
        else:
            network, side, self.licence = load_foundation(encoder, weights), encoder.side_px, encoder.licence
            mean, std = encoder.mean, encoder.std
        self.fingerprint = fingerprint_features(name, hash_weights(weights))
        self._device = find_device(device)
        self._trunk: Any = getattr(network, "trunk", network).to(self._device)
        self._window = side // CELL_PX  # cells along its side
        self._mean, self._std = np.array(mean, np.float32), np.array(std, np.float32)
        side = block_px(self.mpp)
        self.length = self.compute(np.full((1, side, side, 3), 255, np.uint8)).shape[-1]

    def compute(self, blocks: NDArray[np.uint8]) -> NDArray[np.float16]:
        """See ``FeatureSource``."""
        return np.stack([self._compute_block(block) for block in blocks])

    def _compute_block(self, block: NDArray[np.uint8]) -> NDArray[np.float16]:
        import torch

        windows = torch.from_numpy(self._cut_windows(block)).to(self._device)
        with torch.inference_mode():
            cells = torch.cat([self._encode(part) for part in windows.split(WINDOWS_PER_PASS)])
        side, count = self._window, BLOCK_CELLS // self._window
        joined = cells.view(count, count, -1, side, side).permute(0, 3, 1, 4, 2)
        features: NDArray[np.float16] = joined.reshape(BLOCK_CELLS, BLOCK_CELLS, -1).half().cpu().numpy()
        return features

    def _cut_windows(self, block: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalize a block without its margin and cut it into windows, float32 (window, channel, row, column)."""
        margin, side, count = MARGIN_CELLS * CELL_PX, self._window * CELL_PX, BLOCK_CELLS // self._window
        inner = (block[margin:-margin, margin:-margin].astype(np.float32) / 255 - self._mean) / self._std
        windows = inner.reshape(count, side, count, side, 3).transpose(0, 2, 4, 1, 3)
        return np.ascontiguousarray(windows.reshape(-1, 3, side, side))

    def _encode(self, windows: Tensor) -> Tensor:
        """Return patch tokens averaged over cells, and the token of the window: (window, feature, cell, cell)."""
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        tokens: Tensor = self._trunk.forward_features(windows)
        if tokens.ndim == 4:  # maps of a convolutional network, whose mean is the context
            patches, whole = tokens, tokens.mean(dim=(2, 3))
        else:
            prefix = int(self._trunk.num_prefix_tokens)
            side = round((tokens.shape[1] - prefix) ** 0.5)
            patches = tokens[:, prefix:].transpose(1, 2).reshape(len(tokens), -1, side, side)
            whole = tokens[:, 0] if prefix else tokens.mean(dim=1)
        cells = adaptive_avg_pool2d(patches, self._window)
        return torch.cat([cells, whole[:, :, None, None].expand(-1, -1, self._window, self._window)], dim=1)
