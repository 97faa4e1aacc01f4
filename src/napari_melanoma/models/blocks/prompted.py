"""The network for prompted segmentation: it predicts several masks for clicks, with their quality; imports torch."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from napari_melanoma.imaging.prompts import PROMPT_MAPS
from napari_melanoma.models.blocks.convolutions import make_convolution, make_double_convolution

CONTRADICTION = 4.0  # subtracted from the quality (a logit) of a hypothesis that contradicts all prompts


class Hypotheses(NamedTuple):
    """Masks that the network predicts for the same prompts.

    ``logits``: float (batch, hypothesis, row, column). ``quality``: float (batch, hypothesis), the logit of the
    predicted Jaccard index, reduced if the hypothesis contradicts prompts.
    """

    logits: Tensor
    quality: Tensor

    def best(self) -> Tensor:
        """Return the logits of the hypothesis with the best quality, (batch, 1, row, column)."""
        return self.select(self.quality.argmax(1))

    def select(self, indices: Tensor) -> Tensor:
        """Return the logits of one hypothesis per image, (batch, 1, row, column); ``indices``: int64 (batch,)."""
        rows, columns = self.logits.shape[-2:]
        return self.logits.gather(1, indices[:, None, None, None].expand(-1, 1, rows, columns))


class PromptedUNet(nn.Module):
    """An encoder of the image, and a decoder of the image's features and the prompts.

    ``encoder``: maps images to a list of features at the strides 1, 2, 4, 8, 16 and 16. ``channels``: numbers of their
    channels.
    """

    def __init__(self, encoder: nn.Module, channels: Sequence[int], width: int, hypotheses: int) -> None:
        super().__init__()
        self.encoder = encoder
        _, at_2, at_4, at_8, at_16, deepest = channels
        fine, middle, coarse = (max(8, width * fifths // 5 // 8 * 8) for fifths in (1, 2, 3))
        self.prompts = nn.ModuleList(
            make_convolution(inside, out, stride=2) for inside, out in pairwise((PROMPT_MAPS, 16, 32, 48, 64))
        )
        self.bottom = nn.Sequential(
            make_convolution(at_16 + deepest + 64, width, side=1), make_convolution(width, width), Context(width)
        )
        self.up_8 = Merge(width, at_8 + 48, coarse)
        self.up_4 = Merge(coarse, at_4 + 32, middle)
        self.up_2 = Merge(middle, at_2 + 16, fine)
        self.masks = nn.Conv2d(fine, hypotheses, 1)
        self.rating = nn.Sequential(
            nn.Linear(hypotheses * middle + width, 128), nn.ReLU(inplace=True), nn.Linear(128, hypotheses)
        )

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits of the best hypothesis without prompts, (batch, 1, row, column).

        ``images``: normalized float (batch, 3, row, column), sides divisible by 32.
        """
        none = images.new_zeros(images.shape[0], PROMPT_MAPS, images.shape[2], images.shape[3])
        return self.decode(self.encode(images), none).best()

    def encode(self, images: Tensor) -> list[Tensor]:
        """Return the features of images at the strides 2, 4, 8, 16 and 16; they do not depend on prompts."""
        return list(self.encoder(images))[1:]

    def decode(self, features: Sequence[Tensor], prompts: Tensor) -> Hypotheses:
        """Predict masks.

        ``features``: from ``encode``. ``prompts``: float (batch, 4, row, column) in [0, 1], of the images' size: pixels
        to include, to exclude, in the box, and of the previous mask.
        """
        at_2, at_4, at_8, at_16, deepest = features
        encoded, maps = prompts, []
        for step in self.prompts:
            encoded = step(encoded)
            maps.append(encoded)
        bottom = self.bottom(torch.cat([at_16, deepest, maps[3]], 1))
        coarse = self.up_8(bottom, torch.cat([at_8, maps[2]], 1))
        middle = self.up_4(coarse, torch.cat([at_4, maps[1]], 1))
        fine = self.up_2(middle, torch.cat([at_2, maps[0]], 1))
        small = self.masks(fine)
        logits = interpolate(small, size=prompts.shape[-2:], mode="bilinear", align_corners=False)
        quality = self._rate(small, middle, bottom) - CONTRADICTION * _contradicted(small, prompts)
        return Hypotheses(logits.float(), quality)

    def _rate(self, logits: Tensor, middle: Tensor, bottom: Tensor) -> Tensor:
        """Predict the quality of each hypothesis from the features within it; float (batch, hypothesis)."""
        inside = interpolate(logits.detach().sigmoid(), size=middle.shape[-2:], mode="area")
        weights = inside / inside.sum((2, 3), keepdim=True).clamp(min=1)
        pooled = torch.einsum("bhrc,bfrc->bhf", weights, middle.detach()).flatten(1)
        return self.rating(torch.cat([pooled, bottom.detach().mean((2, 3))], 1)).float()


class Merge(nn.Module):
    """Enlarges features to the size of the next finer level, and merges both."""

    def __init__(self, below: int, skip: int, out: int) -> None:
        super().__init__()
        self.reduce = make_convolution(below, out, side=1)
        self.merge = make_double_convolution(out + skip, out)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Return features (batch, out, row, column) of the size of ``skip``."""
        enlarged = interpolate(self.reduce(below), size=skip.shape[-2:], mode="bilinear", align_corners=False)
        return self.merge(torch.cat([enlarged, skip], 1))


class Context(nn.Module):
    """Adds features of wider surroundings, up to the whole image, so that one click reaches a whole lesion."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.wide = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=rate, dilation=rate, groups=channels, bias=False),
                nn.BatchNorm2d(channels),
                nn.ReLU(inplace=True),
            )
            for rate in (2, 4, 6)
        )
        self.whole = make_convolution(channels, channels, side=1, normalization=False)
        self.merge = make_convolution(5 * channels, channels, side=1)

    def forward(self, features: Tensor) -> Tensor:
        """Return features of the same shape."""
        whole = self.whole(features.mean((2, 3), keepdim=True)).expand_as(features)
        return self.merge(torch.cat([features, *(part(features) for part in self.wide), whole], 1))


def _contradicted(logits: Tensor, prompts: Tensor) -> Tensor:
    """Return the share of the prompted pixels that each hypothesis contradicts, float (batch, hypothesis).

    ``logits``: (batch, hypothesis, row, column). ``prompts``: (batch, 4, row, column) of the same or a larger size; the
    maps of pixels to include and to exclude are compared.
    """
    reduced = adaptive_avg_pool2d(prompts[:, :2], (logits.shape[-2], logits.shape[-1]))
    include, exclude = reduced[:, :1], reduced[:, 1:]
    inside = (logits.detach() > 0).float()
    wrong = include * (1 - inside) + exclude * inside
    return wrong.sum((2, 3)) / (include + exclude).sum((2, 3)).clamp(min=1e-3)
